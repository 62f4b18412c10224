//! Files with one mistake each: what is refused, and where.

use super::*;

mod sign_in;

/// A file, and the one mistake that is found in it: its code, line and column.
type Case = (String, (&'static str, usize, usize));

/// With one scope that has conditions.
fn conditional(members: &str) -> String {
    with("scopes: [billing/read]", &format!("scopes: [{{ {members} }}]"))
}

const GATE: &str = "url: \"https://a\", headers: { K: { secret: key } }, url_env: U, key_env: S";

/// With a gate.
fn gate(members: &str) -> String {
    upstream(&format!("{{ stdio: {{ command: x, env: {{ A: b }}, gate: {{ {members} }} }} }}"))
}

/// With another source of its key, which begins at 5:10.
fn source(members: &str) -> String {
    with("key: { env: KEY }", &format!("key: {{ {members} }}"))
}

/// What a command inherits may be the key by which it fetches others.
#[test]
fn a_command_inherits_what_it_is_told_to() {
    let config = check(&source("command: [x], inherit_env: [VAULT_TOKEN, OP_ACCOUNT]")).unwrap();
    let inherit = vec!["VAULT_TOKEN".to_owned(), "OP_ACCOUNT".to_owned()];
    assert_eq!(config.secrets["key"], SecretSource::Command { argv: vec!["x".to_owned()], inherit });
}

/// What is refused, and where. Each is a file with one mistake.
#[test]
fn mistakes_are_found_where_they_are() {
    let cases: Vec<Case> = vec![
        // The document.
        (String::new(), ("C0002", 1, 1)),
        ("# only a comment\n\n".to_owned(), ("C0002", 1, 1)),
        ("---\n".to_owned(), ("C0103", 2, 1)),
        ("null\n".to_owned(), ("C0103", 1, 1)),
        ("[]\n".to_owned(), ("C0103", 1, 1)),
        (and("holds: { ttl: 5m"), ("C0001", 14, 1)),
        (and("\tholds: {}"), ("C0001", 13, 2)),
        (and("---\nversion: 1"), ("C0003", 14, 1)),
        (and("holds: &h { ttl: 5m }"), ("C0003", 13, 8)),
        (and("holds: *h"), ("C0001", 13, 8)),
        (and("holds: !x { ttl: 5m }"), ("C0003", 13, 8)),
        (and("? [a]\n: b"), ("C0003", 13, 3)),
        (and("# \u{202e}"), ("C0006", 13, 3)),
        (and("# \u{1b}[2J"), ("C0006", 13, 3)),
        (with("version: 1", "version: 2"), ("C0115", 1, 10)),
        (with("version: 1", "version: \"1\""), ("C0115", 1, 10)),
        (with("version: 1\n", ""), ("C0102", 1, 1)),
        // What a command inherits.
        (source("env: K, inherit_env: [A]"), ("C0110", 5, 31)),
        (source("command: [x], inherit_env: [A, A]"), ("C0109", 5, 41)),
        (source("command: [x], inherit_env: [HOME]"), ("C0109", 5, 38)),
        (source("command: [x], inherit_env: [LD_PRELOAD]"), ("C0113", 5, 38)),
        (source("command: [x], inherit_env: [a-b]"), ("C0105", 5, 38)),
        (source("command: [x], inherit_env: A"), ("C0103", 5, 37)),
        (source("command: [x], inherit_env: [TOKEN]"), ("C0112", 5, 8)),
        (source("inherit_env: [A]"), ("C0102", 5, 8)),
        // Keys.
        (and("hold_tll: 60"), ("C0101", 13, 1)),
        (and("defualt_decision: deny"), ("C0101", 13, 1)),
        (and("holds: { tll: 5m }"), ("C0101", 13, 10)),
        (and("<<: { ttl: 5m }"), ("C0101", 13, 1)),
        (and("version: 1"), ("C0004", 13, 1)),
        (and("holds: { ttl: 5m, ttl: 6m }"), ("C0004", 13, 19)),
        (with("  token: { env: TOKEN }", "  key: { env: K2 }\n  token: { env: TOKEN }"), ("C0004", 6, 3)),
        (
            with("servers:\n", "servers:\n  billing: { environment: test, upstream: { stdio: { command: x } } }\n"),
            ("C0004", 9, 3),
        ),
        (upstream("{ stdio: { command: npx, env: { A: a, B: b, A: c } } }"), ("C0004", 10, 59)),
        // Later versions.
        (and("operators: { allowed_signers: [operators.pub] }"), ("C0103", 13, 31)),
        (and("audit: { store: { postgres: { url: { secret: key } } } }"), ("C0111", 13, 17)),
        (and("audit: { store: postgres }"), ("C0111", 13, 17)),
        (and("listen: { tls: { cert: a } }"), ("C0111", 13, 11)),
        // Whom to tell.
        (and("notify: {}"), ("C0103", 13, 9)),
        (and("notify: [ {} ]"), ("C0102", 13, 11)),
        (and("notify: [ { after: 60s } ]"), ("C0102", 13, 11)),
        (and("notify: [ { command: [] } ]"), ("C0105", 13, 22)),
        (and("notify: [ { command: \"notify-send x\" } ]"), ("C0103", 13, 22)),
        (and("notify: [ { desktop: false } ]"), ("C0103", 13, 22)),
        (and("notify: [ { desktop: true, inherit_env: [A] } ]"), ("C0110", 13, 41)),
        (and("notify: [ { command: [bin/hook] } ]"), ("C0108", 13, 23)),
        (and("notify: [ { command: [x], webhook: { url: \"https://a/\", secret: key } } ]"), ("C0110", 13, 27)),
        (and("notify: [ { command: [x], inherit_env: [LD_PRELOAD] } ]"), ("C0113", 13, 41)),
        (and("notify: [ { command: [x], inherit_env: [API_KEY] } ]"), ("C0112", 13, 41)),
        (and("notify: [ { webhook: { url: \"http://example.com/\", secret: key } } ]"), ("C0113", 13, 29)),
        (and("notify: [ { webhook: { url: \"https://u:p@example.com/\", secret: key } } ]"), ("C0112", 13, 29)),
        (and("notify: [ { webhook: { url: \"https://a/\" } } ]"), ("C0102", 13, 22)),
        (and("notify: [ { webhook: { url: \"https://a/\", secret: kye } } ]"), ("C0107", 13, 51)),
        (and("notify: [ { webhook: { url: \"https://a/\", secret: key, include: [args] } } ]"), ("C0106", 13, 66)),
        (and("notify: [ { webhook: { url: \"https://a/\", secret: key }, inherit_env: [A] } ]"), ("C0110", 13, 71)),
        (and("notify: [ { command: [x], after: 2h } ]"), ("C0104", 13, 34)),
        (and("notify: [ { command: [x], quiet_hours: { hours: \"22-7\", zone: UTC } } ]"), ("C0105", 13, 49)),
        (and("notify: [ { command: [x], quiet_hours: { hours: \"24:00-07:00\", zone: UTC } } ]"), ("C0105", 13, 49)),
        (and("notify: [ { command: [x], quiet_hours: { hours: \"07:00-07:00\", zone: UTC } } ]"), ("C0105", 13, 49)),
        (and("notify: [ { command: [x], quiet_hours: { hours: \"22:00-07:00\" } } ]"), ("C0102", 13, 40)),
        (
            and("notify: [ { command: [x], quiet_hours: { hours: \"22:00-07:00\", zone: Europe/Berln } } ]"),
            ("C0106", 13, 70),
        ),
        // A gate.
        (gate("url: \"https://a/v1\", headers: { K: { secret: key } }, url_env: U, key_env: S"), ("C0105", 10, 66)),
        (gate("url: \"http://a.example\", headers: { K: { secret: key } }, url_env: U, key_env: S"), ("C0113", 10, 66)),
        (gate("url: \"https://a\", headers: { K: v }, url_env: U, key_env: S"), ("C0102", 10, 88)),
        (
            gate("url: \"https://a\", headers: { K: { secret: key }, L: { secret: token } }, url_env: U, key_env: S"),
            ("C0102", 10, 88),
        ),
        (gate("url: \"https://a\", headers: { Host: { secret: key } }, url_env: U, key_env: S"), ("C0110", 10, 90)),
        (
            gate("url: \"https://a\", headers: { Idempotency-Key: { secret: key } }, url_env: U, key_env: S"),
            ("C0110", 10, 88),
        ),
        (gate("url: \"https://a\", headers: { K: { secret: key } }, url_env: A, key_env: S"), ("C0109", 10, 121)),
        (gate("url: \"https://a\", headers: { K: { secret: key } }, url_env: U, key_env: U"), ("C0109", 10, 133)),
        (gate("url: \"https://a\", headers: { K: { secret: key } }, url_env: U, key_env: 1S"), ("C0105", 10, 133)),
        (gate("url: \"https://a\", headers: { K: { secret: key } }, url_env: U"), ("C0102", 10, 59)),
        (
            gate("url: \"https://a\", headers: { K: { secret: key } }, url_env: U, key_env: S, drop: [x]"),
            ("C0101", 10, 136),
        ),
        (
            upstream(&format!("{{ stdio: {{ command: x, env: {{ A: {{ secret: key }} }}, gate: {{ {GATE} }} }} }}")),
            ("C0110", 10, 102),
        ),
        (
            upstream(&format!(
                "{{ stdio: {{ command: x, env: {{ A: {{ secret: token }} }}, gate: {{ {GATE}, trust_code: true }} }} }}"
            )),
            ("C0110", 10, 164),
        ),
        (
            upstream(&format!("{{ stdio: {{ command: x, sandbox: off, gate: {{ {GATE}, trust_code: true }} }} }}")),
            ("C0110", 10, 147),
        ),
        (
            upstream(&format!(
                "{{ stdio: {{ command: x, sandbox: {{ unix_sockets: true }}, gate: {{ {GATE}, trust_code: true }} }} }}"
            )),
            ("C0110", 10, 166),
        ),
        // Types and ranges.
        (and("holds: [5m]"), ("C0103", 13, 8)),
        (and("holds:"), ("C0103", 13, 6)),
        (and("holds: { ttl: }"), ("C0103", 13, 13)),
        (and("holds: { ttl: 300 }"), ("C0105", 13, 15)),
        (and("holds: { ttl: 0 }"), ("C0105", 13, 15)),
        (and("holds: { ttl: -1 }"), ("C0105", 13, 15)),
        (and("holds: { ttl: 1e308 }"), ("C0105", 13, 15)),
        (and("holds: { ttl: 10 fortnights }"), ("C0105", 13, 15)),
        (and("holds: { ttl: 5 m }"), ("C0105", 13, 15)),
        (and("holds: { ttl: 5M }"), ("C0105", 13, 15)),
        (and("holds: { ttl: 1.5m }"), ("C0105", 13, 15)),
        (and("holds: { ttl: 010s }"), ("C0105", 13, 15)),
        (and("holds: { ttl: 0s }"), ("C0104", 13, 15)),
        (and("holds: { ttl: 25h }"), ("C0104", 13, 15)),
        (and("holds: { ttl: 99999999999999999999h }"), ("C0104", 13, 15)),
        (and("holds: { ttl: 18446744073709551615h }"), ("C0104", 13, 15)),
        (and("holds: { max_pending: 0 }"), ("C0104", 13, 23)),
        (and("holds: { progress_every: 500ms }"), ("C0104", 13, 26)),
        (and("holds: { progress_every: 51s }"), ("C0104", 13, 26)),
        (and("holds: { tasks: always }"), ("C0106", 13, 17)),
        (and("pins: { first_use: always }"), ("C0106", 13, 20)),
        (and("pins: { first_sight: trust }"), ("C0101", 13, 9)),
        (and("pins: trust"), ("C0103", 13, 7)),
        (and("holds: { tasks: true }"), ("C0103", 13, 17)),
        (and("holds: { prompts_per_minute: 0 }"), ("C0104", 13, 30)),
        (and("holds: { prompts_per_minute: 10001 }"), ("C0104", 13, 30)),
        (and("holds: { batches: yes }"), ("C0103", 13, 19)),
        (and("holds: { tasks_after: 2 }"), ("C0105", 13, 23)),
        (and("holds: { tasks_after: 25h }"), ("C0104", 13, 23)),
        (and("holds: { budgets: 50s }"), ("C0103", 13, 19)),
        (and("holds: { budgets: { defaults: 50s } }"), ("C0101", 13, 21)),
        (and("holds: { budgets: { default: 50 } }"), ("C0105", 13, 30)),
        (and("holds: { budgets: { default: 0s } }"), ("C0104", 13, 30)),
        (and("holds: { budgets: { default: never } }"), ("C0105", 13, 30)),
        (and("holds: { budgets: { with_progress: 25h } }"), ("C0104", 13, 36)),
        (and("holds: { budgets: { clients: [a] } }"), ("C0103", 13, 30)),
        (and("holds: { budgets: { clients: { a: 1 } } }"), ("C0105", 13, 35)),
        (and("holds: { budgets: { clients: { a: { default: 1s } } } }"), ("C0103", 13, 35)),
        (and("holds: { max_pending: -1 }"), ("C0104", 13, 23)),
        (and("holds: { max_pending: 1e3 }"), ("C0104", 13, 23)),
        (and("holds: { max_pending: 0x10 }"), ("C0104", 13, 23)),
        (and("holds: { max_pending: \"10\" }"), ("C0103", 13, 23)),
        (and("holds: { max_pending: many }"), ("C0103", 13, 23)),
        (and("holds: { max_pending: 10, max_per_principal: 11 }"), ("C0110", 13, 46)),
        (and("limits: { message_bytes: 0B }"), ("C0104", 13, 26)),
        (and("limits: { message_bytes: 4194304 }"), ("C0105", 13, 26)),
        (and("limits: { message_bytes: 4MB }"), ("C0105", 13, 26)),
        (and("limits: { message_bytes: 1KiB, held_bytes: 2KiB }"), ("C0110", 13, 44)),
        (and("limits: { message_bytes: 64MiB, held_bytes: 9MiB }"), ("C0104", 13, 45)),
        (and("limits: { mesage_bytes: 1KiB }"), ("C0101", 13, 11)),
        (and("policy: { time_limit_ms: 50ms }"), ("C0103", 13, 26)),
        (and("policy: { time_limit_ms: 0 }"), ("C0104", 13, 26)),
        (and("policy: { builtin: environment }"), ("C0103", 13, 20)),
        (and("policy: { builtin: [enviroment] }"), ("C0106", 13, 21)),
        (and("policy: { builtin: [scopes, scopes] }"), ("C0109", 13, 29)),
        (and("policy: { modes: { scopes: off } }"), ("C0106", 13, 28)),
        (and("policy: { modes: { scope: shadow } }"), ("C0107", 13, 20)),
        (and("operators: { unsigned_rulings: true }"), ("C0103", 13, 32)),
        (and("operators: { unsigned_rulings: acept }"), ("C0106", 13, 32)),
        (and("audit: { sync: never }"), ("C0106", 13, 16)),
        (and("audit: { store: sqllite }"), ("C0106", 13, 17)),
        // Listening.
        (and("listen: { http: 0.0.0.0:8443 }"), ("C0113", 13, 17)),
        (and("listen: { http: \"[::]:8443\" }"), ("C0113", 13, 17)),
        (and("listen: { http: \"[::ffff:127.0.0.1]:8443\" }"), ("C0113", 13, 17)),
        (and("listen: { http: localhost:8377 }"), ("C0105", 13, 17)),
        (and("listen: { http: 8377 }"), ("C0103", 13, 17)),
        (and("listen: { http: 127.0.0.1:99999 }"), ("C0105", 13, 17)),
        (and("listen: { http: { address: 10.0.0.1:1, behind_proxy: false, allowed_hosts: [a] } }"), ("C0113", 13, 28)),
        (and("listen: { http: { address: 127.0.0.1:1, behind_proxy: yes } }"), ("C0103", 13, 55)),
        (and("listen: { http: { address: 10.0.0.1:1, behind_proxy: true } }"), ("C0102", 13, 17)),
        (and("listen: { behind_proxy: true }"), ("C0101", 13, 11)),
        (and("listen: { http: { address: 127.0.0.1:1, allowed_hosts: [\"*\"] } }"), ("C0105", 13, 57)),
        (and("listen: { http: { address: 127.0.0.1:1, allowed_hosts: [\"a:1\"] } }"), ("C0105", 13, 57)),
        (and("listen: { http: { address: 127.0.0.1:1, allowed_origins: [\"null\"] } }"), ("C0105", 13, 59)),
        (and("listen: { http: { address: 127.0.0.1:1, allowed_origins: [\"https://a/\"] } }"), ("C0105", 13, 59)),
        (
            with("match: { token: { secret: token } }", "match: { uid: 1 }")
                + "listen: { http: { address: 10.0.0.1:1, behind_proxy: true, allowed_hosts: [a] } }",
            ("C0113", 13, 28),
        ),
        // Paths.
        (with("/var/lib/countersign", "~op/state"), ("C0108", 2, 12)),
        (with("/var/lib/countersign", "$HOME/state"), ("C0108", 2, 12)),
        (with("/var/lib/countersign", "${NOPE}/state"), ("C0108", 2, 12)),
        (with("/var/lib/countersign", "\"\""), ("C0108", 2, 12)),
        (with("/var/lib/countersign", "~"), ("C0103", 2, 12)),
        (with("/run/countersign", &format!("/run/{}", "x".repeat(90))), ("C0108", 3, 14)),
        (and("policy: { paths: [/var/lib/countersign] }"), ("C0114", 13, 19)),
        (and("policy: { paths: [/run/countersign/rules] }"), ("C0114", 13, 19)),
        (and("policy: { paths: [ok, /run] }"), ("C0114", 13, 23)),
        (with("{ env: KEY }", "{ file: rules/key }") + "policy: { paths: [rules] }", ("C0114", 13, 19)),
        (
            with(
                "    environment: production",
                "    environment: production\n    catalog: [/var/lib/countersign/c.yaml]",
            ),
            ("C0114", 10, 15),
        ),
        // Secrets.
        (with("{ env: KEY }", "hunter2"), ("C0103", 5, 8)),
        (with("{ env: KEY }", "sk_live_abcdefgh"), ("C0112", 5, 8)),
        (with("{ env: KEY }", "{}"), ("C0102", 5, 8)),
        (with("{ env: KEY }", "{ env: KEY, file: a }"), ("C0110", 5, 20)),
        (with("{ env: KEY }", "{ env: $KEY }"), ("C0105", 5, 15)),
        (with("{ env: KEY }", "{ env: TOKEN }"), ("C0109", 6, 3)),
        (with("{ env: KEY }", "{ command: pass }"), ("C0103", 5, 19)),
        (with("{ env: KEY }", "{ command: [] }"), ("C0102", 5, 19)),
        (with("{ env: KEY }", "{ command: [bin/pass, x] }"), ("C0108", 5, 20)),
        (with("  key: { env: KEY }", "  Key: { env: KEY }\n  key: { env: KEY2 }"), ("C0105", 5, 3)),
        // Servers.
        (with("  billing:\n", "  Billing:\n").replace("billing/", "Billing/"), ("C0105", 8, 3)),
        (
            with("servers:\n", "servers:\n  ../x: { environment: test, upstream: { stdio: { command: x } } }\n"),
            ("C0105", 8, 3),
        ),
        (with("    environment: production\n", ""), ("C0102", 9, 5)),
        (with("    environment: production", "    environment: Live!"), ("C0105", 9, 18)),
        (with("    environment: production", "    environment: x\n    probe: true"), ("C0103", 10, 12)),
        (with("    environment: production", "    environment: x\n    probe: { require: true }"), ("C0101", 10, 14)),
        (with("    environment: production", "    environment: x\n    probe: { timeout: 0s }"), ("C0104", 10, 23)),
        (with("    environment: production", "    environment: x\n    accounts: [\"a b\"]"), ("C0105", 10, 16)),
        (with("    environment: production", "    environment: x\n    accounts: [a, a]"), ("C0109", 10, 19)),
        (with("name: agent", "name: Countersign"), ("C0105", 12, 13)),
        (upstream("{}"), ("C0102", 10, 15)),
        (upstream("{ stdio: { command: npx }, http: { url: \"https://a\" } }"), ("C0110", 10, 42)),
        (upstream("{ stdio: { args: [a] } }"), ("C0102", 10, 24)),
        (upstream("{ stdio: { command: ./server } }"), ("C0108", 10, 35)),
        (upstream("{ stdio: { command: \"\" } }"), ("C0108", 10, 35)),
        (upstream("{ stdio: { command: npx, args: [8080] } }"), ("C0103", 10, 47)),
        (upstream("{ stdio: { command: npx, args: [true] } }"), ("C0103", 10, 47)),
        (upstream("{ stdio: { command: npx, args: [\"a\\0b\"] } }"), ("C0105", 10, 47)),
        (upstream("{ stdio: { command: npx, env: { A-B: x } } }"), ("C0105", 10, 47)),
        (upstream("{ stdio: { command: npx, env: { A: { secret: nokey } } } }"), ("C0107", 10, 60)),
        (upstream("{ stdio: { command: npx, env: { A: { secret: key, prefx: a } } } }"), ("C0101", 10, 65)),
        (upstream("{ stdio: { command: npx, inherit_env: [KEY] } }"), ("C0112", 10, 54)),
        (upstream("{ stdio: { command: npx, inherit_env: [AWS_SECRET_ACCESS_KEY] } }"), ("C0112", 10, 54)),
        (upstream("{ stdio: { command: npx, inherit_env: [LD_PRELOAD] } }"), ("C0113", 10, 54)),
        (upstream("{ stdio: { command: npx, inherit_env: [NODE_OPTIONS] } }"), ("C0113", 10, 54)),
        (upstream("{ stdio: { command: npx, env: { TZ: UTC }, inherit_env: [TZ] } }"), ("C0109", 10, 72)),
        // Keys in the clear.
        (upstream("{ stdio: { command: npx, env: { K: sk_live_abcdefgh } } }"), ("C0112", 10, 50)),
        (upstream("{ stdio: { command: npx, env: { K: rk_live_abcdefgh } } }"), ("C0112", 10, 50)),
        (upstream("{ stdio: { command: npx, env: { K: whsec_abcdefgh } } }"), ("C0112", 10, 50)),
        (upstream("{ stdio: { command: npx, env: { MY_API_KEY: hunter2 } } }"), ("C0112", 10, 59)),
        (upstream("{ stdio: { command: npx, env: { PGPASSWORD: hunter2 } } }"), ("C0112", 10, 59)),
        (upstream("{ stdio: { command: npx, inherit_env: [CLIENTSECRET] } }"), ("C0112", 10, 54)),
        (upstream("{ stdio: { command: npx, args: [--api-key=sk_test_abcdefgh] } }"), ("C0112", 10, 47)),
        (upstream("{ stdio: { command: npx, args: [--api-key=hunter2] } }"), ("C0112", 10, 47)),
        (upstream("{ stdio: { command: npx, args: [--api-key, hunter2] } }"), ("C0112", 10, 58)),
        (
            upstream("{ http: { url: \"https://a\", headers: { X-Team: console-0123456789abcdefghij } } }"),
            ("C0112", 10, 62),
        ),
        (upstream("{ http: { url: \"https://a\", headers: { Authorization: hunter2 } } }"), ("C0112", 10, 69)),
        (upstream("{ http: { url: \"https://a/?key=sk_live_abcdefgh\" } }"), ("C0112", 10, 30)),
        (with("match: { token: { secret: token } }", "match: { token: hunter2 }"), ("C0112", 12, 36)),
        // Addresses.
        (upstream("{ http: { url: \"http://api.example/mcp\" } }"), ("C0113", 10, 30)),
        (upstream("{ http: { url: \"http://api.example/mcp\", allow_plain_http: true } }"), ("C0113", 10, 30)),
        (upstream("{ http: { url: \"http://127.0.0.1:1/mcp\" } }"), ("C0113", 10, 30)),
        (upstream("{ http: { url: \"http://localhost.example\", allow_plain_http: true } }"), ("C0113", 10, 30)),
        (upstream("{ http: { url: \"ftp://a/\" } }"), ("C0105", 10, 30)),
        (upstream("{ http: { url: \"/mcp\" } }"), ("C0105", 10, 30)),
        (upstream("{ http: { url: \"https://u:p@a/\" } }"), ("C0112", 10, 30)),
        (upstream("{ http: { url: \"https://a/#x\" } }"), ("C0105", 10, 30)),
        (upstream("{ http: { url: \"https://a b/\" } }"), ("C0105", 10, 30)),
        (upstream("{ http: { url: \"https://a:/\" } }"), ("C0105", 10, 30)),
        (upstream("{ http: { url: \"https://a\", headers: { \"a b\": c } } }"), ("C0105", 10, 54)),
        (upstream("{ http: { url: \"https://a\", headers: { Host: c } } }"), ("C0110", 10, 54)),
        (upstream("{ http: { url: \"https://a\", headers: { Mcp-Session-Id: c } } }"), ("C0110", 10, 54)),
        (upstream("{ http: { url: \"https://a\", headers: { A: b, a: c } } }"), ("C0109", 10, 60)),
        (upstream("{ http: { url: \"https://a\", headers: { A: \"b\\nc\" } } }"), ("C0105", 10, 57)),
        (upstream("{ http: { url: \"https://a\", headers: { A: é } } }"), ("C0105", 10, 57)),
        // Principals.
        (
            with("  - { name: agent, match: { token: { secret: token } }, scopes: [billing/read] }", "  []"),
            ("C0102", 12, 3),
        ),
        (with("name: agent, ", ""), ("C0102", 12, 5)),
        (with("name: agent", "name: a b"), ("C0105", 12, 13)),
        (with("match: { token: { secret: token } }", "match: {}"), ("C0102", 12, 27)),
        (with("match: { token: { secret: token } }", "match: { uid: -1 }"), ("C0104", 12, 34)),
        (with("match: { token: { secret: token } }", "match: { uid: 4294967295 }"), ("C0104", 12, 34)),
        (with("match: { token: { secret: token } }", "match: { token: { secret: tokn } }"), ("C0107", 12, 46)),
        (with("match: { token: { secret: token } }", "match: { token: { secret: key } }"), ("C0110", 12, 27)),
        (and("oauth: { key: { secret: token } }"), ("C0110", 12, 27)),
        (and("notify: [ { webhook: { url: \"https://a/\", secret: token } } ]"), ("C0110", 12, 27)),
        (and("  - { name: agent, match: { uid: 1 }, scopes: [] }"), ("C0109", 13, 13)),
        (and("  - { name: other, match: { token: { secret: token } }, scopes: [] }"), ("C0109", 13, 27)),
        (with("scopes: [billing/read]", "scopes: [read]"), ("C0105", 12, 66)),
        (with("scopes: [billing/read]", "scopes: [biling/read]"), ("C0107", 12, 66)),
        (with("scopes: [billing/read]", "scopes: [\"billing/a b\"]"), ("C0105", 12, 66)),
        (with("scopes: [billing/read]", "scopes: [\"billing/GET /a/{b}*\"]"), ("C0105", 12, 66)),
        (with("scopes: [billing/read]", "scopes: billing/read"), ("C0103", 12, 65)),
        (with("scopes: [billing/read]", "scopes: [\"*\"]"), ("C0105", 12, 66)),
        // Scopes with conditions.
        (conditional("scope: billing/a"), ("C0102", 12, 66)),
        (conditional("until: 2030-01-01T00:00:00Z"), ("C0102", 12, 66)),
        (conditional("scope: biling/a, until: 2030-01-01T00:00:00Z"), ("C0107", 12, 75)),
        (conditional("scope: a, until: 2030-01-01T00:00:00Z"), ("C0105", 12, 75)),
        (conditional("scope: billing/a, when: {}, amount: { max: 1 }"), ("C0101", 12, 86)),
        (conditional("scope: billing/a, where: {}"), ("C0102", 12, 93)),
        (conditional("scope: billing/a, where: { amount: { max: 5 } }"), ("C0105", 12, 95)),
        (conditional("scope: billing/a, where: { /: { max: 5 } }"), ("C0105", 12, 95)),
        (conditional("scope: billing/a, where: { /a/0: { max: 5 } }"), ("C0105", 12, 95)),
        (conditional("scope: billing/a, where: { /a~2: { max: 5 } }"), ("C0105", 12, 95)),
        (conditional("scope: billing/a, where: { /a: {} }"), ("C0102", 12, 99)),
        (conditional("scope: billing/a, where: { /a: 5 }"), ("C0103", 12, 99)),
        (conditional("scope: billing/a, where: { /a: { mx: 5 } }"), ("C0101", 12, 101)),
        (conditional("scope: billing/a, where: { /a: { regex: x } }"), ("C0111", 12, 101)),
        (conditional("scope: billing/a, where: { /a: { max: -5 } }"), ("C0103", 12, 106)),
        (conditional("scope: billing/a, where: { /a: { max: \"5\" } }"), ("C0103", 12, 106)),
        (conditional("scope: billing/a, where: { /a: { max: 1e3 } }"), ("C0103", 12, 106)),
        (conditional("scope: billing/a, where: { /a: { max: 05 } }"), ("C0103", 12, 106)),
        (conditional("scope: billing/a, where: { /a: { max: 1234567890123456 } }"), ("C0103", 12, 106)),
        (conditional("scope: billing/a, where: { /a: { min: 5, max: 4 } }"), ("C0110", 12, 99)),
        (conditional("scope: billing/a, where: { /a: { absent: true, max: 4 } }"), ("C0110", 12, 99)),
        (conditional("scope: billing/a, where: { /a: { absent: false } }"), ("C0105", 12, 109)),
        (conditional("scope: billing/a, where: { /a: { in: [] } }"), ("C0104", 12, 105)),
        (conditional("scope: billing/a, where: { /a: { in: x } }"), ("C0103", 12, 105)),
        (conditional("scope: billing/a, where: { /a: { equals: null } }"), ("C0103", 12, 109)),
        (conditional("scope: billing/a, where: { /a: { equals: [a] } }"), ("C0103", 12, 109)),
        (conditional("scope: billing/a, where: { /a: { prefix: \"\" } }"), ("C0105", 12, 109)),
        (conditional("scope: billing/a, where: { /a: { glob: \"a[b\" } }"), ("C0105", 12, 107)),
        (conditional("scope: billing/a, amount: 5"), ("C0103", 12, 94)),
        (conditional("scope: billing/a, amount: { currency: eur }"), ("C0102", 12, 94)),
        (conditional("scope: billing/a, amount: { max: 5, currency: EUR }"), ("C0105", 12, 114)),
        (conditional("scope: billing/a, environments: []"), ("C0102", 12, 100)),
        (conditional("scope: billing/a, environments: [Sand box]"), ("C0105", 12, 101)),
        (conditional("scope: billing/a, hours: { from: \"09:00\" }"), ("C0102", 12, 93)),
        (conditional("scope: billing/a, hours: { from: \"09:00\", to: \"25:00\" }"), ("C0105", 12, 114)),
        (conditional("scope: billing/a, hours: { from: \"9:00\", to: \"10:00\" }"), ("C0105", 12, 101)),
        (conditional("scope: billing/a, hours: { from: \"09:60\", to: \"10:00\" }"), ("C0105", 12, 101)),
        (conditional("scope: billing/a, hours: { from: \"22:00\", to: \"06:00\" }"), ("C0110", 12, 93)),
        (conditional("scope: billing/a, hours: { from: \"09:00\", to: \"10:00\", days: [] }"), ("C0102", 12, 129)),
        (
            conditional("scope: billing/a, hours: { from: \"09:00\", to: \"10:00\", days: [monday] }"),
            ("C0106", 12, 130),
        ),
        (
            conditional("scope: billing/a, hours: { from: \"09:00\", to: \"10:00\", days: [mon, mon] }"),
            ("C0109", 12, 135),
        ),
        (
            conditional("scope: billing/a, hours: { from: \"09:00\", to: \"10:00\", zone: Europe/Berln }"),
            ("C0106", 12, 129),
        ),
        (conditional("scope: billing/a, until: 2030-02-30T00:00:00Z"), ("C0105", 12, 93)),
        (conditional("scope: billing/a, until: 2030-02-01"), ("C0105", 12, 93)),
        (conditional("scope: billing/a, until: 1960-02-01T00:00:00Z"), ("C0105", 12, 93)),
        (
            with(
                "scopes: [billing/read]",
                "scopes: [{ scope: billing/a, amount: { max: 1 } }, { scope: billing/a, amount: { max: 1 } }]",
            ),
            ("C0109", 12, 108),
        ),
        (with("scopes: [billing/read]", "scopes: [], claims: [a]"), ("C0103", 12, 77)),
        (with("scopes: [billing/read]", "scopes: [], claims: { a b: c }"), ("C0105", 12, 79)),
        (with("scopes: [billing/read]", "scopes: [], claims: { a: 1 }"), ("C0103", 12, 82)),
        (with("scopes: [billing/read]", "scopes: [], claims: { a: { b: c } }"), ("C0103", 12, 82)),
    ];
    found(&cases);
}

/// Each with help.
fn found(cases: &[Case]) {
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|(text, expected)| {
            let found = places(text);
            let report = report(text);
            let helped = report.problems().iter().all(|problem| !problem.help.is_empty());
            (found != [*expected] || !helped).then(|| format!("expected {expected:?}, found {found:?} in\n{text}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
