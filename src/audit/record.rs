//! What is recorded, and the bytes that the chain is made of (`docs/audit.md`).
//!
//! An [`Event`] is what the rest of the program says. A [`Record`] is the row that stands in the store. What may not
//! live here: SQL, files, threads. Invariant: everything in a record but its own hash goes into that hash, each field
//! with its length before it, so two different records never hash the same bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::{
    Bound, CallContext, CallId, ClientInfo, Confirmation, Decision, Digest, Environment, Operation, Outcome, Pin,
    Principal, SchemaCheck, ServerFacts, ToolCall,
};
use crate::json::{Json, JsonError, JsonText, Rules};

mod clipped;

/// Longest body, in bytes: the parameters of every call that an operator can be shown fit whole. Members of a longer
/// one are cut by `bounded`.
pub const MAX_BODY: usize = (2 << 20) + (128 << 10);
/// In a body that is too long, a member up to this size stays as it is.
const KEPT_MEMBER: usize = 16 << 10;
/// How much of a cut member is kept.
const KEPT_HEAD: usize = 4 << 10;

const RECORD_DOMAIN: &str = "countersign.record/v1";
const GENESIS_DOMAIN: &str = "countersign.audit/v1";

/// What the first record of a log follows: it names the log, so that no record fits into another one.
pub fn genesis(instance: &[u8]) -> Digest {
    Digest::of_fields(GENESIS_DOMAIN, &[instance])
}

/// A row: what happened, and its place in the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// From 1, without gaps. The order of records is this and never the time.
    pub seq: u64,
    /// Wall clock, RFC 3339 in UTC with microseconds.
    pub at: String,
    /// Milliseconds since the machine started, suspended time included: goes on evenly when the wall clock is set.
    pub up_ms: u64,
    /// Absent for records that belong to no call; never empty.
    pub call: Option<String>,
    pub kind: String,
    /// One JSON object; its member `kind` repeats the kind.
    pub body: String,
    pub prev: Digest,
    pub hash: Digest,
}

impl Record {
    /// The hash that the other fields give.
    pub fn computed(&self) -> Digest {
        let call = self.call.as_deref().unwrap_or("");
        Digest::of_fields(
            RECORD_DOMAIN,
            &[
                &self.seq.to_be_bytes(),
                self.at.as_bytes(),
                &self.up_ms.to_be_bytes(),
                call.as_bytes(),
                self.kind.as_bytes(),
                self.body.as_bytes(),
                self.prev.as_bytes(),
            ],
        )
    }

    /// Gives it its place.
    pub(super) fn seal(&mut self, seq: u64, prev: Digest) {
        self.seq = seq;
        self.prev = prev;
        self.hash = self.computed();
    }
}

/// A tool, and the definition that a server listed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeenTool {
    pub tool: String,
    pub definition: Digest,
}

/// The same, where another definition was pinned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangedTool {
    pub tool: String,
    pub pinned: Option<Digest>,
    pub definition: Digest,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolRuling {
    Pin,
    Unpin,
    Forget,
}

/// Who asked for what, where: the head of every record that begins a call.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallFacts {
    pub session: String,
    pub principal: Arc<Principal>,
    pub client: Arc<ClientInfo>,
    pub server: Arc<ServerFacts>,
    pub environment: Arc<Environment>,
    pub method: String,
    pub tool: String,
    pub definition: Option<Digest>,
    pub operation: Operation,
    /// Where the session worked already.
    #[serde(default, skip_serializing_if = "Bound::is_nowhere")]
    pub bound: Bound,
    /// Words in the call that say that somebody agreed to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirmations: Vec<Confirmation>,
    /// What an approval binds ([`ToolCall::digest`]).
    pub digest: Digest,
    /// As the call spells them, byte for byte: [`Event::body`] writes both.
    #[serde(skip_serializing)]
    pub params: JsonText,
    #[serde(skip_serializing)]
    pub meta: Option<JsonText>,
    /// The call that was let through before and that this one follows from: its approval may count for this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<CallId>,
    /// What else the rules saw. Records of before this was written have none: they cannot be judged again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
    /// What the server claims about the tool, byte for byte: [`Event::body`] writes it, cut where it is long.
    #[serde(default, skip_serializing, deserialize_with = "present")]
    pub annotations: Option<JsonText>,
    /// What rules saw of what was let through before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<JsonText>,
}

/// What the rules saw of a call that its other facts do not say: with these the policy input can be built once more,
/// byte for byte.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Judged {
    /// The rules' clock, in nanoseconds since 1970.
    pub now: u64,
    pub pin: Pin,
    pub schema: SchemaCheck,
    /// The tool that it belongs to, where that is not the record's `tool`: of what a client answers in the middle of a
    /// call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// A member that is there is there, `null` too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<JsonText>, D::Error> {
    JsonText::deserialize(deserializer).map(Some)
}

