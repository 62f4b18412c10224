//! Every way that a client can take to every server, and what came of it: how many tools there are, how many are seen,
//! and whether they are the ones that are trusted.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;

use super::finding::{Finding, place};
use super::ground::{self, Ground};
use super::walk::{self, Broken, Hop};
use crate::call::Principal;
use crate::cli::wrap::reach;
use crate::cli::wrap::ways::{self, NoToken};
use crate::config::{Config, HttpListen, Match, Mode, Upstream, Value};
use crate::console::visible;
use crate::credential::secret::SecretCell;
use crate::transport::principals::has_scope_for;

/// A way of clients, for all servers.
enum Way<'a> {
    /// The principal that this user is.
    Shim(&'a Principal),
    Http {
        principal: &'a Principal,
        address: String,
        token: SecretCell,
    },
    /// As the entry of a client has it: where it is, and the principal whose token stands in it.
    Entry {
        who: String,
        principal: Option<&'a str>,
        file: PathBuf,
        url: String,
        token: SecretCell,
    },
    /// Not gone, and why.
    No(&'static str, String),
}

/// More entries than this are no set-up of one person.
const MAX_ENTRIES: usize = 32;

/// `wanted`: entries of these clients only, where some are named.
pub async fn check(ground: &Arc<Ground>, wanted: &[String]) -> Vec<Finding> {
    let (Some(config), Ok(_), Some(sockets)) = (&ground.config, &ground.daemon, &ground.sockets) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let entries = by_entries(config, ground, wanted, &mut found).await;
    let (shim, http) = (by_shim(config, ground.me), by_http(config, ground));
    let socket = sockets.join("client.sock");
    let mut going = Vec::new();
    let mut each: Vec<(&str, &Way<'_>)> = Vec::new();
    for way in std::iter::once(&shim).chain(&http) {
        if let Way::No(name, why) = way {
            found.push(Finding::note("", format!("not checked: the way by {name}: {why}")));
        }
    }
    for server in config.servers.keys().map(String::as_str) {
        let somebody = config.principals.iter().any(|entry| may_ask(config, &entry.principal, server));
        let may = |way: &&Way<'_>| match way {
            Way::Shim(principal) | Way::Http { principal, .. } => !somebody || may_ask(config, principal, server),
            Way::Entry { .. } | Way::No(..) => false,
        };
        match &shim {
            Way::Shim(principal) if !may(&&shim) => {
                let text = format!(
                    "not checked: the way by the shim: {} has no scope for it, and others have",
                    principal.name
                );
                found.push(Finding::note(server, text));
            }
            Way::Shim(_) => each.push((server, &shim)),
            Way::Http { .. } | Way::Entry { .. } | Way::No(..) => {}
        }
        // Where a client has its own way there, that is the one that counts.
        if !entries.iter().any(|(of, _)| of == server) {
            each.extend(http.iter().find(may).map(|way| (server, way)));
        }
    }
    each.extend(entries.iter().map(|(server, way)| (server.as_str(), way)));
    for (server, way) in each {
        let socket = &socket;
        going.push(async move {
            let gone = match way {
                Way::Shim(_) => walk::by_shim(&ground.program, socket, server).await,
                Way::Http { address, token, .. } => {
                    walk::by_http(&format!("http://{address}/mcp/{server}"), server, token.clone()).await
                }
                Way::Entry { url, token, .. } => walk::by_http(url, server, token.clone()).await,
                Way::No(..) => Ok(0),
            };
            (server, way, gone)
        });
    }
    let gone = join_all(going).await;
    // What the lists have shown by now.
    let seen = ground::ask(&sockets.join("operator.sock")).await.ok();
    for (server, way, gone) in gone {
        let all = seen.as_ref().and_then(|seen| seen.tools.get(server)).copied();
        found.push(told(server, way, &gone, all, ground));
    }
    for server in seen.iter().flat_map(|seen| &seen.daemon.servers) {
        found.extend(pins(&server.name, server.tools_changed, server.tools_unpinned));
    }
    found
}

fn by_shim(config: &Config, me: u32) -> Way<'_> {
    let mut mine = config.principals.iter().filter(|entry| entry.by == Match::Uid(me));
    match mine.next() {
        Some(entry) => Way::Shim(&entry.principal),
        None => Way::No("the shim", format!("no principal has match: {{ uid: {me} }}")),
    }
}

