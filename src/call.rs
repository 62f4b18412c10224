//! The words: data that every other module speaks in, and the one moment that gate and links share. Nothing here acts, and
//! nothing of ours is imported but `json`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::json::{Json, JsonText};

#[cfg(test)]
pub mod fixtures;
mod digest;
mod environment;
mod leave;
mod limits;
mod narrow;
mod random;
mod remembered;
mod scope;
mod spelling;
mod tool;

pub use digest::{Digest, NotADigest};
pub use environment::{Environment, EnvironmentSource};
pub use leave::{Ended, Leave, No};
pub use limits::{Limits, MAX_HELD_BYTES};
pub use narrow::narrowed;
pub use remembered::{Bound, Confirmation, ConfirmedBy, Seen};
pub use scope::{AmountLimit, Claim, ConditionalScope, Hours, Test, TestKind, is_operation_name};
pub use spelling::{is_slip, meant};
pub use tool::{Pin, SchemaCheck, ToolFacts};

/// Names one call for its whole life: in the hold, the records, the refusal. Sixty random bits in Crockford's
/// base 32, never used again.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(String);

impl CallId {
    const ALPHABET: &'static [u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

    /// # Errors
    /// Where the system has no randomness: the call is then refused.
    pub fn random() -> Result<CallId, getrandom::Error> {
        let bytes = random::bytes()?;
        let letter = |byte: &u8| Self::ALPHABET.get(usize::from(byte & 31)).copied().map_or('0', char::from);
        Ok(CallId(bytes.iter().map(letter).collect()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CallId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<CallId, NotAnId> {
        let upper = text.to_ascii_uppercase();
        let valid = upper.len() == 12 && upper.bytes().all(|byte| CallId::ALPHABET.contains(&byte));
        if valid { Ok(CallId(upper)) } else { Err(NotAnId) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not a call id: twelve letters and digits are expected")]
pub struct NotAnId;

/// What an operation does to the world, as the catalog says; from the harmless to the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    Read,
    Write,
    Financial,
    Destructive,
    /// Nothing is known about it: rules treat it as the worst.
    Unknown,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Read => "read",
            Class::Write => "write",
            Class::Financial => "financial",
            Class::Destructive => "destructive",
            Class::Unknown => "unknown",
        }
    }
}

/// An amount of money that a call names. The number keeps the spelling of the call; nothing is guessed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Money {
    /// As spelled in the call; absent where the call leaves it out, and then `absent` says what that means.
    pub amount: Option<String>,
    /// `minor` (cents) or `major`.
    pub unit: String,
    /// ISO 4217 code as the call spells it; absent where it is not in the call.
    pub currency: Option<String>,
    /// What leaving the amount out means, for example `full`.
    pub absent: Option<String>,
}

/// How much of something besides money a call wants. The value keeps the spelling of the call; nothing is guessed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Magnitude {
    /// As spelled in the call; absent where the call leaves it out, and then `absent` says what that means.
    pub value: Option<String>,
    /// What is counted: `percent`, `count`, `days`, ...
    pub unit: String,
    /// What leaving the value out means, for example `all`.
    pub absent: Option<String>,
}

/// Which way a mode argument points.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReachMode {
    Production,
    Test,
    /// The argument is there and says neither.
    Unknown,
}

/// Where the arguments of a call want it to take effect.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Reach {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<ReachMode>,
    /// Accounts or tenants, as the arguments name them.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Environments, by the names or ids that the arguments use.
    #[serde(default)]
    pub environments: Vec<String>,
    /// The call means every environment: it says so, or leaves out what would narrow it down.
    #[serde(default)]
    pub everywhere: bool,
}

impl Reach {
    /// True where the arguments name nothing.
    pub fn is_nowhere(&self) -> bool {
        self.mode.is_none() && self.accounts.is_empty() && self.environments.is_empty() && !self.everywhere
    }
}

/// What a call really does, as the catalog reads it from the tool and its arguments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Operation {
    pub name: String,
    pub class: Class,
    /// Absent where the catalog does not say.
    pub reversible: Option<bool>,
    pub money: Option<Money>,
    /// What it is done to: argument values such as a customer or a subscription id.
    pub targets: Vec<String>,
    /// How much besides money.
    pub magnitude: Option<Magnitude>,
    /// Money and magnitude do not say how much the call does: something in it makes it worse than they tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmeasured: bool,
    /// Where the arguments want it to take effect; absent where they name no place.
    pub environment: Option<Reach>,
    /// One sentence from the catalog about what this does.
    pub effect: Option<String>,
}

impl Operation {
    /// One of which nothing but its class is known.
    pub fn bare(name: &str, class: Class) -> Operation {
        Operation {
            name: name.to_owned(),
            class,
            reversible: None,
            money: None,
            targets: Vec::new(),
            magnitude: None,
            unmeasured: false,
            environment: None,
            effect: None,
        }
    }

