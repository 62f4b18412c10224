//! What follows from a call that was let through: its retry with the input that the server asked for, input for the
//! task that it became, answers to questions that the server asks meanwhile. An operator who approved the call is not
//! asked again, policy is.
//!
//! Invariant: what follows is bound to its [`Origin`] by everything that was approved (principal, server, environment,
//! method, tool, every decisive byte, what `_meta` carries) and by what the server asked for. It counts once and for a
//! while. Whatever does not fit is a call like any other: judged from scratch, and held where policy holds it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::call::{CallContext, CallId, Decided, Decision, Digest, Operation, RuleHit, ToolCall, ToolFacts};
use crate::json::{Json, JsonText};

use super::SentCall;
use super::hold::{Carried, carried};

/// How long a server's question may wait for its answer.
const ASKED_FOR: Duration = Duration::from_secs(600);
/// How long a task that nobody asks about is remembered.
const TASK_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Of each kind: all, and those of one principal on one server. The oldest make room.
const MAX_ALL: usize = 4096;
const MAX_PER_PRINCIPAL: usize = 256;
/// Names of questions that one call or task may wait for, and their bytes together.
const MAX_KEYS: usize = 64;
const MAX_KEY_BYTES: usize = 4096;
/// What is remembered of one call, in bytes, beside the names of questions.
const MAX_CONTEXT: usize = 16 << 10;
/// A task's name, in bytes.
const MAX_TASK_ID: usize = 512;
/// How often a server may ask before one approval is used up.
const MAX_ROUNDS: u8 = 16;

/// A call that was let through, as what follows from it is judged by it. Made by the gate alone.
#[derive(Clone, Debug)]
pub struct Origin(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    /// The call that was decided first.
    call: CallId,
    method: Decided,
    context: Arc<CallContext>,
    /// What a person approved; nothing where policy alone let it through.
    approved: Option<Arc<Decision>>,
    /// What it carried beside its parameters.
    carried: Carried,
    rounds: u8,
}

impl Origin {
    pub(super) fn new(call: &ToolCall, context: Arc<CallContext>, approved: Option<Arc<Decision>>) -> Origin {
        let (id, method, carried) = (call.id().clone(), call.method(), carried(call));
        Origin(Arc::new(Facts { call: id, method, context, approved, carried, rounds: 0 }))
    }

    /// The same, one question later.
    pub(super) fn next(&self) -> Origin {
        let Facts { call, method, context, approved, carried, rounds } = &*self.0;
        let (context, approved, carried) = (Arc::clone(context), approved.clone(), carried.clone());
        let rounds = rounds.saturating_add(1);
        Origin(Arc::new(Facts { call: call.clone(), method: *method, context, approved, carried, rounds }))
    }

    /// The call whose approval counts.
    pub fn call(&self) -> &CallId {
        &self.0.call
    }

    pub fn method(&self) -> Decided {
        self.0.method
    }

    pub fn tool(&self) -> &ToolFacts {
        &self.0.context.tool
    }

    pub(super) fn context(&self) -> &CallContext {
        &self.0.context
    }

    pub fn operation(&self) -> &Operation {
        &self.0.context.operation
    }

    /// True where a person approved the origin, for every reason that there is now and under terms no milder than now.
    pub(super) fn covers(&self, now: &Decision) -> bool {
        self.0.approved.as_ref().is_some_and(|approved| {
            let told = |rule: &RuleHit| approved.rules.iter().any(|known| known.rule == rule.rule);
            now.rules.iter().all(told) && !super::hold::is_stricter(now, approved)
        })
    }

    /// What it holds in memory; what is the same for a whole session aside.
    fn weight(&self) -> usize {
        let Operation { name, money, targets, magnitude, environment, .. } = self.operation();
        let length = |text: Option<&String>| text.map_or(0, String::len);
        let money = length(money.as_ref().and_then(|money| money.amount.as_ref()));
        let magnitude = length(magnitude.as_ref().and_then(|magnitude| magnitude.value.as_ref()));
        let named = environment.iter().flat_map(|reach| reach.accounts.iter().chain(&reach.environments));
        let named = named.map(String::len).sum::<usize>();
        let annotations = self.tool().annotations.as_ref().map_or(0, |text| text.as_str().len());
        let targets = targets.iter().map(String::len).sum::<usize>();
        let carried = self.0.carried.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        carried + name.len() + money + targets + magnitude + named + annotations
    }

