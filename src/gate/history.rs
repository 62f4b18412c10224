//! What was let through lately, by principal, server and session, so that rules can keep budgets (`input.history`).
//!
//! A call is counted in the step in which it gets its permit, and taken back where it certainly was not sent. Where
//! rules ask for the history, the calls of one principal on one server are decided one after the other: the decision and
//! the count are one step, so that calls side by side cannot all see the room that is there for one of them.
//!
//! Invariant: what has left is counted for as long as its window lasts, over a restart too, whichever way the clock is
//! set. Where that cannot be said (no room, a record that cannot be read) there is no history, and no permit.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use crate::call::{CallContext, Class, Operation, ToolCall};
use crate::json::JsonText;
use crate::policy::HistoryUse;

mod restore;
mod spend;
mod window;

use spend::Spend;
use window::{LONGEST, Series};

/// Operations of one principal on one server, or of one session, in a day.
const OPERATIONS: usize = 256;
/// Operations of all sessions of one principal on one server. Each has this share, so that nobody can use up another's;
/// principals and servers are in the configuration.
const SESSION_OPERATIONS: usize = 2048;
/// A longer name is not kept.
const NAME_BYTES: usize = 256;
/// The clock begins so late that what a restart finds in the records lies behind its zero.
const BEFORE_BOOT: u64 = 8 * 86_400_000;

/// Milliseconds of a clock that never goes back and counts suspended time.
fn clock() -> u64 {
    crate::audit::uptime_ms() + BEFORE_BOOT
}

/// Why there is no history.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Unknown {
    #[error("the records of what was let through before have not been read")]
    NotRead,
    #[error("there were more different operations than can be counted")]
    Lost,
}

impl Unknown {
    pub(super) fn for_client(self) -> &'static str {
        "a budget cannot be kept just now: it is not known how much of it is spent"
    }
}

#[derive(Default, Debug)]
struct Counted {
    operations: BTreeMap<String, Series>,
    classes: BTreeMap<&'static str, Series>,
}

/// What one principal was let through on one server.
#[derive(Default, Debug)]
struct Account {
    counted: Counted,
    sessions: HashMap<String, Counted>,
    /// Something is missing from it until then.
    lost_until: u64,
    /// Something is missing from a session until then, which concerns only rules that look at sessions.
    sessions_lost_until: u64,
    /// Held from the decision to the count.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// Principal and server.
type Key = (String, String);

#[derive(Default, Debug)]
struct Inner {
    accounts: HashMap<Key, Account>,
    /// The records of before this run are in.
    restored: bool,
    /// Something is missing from every account until then.
    lost_until: u64,
}

/// See the head of this file.
#[derive(Default, Debug)]
pub(super) struct History(Mutex<Inner>);

/// The part of a call's way in which nobody else of its principal is decided on this server, where rules ask for the
/// history.
pub(super) struct Turn {
    key: Key,
    session: String,
    operation: String,
    class: Class,
    spend: Option<Spend>,
    document: Option<JsonText>,
    alone: Option<OwnedMutexGuard<()>>,
}

/// A call that was counted. To be given back where the call certainly was not sent; dropped otherwise.
#[derive(Debug)]
pub(super) struct Reservation {
    key: Key,
    session: String,
    operation: String,
    class: Class,
    spend: Spend,
    at: u64,
}

impl Turn {
    /// What rules see; nothing where none asks.
    pub fn document(&self) -> Option<JsonText> {
        self.document.clone()
    }
}

impl History {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a decision. `uses` says what rules ask for.
    ///
    /// # Errors
    /// Where rules ask for what is not known.
    pub async fn turn(&self, call: &ToolCall, context: &CallContext, uses: HistoryUse) -> Result<Turn, Unknown> {
        let key = (context.principal.name.clone(), context.server.name.clone());
        let mut turn = Turn {
            key,
            session: context.session.clone(),
            operation: context.operation.name.clone(),
            class: context.operation.class,
            spend: Spend::of(call, context),
            document: None,
            alone: None,
        };
        if uses == HistoryUse::No {
            return Ok(turn);
        }
        let queue = Arc::clone(&self.lock().accounts.entry(turn.key.clone()).or_default().turn);
        turn.alone = Some(queue.lock_owned().await);
        turn.document = Some(self.lock().document(&turn, uses, clock())?);
        Ok(turn)
    }

