//! Good and bad configurations: what is read, and what is said about each mistake, with its place.

use proptest::prelude::*;

use super::*;

mod clear;
mod files;
mod mistakes;
mod sandbox;
mod sign_in;

const GOOD: &str = "\
version: 1
state_dir: /var/lib/countersign
runtime_dir: /run/countersign
secrets:
  key: { env: KEY }
  token: { env: TOKEN }
servers:
  billing:
    environment: production
    upstream: { stdio: { command: npx, env: { API_KEY: { secret: key } } } }
principals:
  - { name: agent, match: { token: { secret: token } }, scopes: [billing/read] }
";

fn variable(name: &str) -> Option<OsString> {
    match name {
        "HOME" => Some("/home/op".into()),
        "XDG_RUNTIME_DIR" => Some("/run/user/1000".into()),
        _ => None,
    }
}

fn check(text: &str) -> Result<Config, ConfigError> {
    read(text, Path::new("/etc/countersign/countersign.yaml"), &variable, |_, _, _| {})
}

fn good(text: &str) -> Config {
    check(text).unwrap_or_else(|error| panic!("{error}"))
}

fn report(text: &str) -> Report {
    match check(text) {
        Err(ConfigError::Invalid(report)) => report,
        other => panic!("{other:?}\n{text}"),
    }
}

/// Code, line and column of each problem.
fn places(text: &str) -> Vec<(&'static str, usize, usize)> {
    let report = report(text);
    let place = |problem: &Problem| {
        let (line, column) = report.position(problem);
        (problem.code.as_str(), line, column)
    };
    report.problems().iter().map(place).collect()
}

/// [`GOOD`] with one piece replaced.
fn with(piece: &str, other: &str) -> String {
    assert_eq!(GOOD.matches(piece).count(), 1, "{piece}");
    GOOD.replace(piece, other)
}

/// [`GOOD`] with more sections, from line 13 on.
fn and(more: &str) -> String {
    format!("{GOOD}{more}\n")
}

const UPSTREAM: &str = "{ stdio: { command: npx, env: { API_KEY: { secret: key } } } }";

/// [`GOOD`] with another upstream, which begins at 10:15.
fn upstream(other: &str) -> String {
    with(UPSTREAM, other)
}

#[test]
fn the_example_is_a_configuration() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/countersign.yaml")).unwrap();
    let config = good(&text);
    assert_eq!(config.state_dir, Path::new("/home/op/.local/state/countersign"));
    assert_eq!(config.runtime_dir, Path::new("/run/user/1000/countersign"));
    assert_eq!(config.http.as_ref().unwrap().address, "127.0.0.1:8377".parse().unwrap());
    assert_eq!(config.secrets["stripe_live"], SecretSource::Env("STRIPE_LIVE_KEY".to_owned()));
    let key = PathBuf::from("/home/op/.config/countersign/statsig.key");
    assert_eq!(config.secrets["statsig_console"], SecretSource::File(key));
    let command = ["pass", "show", "countersign/claude-token"].map(str::to_owned).to_vec();
    assert_eq!(config.secrets["claude_token"], SecretSource::Command { argv: command, inherit: Vec::new() });
    let Upstream::Stdio { command, args, env, inherit, cwd, sandbox, gate: _ } = &config.servers["stripe"].upstream
    else {
        panic!()
    };
    assert_eq!(sandbox.as_deref(), Some(&Wishes::default()));
    assert_eq!((command.as_str(), args.join(" ").as_str()), ("npx", "-y @stripe/mcp@0.2.5 --tools=all"));
    let secret = |name: &str| Value::Secret { name: name.to_owned(), prefix: String::new() };
    assert_eq!(env, &[("STRIPE_SECRET_KEY".to_owned(), secret("stripe_live"))]);
    assert!(inherit.is_empty() && cwd.is_none());
    let Upstream::Http { url, headers, .. } = &config.servers["statsig"].upstream else { panic!() };
    assert_eq!(url, "https://api.statsig.com/v1/mcp");
    assert_eq!(headers, &[("statsig-api-key".to_owned(), secret("statsig_console"))]);
    assert_eq!(config.principals[0].by, Match::Token("claude_token".to_owned()));
    assert_eq!(config.principals[0].principal.scopes, ["stripe/read"]);
    assert_eq!(config.principals[1].by, Match::Uid(1000));
    assert_eq!(config.policy.builtin, sections::BUILTIN);
    assert_eq!(config.holds.ttl, Duration::from_secs(300));
    assert_eq!(config.operators.unsigned_rulings, Some(UnsignedRulings::Refuse));
    assert_eq!(config.operators.allowed_signers.as_deref(), Some(Path::new("/etc/countersign/operators.pub")));
    assert_eq!(config.servers["stripe"].accounts, ["acct_1OurShop"]);
    assert!(config.servers["stripe"].probe.is_some());
    assert_eq!(config.servers["stripe"].first_use, FirstUse::Trust);
    assert_eq!(config.servers["statsig"].first_use, FirstUse::Refuse);
    assert_eq!(config.principals[0].principal.conditional_scopes.len(), 1);
    assert_eq!(config.limits, Limits::default());
}