    fn is_of(&self, context: &CallContext) -> bool {
        let origin = &self.0.context;
        origin.principal.name == context.principal.name
            && origin.server.name == context.server.name
            && origin.environment.name == context.environment.name
    }
}

/// What every retry has to repeat: who, where, the method, all parameters but the answers, what it carries beside them,
/// and the server's state.
fn bound(
    call: Decided,
    params: &JsonText,
    carried: &Carried,
    context: &CallContext,
    state: Option<Json<'_>>,
) -> Digest {
    let carried: Vec<&[u8]> = carried.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect();
    let carried = Digest::of_fields("countersign.carried/v1", &carried);
    let mut same = String::with_capacity(params.as_str().len());
    JsonText::without(params.view(), &["inputResponses", "requestState"]).view().write_sorted(&mut same);
    let state = state.and_then(Json::as_str).map(|state| Digest::of_bytes(state.as_bytes()).to_string());
    Digest::of_fields(
        "countersign.continuation/v1",
        &[
            context.principal.name.as_bytes(),
            context.server.name.as_bytes(),
            context.environment.name.as_bytes(),
            call.as_str().as_bytes(),
            same.as_bytes(),
            carried.as_bytes(),
            state.unwrap_or_default().as_bytes(),
        ],
    )
}

/// The names of an object's members, where they are few and short.
fn keys(of: Option<Json<'_>>) -> Option<Vec<String>> {
    let (mut keys, mut bytes) = (Vec::new(), 0);
    for (key, _) in of.into_iter().flat_map(Json::members) {
        let key = key.as_str()?.into_owned();
        bytes += key.len();
        if keys.len() >= MAX_KEYS || bytes > MAX_KEY_BYTES {
            return None;
        }
        keys.push(key);
    }
    keys.sort_unstable();
    Some(keys)
}

/// A call that the server has asked input for.
#[derive(Debug)]
struct Waiting {
    bound: Digest,
    /// Every question, sorted.
    keys: Vec<String>,
    origin: Origin,
    until: Instant,
}

/// A task that a call has become.
#[derive(Debug)]
struct Task {
    id: String,
    origin: Origin,
    /// Questions that were passed on, and whether they are answered.
    keys: BTreeMap<String, bool>,
    until: Instant,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Waiting>,
    tasks: VecDeque<Task>,
}

/// What calls of all principals have left open.
#[derive(Debug, Default)]
pub(super) struct Following(Mutex<Inner>);

/// Takes the place of the oldest where there is no room.
fn push<T>(all: &mut VecDeque<T>, new: T, origin: impl Fn(&T) -> &Origin) {
    let same = |entry: &T| origin(entry).is_of(&origin(&new).0.context);
    if all.iter().filter(|entry| same(entry)).count() >= MAX_PER_PRINCIPAL {
        if let Some(oldest) = all.iter().position(same) {
            all.remove(oldest);
        }
    } else if all.len() >= MAX_ALL {
        all.pop_front();
    }
    all.push_back(new);
}

