//! The box of a child: what it may be given, and what it never is.

use super::*;

/// A file with one stdio server whose sandbox is as given.
fn boxed(sandbox: &str) -> Result<Config, ConfigError> {
    with(&format!("sandbox: {sandbox}"))
}

/// A file with one stdio server of which this is said too.
fn with(more: &str) -> Result<Config, ConfigError> {
    let text = format!(
        "version: 1\nstate_dir: /var/lib/cs\nruntime_dir: /run/cs\nsecrets: {{ k: {{ file: /keys/k }} }}\n\
         policy: {{ paths: [/rules] }}\nprincipals: [{{ name: a, match: {{ uid: 1 }}, scopes: [] }}]\n\
         servers:\n  s: {{ environment: test, upstream: {{ stdio: {{ command: x, {more} }} }} }}\n"
    );
    parse(&text, Path::new("/etc/cs/countersign.yaml"))
}

#[test]
fn a_sandbox_is_read_and_is_off_only_where_that_is_said() {
    use crate::sandbox::{Limits, Network};

    let of = |sandbox: &str| match &boxed(sandbox).unwrap().servers["s"].upstream {
        Upstream::Stdio { sandbox, .. } => sandbox.as_deref().cloned(),
        Upstream::Http { .. } => panic!(),
    };
    assert_eq!((of("{}"), of("off")), (Some(Wishes::default()), None));
    let all = of("{ read: [/srv/a, data], write: [/srv/b], network: [443, 8080], unix_sockets: true, strict: true, \
                  limits: { open_files: 256, processes: 100, memory: 1GiB, file_size: 1MiB } }");
    let limits = Limits { open_files: 256, processes: Some(100), memory: Some(1 << 30), file_size: Some(1 << 20) };
    let wishes = Wishes {
        read: vec!["/srv/a".into(), "/etc/cs/data".into()],
        write: vec!["/srv/b".into()],
        network: Network::Ports([443, 8080].into()),
        unix_sockets: true,
        strict: true,
        limits,
    };
    assert_eq!(all, Some(wishes));
    assert_eq!(of("{ network: none }").unwrap().network, Network::Ports([].into()));
    assert_eq!(of("{ network: any }").unwrap().network, Network::Any);
}

/// What reaches its API through us has no use for a network, unless its operator says so.
#[test]
fn a_child_behind_a_gate_has_no_network_of_its_own() {
    use crate::sandbox::Network;

    let gate = "gate: { url: 'https://a.example', headers: { K: { secret: k } }, url_env: U, key_env: K }";
    let of = |more: &str| match &with(&format!("{gate}{more}")).unwrap().servers["s"].upstream {
        Upstream::Stdio { sandbox, .. } => sandbox.as_deref().map(|wishes| wishes.network.clone()),
        Upstream::Http { .. } => panic!(),
    };
    for none in ["", ", sandbox: {}", ", sandbox: { unix_sockets: true }", ", sandbox: { network: none }"] {
        assert_eq!(of(none), Some(Network::Ports([].into())), "{none}");
    }
    assert_eq!(of(", sandbox: { network: any }"), Some(Network::Any));
    assert_eq!(of(", sandbox: { network: [443] }"), Some(Network::Ports([443].into())));
    assert_eq!(of(", sandbox: off"), None);
}

#[test]
fn a_sandbox_that_means_nothing_or_opens_what_is_ours_is_refused() {
    for (sandbox, says) in [
        ("false", "must be a mapping or `off`"),
        ("no", "must be a mapping or `off`"),
        ("[off]", "must be a mapping or `off`"),
        ("{ raed: [/a] }", "did you mean `read`?"),
        ("{ network: [] }", "1 to 100 ports"),
        ("{ network: [0] }", "whole numbers from 1 to 65535"),
        ("{ network: [65536] }", "whole numbers from 1 to 65535"),
        ("{ network: [\"443\"] }", "whole numbers from 1 to 65535"),
        ("{ network: some }", "write one of any, none"),
        ("{ limits: { memory: 1KiB } }", "out of range"),
        ("{ limits: { open_files: 0 } }", "out of range"),
        ("{ strict: maybe }", "`true` or `false`"),
        ("{ read: [/] }", "`state_dir`"),
        ("{ read: [/var/lib/cs/children] }", "`state_dir`"),
        ("{ write: [/run] }", "`runtime_dir`"),
        ("{ read: [/etc/cs] }", "this configuration"),
        ("{ write: [/rules] }", "policies"),
        ("{ read: [/keys] }", "the file of the secret `k`"),
    ] {
        let said = boxed(sandbox).unwrap_err().to_string();
        assert!(said.contains(says), "{sandbox}: {said}");
    }
}
