//! An operator: a watching connection to the operator socket, spoken through the program's own client.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use countersign::call::{CallId, Digest};
use countersign::control::client::{Commands, Operator};
use countersign::control::wire::{Command, Daemon, Failure, HoldState, HoldView, Notice, RulingKind, VERSION};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::within;

#[derive(Default)]
struct Known {
    holds: BTreeMap<CallId, HoldView>,
    answers: BTreeMap<u64, Notice>,
    /// The daemon, as it last said.
    daemon: Option<Daemon>,
    /// Records that the daemon has, as it last said without being asked.
    records: u64,
    /// Everything that came, as text.
    traffic: String,
    closed: bool,
}

/// An attached console.
pub struct Console {
    commands: Commands,
    known: Arc<Mutex<Known>>,
    changed: Arc<watch::Sender<usize>>,
    seen: Vec<CallId>,
}

impl Console {
    pub async fn attach(socket: &Path) -> Console {
        Console::attach_as(socket, None).await
    }

    /// As an operator who wants to be called so.
    pub async fn attach_as(socket: &Path, name: Option<&str>) -> Console {
        let name = name.map(str::to_owned);
        let operator = within("the operator socket", Operator::connect_as(socket, true, false, name)).await.unwrap();
        let (mut notices, commands) = operator.split();
        let known = Arc::<Mutex<Known>>::default();
        let changed = Arc::new(watch::channel(0).0);
        let (writer, told) = (known.clone(), changed.clone());
        tokio::spawn(async move {
            loop {
                let notice = notices.next().await;
                {
                    let mut known = writer.lock().unwrap();
                    match notice {
                        Ok(notice) => known.learn(notice),
                        Err(_) => known.closed = true,
                    }
                    if known.closed {
                        break;
                    }
                }
                told.send_modify(|count| *count += 1);
            }
            told.send_modify(|count| *count += 1);
        });
        Console { commands, known, changed, seen: Vec::new() }
    }

    async fn until<T>(&self, what: &str, done: impl Fn(&mut Known) -> Option<T>) -> T {
        let mut changed = self.changed.subscribe();
        within(what, async {
            loop {
                if let Some(found) = done(&mut self.known.lock().unwrap()) {
                    return found;
                }
                assert!(!self.known.lock().unwrap().closed, "the operator socket closed before {what}");
                changed.changed().await.unwrap();
            }
        })
        .await
    }

    /// The next pending hold that this console has not been asked about.
    pub async fn hold(&mut self) -> HoldView {
        let seen = self.seen.clone();
        let fresh = |hold: &&HoldView| hold.state.is_pending() && !seen.contains(&hold.id);
        let hold = self.until("a hold", |known| known.holds.values().find(fresh).cloned()).await;
        self.seen.push(hold.id.clone());
        hold
    }

    /// Waits until a hold satisfies `done`.
    pub async fn until_hold(&self, what: &str, done: impl Fn(&HoldView) -> bool) -> HoldView {
        self.until(what, |known| known.holds.values().find(|hold| done(hold)).cloned()).await
    }

    /// Waits until `count` holds are pending and returns them, oldest first.
    pub async fn pending(&self, count: usize) -> Vec<HoldView> {
        let mut holds = self
            .until(&format!("{count} pending holds"), |known| {
                let pending: Vec<_> = known.holds.values().filter(|hold| hold.state.is_pending()).cloned().collect();
                (pending.len() == count).then_some(pending)
            })
            .await;
        holds.sort_by(|one, other| one.created_at.cmp(&other.created_at));
        holds
    }

    /// Waits until a hold's state satisfies `done`.
    pub async fn state(&self, id: &CallId, what: &str, done: impl Fn(&HoldState) -> bool) -> HoldView {
        self.until(what, |known| known.holds.get(id).filter(|hold| done(&hold.state)).cloned()).await
    }

    /// Waits until the daemon says, without being asked, that it has more records than so many. How many it has.
    pub async fn more_records(&self, than: u64) -> u64 {
        self.until("more records", |known| Some(known.records).filter(|records| *records > than)).await
    }

    /// Waits until what the daemon says of itself satisfies `done`.
    pub async fn until_daemon(&self, what: &str, done: impl Fn(&Daemon) -> bool) -> Daemon {
        self.until(what, |known| known.daemon.clone().filter(|daemon| done(daemon))).await
    }