#[test]
fn a_stored_secret_lies_in_the_state_folder() {
    let config = good(&with("key: { env: KEY }", "key: stored"));
    assert_eq!(config.secrets["key"], SecretSource::Stored(config.state_dir.join("secrets/key")));
}

#[test]
fn first_use_is_trusted_unless_the_file_or_the_server_says_otherwise() {
    let first_use = |text: &str| good(text).servers["billing"].first_use;
    let server = |pins: &str| with("    environment: ", &format!("    pins: {pins}\n    environment: "));
    assert_eq!(first_use(GOOD), FirstUse::Trust);
    assert_eq!(first_use(&and("pins: { first_use: refuse }")), FirstUse::Refuse);
    assert_eq!(first_use(&server("{ first_use: refuse }")), FirstUse::Refuse);
    let both = format!("{}\npins: {{ first_use: refuse }}\n", server("{ first_use: trust }"));
    assert_eq!(first_use(&both), FirstUse::Trust);
}

/// Every key of the design is known; what later versions bring is said to be that.
#[test]
fn the_whole_design_is_read() {
    let text = r#"version: 1
state_dir: ~/.local/state/countersign        # audit.db, pins, tokens; 0700
runtime_dir: ${XDG_RUNTIME_DIR}/countersign  # client.sock, operator.sock; 0700
listen: { http: 127.0.0.1:8377 }             # optional; not loopback needs tls: or behind_proxy: true
secrets:
  stripe_live: { env: STRIPE_LIVE_KEY }      # or file: / command: [..] / keyring: {service, user}
  statsig_console: { env: STATSIG }
  claude_token: { env: CLAUDE }
servers:
  stripe:
    vendor: stripe                           # picks the catalog; optional
    environment: production                  # must agree with what the key proves, else no start
    upstream: { stdio: { command: npx, args: [-y, "@stripe/mcp@0.2.5", --tools=all], env: { STRIPE_SECRET_KEY: { secret: stripe_live } } } }
  statsig:
    vendor: statsig
    environment: production
    upstream: { http: { url: https://api.statsig.com/v1/mcp, headers: { statsig-api-key: { secret: statsig_console } } } }   # or auth: oauth
principals:
  - { name: claude-code, match: { token: { secret: claude_token } }, scopes: ["stripe/read", "stripe/create_refund"] }
  - { name: local,       match: { uid: 1000 },                      scopes: ["*/read"] }
policy: { builtin: [environment, destructive, scopes], paths: [policies], time_limit_ms: 50 }   # builtin: [] for your rules alone
holds: { ttl: 5m, no_console: { grace: 20s }, max_pending: 1000, max_per_principal: 50 }
operators: { unsigned_rulings: refuse }  # refuse is the default for production
audit: { store: sqlite, sync: writes }       # sync: all; or store postgres: { url: { secret: pg } }
"#;
    let config = good(text);
    assert_eq!(config.policy.paths, [Path::new("/etc/countersign/policies")]);
    assert_eq!((config.servers.len(), config.principals.len()), (2, 2));
    let notify = r#"notify: [ { command: [notify-send, "{summary}"] }, { webhook: { url: "https://hooks.example/x", secret: statsig_console }, after: 2m, quiet_hours: { hours: 22:00-07:00, zone: Europe/Berlin } } ]
"#;
    let text = format!("{text}{notify}").replace("operators: {", "operators: { allowed_signers: operators.pub,");
    let config = good(&text);
    let argv = ["notify-send", "{summary}"].map(str::to_owned).to_vec();
    assert_eq!(config.notify[0].to, NotifyTo::Command { argv, inherit: Vec::new() });
    let quiet = QuietHours { from: 22 * 60, to: 7 * 60, zone: "Europe/Berlin".to_owned(), high_too: false };
    assert_eq!((config.notify[1].after, config.notify[1].quiet.clone()), (Duration::from_secs(120), Some(quiet)));
}

/// Two readers of YAML see the same in it.
#[test]
fn the_example_is_read_as_another_reader_reads_it() {
    fn same(node: &yaml::Node, value: &serde_yaml::Value) -> bool {
        match (&node.data, value) {
            (yaml::Data::Scalar { text, .. }, serde_yaml::Value::String(other)) => text == other,
            (yaml::Data::Scalar { text, .. }, serde_yaml::Value::Number(other)) => *text == other.to_string(),
            (yaml::Data::Scalar { text, .. }, serde_yaml::Value::Bool(other)) => *text == other.to_string(),
            (yaml::Data::List(items), serde_yaml::Value::Sequence(others)) => {
                items.len() == others.len() && items.iter().zip(others).all(|(item, other)| same(item, other))
            }
            (yaml::Data::Map(entries), serde_yaml::Value::Mapping(others)) => {
                let each = |(key, node): &(yaml::Key, yaml::Node)| {
                    others.get(key.text.as_str()).is_some_and(|other| same(node, other))
                };
                entries.len() == others.len() && entries.iter().all(each)
            }
            _ => false,
        }
    }
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/countersign.yaml")).unwrap();
    for text in [text.as_str(), GOOD] {
        let node = yaml::read(text, &mut Problems::default()).unwrap();
        assert!(same(&node, &serde_yaml::from_str(text).unwrap()));
    }
}

#[test]
fn every_key_can_be_written() {
    let config = good(
        r#"
version: 1
state_dir: state
runtime_dir: /run/countersign
listen:
  http:
    address: 10.0.0.1:8377
    allowed_hosts: [Proxy.example, "[::1]"]
    allowed_origins: ["https://App.example:8443"]
    behind_proxy: true
secrets:
  a: { env: A }
  b: { file: keys/b }
  c: { command: [/bin/cat, ./c] }
servers:
  one:
    environment: sandbox
    accounts: [acct_1, acct_1/acct_2]
    probe: { required: true, timeout: 5s }
    catalog: [one.yaml, ../two.yaml]
    upstream:
      stdio:
        command: ~/bin/server
        args: ["8080", -v, "a b", "$HOME"]
        env: { PLAIN: "1", KEY: { secret: a }, AUTH: { secret: b, prefix: "Bearer " } }
        inherit_env: [LANG, TZ]
        cwd: work
  two:
    environment: test
    probe: {}
    upstream: { http: { url: "http://[::1]:9000/mcp?x=1", allow_plain_http: true, headers: { X-Team: billing } } }
principals:
  - name: agent@host
    match: { token: { secret: c } }
    scopes: []
policy:
  builtin: [scopes]
  paths: [policies, /srv/rules.rego]
  modes: { scopes: warn, refunds: shadow }
  time_limit_ms: 20
holds:
  ttl: 90s
  no_console: { grace: 0s }
  take_back: 0s
  max_pending: 10
  max_per_principal: 10
  prompts_per_minute: 7
  batches: true
  progress_every: 50s
  tasks: never
  tasks_after: 250ms
  budgets: { default: 20s, with_progress: none, clients: { My Agent: 2m, other: none } }
operators: { unsigned_rulings: refuse }
audit: { sync: all }
limits:
  message_bytes: 1MiB
  answer_bytes: 2MiB
  held_bytes: 512KiB
  header_bytes: 8KiB
  header_timeout: 250ms
  body_timeout: 3s
  connect_timeout: 4s
  answer_timeout: 5m
  session_idle: 1h
  resume_window: 0s
  drain: 0s
  sessions: 1
  sessions_per_principal: 5
  connections: 2
  in_flight: 3
  queue: 4
"#,
    );
    assert_eq!(config.state_dir, Path::new("/etc/countersign/state"));
    let http = config.http.unwrap();
    assert_eq!(http.allowed_hosts, ["proxy.example", "[::1]"]);
    assert_eq!(http.allowed_origins, ["https://app.example:8443"]);
    assert!(http.behind_proxy);
    assert_eq!(config.secrets["b"], SecretSource::File("/etc/countersign/keys/b".into()));
    let one = &config.servers["one"];
    assert_eq!(one.accounts, ["acct_1", "acct_1/acct_2"]);
    assert_eq!(one.probe, Some(Probe { required: true, timeout: Duration::from_secs(5) }));
    let usual = Probe { required: false, timeout: Duration::from_secs(20) };
    assert_eq!(config.servers["two"].probe, Some(usual));
    let catalogs: Vec<_> = one.catalogs.iter().map(|path| path.display().to_string()).collect();
    assert_eq!(catalogs, ["/etc/countersign/one.yaml", "/etc/countersign/../two.yaml"]);
    let Upstream::Stdio { command, args, env, inherit, cwd, sandbox: _, gate: _ } = &one.upstream else { panic!() };
    assert_eq!(command, "/home/op/bin/server");
    assert_eq!(args, &["8080", "-v", "a b", "$HOME"]);
    assert_eq!(env[2].1, Value::Secret { name: "b".to_owned(), prefix: "Bearer ".to_owned() });
    assert_eq!(inherit, &["LANG", "TZ"]);
    assert_eq!(cwd.as_deref(), Some(Path::new("/etc/countersign/work")));
    assert_eq!(config.policy.builtin, ["scopes"]);
    assert_eq!(config.policy.paths, [Path::new("/etc/countersign/policies"), Path::new("/srv/rules.rego")]);
    assert_eq!(config.policy.modes["refunds"], Mode::Shadow);
    assert_eq!(config.policy.time_limit, Duration::from_millis(20));
    assert_eq!((config.holds.no_console_grace, config.holds.take_back), (Duration::ZERO, Duration::ZERO));
    assert!(config.audit.sync_all);
    let seconds = Duration::from_secs;
    assert_eq!((config.holds.progress_every, config.holds.tasks), (seconds(50), false));
    assert_eq!((config.holds.prompts_per_minute, config.holds.batches), (7, true));
    assert_eq!(config.holds.tasks_after, Duration::from_millis(250));
    assert_eq!((config.holds.budgets.default, config.holds.budgets.with_progress), (Some(seconds(20)), None));
    let clients: Vec<_> = config.holds.budgets.clients.into_iter().collect();
    assert_eq!(clients, [("My Agent".to_owned(), Some(seconds(120))), ("other".to_owned(), None)]);
    let expected = Limits {
        message_bytes: 1 << 20,
        answer_bytes: 2 << 20,
        held_bytes: 512 << 10,
        header_bytes: 8 << 10,
        header_timeout: Duration::from_millis(250),
        body_timeout: seconds(3),
        connect_timeout: seconds(4),
        answer_timeout: seconds(300),
        session_idle: seconds(3600),
        resume_window: Duration::ZERO,
        drain: Duration::ZERO,
        sessions: 1,
        sessions_per_principal: 5,
        connections: 2,
        in_flight: 3,
        queue: 4,
    };
    assert_eq!(config.limits, expected);
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let config = good(&GOOD.replace("state_dir: /var/lib/countersign\nruntime_dir: /run/countersign\n", ""));
    assert_eq!(config.state_dir, Path::new("/home/op/.local/state/countersign"));
    assert_eq!(config.runtime_dir, Path::new("/run/user/1000/countersign"));
    assert!(config.http.is_none());
    assert_eq!(config.policy.builtin, sections::BUILTIN);
    assert_eq!(config.policy.time_limit, Duration::from_millis(50));
    assert_eq!((config.holds.ttl, config.holds.no_console_grace), (Duration::from_secs(300), Duration::from_secs(20)));
    assert_eq!((config.holds.max_pending, config.holds.max_per_principal), (1000, 50));
    assert_eq!(config.holds.take_back, Duration::from_secs(3));
    assert_eq!((config.holds.progress_every, config.holds.tasks), (Duration::from_secs(10), true));
    assert_eq!((config.holds.prompts_per_minute, config.holds.batches), (30, false));
    assert_eq!(config.holds.tasks_after, Duration::from_secs(2));
    let budgets = &config.holds.budgets;
    assert_eq!(
        (budgets.default, budgets.with_progress),
        (Some(Duration::from_secs(50)), Some(Duration::from_secs(240)))
    );
    assert!(budgets.clients.is_empty());
    assert_eq!(config.operators.unsigned_rulings, None);
    assert!(!config.audit.sync_all);
    assert_eq!(config.limits, Limits::default());
    let http = good(&and("listen: { http: \"[::1]:0\" }")).http.unwrap();
    assert_eq!(http.allowed_hosts, ["localhost", "127.0.0.1", "[::1]"]);
}

/// The look of it, whole.
#[test]
fn all_mistakes_are_shown_at_once() {
    let text = r#"version: 1
hold_tll: 60
state_dir: ${COUNTERSIGN_HOME}/state
listen: { http: 0.0.0.0:8443 }
secrets:
  stripe: { env: STRIPE_LIVE_KEY }
servers:
  Stripe:
    enviroment: production
    upstream: { stdio: { command: npx, env: { STRIPE_SECRET_KEY: sk_live_CANARY7Qm2Zt9XeVb4 } } }
  stripe:
    environment: production
    upstream: { stdio: { command: npx, env: { STRIPE_SECRET_KEY: { secret: strip } } } }
  stripe:
    environment: sandbox
principals:
  - { name: agent, match: { uid: 1000 }, scopes: ["strpe/read"] }
holds: { ttl: 5 }
audit: { store: { postgres: { url: x } } }
"#;
    let report = report(text);
    assert!(!report.render(true).contains("CANARY"));
    insta::assert_snapshot!(report.render(false));
}

#[test]
fn help_names_what_was_probably_meant() {
    for (text, help) in [
        (and("hold_tll: 60"), "did you mean `holds.ttl`?"),
        (and("listen: { behind_proxy: true }"), "did you mean `listen.http.behind_proxy`?"),
        (with("scopes: [billing/read]", "scopes: [biling/read]"), "did you mean `billing`?"),
        (with("{ secret: token }", "{ secret: tokn }"), "did you mean `token`?"),
        (
            and("holds: { ttl: 0 }"),
            "write a duration from 1s to 24h: a whole number and a unit, as in `250ms`, `20s`, `5m` or `1h`",
        ),
        (and("limits: { message_bytes: 0B }"), "write a size from 1KiB to 1GiB"),
        (and("holds: { max_pending: 0 }"), "write a whole number from 1 to 100000"),
    ] {
        assert_eq!(report(&text).problems()[0].help, help);
    }
}

#[test]
fn no_error_repeats_a_key() {
    let key = "CANARY7Qm2Zt9XeVb4";
    for text in [
        and(&format!("sk_live_{key}: 1")),
        and(&format!("holds: {{ ttl: sk_live_{key} }}")),
        and(&format!("listen: {{ http: sk_live_{key} }}")),
        with("{ env: KEY }", &format!("{{ env: sk_live_{key} }}")),
        with("scopes: [billing/read]", &format!("scopes: [sk_live_{key}]")),
        upstream(&format!("{{ http: {{ url: \"https://user:sk_live_{key}@a/\" }} }}")),
        and(&format!("# sk_live_{key}\nholds: {{ ttl: 0 }} # sk_live_{key}")),
    ] {
        let error = check(&text).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}"), error.render(true)] {
            assert!(!shown.contains(key) && !shown.is_empty(), "{shown}");
        }
    }
}