/// Whether sessions are opened for a principal on a server.
fn may_ask(config: &Config, principal: &Principal, server: &str) -> bool {
    let scopes = "scopes";
    let mode = config.policy.modes.get(scopes).copied().unwrap_or(Mode::Enforce);
    let scoped = mode == Mode::Enforce && config.policy.builtin.iter().any(|name| name == scopes);
    !scoped || has_scope_for(principal, server)
}

/// Else a token would go to whoever listens there now.
const NOT_LISTENING: &str = "the daemon that runs does not listen where this configuration says";

/// Whether the daemon that runs says that its HTTP front listens at an address.
fn listens(ground: &Ground, address: std::net::SocketAddr) -> bool {
    ground.daemon.as_ref().is_ok_and(|seen| seen.daemon.http == Some(address))
}

/// With the token of each principal that can be read, or why not.
fn by_http<'a>(config: &'a Config, ground: &Ground) -> Vec<Way<'a>> {
    let Some(HttpListen { address, allowed_hosts, .. }) = config.http.as_ref() else { return Vec::new() };
    let no = |why: &str| vec![Way::No("HTTP", why.to_owned())];
    if address.port() == 0 {
        return no("its port is chosen at each start");
    }
    if !listens(ground, *address) {
        return no(NOT_LISTENING);
    }
    let (ip, reached) = (reach::reached(*address).ip(), reach::reached(*address).to_string());
    let host = reached.rsplit_once(':').map_or("", |(host, _)| host);
    if !ip.is_loopback() || !allowed_hosts.iter().any(|allowed| allowed == host) {
        return no("it is not for clients of this machine");
    }
    let tokens = config.principals.iter().filter_map(|entry| match &entry.by {
        Match::Token(name) => {
            let token = ground.secrets.get(name)?.as_ref().ok()?.clone();
            Some(Way::Http { principal: &entry.principal, address: reached.clone(), token })
        }
        // Of these only their holders have it.
        Match::TokenHash(_) | Match::Jwt { .. } | Match::Uid(_) => None,
    });
    let ways: Vec<Way<'a>> = tokens.collect();
    if ways.is_empty() { no("no principal's token can be read here") } else { ways }
}

/// The entries of clients that name the front, each for its server, with the token that stands in it.
async fn by_entries<'a>(
    config: &'a Config,
    ground: &Arc<Ground>,
    wanted: &[String],
    found: &mut Vec<Finding>,
) -> Vec<(String, Way<'a>)> {
    let of = Arc::clone(ground);
    let all = tokio::task::spawn_blocking(move || of.config.as_ref().map(ways::by_http).unwrap_or_default());
    let all = all.await.unwrap_or_default();
    let mut entries = Vec::new();
    for entry in all {
        if !wanted.is_empty() && !wanted.iter().any(|name| name == entry.client) {
            continue;
        }
        let who = format!("{} {} in {}", entry.client, visible::line(&entry.name), place(&entry.file));
        let not = match &entry.token {
            // Where the entries are listed it is said that it goes nowhere.
            _ if !config.servers.contains_key(&entry.server) => continue,
            _ if entries.len() >= MAX_ENTRIES => "there are more than are walked",
            _ if !config.http.as_ref().is_some_and(|http| listens(ground, http.address)) => NOT_LISTENING,
            Err(NoToken::None) => "it has no token",
            Err(NoToken::Elsewhere) => "its token does not stand in it",
            Ok(_) => "",
        };
        let Some(token) = entry.token.ok().filter(|_| not.is_empty()) else {
            found.push(Finding::note(&entry.server, format!("not checked: the way by HTTP of {who}: {not}")));
            continue;
        };
        let is = |by: &Match| match by {
            Match::TokenHash(hash) => hash == token.digest(),
            Match::Token(name) => {
                let known = ground.secrets.get(name).and_then(|secret| secret.as_ref().ok());
                known.is_some_and(|known| known.current().digest() == token.digest())
            }
            Match::Jwt { .. } | Match::Uid(_) => false,
        };
        let principal = config.principals.iter().find(|entry| is(&entry.by)).map(|entry| entry.principal.name.as_str());
        let token = SecretCell::new("the token of the entry", token);
        entries.push((entry.server, Way::Entry { who, principal, file: entry.file, url: entry.url, token }));
    }
    entries
}