impl CallFacts {
    /// `digest` is the call's in this context; whoever records it has it already. `now` is the clock that the rules saw.
    pub fn of(call: &ToolCall, context: &CallContext, digest: Digest, now: u64) -> CallFacts {
        let tool = Some(&context.tool.name).filter(|name| *name != call.tool()).cloned();
        CallFacts {
            session: context.session.clone(),
            principal: Arc::clone(&context.principal),
            client: Arc::clone(&context.client),
            server: Arc::clone(&context.server),
            environment: Arc::clone(&context.environment),
            method: call.method().as_str().to_owned(),
            tool: call.tool().to_owned(),
            definition: context.tool.definition,
            operation: context.operation.clone(),
            bound: context.bound.clone(),
            confirmations: context.confirmations.clone(),
            digest,
            params: call.params().clone(),
            meta: call.meta().map(JsonText::owned),
            continues: context.continues.clone(),
            judged: Some(Judged { now, pin: context.tool.pin, schema: context.tool.schema, tool }),
            annotations: context.tool.annotations.clone(),
            history: context.history.clone(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    Approve,
    Reject,
}

/// What came back for a call that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Ok,
    /// A result that says `isError`.
    ToolError,
    /// A JSON-RPC error.
    Error,
    /// It could not be handed to the server: no byte of it left.
    NotSent,
    /// It left, and nothing came back.
    OutcomeUnknown,
    /// Of older records only: an answer came, and went to nobody.
    Undeliverable,
    /// An answer came, and was kept from the client: it held a key, or part of one, that could not be taken out of it.
    KeptBack,
}

/// What became of a call that was open when an earlier run ended (I7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// It was never approved.
    Abandoned,
    /// It was approved and never left.
    ApprovedNotSent,
    /// It may have left; what the upstream did is not known.
    SentOutcomeUnknown,
}

/// What proves a ruling, whole: `ssh-keygen -Y verify` needs nothing else.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signed {
    /// Fingerprint of the key.
    pub key: String,
    /// The operator's line of the list of operators, as it was then.
    pub signer: String,
    pub text: String,
    /// Armoured.
    pub signature: String,
}