    /// What rules would see of the history now. Nobody's turn is taken: only to explain.
    pub fn look(&self, call: &ToolCall, context: &CallContext, uses: HistoryUse) -> Option<JsonText> {
        if uses == HistoryUse::No {
            return None;
        }
        let turn = Turn {
            key: (context.principal.name.clone(), context.server.name.clone()),
            session: context.session.clone(),
            operation: context.operation.name.clone(),
            class: context.operation.class,
            spend: Spend::of(call, context),
            document: None,
            alone: None,
        };
        self.lock().document(&turn, uses, clock()).ok()
    }

    /// Counts the call, and lets the next one be decided.
    pub fn spend(&self, turn: Turn) -> Option<Box<Reservation>> {
        let Turn { key, session, operation, class, spend, document: _, alone } = turn;
        let spend = spend?;
        let reservation = Reservation { key, session, operation, class, spend, at: clock() };
        let counted = self.lock().count(&reservation);
        drop(alone);
        counted.then(|| Box::new(reservation))
    }

    /// Takes back what was counted for a call that was not sent.
    pub fn give_back(&self, reservation: Option<Box<Reservation>>) {
        let Some(reservation) = reservation else { return };
        let Reservation { key, session, operation, class, spend, at } = *reservation;
        let mut inner = self.lock();
        let Some(account) = inner.accounts.get_mut(&key) else { return };
        for counted in [Some(&mut account.counted), account.sessions.get_mut(&session)].into_iter().flatten() {
            let classes = counted.classes.get_mut(class.as_str());
            for series in counted.operations.get_mut(&operation).into_iter().chain(classes) {
                series.take(at, &spend);
            }
        }
    }

    /// Forgets a session that is over.
    pub fn session_ended(&self, principal: &str, server: &str, session: &str) {
        let mut inner = self.lock();
        if let Some(account) = inner.accounts.get_mut(&(principal.to_owned(), server.to_owned())) {
            account.sessions.remove(session);
        }
    }
}

impl Inner {
    fn document(&mut self, turn: &Turn, uses: HistoryUse, now: u64) -> Result<JsonText, Unknown> {
        if !self.restored {
            return Err(Unknown::NotRead);
        }
        let lost = self.lost_until > now;
        let account = self.accounts.entry(turn.key.clone()).or_default();
        let counts = turn.spend.is_some();
        if lost || account.lost_until > now || counts && !account.fits(&turn.operation, now) {
            return Err(Unknown::Lost);
        }
        account.counted.expire(now);
        let wall = jiff::Timestamp::now();
        let wall = |at: u64| {
            let later = jiff::SignedDuration::from_millis(i64::try_from(at.saturating_sub(now)).unwrap_or(i64::MAX));
            // To the second, and up: not before this is true.
            let at = wall.checked_add(later).unwrap_or(jiff::Timestamp::MAX);
            format!(
                "{:.0}",
                at.round(jiff::TimestampRound::new().smallest(jiff::Unit::Second).mode(jiff::RoundMode::Ceil))
                    .unwrap_or(at)
            )
        };
        let mut out = String::with_capacity(512);
        adds(&mut out, turn.spend.as_ref());
        account.counted.write(&mut out, "principal", turn, wall);
        if uses == HistoryUse::Rules {
            let fits = !counts || account.session_fits(&turn.session, &turn.operation, now);
            if account.sessions_lost_until > now || !fits {
                return Err(Unknown::Lost);
            }
            let nothing = &mut Counted::default();
            let session = account.sessions.get_mut(&turn.session).unwrap_or(nothing);
            session.expire(now);
            session.write(&mut out, "session", turn, wall);
        }
        out.push('}');
        // It is ours and well-formed; an operation's name is written as JSON.
        JsonText::parse(out, crate::json::Rules::UPSTREAM).map_err(|_| Unknown::Lost)
    }

    /// False where it could not be counted, which is remembered.
    fn count(&mut self, new: &Reservation) -> bool {
        let account = self.accounts.entry(new.key.clone()).or_default();
        if !account.fits(&new.operation, new.at) {
            account.lost_until = new.at + LONGEST;
            return false;
        }
        account.counted.add(&new.operation, new.class, new.at, &new.spend);
        if account.session_fits(&new.session, &new.operation, new.at) {
            let session = account.sessions.entry(new.session.clone()).or_default();
            session.add(&new.operation, new.class, new.at, &new.spend);
        } else {
            account.sessions_lost_until = new.at + LONGEST;
        }
        true
    }
}

impl Account {
    /// Whether a call of this operation can be counted. Where there seems to be no room, what is over is forgotten first.
    fn fits(&mut self, operation: &str, now: u64) -> bool {
        if operation.len() > NAME_BYTES {
            return false;
        }
        if !self.counted.has_room(operation) {
            self.counted.expire(now);
        }
        self.counted.has_room(operation)
    }

