//! The scripted operator of `--auto`: an ordinary operator at the operator socket, with a fixed opinion. It approves
//! the small refund and rejects the large one, by digest, and only where it sees exactly what the agent asked.

use std::collections::VecDeque;
use std::path::Path;

use crate::call::{CallId, Digest};
use crate::control::client::{Commands, ControlError, Notices, Operator};
use crate::control::wire::{Command, Failure, HoldView, Notice, RulingKind};

use super::agent::{Request, large_refund, small_refund};
use super::story::{Check, Transcript, Voice};

/// What the agent reads about its large refund.
pub const NO: &str = "the annual plan is not part of this ticket";

/// Why the script stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("the operator's connection: {0}")]
    Control(#[from] ControlError),
    #[error("the daemon answered the operator's ruling by something else: {0}")]
    Unexpected(String),
}

/// The operator at work.
struct Script {
    notices: Notices,
    commands: Commands,
    /// Holds that were told while an answer was awaited.
    told: VecDeque<HoldView>,
    /// Holds that this operator has looked at.
    seen: Vec<CallId>,
    transcript: Transcript,
    checks: Vec<Check>,
}

/// Waits for the two refunds, rules on both, and says what was not as told. `server` is where they belong.
///
/// # Errors
/// Where the connection breaks or the daemon answers something else than a ruling.
pub async fn rule(socket: &Path, server: &str, transcript: Transcript) -> Result<Vec<Check>, OperatorError> {
    let (notices, commands) = Operator::connect(socket, true, false).await?.split();
    let (told, seen, checks) = (VecDeque::new(), Vec::new(), Vec::new());
    let mut script = Script { notices, commands, told, seen, transcript, checks };

    let small = script.next_hold().await?;
    let as_told = script.look("the operator saw the small refund exactly as asked", &small, server, &small_refund());
    if !script.wrong_digest(&small).await? {
        script.say("My approval of another call was taken for this one!");
    } else if as_told {
        script.say("I know this double charge, and it is all there. I approve.");
        script.ruling(&small, RulingKind::Approve, None).await?;
    } else {
        script.ruling(&small, RulingKind::Reject, Some("this is not what the agent asked")).await?;
    }

    let large = script.next_hold().await?;
    script.look("the operator saw the large refund exactly as asked", &large, server, &large_refund());
    script.say(format!("I reject: \"{NO}\"."));
    script.ruling(&large, RulingKind::Reject, Some(NO)).await?;
    Ok(script.checks)
}

impl Script {
    fn say(&self, text: impl Into<String>) {
        self.transcript.add(Voice::Operator, text);
    }

    /// The next pending hold that was not looked at yet.
    async fn next_hold(&mut self) -> Result<HoldView, OperatorError> {
        loop {
            while let Some(hold) = self.told.pop_front() {
                if hold.state.is_pending() && !self.seen.contains(&hold.id) {
                    self.seen.push(hold.id.clone());
                    return Ok(hold);
                }
            }
            let notice = self.notices.next().await?;
            self.hear(notice);
        }
    }

    /// Keeps the holds of a notice that is no answer.
    fn hear(&mut self, notice: Notice) {
        match notice {
            Notice::Hold { hold } => self.told.push_back(*hold),
            Notice::Snapshot { holds, .. } => self.told = holds.into(),
            Notice::Welcome { .. }
            | Notice::Shown { .. }
            | Notice::Ruled { .. }
            | Notice::Tools { .. }
            | Notice::Tool { .. }
            | Notice::Frozen { .. }
            | Notice::Sessions { .. }
            | Notice::Grants { .. }
            | Notice::Draft { .. }
            | Notice::Records { .. }
            | Notice::Rules { .. }
            | Notice::Explained { .. }
            | Notice::RuledBatch { .. }
            | Notice::Ping {}
            | Notice::Listed { .. }
            | Notice::Daemon { .. }
            | Notice::Failed { .. } => {}
        }
    }