fn told(server: &str, way: &Way<'_>, gone: &Result<usize, Broken>, all: Option<usize>, ground: &Ground) -> Finding {
    let (by, principal) = match way {
        Way::Shim(principal) => ("shim".to_owned(), principal.name.as_str()),
        Way::Http { principal, .. } => ("HTTP".to_owned(), principal.name.as_str()),
        Way::Entry { who, principal, .. } => (format!("HTTP, as {who}"), principal.unwrap_or("its client")),
        Way::No(by, _) => ((*by).to_owned(), ""),
    };
    match gone {
        Ok(0) if all.is_some_and(|all| all > 0) => {
            let text = format!("by {by}: policy shows {principal} none of its {} tools", all.unwrap_or(0));
            Finding::warning(server, text).run(ground.with_config("countersign policy coverage"))
        }
        Ok(seen) => {
            let of = all.map_or_else(String::new, |all| format!(" of {all}"));
            Finding::ok(server, format!("by {by}, daemon, policy, server: {principal} sees {seen}{of} tools"))
        }
        Err(Broken { hop, why }) => {
            let found = Finding::problem(server, format!("by {by}: broken at {}: {why}", hop.as_str()));
            let file = ground.file.as_deref().map(place).unwrap_or_default();
            match (hop, way) {
                (Hop::Shim, _) => found.run("install countersign again: cargo install --path ."),
                (Hop::Daemon, _) => found.run("look at the daemon's log, and start it again"),
                (Hop::Configuration, _) => found.run("start the daemon again: it runs with another configuration"),
                (Hop::Principal, Way::Entry { file: entry, .. }) => {
                    let entry = place(entry);
                    found.run(format!(
                        "countersign principal token NAME   # the token goes into {entry}, its hash into {file}; an entry that \
                         `wrap` wrote: unwrap it and wrap it again"
                    ))
                }
                (Hop::Principal, _) => {
                    let me = ground.me;
                    found.run(format!(
                        "write into {file}: principals: - {{ name: local, match: {{ uid: {me} }}, scopes: [...] }}"
                    ))
                }
                (Hop::Key, _) => found.run(another_key(server, ground)),
                (Hop::Server, _) => found.run(by_hand(server, ground)),
            }
        }
    }
}

fn another_key(server: &str, ground: &Ground) -> String {
    let server = ground.config.as_ref().and_then(|config| config.servers.get(server));
    let values = server.into_iter().flat_map(|server| server.upstream.values());
    let names = values.filter_map(|(_, value)| match value {
        Value::Secret { name, .. } => Some(name.as_str()),
        Value::Plain(_) => None,
    });
    format!("put a key that is valid into the secret {}", names.collect::<Vec<_>>().join(", "))
}

