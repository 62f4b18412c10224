//! What operators and the daemon say to each other: one JSON object a line, at most [`MAX_LINE`] bytes, version
//! [`VERSION`]. Unknown fields and unknown commands are refused.
//!
//! An operator first sends [`Command::Hello`]; the daemon answers [`Notice::Welcome`]. Every other command carries a
//! number that its answer repeats.

use serde::{Deserialize, Serialize};

use crate::call::{CallId, Class, ClientInfo, Confirmation, Digest, Environment, Money, Outcome, Pin, RuleHit, Tier};
use crate::json::JsonText;

pub const VERSION: u32 = 2;
pub const HOLD_SCHEMA: &str = "countersign.hold/v1";
pub const TOOL_SCHEMA: &str = "countersign.tool/v1";
/// Longest line in either direction: a hold with its complete parameters has to fit, escaped.
pub const MAX_LINE: usize = 16 << 20;

/// From the operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// First line. `watch`: send a snapshot now and every change from here on. Somebody who watches without
    /// `read_only` counts as an attached console.
    Hello {
        version: u32,
        watch: bool,
        read_only: bool,
    },
    /// All pending holds, and the holds that closed lately.
    List {
        seq: u64,
    },
    Show {
        seq: u64,
        id: CallId,
    },
    /// A ruling. `digest` has to be the hold's.
    Rule {
        seq: u64,
        id: CallId,
        digest: Digest,
        ruling: RulingKind,
        reason: Option<String>,
        /// Who has signed the ruling's text, and how.
        #[serde(default)]
        signed: Option<SignedBy>,
    },
    /// The tools of a server that are remembered, without the texts of their definitions.
    Tools {
        seq: u64,
        server: String,
    },
    /// One tool, with its definitions.
    Tool {
        seq: u64,
        server: String,
        tool: String,
    },
    /// Trusts a definition of a tool, or no longer. `digest` has to be the definition's, and is absent otherwise.
    RuleTool {
        seq: u64,
        server: String,
        tool: String,
        ruling: ToolRuling,
        digest: Option<Digest>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolRuling {
    Pin,
    Unpin,
    Forget,
}

/// An OpenSSH signature of an operator's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBy {
    /// The name in the list of operators.
    pub operator: String,
    /// Armoured.
    pub signature: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RulingKind {
    Approve,
    Reject,
}

/// From the daemon: an object with one member, named like the notice. No tag inside: a tagged notice would be read
/// through serde's own buffer, which cannot keep the exact text of arguments.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Notice {
    Welcome {
        version: u32,
        operator: String,
        daemon: Daemon,
    },
    /// The whole truth; replaces whatever the operator's side knew. Answers `List` (with its `seq`), follows a
    /// `Hello` that watches, and follows whenever a watcher was too slow for single changes.
    Snapshot {
        seq: Option<u64>,
        holds: Vec<HoldView>,
        daemon: Daemon,
    },
    /// A hold is new or has changed (state, approvals). Sent to watchers.
    Hold {
        hold: Box<HoldView>,
    },
    /// Answers `Show`.
    Shown {
        seq: u64,
        hold: Box<HoldView>,
    },
    /// Answers `Rule`: the ruling took effect. `hold` as it is now.
    Ruled {
        seq: u64,
        hold: Box<HoldView>,
    },
    /// Answers `Tools`.
    Tools {
        seq: u64,
        tools: Vec<ToolView>,
    },
    /// Answers `Tool`, and `RuleTool` that took effect: the tool as it is now, or as it was before it was forgotten.
    Tool {
        seq: u64,
        tool: Box<ToolView>,
    },
    /// Something about the daemon changed (policy reloaded or refused, consoles attached).
    Daemon {
        daemon: Daemon,
    },
    /// Answers any command that had no effect.
    Failed {
        seq: Option<u64>,
        error: Failure,
        message: String,
    },
}

/// Why a command had no effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Not a command of this version.
    Malformed,
    /// There is no such hold.
    NotFound,
    /// Nothing that could change so: the tool is not pinned, or is.
    NotSo,
    /// The hold is closed: somebody ruled, or it expired, or the client withdrew.
    Closed,
    /// The digest is not the hold's, or not that of a definition of the tool.
    WrongDigest,
    /// This server needs a signed ruling.
    SignatureRequired,
    /// The signature does not count.
    BadSignature,
    /// This connection may only watch.
    ReadOnly,
    /// The ruling could not be recorded, so it did not count.
    Unavailable,
}

