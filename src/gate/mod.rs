//! The gate: the one place that lets a call through. Policy → record → perhaps a person → record → permit.
//!
//! [`Gate::admit`], [`Gate::admit_answer`] and [`HeldCall::wait`] are the only ways to a [`PermittedCall`]. Every other
//! way out of them is a [`Refusal`]; what policy holds goes through `release` last. Nothing here writes to an upstream or to a client.
//! A permit is not the last word: what may end it (`clearance`) is asked again in the step that hands over the first byte.

use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::audit::{AuditError, AuditLog, Entry, Event};
use crate::call::{
    CallContext, CallId, Decision, Digest, Effect, Environment, No, Operation, Outcome, Refusal, ToolCall,
};
use crate::policy::{self, Policies, PolicyEngine, PolicyFault, confirm_value};

mod answered;
mod batch;
mod before;
mod clearance;
mod clock;
mod continuation;
mod grant;
mod held;
mod history;
mod hold;
mod issued;
mod permit;
mod pin;
mod place;
mod presence;
mod record;
mod release;
mod report;
mod rule;
mod sessions;
mod stale;
mod stops;

pub use crate::policy::ExcerptLine;
pub use before::Before;
pub use continuation::Origin;
pub use grant::{Bounds, Grant, NotGrantable};
pub use held::HeldCall;
pub use history::nothing_yet;
pub use hold::{
    Approver, Change, Hold, HoldQueue, LEASE, Lease, LeaseAct, MAX_SHOWN, NoEffect, Settings, State, TICKET, Told,
};
pub use permit::{PermittedCall, Ruling, Says, SentCall};
pub use pin::DefinitionNow;
pub use place::Place;
pub use presence::Presence;
pub use release::REPLACED;
pub use rule::Operators;
pub use sessions::{Line, OpenSession, SessionNow};
pub use stops::Halt;

use clearance::Clearance;
use grant::Grants;
use history::{History, Turn, Unknown};
use hold::Placed;
use permit::Released;

/// Policy, holds and the record, in the order in which a call meets them.
pub struct Gate {
    policy: PolicyEngine,
    audit: AuditLog,
    holds: HoldQueue,
    following: continuation::Following,
    history: History,
    /// The last record of before this run.
    before: u64,
    places: place::Places,
    issued: issued::Issued,
    grants: Grants,
    approved: before::Approved,
    reports: report::Reports,
    policy_error: Mutex<Option<String>>,
    operators: Option<Operators>,
    freeze: stops::Freeze,
    sessions: sessions::Sessions,
}

/// What a call that is not refused gets.
#[derive(Debug)]
pub enum Admission {
    Permitted(PermittedCall),
    Held(Box<HeldCall>),
}

const ELSEWHERE: &str = "another call of this session has been made in another mode or account meanwhile";

/// Why no record could be written, for the client: no detail of the store.
fn no_record(call: &CallId) -> Refusal {
    Refusal::new(Outcome::Unavailable, "the call could not be recorded, so it may not be made").of(call)
}

impl Gate {
    pub fn new(policy: PolicyEngine, audit: AuditLog, holds: Settings) -> Gate {
        let following = continuation::Following::default();
        let policy_error = Mutex::default();
        let (history, before) = (History::default(), audit.records());
        let (places, issued) = (place::Places::default(), issued::Issued::default());
        Gate {
            policy,
            audit,
            holds: HoldQueue::new(holds),
            following,
            history,
            before,
            places,
            issued,
            grants: Grants::default(),
            approved: before::Approved::default(),
            reports: report::Reports::default(),
            policy_error,
            operators: None,
            freeze: stops::Freeze::default(),
            sessions: sessions::Sessions::default(),
        }
    }

    /// With a list of operators: their signatures count.
    pub fn with_operators(self, operators: Operators) -> Gate {
        Gate { operators: Some(operators), ..self }
    }

    /// Reads from the records what was let through before this run, where rules ask for it. Until this is done calls
    /// that it matters for are refused.
    ///
    /// # Errors
    /// Where the records cannot be read.
    pub async fn remember(self: &Arc<Self>) -> Result<(), AuditError> {
        if !self.policy.uses_history() || self.history.is_restored() {
            return Ok(());
        }
        let (gate, started) = (Arc::clone(self), std::time::Instant::now());
        let read = move || gate.history.restore(&gate.audit.reader()?, gate.before);
        tokio::task::spawn_blocking(read).await.unwrap_or(Err(AuditError::Closed))?;
        tracing::info!(ms = started.elapsed().as_millis(), "what was let through in the last day is known");
        Ok(())
    }