/// What can be recorded. Bodies are this, as JSON. Answers are recorded by size and digest, never by content.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    Started {
        version: String,
        policy_version: String,
        servers: Vec<String>,
        /// The configuration lets policies allow whatever no rule denies.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        unsafe_default_allow: bool,
    },
    Stopped {
        reason: String,
    },
    PolicyLoaded {
        policy_version: String,
        previous: Option<String>,
    },
    /// A reload failed; the version that stays in use.
    PolicyRefused {
        error: String,
        keeping: String,
    },
    /// A secret has another value from here on. Fingerprints tell them apart and tell nothing of them.
    SecretRotated {
        secret: String,
        fingerprint: String,
        previous: String,
    },
    /// A secret was read again, and its new value not taken: the one before it stays in use.
    SecretKept {
        secret: String,
        why: String,
    },
    /// A server was asked at start where its key works. The call itself has records of its own, where it was made.
    Probed {
        server: String,
        environment: Environment,
        /// What was found, or why nothing was.
        outcome: String,
    },
    /// An answer says that a server works in another environment than it is bound to. Nothing more is sent to it until the
    /// daemon is started again.
    EnvironmentConflict {
        server: String,
        environment: Environment,
        conflict: String,
    },
    /// A message that the protocol layer refused, before policy.
    Refused {
        server: Option<String>,
        principal: Option<String>,
        session: Option<String>,
        code: i64,
        reason: String,
    },
    /// A server has listed tools that were not known, or not so.
    ToolsSeen {
        server: String,
        /// Whose list it was, and in which session.
        principal: String,
        session: String,
        /// It was the beginning of the server's first list.
        first: bool,
        /// Pinned, as of the first list.
        trusted: Vec<SeenTool>,
        /// Not pinned.
        new: Vec<SeenTool>,
        /// Not as they are pinned.
        changed: Vec<ChangedTool>,
        /// Others that are not named here.
        more: u64,
    },
    /// An operator has said which definition of a tool he trusts.
    ToolRuled {
        operator: String,
        server: String,
        tool: String,
        ruling: ToolRuling,
        /// The one that is pinned from here on.
        definition: Option<Digest>,
        /// The one that was.
        was: Option<Digest>,
    },
    /// The arguments of a call are not what its tool takes: it is refused before policy.
    Invalid {
        #[serde(flatten)]
        facts: Box<CallFacts>,
        reason: String,
    },
    /// Policy decided. For an `allow` this is also the record that the call is sent.
    Decided {
        #[serde(flatten)]
        facts: Box<CallFacts>,
        decision: Arc<Decision>,
    },
    /// Policy could not decide: the call is refused.
    Failed {
        #[serde(flatten)]
        facts: Box<CallFacts>,
        fault: String,
    },
    /// The call waits for a person.
    Held {
        expires_at: String,
        /// The call behind whose prompt it waits: an identical one that came before it.
        #[serde(skip_serializing_if = "Option::is_none")]
        joins: Option<CallId>,
    },
    Ruled {
        ruling: Ruling,
        operator: String,
        digest: Digest,
        reason: Option<String>,
        /// True where this ruling settled the hold: the last approval that was needed, or a reject.
        effective: bool,
        /// Approvals so far, this one included.
        approvals: u8,
        /// How many were given at once, where this is one of several.
        #[serde(skip_serializing_if = "Option::is_none")]
        batch: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        signed: Option<Signed>,
    },
    /// A ruling that did not count.
    RulingRefused {
        operator: String,
        id: CallId,
        why: String,
    },
    /// An approval that had not left was taken back: the call waits for a ruling again.
    TakenBack {
        operator: String,
        approved_by: String,
    },
    /// A hold that had ended without a ruling waits for one again, until then.
    Reopened {
        operator: String,
        digest: Digest,
        expires_at: String,
    },
    /// An operator looks after a hold until then; or, where there is no time, no longer.
    Claimed {
        operator: String,
        until: Option<String>,
        /// Who did before, where it was taken from somebody.
        #[serde(skip_serializing_if = "Option::is_none")]
        from: Option<String>,
    },
    /// From here on everything that is not a read is held; or no longer.
    Frozen {
        operator: String,
        on: bool,
        reason: Option<String>,
        /// Holds that were rejected by it.
        rejected: u64,
    },
    /// An operator has paused a session, lets it go on, or has ended it.
    SessionRuled {
        operator: String,
        session: String,
        server: String,
        principal: String,
        /// `pause`, `resume` or `end`.
        ruling: String,
        reason: Option<String>,
        /// Calls that were rejected by it.
        rejected: u64,
    },
    /// A call ended and was not sent.
    Closed {
        outcome: Outcome,
        reason: String,
        /// It was held, and would be judged in another way now than what was shown.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        stale: bool,
    },
    /// An approved call is released: recorded before its first byte.
    Sending {
        /// The call whose ruling this release uses up, where that is an identical one that came before it.
        #[serde(skip_serializing_if = "Option::is_none")]
        approved_as: Option<CallId>,
        /// The grant that one use of lets it go, where no ruling of its own does.
        #[serde(skip_serializing_if = "Option::is_none")]
        grant: Option<CallId>,
        /// Of the policies that judged it once more in this moment.
        policy_version: String,
    },
    /// A grant is in force from here on, beside the approval of the hold that it was made from.
    Granted {
        grant: CallId,
        operator: String,
        /// Of that hold.
        digest: Digest,
        /// What a call has to be, one condition a line, as the operator read it.
        text: String,
        until: String,
        /// Calls beside that one.
        uses: u32,
    },
    /// A grant counts no longer.
    GrantRevoked {
        grant: CallId,
        operator: String,
        reason: Option<String>,
        used: u32,
    },
    Completed {
        result: Answer,
        /// Of the answer as it went to the client.
        bytes: u64,
        digest: Option<Digest>,
        duration_ms: u64,
        note: Option<String>,
        /// Whose keys were taken out of what the server said: names of secrets, and `form:KIND` for the keys of others.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        redacted: Vec<String>,
    },
    /// Written at start for every call that an earlier run left open.
    Recovered {
        outcome: Recovery,
    },
    /// Records could not be written for a while: so many were refused.
    Gap {
        refused: u64,
    },
    /// The wall clock was set, by so many milliseconds.
    ClockStepped {
        by_ms: i64,
    },
}

