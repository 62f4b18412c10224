//! The play itself: a real daemon between the agent and the billing server, and an operator, scripted or in person.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::agent::{Agent, AgentError, Report};
use super::operator::{self, OperatorError};
use super::stage::{Log, SERVER, Stage};
use super::story::{Check, Line, Recorded, Transcript};
use super::verdict::{self, Remains};
use crate::audit::{AuditError, AuditReader, verify};
use crate::config::{self, ConfigError};
use crate::console::{self, ConsoleError};
use crate::proxy::{Daemon, StartError};

/// The scripted run takes far less than a second; whatever takes so long is stuck.
const LIMIT: Duration = Duration::from_secs(30);
/// Between the agent's calls, for people.
const PACE: Duration = Duration::from_millis(700);
/// The console stays so long after the agent's last answer.
const LINGER: Duration = Duration::from_secs(3);
/// How long the agent may take to notice that the daemon is gone.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why the play could not be given, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    #[error("the demo cannot be set up: {0}")]
    Stage(#[from] std::io::Error),
    #[error("the demo's configuration: {0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error(transparent)]
    Console(#[from] ConsoleError),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error("the play is stuck: it is not over after {} s", LIMIT.as_secs())]
    Stuck,
}

/// What is told at the end.
#[derive(Debug)]
pub struct Told {
    pub transcript: Vec<Line>,
    pub audit: Vec<Recorded>,
    /// What had to be true; of the scripted run only.
    pub checks: Vec<Check>,
    /// Why the agent stopped before its end, where it did.
    pub stopped: Option<String>,
}

/// The scripted run. Every line goes to `live` as it is said; `log` is what this process logs.
///
/// # Errors
/// Where it does not come to its end. Deviations at the end are in [`Told::checks`].
pub async fn scripted(log: Log, live: mpsc::Sender<Line>) -> Result<Told, PlayError> {
    let stage = Stage::set().await?;
    let told = scripted_on(&stage, log, live).await;
    stage.clear().await;
    told
}

async fn scripted_on(stage: &Stage, log: Log, live: mpsc::Sender<Line>) -> Result<Told, PlayError> {
    let transcript = Transcript::new(Some(live));
    let daemon = start(stage).await?;
    let played = tokio::time::timeout(LIMIT, meet(&daemon, &transcript)).await;
    daemon.shutdown().await;
    let (report, mut checks) = played.map_err(|_| PlayError::Stuck)??;

    let kept = kept(&stage.state_dir())?;
    let transcript = transcript.lines();
    let remains = Remains { report, transcript, log, records: kept.lines, broken: kept.broken };
    checks.extend(verdict::checks(stage, &remains)?);
    Ok(Told { transcript: remains.transcript, audit: kept.records, checks, stopped: None })
}

/// Agent and operator, until both are done.
async fn meet(daemon: &Daemon, transcript: &Transcript) -> Result<(Report, Vec<Check>), PlayError> {
    let agent = async { Ok::<_, PlayError>(agent(&daemon.client_socket, transcript.clone(), Duration::ZERO).await?) };
    let operator = async { Ok(operator::rule(&daemon.operator_socket, SERVER, transcript.clone()).await?) };
    tokio::try_join!(agent, operator)
}

/// The run with a person at the console. It ends some seconds after the agent, or when the person leaves.
///
/// # Errors
/// Where it cannot be set up, or the terminal cannot be used.
pub async fn in_person() -> Result<Told, PlayError> {
    let stage = Stage::set().await?;
    let told = in_person_on(&stage).await;
    stage.clear().await;
    told
}

async fn in_person_on(stage: &Stage) -> Result<Told, PlayError> {
    let transcript = Transcript::new(None);
    let daemon = start(stage).await?;
    let (socket, said) = (daemon.client_socket.clone(), transcript.clone());
    let mut agent = tokio::spawn(async move { agent(&socket, said, PACE).await });
    let watched = watch(&daemon, &mut agent).await;
    daemon.shutdown().await;
    let ended = match watched? {
        Some(ended) => ended,
        None => tokio::time::timeout(FAREWELL, agent).await.map_err(|_| PlayError::Stuck)?,
    };
    let stopped = match ended {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(broken) => Some(broken.to_string()),
    };
    let audit = kept(&stage.state_dir())?.records;
    Ok(Told { transcript: transcript.lines(), audit, checks: Vec::new(), stopped })
}

type Ended = Result<Result<Report, AgentError>, tokio::task::JoinError>;

/// The console, until the person leaves or the agent is done. What the agent ended with, where it did.
async fn watch(
    daemon: &Daemon,
    agent: &mut tokio::task::JoinHandle<Result<Report, AgentError>>,
) -> Result<Option<Ended>, PlayError> {
    let stop = CancellationToken::new();
    let options = console::Options { stop: stop.clone(), signals: true, ..console::Options::default() };
    let mut console = std::pin::pin!(console::run(&daemon.operator_socket, options));
    let ended = tokio::select! {
        left = &mut console => { left?; return Ok(None) }
        ended = agent => ended,
    };
    tokio::select! {
        left = &mut console => { left?; }
        () = tokio::time::sleep(LINGER) => {
            stop.cancel();
            console.await?;
        }
    }
    Ok(Some(ended))
}

async fn start(stage: &Stage) -> Result<Daemon, PlayError> {
    let config = config::parse(&stage.config(), &stage.config_path())?;
    Ok(Daemon::start(config, std::sync::Arc::default(), std::future::pending()).await?)
}

async fn agent(socket: &Path, transcript: Transcript, pace: Duration) -> Result<Report, AgentError> {
    Agent::connect(socket, SERVER, transcript, pace).await?.work().await
}

/// The audit as it lies on the disk.
struct Kept {
    /// As an export would write them.
    lines: Vec<String>,
    records: Vec<Recorded>,
    broken: Option<String>,
}

fn kept(state_dir: &Path) -> Result<Kept, AuditError> {
    let path = state_dir.join("audit.db");
    let broken = verify::log(&path, None)?.problem.map(|problem| problem.to_string());
    let (mut lines, mut records) = (Vec::new(), Vec::new());
    AuditReader::open(&path)?.scan(0, |record| {
        lines.push(verify::line(&record));
        let body: Value = serde_json::from_str(&record.body).unwrap_or_default();
        records.push(Recorded { seq: record.seq, kind: record.kind, body });
        true
    })?;
    Ok(Kept { lines, records, broken })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::story::LIVE;

    /// The whole of it, with the real daemon.
    #[tokio::test]
    async fn the_scripted_run_goes_as_told() {
        let (live, mut heard) = mpsc::channel(LIVE);
        let log = Log::default();
        // The log of the process belongs to the command line; here one line stands for it.
        std::io::Write::write_all(&mut log.clone(), b"no log in tests\n").unwrap();
        let told = scripted(log, live).await.unwrap();
        let deviations: Vec<_> = told.checks.iter().filter(|check| check.deviation.is_some()).collect();
        assert!(deviations.is_empty(), "{deviations:#?}\n{:#?}\n{:#?}", told.transcript, told.audit);
        assert!(told.checks.len() >= 10);
        let mut live = Vec::new();
        while let Ok(line) = heard.try_recv() {
            live.push(line);
        }
        assert_eq!(live, told.transcript);
    }
}