    pub fn holds(&self) -> &HoldQueue {
        &self.holds
    }

    /// The call of the same kind that was approved and sent before.
    pub fn before(&self, hold: &Hold) -> Option<Before> {
        self.approved.before(hold)
    }

    /// A session begins; it is among the open ones for as long as what is returned lives. `replaced` is cancelled where the
    /// token that its client was let in by counts no more.
    pub fn open_session(&self, context: &CallContext, replaced: CancellationToken) -> OpenSession {
        self.sessions.open(context, replaced)
    }

    /// The sessions that are open, the oldest first.
    pub fn open_sessions(&self) -> Vec<SessionNow> {
        self.sessions.all()
    }

    pub fn policy(&self) -> &PolicyEngine {
        &self.policy
    }

    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// Decides a call. One that goes on from an earlier one is recognised by what it repeats.
    ///
    /// # Errors
    /// The refusal, recorded.
    pub async fn admit(
        self: &Arc<Self>,
        call: Box<ToolCall>,
        context: Box<CallContext>,
        presence: &Presence,
    ) -> Result<Admission, Refusal> {
        let origin = self.following.take(&call, &context);
        self.decide(call, context, presence, origin).await
    }

    /// Decides what a client answers to a question of the server: `origin` is the call that it was asked in.
    ///
    /// # Errors
    /// The refusal, recorded.
    pub async fn admit_answer(
        self: &Arc<Self>,
        answer: Box<ToolCall>,
        context: Box<CallContext>,
        presence: &Presence,
        origin: Option<Origin>,
    ) -> Result<Admission, Refusal> {
        self.decide(answer, context, presence, origin).await
    }

    /// Decides a request of a server's process to its vendor's API. `within` is the call that it may belong to: it is
    /// named, and its approval does not count.
    ///
    /// # Errors
    /// The refusal, recorded.
    pub async fn admit_request(
        self: &Arc<Self>,
        request: Box<ToolCall>,
        mut context: Box<CallContext>,
        presence: &Presence,
        within: Option<CallId>,
    ) -> Result<Admission, Refusal> {
        context.continues = within;
        self.decide(request, context, presence, None).await
    }

    async fn decide(
        self: &Arc<Self>,
        call: Box<ToolCall>,
        mut context: Box<CallContext>,
        presence: &Presence,
        origin: Option<Origin>,
    ) -> Result<Admission, Refusal> {
        context.confirmations = self.issued.checked(call.tool(), call.arguments().view(), &context);
        if let Some(origin) = &origin {
            context.continues = Some(origin.call().clone());
        }
        context.history = None;
        let id = call.id().clone();
        let digest = call.digest(&context);
        let (turn, policies) = match self.turn(&call, &context).await {
            Ok(both) => both,
            Err(unknown) => {
                tracing::error!(call = %id, server = context.server.name, %unknown, "no history for the rules");
                let record = record::failed(&call, &context, digest, policy::now(), format!("no history: {unknown}"));
                let _receipt = self.audit.append(record).await.map_err(|_| no_record(&id))?;
                return Err(Refusal::new(Outcome::Unavailable, unknown.for_client()).of(&id));
            }
        };
        context.history = turn.document();
        let (now, decision) = self.judge(&policies, &call, &mut context, digest, presence).await;
        let decision = match decision {
            Ok(decision) => Arc::new(decision),
            Err(fault) => {
                drop(turn);
                tracing::error!(call = %id, server = context.server.name, tool = call.tool(), %fault, "policy failed");
                let record = record::failed(&call, &context, digest, now, fault.to_string());
                let _receipt = self.audit.append(record).await.map_err(|_| no_record(&id))?;
                return Err(Refusal::new(Outcome::Unavailable, fault.for_client()).of(&id));
            }
        };
        // Counted before anything else is waited for: from here on the next call is judged with this one.
        let goes = decision.effect == Effect::Allow
            || decision.effect == Effect::Hold && origin.as_ref().is_some_and(|origin| origin.covers(&decision));
        let counted = if goes {
            self.history.spend(turn)
        } else {
            drop(turn);
            None
        };
        let receipt = match self.audit.append(record::decided(&call, &context, digest, now, &decision)).await {
            Ok(receipt) => receipt,
            Err(error) => {
                tracing::error!(call = %id, %error, "no record, so no call");
                self.history.give_back(counted);
                return Err(no_record(&id));
            }
        };
        self.sessions.decided(&context, &id, digest, &decision);
        match decision.effect {
            Effect::Deny => {
                let rule = decision.rules.first().map(|hit| hit.rule.clone());
                Err(Refusal { rule, ..Refusal::new(Outcome::Denied, decision.reason.as_str()).of(&id) })
            }
            Effect::Allow => {
                // What is kept for later has no use for what was before.
                context.history = None;
                let context: Arc<CallContext> = context.into();
                let clearance = Clearance::allowed(self, Arc::clone(&context), decision, presence);
                if let Some((outcome, why)) = clearance.no() {
                    self.history.give_back(counted);
                    self.sessions.became(&context.session, &id, outcome.as_str());
                    return Err(self.close(&id, outcome, why).await);
                }
                let released = Released { receipt, leave: clearance.leave(), counted };
                let origin = origin.unwrap_or_else(|| Origin::new(&call, context, None));
                Ok(Admission::Permitted(PermittedCall::new(*call, released, None, origin)))
            }
            Effect::Hold => match origin.filter(|origin| origin.covers(&decision)) {
                Some(origin) => match Box::pin(self.goes_on(&call, context, decision, presence)).await {
                    Ok(released) => {
                        let released = Released { counted, ..released };
                        Ok(Admission::Permitted(PermittedCall::new(*call, released, None, origin)))
                    }
                    Err((outcome, reason)) => {
                        self.history.give_back(counted);
                        Err(self.close(&id, outcome, reason).await)
                    }
                },
                // Aside: the work of a call that is not held is moved about, and would have room for this.
                None => Box::pin(self.hold(call, context, digest, decision, presence)).await,
            },
        }
    }

