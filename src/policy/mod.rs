//! Policy: Rego decides about every call. Loads and checks the policies, evaluates them inside guards, and combines
//! what they say. Knows nothing of proxies, sockets and stores.
//!
//! Rules of the operator are evaluated in processes of their own (`pool`, `worker`), the shipped ones here (`set`). The
//! interpreter's clock does not stop a built-in function, an allocation that fails ends the process, and a thread that
//! is stuck cannot be ended; replacing each function that multiplies what an argument says by a bounded one leaves
//! comprehensions, shared values that grow when they are written, and whatever the next version adds.
//!
//! Invariant: an answer is a [`Decision`] that every enforced policy had a part in, or a [`PolicyFault`], which the
//! caller turns into a refusal. There is no third way out.

pub mod author;
mod check;
mod combine;
mod compiled;
mod data;
mod document;
mod evaluation;
mod excerpt;
mod history;
mod input;
mod pool;
mod problem;
pub mod recorded;
mod repeated;
mod set;
mod source;
mod syntax;
pub mod test;
mod value;
mod wire;
pub mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::call::{CallContext, Decision, Digest, ToolCall};

pub use combine::{denied_too, held_too};
pub use excerpt::{Excerpt, ExcerptLine};
pub use history::HistoryUse;
use history::HistoryUses;
pub use input::confirm_value;
pub use problem::{PolicyErrors, Problem, Severity};
pub use source::builtin_names;

use document::Document;
use pool::Pool;
use set::PolicySet;

/// What ends what the interpreter cannot end, in time limits.
const OUTER: u32 = 3;
/// Bytes of an input that shipped rules decide on at once.
const AT_ONCE: usize = 64 << 10;

/// What the entries of a policy count for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Mode {
    /// They decide.
    Enforce,
    /// They are recorded. As yet the same as `shadow`.
    Warn,
    /// They are recorded.
    Shadow,
}

/// Whether a call is judged, or a tool that a list may show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Call,
    List,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Call => "call",
            Phase::List => "list",
        }
    }
}

/// Which policies decide, as plain values.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Built-in families by name.
    pub builtin: Vec<String>,
    /// Files and folders of the operator's policies and data.
    pub paths: Vec<PathBuf>,
    /// Names of environments in use, for which data may have rows; none where they are not known.
    pub environments: BTreeSet<String>,
    /// By policy name; a policy that is not named is enforced.
    pub modes: BTreeMap<String, Mode>,
    /// For one decision. An outer limit of three times this ends what the interpreter cannot.
    pub time_limit: Duration,
    /// A policy that allows an input which says nothing is loaded all the same.
    pub unsafe_default_allow: bool,
    /// Asked about every path before it is read, at each load.
    pub trusted: Trusted,
    /// This program, where policies of the operator are to run in processes of their own; see [`this_program`].
    pub worker: Option<PathBuf>,
    /// Names of the servers that there are, where they are known: data about another one is an error.
    pub servers: Option<Vec<String>>,
}

/// Whether nobody but the operator can change what lies at a path; else what is wrong, and what helps.
pub type Trusted = fn(&Path) -> Result<(), (String, String)>;

/// For files of whoever runs a command.
pub fn anyones(_: &Path) -> Result<(), (String, String)> {
    Ok(())
}

impl Default for Settings {
    /// Every built-in family, and nothing else.
    fn default() -> Settings {
        Settings {
            builtin: builtin_names().map(str::to_owned).collect(),
            paths: Vec::new(),
            environments: BTreeSet::new(),
            modes: BTreeMap::new(),
            time_limit: Duration::from_millis(50),
            unsafe_default_allow: false,
            trusted: anyones,
            worker: None,
            servers: None,
        }
    }
}

/// Why there is no decision. The caller refuses; the text is for operators and may name files.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyFault {
    #[error("policy {policy} failed: {message}")]
    Engine { policy: String, message: String },
    #[error("the built-in policies failed: {message}")]
    BuiltIn { message: String },
    #[error("policy {policy}: the set {set} is undefined")]
    Undefined { policy: String, set: String },
    #[error("policy {policy}: malformed entry: {message}")]
    Shape { policy: String, message: String },
    #[error("policy {policy} reached the time limit")]
    TimeLimit { policy: String },
    #[error("confirm_with {pointer} points to nothing that an operator could type")]
    Pointer { pointer: String },
    #[error("the policy input cannot be read: {0}")]
    Input(String),
    #[error("policy evaluation did not end in time")]
    Timeout,
    #[error("evaluator saturated: every place for policies is taken")]
    Saturated,
    #[error("the policy interpreter panicked")]
    Panicked,
    #[error("the policy process failed on this input: {0}")]
    Worker(String),
}