/// Each ends quickly, in a message of bounded length.
#[test]
fn bombs_do_not_go_off() {
    let laughs = (1..30).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        text + &format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}, *a{0}]\n", n - 1)
    });
    let deep: String = (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let bombs = [
        laughs,
        deep,
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "? ".repeat(100_000),
        format!("[{}]", "1,".repeat(200_000)),
        (0..60_000).map(|n| format!("k{n}: v\n")).collect(),
        format!("version: 1\nx: {}", "y".repeat(1_000_000)),
        format!("version: 1\n{}: 1", "y".repeat(1_000_000)),
        format!("version: 1\nx: \"{}", "y".repeat(1_000_000)),
        format!("version: 1\nholds: {{ ttl: {} }}", "9".repeat(1_000_000)),
        "sk_live_abcdefgh: sk_live_abcdefgh\n".repeat(28_000),
        format!("version: 1\n{}", (0..20_000).map(|n| format!("sk_live_abcdefgh{n}: {n}\n")).collect::<String>()),
        format!("version: 1\nservers: {{ {} }}", (0..9_000).map(|n| format!("s{n}: {{}}, ")).collect::<String>()),
        and(&format!("secrets2: [{}]", "a, ".repeat(40_000))).replace(
            "scopes: [billing/read]",
            &format!("scopes: [{}]", (0..9_000).map(|n| format!("s{n}/read, ")).collect::<String>()),
        ),
        "x".repeat(MAX_BYTES + 1),
    ];
    for text in bombs {
        let start = std::time::Instant::now();
        let error = check(&text).unwrap_err().to_string();
        assert!(error.len() < 100_000, "{}", error.len());
        // Generous: the build is not optimised and the machine may be busy.
        let taken = start.elapsed();
        assert!(taken < Duration::from_secs(30), "{taken:?} for {text:.40}");
    }
}