    /// The last look at a call that goes on under the approval of an earlier one.
    async fn goes_on(
        self: &Arc<Self>,
        call: &ToolCall,
        mut context: Box<CallContext>,
        decision: Arc<Decision>,
        presence: &Presence,
    ) -> Result<Released, No> {
        if !presence.place.bind(&context.bound, context.operation.environment.as_ref()) {
            return Err((Outcome::Denied, ELSEWHERE.to_owned()));
        }
        context.history = None;
        let clearance = Clearance::approved(self, context.into(), None, decision, presence);
        self.last_look(call, None, clearance).await
    }

    /// Begins a decision. The policies are those in use when the call's turn has come, and ask for no more of the history
    /// than was prepared: where they were loaded while it waited, and ask for other things, it begins again.
    async fn turn(&self, call: &ToolCall, context: &CallContext) -> Result<(Turn, Policies), Unknown> {
        loop {
            let uses = self.policy.history_on(&context.server.name);
            let turn = self.history.turn(call, context, uses).await?;
            let policies = self.policy.in_use();
            if policies.history_on(&context.server.name) == uses {
                return Ok((turn, policies));
            }
        }
    }

    /// Judges a call as things stand now. Where it may be made at once, its session works from now on where it says; a
    /// call of the same session that said so meanwhile has it judged again, which can happen twice.
    async fn judge(
        &self,
        policies: &Policies,
        call: &ToolCall,
        context: &mut CallContext,
        digest: Digest,
        presence: &Presence,
    ) -> (u64, Result<Decision, PolicyFault>) {
        loop {
            self.standing(context, presence);
            let now = policy::now();
            let decision = policies.evaluate(call, context, digest, now).await;
            let decision = decision.map(|decision| self.stopped(context, decision));
            let allowed = decision.as_ref().is_ok_and(|decision| decision.effect == Effect::Allow);
            let reach = context.operation.environment.as_ref();
            if !allowed || presence.place.bind(&context.bound, reach) {
                return (now, decision);
            }
        }
    }

    /// Puts into the context of a call what is known now of its session and its server.
    fn standing(&self, context: &mut CallContext, presence: &Presence) {
        context.environment = self.environment(&context.server.name, &context.environment);
        context.bound = presence.place.bound();
    }

    /// The environment of a server, with what contradicts it where an answer did.
    pub fn environment(&self, server: &str, bound: &Arc<Environment>) -> Arc<Environment> {
        match self.places.conflict(server) {
            None => Arc::clone(bound),
            Some(conflict) => Arc::new(Environment { conflict: Some(conflict.to_string()), ..(**bound).clone() }),
        }
    }

