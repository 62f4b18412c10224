//! What the daemon says to a service manager that asked for it (`NOTIFY_SOCKET`, as systemd's `Type=notify` sets it).

use std::ffi::OsStr;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

pub const READY: &str = "READY=1";
pub const STOPPING: &str = "STOPPING=1";

/// Where nobody asked, nothing is said; where nobody listens any more, there is nobody to tell.
pub fn tell(what: &str) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = tell_at(&socket, what)
    {
        tracing::warn!(%error, what, "the service manager could not be told");
    }
}

fn tell_at(socket: &OsStr, what: &str) -> io::Result<()> {
    let address = match socket.as_bytes().split_first() {
        Some((b'/', _)) => SocketAddr::from_pathname(socket)?,
        #[cfg(target_os = "linux")]
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => return Err(io::Error::other("NOTIFY_SOCKET names no unix socket")),
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not read must not keep the daemon from its work, or from its end.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(what.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_manager_hears_it_at_both_kinds_of_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let mut heard = [0; 64];
        tell_at(path.as_os_str(), READY).unwrap();
        let length = listener.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
        #[cfg(target_os = "linux")]
        {
            let name = format!("countersign-test-{}", std::process::id());
            let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
            let listener = UnixDatagram::bind_addr(&address).unwrap();
            tell_at(OsStr::new(&format!("@{name}")), STOPPING).unwrap();
            let length = listener.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"STOPPING=1");
        }
        assert!(tell_at(OsStr::new("vsock:2:1"), READY).is_err());
    }

    #[test]
    fn a_service_manager_that_does_not_read_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _listener = UnixDatagram::bind(&path).unwrap();
        let full = (0..100_000).find_map(|_| tell_at(path.as_os_str(), READY).err());
        assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
    }
}
