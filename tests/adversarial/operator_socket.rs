//! Cases about the operator socket: who may reach it, what may lie in its place, and what it makes of bytes that are no
//! commands.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use countersign::control::wire::{HoldView, VERSION};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::harness::daemon::set_mode;
use crate::harness::operator::RawOperator;
use crate::harness::{Console, Countersign, Daemon, Shim, Spy, call, within};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

struct Scene {
    spy: Spy,
    daemon: Daemon,
    shim: Shim,
    console: Console,
    hold: HoldView,
}

impl Scene {
    /// A call waits, and a console is attached.
    async fn new() -> Scene {
        let spy = Spy::stdio().await;
        let daemon = Countersign::new().upstream(&spy).start().await;
        let mut shim = daemon.shim().await;
        let mut console = daemon.console().await;
        shim.send(&call(1, "create_refund", json!({"charge": "ch_1", "amount": 100}))).await;
        let hold = console.hold().await;
        Scene { spy, daemon, shim, console, hold }
    }

    async fn dial(&self) -> UnixStream {
        UnixStream::connect(&self.daemon.operator_socket).await.unwrap()
    }

    /// Sends bytes that are no commands; the daemon hangs up, whatever it says before.
    async fn is_hung_up_on(&self, bytes: &[u8]) {
        let mut stream = self.dial().await;
        // The daemon may have seen enough before the end.
        let _ = stream.write_all(bytes).await;
        let mut said = Vec::new();
        let _ = within("the end of the connection", stream.read_to_end(&mut said)).await;
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains("welcome"), "{said}");
    }

    /// Nothing has happened, and everything still works.
    async fn assert_untouched(mut self) {
        let still = self.console.pending(1).await;
        assert_eq!((still[0].digest, still[0].approvals.have.len()), (self.hold.digest, 0));
        assert_eq!(self.spy.calls("create_refund"), 0);
        self.console.approve(&self.hold).await.unwrap();
        assert_eq!(self.shim.answer(1).await["result"]["content"][0]["text"], "done: create_refund");
        self.daemon.stop().await;
        let records = self.daemon.records().await;
        assert_eq!(records.iter().filter(|record| record["kind"] == "ruled").count(), 1);
    }
}

/// Under the laxest umask, in a folder that is not there yet.
#[tokio::test]
async fn ops_001() {
    let spy = Spy::stdio().await;
    let setup = Countersign::new();
    let run = setup.dir().join("born");
    let setup = setup.set("/runtime_dir", json!(run)).upstream(&spy).wrapped("umask 000; exec \"$@\"");
    let daemon = setup.start().await;
    assert_eq!(mode(&run), 0o700);
    for socket in [&daemon.operator_socket, &daemon.client_socket] {
        let found = std::fs::symlink_metadata(socket).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!((mode(socket), found.uid()), (0o600, rustix::process::geteuid().as_raw()));
    }
    let files = std::fs::read_dir(&run).unwrap().map(|file| mode(&file.unwrap().path()));
    assert!(files.into_iter().all(|mode| mode & 0o077 == 0));
}