#[test]
fn the_documentation_has_every_key_and_every_code() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
    for key in known::KEYS {
        assert!(text.contains(&format!("`{key}`")), "{key} is not documented");
    }
    // And no row is of a key that a hint could not lead to.
    let row = |line: &str| Some(line.strip_prefix("| `")?.split_once("` |")?.0.to_owned());
    for key in text.lines().filter_map(row).filter(|key| key.contains('.') && !key.contains([' ', ':'])) {
        assert!(known::KEYS.contains(&key.as_str()) || key.ends_with("..."), "{key} is not known");
    }
    for code in Code::ALL {
        assert!(text.contains(code.as_str()), "{} is not documented", code.as_str());
    }
    // The examples in it are configurations.
    let mut found = 0;
    for block in text.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        if block.starts_with("version: 1") {
            good(block);
            found += 1;
        }
    }
    assert!(found > 0);
}

/// How many entries a section has in the text.
fn entries(text: &str, path: &[&str]) -> usize {
    let mut node = yaml::read(text, &mut Problems::default()).unwrap();
    for name in path {
        let yaml::Data::Map(entries) = node.data else { return 0 };
        let Some((_, child)) = entries.into_iter().find(|(key, _)| key.text == *name) else { return 0 };
        node = child;
    }
    match node.data {
        yaml::Data::Map(entries) => entries.len(),
        yaml::Data::List(items) => items.len(),
        yaml::Data::Scalar { .. } => 1,
    }
}

