//! The words of plain mode: what `help` says of them, and which of them does what each key of the screen does.

use crate::console::keys::Action;

/// What `help` says. A line that ends with `stand for` is followed by the reasons at hand.
pub const HELP: [&str; 36] = [
    "approve, reject: rules on the call that is asked about. An approval may ask for more; nothing short of a whole word counts.",
    "reject all: the calls that are alike too, by one reason. reject pause: pauses the session as well. reject ID ID: these.",
    "yes answers a question of tier medium, of a grant, of calls at once and of whatever stops something.",
    "details, details ID: reads a call out, all of it. skip: leaves it for later.",
    "list: the calls that wait and those that ended lately. list all: every one. list WORDS: those that a filter takes, as env:live.",
    "raw, diff, session, result, each with or without ID: what is sent as it is, what is different from the call that was",
    "approved before, the client's last calls, what is recorded of it. None of them counts as having read the call.",
    "why: the rule's text for the call that is asked about, and which of its lines held.",
    "note TEXT: a note for the record, which goes with an approval of the call that is asked about. note alone: none.",
    "claim, release: says that you look after the call that is asked about, or no longer. claim steal: also from somebody else.",
    "undo: takes your last approval back while it has not left. undo ID: an approval of anybody's.",
    "reopen ID: lets a call that expired, was unattended or withdrawn wait again. An approval then counts for one identical retry.",
    "grant USES MINUTES [less /POINTER] [any /POINTER]: approves the call and as many like it; a number at a pointer may be",
    "less, a text at one may be anything. You are read the grant before it is made.",
    "batch ID ID: approves calls of tier low that are alike at once, where the configuration has holds.batches. You are read each.",
    "draft, draft ID: writes a rule from a call, and its test, into a folder that nobody loads. draft edit: opens it as well.",
    "edit, edit ID: opens the rule that held a call in your editor (VISUAL, EDITOR). edit RULE: one that rules has named.",
    "export, export ID: writes a call into a file here. export history: the records that were looked through and that the",
    "filter of history takes.",
    "grants: the grants in force, with their terms. revoke ID [REASON]: ends one.",
    "freeze [REASON]: holds everything that is not a read and rejects what waits. thaw [REASON]: no longer.",
    "sessions: who is connected. sessions ID: one of them, with its last calls.",
    "pause ID, resume ID, end ID, each with or without REASON: a session.",
    "history: the last records. history WORDS: the last ones that a filter takes, as kind:ruled server:stripe.",
    "older: those before them. same: the last records of the operation of the call that is asked about.",
    "rules: what the rules did in the last day, and what those that are only watched would have done.",
    "status: the daemon, who else watches, and how the chain of the records is.",
    "mute: no bell for 15 minutes, but for tier high. Again: it rings.",
    "Reasons for a rejection: 1 to 5 stand for",
    "back: leaves a question without an answer. The call stays held.",
    "help: this. help WORD: the lines of it that have the word.",
    "quit: leaves. Calls that wait stay held.",
    "A call is named by its id, or by the start of it. Filters are those of the screen: words, field:value, and ! for not.",
    "The riskiest call that waits is read out first, and of two the one whose time is over first.",
    "Ctrl-Z suspends, as everywhere in a shell.",
    "Nothing is approved by Enter, by the end of the input, or by what was typed before the question.",
];

/// How plain mode does what an action of the screen does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plain {
    /// By these words, which are commands.
    Words(&'static [&'static str]),
    /// By this word, in answer to a question.
    Answer(&'static str),
    /// By no word, and why none is needed.
    Needless(&'static str),
}

/// Every action of the table of keys has a word, or a reason to have none: nobody has to see a screen to do anything.
pub fn in_plain(action: Action) -> Plain {
    use crate::console::keys::Page;
    use Plain::{Answer, Needless, Words};
    const SCROLLING: &str = "nothing is scrolled or folded: a call is read out to its end, what is long by details";
    const LINE: &str = "the terminal's own line is edited, and Enter ends it";
    const CURSOR: &str = "there is no cursor: calls, sessions, grants, records and rules are named";
    const BOUNDS: &str = "how far a grant goes stands in the line of grant";
    match action {
        Action::Next | Action::NextMatch => Words(&["skip"]),
        Action::Previous | Action::PreviousMatch => Words(&["details"]),
        Action::First | Action::Last => Needless(CURSOR),
        Action::LineDown
        | Action::LineUp
        | Action::HalfDown
        | Action::HalfUp
        | Action::PageDown
        | Action::PageUp
        | Action::Fold
        | Action::Unfold
        | Action::Wrap => Needless(SCROLLING),
        Action::Open => Words(&["details"]),
        Action::Back => Answer("back"),
        Action::Go(Page::Queue) => Words(&["list"]),
        Action::Go(Page::History) => Words(&["history", "older"]),
        Action::Go(Page::Sessions) => Words(&["sessions", "grants"]),
        Action::Go(Page::Policy) => Words(&["rules"]),
        Action::NextPage | Action::PreviousPage => Needless("there are no screens: each has a word of its own"),
        Action::View => Words(&["raw", "diff", "session", "result"]),
        Action::Rule => Words(&["why"]),
        Action::SameTool => Words(&["same"]),
        Action::Copy => Needless("the id and the digest are read out with the call, where the terminal can take them"),
        Action::Mute => Words(&["mute"]),
        Action::Suspend => Needless("the terminal's own key suspends, because no screen stands in its way"),
        Action::SortIn | Action::Follow => Needless("the riskiest call that waits is always the next one"),
        Action::Filter => Words(&["list", "history"]),
        Action::Palette => Words(&["help"]),
        Action::OpenRule => Words(&["edit"]),
        Action::Draft => Words(&["draft"]),
        Action::Export => Words(&["export"]),
        Action::Approve => Words(&["approve"]),
        Action::Reject => Words(&["reject"]),
        Action::RejectAndPause => Words(&["reject"]),
        Action::Claim => Words(&["claim"]),
        Action::Release => Words(&["release"]),
        Action::Mark => Words(&["batch", "reject"]),
        Action::Unmark => Needless("nothing stays marked: batch and reject name the calls that they are about"),
        Action::TakeBack => Words(&["undo"]),
        Action::Ticket => Words(&["reopen", "approve"]),
        Action::Freeze => Words(&["freeze", "thaw"]),
        Action::Pause => Words(&["pause", "resume"]),
        Action::End => Words(&["end"]),
        Action::Revoke => Words(&["revoke"]),
        Action::Mouse => Needless("no line listens to the mouse: the terminal has it, and selects text"),
        Action::Help => Words(&["help"]),
        Action::Redraw => Words(&["status"]),
        Action::Quit => Words(&["quit"]),
        Action::Yes => Answer("yes"),
        Action::Grant => Words(&["grant"]),
        Action::Note => Words(&["note"]),
        Action::Enter | Action::Erase | Action::Clear => Needless(LINE),
        Action::Forward | Action::Backward => Needless("the values are asked for one after another"),
        Action::Toggle | Action::More | Action::Fewer | Action::Longer | Action::Shorter => Needless(BOUNDS),
        Action::Preset(_) => Answer("1"),
    }
}
