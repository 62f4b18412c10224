//! One prompt and the calls that wait behind it. Only the queue holds these, under its lock.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::call::{CallContext, CallId, Decision, Digest, Outcome, ToolCall};
use crate::json::{Json, Kind};

use super::leaving::{Departure, Stop};
use super::{Hold, State, Verdict};
use crate::gate::Presence;

const TOO_LATE: &str = "nobody ruled in time";
/// Members of `_meta` that number or trace one request. They may differ from what was shown while they are one plain word
/// or number: nothing can be said in them.
const NUMBERS: &[&str] =
    &["progressToken", "traceparent", "claudecode/toolUseId", PROTOCOL_VERSION, "io.modelcontextprotocol/logLevel"];
const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// What a client says of itself with each request of the stateless era.
const CLIENT: &[&str] = &["io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/clientCapabilities"];
/// Longest plain word.
const MAX_PLAIN: usize = 128;

/// How a call leaves the queue without a ruling.
#[derive(Debug)]
pub(super) enum Leaving {
    End {
        outcome: Outcome,
        reason: String,
    },
    /// Its client cannot wait any longer, and may come back.
    Detach,
}

/// Members of `_meta` by name, each sorted, but for those that number a request or say who its client is.
pub(in crate::gate) type Carried = Vec<(String, String)>;

/// What a call carries beside its digest and its client.
pub(in crate::gate) fn carried(call: &ToolCall) -> Carried {
    let mut carried = beside_numbers(call);
    carried.retain(|(name, _)| !CLIENT.contains(&name.as_str()));
    carried
}

/// All of `_meta` that is not the plain number of one request.
fn beside_numbers(call: &ToolCall) -> Carried {
    let members = call.meta().into_iter().flat_map(Json::members);
    let mut carried: Carried = members
        .filter_map(|(key, value)| {
            let name = key.as_str().filter(|name| !(NUMBERS.contains(&&**name) && is_plain(value)))?;
            let mut sorted = String::new();
            value.write_sorted(&mut sorted);
            Some((name.into_owned(), sorted))
        })
        .collect();
    carried.sort_unstable();
    carried
}

fn is_plain(value: Json<'_>) -> bool {
    let is_word = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:/+=-".contains(&byte));
    match value.kind() {
        Kind::Number => value.text().len() <= MAX_PLAIN,
        Kind::String => value.as_str().is_some_and(|word| word.len() <= MAX_PLAIN && is_word(&word)),
        Kind::Object | Kind::Array | Kind::Bool | Kind::Null => false,
    }
}

/// Whether two calls with one digest also carry the same beside it, and come from one client: what an operator was shown
/// of `_meta` is what is sent, whichever of the two is released.
fn carry_the_same(one: &ToolCall, other: &ToolCall) -> bool {
    beside_numbers(one) == beside_numbers(other)
}

/// One call that waits.
pub(super) struct Waiter {
    pub id: CallId,
    pub call: Arc<ToolCall>,
    pub context: Arc<CallContext>,
    pub decision: Arc<Decision>,
    pub confirm: Vec<(String, String)>,
    pub created: Timestamp,
    pub deadline: Instant,
    pub expires: Timestamp,
    /// What is shown of it, in bytes.
    pub bytes: usize,
    pub presence: Presence,
    /// When its client is thought to give up.
    pub patience: Option<(Instant, Timestamp)>,
    pub verdict: oneshot::Sender<Verdict>,
    /// Its record is durable: before that it cannot be released.
    pub shown: bool,
    /// It left while a ruling was being recorded.
    pub leaving: Option<Leaving>,
}

impl Waiter {
    pub fn tell(self, verdict: Verdict) {
        // The call's task waits until it has its verdict, so somebody is there.
        let _ = self.verdict.send(verdict);
    }

    /// The same, where it is not over; else it is told so.
    pub fn unless_over(mut self) -> Option<Waiter> {
        match self.leaving.take() {
            Some(Leaving::End { outcome, reason }) => {
                self.tell(Verdict::Ended { outcome, reason });
                None
            }
            leaving => Some(Waiter { leaving, ..self }),
        }
    }

    /// Its client still takes an answer. One that is about to give up does, until it is told.
    pub fn is_live(&self, now: Instant) -> bool {
        now < self.deadline && !matches!(self.leaving, Some(Leaving::End { .. }))
    }
}

/// A prompt that is not over.
pub(super) struct Entry {
    pub hold: Hold,
    /// An approval counts until then: when the last of those ends who waited when it opened.
    pub deadline: Instant,
    /// In the order in which they came.
    pub waiters: VecDeque<Waiter>,
    /// The last one that left was told to come back.
    pub open_for_retry: bool,
    /// The record of one of its calls is durable: before that nobody sees it and nobody rules on it.
    pub shown: bool,
    /// Of the call that is shown.
    pub presence: Presence,
    /// It is approved, and has not left.
    pub departure: Option<Departure>,
    /// Until when it waited for a ruling, before it became a ticket.
    pub before_ticket: Option<(Instant, Timestamp)>,
    /// It ends without a ruling.
    pub stopped: Option<Stop>,
}

