//! Whether an entry that names countersign gets to a server of the configuration: by the program, the socket or the
//! address that stand in it, and the token.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Parser as _;

use super::clear::ENVIRONMENTS;
use super::entry;
use super::found::Entry;
use super::tree::Node;
use super::ways::{self, NoToken};
use crate::cli::connect;
use crate::config::{Config, HttpListen, Match, SecretSource};
use crate::credential::{shape, store};
use crate::shim;

/// How a client of this machine reaches the front: scheme and authority.
///
/// # Errors
/// Where no address can be written that still holds after a restart.
pub fn front(http: &HttpListen) -> anyhow::Result<String> {
    let address = http.address;
    match &http.public_url {
        Some(public) if !address.ip().is_loopback() && !address.ip().is_unspecified() => return Ok(public.clone()),
        _ => {}
    }
    if address.port() == 0 {
        bail!("the HTTP front has another port after each start: give listen.http a fixed one, such as 127.0.0.1:8377");
    }
    Ok(format!("http://{}", reached(address)))
}

/// The server that an address of the front is of; nothing for any other address.
pub fn server(http: &HttpListen, url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let server = uri.path().strip_prefix("/mcp/")?.to_owned();
    let public = http.public_url.as_deref().and_then(|public| url.strip_prefix(public));
    (is_here(http, &uri) || public.is_some_and(|rest| rest.starts_with('/'))).then_some(server)
}

/// Whether an address leads to where the front listens on this machine.
fn is_here(http: &HttpListen, uri: &http::Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let ours = http.address.ip();
    let here = match host.parse::<IpAddr>() {
        Ok(ip) => ip == ours || (ours.is_unspecified() && ip.is_loopback()),
        Err(_) => host.eq_ignore_ascii_case("localhost") && (ours.is_loopback() || ours.is_unspecified()),
    };
    here && uri.scheme_str() == Some("http") && uri.port_u16().unwrap_or(80) == http.address.port()
}

/// Where a token of an entry may be sent to: the very address that is configured. Under another one that leads there too,
/// as `localhost` may, another account could listen.
pub fn dialed(http: &HttpListen, url: &str) -> String {
    match url.parse::<http::Uri>() {
        Ok(uri) if is_here(http, &uri) => format!("http://{}{}", reached(http.address), uri.path()),
        Ok(_) | Err(_) => url.to_owned(),
    }
}

/// An address by which this machine reaches what listens at one.
pub fn reached(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Whether an entry names the HTTP front.
pub fn by_http(config: Option<&Config>, entry: &Node) -> bool {
    let http = config.and_then(|config| config.http.as_ref());
    http.zip(entry::address(entry)).is_some_and(|(http, url)| server(http, url).is_some())
}

/// What `countersign connect` is given.
#[derive(clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Connect {
    #[command(flatten)]
    args: connect::Args,
}

/// Why an entry that is ours does not get to a server of the configuration; nothing where it does. Without a
/// configuration only its program is looked at.
pub fn astray(entry: &Entry, config: Option<&Config>) -> Option<String> {
    let started = entry::started(entry.place.client.shape(), &entry.node);
    let server = match started.split_first() {
        Some((program, args)) => {
            if !is_there(program, entry.place.folder.as_deref()) {
                return Some(format!("its program {} is not there", shape::mask(program)));
            }
            let Ok(Connect { args }) = Connect::try_parse_from(args.iter().skip(1)) else {
                return Some("its arguments are not those of `countersign connect`".to_owned());
            };
            let listens = config?.runtime_dir.join("client.sock");
            let by_default = || shim::socket_by(|name| variable(&entry.node, name)).ok();
            let dials = args.socket.or_else(by_default).unwrap_or_else(|| listens.clone());
            let dials = entry.place.folder.as_ref().map_or(dials.clone(), |folder| folder.join(&dials));
            if real(&dials) != real(&listens) {
                let (dials, listens) = (dials.display(), listens.display());
                return Some(format!("it dials {dials}, and the daemon of this configuration listens at {listens}"));
            }
            args.server
        }
        None => {
            let reached =
                config?.http.as_ref().zip(entry::address(&entry.node)).and_then(|(http, url)| server(http, url));
            let Some(server) = reached else {
                return Some("its address is not that of the HTTP front of this configuration".to_owned());
            };
            server
        }
    };
    if !config?.servers.contains_key(&server) {
        return Some(format!("the configuration has no server `{}`", shape::mask(&server)));
    }
    if started.is_empty() { turned_away(entry, config?) } else { None }
}

