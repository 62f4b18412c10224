//! Children that are shell scripts, each with one bad habit.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::call::{Leave, Outcome};
use crate::credential::secret::Secret;
use crate::mcp::message::Id;
use crate::transport::lock;

const KEY: &str = "sk_live_CANARY7Qm2Zt9XeVb4";

fn sh(script: &str) -> StdioSpec {
    StdioSpec {
        server: "stripe".into(),
        command: "sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![
            ("PLAIN".into(), EnvValue::Plain("p".into())),
            (
                "KEY".into(),
                EnvValue::Secret { value: SecretCell::new("key", Secret::new(KEY.into())), prefix: "Bearer ".into() },
            ),
        ],
        inherit: Vec::new(),
        cwd: None,
        sandbox: None,
    }
}

fn scrubber() -> Arc<Scrubber> {
    let key = Secret::new(KEY.into());
    Arc::new(Scrubber::new([("stripe_live", &key)]))
}

fn start(script: &str, limits: Limits, tracker: &TaskTracker) -> UpstreamLink {
    connect(&sh(script), "ana", scrubber(), limits, tracker).unwrap()
}

fn request(id: i64) -> ToUpstream {
    ToUpstream::Send(Message::from_client(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"x"}}"#)).unwrap())
}

async fn next(link: &mut UpstreamLink) -> String {
    match link.inbound.recv().await {
        Some(FromUpstream::Message { message, related: None }) => message.text().as_str().to_owned(),
        Some(FromUpstream::Lost { id, loss }) => format!("lost {id} {:?} {}", loss.fate, loss.reason),
        Some(FromUpstream::Closed { reason }) => format!("closed {reason}"),
        other => panic!("{other:?}"),
    }
}

async fn ended(tracker: TaskTracker) {
    tracker.close();
    tracker.wait().await;
}

const ECHO: &str = r#"while read -r line; do printf '%s\n' "$line" | sed 's/"method":"x"/"result":{}/'; done"#;

/// What comes in goes out.
const ECHO_RAW: &str = "exec cat";

#[tokio::test]
async fn messages_go_and_come_as_lines() {
    let tracker = TaskTracker::new();
    let mut link = start(ECHO, Limits::default(), &tracker);
    for id in 1..=3 {
        link.outbound.send(request(id)).await.unwrap();
        assert_eq!(next(&mut link).await, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    }
    drop(link);
    ended(tracker).await;
}

#[tokio::test]
async fn a_child_sees_its_own_environment_only() {
    let tracker = TaskTracker::new();
    let script = r#"read -r l; printf '{"jsonrpc":"2.0","id":1,"result":"%s"}\n' "$(env | cut -d= -f1 | sort | tr '\n' ' ')$KEY""#;
    let mut link = start(script, Limits::default(), &tracker);
    link.outbound.send(request(1)).await.unwrap();
    let answer = next(&mut link).await;
    assert!(
        answer.contains(&format!("Bearer {KEY}")) && answer.contains("PLAIN") && answer.contains("PATH"),
        "{answer}"
    );
    assert!(!answer.contains("CARGO"), "{answer}");
    let mut spec = sh(script);
    spec.inherit.push("CARGO_MANIFEST_DIR".into());
    let mut link = connect(&spec, "ana", scrubber(), Limits::default(), &tracker).unwrap();
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.contains("CARGO_MANIFEST_DIR"));
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Captured;

    fn make_writer(&'a self) -> Captured {
        self.clone()
    }
}