impl PolicyFault {
    /// For the client: what failed, without files or rules.
    pub fn for_client(&self) -> &'static str {
        match self {
            PolicyFault::Engine { .. }
            | PolicyFault::BuiltIn { .. }
            | PolicyFault::Panicked
            | PolicyFault::Worker(_) => "a policy failed on this call",
            PolicyFault::Undefined { .. } | PolicyFault::Shape { .. } | PolicyFault::Pointer { .. } => {
                "a policy gave no valid answer for this call"
            }
            PolicyFault::TimeLimit { .. } | PolicyFault::Timeout => "a policy took too long on this call",
            PolicyFault::Input(_) => "the policies cannot read this call",
            PolicyFault::Saturated => "too many calls wait for a decision",
        }
    }
}

/// What a reload did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reloaded {
    pub version: String,
    pub rules: usize,
    /// False where the files say what they said before.
    pub changed: bool,
}

/// The policies in use. Cheap to clone; all clones see a reload.
#[derive(Clone, Debug)]
pub struct PolicyEngine(Arc<Shared>);

/// The policies of one moment: what they ask for and what they say belong together, whatever is loaded meanwhile.
#[derive(Clone, Debug)]
pub struct Policies {
    engine: PolicyEngine,
    set: Arc<InUse>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    set: ArcSwap<InUse>,
    /// One slot for each evaluation on a thread of ours. One that is stuck keeps its slot, so they are bounded.
    slots: Arc<Semaphore>,
}

/// One version of the policies, and where it is evaluated.
#[derive(Debug)]
enum InUse {
    /// In this process: the shipped rules, and whatever a command line tries out.
    Here(Arc<PolicySet>, Arc<set::Build>),
    Away(Arc<Pool>),
}

impl InUse {
    fn version(&self) -> &str {
        match self {
            InUse::Here(set, _) => set.version(),
            InUse::Away(pool) => pool.version(),
        }
    }

    fn rules(&self) -> usize {
        match self {
            InUse::Here(set, _) => set.rules(),
            InUse::Away(pool) => pool.rules(),
        }
    }

    fn scopes_alone_allow(&self) -> bool {
        match self {
            InUse::Here(set, _) => set.scopes_alone_allow(),
            InUse::Away(pool) => pool.scopes_alone_allow(),
        }
    }

    /// What it was made of.
    fn build(&self) -> Result<set::Build, String> {
        match self {
            InUse::Here(_, build) => Ok((**build).clone()),
            InUse::Away(pool) => pool.build(),
        }
    }

    fn history(&self) -> &HistoryUses {
        match self {
            InUse::Here(set, _) => set.history(),
            InUse::Away(pool) => pool.history(),
        }
    }
}

impl PolicyEngine {
    /// Reads, checks and prepares the policies. Blocks; never gives an empty set.
    ///
    /// # Errors
    /// Everything that is wrong with the files, with places.
    pub fn load(settings: Settings) -> Result<PolicyEngine, PolicyErrors> {
        let set = load(&settings)?;
        let slots = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
        let slots = Arc::new(Semaphore::new(slots));
        Ok(PolicyEngine(Arc::new(Shared { settings, set: ArcSwap::from_pointee(set), slots })))
    }

    /// The policies as they are in this moment.
    pub fn in_use(&self) -> Policies {
        Policies { engine: self.clone(), set: self.0.set.load_full() }
    }

    /// As [`Policies::evaluate`], by those that are in use.
    ///
    /// # Errors
    /// Anything that is not a clear answer: the call is refused.
    pub async fn evaluate(
        &self,
        call: &ToolCall,
        context: &CallContext,
        digest: Digest,
        now: u64,
    ) -> Result<Decision, PolicyFault> {
        self.in_use().evaluate(call, context, digest, now).await
    }

