//! Which addresses may be reached for a sign-in. Metadata names them, and metadata is a server's word: a public server
//! must not be able to point us at this machine, at its network or at a cloud's own services.
//!
//! Invariant: it is the address that is connected to which is judged, not the name that stood for another one before.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use super::http_upstream::is_this_machine;

/// Where an address lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Public,
    ThisMachine,
    Private,
    /// Link-local (a cloud's metadata service among them), multicast, reserved.
    Never,
}

/// What may be reached for one server.
#[derive(Clone, Debug)]
pub struct Reach(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Hosts that the configuration names: wherever they are, the operator wants them reached.
    named: Vec<String>,
    /// The server itself is on this machine.
    local: bool,
}

impl Reach {
    /// For a server at `url`, whose authorization server may be pinned.
    pub fn new(url: &Uri, issuer: Option<&Uri>) -> Reach {
        let named = [Some(url), issuer].into_iter().flatten().filter_map(|uri| uri.host()).map(str::to_ascii_lowercase);
        Reach(Arc::new(Inner { named: named.collect(), local: url.host().is_some_and(is_this_machine) }))
    }

    /// What can be said before a name is looked up.
    ///
    /// # Errors
    /// Why nothing is sent there.
    pub fn check(&self, uri: &Uri) -> Result<(), String> {
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| "the address has no host".to_owned())?;
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("the address has a user in it".to_owned());
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if self.0.local && is_this_machine(host) => {}
            _ => return Err(format!("{host} would be asked without encryption")),
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<IpAddr>() {
            Ok(ip) if !self.may(host, ip) => Err(format!("{host} is not a public address")),
            _ => Ok(()),
        }
    }

    fn may(&self, host: &str, ip: IpAddr) -> bool {
        let named = self.0.named.iter().any(|named| named.eq_ignore_ascii_case(host));
        match place(ip) {
            Place::Public => true,
            Place::ThisMachine => self.0.local || named,
            Place::Private => named,
            Place::Never => false,
        }
    }

    async fn resolve(self, name: Name) -> Result<std::vec::IntoIter<SocketAddr>, std::io::Error> {
        let host = name.as_str().to_owned();
        let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
        let allowed: Vec<SocketAddr> = found.into_iter().filter(|address| self.may(&host, address.ip())).collect();
        if allowed.is_empty() {
            let why = format!("{host} has no public address, and the configuration does not name it");
            return Err(std::io::Error::other(why));
        }
        Ok(allowed.into_iter())
    }
}

impl Service<Name> for Reach {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().resolve(name))
    }
}

fn place(ip: IpAddr) -> Place {
    match ip {
        IpAddr::V4(ip) => place4(ip),
        IpAddr::V6(ip) => inside(ip).map_or_else(|| place6(ip), place4),
    }
}

fn place4(ip: Ipv4Addr) -> Place {
    let [a, b, c, _] = ip.octets();
    if ip.is_loopback() {
        Place::ThisMachine
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        Place::Private
    } else if a == 0
        || a >= 224
        || ip.is_link_local()
        || ip.is_documentation()
        || (a == 198 && (18..20).contains(&b))
        || (a, b, c) == (192, 0, 0)
    {
        Place::Never
    } else {
        Place::Public
    }
}

fn place6(ip: Ipv6Addr) -> Place {
    match ip.segments() {
        _ if ip.is_loopback() => Place::ThisMachine,
        [first, ..] if first & 0xfe00 == 0xfc00 => Place::Private,
        // Of 2000::/3, which is all that is public, Teredo and what is for documentation are not.
        [0x2001, 0 | 0x0db8, ..] => Place::Never,
        [first, ..] if first & 0xe000 == 0x2000 => Place::Public,
        _ => Place::Never,
    }
}

/// The older address that one of IPv6 stands for: mapped, compatible, translated (64:ff9b::/96), 6to4.
fn inside(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let pair = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => Some(pair(g, h)),
        [0, 0, 0, 0, 0, 0] if !ip.is_loopback() && !ip.is_unspecified() => Some(pair(g, h)),
        [0x2002, ..] => Some(pair(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(url: &str, issuer: Option<&str>) -> Reach {
        let issuer: Option<Uri> = issuer.map(|issuer| issuer.parse().unwrap());
        Reach::new(&url.parse().unwrap(), issuer.as_ref())
    }

    fn reaches(reach: &Reach, url: &str) -> bool {
        reach.check(&url.parse().unwrap()).is_ok()
    }

    #[test]
    fn every_address_has_its_place() {
        for (ip, expected) in [
            ("93.184.216.34", Place::Public),
            ("127.0.0.1", Place::ThisMachine),
            ("127.255.0.9", Place::ThisMachine),
            ("::1", Place::ThisMachine),
            ("::ffff:127.0.0.1", Place::ThisMachine),
            ("10.0.0.1", Place::Private),
            ("172.31.255.255", Place::Private),
            ("172.32.0.1", Place::Public),
            ("192.168.1.1", Place::Private),
            ("100.64.0.1", Place::Private),
            ("fd00::1", Place::Private),
            ("64:ff9b::a00:1", Place::Private),
            ("2002:a00:1::", Place::Private),
            ("::10.0.0.1", Place::Private),
            ("169.254.169.254", Place::Never),
            ("::ffff:169.254.169.254", Place::Never),
            ("0.0.0.0", Place::Never),
            ("::", Place::Never),
            ("255.255.255.255", Place::Never),
            ("224.0.0.1", Place::Never),
            ("198.18.0.1", Place::Never),
            ("fe80::1", Place::Never),
            ("ff02::1", Place::Never),
            ("2001::1", Place::Never),
            ("2606:4700::1111", Place::Public),
        ] {
            assert_eq!(place(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn a_public_server_points_nobody_at_private_places() {
        let public = reach("https://mcp.example/mcp", None);
        assert!(reaches(&public, "https://auth.example/token"));
        assert!(reaches(&public, "https://93.184.216.34/token"));
        for no in [
            "http://auth.example/token",
            "http://127.0.0.1:1/token",
            "https://127.0.0.1/token",
            "https://10.0.0.1/token",
            "https://[::1]/token",
            "https://[fd00::1]/token",
            "https://169.254.169.254/latest",
            "https://user@auth.example/token",
            "/token",
        ] {
            assert!(!reaches(&public, no), "{no}");
        }
    }

    #[test]
    fn a_server_on_this_machine_may_have_its_authorization_server_here() {
        let local = reach("http://127.0.0.1:3000/mcp", None);
        for yes in ["http://127.0.0.1:4000/token", "http://localhost:4000/token", "https://auth.example/token"] {
            assert!(reaches(&local, yes), "{yes}");
        }
        for no in ["http://auth.example/token", "http://10.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/"] {
            assert!(!reaches(&local, no), "{no}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_where_it_leads() {
        let resolve = async |reach: Reach, host: &str| reach.resolve(host.parse().unwrap()).await.is_ok();
        assert!(!resolve(reach("https://mcp.example/mcp", None), "localhost").await);
        assert!(resolve(reach("http://localhost:1/mcp", None), "localhost").await);
        // What the configuration names is reached wherever it is.
        assert!(resolve(reach("https://mcp.example/mcp", Some("https://localhost/")), "localhost").await);
    }
}