/// Refused with a reason, or read whole: nothing is dropped on the way.
fn refused_or_whole(text: &str) {
    match check(text) {
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.render(true).is_empty());
            if let ConfigError::Invalid(report) = error {
                assert!(!report.problems().is_empty());
            }
        }
        Ok(config) => {
            assert_eq!(config.servers.len(), entries(text, &["servers"]));
            assert_eq!(config.secrets.len(), entries(text, &["secrets"]));
            assert_eq!(config.principals.len(), entries(text, &["principals"]));
            for (name, server) in &config.servers {
                if let Upstream::Stdio { env, args, .. } = &server.upstream {
                    assert_eq!(env.len(), entries(text, &["servers", name, "upstream", "stdio", "env"]));
                    assert_eq!(args.len(), entries(text, &["servers", name, "upstream", "stdio", "args"]));
                }
            }
            assert!(config.state_dir.is_absolute() && config.runtime_dir.is_absolute());
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_refused_or_read_and_nothing_breaks(text in "([a-z0-9:{}\\[\\],&*!|>'\"%@`#?\\\\ \n\t-]|é|\u{2028}|\r\n){0,80}") {
        refused_or_whole(&text);
    }

    #[test]
    fn a_broken_good_file_is_refused_or_read_whole(
        at in 0..GOOD.len(),
        piece in "([a-z0-9:{}\\[\\],&*!|>'\"#? \n-]|é){0,6}",
        cut in 0usize..6,
    ) {
        refused_or_whole(&format!("{}{piece}{}", &GOOD[..at], &GOOD[(at + cut).min(GOOD.len())..]));
    }
}