impl Following {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        inner.waiting.retain(|waiting| waiting.until > now);
        inner.tasks.retain(|task| task.until > now);
        inner
    }

    /// Remembers what an answer leaves open, which is on its way to the client. Says in a word what that is.
    pub fn relayed(&self, sent: &SentCall, result: Json<'_>) -> Option<&'static str> {
        let origin = sent.origin();
        if origin.weight() > MAX_CONTEXT || origin.0.rounds >= MAX_ROUNDS {
            return None;
        }
        let kind = result.get("resultType").and_then(Json::as_str);
        if kind.as_deref() == Some("input_required") {
            let keys = keys(result.get("inputRequests"))?;
            let state = result.get("requestState");
            // With neither, a retry would be the call itself.
            if keys.is_empty() && state.is_none() {
                return None;
            }
            let bound = bound(origin.method(), &sent.params, &origin.0.carried, &origin.0.context, state);
            let waiting = Waiting { bound, keys, origin: origin.clone(), until: Instant::now() + ASKED_FOR };
            push(&mut self.lock().waiting, waiting, |waiting| &waiting.origin);
            return Some("the server asks for input");
        }
        // A task of 2025-11-25 is one that the call asked for.
        let asked_for = || result.get("task").filter(|_| sent.params.view().get("task").is_some());
        let task = if kind.as_deref() == Some("task") { Some(result) } else { asked_for() }?;
        let id = task.get("taskId").and_then(Json::as_str).filter(|id| (1..=MAX_TASK_ID).contains(&id.len()))?;
        if origin.method() != Decided::ToolsCall {
            return None;
        }
        let (id, until) = (id.into_owned(), Instant::now() + TASK_KEPT);
        let mut inner = self.lock();
        let session = &origin.0.context.session;
        inner.tasks.retain(|task| {
            let again = task.id == id && task.origin.is_of(&origin.0.context);
            !(again && task.origin.0.context.session == *session)
        });
        let task = Task { id, origin: origin.clone(), keys: BTreeMap::new(), until };
        push(&mut inner.tasks, task, |task| &task.origin);
        Some("the call goes on as a task")
    }

    /// Whose approval a call goes on under: where it repeats a call that waits for input, or answers a task's
    /// questions, and nothing else. The approval is used up by asking.
    pub fn take(&self, call: &ToolCall, context: &CallContext) -> Option<Origin> {
        let params = call.params().view();
        let (responses, state) = (call.responses(), params.get("requestState"));
        if responses.is_none() && state.is_none() {
            return None;
        }
        let answered = keys(responses)?;
        if call.method() == Decided::TasksUpdate {
            return self.take_answers(call.tool(), context, &answered, &carried(call));
        }
        let bound = bound(call.method(), call.params(), &carried(call), context, state);
        let mut inner = self.lock();
        let at = inner.waiting.iter().position(|waiting| waiting.bound == bound && waiting.keys == answered)?;
        let origin = inner.waiting.remove(at)?.origin.next();
        // What was approved is what was listed then; what was not listed then may have been since.
        let judged = origin.tool().definition;
        (judged.is_none() || judged == context.tool.definition).then_some(origin)
    }

    fn take_answers(
        &self,
        task: &str,
        context: &CallContext,
        answered: &[String],
        carried: &Carried,
    ) -> Option<Origin> {
        let mut inner = self.lock();
        let task = task_of(&mut inner.tasks, task, context)?;
        let open = |key: &String| task.keys.get(key) == Some(&false);
        if answered.is_empty() || !answered.iter().all(open) {
            return None;
        }
        // Nobody was shown anything else.
        if !carried.is_empty() && *carried != task.origin.0.carried {
            return None;
        }
        for key in answered {
            task.keys.insert(key.clone(), true);
        }
        Some(task.origin.next())
    }

    /// The call that became this task, where it was one of this principal on this server.
    pub fn task(&self, id: &str, context: &CallContext) -> Option<Origin> {
        let mut inner = self.lock();
        let task = task_of(&mut inner.tasks, id, context)?;
        task.until = Instant::now() + TASK_KEPT;
        Some(task.origin.clone())
    }

    /// The questions of a task that are on their way to the client.
    pub fn task_asks(&self, id: &str, context: &CallContext, questions: Json<'_>) {
        let Some(asked) = keys(Some(questions)) else { return };
        let mut inner = self.lock();
        let Some(task) = task_of(&mut inner.tasks, id, context) else { return };
        for key in asked {
            let bytes: usize = task.keys.keys().map(String::len).sum::<usize>() + key.len();
            if task.keys.len() < MAX_KEYS && bytes <= MAX_KEY_BYTES {
                task.keys.entry(key).or_insert(false);
            }
        }
    }
}

/// The task by this name: one of this session, else the only one of this principal. Two servers that run side by side
/// for one principal may use the same name for different tasks.
fn task_of<'a>(tasks: &'a mut VecDeque<Task>, id: &str, context: &CallContext) -> Option<&'a mut Task> {
    let is_own = |task: &Task| task.id == id && task.origin.is_of(context);
    let here = tasks.iter().position(|task| is_own(task) && task.origin.0.context.session == context.session);
    let at = match here {
        Some(at) => at,
        None => {
            let mut own = tasks.iter().enumerate().filter(|(_, task)| is_own(task)).map(|(at, _)| at);
            let only = own.next()?;
            if own.next().is_some() {
                return None;
            }
            only
        }
    };
    tasks.get_mut(at)
}

#[cfg(test)]
mod tests;
