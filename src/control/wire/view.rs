//! What operators see: holds, sessions, grants, records, rules and tools, each complete in itself. Data only; what a
//! command line prints with `-o json` is these as well.

use serde::{Deserialize, Serialize};

use crate::call::{
    CallId, Class, ClientInfo, Confirmation, Digest, Environment, Magnitude, Money, Outcome, Pin, Reach, RuleHit, Tier,
};
use crate::json::JsonText;

pub const HOLD_SCHEMA: &str = "countersign.hold/v1";
pub const TOOL_SCHEMA: &str = "countersign.tool/v1";
pub const SESSION_SCHEMA: &str = "countersign.session/v1";
pub const GRANT_SCHEMA: &str = "countersign.grant/v1";

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
    /// How much it wants: money, and whatever else is counted. Only what the call spells, and shortly.
    #[serde(default)]
    pub sizes: Vec<Size>,
}

/// How much a call wants of something.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// As spelled in the call.
    pub value: String,
    /// The currency, else `minor` or `major` of money; `percent`, `count`, ... of the rest.
    pub unit: String,
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
    /// Decisions beside which it spoke while its policy was only watched, in mode `warn` or `shadow`.
    #[serde(default)]
    pub watched: u64,
    /// Those of them that it would have held, and that were let through.
    #[serde(default)]
    pub would_hold: u64,
    /// Those of them that it would have denied, and that were let through or held.
    #[serde(default)]
    pub would_deny: u64,
    /// Those of them that it would have allowed, and that were denied since nothing allowed them.
    #[serde(default)]
    pub may_allow: u64,
    /// Those of them that an older version recorded, which did not say what the rule asked for.
    #[serde(default)]
    pub unknown: u64,
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
    /// The upstream answered an approved call: `ok`, `tool_error`, `error`, `kept_back` or `outcome_unknown`.
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
    /// How much besides money.
    #[serde(default)]
    pub magnitude: Option<Magnitude>,
    /// Money and magnitude do not say how much the call does.
    #[serde(default)]
    pub unmeasured: bool,
    /// Where the arguments want it to take effect; absent where they name no place.
    #[serde(default)]
    pub reach: Option<Reach>,
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
    /// The call of the same tool and operation on this server that was approved last, since the daemon started.
    #[serde(default)]
    pub before: Option<Before>,
}

impl HoldView {
    /// It is a call of a tool that ended without a ruling, so that it may wait for one again. The daemon has the last word:
    /// nothing may have been released by it, and it has to be what would be judged now.
    pub fn may_wait_again(&self) -> bool {
        let ended = matches!(
            self.state,
            HoldState::Closed { outcome: Outcome::Expired | Outcome::Unattended | Outcome::Withdrawn, .. }
        );
        ended && self.method == "tools/call"
    }
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
