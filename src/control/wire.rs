//! What operators and the daemon say to each other: one JSON object a line, at most [`MAX_LINE`] bytes, version
//! [`VERSION`]. Unknown fields and unknown commands are refused.
//!
//! An operator first sends [`Command::Hello`]; the daemon answers [`Notice::Welcome`]. Every other command carries a
//! number that its answer repeats.

use serde::{Deserialize, Serialize};

use crate::call::{CallId, Class, ClientInfo, Confirmation, Digest, Environment, Money, Outcome, Pin, RuleHit, Tier};
use crate::json::JsonText;

pub const VERSION: u32 = 3;
pub const HOLD_SCHEMA: &str = "countersign.hold/v1";
pub const TOOL_SCHEMA: &str = "countersign.tool/v1";
pub const SESSION_SCHEMA: &str = "countersign.session/v1";
pub const GRANT_SCHEMA: &str = "countersign.grant/v1";
/// How long a claim lasts.
pub const CLAIM_SECONDS: u32 = 60;
/// Rulings in one batch.
pub const MAX_BATCH: usize = 20;
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
    /// Approves several holds of one group at once, where the configuration lets it: all of tier low, and alike in
    /// server, environment, tool, operation, rule and principal. Otherwise none of them. Each gets a ruling of its own.
    RuleBatch {
        seq: u64,
        /// At most [`MAX_BATCH`].
        holds: Vec<BatchItem>,
        reason: Option<String>,
    },
    /// Says that this operator looks after a hold, for [`CLAIM_SECONDS`]; again: for as long once more. Others may still
    /// rule. `steal`: also where somebody else has claimed it. `off`: gives it back.
    Claim {
        seq: u64,
        id: CallId,
        #[serde(default)]
        steal: bool,
        #[serde(default)]
        off: bool,
    },
    /// Takes an approval back that has not left yet: the hold waits for a ruling again.
    TakeBack {
        seq: u64,
        id: CallId,
    },
    /// From here on every call that is not a read is held, and whatever waits is rejected; or no longer.
    Freeze {
        seq: u64,
        on: bool,
        reason: Option<String>,
    },
    /// The sessions that are open, each with its last calls.
    Sessions {
        seq: u64,
    },
    /// What becomes of a session from here on.
    RuleSession {
        seq: u64,
        session: String,
        ruling: SessionRuling,
        reason: Option<String>,
    },
    /// The grants that are in force.
    Grants {
        seq: u64,
    },
    /// What a grant from this hold would be, before it is made.
    DraftGrant {
        seq: u64,
        id: CallId,
        bounds: GrantBounds,
    },
    /// Approves a hold, and calls like it for a while. `grant` has to be the text that `DraftGrant` has answered:
    /// what was read is what is made.
    Grant {
        seq: u64,
        id: CallId,
        digest: Digest,
        bounds: GrantBounds,
        grant: String,
        reason: Option<String>,
        #[serde(default)]
        signed: Option<SignedBy>,
    },
    RevokeGrant {
        seq: u64,
        grant: CallId,
        reason: Option<String>,
    },
    /// Records, newest first: at most `limit` (1 to 500) of before `before`, where it is named.
    Records {
        seq: u64,
        before: Option<u64>,
        limit: u16,
        /// Of one call.
        #[serde(default)]
        call: Option<CallId>,
    },
    /// What the rules did lately.
    Rules {
        seq: u64,
    },
    /// The rules behind a hold, line by line.
    Explain {
        seq: u64,
        id: CallId,
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

impl Command {
    /// The number of a command that changes something: a connection that may only watch has none of these obeyed.
    pub fn changes(&self) -> Option<u64> {
        match self {
            Command::Rule { seq, .. }
            | Command::RuleBatch { seq, .. }
            | Command::Claim { seq, .. }
            | Command::TakeBack { seq, .. }
            | Command::Freeze { seq, .. }
            | Command::RuleSession { seq, .. }
            | Command::Grant { seq, .. }
            | Command::RevokeGrant { seq, .. }
            | Command::RuleTool { seq, .. } => Some(*seq),
            Command::Hello { .. }
            | Command::List { .. }
            | Command::Show { .. }
            | Command::Sessions { .. }
            | Command::Grants { .. }
            | Command::DraftGrant { .. }
            | Command::Records { .. }
            | Command::Rules { .. }
            | Command::Explain { .. }
            | Command::Tools { .. }
            | Command::Tool { .. } => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionRuling {
    /// Its calls are refused, and those that wait are rejected, until it is resumed.
    Pause,
    Resume,
    /// It is over.
    End,
}

/// How far a grant may go. The daemon's own bounds are narrower where they are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantBounds {
    /// JSON pointers into the arguments, for example `/amount`: a number there may be less, but not negative or zero.
    /// Every other argument has to be the same.
    #[serde(default)]
    pub at_most: Vec<String>,
    /// JSON pointers into the arguments whose value may be any string, for example `/reason`.
    #[serde(default)]
    pub any: Vec<String>,
    /// Calls beside the one that it is made from.
    pub uses: u32,
    pub seconds: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolRuling {
    Pin,
    Unpin,
    Forget,
}

/// One ruling of a batch. `digest` has to be the hold's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchItem {
    pub id: CallId,
    pub digest: Digest,
    #[serde(default)]
    pub signed: Option<SignedBy>,
}

/// What one ruling of a batch came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BatchResult {
    Ruled { hold: Box<HoldView> },
    Failed { id: CallId, error: Failure, message: String },
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
    /// Answers `Show`, `Claim` and `TakeBack`.
    Shown {
        seq: u64,
        hold: Box<HoldView>,
    },
    /// Answers `Rule` and `Grant`: the ruling took effect. `hold` as it is now.
    Ruled {
        seq: u64,
        hold: Box<HoldView>,
    },
    /// Answers `RuleBatch` that was not refused as a whole: one result for each hold, in its order.
    RuledBatch {
        seq: u64,
        results: Vec<BatchResult>,
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
    /// Answers `Freeze`.
    Frozen {
        seq: u64,
        daemon: Daemon,
    },
    /// Answers `Sessions`, and `RuleSession` that took effect.
    Sessions {
        seq: u64,
        sessions: Vec<SessionView>,
    },
    /// Answers `Grants`, and `RevokeGrant` that took effect.
    Grants {
        seq: u64,
        grants: Vec<GrantView>,
    },
    /// Answers `DraftGrant`. `text` says all of it, one condition a line, in the order of the arguments.
    Draft {
        seq: u64,
        text: String,
    },
    /// Answers `Records`.
    Records {
        seq: u64,
        records: Vec<RecordView>,
        chain: ChainView,
    },
    /// Answers `Rules`.
    Rules {
        seq: u64,
        rules: Vec<RuleView>,
    },
    /// Answers `Explain`.
    Explained {
        seq: u64,
        excerpts: Vec<Excerpt>,
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
    /// Who is attached with a console, each connection once.
    #[serde(default)]
    pub operators: Vec<String>,
    #[serde(default)]
    pub frozen: Option<Frozen>,
    /// Rulings on at least one production server are accepted without a signature.
    pub unsigned_rulings: bool,
    /// Several holds of one group may be approved at once.
    #[serde(default)]
    pub batches: bool,
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

/// Who has frozen everything that is not a read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frozen {
    pub by: String,
    pub at: String,
    pub reason: Option<String>,
}

/// An open session of a client: `countersign.session/v1`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionView {
    pub schema: String,
    pub session: String,
    pub server: String,
    pub environment: Environment,
    pub principal: String,
    /// What the client says of itself, and what the kernel says of it.
    pub client: ClientInfo,
    pub since: String,
    pub paused: Option<Frozen>,
    pub calls: u64,
    pub allowed: u64,
    pub held: u64,
    pub denied: u64,
    pub in_flight: usize,
    /// Newest first.
    pub last: Vec<CallLine>,
}

/// A call in one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallLine {
    pub id: CallId,
    pub at: String,
    pub operation: String,
    /// `allow`, `deny` or `hold`.
    pub effect: String,
    /// What became of it, where something has: `ok`, `tool_error`, `rejected`, `expired`, ...
    pub result: Option<String>,
    pub rule: Option<String>,
    pub digest: Digest,
}

/// A grant: `countersign.grant/v1`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantView {
    pub schema: String,
    pub id: CallId,
    /// The hold that it was made from.
    pub hold: CallId,
    pub server: String,
    pub environment: Environment,
    pub principal: String,
    pub tool: String,
    pub operation: String,
    /// What a call has to be, as it was shown before it was made.
    pub text: String,
    pub by: String,
    pub at: String,
    pub until: String,
    pub uses: u32,
    pub used: u32,
}

/// A record of the audit, in the words of `audit tail`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordView {
    pub seq: u64,
    pub at: String,
    pub call: Option<CallId>,
    pub kind: String,
    pub words: String,
    pub server: Option<String>,
    pub environment: Option<String>,
    pub principal: Option<String>,
    pub session: Option<String>,
    pub operation: Option<String>,
    pub rule: Option<String>,
    pub operator: Option<String>,
}