/// What shows why a server does not answer.
fn by_hand(server: &str, ground: &Ground) -> String {
    let upstream = ground.config.as_ref().and_then(|config| config.servers.get(server)).map(|server| &server.upstream);
    match upstream {
        Some(Upstream::Stdio { command, args, .. }) => {
            let words: Vec<String> =
                std::iter::once(command).chain(args).map(|word| crate::cli::quoted(word)).collect();
            format!(
                "look at the daemon's log for what it said in its sandbox; start it by hand, without one and with its key, \
                 to compare: {}",
                words.join(" ")
            )
        }
        Some(Upstream::Http { url, .. }) => {
            format!("curl -sS -o /dev/null -w '%{{http_code}}\\n' {}", crate::cli::quoted(url))
        }
        None => "look at the daemon's log".to_owned(),
    }
}

fn pins(server: &str, changed: usize, new: usize) -> Option<Finding> {
    let command = format!("countersign tools diff {server}");
    match (changed, new) {
        (0, 0) => None,
        (0, new) => Some(
            Finding::note(server, format!("{new} tools that nobody has pinned: their calls are held")).run(command),
        ),
        (changed, _) => {
            let text = format!("{changed} tools are not what you trusted any more: their calls are denied");
            Some(Finding::warning(server, text).run(command))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;
    use crate::call::PrincipalKind;
    use crate::control::client::ControlError;

    fn ground() -> Ground {
        let text = "version: 1\nsecrets: { k: { env: K } }\nservers: { s: { environment: sandbox, upstream: { stdio: { \
                    command: serve, args: [a b], env: { KEY: { secret: k } } } } } }\n\
                    principals: [{ name: x, match: { uid: 1 }, scopes: [] }]\n";
        Ground {
            me: 1,
            file: Some("/c/countersign.yaml".into()),
            refused: None,
            config: crate::config::parse(text, std::path::Path::new("/c/countersign.yaml")).ok(),
            secrets: std::collections::BTreeMap::new(),
            sockets: None,
            daemon: Err(ControlError::Closed.into()),
            program: "/countersign".into(),
        }
    }

    fn x() -> Principal {
        Principal::plain("x", PrincipalKind::Uid, Vec::new())
    }

    #[test]
    fn each_broken_hop_is_named_with_what_fixes_it() {
        let (ground, x) = (ground(), x());
        for (hop, name, command) in [
            (Hop::Shim, "the shim", "cargo install"),
            (Hop::Daemon, "the daemon:", "log"),
            (
                Hop::Principal,
                "the principal",
                "write into /c/countersign.yaml: principals: - { name: local, match: { uid: 1 }",
            ),
            (Hop::Configuration, "the daemon's configuration", "start the daemon again"),
            (Hop::Key, "does not accept the key", "into the secret k"),
            (Hop::Server, "the server:", "serve 'a b'"),
        ] {
            let broken = Err(Broken { hop, why: "why".to_owned() });
            let found = told("s", &Way::Shim(&x), &broken, None, &ground);
            assert_eq!(found.level, Level::Problem);
            assert!(found.text.contains(name) && found.text.ends_with(": why"), "{}", found.text);
            assert!(found.command.as_deref().is_some_and(|said| said.contains(command)), "{:?}", found.command);
        }
    }

    #[test]
    fn tools_that_are_not_the_trusted_ones_are_said() {
        assert_eq!(pins("s", 0, 0), None);
        let level = |changed, new| pins("s", changed, new).map(|found| found.level);
        assert_eq!(
            [level(0, 2), level(1, 0), level(1, 2)].map(Option::unwrap),
            [Level::Note, Level::Warning, Level::Warning]
        );
        assert_eq!(pins("s", 1, 0).unwrap().command.as_deref(), Some("countersign tools diff s"));
        let x = x();
        let none = told("s", &Way::Shim(&x), &Ok(0), Some(3), &ground());
        assert_eq!(none.level, Level::Warning);
        let some = told("s", &Way::Shim(&x), &Ok(2), Some(3), &ground());
        assert_eq!(
            (some.level, some.text.as_str()),
            (Level::Ok, "by shim, daemon, policy, server: x sees 2 of 3 tools")
        );
    }
}
