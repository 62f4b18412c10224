//! The keys in use: read when the daemon starts, and again when its operator says so or one of their files has changed.
//!
//! Invariant: a new value is taken where it can be read, contradicts nothing that the one before it proved, and is
//! recorded; else that one stays. The scrubber knows a value before anything could send it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::probe::{self, Asked};
use super::servers::{catalog, has_room, runtime};
use super::sign_in::SignIns;
use super::{ServerRuntime, Shared, StartError, environment};
use crate::audit::{Entry, Event};
use crate::call::{Environment, EnvironmentSource};
use crate::config::{self, Config, Match, SecretSource, Value};
use crate::credential::oauth;
use crate::credential::secret::{Secret, SecretCell};
use crate::credential::source::{self, SecretError};
use crate::sandbox::Yard;

/// How often the files are looked at. One that has changed is read when it has not changed again since.
const POLL: Duration = Duration::from_secs(1);
/// When a key that could not be read or looked at just now is tried again; twice as much later each time.
const AGAIN: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(300);

/// All keys by their names.
pub(super) type Cells = BTreeMap<String, SecretCell>;

/// Reads every key.
///
/// # Errors
/// The first that cannot be had, and where a token is a key as well.
pub(super) async fn read(config: &Config) -> Result<Cells, StartError> {
    let mut cells = Cells::new();
    for (name, source) in &config.secrets {
        let place = || {
            let path = config.path.as_deref().map(Path::display);
            let place = path.zip(config.secret_places.get(name));
            place.map_or_else(String::new, |(path, (line, column))| format!("\n --> {path}:{line}:{column}"))
        };
        let secret = source::resolve(name, source).await;
        let secret = secret.map_err(|error| StartError::Secret { error, place: place() })?;
        if let Some(other) = same_as(config, &cells, name, &secret) {
            return Err(StartError::SameKey { name: name.clone(), other, place: place() });
        }
        cells.insert(name.clone(), SecretCell::new(name, secret));
    }
    Ok(cells)
}

/// What else is this key, where one of the two is a token: whoever holds that would hold the other as well.
fn same_as(config: &Config, cells: &Cells, name: &str, secret: &Secret) -> Option<String> {
    let is_token =
        |name: &str| config.principals.iter().any(|entry| matches!(&entry.by, Match::Token(of) if of == name));
    let same = |(other, cell): &(&String, &SecretCell)| {
        *other != name && (is_token(name) || is_token(other)) && cell.current().matches(secret.expose())
    };
    if let Some((other, _)) = cells.iter().find(same) {
        return Some(format!("the secret `{other}`"));
    }
    let hashed =
        |entry: &&config::PrincipalEntry| matches!(&entry.by, Match::TokenHash(hash) if hash == secret.digest());
    let entry = config.principals.iter().find(hashed)?;
    Some(format!("the token of `{}` (sha256)", entry.principal.name))
}

/// Why a new key is not taken.
enum NotTaken {
    /// For what it is.
    Refused(String),
    /// It could not be read, looked at or recorded just now.
    NotNow(String),
}

impl From<SecretError> for NotTaken {
    fn from(error: SecretError) -> NotTaken {
        match &error {
            // What is wrong may lie in a folder above it, and its end does not change the file.
            SecretError::File { .. } => NotTaken::NotNow(error.to_string()),
            _ => NotTaken::Refused(error.to_string()),
        }
    }
}

/// The keys of a running daemon.
pub(super) struct Keys {
    pub config: Arc<Config>,
    pub cells: Cells,
    pub servers: BTreeMap<String, Arc<ServerRuntime>>,
    pub shared: Arc<Shared>,
    /// Where children live.
    pub yard: Arc<Yard>,
    /// Where children without keys reach APIs.
    pub child_port: Option<u16>,
    /// Where servers that are signed in to get their tokens.
    pub sign_ins: Option<Arc<SignIns>>,
    /// How the files were when they were read for the first time.
    pub read: Stamps,
    /// One reading at a time.
    pub reading: tokio::sync::Mutex<()>,
}

impl Keys {
    /// Reads these keys again; each is taken, or kept as it is.
    pub async fn reread(&self, which: impl Fn(&str) -> bool) {
        for (name, source) in self.config.secrets.iter().filter(|(name, _)| which(name)) {
            self.take(name, source, None).await;
        }
    }