/// What is known of the audit's chain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainView {
    pub records: u64,
    /// The hash of the newest.
    pub head: Option<Digest>,
    /// Whether the records of this answer follow one another, and are what their hashes say.
    pub intact: bool,
}

/// What a rule did in the last day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleView {
    pub rule: String,
    pub policy: String,
    pub file: Option<String>,
    pub line: Option<u32>,
    /// Decisions that name it.
    pub hits: u64,
    pub holds: u64,
    pub approved: u64,
    pub rejected: u64,
    /// Ended without a ruling.
    pub lapsed: u64,
    /// Median time from the hold to the ruling.
    pub median_ms: Option<u64>,
    pub last: Option<String>,
    /// What an author might do about it.
    pub hint: Option<String>,
}

/// A part of a policy's text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excerpt {
    pub rule: String,
    pub file: String,
    pub lines: Vec<ExcerptLine>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExcerptLine {
    pub number: u32,
    pub text: String,
    /// The line was evaluated and held.
    pub held: bool,
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
        /// Until then the approval can be taken back, and nothing has left.
        leaves_at: Option<String>,
    },
    Rejected {
        by: String,
        at: String,
        reason: String,
    },
    /// What was shown is not what would be judged now: policy, the tool or its pin have changed. To the client the call
    /// is `denied`.
    Stale {
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
    /// How often an approval of it was taken back. From the first time on it is part of what is signed, so that no
    /// signature counts again.
    #[serde(default)]
    pub taken_back: u32,
    /// Identical requests that wait behind this hold. An approval releases one of them.
    pub waiting: usize,
    /// Another hold or an executed call with the same digest: its id and what became of it.
    pub same_as: Vec<SameCall>,
    /// Who looks after it.
    #[serde(default)]
    pub claimed: Option<Claimed>,
    /// When the client is thought to give up: an estimate.
    #[serde(default)]
    pub client_waits_until: Option<String>,
    /// Whether a grant may be made from it.
    #[serde(default)]
    pub grantable: bool,
    /// The call of the same tool and operation on this server that was approved last.
    #[serde(default)]
    pub before: Option<Before>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    pub by: String,
    pub at: String,
    pub until: String,
}

/// An approved call to compare with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    pub id: CallId,
    pub at: String,
    pub by: String,
    /// Complete and exact; absent where they are too long to be kept.
    pub arguments: Option<JsonText>,
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
