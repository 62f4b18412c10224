//! What operators and the daemon say to each other: one JSON object a line, at most [`MAX_LINE`] bytes, version
//! [`VERSION`]. Unknown fields and unknown commands are refused.
//!
//! An operator first sends [`Command::Hello`]; the daemon answers [`Notice::Welcome`]. Every other command carries a
//! number that its answer repeats. What answers show, holds above all, is in `view`.
//!
//! The daemon asks every attached console now and then whether it is there ([`Notice::Ping`]), and who does not answer with
//! [`Command::Alive`] does not count as attached until it says something again. Holds of a snapshot come one by one
//! ([`Notice::Listed`]). Both are seen to by this program's own client, and by nobody behind it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::call::{CallId, Digest, Environment};

mod view;

pub use view::{
    Approvals, Before, CallLine, ChainView, Claimed, Confirm, DefinitionView, Excerpt, ExcerptLine, Frozen,
    GRANT_SCHEMA, GrantView, HOLD_SCHEMA, HoldState, HoldView, RecordView, RuleView, SESSION_SCHEMA, SameCall,
    SessionView, Size, TOOL_SCHEMA, ToolView,
};

pub const VERSION: u32 = 7;
/// How long a claim lasts.
pub const CLAIM_SECONDS: u32 = 60;
/// Rulings in one batch.
pub const MAX_BATCH: usize = 20;
/// Longest line of the daemon's. A hold with all that is shown of it fits: what would show more is refused before it is held.
pub const MAX_LINE: usize = 16 << 20;

/// What a name of an operator's own is made of.
pub const OPERATOR_NAME: &str = "1 to 32 ASCII letters, digits and . _ - @ +";

/// Whether an operator may be called so. Nothing in it can pass for the account that stands beside it.
pub fn is_operator_name(name: &str) -> bool {
    let taken = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@+".contains(&byte);
    (1..=32).contains(&name.len()) && name.bytes().all(taken)
}

/// From the operator.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// First line. `watch`: send a snapshot now and every change from here on. Somebody who watches without
    /// `read_only` counts as an attached console, for as long as it answers.
    Hello {
        version: u32,
        watch: bool,
        read_only: bool,
        /// What the operator wants to be called, as [`is_operator_name`] has it: for claims, screens and records, beside
        /// the account. It proves nothing.
        #[serde(default)]
        name: Option<String>,
    },
    /// Answers a ping. No answer follows.
    Alive,
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
    /// Lets a hold wait for a ruling again that expired, was unattended or was withdrawn: its client is gone, and an
    /// approval counts for one identical retry. `digest` has to be the hold's.
    Reopen {
        seq: u64,
        id: CallId,
        digest: Digest,
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
            | Command::Reopen { seq, .. }
            | Command::Freeze { seq, .. }
            | Command::RuleSession { seq, .. }
            | Command::Grant { seq, .. }
            | Command::RevokeGrant { seq, .. }
            | Command::RuleTool { seq, .. } => Some(*seq),
            Command::Hello { .. }
            | Command::Alive
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
    /// Is anybody there? `Alive` answers.
    Ping {},
    /// One hold of the snapshot that follows: together they could be too long for a line.
    Listed {
        hold: Box<HoldView>,
    },
    /// The whole truth; replaces whatever the operator's side knew. Answers `List` (with its `seq`), follows a
    /// `Hello` that watches, and follows whenever a watcher was too slow for single changes.
    Snapshot {
        seq: Option<u64>,
        /// On the wire there are none: they were listed before, and the client puts them here.
        holds: Vec<HoldView>,
        daemon: Daemon,
    },
    /// A hold is new or has changed (state, approvals). Sent to watchers.
    Hold {
        hold: Box<HoldView>,
    },
    /// Answers `Show`, `Claim`, `TakeBack` and `Reopen`.
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

impl Notice {
    /// The number of the command that this answers.
    pub fn answers(&self) -> Option<u64> {
        match self {
            Notice::Snapshot { seq, .. } | Notice::Failed { seq, .. } => *seq,
            Notice::Shown { seq, .. }
            | Notice::Ruled { seq, .. }
            | Notice::RuledBatch { seq, .. }
            | Notice::Tools { seq, .. }
            | Notice::Tool { seq, .. }
            | Notice::Frozen { seq, .. }
            | Notice::Sessions { seq, .. }
            | Notice::Grants { seq, .. }
            | Notice::Draft { seq, .. }
            | Notice::Records { seq, .. }
            | Notice::Rules { seq, .. }
            | Notice::Explained { seq, .. } => Some(*seq),
            Notice::Welcome { .. }
            | Notice::Ping {}
            | Notice::Listed { .. }
            | Notice::Hold { .. }
            | Notice::Daemon { .. } => None,
        }
    }
}

/// Why a command had no effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// Not a command of this version.
    Malformed,
    /// There is no such hold.
    NotFound,
    /// Nothing that could change so: the tool is not pinned, or is; the hold cannot wait again.
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
    /// What is probably a mistake in the policies in use: names that no server has.
    #[serde(default)]
    pub policy_warnings: Vec<String>,
    pub consoles: usize,
    /// Where its HTTP front listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
    /// Who is attached with a console, each connection once.
    #[serde(default)]
    pub operators: Vec<String>,
    #[serde(default)]
    pub frozen: Option<Frozen>,
    /// Keys that somebody may be guessing: what servers say with a piece of one is kept back.
    #[serde(default)]
    pub guessed: Vec<String>,
    /// Rulings on at least one production server are accepted without a signature.
    pub unsigned_rulings: bool,
    /// The configuration lets policies of the operator allow whatever no rule denies.
    #[serde(default)]
    pub unsafe_default_allow: bool,
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
    /// Of a server that is signed in to.
    pub sign_in: Option<SignInView>,
}

/// How a server is signed in to. Nothing of a token is in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignInView {
    pub state: SignInState,
    /// Countersign signs in, and no person.
    pub by_itself: bool,
    /// When the token ends, where that was said, and whether another follows by itself.
    pub until: Option<String>,
    pub renewed: bool,
    /// Why it is needed, or has failed.
    pub reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInState {
    /// `countersign auth login SERVER`.
    Needed,
    SignedIn,
    /// There is no token; Countersign goes on trying.
    Failed,
    /// By itself, and not yet asked for.
    Begins,
}