    /// False where it is worth another try, which comes `again` so much later.
    async fn take(&self, name: &str, source: &SecretSource, again: Option<Duration>) -> bool {
        let _one = self.reading.lock().await;
        let Some(cell) = self.cells.get(name) else { return true };
        match self.read_one(name, source, cell).await {
            Ok(None) => tracing::debug!(secret = name, "the key is the same as before"),
            Ok(Some(fingerprint)) => tracing::info!(secret = name, fingerprint, "a new key is in use"),
            Err(NotTaken::Refused(why)) => self.keep(name, why, None).await,
            Err(NotTaken::NotNow(why)) => {
                self.keep(name, why, again).await;
                return false;
            }
        }
        true
    }

    async fn read_one(&self, name: &str, source: &SecretSource, cell: &SecretCell) -> Result<Option<String>, NotTaken> {
        let secret = source::resolve(name, source).await?;
        let before = cell.current();
        if before.matches(secret.expose()) {
            return Ok(None);
        }
        if self.sign_ins.is_some() && self.config.oauth_key.as_deref() == Some(name) {
            let why = "sign-ins are sealed under the one before; to take it, restart and sign in again at every server";
            return Err(NotTaken::Refused(why.to_owned()));
        }
        // A header field cannot carry them, and would be left out.
        if secret.has_lines() && !before.has_lines() {
            return Err(NotTaken::Refused("it has several lines, which the one before it had not".to_owned()));
        }
        self.signs(name, &secret)?;
        if let Some(other) = same_as(&self.config, &self.cells, name, &secret) {
            return Err(NotTaken::Refused(format!("it is the same as {other}; a token is nothing but a token")));
        }
        let fingerprint = secret.fingerprint();
        let (new, mut candidates) = (SecretCell::new(name, secret), self.cells.clone());
        self.shared.scrubber.try_out(name, &new.current());
        candidates.insert(name.to_owned(), new.clone());
        for (server, settings) in self.config.servers.iter().filter(|(_, server)| gets(server, name)) {
            if let Some(running) = self.servers.get(server) {
                self.fits(settings, running, &candidates).await?;
            }
        }
        let rotated = Event::SecretRotated {
            secret: name.to_owned(),
            fingerprint: fingerprint.clone(),
            previous: before.fingerprint(),
        };
        let recorded = self.shared.gate.audit().append(Entry::new(None, true, rotated)).await;
        let unrecorded = |error| NotTaken::NotNow(format!("it could not be recorded: {error}"));
        let _receipt = recorded.map_err(unrecorded)?;
        self.shared.scrubber.learn(name, &new.current());
        cell.adopt(&new);
        Ok(Some(fingerprint))
    }

    /// What signs for a client has to be able to.
    fn signs(&self, name: &str, secret: &Secret) -> Result<(), NotTaken> {
        let mut keys = self.config.sign_ins().flat_map(|(_, _, oauth)| oauth.private_keys());
        match keys.any(|key| key == name) {
            true => oauth::can_sign(secret).map_err(|bad| NotTaken::Refused(bad.to_string())),
            false => Ok(()),
        }
    }

    /// Whether a server works with the new key where it is known to work: what a start would find, and no less than
    /// this one has found.
    async fn fits(&self, settings: &config::Server, running: &ServerRuntime, keys: &Cells) -> Result<(), NotTaken> {
        has_room(settings, keys).map_err(NotTaken::Refused)?;
        let now = environment::declared(settings, &running.catalog, &self.config, keys);
        let contradicts = |text: &dyn std::fmt::Display| NotTaken::Refused(one_line(&text.to_string()));
        let mut now = now.map_err(|contradiction| contradicts(&contradiction))?;
        let known = &running.environment;
        let mut refused: fn(String) -> NotTaken = NotTaken::Refused;
        if let Some(probe) = settings.probe {
            let catalog = catalog(settings).map_err(|error| NotTaken::Refused(error.to_string()))?;
            let sign_ins = self.sign_ins.as_deref();
            let asking = runtime(settings, catalog, now, keys, &self.yard, self.child_port, sign_ins)
                .map_err(|error| NotTaken::Refused(error.to_string()))?;
            now = match probe::ask(&asking, probe.timeout, &self.shared).await {
                Asked::Proved(environment) => environment,
                Asked::Contradicted(contradiction) => return Err(contradicts(&contradiction)),
                Asked::Silent { why, .. } if probe.required => return Err(NotTaken::NotNow(why)),
                Asked::Silent { environment, .. } => {
                    // It may prove as much when it answers.
                    refused = NotTaken::NotNow;
                    environment
                }
            };
        }
        no_less(&settings.facts.name, known, &now).map_err(refused)
    }