    /// Nothing is known any more about what it does, and how much.
    pub fn make_unknown(&mut self, why: impl Into<String>) {
        self.class = Class::Unknown;
        self.unmeasured = true;
        self.effect = Some(why.into());
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrincipalKind {
    /// A bearer token over HTTP.
    Token,
    /// A token over HTTP that an issuer of the configuration has signed.
    Jwt,
    /// The user id of the process at the other end of the client socket.
    Uid,
    /// Countersign itself, which asks a server at start where its key works.
    Builtin,
}

/// The name of [`PrincipalKind::Builtin`]; no configured principal may have it.
pub const BUILTIN_PRINCIPAL: &str = "countersign";

/// Who the client is, by our own evidence and never by its word.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Principal {
    pub name: String,
    /// Whom a signed token is about, in the words of its issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    pub kind: PrincipalKind,
    /// Scopes that hold without conditions.
    pub scopes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditional_scopes: Vec<ConditionalScope>,
    /// What the operator says about it besides, for rules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, Claim>,
}

impl Principal {
    /// One with scopes that hold without conditions, and nothing else.
    pub fn plain(name: impl Into<String>, kind: PrincipalKind, scopes: Vec<String>) -> Principal {
        let (conditional_scopes, claims) = (Vec::new(), BTreeMap::new());
        Principal { name: name.into(), subject: None, kind, scopes, conditional_scopes, claims }
    }

    /// Whether an operator of this name may be the same person: by its name, by its token's subject, or by what its
    /// token says besides, such as an address.
    pub fn may_be(&self, operator: &str) -> bool {
        let claimed = |claim: &Claim| matches!(claim, Claim::One(text) if text == operator);
        let by_token = self.subject.as_deref() == Some(operator) || self.claims.values().any(claimed);
        self.name == operator || (self.kind == PrincipalKind::Jwt && by_token)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Stdio,
    Http,
}

/// What the client says about itself, and how it came in. `name` and `version` prove nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClientInfo {
    pub name: Option<String>,
    pub version: Option<String>,
    pub protocol: Option<String>,
    pub transport: Transport,
    /// Of the process at the other end of the client socket, by the kernel.
    pub uid: Option<u32>,
    pub pid: Option<i32>,
    /// Where that process says that it works: the shim's own word when it connected, and whoever starts it chooses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Of an HTTP connection.
    pub peer: Option<String>,
}

impl ClientInfo {
    /// One that has said nothing about itself yet.
    pub fn silent(transport: Transport) -> ClientInfo {
        ClientInfo { name: None, version: None, protocol: None, transport, uid: None, pid: None, cwd: None, peer: None }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ServerFacts {
    /// The name in our configuration, never what the server reports.
    pub name: String,
    pub vendor: Option<String>,
    /// Of the catalogs that say what its tools do; absent where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<Digest>,
}

/// Methods that can change upstream state or carry data out: they are never passed on without a decision.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Decided {
    ToolsCall,
    ResourcesRead,
    ResourcesSubscribe,
    PromptsGet,
    Complete,
    /// Opens a stream of notifications: it names resources and tasks.
    Listen,
    /// Input for a task that a call has become.
    TasksUpdate,
    /// The answer to a question of the server, named by the question.
    Elicited,
    Sampled,
    Roots,
    /// What came of a question that the client took as a task.
    TaskOutcome,
    /// A request of a server's process to its vendor's API. No client can send it.
    ApiRequest,
}

impl Decided {
    /// The client answers a request of the server: there is no answer to this one.
    pub fn is_answer(self) -> bool {
        matches!(self, Decided::Elicited | Decided::Sampled | Decided::Roots | Decided::TaskOutcome)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Decided::ToolsCall => "tools/call",
            Decided::ResourcesRead => "resources/read",
            Decided::ResourcesSubscribe => "resources/subscribe",
            Decided::PromptsGet => "prompts/get",
            Decided::Complete => "completion/complete",
            Decided::Listen => "subscriptions/listen",
            Decided::TasksUpdate => "tasks/update",
            Decided::Elicited => "elicitation/create",
            Decided::Sampled => "sampling/createMessage",
            Decided::Roots => "roots/list",
            Decided::TaskOutcome => "tasks/result",
            Decided::ApiRequest => "api/request",
        }
    }
}

/// What needs a decision, as the client made it: nearly always a `tools/call`, else another request or an answer to the
/// server. It holds no secret, and its message is the only form in which it can travel. Made only by `mcp`.
#[derive(Clone, Debug)]
pub struct ToolCall {
    id: CallId,
    method: Decided,
    tool: String,
    arguments: JsonText,
    params: JsonText,
    message: JsonText,
    /// Where `_meta` stands in the message.
    meta: Option<Range<usize>>,
}

impl ToolCall {
    /// `message` is the whole request; `params` its parameters without `_meta`; `arguments` the part that rules judge.
    pub(crate) fn new(
        id: CallId,
        method: Decided,
        tool: String,
        arguments: JsonText,
        params: JsonText,
        message: JsonText,
    ) -> ToolCall {
        let meta = message.view().get("params").and_then(|params| params.get("_meta"));
        let meta = meta.and_then(|meta| message.place(meta));
        ToolCall { id, method, tool, arguments, params, message, meta }
    }

    pub fn id(&self) -> &CallId {
        &self.id
    }

    pub fn method(&self) -> Decided {
        self.method
    }