/// The daemon, for the header line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Daemon {
    pub version: String,
    /// Names the daemon's record: rulings that are signed name it.
    pub instance: Digest,
    pub servers: Vec<ServerView>,
    pub policy_version: String,
    pub rules: usize,
    /// Why the last reload was refused, where it was.
    pub policy_error: Option<String>,
    pub consoles: usize,
    /// Rulings on at least one production server are accepted without a signature.
    pub unsigned_rulings: bool,
    pub records: u64,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerView {
    pub name: String,
    pub environment: Environment,
    pub production: bool,
    pub sessions: usize,
    /// Tools whose definition is no longer the pinned one, until an operator has ruled on them.
    pub tools_changed: usize,
    /// Tools that nobody has pinned.
    pub tools_unpinned: usize,
}

/// A tool as operators see it: `countersign.tool/v1`. Times are RFC 3339 in UTC.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolView {
    pub schema: String,
    pub server: String,
    pub tool: String,
    /// `match` (as pinned), `changed` or `unpinned`.
    pub pin: Pin,
    pub first_seen: String,
    pub pinned: Option<DefinitionView>,
    /// An operator, or `first use`.
    pub pinned_by: Option<String>,
    /// What was listed last and is not the pin.
    pub offered: Option<DefinitionView>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DefinitionView {
    pub digest: Digest,
    /// When it was pinned, or listed first.
    pub at: String,
    /// As the server wrote it; absent in lists of tools, and where it is too large to be kept.
    pub definition: Option<JsonText>,
}

/// Where a hold is in its life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "name")]
pub enum HoldState {
    /// Waits for a ruling. Where no request waits for it (`waiting` is 0), its client had to give up: an approval
    /// counts for one identical retry.
    Pending,
    /// Approved when no request waited: one identical call passes until then.
    Ticket {
        by: String,
        at: String,
        until: String,
    },
    /// Approved; the call is released or on its way.
    Approved {
        by: String,
        at: String,
    },
    Rejected {
        by: String,
        at: String,
        reason: String,
    },
    /// Ended without a ruling that counted.
    Closed {
        outcome: Outcome,
        at: String,
        reason: String,
    },
    /// The upstream answered an approved call: `ok`, `tool_error`, `error` or `outcome_unknown`.
    Done {
        by: String,
        at: String,
        result: String,
    },
}

impl HoldState {
    pub fn is_pending(&self) -> bool {
        matches!(self, HoldState::Pending)
    }
}

/// A hold as operators see it: `countersign.hold/v1`. Times are RFC 3339 in UTC.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldView {
    pub schema: String,
    pub id: CallId,
    pub state: HoldState,
    pub server: String,
    pub environment: Environment,
    /// Everything that is not a sandbox counts as production.
    pub production: bool,
    /// `tools/call` or another decided method.
    pub method: String,
    pub tool: String,
    /// The tool's definition digest, where the session has seen it listed.
    pub definition: Option<Digest>,
    /// Whether that is the definition which an operator trusts.
    pub pin: Pin,
    pub operation: String,
    pub class: Class,
    pub reversible: Option<bool>,
    pub money: Option<Money>,
    pub targets: Vec<String>,
    pub effect: Option<String>,
    /// Words in the call that say that somebody agreed to it, which no operator has.
    #[serde(default)]
    pub confirmations: Vec<Confirmation>,
    /// Complete and exact.
    pub arguments: JsonText,
    /// Whatever else travels in `params` beside name and arguments; absent where there is nothing.
    pub other_params: Option<JsonText>,
    /// `_meta` travels too and is not part of the digest.
    pub meta: Option<JsonText>,
    pub digest: Digest,
    pub rule: String,
    pub reason: String,
    /// Every rule behind the hold, with file and line.
    pub rules: Vec<RuleHit>,
    pub policy_version: String,
    pub tier: Tier,
    /// What the operator has to type: label (the pointer) and value, decoded.
    pub confirm: Vec<Confirm>,
    pub principal: String,
    pub client: ClientInfo,
    pub session: String,
    pub created_at: String,
    pub expires_at: String,
    pub approvals: Approvals,
    pub signature_required: bool,
    /// Identical requests that wait behind this hold. An approval releases one of them.
    pub waiting: usize,
    /// Another hold or an executed call with the same digest: its id and what became of it.
    pub same_as: Vec<SameCall>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The JSON pointer, for example `/arguments/amount`.
    pub pointer: String,
    pub value: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvals {
    pub need: u8,
    /// Operators that have approved so far.
    pub have: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SameCall {
    pub id: CallId,
    pub state: String,
}