/// The folder and the socket were opened by mistake. A thread of this test becomes another account, which root may do;
/// without root there is no other account, and what is left to see is that they are closed.
#[tokio::test]
async fn ops_002() {
    let mut scene = Scene::new().await;
    let socket = scene.daemon.operator_socket.clone();
    let run = socket.parent().unwrap().to_owned();
    if !rustix::process::geteuid().is_root() {
        assert_eq!((mode(&run), mode(&socket)), (0o700, 0o600));
        return scene.assert_untouched().await;
    }
    for path in run.ancestors().filter(|path| path.starts_with(std::env::temp_dir()) && *path != std::env::temp_dir()) {
        set_mode(path, 0o755);
    }
    set_mode(&socket, 0o666);
    let hello = json!({"hello": {"version": VERSION, "watch": true, "read_only": false}});
    let ruling = json!({"rule": {"seq": 1, "id": scene.hold.id, "digest": scene.hold.digest, "ruling": "approve"}});
    let lines = format!("{hello}\n{ruling}\n");
    let foreign = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
        let mut said = Vec::new();
        // It may be closed before all of it was taken.
        let _ = std::io::Write::write_all(&mut stream, lines.as_bytes());
        let _ = std::io::Read::read_to_end(&mut stream, &mut said);
        said
    });
    let said = tokio::task::spawn_blocking(move || foreign.join().unwrap()).await.unwrap();
    assert_eq!(said, b"");
    scene.daemon.logs("another account has reached the operator socket").await;
    let still = scene.console.pending(1).await;
    assert_eq!((still[0].digest, still[0].approvals.have.len()), (scene.hold.digest, 0));
    scene.daemon.stop().await;
    let records = scene.daemon.records().await;
    let alerts =
        records.iter().filter(|record| record["body"].as_str().unwrap().contains("65534 at the operator socket"));
    assert_eq!(alerts.count(), 1);
    assert_eq!(scene.spy.calls("create_refund"), 0);
}

/// What is not a dead daemon's socket stays as it is, and the daemon does not start.
#[tokio::test]
async fn ops_003() {
    for name in ["operator.sock", "client.sock"] {
        for what in ["file", "link", "live", "stale"] {
            let spy = Spy::stdio().await;
            let setup = Countersign::new().upstream(&spy);
            let (path, elsewhere) = (setup.dir().join("run").join(name), setup.dir().join("elsewhere"));
            let mut living = None;
            match what {
                "file" => std::fs::write(&path, "mine").unwrap(),
                "link" => {
                    std::fs::write(&elsewhere, "mine").unwrap();
                    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
                }
                "live" => living = Some(UnixListener::bind(&path).unwrap()),
                _ => drop(UnixListener::bind(&path).unwrap()),
            }
            let before = std::fs::symlink_metadata(&path).unwrap().ino();
            if what == "stale" {
                let daemon = setup.start().await;
                UnixStream::connect(daemon.runtime_dir().join(name)).await.unwrap();
                continue;
            }
            let kept = setup.kept();
            let (status, said) = setup.refuses().await;
            assert!(!status.success() && said.contains(name), "{what}: {said}");
            assert_eq!(std::fs::symlink_metadata(&path).unwrap().ino(), before, "{what}");
            if what == "link" {
                assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "mine");
            }
            drop((living, kept));
        }
    }
}

/// A folder that others can rename things in.
#[tokio::test]
async fn ops_004() {
    for below in [true, false] {
        let spy = Spy::stdio().await;
        let setup = Countersign::new().upstream(&spy);
        let open = setup.dir().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let run = if below { open.join("run") } else { open.clone() };
        let kept = setup.kept();
        let (status, said) = setup.set("/runtime_dir", json!(run)).refuses().await;
        assert!(!status.success() && said.contains(open.to_str().unwrap()), "{said}");
        assert!(!run.join("operator.sock").exists());
        drop(kept);
    }
}