    /// Compares what the daemon shows with what the agent asked.
    fn look(&mut self, what: &'static str, hold: &HoldView, server: &str, asked: &Request) -> bool {
        self.say(format!("I see {} held on {}: {}", hold.tool, hold.server, hold.reason));
        let expected = (server, asked.tool, asked.text(), "support-agent", true);
        let found = (
            hold.server.as_str(),
            hold.tool.as_str(),
            hold.arguments.as_str().to_owned(),
            hold.principal.as_str(),
            hold.production,
        );
        let check = Check::equal(what, &expected, &found);
        let as_told = check.deviation.is_none();
        self.checks.push(check);
        as_told
    }

    /// An approval that names another call must have no effect. True where it had none.
    async fn wrong_digest(&mut self, hold: &HoldView) -> Result<bool, OperatorError> {
        let other = Digest::of_bytes(b"another call");
        let answer = self.send(hold, other, RulingKind::Approve, None).await?;
        let found = match answer {
            Notice::Failed { error, .. } => Ok(error),
            other => Err(format!("{other:?}")),
        };
        let what = "an approval with another call's digest has no effect";
        self.checks.push(Check::equal(what, &Ok(Failure::WrongDigest), &found));
        Ok(found.is_ok())
    }

    async fn ruling(&mut self, hold: &HoldView, ruling: RulingKind, reason: Option<&str>) -> Result<(), OperatorError> {
        match self.send(hold, hold.digest, ruling, reason).await? {
            Notice::Ruled { .. } => Ok(()),
            other => Err(OperatorError::Unexpected(format!("{other:?}"))),
        }
    }