#[tokio::test]
async fn text_goes_to_the_log_without_keys_and_never_to_the_client() {
    let log = Captured::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let tracker = TaskTracker::new();
    let script = r#"read -r l
        printf 'DEBUG key=%s\n' "$KEY"; echo '{'; echo null; echo '[]'; echo '{"jsonrpc":"2.0","id":1}'
        printf 'err \033[31m%s\n' "$KEY" >&2
        head -c 100000 /dev/zero | tr '\0' e >&2; echo >&2; echo after >&2
        echo '{"jsonrpc":"2.0","id":1,"result":{}}'
        read -r l"#;
    let mut link = start(script, Limits::default(), &tracker);
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    drop(link);
    ended(tracker).await;
    let log = String::from_utf8(lock(&log.0).clone()).unwrap();
    assert!(!log.contains(KEY), "{log}");
    assert!(
        log.contains("DEBUG key=Bearer [secret:stripe_live]") && log.contains("err \\u{1b}[31mBearer [secret"),
        "{log}"
    );
    assert!(log.contains("after") && log.contains("[cut]") && !log.contains(&"e".repeat(2000)), "{log}");
}

#[tokio::test]
async fn a_flood_of_text_is_drained_and_not_logged_in_full() {
    let log = Captured::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let tracker = TaskTracker::new();
    let script = r#"yes noise | head -n 200000 >&2; echo '{"jsonrpc":"2.0","id":1,"result":{}}'; read -r l"#;
    let mut link = start(script, Limits::default(), &tracker);
    assert_eq!(next(&mut link).await, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    drop(link);
    ended(tracker).await;
    assert!(lock(&log.0).len() < 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn silence_has_an_end() {
    let tracker = TaskTracker::new();
    let mut link = start("exec sleep 1000", Limits::default(), &tracker);
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(
        next(&mut link).await,
        "lost 1 Unknown no answer from the upstream within 300 s (limits.answer_timeout)"
    );
    link.outbound.send(request(2)).await.unwrap();
    link.outbound.send(ToUpstream::Abandon(Id::Number(2))).await.unwrap();
    link.outbound.send(request(3)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 3 Unknown"));
}

#[tokio::test]
async fn every_answer_is_passed_up_the_second_one_too() {
    let tracker = TaskTracker::new();
    let script =
        r#"read -r l; for i in 1 1 2; do echo "{\"jsonrpc\":\"2.0\",\"id\":$i,\"result\":{}}"; done; read -r l"#;
    let mut link = start(script, Limits::default(), &tracker);
    link.outbound.send(request(1)).await.unwrap();
    for id in [1, 1, 2] {
        assert_eq!(next(&mut link).await, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    }
}

#[tokio::test]
async fn a_child_that_dies_says_what_is_lost() {
    let tracker = TaskTracker::new();
    let mut link = start(r#"read -r l; echo '{"jsonrpc":"2.0","method":"last"}'; exit 3"#, Limits::default(), &tracker);
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, r#"{"jsonrpc":"2.0","method":"last"}"#);
    assert!(next(&mut link).await.starts_with("lost 1 Unknown the upstream process"));
    assert!(next(&mut link).await.starts_with("closed the upstream process"));
    assert!(link.inbound.recv().await.is_none());
    ended(tracker).await;
}

#[tokio::test]
async fn what_could_not_be_written_was_not_sent() {
    let tracker = TaskTracker::new();
    let mut link =
        start(r#"exec 0<&-; echo '{"jsonrpc":"2.0","method":"closed"}'; exec sleep 1000"#, Limits::default(), &tracker);
    next(&mut link).await;
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 NotSent"));
    assert!(next(&mut link).await.starts_with("closed"));
    ended(tracker).await;
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named() {
    let spec = StdioSpec { command: "no-such-command-here".into(), ..sh("") };
    let error = connect(&spec, "ana", scrubber(), Limits::default(), &TaskTracker::new()).unwrap_err();
    assert!(error.to_string().contains("no-such-command-here") && error.to_string().contains("stripe"), "{error}");
}

#[tokio::test]
async fn an_endless_line_ends_the_child() {
    let tracker = TaskTracker::new();
    let limits = Limits { answer_bytes: 100_000, ..Limits::default() };
    let mut link =
        start(r#"read -r l; printf '{"jsonrpc":"2.0","id":1,"result":"'; yes | tr -d '\n'"#, limits, &tracker);
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.contains("more than 100000 bytes"));
    assert!(next(&mut link).await.starts_with("closed"));
    ended(tracker).await;
}

/// What is no message is passed over, and what comes after it is read as if it had not been there.
#[tokio::test]
async fn noise_between_messages_changes_nothing() {
    let tracker = TaskTracker::new();
    let noise = [
        r#"\357\273\277{"jsonrpc":"2.0","id":1,"result":"mark"}\n"#,
        r#"\377\376{\000\n"#,
        r#"{"jsonrpc":"2.0","id":1,"result":"\377"}\n"#,
        r#"{"jsonrpc":"2.0","id":1,"result":"a\000b"}\n"#,
        r#"{"jsonrpc":"2.0",\n"id":1,\n"result":"lines"}\n"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}\n"#,
        r#"[{"jsonrpc":"2.0","id":1,"result":"batch"}]\n"#,
        r#"\r\n\r\r\n   \n"#,
        r#"npm warn deprecated\n"#,
    ];
    let script = format!(
        r#"read -r l; head -c 100000 /dev/urandom; printf '\n'; printf '{}'; printf '{{"jsonrpc":"2.0","id":1,"result":{{}}}}\r\n'; read -r l"#,
        noise.concat()
    );
    let mut link = start(&script, Limits::default(), &tracker);
    link.outbound.send(request(1)).await.unwrap();
    assert_eq!(next(&mut link).await, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
}

#[tokio::test]
async fn a_message_of_8_mib_passes_in_both_directions() {
    let tracker = TaskTracker::new();
    let mut link = start(ECHO_RAW, Limits { answer_bytes: 8 << 20, ..Limits::default() }, &tracker);
    let frame = r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":""}}"#.len();
    let text = |size: usize| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":"{}"}}}}"#, "é".repeat((size - frame) / 2))
    };
    let sent = text((8 << 20) - 1);
    link.outbound.send(ToUpstream::Send(Message::from_client(sent.as_str()).unwrap())).await.unwrap();
    assert!(next(&mut link).await == sent, "8 MiB came back otherwise");
    let over = text((8 << 20) + 3);
    link.outbound.send(ToUpstream::Send(Message::from_client(over).unwrap())).await.unwrap();
    assert!(next(&mut link).await.contains("more than 8388608 bytes"));
    assert!(next(&mut link).await.starts_with("closed"));
    ended(tracker).await;
}

#[tokio::test]
async fn a_child_that_dies_in_the_middle_of_a_line_has_not_said_it() {
    let tracker = TaskTracker::new();
    let script = r#"read -r l; printf '{"jsonrpc":"2.0","id":1,"result":{}}'"#;
    let mut link = start(script, Limits::default(), &tracker);
    link.outbound.send(request(1)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 1 Unknown"));
    assert!(next(&mut link).await.starts_with("closed"));
    ended(tracker).await;
}

#[tokio::test]
async fn a_child_that_closes_its_output_and_lives_is_ended() {
    let tracker = TaskTracker::new();
    let script = r#"echo "{\"jsonrpc\":\"2.0\",\"method\":\"$$\"}"; exec >&-; read -r l; exec sleep 1000"#;
    let mut link = start(script, Limits::default(), &tracker);
    let pids = pids(&mut link).await;
    assert_eq!(next(&mut link).await, "closed the upstream process closed its output");
    ended(tracker).await;
    gone(&pids).await;
}

#[tokio::test]
async fn a_child_that_does_not_read_is_given_up() {
    let tracker = TaskTracker::new();
    let limits = Limits { answer_timeout: Duration::from_millis(300), ..Limits::default() };
    let mut link = start("exec sleep 1000", limits, &tracker);
    // More than a pipe holds.
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":"{}"}}}}"#, "x".repeat(1 << 20));
    link.outbound.send(ToUpstream::Send(Message::from_client(large).unwrap())).await.unwrap();
    link.outbound.send(request(2)).await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = link.inbound.recv().await {
        told.push(format!("{event:?}"));
    }
    let lost = |id: &str, fate: &str| {
        told.iter().any(|event| event.contains(&format!("id: {id},")) && event.contains(&format!("fate: {fate}")))
    };
    assert!(lost("1", "Unknown") && lost("2", "NotSent"), "{told:?}");
    ended(tracker).await;
}

/// Neither has a time for its answer: one is answered when it ends, the other when its task does.
#[tokio::test(start_paused = true)]
async fn a_subscription_and_the_wait_for_a_task_outlive_the_time_for_an_answer() {
    let tracker = TaskTracker::new();
    let mut link = start("exec sleep 1000", Limits::default(), &tracker);
    for (id, method) in [(0, "tasks/result"), (1, "subscriptions/listen")] {
        let request = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}"}}"#);
        link.outbound.send(ToUpstream::Send(Message::from_client(request).unwrap())).await.unwrap();
    }
    link.outbound.send(request(2)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 2 Unknown"));
    link.outbound.send(request(3)).await.unwrap();
    assert!(next(&mut link).await.starts_with("lost 3 Unknown"));
}

/// The pids that a script printed as the result of a message.
async fn pids(link: &mut UpstreamLink) -> Vec<i32> {
    let said = next(link).await;
    said.split('"').filter_map(|part| part.parse().ok()).collect()
}

fn alive(pid: i32) -> bool {
    // A zombie that nobody has reaped yet does not run any more.
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
}

async fn gone(pids: &[i32]) {
    while pids.iter().any(|pid| alive(*pid)) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn grandchildren_go_with_the_link() {
    let tracker = TaskTracker::new();
    let script = r#"sleep 1000 & echo "{\"jsonrpc\":\"2.0\",\"method\":\"$!\"}"; read -r l"#;
    let mut link = start(script, Limits::default(), &tracker);
    let pids = pids(&mut link).await;
    assert_eq!(pids.len(), 1);
    assert!(alive(pids[0]));
    drop(link);
    ended(tracker).await;
    gone(&pids).await;
}

#[tokio::test(start_paused = true)]
async fn a_stubborn_family_is_killed() {
    let tracker = TaskTracker::new();
    let script = r#"trap '' TERM; sleep 1000 & echo "{\"jsonrpc\":\"2.0\",\"method\":\"$!\",\"params\":{\"a\":\"$$\"}}"; while :; do sleep 1; done"#;
    let mut link = start(script, Limits::default(), &tracker);
    let pids = pids(&mut link).await;
    assert_eq!(pids.len(), 2);
    drop(link);
    ended(tracker).await;
    gone(&pids).await;
}

#[tokio::test]
async fn a_dead_parent_takes_its_children_along() {
    let tracker = TaskTracker::new();
    let script = r#"sleep 1000 >/dev/null 2>&1 & echo "{\"jsonrpc\":\"2.0\",\"method\":\"$!\"}"; exit 0"#;
    let mut link = start(script, Limits::default(), &tracker);
    let pids = pids(&mut link).await;
    assert!(next(&mut link).await.starts_with("closed"));
    ended(tracker).await;
    gone(&pids).await;
}

#[tokio::test]
async fn an_aborted_daemon_leaves_no_children() {
    let tracker = TaskTracker::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let inside = tracker.clone();
    let (link, pids) = runtime
        .spawn(async move {
            let script =
                r#"sleep 1000 & echo "{\"jsonrpc\":\"2.0\",\"method\":\"$!\",\"params\":{\"a\":\"$$\"}}"; sleep 1000"#;
            let mut link = start(script, Limits::default(), &inside);
            let pids = pids(&mut link).await;
            (link, pids)
        })
        .await
        .unwrap();
    runtime.shutdown_background();
    drop(link);
    gone(&pids).await;
}

#[tokio::test]
async fn an_array_is_taken_apart_in_the_revision_that_has_them() {
    let answer = |id: i64| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#);
    for (revision, taken) in [("2025-03-26", true), ("2025-06-18", false), ("2025-11-25", false)] {
        let tracker = TaskTracker::new();
        // Before the revision is agreed on there are no arrays either.
        let script = format!(
            r#"read -r l; echo '[{}]'; echo '{{"jsonrpc":"2.0","id":0,"result":{{"protocolVersion":"{revision}"}}}}'
            read -r l; read -r l; echo '[INFO] working'; echo ' [{},7,{}]'; echo '{}'; read -r l"#,
            answer(9),
            answer(1),
            answer(2),
            answer(3)
        );
        let mut link = start(&script, Limits::default(), &tracker);
        let initialize = r#"{"jsonrpc":"2.0","id":0,"method":"initialize"}"#;
        link.outbound.send(ToUpstream::Send(Message::from_client(initialize).unwrap())).await.unwrap();
        assert!(next(&mut link).await.contains(revision));
        link.outbound.send(request(1)).await.unwrap();
        link.outbound.send(request(2)).await.unwrap();
        for id in if taken { vec![1, 2, 3] } else { vec![3] } {
            assert_eq!(next(&mut link).await, answer(id), "{revision}");
        }
        drop(link);
        ended(tracker).await;
    }
}

/// A call, and how often it has been asked whether it may leave. It may until `stopped`.
fn call(id: i64, stopped: &Arc<AtomicBool>) -> (ToUpstream, Leave, Arc<AtomicUsize>) {
    let (asked, stopped) = (Arc::new(AtomicUsize::new(0)), Arc::clone(stopped));
    let count = Arc::clone(&asked);
    let leave = Leave::new(Instant::now() + Duration::from_secs(3600), move || {
        count.fetch_add(1, Ordering::Relaxed);
        stopped.load(Ordering::Relaxed).then(|| (Outcome::Rejected, "stopped".to_owned()))
    });
    let message = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"}}"#);
    (ToUpstream::Call(Message::from_client(message).unwrap(), leave.clone()), leave, asked)
}

/// A notification whose line has so many bytes.
fn long(bytes: usize) -> ToUpstream {
    let text = |pad: usize| format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, "m".repeat(pad));
    ToUpstream::Send(Message::from_client(text(bytes - 1 - text(0).len())).unwrap())
}

/// The child reads nothing until it is told to, so that the call waits behind a message that fills the pipe, or alone
/// before a pipe that is full to the last byte: then it has been asked already, and is asked again.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_call_that_is_stopped_before_its_first_byte_does_not_leave() {
    for (fills, alone) in [(300_000, false), (65_536, true)] {
        let (tracker, folder) = (TaskTracker::new(), tempfile::tempdir().unwrap());
        let goes = folder.path().join("goes");
        rustix::fs::mknodat(rustix::fs::CWD, &goes, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let mut link = start(&format!("read -r go < {}; exec cat", goes.display()), Limits::default(), &tracker);
        let stopped = Arc::default();
        let (first, leave, asked) = call(1, &stopped);
        let (second, taken_back, _) = call(2, &stopped);
        for message in [long(fills), first, second] {
            link.outbound.send(message).await.unwrap();
        }
        while alone && asked.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!leave.has_left());
        stopped.store(true, Ordering::Relaxed);
        assert!(taken_back.take_back(Outcome::Withdrawn, "cancelled"));
        tokio::task::spawn_blocking(move || std::fs::write(goes, "go\n")).await.unwrap().unwrap();
        // The child's echo and what the link says come in no order.
        let mut said = [next(&mut link).await, next(&mut link).await, next(&mut link).await];
        said.sort();
        assert_eq!(said[..2], ["lost 1 NotSent stopped", "lost 2 NotSent cancelled"]);
        assert!(said[2].starts_with(r#"{"jsonrpc":"2.0","method":"mmm"#), "{:.200}", said[2]);
        stopped.store(false, Ordering::Relaxed);
        let (third, leave, _) = call(3, &stopped);
        link.outbound.send(third).await.unwrap();
        assert_eq!(next(&mut link).await, r#"{"jsonrpc":"2.0","id":3,"method":"tools/call"}"#, "and nothing before it");
        assert!(leave.has_left());
        drop(link);
        ended(tracker).await;
    }
}
