//! An issuer's keys in use: fetched or read when they are needed, kept for a while, fetched again for a key that is not
//! known.
//!
//! Invariant: however many tokens name unknown keys, the issuer is asked one question at a time and at most once in
//! [`PAUSE`]. A key set takes the place of the one before it, also where it has no key; only what could not be fetched or
//! read as one leaves that in use, for [`KEPT`]. A file that is not there, or that others can change, is worth nothing,
//! and neither is what it held before.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{info, warn};

use crate::credential::token::KeySet;
use crate::credential::trust::{self, Readers};
use crate::transport::budget::Budget;
use crate::transport::lock;

/// Between two questions to an issuer.
const PAUSE: Duration = Duration::from_secs(30);
/// How long fetched keys count as current: what the issuer says, within these bounds, or else the default.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
const DEFAULT: Duration = Duration::from_secs(300);
/// How much longer they are used while there are no newer ones.
const KEPT: Duration = Duration::from_secs(3600);
/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Larger key sets are not read.
pub const MAX_KEYS_BYTES: usize = 256 << 10;

const NO_KEY: &str = "the issuer has no key that can be used";

/// A key set as an issuer sent it.
#[derive(Debug)]
pub struct Fetched {
    pub body: Vec<u8>,
    /// How long it may be kept, as the issuer says.
    pub max_age: Option<Duration>,
}

/// Fetches a key set, with limits of time and size of its own.
pub type Fetch = Arc<dyn Fn() -> Fetching + Send + Sync>;
type Fetching = Pin<Box<dyn Future<Output = Result<Fetched, String>> + Send>>;

enum Source {
    File(PathBuf),
    Issuer(Fetch),
}

/// See the head of this file.
pub struct Keys {
    issuer: String,
    source: Source,
    state: Mutex<State>,
    /// Held by the one who asks.
    asking: tokio::sync::Mutex<()>,
    said: Budget,
}

#[derive(Default)]
struct State {
    keys: Arc<KeySet>,
    /// Until then they are current.
    current: Option<Instant>,
    /// When the source was asked last.
    asked: Option<Instant>,
    /// How the file was when it was read.
    seen: Option<Seen>,
}

type Seen = (u64, u64, u64, Option<SystemTime>);

/// What a source has.
enum New {
    Same,
    Keys(KeySet, Duration),
}

impl Keys {
    /// `issuer` is for the log.
    pub fn in_file(issuer: &str, path: PathBuf) -> Keys {
        Keys::of(issuer, Source::File(path))
    }

    pub fn of_issuer(issuer: &str, fetch: Fetch) -> Keys {
        Keys::of(issuer, Source::Issuer(fetch))
    }

    fn of(issuer: &str, source: Source) -> Keys {
        let (state, asking) = (Mutex::default(), tokio::sync::Mutex::default());
        Keys { issuer: issuer.to_owned(), source, state, asking, said: Budget::new(3, PAUSE) }
    }