    /// All holds as the daemon lists them now.
    pub async fn list(&mut self) -> Vec<HoldView> {
        match self.ask(|seq| Command::List { seq }).await {
            Notice::Snapshot { holds, .. } => holds,
            other => panic!("not a list: {other:?}"),
        }
    }

    pub async fn approve(&mut self, hold: &HoldView) -> Result<HoldView, Failure> {
        self.rule(&hold.id, hold.digest, RulingKind::Approve, None).await
    }

    pub async fn reject(&mut self, hold: &HoldView, reason: &str) -> Result<HoldView, Failure> {
        self.rule(&hold.id, hold.digest, RulingKind::Reject, Some(reason)).await
    }

    pub async fn rule(
        &mut self,
        id: &CallId,
        digest: Digest,
        ruling: RulingKind,
        reason: Option<&str>,
    ) -> Result<HoldView, Failure> {
        let (id, reason) = (id.clone(), reason.map(str::to_owned));
        match self.ask(|seq| Command::Rule { seq, id, digest, ruling, reason, signed: None }).await {
            Notice::Ruled { hold, .. } => Ok(*hold),
            Notice::Failed { error, .. } => Err(error),
            other => panic!("not an answer to a ruling: {other:?}"),
        }
    }

    pub async fn ask(&mut self, build: impl FnOnce(u64) -> Command) -> Notice {
        let seq = self.commands.next_seq();
        self.commands.send(&build(seq)).await.unwrap();
        self.until("the daemon's answer", |known| known.answers.remove(&seq)).await
    }

    /// Everything that the daemon told this console.
    pub fn traffic(&self) -> String {
        self.known.lock().unwrap().traffic.clone()
    }
}

impl Known {
    fn learn(&mut self, notice: Notice) {
        self.traffic.push_str(&serde_json::to_string(&notice).unwrap());
        self.traffic.push('\n');
        let answers = notice.answers();
        match &notice {
            Notice::Snapshot { holds, daemon, .. } => {
                self.daemon = Some(daemon.clone());
                self.holds = holds.iter().map(|hold| (hold.id.clone(), hold.clone())).collect();
            }
            Notice::Hold { hold } | Notice::Shown { hold, .. } | Notice::Ruled { hold, .. } => {
                self.holds.insert(hold.id.clone(), (**hold).clone());
            }
            Notice::Daemon { daemon } | Notice::Frozen { daemon, .. } => {
                self.records = daemon.records;
                self.daemon = Some(daemon.clone());
            }
            Notice::Welcome { .. }
            | Notice::Ping {}
            | Notice::Listed { .. }
            | Notice::Failed { .. }
            | Notice::Tools { .. }
            | Notice::Tool { .. }
            | Notice::Sessions { .. }
            | Notice::Grants { .. }
            | Notice::Draft { .. }
            | Notice::Records { .. }
            | Notice::Rules { .. }
            | Notice::Explained { .. }
            | Notice::RuledBatch { .. } => {}
        }
        if let Some(seq) = answers {
            self.answers.insert(seq, notice);
        }
    }
}

/// A connection to the operator socket for frames that the program's client would not send.
pub struct RawOperator {
    lines: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl RawOperator {
    /// Connected, and nothing said yet.
    pub async fn connect(socket: &Path) -> RawOperator {
        let (read, write) = UnixStream::connect(socket).await.unwrap().into_split();
        RawOperator { lines: BufReader::new(read), write }
    }

    /// Connected and welcomed.
    pub async fn hello(socket: &Path) -> RawOperator {
        let mut operator = RawOperator::connect(socket).await;
        let hello = format!(r#"{{"command":"hello","version":{VERSION},"watch":false,"read_only":false}}"#);
        operator.send(&hello).await;
        let welcome = operator.next().await.expect("a welcome");
        assert!(welcome.get("welcome").is_some(), "{welcome}");
        operator
    }

    pub async fn send(&mut self, line: &str) {
        // A daemon that has hung up is seen by the next read.
        let _ = self.write.write_all(format!("{line}\n").as_bytes()).await;
    }

    /// The next notice; `None` where the daemon has closed the connection.
    pub async fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = within("the daemon's answer", self.lines.read_line(&mut line)).await.unwrap_or(0);
        (read > 0).then(|| serde_json::from_str(&line).unwrap())
    }
}