impl Event {
    /// The kind as records spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Started { .. } => "started",
            Event::Stopped { .. } => "stopped",
            Event::PolicyLoaded { .. } => "policy_loaded",
            Event::PolicyRefused { .. } => "policy_refused",
            Event::Probed { .. } => "probed",
            Event::SecretRotated { .. } => "secret_rotated",
            Event::SecretKept { .. } => "secret_kept",
            Event::EnvironmentConflict { .. } => "environment_conflict",
            Event::Refused { .. } => "refused",
            Event::ToolsSeen { .. } => "tools_seen",
            Event::ToolRuled { .. } => "tool_ruled",
            Event::Invalid { .. } => "invalid",
            Event::Decided { .. } => "decided",
            Event::Failed { .. } => "failed",
            Event::Held { .. } => "held",
            Event::Ruled { .. } => "ruled",
            Event::RulingRefused { .. } => "ruling_refused",
            Event::TakenBack { .. } => "taken_back",
            Event::Reopened { .. } => "reopened",
            Event::Claimed { .. } => "claimed",
            Event::Frozen { .. } => "frozen",
            Event::SessionRuled { .. } => "session_ruled",
            Event::Closed { .. } => "closed",
            Event::Sending { .. } => "sending",
            Event::Granted { .. } => "granted",
            Event::GrantRevoked { .. } => "grant_revoked",
            Event::Completed { .. } => "completed",
            Event::Recovered { .. } => "recovered",
            Event::Gap { .. } => "gap",
            Event::ClockStepped { .. } => "clock_stepped",
        }
    }

    /// The body: strict JSON, at most [`MAX_BODY`] bytes.
    ///
    /// # Errors
    /// Where it cannot be written as strict JSON, for example because a rule's details nest too deeply.
    pub fn body(&self) -> Result<JsonText, JsonError> {
        let body = JsonText::of_ours(self)?;
        let (Event::Decided { facts, .. } | Event::Failed { facts, .. } | Event::Invalid { facts, .. }) = self else {
            return bounded(body, None, None);
        };
        // What may be long is strict already, and stands in the call no less deep.
        let params = Some(("params", facts.params.view()));
        let meta = facts.meta.as_ref().map(|meta| ("meta", meta.view()));
        // A server says these once, and every record of a call of the tool repeats them.
        let claimed = facts.annotations.as_ref().map(JsonText::view);
        let long = claimed.filter(|text| text.text().len() > KEPT_MEMBER);
        let shortened = long.map(shortened).transpose()?;
        let claimed = shortened.as_ref().map(JsonText::view).or(claimed).map(|text| ("annotations", text));
        let body = body.with(&params.into_iter().chain(meta).chain(claimed).collect::<Vec<_>>());
        bounded(body, long.map(|_| "\"annotations\""), Some(&facts.operation))
    }
}

/// Members that are the operator's words alone. They say whose call it was, so they are never cut.
const WHOSE: [&str; 2] = ["\"principal\"", "\"server\""];

/// A body that is too long, with its long members shortened. Bodies have a fixed set of members, so what is left is
/// bounded too. The operation stays one that can be read, with clipped texts. At its end stands `cut`, the names of those members and of the one that was shortened before: nothing
/// that a call says can look like this, because the names of members are ours.
fn bounded(body: JsonText, before: Option<&str>, operation: Option<&Operation>) -> Result<JsonText, JsonError> {
    let mut names: Vec<String> = before.into_iter().map(str::to_owned).collect();
    let body = if body.as_str().len() <= MAX_BODY {
        body
    } else {
        let mut out = String::with_capacity(KEPT_MEMBER);
        for (key, value) in body.view().members() {
            out.push(if out.is_empty() { '{' } else { ',' });
            out.extend([key.text(), ":"]);
            if value.text().len() <= KEPT_MEMBER || WHOSE.contains(&key.text()) {
                out.push_str(value.text());
                continue;
            }
            names.push(key.text().to_owned());
            let short = match operation.filter(|_| key.text() == "\"operation\"") {
                Some(operation) => clipped::operation(operation)?,
                None => shortened(value)?,
            };
            out.push_str(short.as_str());
        }
        out.push('}');
        JsonText::parse(out, Rules::UPSTREAM)?
    };
    if names.is_empty() {
        return Ok(body);
    }
    let names = JsonText::parse(format!("[{}]", names.join(",")), Rules::UPSTREAM)?;
    Ok(body.with(&[("cut", names.view())]))
}

/// What stands for a value that is too long: `{"cut":true,"bytes":…,"sha256":…,"head":…}`.
fn shortened(value: Json<'_>) -> Result<JsonText, JsonError> {
    #[derive(Serialize)]
    struct Cut<'a> {
        cut: bool,
        bytes: usize,
        sha256: Digest,
        head: &'a str,
    }
    let text = value.text();
    let head = text.get(..text.floor_char_boundary(KEPT_HEAD)).unwrap_or("");
    JsonText::of(&Cut { cut: true, bytes: text.len(), sha256: Digest::of_bytes(text.as_bytes()), head })
}

#[cfg(test)]
pub(super) mod tests;
