//! A daemon that only speaks the operator socket: holds in memory, rulings as the real one would answer them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use countersign::call::CallId;
use countersign::control::wire::{
    Claimed, Command, Daemon, Failure, Frozen, HoldState, HoldView, Notice, RulingKind, VERSION,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

use crate::support::{chain, daemon, excerpts, grants, records, rules, sessions};

/// Listens until it is dropped.
pub struct Fake {
    dir: tempfile::TempDir,
    world: Arc<World>,
    runtime: Option<Runtime>,
}

struct World {
    holds: Mutex<Vec<HoldView>>,
    heard: Mutex<Vec<Command>>,
    changes: broadcast::Sender<HoldView>,
}

impl Fake {
    pub fn start(holds: Vec<HoldView>) -> Fake {
        let dir = tempfile::tempdir().unwrap();
        let (changes, _) = broadcast::channel(1024);
        let world = Arc::new(World { holds: Mutex::new(holds), heard: Mutex::default(), changes });
        let mut fake = Fake { dir, world, runtime: None };
        fake.up();
        fake
    }

    /// Starts to listen; what was connected before is gone.
    pub fn up(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _ = std::fs::remove_file(self.socket());
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(self.socket()).unwrap()
        };
        let world = Arc::clone(&self.world);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&world)));
            }
        });
        self.runtime = Some(runtime);
    }

    /// Dies as a killed process does.
    pub fn down(&mut self) {
        let _ = std::fs::remove_file(self.socket());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("operator.sock")
    }

    /// Adds or changes a hold and tells the watchers.
    pub fn put(&self, hold: HoldView) {
        let mut holds = self.world.holds.lock().unwrap();
        holds.retain(|other| other.id != hold.id);
        holds.push(hold.clone());
        let _ = self.world.changes.send(hold);
    }

    pub fn heard(&self) -> Vec<Command> {
        self.world.heard.lock().unwrap().clone()
    }

    pub fn rulings(&self) -> Vec<(String, RulingKind, Option<String>)> {
        let rulings = self.heard().into_iter().filter_map(|command| match command {
            Command::Rule { id, ruling, reason, .. } => Some((id.to_string(), ruling, reason)),
            Command::Hello { .. }
            | Command::Alive
            | Command::List { .. }
            | Command::Show { .. }
            | Command::Tools { .. }
            | Command::Tool { .. }
            | Command::Claim { .. }
            | Command::TakeBack { .. }
            | Command::Reopen { .. }
            | Command::Freeze { .. }
            | Command::Sessions { .. }
            | Command::RuleSession { .. }
            | Command::Grants { .. }
            | Command::DraftGrant { .. }
            | Command::Grant { .. }
            | Command::RevokeGrant { .. }
            | Command::Records { .. }
            | Command::Rules { .. }
            | Command::Explain { .. }
            | Command::RuleBatch { .. }
            | Command::RuleTool { .. } => None,
        });
        rulings.collect()
    }
}

impl World {
    fn snapshot(&self, seq: Option<u64>) -> Notice {
        Notice::Snapshot { seq, holds: self.holds.lock().unwrap().clone(), daemon: daemon() }
    }