    /// Judges whether a list may show the tool of the context: with no arguments. A hold shows it.
    ///
    /// # Errors
    /// Anything that is not a clear answer: the tool is not shown.
    pub async fn evaluate_listed(&self, context: &CallContext) -> Result<Decision, PolicyFault> {
        self.judge(&self.0.set.load_full(), now(), input::Subject::listed(), context).await
    }

    /// As [`PolicyEngine::evaluate`] of a call, on this thread, without the outer limit and whatever was decided before:
    /// only to measure it.
    ///
    /// # Errors
    /// As [`PolicyEngine::evaluate`].
    #[doc(hidden)]
    pub fn evaluate_here(&self, call: &ToolCall, context: &CallContext) -> Result<Decision, PolicyFault> {
        let subject = input::Subject::call(call, call.digest(context));
        let document = input::document(now(), subject, context);
        match &**self.0.set.load() {
            InUse::Here(set, _) => set.evaluate(Phase::Call, &Document::Ours(document)),
            InUse::Away(_) => Err(PolicyFault::Worker("these policies are not evaluated here".to_owned())),
        }
    }

    /// Judges an input document that is at hand, for `policy eval --input`.
    ///
    /// # Errors
    /// As [`PolicyEngine::evaluate`].
    pub async fn decide(&self, phase: Phase, document: String) -> Result<Decision, PolicyFault> {
        match &*self.0.set.load_full() {
            InUse::Here(set, _) => self.on_a_thread(Arc::clone(set), phase, Document::Given(document)).await,
            InUse::Away(pool) => Arc::clone(pool).decide("", phase, &Document::Given(document)).await,
        }
    }

    /// Judges a call once more, as it was recorded.
    ///
    /// # Errors
    /// As [`PolicyEngine::evaluate`].
    pub async fn evaluate_recorded(&self, call: recorded::Recorded) -> Result<Decision, PolicyFault> {
        let document = Document::Ours(call.0);
        match &*self.0.set.load_full() {
            InUse::Here(set, _) => self.on_a_thread(Arc::clone(set), Phase::Call, document).await,
            InUse::Away(pool) => Arc::clone(pool).decide("", Phase::Call, &document).await,
        }
    }

    async fn judge(
        &self,
        in_use: &InUse,
        now: u64,
        subject: input::Subject<'_>,
        context: &CallContext,
    ) -> Result<Decision, PolicyFault> {
        let phase = subject.phase;
        let document = Document::Ours(input::document(now, subject, context));
        let set = match in_use {
            InUse::Here(set, _) => set,
            InUse::Away(pool) => return Arc::clone(pool).decide(&context.principal.name, phase, &document).await,
        };
        // Handing work to another thread and waiting for it costs more than deciding by rules that are known to be
        // quick. An operator's rules may take any time, and a large input takes some.
        if set.is_shipped() && document.len() <= AT_ONCE {
            here(set, phase, &document)
        } else {
            self.on_a_thread(Arc::clone(set), phase, document).await
        }
    }

    /// Decides on a thread that may take its time, within the outer limit.
    async fn on_a_thread(
        &self,
        set: Arc<PolicySet>,
        phase: Phase,
        document: Document,
    ) -> Result<Decision, PolicyFault> {
        let slots = Arc::clone(&self.0.slots);
        let limit = OUTER * self.0.settings.time_limit;
        let mut running = false;
        let decided = tokio::time::timeout(limit, async {
            let slot = slots.acquire_owned().await.map_err(|_| PolicyFault::Saturated)?;
            running = true;
            let work = move || {
                let decided = here(&set, phase, &document);
                drop(slot);
                decided
            };
            tokio::task::spawn_blocking(work).await.unwrap_or(Err(PolicyFault::Panicked))
        })
        .await;
        decided.unwrap_or(Err(if running { PolicyFault::Timeout } else { PolicyFault::Saturated }))
    }

    /// Names the policies in use: a digest of every file, data file and setting that can change a decision.
    pub fn version(&self) -> String {
        self.0.set.load().version().to_owned()
    }

    /// Whether decisions are made by the policies of this version.
    pub fn decides_by(&self, version: &str) -> bool {
        self.0.set.load().version() == version
    }

    /// What rules ask for of the history of a call on this server.
    pub fn history_on(&self, server: &str) -> HistoryUse {
        self.0.set.load().history().on(server)
    }