    /// Sends a ruling and waits for the answer that repeats its number.
    async fn send(
        &mut self,
        hold: &HoldView,
        digest: Digest,
        ruling: RulingKind,
        reason: Option<&str>,
    ) -> Result<Notice, OperatorError> {
        let seq = self.commands.next_seq();
        let (id, reason) = (hold.id.clone(), reason.map(ToOwned::to_owned));
        self.commands.send(&Command::Rule { seq, id, digest, ruling, reason, signed: None }).await?;
        loop {
            let notice = self.notices.next().await?;
            if notice.answers() == Some(seq) {
                return Ok(notice);
            }
            self.hear(notice);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{UnixListener, UnixStream};

    use super::*;
    use crate::call::{Class, ClientInfo, Environment, Pin, Tier, Transport};
    use crate::control::wire::{Approvals, Daemon, HOLD_SCHEMA, HoldState, VERSION};
    use crate::json::{JsonText, Rules};

    fn hold(request: &Request, digest: &[u8]) -> HoldView {
        HoldView {
            schema: HOLD_SCHEMA.into(),
            id: CallId::random().unwrap(),
            state: HoldState::Pending,
            server: "billing".into(),
            environment: Environment::declared("production"),
            production: true,
            method: "tools/call".into(),
            tool: request.tool.into(),
            definition: None,
            pin: Pin::Unknown,
            operation: request.tool.into(),
            class: Class::Financial,
            reversible: Some(false),
            magnitude: None,
            unmeasured: false,
            reach: None,
            money: None,
            targets: vec![],
            effect: None,
            confirmations: Vec::new(),
            arguments: JsonText::parse(request.text(), Rules::CLIENT).unwrap(),
            other_params: None,
            meta: None,
            digest: Digest::of_bytes(digest),
            rule: "financial.refund".into(),
            reason: "refunds need a person".into(),
            policy_version: "0".into(),
            rules: vec![],
            tier: Tier::High,
            confirm: vec![],
            principal: "support-agent".into(),
            client: ClientInfo::silent(Transport::Stdio),
            session: "s".into(),
            created_at: "2026-06-01T00:00:00Z".into(),
            expires_at: "2026-06-01T00:05:00Z".into(),
            approvals: Approvals { need: 1, have: vec![] },
            signature_required: false,
            taken_back: 0,
            waiting: 1,
            same_as: vec![],
            claimed: None,
            client_waits_until: None,
            grantable: false,
            before: None,
        }
    }

    struct FakeDaemon(BufReader<UnixStream>);

    impl FakeDaemon {
        async fn hear(&mut self) -> Command {
            let mut line = String::new();
            self.0.read_line(&mut line).await.unwrap();
            serde_json::from_str(&line).unwrap()
        }

        async fn tell(&mut self, notice: &Notice) {
            let line = format!("{}\n", serde_json::to_string(notice).unwrap());
            self.0.write_all(line.as_bytes()).await.unwrap();
        }
    }

    /// A daemon that shows these two holds one after the other and judges digests; its answer is the rulings it got.
    async fn daemon(listener: UnixListener, holds: [HoldView; 2]) -> Vec<(RulingKind, Option<String>)> {
        let facts = Daemon {
            version: "0".into(),
            instance: Digest::of_bytes(b"record"),
            servers: vec![],
            policy_version: "0".into(),
            rules: 0,
            policy_error: None,
            policy_warnings: Vec::new(),
            guessed: Vec::new(),
            consoles: 1,
            operators: Vec::new(),
            batches: false,
            frozen: None,
            unsigned_rulings: true,
            unsafe_default_allow: false,
            http: None,
            records: 0,
        };
        let mut wire = FakeDaemon(BufReader::new(listener.accept().await.unwrap().0));
        assert!(matches!(wire.hear().await, Command::Hello { watch: true, read_only: false, .. }));
        wire.tell(&Notice::Welcome { version: VERSION, operator: "me".into(), daemon: facts.clone() }).await;
        wire.tell(&Notice::Snapshot { seq: None, holds: vec![], daemon: facts }).await;
        let mut rulings = Vec::new();
        for hold in holds {
            wire.tell(&Notice::Hold { hold: Box::new(hold.clone()) }).await;
            loop {
                let Command::Rule { seq, id, digest, ruling, reason, signed: None } = wire.hear().await else {
                    panic!("no ruling")
                };
                assert_eq!(id, hold.id);
                if digest == hold.digest {
                    rulings.push((ruling, reason));
                    // The same hold again while the ruling is answered, as watchers get it.
                    wire.tell(&Notice::Hold { hold: Box::new(hold.clone()) }).await;
                    wire.tell(&Notice::Ruled { seq, hold: Box::new(hold.clone()) }).await;
                    break;
                }
                let (error, message) = (Failure::WrongDigest, "no".to_owned());
                wire.tell(&Notice::Failed { seq: Some(seq), error, message }).await;
            }
        }
        rulings
    }

    async fn run(holds: [HoldView; 2]) -> (Vec<Check>, Vec<(RulingKind, Option<String>)>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.sock");
        let daemon = tokio::spawn(daemon(UnixListener::bind(&path).unwrap(), holds));
        let checks = rule(&path, "billing", Transcript::new(None)).await.unwrap();
        (checks, daemon.await.unwrap())
    }

    #[tokio::test]
    async fn the_small_refund_is_approved_and_the_large_one_rejected() {
        let (checks, rulings) = run([hold(&small_refund(), b"1"), hold(&large_refund(), b"2")]).await;
        assert_eq!(checks.len(), 3);
        assert!(checks.iter().all(|check| check.deviation.is_none()), "{checks:?}");
        assert_eq!(rulings, [(RulingKind::Approve, None), (RulingKind::Reject, Some(NO.to_owned()))]);
    }

    #[tokio::test]
    async fn what_differs_from_what_was_asked_is_rejected_and_told() {
        let mut other = hold(&small_refund(), b"1");
        let text = other.arguments.as_str().replace("12500", "12501");
        other.arguments = JsonText::parse(text, Rules::CLIENT).unwrap();
        let (checks, rulings) = run([other, hold(&large_refund(), b"2")]).await;
        assert!(checks[0].deviation.as_ref().unwrap().found.contains("12501"));
        assert_eq!(rulings[0].0, RulingKind::Reject);
    }

    #[tokio::test]
    async fn a_daemon_that_takes_any_digest_is_found_out() {
        // For the fake daemon "another call" is this hold's digest, so the approval that must fail succeeds.
        let (checks, rulings) = run([hold(&small_refund(), b"another call"), hold(&large_refund(), b"2")]).await;
        assert!(checks[1].deviation.as_ref().unwrap().found.contains("Ruled"), "{checks:?}");
        assert_eq!(rulings.len(), 2);
    }
}