    /// Reads or fetches them for the first time.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn load(&self) -> Result<(), String> {
        let _alone = self.asking.lock().await;
        self.ask().await?;
        if lock(&self.state).keys.is_empty() { Err(NO_KEY.to_owned()) } else { Ok(()) }
    }

    /// Current keys that have what is `wanted`, or else the newest there are. Nothing where there are none that may
    /// be used.
    pub async fn with(&self, wanted: impl Fn(&KeySet) -> bool) -> Option<Arc<KeySet>> {
        let (usable, current) = self.at_hand();
        if let Some(keys) = usable.filter(|keys| wanted(keys)) {
            // The first one who finds them old asks; the others need not wait.
            if current || self.asking.try_lock().is_err() {
                return Some(keys);
            }
        } else if self.pauses() && self.asking.try_lock().is_ok() {
            // Nobody asks just now, whose answer would be worth waiting for.
            return self.at_hand().0;
        }
        let _alone = self.asking.lock().await;
        let (usable, current) = self.at_hand();
        let found = usable.as_ref().is_some_and(|keys| wanted(keys));
        if (!found || !current)
            && !self.pauses()
            && let Err(why) = self.ask().await
            && self.said.take().is_some()
        {
            match self.at_hand().0 {
                Some(_) => {
                    warn!(issuer = self.issuer, why, "the issuer's keys cannot be had; older ones are used for a while")
                }
                None => {
                    warn!(issuer = self.issuer, why, "the issuer's keys cannot be had: none of its tokens is taken")
                }
            }
        }
        self.at_hand().0
    }

    /// What may be used, and whether it is current.
    fn at_hand(&self) -> (Option<Arc<KeySet>>, bool) {
        let state = lock(&self.state);
        let Some(until) = state.current else { return (None, false) };
        let now = Instant::now();
        ((now < until + KEPT).then(|| Arc::clone(&state.keys)), now < until)
    }

    /// True where the source is not asked now.
    fn pauses(&self) -> bool {
        let pause = match self.source {
            Source::File(_) => LOOK,
            Source::Issuer(_) => PAUSE,
        };
        lock(&self.state).asked.is_some_and(|asked| asked.elapsed() < pause)
    }

    async fn ask(&self) -> Result<(), String> {
        lock(&self.state).asked = Some(Instant::now());
        let new = match &self.source {
            Source::File(path) => self.read(path.clone()).await?,
            Source::Issuer(fetch) => {
                let fetched = fetch().await?;
                let current = fetched.max_age.unwrap_or(DEFAULT).clamp(SHORTEST, LONGEST);
                New::Keys(self.parse(&fetched.body)?, current)
            }
        };
        let mut state = lock(&self.state);
        match new {
            New::Same => state.current = Some(Instant::now() + LOOK),
            New::Keys(keys, current) => {
                state.keys = Arc::new(keys);
                state.current = Some(Instant::now() + current);
            }
        }
        Ok(())
    }

    async fn read(&self, path: PathBuf) -> Result<New, String> {
        let before = lock(&self.state).seen;
        let work = move || {
            let seen = seen(&path);
            if seen.is_some() && seen == before && trust::check(&path).is_ok() {
                return Ok((seen, None));
            }
            let failed = |error: trust::TrustError| {
                // What could not be read just now, or is too long for a key set.
                let passes = matches!(error, trust::TrustError::Io { .. } | trust::TrustError::Size { .. });
                (passes, format!("{error}; {}", error.help()))
            };
            let bytes = trust::read(&path, Readers::Anyone, MAX_KEYS_BYTES).map_err(failed)?;
            Ok((seen, Some(bytes.to_vec())))
        };
        let read = tokio::task::spawn_blocking(work).await.map_err(|_| "the file was not read".to_owned())?;
        let (seen, bytes) = read.map_err(|(passes, why)| {
            if !passes {
                *lock(&self.state) = State { asked: Some(Instant::now()), ..State::default() };
            }
            why
        })?;
        let Some(bytes) = bytes else { return Ok(New::Same) };
        let keys = self.parse(&bytes)?;
        lock(&self.state).seen = seen;
        info!(issuer = self.issuer, keys = keys.len(), "the issuer's keys were read");
        Ok(New::Keys(keys, LOOK))
    }

    fn parse(&self, bytes: &[u8]) -> Result<KeySet, String> {
        let (keys, passed) = KeySet::parse(bytes).map_err(|why| format!("it is no key set: {why}"))?;
        if !passed.is_empty() && self.said.take().is_some() {
            let why: Vec<String> = passed.iter().take(5).map(|(at, why)| format!("keys[{at}]: {why}")).collect();
            warn!(issuer = self.issuer, why = why.join("; "), "keys of the issuer are not used");
        }
        if keys.is_empty() && self.said.take().is_some() {
            warn!(issuer = self.issuer, "{NO_KEY}: none of its tokens is taken");
        }
        Ok(keys)
    }
}

/// What changes when a file is written or replaced.
fn seen(path: &std::path::Path) -> Option<Seen> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino(), metadata.len(), metadata.modified().ok()))
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