    /// The same for its session.
    fn session_fits(&mut self, session: &str, operation: &str, now: u64) -> bool {
        if self.session_has_room(session, operation) {
            return true;
        }
        self.sessions.retain(|_, counted| {
            counted.expire(now);
            !counted.operations.is_empty()
        });
        self.session_has_room(session, operation)
    }

    fn session_has_room(&self, session: &str, operation: &str) -> bool {
        let here = self.sessions.get(session);
        here.is_some_and(|counted| counted.operations.contains_key(operation))
            || here.is_none_or(|counted| counted.has_room(operation)) && self.size() < SESSION_OPERATIONS
    }

    /// Operations of all sessions.
    fn size(&self) -> usize {
        self.sessions.values().map(|counted| counted.operations.len()).sum()
    }
}

impl Counted {
    fn has_room(&self, operation: &str) -> bool {
        self.operations.contains_key(operation) || self.operations.len() < OPERATIONS
    }

    /// Adds what another one has.
    fn merge(&mut self, other: Counted) {
        for (name, series) in other.operations {
            self.operations.entry(name).or_default().merge(series);
        }
        for (name, series) in other.classes {
            self.classes.entry(name).or_default().merge(series);
        }
    }

    fn add(&mut self, operation: &str, class: Class, at: u64, spend: &Spend) {
        self.operations.entry(operation.to_owned()).or_default().add(at, spend);
        self.classes.entry(class.as_str()).or_default().add(at, spend);
    }

    fn expire(&mut self, now: u64) {
        self.operations.retain(|_, series| !series.expire(now));
        self.classes.retain(|_, series| !series.expire(now));
    }

    /// What is there, and in any case the operation and the class of this call.
    fn write(&self, out: &mut String, name: &str, turn: &Turn, wall: impl Fn(u64) -> String + Copy) {
        let none = Series::default();
        let mut operations: BTreeMap<&str, &Series> =
            self.operations.iter().map(|(name, s)| (name.as_str(), s)).collect();
        operations.entry(&turn.operation).or_insert(&none);
        let mut classes: BTreeMap<&str, &Series> = self.classes.iter().map(|(name, s)| (*name, s)).collect();
        classes.entry(turn.class.as_str()).or_insert(&none);
        // Writing to a string cannot fail.
        let _ = write!(out, ",\"{name}\":{{");
        for (n, (part, all)) in [("operations", operations), ("classes", classes)].into_iter().enumerate() {
            let _ = write!(out, "{}\"{part}\":{{", if n == 0 { "" } else { "," });
            for (n, (name, series)) in all.into_iter().enumerate() {
                let _ = write!(out, "{}{}:", if n == 0 { "" } else { "," }, serde_json::json!(name));
                series.write(out, wall);
            }
            out.push('}');
        }
        out.push('}');
    }
}

/// `{"adds":{...}`
fn adds(out: &mut String, spend: Option<&Spend>) {
    let count = u8::from(spend.is_some());
    let money = spend.and_then(|spend| spend.money.as_ref());
    let unknown = u8::from(spend.is_some_and(|spend| spend.money.is_none()));
    // Writing to a string cannot fail.
    let _ = write!(out, "{{\"adds\":{{\"count\":{count},\"unknown\":{unknown},\"sum\":");
    window::sum(out, money.into_iter().map(|(currency, amount)| (currency, amount)));
    out.push('}');
}

/// The history of a principal who has done nothing yet, for a call that is only tried.
pub fn nothing_yet(call: &ToolCall, context: &CallContext, uses: HistoryUse) -> Option<JsonText> {
    if uses == HistoryUse::No {
        return None;
    }
    let Operation { name, class, .. } = &context.operation;
    let turn = Turn {
        key: (String::new(), String::new()),
        session: String::new(),
        operation: name.clone(),
        class: *class,
        spend: Spend::of(call, context),
        document: None,
        alone: None,
    };
    let mut nobody = Inner { restored: true, ..Inner::default() };
    nobody.document(&turn, uses, clock()).ok()
}

#[cfg(test)]
mod tests;