    async fn keep(&self, name: &str, why: String, again: Option<Duration>) {
        let why = self.shared.scrubber.line(&why).into_owned();
        match again.map(|pause| pause.as_secs()) {
            None => tracing::error!(secret = name, why, "the new key is not taken, the one before it stays in use"),
            Some(seconds) => tracing::error!(
                secret = name,
                why,
                "the new key is not taken yet, the one before it stays in use; it is tried again in {seconds} s"
            ),
        }
        let kept = Event::SecretKept { secret: name.to_owned(), why };
        if let Err(error) = self.shared.gate.audit().append(Entry::new(None, true, kept)).await {
            tracing::error!(%error, "a key that was not taken could not be recorded");
        }
    }

    /// Reads keys again whose files have changed.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let files = self.config.secrets.iter().filter_map(|(name, source)| {
            let read = self.read.get(name).copied().flatten();
            Some((name, source, Watched { path: file_of(source)?, read, last: read, again: None }))
        });
        let mut files: Vec<_> = files.collect();
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => return,
            }
            for (name, source, file) in &mut files {
                let Some(pause) = file.is_due() else { continue };
                let taken = self.take(name, source, Some(pause)).await;
                file.again = (!taken).then(|| (Instant::now() + pause, pause));
            }
        }
    }
}

/// How the files of all keys are. Looked at before they are read: what changes after that is noticed.
pub(super) fn stamps(config: &Config) -> Stamps {
    let stamp = |(name, source): (&String, &SecretSource)| Some((name.clone(), Stamp::of(file_of(source)?)));
    config.secrets.iter().filter_map(stamp).collect()
}

pub(super) type Stamps = BTreeMap<String, Option<Stamp>>;

fn file_of(source: &SecretSource) -> Option<&Path> {
    match source {
        SecretSource::File(path) | SecretSource::Stored(path) => Some(path),
        SecretSource::Env(_) | SecretSource::Command { .. } | SecretSource::Keyring(_) => None,
    }
}

/// A file with a key in it.
struct Watched<'a> {
    path: &'a Path,
    /// How it was when it was read, and when it was looked at last.
    read: Option<Stamp>,
    last: Option<Stamp>,
    /// When it is read again as it is, and how long that was to wait.
    again: Option<(Instant, Duration)>,
}

impl Watched<'_> {
    /// Whether to read it now: it has changed and stands still, or its time has come. Gives how long to wait if that fails.
    fn is_due(&mut self) -> Option<Duration> {
        let now = Stamp::of(self.path);
        let still = std::mem::replace(&mut self.last, now) == now;
        if still && now != self.read {
            self.read = now;
            return Some(AGAIN);
        }
        let (_, pause) = self.again.filter(|(at, _)| Instant::now() >= *at)?;
        Some((2 * pause).min(LATEST))
    }
}

/// What changes with a file, its mode and its owner too: device, inode, length, and its time of change in seconds and
/// nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp(u64, u64, u64, i64, i64);

impl Stamp {
    fn of(path: &Path) -> Option<Stamp> {
        let found = path.metadata().ok()?;
        Some(Stamp(found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec()))
    }
}

fn gets(server: &config::Server, secret: &str) -> bool {
    server.upstream.values().any(|(_, value)| matches!(value, Value::Secret { name, .. } if name == secret))
}

fn no_less(server: &str, known: &Environment, now: &Environment) -> Result<(), String> {
    if known.verified && !now.verified {
        let how = match known.source {
            EnvironmentSource::Key => "its form",
            _ => "the server's answer",
        };
        return Err(format!(
            "server {server}: {how} does not prove `environment: {}`, as the one before it did; restart to take it",
            known.name
        ));
    }
    match now.accounts.iter().find(|account| !known.accounts.contains(account)) {
        Some(account) => {
            Err(format!("server {server}: it is the key of another account ({account}); restart to take it"))
        }
        None => Ok(()),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_proves_less_is_not_taken() {
        let declared = Environment { accounts: vec!["acct_a".to_owned()], ..Environment::declared("test") };
        let proved = |source| Environment { source, verified: true, ..declared.clone() };
        let (key, asked) = (proved(EnvironmentSource::Key), proved(EnvironmentSource::Probe));
        assert!(no_less("s", &key, &declared).unwrap_err().contains("its form"));
        assert!(no_less("s", &asked, &declared).unwrap_err().contains("the server's answer"));
        for (known, now) in [(&declared, &declared), (&declared, &key), (&key, &asked), (&asked, &key)] {
            assert_eq!(no_less("s", known, now), Ok(()));
        }
        let other = Environment { accounts: vec!["acct_a".to_owned(), "acct_b".to_owned()], ..asked.clone() };
        assert!(no_less("s", &asked, &other).unwrap_err().contains("acct_b"));
    }
}