    /// The tool; for other methods what they address: a resource's URI, a prompt's name, a completion's reference, a
    /// task, method and path of a request to an API; else the method.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    pub fn arguments(&self) -> &JsonText {
        &self.arguments
    }

    /// Everything decisive that travels: all parameters but `_meta`.
    pub fn params(&self) -> &JsonText {
        &self.params
    }

    /// `_meta`, which travels too.
    pub fn meta(&self) -> Option<Json<'_>> {
        self.message.at(self.meta.clone()?)
    }

    /// What the client answers to questions of an earlier answer of the server, by the names of the questions.
    pub fn responses(&self) -> Option<Json<'_>> {
        self.params.view().get("inputResponses")
    }

    /// The request as it will be sent.
    pub fn message(&self) -> &JsonText {
        &self.message
    }

    /// What an approval binds: who asks, where, and every decisive byte, with keys in sorted order. The same call in
    /// another session of the same principal has the same digest; another spelling of a number has not.
    pub fn digest(&self, context: &CallContext) -> Digest {
        let mut params = String::with_capacity(self.params.as_str().len());
        self.params.view().write_sorted(&mut params);
        let definition = context.tool.definition.map(|digest| digest.to_string()).unwrap_or_default();
        Digest::of_fields(
            "countersign.call/v1",
            &[
                context.principal.name.as_bytes(),
                context.server.name.as_bytes(),
                context.environment.name.as_bytes(),
                self.method.as_str().as_bytes(),
                self.tool.as_bytes(),
                params.as_bytes(),
                definition.as_bytes(),
            ],
        )
    }
}

/// Everything around a call that rules may ask about.
#[derive(Clone, Debug)]
pub struct CallContext {
    pub session: String,
    pub principal: Arc<Principal>,
    pub client: Arc<ClientInfo>,
    pub server: Arc<ServerFacts>,
    pub environment: Arc<Environment>,
    pub tool: ToolFacts,
    pub operation: Operation,
    /// Where the session works already. Set by the gate alone.
    pub bound: Bound,
    /// Words in the call that say that somebody agreed to it. The gate alone says which of them the server has issued.
    pub confirmations: Vec<Confirmation>,
    /// The call that was let through before and that this one follows from, or whose code asks for it. Set by the gate
    /// alone.
    pub continues: Option<CallId>,
    /// What was let through lately, where rules ask for it: an object. Set by the gate alone.
    pub history: Option<JsonText>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    Allow,
    Deny,
    Hold,
}

/// How much friction an approval needs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Low,
    Medium,
    High,
}

/// A rule that spoke.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RuleHit {
    pub rule: String,
    pub reason: String,
    /// The package, without `countersign.policy.`.
    pub policy: String,
    pub file: String,
    /// Of the rule's head; 0 where it is not known.
    pub line: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<JsonText>,
    /// What it asks for, of a rule that is observed and not enforced; a failure counts as deny.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would: Option<Effect>,
}

/// What policy answers. Made only by `policy::combine`.
#[must_use]
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Decision {
    pub effect: Effect,
    pub reason: String,
    /// The rules behind the effect, the strictest first.
    pub rules: Vec<RuleHit>,
    pub tier: Tier,
    pub approvals: u8,
    /// How long a hold may last; absent: the configured time.
    pub ttl_seconds: Option<u32>,
    /// JSON pointers into the policy input whose values the operator types.
    pub confirm_with: Vec<String>,
    pub grantable: bool,
    /// Pointers whose values are not shown outside the console.
    pub redact: Vec<String>,
    pub policy_version: String,
    /// What policies in mode `warn` or `shadow` would have said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<RuleHit>,
}

/// How a call ended that was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Policy said no.
    Denied,
    /// The arguments are not what the tool takes.
    Invalid,
    /// The operator said no.
    Rejected,
    /// The hold's time ended.
    Expired,
    /// No console was there.
    Unattended,
    /// The client took it back or went away.
    Withdrawn,
    /// Policy or the store failed.
    Unavailable,
    /// A limit was reached.
    Overloaded,
    ShuttingDown,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Denied => "denied",
            Outcome::Invalid => "invalid",
            Outcome::Rejected => "rejected",
            Outcome::Expired => "expired",
            Outcome::Unattended => "unattended",
            Outcome::Withdrawn => "withdrawn",
            Outcome::Unavailable => "unavailable",
            Outcome::Overloaded => "overloaded",
            Outcome::ShuttingDown => "shutting_down",
        }
    }
}

/// The answer for a call that is not sent. Anyone may make one: saying no needs no proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub outcome: Outcome,
    pub call: Option<CallId>,
    pub rule: Option<String>,
    /// For the client: no policy source, no path, no secret.
    pub reason: String,
    /// The operator can still approve until then, and one identical call would pass.
    pub open_until: Option<String>,
}

impl Refusal {
    pub fn new(outcome: Outcome, reason: impl Into<String>) -> Refusal {
        Refusal { outcome, call: None, rule: None, reason: reason.into(), open_until: None }
    }

    pub fn of(self, call: &CallId) -> Refusal {
        Refusal { call: Some(call.clone()), ..self }
    }
}