/// Why the front turns an entry away by its token; nothing where that cannot be told from the files.
fn turned_away(entry: &Entry, config: &Config) -> Option<String> {
    // Clients may sign in by themselves there.
    if !config.issuers.is_empty() {
        return None;
    }
    let token = match ways::token(entry) {
        Ok(token) => token,
        Err(NoToken::None) => return Some("it has no token, and the front takes nobody without one".to_owned()),
        Err(NoToken::Elsewhere) => return None,
    };
    let folder = store::folder(&config.state_dir);
    for principal in &config.principals {
        let same = match &principal.by {
            Match::Uid(_) | Match::Jwt { .. } => false,
            Match::TokenHash(hash) => hash == token.digest(),
            Match::Token(name) => match config.secrets.get(name)? {
                // What cannot be read may be it.
                SecretSource::Stored(_) => {
                    store::get(&folder, name).ok()?.is_some_and(|one| one.matches(token.expose()))
                }
                _ => return None,
            },
        };
        if same {
            return None;
        }
    }
    Some("no principal of the configuration has its token: it may have been replaced since".to_owned())
}

/// A variable as the shim of an entry sees it.
fn variable(entry: &Node, name: &str) -> Option<OsString> {
    let environments = entry.members().iter().filter(|member| ENVIRONMENTS.contains(&member.name.as_str()));
    let mut given = environments.flat_map(|member| member.value.members());
    match given.find(|member| member.name == name) {
        Some(given) => given.value.text().map(OsString::from),
        None => std::env::var_os(name),
    }
}

/// As the client would find it; what the client fills in itself is not known here.
fn is_there(program: &str, folder: Option<&Path>) -> bool {
    let runs = |path: PathBuf| path.metadata().is_ok_and(|at| at.is_file() && at.permissions().mode() & 0o111 != 0);
    if program.starts_with('~') || program.contains(['$', '{']) {
        return true;
    }
    if !program.contains('/') {
        let search = std::env::var_os("PATH").unwrap_or_default();
        return std::env::split_paths(&search).any(|folder| runs(folder.join(program)));
    }
    match folder {
        Some(folder) => runs(folder.join(program)),
        None => !program.starts_with('/') || runs(PathBuf::from(program)),
    }
}

/// Two ways to one folder are one socket.
fn real(socket: &Path) -> PathBuf {
    let folder = socket.parent().and_then(|folder| folder.canonicalize().ok());
    folder.zip(socket.file_name()).map_or_else(|| socket.to_owned(), |(folder, name)| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &str, public: Option<&str>) -> HttpListen {
        HttpListen {
            address: address.parse().unwrap(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            public_url: public.map(str::to_owned),
            behind_proxy: true,
        }
    }

    #[test]
    fn a_client_gets_an_address_that_it_can_use() {
        let public = Some("https://c.example");
        for (address, public, front_at) in [
            ("127.0.0.1:8377", None, Some("http://127.0.0.1:8377")),
            ("127.0.0.1:8377", public, Some("http://127.0.0.1:8377")),
            ("0.0.0.0:8377", public, Some("http://127.0.0.1:8377")),
            ("[::]:8377", None, Some("http://[::1]:8377")),
            ("10.0.0.1:8377", public, Some("https://c.example")),
            ("127.0.0.1:0", None, None),
            ("0.0.0.0:0", public, None),
        ] {
            assert_eq!(front(&listen(address, public)).ok().as_deref(), front_at, "{address} {public:?}");
        }
    }

    #[test]
    fn an_address_is_ours_where_the_front_answers() {
        let http = listen("127.0.0.1:8377", Some("https://c.example"));
        for (url, of) in [
            ("http://127.0.0.1:8377/mcp/stripe", Some("stripe")),
            ("http://localhost:8377/mcp/stripe", Some("stripe")),
            ("https://c.example/mcp/stripe", Some("stripe")),
            ("https://c.example.evil/mcp/stripe", None),
            ("http://127.0.0.1:8378/mcp/stripe", None),
            ("http://127.0.0.2:8377/mcp/stripe", None),
            ("http://127.0.0.1:8377/sse", None),
            ("https://mcp.stripe.com", None),
            // The front itself speaks plain HTTP.
            ("https://127.0.0.1:8377/mcp/stripe", None),
        ] {
            assert_eq!(server(&http, url).as_deref(), of, "{url}");
        }
        assert_eq!(server(&listen("0.0.0.0:1", None), "http://[::1]:1/mcp/s").as_deref(), Some("s"));
        for (address, url, to) in [
            ("127.0.0.1:1", "http://localhost:1/mcp/s", "http://127.0.0.1:1/mcp/s"),
            ("0.0.0.0:1", "http://[::1]:1/mcp/s", "http://127.0.0.1:1/mcp/s"),
            ("[::1]:1", "http://localhost:1/mcp/s", "http://[::1]:1/mcp/s"),
        ] {
            assert_eq!(dialed(&listen(address, None), url), to);
        }
    }
}