    /// The place of a principal whose requests stand alone, on one server.
    pub fn shared_place(&self, server: &str, principal: &str, idle: std::time::Duration) -> Place {
        self.places.shared(server, principal, idle)
    }

    async fn hold(
        self: &Arc<Self>,
        call: Box<ToolCall>,
        mut context: Box<CallContext>,
        digest: Digest,
        decision: Arc<Decision>,
        presence: &Presence,
    ) -> Result<Admission, Refusal> {
        let id = call.id().clone();
        // Every pointer led somewhere when policy decided: one that does not is a policy fault.
        let typed = |pointer: &String| Some((pointer.clone(), confirm_value(pointer, &call, &context, digest)?));
        let confirm = decision.confirm_with.iter().filter_map(typed).collect();
        // At its release it is judged by what is left then.
        context.history = None;
        let (call, context): (Arc<ToolCall>, Arc<CallContext>) = (call.into(), context.into());
        let granted = || self.grants.take(&call, &context, &decision);
        if let Some(used) = self.frozen().map_or_else(granted, |_| None) {
            tracing::info!(call = %id, grant = %used.grant(), "a grant covers this call");
            return self.permit_granted(call, context, used, presence).await.map(Admission::Permitted);
        }
        match self.holds.place(
            Arc::clone(&call),
            Arc::clone(&context),
            Arc::clone(&decision),
            digest,
            confirm,
            presence,
        ) {
            Err((outcome, reason)) => Err(self.close(&id, outcome, reason).await),
            Ok(Placed::Ticket { hold, decision, until }) => {
                tracing::info!(call = %id, %hold, "an approval of this call is used");
                self.permit(call, context, &hold, until, decision, presence).await.map(Admission::Permitted)
            }
            Ok(Placed::Waits(place)) => {
                // Whatever was stopped before it stood in the queue has not found it there.
                if let Some((outcome, why)) = self.stopped_since(&context, &decision) {
                    self.holds.end(&id, outcome, &why);
                }
                let held = Event::Held { expires_at: place.expires.to_string(), joins: place.joins.clone() };
                let held = Entry::new(Some(&id), true, held);
                let gate = Arc::clone(self);
                let held_call = HeldCall { gate, call, context, decision, place };
                match self.audit.append(held).await {
                    Ok(_receipt) => self.holds.show(&id),
                    Err(_) => {
                        self.holds.end(&id, Outcome::Unavailable, "the hold could not be recorded");
                    }
                }
                tracing::info!(call = %id, server = held_call.context.server.name, tool = held_call.call.tool(), "held");
                Ok(Admission::Held(Box::new(held_call)))
            }
        }
    }

    /// Records that a call ended unsent, and gives the refusal that says so.
    async fn close(&self, id: &CallId, outcome: Outcome, reason: String) -> Refusal {
        tracing::info!(call = %id, outcome = outcome.as_str(), reason, "not sent");
        self.record_close(id, Event::Closed { outcome, reason: reason.clone(), stale: false }).await;
        Refusal::new(outcome, reason).of(id)
    }

    /// The same of a call that was held. One that is denied after that is stale: it is not as it was shown.
    async fn close_held(&self, id: &CallId, outcome: Outcome, reason: String) -> Refusal {
        tracing::info!(call = %id, outcome = outcome.as_str(), reason, "held, and not sent");
        let stale = outcome == Outcome::Denied;
        self.record_close(id, Event::Closed { outcome, reason: reason.clone(), stale }).await;
        Refusal::new(outcome, reason).of(id)
    }

    async fn record_close(&self, id: &CallId, closed: Event) {
        let entry = Entry::new(Some(id), true, closed);
        if let Err(error) = self.audit.append(entry).await {
            tracing::error!(call = %id, %error, "the end of a call could not be recorded");
        }
    }