#[test]
fn scopes_with_conditions_are_read_whole() {
    let text = with(
        "scopes: [billing/read]",
        r#"scopes: [billing/read, { scope: billing/create_refund, where: { /amount: { max: 5000, min: 0.50 },
      /a~1b/c~0d: { prefix: cus_eu_ }, /currency: { in: [eur, 7, true] }, /x: { equals: "7" }, /y: { glob: "a*" }, /z: { absent: true },
      /w: { present: true } }, amount: { max: 10.5, currency: eur }, environments: [sandbox],
      hours: { from: "09:00", to: "24:00", days: [mon, sun], zone: Europe/Berlin }, until: 2027-01-31T01:00:00+01:00 }],
      claims: { team: billing, groups: [a, b] }"#,
    );
    let principal = Arc::clone(&good(&text).principals[0].principal);
    assert_eq!(principal.scopes, ["billing/read"]);
    assert_eq!(
        serde_json::to_value(&principal.claims).unwrap(),
        serde_json::json!({"team": "billing", "groups": ["a", "b"]})
    );
    let expected = serde_json::json!([{
        "scope": "billing/create_refund",
        "where": [
            {"at": ["amount"], "is": "max", "value": 5000, "whole": true},
            {"at": ["amount"], "is": "min", "value": 0.5},
            {"at": ["a/b", "c~d"], "is": "prefix", "value": "cus_eu_"},
            {"at": ["currency"], "is": "in", "value": ["eur", 7, true]},
            {"at": ["x"], "is": "in", "value": ["7"]},
            {"at": ["y"], "is": "glob", "value": "a*"},
            {"at": ["z"], "is": "absent"},
            {"at": ["w"], "is": "present"},
        ],
        "amount": {"max": 10.5, "currency": "eur"},
        "environments": ["sandbox"],
        "hours": {"from": 540, "to": 1440, "days": ["Monday", "Sunday"], "zone": "Europe/Berlin"},
        "until": 1_801_353_600_000_000_000_u64,
    }]);
    assert_eq!(serde_json::to_value(&principal.conditional_scopes).unwrap(), expected);
    let back: crate::call::Principal = serde_json::from_str(&serde_json::to_string(&*principal).unwrap()).unwrap();
    assert_eq!(back, *principal, "a record holds all of it");
}