impl Entry {
    /// A prompt for these calls; nothing for none. It has the id of the one that is released first, so that no id
    /// comes to stand for a second prompt.
    pub fn new(
        mut waiters: VecDeque<Waiter>,
        digest: Digest,
        signature_required: bool,
        same_as: Vec<(CallId, &'static str)>,
    ) -> Option<Entry> {
        let lead = waiters.iter().position(|waiter| waiter.shown).unwrap_or(0);
        let lead = waiters.remove(lead)?;
        waiters.push_front(lead);
        let first = waiters.front()?;
        let last = waiters.iter().max_by_key(|waiter| waiter.deadline)?;
        let hold = Hold {
            id: first.id.clone(),
            call: Arc::clone(&first.call),
            context: Arc::clone(&first.context),
            decision: Arc::clone(&first.decision),
            digest,
            confirm: first.confirm.clone(),
            created: first.created,
            expires: last.expires,
            state: State::Pending,
            approved_by: Vec::new(),
            signature_required,
            taken_back: 0,
            lease: None,
            client_waits_until: None,
            waiting: 0,
            same_as,
            bytes: first.bytes,
            revision: 0,
        };
        let (deadline, presence) = (last.deadline, first.presence.clone());
        let mut entry = Entry {
            hold,
            deadline,
            waiters,
            open_for_retry: false,
            shown: false,
            presence,
            departure: None,
            before_ticket: None,
            stopped: None,
        };
        entry.refresh();
        Some(entry)
    }

    /// A hold that ended, as it waits once more: nobody waits behind it, and no approval of before counts.
    pub fn again(
        gone: Hold,
        presence: Presence,
        same_as: Vec<(CallId, &'static str)>,
        ends: (Instant, Timestamp),
    ) -> Entry {
        let hold = Hold {
            expires: ends.1,
            state: State::Deciding,
            approved_by: Vec::new(),
            lease: None,
            client_waits_until: None,
            waiting: 0,
            same_as,
            ..gone
        };
        Entry {
            hold,
            deadline: ends.0,
            waiters: VecDeque::new(),
            open_for_retry: true,
            shown: true,
            presence,
            departure: None,
            before_ticket: None,
            stopped: None,
        }
    }

    /// Whether its approval would be one of this call: the same in all that an operator is shown of it.
    pub fn is_of(&self, digest: Digest, call: &ToolCall, context: &CallContext) -> bool {
        let theirs = &self.hold.context;
        // Both names are in the digest. They are looked at as well: this is where one approval meets another call.
        self.hold.digest == digest
            && theirs.principal.name == context.principal.name
            && theirs.server.name == context.server.name
            && carry_the_same(&self.hold.call, call)
    }

    /// One more identical call.
    pub fn join(&mut self, waiter: Waiter) {
        self.waiters.push_back(waiter);
        self.open_for_retry = false;
        self.refresh();
    }

    /// Shows the call that an approval would release now.
    pub fn refresh(&mut self) {
        let shown = || self.waiters.iter().filter(|waiter| waiter.shown);
        // The call that the prompt is named after is recorded, or gone.
        self.shown |= shown().next().is_some() && self.waiters.iter().all(|w| w.shown || w.id != self.hold.id);
        self.hold.waiting = shown().count();
        if let Some(first) = shown().next() {
            self.hold.call = Arc::clone(&first.call);
            self.hold.context = Arc::clone(&first.context);
            self.hold.bytes = first.bytes;
            self.hold.client_waits_until = first.patience.map(|(_, at)| at);
            self.presence = first.presence.clone();
        } else {
            self.hold.client_waits_until = None;
        }
    }

    /// Takes out the call that an approval releases: the first whose client waits and whose record is durable.
    pub fn take_first(&mut self, now: Instant) -> Option<Waiter> {
        let at = self.waiters.iter().position(|waiter| waiter.shown && waiter.is_live(now))?;
        self.waiters.remove(at)
    }

    /// Why an approval comes too late, where it does. Whoever waited in vain leaves.
    pub fn too_late(&mut self, now: Instant) -> Option<String> {
        for waiter in self.waiters.iter_mut().filter(|waiter| now >= waiter.deadline) {
            if !matches!(waiter.leaving, Some(Leaving::End { .. })) {
                waiter.leaving = Some(Leaving::End { outcome: Outcome::Expired, reason: TOO_LATE.to_owned() });
            }
        }
        if let Some(stopped) = &self.stopped {
            return Some(stopped.reason().to_owned());
        }
        let somebody = self.waiters.iter().any(|waiter| waiter.is_live(now));
        if somebody || (self.waiters.is_empty() && now < self.deadline) {
            return None;
        }
        let said = self.waiters.iter().find_map(|waiter| match &waiter.leaving {
            Some(Leaving::End { reason, .. }) => Some(reason.clone()),
            Some(Leaving::Detach) | None => None,
        });
        Some(said.unwrap_or_else(|| TOO_LATE.to_owned()))
    }

    /// Lets those go who want to: what the last of them said, where anybody did.
    pub fn let_go(&mut self) -> Option<(Outcome, String)> {
        let (mut last, mut detached) = (None, false);
        for _ in 0..self.waiters.len() {
            let Some(mut waiter) = self.waiters.pop_front() else { break };
            match waiter.leaving.take() {
                None => self.waiters.push_back(waiter),
                Some(Leaving::End { outcome, reason }) => {
                    last = Some((outcome, reason.clone()));
                    waiter.tell(Verdict::Ended { outcome, reason });
                }
                Some(Leaving::Detach) => {
                    last.get_or_insert_with(|| (Outcome::Expired, TOO_LATE.to_owned()));
                    waiter.tell(Verdict::Detached { until: self.hold.expires });
                    detached = true;
                }
            }
        }
        self.open_for_retry |= detached && self.waiters.is_empty();
        self.refresh();
        last
    }

    /// What is said of one whose time ended when nobody waited.
    pub fn lapsed_words(&self) -> &'static str {
        match self.hold.state {
            State::Ticket { .. } => "approved, but the client did not ask again in time",
            _ => TOO_LATE,
        }
    }
}