    /// Ends holds whose time is over, also where the machine slept through it, until `stop`; then all that nobody waits
    /// for. One task of the
    /// daemon runs this.
    pub async fn keep_time(&self, stop: CancellationToken) {
        loop {
            let next = self.holds.lapse();
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.holds.more() => {}
                () = sleep_until(next) => {}
            }
        }
        self.holds.forget();
    }

    /// Takes back a permit that was not used: nobody waits any more, or the upstream does not take the call.
    pub async fn unsent(&self, permit: PermittedCall, outcome: Outcome, why: &str) -> Refusal {
        self.stayed(permit.release(), outcome, why).await
    }

    /// The same for a call that its link had and that has not left.
    pub async fn stayed(&self, sent: SentCall, outcome: Outcome, why: &str) -> Refusal {
        sent.leave().take_back(outcome, why);
        self.sessions.became(&sent.origin().context().session, &sent.id, outcome.as_str());
        self.history.give_back(sent.counted);
        match &sent.hold {
            Some(hold) => {
                self.not_released(hold, outcome, why);
                self.close_held(&sent.id, outcome, why.to_owned()).await
            }
            None => self.close(&sent.id, outcome, why.to_owned()).await,
        }
    }

    /// Refuses a call whose arguments are not what its tool takes: recorded, and never judged.
    pub async fn invalid(&self, call: &ToolCall, context: &CallContext, reason: String) -> Refusal {
        let id = call.id();
        tracing::info!(call = %id, server = context.server.name, tool = call.tool(), reason, "the arguments do not fit");
        let record = record::invalid(call, context, call.digest(context), policy::now(), reason.clone());
        match self.audit.append(record).await {
            Ok(_receipt) => Refusal::new(Outcome::Invalid, reason).of(id),
            Err(_) => no_record(id),
        }
    }

    /// Records a message or a client that was refused before there was a call.
    pub async fn refused(&self, event: Event) {
        if let Err(error) = self.audit.note(Entry::new(None, false, event)).await {
            tracing::error!(%error, "a refused message could not be recorded");
        }
    }

    /// Records what an operator's side sent that is no command.
    pub async fn command_refused(&self, operator: &str, why: &str) {
        let event = Event::Refused {
            server: None,
            principal: Some(format!("operator {operator}")),
            session: None,
            code: -32600,
            reason: format!("malformed operator command: {why}"),
        };
        self.refused(event).await;
    }

    /// Records that another account has reached the operator socket.
    pub async fn operator_refused(&self, uid: u32) {
        let event = Event::Refused {
            server: None,
            principal: None,
            session: None,
            code: -32600,
            reason: format!("the account {uid} at the operator socket: neither the daemon's nor root"),
        };
        self.refused(event).await;
    }

    /// Whether this principal could ever be let through to a tool: what `tools/list` shows.
    pub async fn lists(&self, tool: &str, operation: Operation, context: &CallContext) -> bool {
        let environment = self.environment(&context.server.name, &context.environment);
        let context = CallContext { operation, environment, ..context.clone() };
        match self.policy.evaluate_listed(&context).await {
            Ok(decision) => decision.effect != Effect::Deny,
            Err(fault) => {
                tracing::error!(server = context.server.name, tool, %fault, "policy failed; the tool is not listed");
                false
            }
        }
    }

    /// Loads the policies again. On an error the old ones stay in force.
    ///
    /// # Errors
    /// What is wrong with the new ones; recorded and shown to operators as well.
    pub async fn reload(self: &Arc<Self>) -> Result<String, String> {
        let previous = self.policy.version();
        let loaded = self.policy.reload().await.map_err(|errors| errors.to_string());
        if let Err(error) = self.remember().await {
            tracing::error!(%error, "what was let through before cannot be read: calls with a budget are refused");
        }
        let version = self.policy.version();
        let event = match &loaded {
            Ok(_) => Event::PolicyLoaded { policy_version: version.clone(), previous: Some(previous) },
            Err(error) => Event::PolicyRefused { error: error.clone(), keeping: previous },
        };
        if let Ok(mut remembered) = self.policy_error.lock() {
            *remembered = loaded.as_ref().err().cloned();
        }
        if let Err(error) = self.audit.append(Entry::new(None, true, event)).await {
            tracing::error!(%error, "a policy reload could not be recorded");
        }
        if loaded.is_ok() {
            self.look_again().await;
        }
        loaded.map(|_| version)
    }

    /// Whether the policies in use can allow nothing to whoever has no scope for a server.
    pub fn scopes_alone_allow(&self) -> bool {
        self.policy.scopes_alone_allow()
    }

    /// Why the last reload was refused, where it was.
    pub fn policy_error(&self) -> Option<String> {
        self.policy_error.lock().ok().and_then(|error| error.clone())
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