    fn answer(&self, command: Command, read_only: bool) -> Notice {
        let failed = |seq, error, message: &str| Notice::Failed { seq: Some(seq), error, message: message.to_owned() };
        let mut holds = self.holds.lock().unwrap();
        match command {
            Command::Hello { .. } | Command::Alive => {
                Notice::Failed { seq: None, error: Failure::Malformed, message: "again".to_owned() }
            }
            Command::Tools { seq, .. } | Command::Tool { seq, .. } | Command::RuleTool { seq, .. } => {
                failed(seq, Failure::NotFound, "there are no tools")
            }
            command if read_only && command.changes().is_some() => {
                failed(command.changes().unwrap(), Failure::ReadOnly, "this connection may only watch")
            }
            Command::RuleBatch { seq, .. } => failed(seq, Failure::NotSo, "no batches here"),
            Command::Claim { seq, id, off, .. } => match find(&mut holds, &id) {
                Some(hold) => {
                    let claimed = Claimed {
                        by: "ana".to_owned(),
                        at: jiff::Timestamp::now().to_string(),
                        until: (jiff::Timestamp::now() + std::time::Duration::from_secs(60)).to_string(),
                    };
                    hold.claimed = (!off).then_some(claimed);
                    let _ = self.changes.send(hold.clone());
                    Notice::Shown { seq, hold: Box::new(hold.clone()) }
                }
                None => failed(seq, Failure::NotFound, "there is no such hold"),
            },
            Command::TakeBack { seq, id } => match find(&mut holds, &id) {
                Some(hold) if matches!(hold.state, HoldState::Approved { leaves_at: Some(_), .. }) => {
                    hold.state = HoldState::Pending;
                    hold.taken_back += 1;
                    let _ = self.changes.send(hold.clone());
                    Notice::Shown { seq, hold: Box::new(hold.clone()) }
                }
                Some(_) | None => failed(seq, Failure::NotSo, "it has left"),
            },
            Command::Reopen { seq, id, .. } => match find(&mut holds, &id) {
                Some(hold) if hold.may_wait_again() => {
                    (hold.state, hold.waiting) = (HoldState::Pending, 0);
                    let _ = self.changes.send(hold.clone());
                    Notice::Shown { seq, hold: Box::new(hold.clone()) }
                }
                Some(_) | None => failed(seq, Failure::NotSo, "it has not ended so"),
            },
            Command::Freeze { seq, on, reason } => {
                let at = "2026-11-21T14:08:00Z".to_owned();
                let frozen = on.then(|| Frozen { by: "ana".to_owned(), at, reason });
                Notice::Frozen { seq, daemon: Daemon { frozen, ..daemon() } }
            }
            Command::Sessions { seq } => Notice::Sessions { seq, sessions: sessions() },
            Command::RuleSession { seq, .. } => Notice::Sessions { seq, sessions: sessions() },
            Command::Grants { seq } | Command::RevokeGrant { seq, .. } => Notice::Grants { seq, grants: grants() },
            Command::DraftGrant { seq, .. } => Notice::Draft { seq, text: grants()[0].text.clone() },
            Command::Grant { seq, .. } => failed(seq, Failure::NotSo, "not here"),
            Command::Records { seq, .. } => Notice::Records { seq, records: records(), chain: chain() },
            Command::Rules { seq } => Notice::Rules { seq, rules: rules() },
            Command::Explain { seq, .. } => Notice::Explained { seq, excerpts: excerpts() },
            Command::List { seq } => {
                drop(holds);
                self.snapshot(Some(seq))
            }
            Command::Show { seq, id } => match find(&mut holds, &id) {
                Some(hold) => Notice::Shown { seq, hold: Box::new(hold.clone()) },
                None => failed(seq, Failure::NotFound, "there is no such hold"),
            },
            Command::Rule { seq, id, digest, ruling, reason, signed } => {
                let Some(hold) = find(&mut holds, &id) else {
                    return failed(seq, Failure::NotFound, "there is no such hold");
                };
                if !hold.state.is_pending() {
                    return failed(seq, Failure::Closed, "somebody ruled before");
                }
                if hold.digest != digest {
                    return failed(seq, Failure::WrongDigest, "the digest is not the hold's");
                }
                if hold.signature_required && ruling == RulingKind::Approve && signed.is_none() {
                    return failed(seq, Failure::SignatureRequired, "stripe takes signed approvals only");
                }
                let (by, at) = ("ana".to_owned(), "2026-11-21T14:08:00Z".to_owned());
                hold.state = match ruling {
                    RulingKind::Approve => HoldState::Approved { by, at, leaves_at: None },
                    RulingKind::Reject => HoldState::Rejected { by, at, reason: reason.unwrap_or_default() },
                };
                let _ = self.changes.send(hold.clone());
                Notice::Ruled { seq, hold: Box::new(hold.clone()) }
            }
        }
    }
}

fn find<'a>(holds: &'a mut [HoldView], id: &CallId) -> Option<&'a mut HoldView> {
    holds.iter_mut().find(|hold| hold.id == *id)
}

async fn serve(stream: UnixStream, world: Arc<World>) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut changes = world.changes.subscribe();
    let hello = lines.next_line().await.ok()??;
    let Ok(Command::Hello { watch, read_only, .. }) = serde_json::from_str(&hello) else { return None };
    world.heard.lock().unwrap().push(serde_json::from_str(&hello).unwrap());
    say(&mut write, &Notice::Welcome { version: VERSION, operator: "ana".to_owned(), daemon: daemon() }).await?;
    if watch {
        say(&mut write, &world.snapshot(None)).await?;
    }
    loop {
        let notice = tokio::select! {
            line = lines.next_line() => {
                let command: Command = serde_json::from_str(&line.ok()??).ok()?;
                world.heard.lock().unwrap().push(command.clone());
                world.answer(command, read_only)
            }
            hold = changes.recv(), if watch => Notice::Hold { hold: Box::new(hold.ok()?) },
        };
        say(&mut write, &notice).await?;
    }
}

async fn say(write: &mut OwnedWriteHalf, notice: &Notice) -> Option<()> {
    let mut line = serde_json::to_vec(notice).unwrap();
    line.push(b'\n');
    write.write_all(&line).await.ok()
}