    /// Whether rules ask for any of it.
    pub fn uses_history(&self) -> bool {
        self.0.set.load().history().any()
    }

    /// Whether nobody without a scope can be allowed anything.
    pub fn scopes_alone_allow(&self) -> bool {
        self.0.set.load().scopes_alone_allow()
    }

    /// How many rules deny, hold or allow.
    pub fn rules(&self) -> usize {
        self.0.set.load().rules()
    }

    /// Reads the files again. What is in use stays in use when anything is wrong.
    ///
    /// # Errors
    /// Everything that is wrong with the files.
    pub async fn reload(&self) -> Result<Reloaded, PolicyErrors> {
        let settings = self.0.settings.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&settings)).await;
        let set = loaded
            .unwrap_or_else(|_| Err(Problem::of_file("policy", "load", "the loader failed", "try again").into()))?;
        let changed = set.version() != self.0.set.load().version();
        let reloaded = Reloaded { version: set.version().to_owned(), rules: set.rules(), changed };
        // Calls that are being judged are judged by what they began with.
        self.0.set.store(Arc::new(set));
        Ok(reloaded)
    }

    /// Changes when a file of the policy paths appears, goes or is written. Reads the file system, and no content.
    pub fn fingerprint(&self) -> u64 {
        source::fingerprint(&self.0.settings.paths)
    }
}

impl Policies {
    /// Judges a call. `digest` is the call's in this context; `now`, from [`now`], is all that the rules see of time.
    ///
    /// # Errors
    /// Anything that is not a clear answer: the call is refused.
    pub async fn evaluate(
        &self,
        call: &ToolCall,
        context: &CallContext,
        digest: Digest,
        now: u64,
    ) -> Result<Decision, PolicyFault> {
        self.engine.judge(&self.set, now, input::Subject::call(call, digest), context).await
    }

    /// What rules ask for of the history of a call on this server.
    pub fn history_on(&self, server: &str) -> HistoryUse {
        self.set.history().on(server)
    }
}

/// Decides on this thread. A panic is a fault.
fn here(set: &PolicySet, phase: Phase, document: &Document) -> Result<Decision, PolicyFault> {
    let decided = std::panic::catch_unwind(AssertUnwindSafe(|| set.decide(phase, document)));
    decided.unwrap_or(Err(PolicyFault::Panicked))
}

/// The clock of the rules: nanoseconds since 1970. Beyond what 64 bits hold it stands still.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    u64::try_from(since).unwrap_or(u64::MAX)
}

/// The file of this program, from which policy processes are started: still the one that runs after another has taken
/// its place.
pub fn this_program() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Some(running) } else { std::env::current_exe().ok() }
}

fn load(settings: &Settings) -> Result<InUse, PolicyErrors> {
    let mut sources = source::builtin(&settings.builtin)?;
    for path in &settings.paths {
        (settings.trusted)(path)
            .map_err(|(wrong, help)| Problem::of_file(&path.display().to_string(), "trust", wrong, help))?;
    }
    sources.add(source::read(&settings.paths)?);
    sources.environments.clone_from(&settings.environments);
    if let Some(servers) = &settings.servers {
        data::budgets_are_for(&sources.data, servers)?;
    }
    let build = set::Build {
        sources,
        modes: settings.modes.clone(),
        time_limit: settings.time_limit,
        unsafe_default_allow: settings.unsafe_default_allow,
    };
    match &settings.worker {
        // Nothing that an operator wrote is even parsed here.
        Some(program) if !build.is_shipped() => {
            Ok(InUse::Away(Arc::new(Pool::start(program.clone(), build, OUTER * settings.time_limit)?)))
        }
        Some(_) | None => Ok(InUse::Here(Arc::new(PolicySet::load(build.clone())?), Arc::new(build))),
    }
}

/// What the loader says of the meaning of files in any package, as OPA's own cases are: for the tests that run them.
///
/// # Errors
/// Everything that it refuses in them, names and forms of policies aside.
#[doc(hidden)]
pub fn misread(files: impl IntoIterator<Item = (String, String)>) -> Result<(), PolicyErrors> {
    PolicyErrors::check(check::misread(&set::read(files)?))
}

#[cfg(test)]
mod tests;