/// Whatever is no line of the protocol costs its connection and nothing else.
#[tokio::test]
async fn ops_008() {
    let scene = Scene::new().await;
    let mut noise = vec![0; 64 << 10];
    getrandom(&mut noise);
    let hello = |version: u32| format!(r#"{{"command":"hello","version":{version},"watch":false,"read_only":false}}"#);
    let huge = format!(r#"{{"command":"hello","x":"{}"}}"#, "a".repeat(10 << 20));
    let frames: [&[u8]; 7] = [
        &noise,
        b"\xff\xff\xff\xffaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
        b"\x80\x00\x00\x00{\"command\":\"list\",\"seq\":1}\n",
        huge.as_bytes(),
        b"{\"command\":\"h\xc3\x28llo\"}\n",
        b"{\"command\":\"hello\",\"version\":NaN,\"watch\":false,\"read_only\":false}\n",
        b"{\"command\":\"approve_everything\",\"seq\":1}\n",
    ];
    for frame in frames {
        scene.is_hung_up_on(frame).await;
    }
    scene.is_hung_up_on((hello(99) + "\n").as_bytes()).await;
    // Half a line, and then nothing: it is not waited for longer than a hello may take.
    scene.is_hung_up_on(&hello(VERSION).as_bytes()[..20]).await;
    // After a hello a line that is no command is answered, and costs no more than itself.
    let mut raw = RawOperator::hello(&scene.daemon.operator_socket).await;
    for line in [r#"{"command":"rule_all","seq":1}"#, "[]", "nonsense", r#"{"command":"list","seq":1,"seq":2}"#] {
        raw.send(line).await;
        assert_eq!(raw.next().await.unwrap()["failed"]["error"], "malformed", "{line}");
    }
    scene.assert_untouched().await;
}

fn getrandom(bytes: &mut [u8]) {
    use std::io::Read;
    std::fs::File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
}

/// Another protocol's words.
#[tokio::test]
async fn ops_009() {
    let scene = Scene::new().await;
    scene.is_hung_up_on(b"POST /approve HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").await;
    let call = call(1, "create_refund", json!({"charge": "ch_1", "amount": 100})).to_string() + "\n";
    scene.is_hung_up_on(call.as_bytes()).await;
    scene.assert_untouched().await;
}

/// A terminal that stands still: what it is told does not pile up, and others are not kept waiting.
#[tokio::test]
async fn ops_010() {
    const EVENTS: u32 = 2000;
    let scene = Scene::new().await;
    let mut stuck = scene.dial().await;
    let hello = format!("{{\"command\":\"hello\",\"version\":{VERSION},\"watch\":true,\"read_only\":true}}\n");
    stuck.write_all(hello.as_bytes()).await.unwrap();
    let mut raw = RawOperator::hello(&scene.daemon.operator_socket).await;
    for seq in 0..EVENTS {
        raw.send(&format!(r#"{{"command":"claim","seq":{seq},"id":"{}"}}"#, scene.hold.id)).await;
        let answer = raw.next().await.unwrap();
        assert_eq!(answer["shown"]["seq"], seq, "{answer}");
    }
    scene.daemon.logs("it does not read what it is sent").await;
    drop(stuck);
    scene.assert_untouched().await;
}

/// Two sockets with paths and the one listener that the configuration names.
#[tokio::test]
async fn ops_011() {
    let scene = Scene::new().await;
    let pid = scene.daemon.pid();
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let inodes: Vec<String> = fds
        .filter_map(|fd| {
            let to = std::fs::read_link(fd.unwrap().path()).ok()?;
            Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let unix = table("unix");
    // `__SO_ACCEPTCON` is the flag of a socket that listens.
    let listens = |line: &&str| line.split_whitespace().nth(3) == Some("00010000");
    let ours = |line: &&str| line.split_whitespace().nth(6).is_some_and(|inode| inodes.iter().any(|own| own == inode));
    let mut paths: Vec<&str> =
        unix.lines().filter(listens).filter(ours).filter_map(|line| line.split_whitespace().nth(7)).collect();
    paths.sort_unstable();
    assert_eq!(paths, [scene.daemon.client_socket.to_str().unwrap(), scene.daemon.operator_socket.to_str().unwrap()]);
    let tcp = table("tcp") + &table("tcp6");
    let listening = tcp.lines().filter(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(3) == Some(&"0A") && fields.get(9).is_some_and(|inode| inodes.iter().any(|own| own == inode))
    });
    let ports: Vec<u16> = listening
        .map(|line| {
            u16::from_str_radix(line.split_whitespace().nth(1).unwrap().rsplit(':').next().unwrap(), 16).unwrap()
        })
        .collect();
    assert_eq!(ports, [scene.daemon.address.port()]);
}
