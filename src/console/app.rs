//! What the console knows: pure. Time comes in with events, so a test owns the clock; what is done about an event is in
//! `update`, and what a ruling takes in `ruling`.
//!
//! Invariants: a ruling is only ever made of a hold that is on the screen, whole, and was there before the key was
//! pressed; it names the hold by id and digest; whatever changes under an open question voids the question.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use crossterm::event::{KeyEvent, MouseEvent};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::layout::Rect;

use crate::call::CallId;
use crate::console::describe;
use crate::console::dialog::{ARMING, Dialog};
use crate::console::doc::{Doc, Layout};
use crate::console::draft::Draft;
use crate::console::filter::Filter;
use crate::console::guard::Guard;
use crate::console::holds::{Entry, Holds};
use crate::console::keymap::Keymap;
use crate::console::keys::{Action, Context, Page};
use crate::console::pages::{Asked, Pages};
use crate::console::rows::{Key, Rows};
use crate::console::sign::Signing;
use crate::console::sweep::Sweep;
use crate::console::tabs::Tab;
use crate::console::theme::Theme;
pub use crate::console::update::update;
use crate::control::wire::{Command, Daemon, Notice, RulingKind, SignedBy};

/// A ruling key that came too early keeps the others dead for so long: a key that is held down never counts.
const QUIET: Duration = Duration::from_secs(1);
/// How long a note stays.
const NOTE: Duration = Duration::from_secs(12);
/// After this an answer is not waited for any longer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// Smallest screen.
pub const MIN: (u16, u16) = (60, 16);

/// The two clocks: one that only goes forward, one that the daemon's times are compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    pub mono: Duration,
    pub wall: Timestamp,
}

/// Something happened, and when.
#[derive(Clone, Debug)]
pub struct Event {
    pub at: Now,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Key(KeyEvent),
    Mouse(MouseEvent),
    Paste(String),
    Resize(u16, u16),
    /// The screen now shows the app as it is, in its whole size.
    Drawn,
    Tick,
    Link(Box<Link>),
    /// What came of [`Effect::Sign`].
    Signed(u64, Result<SignedBy, String>),
    /// What came of [`Effect::Edit`], [`Effect::Draft`] or [`Effect::Export`], in words that have not passed the escape function.
    Did(Result<String, String>),
}

/// The connection to the daemon.
#[derive(Clone, Debug)]
pub enum Link {
    /// Connected; the list follows. Every connection has its own number.
    Up {
        number: u64,
        operator: String,
        daemon: Daemon,
    },
    Notice(Notice),
    Down {
        why: String,
    },
}

/// What the loop has to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Send a command, on this connection or on none.
    Send {
        connection: u64,
        command: Command,
    },
    /// Have the operator sign this text with their key, outside of the screen.
    Sign {
        seq: u64,
        signing: Signing,
        text: String,
    },
    Quit,
    /// Draw everything anew.
    Redraw,
    Bell,
    /// Put this on the clipboard: ASCII of ours.
    Copy(String),
    /// Show this line of a file in the operator's editor, outside of the screen.
    Edit {
        file: PathBuf,
        line: usize,
    },
    /// Write a new file of this name where the console was started.
    Export {
        name: String,
        text: String,
    },
    /// Write a draft where nobody loads it, and show it in the operator's editor; not where these are.
    Draft {
        draft: Box<Draft>,
        loaded: Vec<PathBuf>,
    },
    /// Stop this process until its shell goes on with it.
    Suspend,
    /// Have the terminal report the mouse, or leave it alone.
    Mouse(bool),
}

/// Whether the daemon can be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Connected, and the list has not come yet.
    Joining,
    Live,
    Lost {
        why: String,
        since: Duration,
    },
}

/// When what is on the screen got there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Screen {
    pub(super) drawn: Option<Duration>,
    pub(super) focus: Option<Duration>,
    pub(super) disturbed: Option<Duration>,
}

impl Screen {
    pub(super) fn since(&self, at: Duration, delay: Duration) -> bool {
        let shown = self.drawn.is_some_and(|drawn| at >= drawn + delay);
        shown && self.disturbed.is_none_or(|disturbed| at >= disturbed + QUIET)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    pub text: String,
    /// Something did not happen.
    pub bad: bool,
    pub(super) until: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub seq: u64,
    pub id: CallId,
    pub kind: RulingKind,
    pub since: Duration,
    /// It waits for its signature, on this connection.
    pub unsigned: Option<(u64, Command)>,
    /// What is asked for when it took effect: that the session is paused.
    pub then: Option<Command>,
}

/// Said where a rejection is given up that would have paused a session.
pub(super) const NOT_PAUSED: &str = "its session is NOT paused";

impl InFlight {
    /// What does not happen either where nothing has come of it.
    pub fn not_paused(&self) -> String {
        self.then.as_ref().map(|_| format!("; {NOT_PAUSED}")).unwrap_or_default()
    }
}

/// The document of the hold that is selected.
#[derive(Debug)]
pub struct Open {
    pub id: CallId,
    pub tab: Tab,
    /// Holds that are folded behind this one.
    pub alike: usize,
    pub doc: Doc,
    pub layout: Layout,
    pub(super) width: u16,
    pub(super) wrap: bool,
    pub scroll: usize,
    /// Columns of every text that lie to the left of the screen; none while long lines are wrapped.
    pub pan: usize,
}

#[derive(Debug)]
pub struct App {
    pub now: Now,
    pub zone: TimeZone,
    pub size: (u16, u16),
    pub theme: Theme,
    pub keys: Keymap,
    /// The terminal has nothing but ASCII.
    pub ascii: bool,
    /// This console may only watch.
    pub read_only: bool,
    pub mouse: bool,
    /// The daemon runs in this process: quitting ends it too.
    pub owns_daemon: bool,
    /// The operator's key, where one was named.
    pub signing: Option<Signing>,
    pub state: State,
    pub operator: String,
    pub daemon: Option<Daemon>,
    pub holds: Holds,
    pub rows: Rows,
    pub filter: Filter,
    /// Groups that are not folded.
    pub unfolded: HashSet<Key>,
    /// Holds that wait, which the next question is about.
    pub marked: BTreeSet<CallId>,
    pub follow: bool,
    pub page: Page,
    pub pages: Pages,
    pub tab: Tab,
    pub selected: Option<CallId>,
    /// First row of the list on the screen.
    pub top: usize,
    pub zoom: bool,
    /// Long lines of the detail are broken into rows.
    pub wrap: bool,
    pub open: Option<Open>,
    pub dialog: Option<Dialog>,
    pub note: Option<Note>,
    pub(super) connection: u64,
    pub(super) screen: Screen,
    pub(super) flight: Option<InFlight>,
    pub(super) seq: u64,
    /// Questions beside a ruling that wait for their answers, by number.
    pub(super) asked: Vec<(u64, Asked)>,
    /// Rejections that are confirmed and go out one after another.
    pub(super) sweep: Sweep,
    pub(super) guard: Guard,
    /// When the bell last rang.
    pub(super) rung: Option<Duration>,
    /// The bell is silent until then, but for tier high.
    pub(super) muted: Option<Duration>,
    /// When a key was last pressed.
    pub(super) touched: Duration,
    /// Row of the cursor in the list when the list was last put in order.
    pub(super) row: Option<usize>,
}

impl App {
    pub fn new(now: Now, size: (u16, u16), zone: TimeZone) -> App {
        App {
            now,
            zone,
            size,
            theme: Theme::default(),
            keys: Keymap::default(),
            ascii: false,
            read_only: false,
            mouse: true,
            owns_daemon: false,
            signing: None,
            state: State::Joining,
            operator: String::new(),
            daemon: None,
            holds: Holds::default(),
            rows: Rows::default(),
            filter: Filter::default(),
            unfolded: HashSet::new(),
            marked: BTreeSet::new(),
            follow: false,
            page: Page::Queue,
            pages: Pages::default(),
            tab: Tab::Pretty,
            selected: None,
            top: 0,
            zoom: false,
            wrap: true,
            open: None,
            dialog: None,
            note: None,
            connection: 0,
            screen: Screen::default(),
            flight: None,
            seq: 0,
            asked: Vec::new(),
            sweep: Sweep::default(),
            guard: Guard::default(),
            rung: None,
            muted: None,
            touched: now.mono,
            row: None,
        }
    }

    pub fn selected(&self) -> Option<&Entry> {
        self.holds.get(self.selected.as_ref()?)
    }

    /// The place in which a key is pressed while no question is open.
    pub fn context(&self) -> Context {
        match self.page {
            Page::Queue if self.zoom => Context::Zoom,
            Page::Queue => Context::Main,
            Page::Sessions => Context::Sessions,
            Page::History | Page::Policy => Context::Page,
        }
    }

    /// The key of an action in the queue, for a text that names it.
    pub fn key(&self, action: Action) -> &str {
        self.keys.key(Context::Main, action)
    }

    pub fn too_small(&self) -> bool {
        self.size.0 < MIN.0 || self.size.1 < MIN.1
    }

    /// Lines that have to be seen of the selected hold, and those that have been: in the view that is open where that
    /// shows all that travels, else nothing of nothing.
    pub fn seen(&self) -> (usize, usize) {
        let (Some(open), Some(entry)) = (&self.open, self.selected()) else { return (0, 0) };
        let must = open.layout.must_count();
        let seen = match open.tab {
            _ if entry.read => must,
            Tab::Pretty => open.layout.seen_count(&open.doc, &entry.seen),
            Tab::Raw => open.layout.seen_count(&open.doc, &entry.seen_raw),
            Tab::Diff | Tab::Rule | Tab::Session | Tab::Result => 0,
        };
        (seen, must)
    }

    /// Whether the selected hold has been on the screen, whole, in one of the views that show all of it.
    pub(super) fn is_seen(&self, id: &CallId) -> bool {
        self.selected.as_ref() == Some(id) && self.holds.get(id).is_some_and(|entry| entry.read)
    }

    /// The approved call that leaves next and can be taken back, with the seconds that are left: the selected one first.
    pub fn leaving(&self) -> Option<(&Entry, i64)> {
        let leaves = |entry: &Entry| entry.leaves_in(self.now.wall);
        let selected = self.selected().and_then(|entry| Some((entry, leaves(entry)?)));
        selected.or_else(|| {
            self.holds.all().filter_map(|entry| Some((entry, leaves(entry)?))).min_by_key(|(_, seconds)| *seconds)
        })
    }

    /// Whether the question on the screen may be answered now.
    pub fn armed(&self) -> bool {
        let delay = self.dialog.as_ref().map_or(ARMING, Dialog::arming);
        self.screen.since(self.now.mono, delay)
    }

    /// The time that the call has left whose ruling is on its way.
    pub(super) fn flight_clocks(&self) -> Option<String> {
        let entry = self.holds.get(&self.flight.as_ref()?.id)?;
        Some(describe::clocks(entry, self.now.wall))
    }

    /// When the loop should send the next tick.
    pub fn tick_after(&self) -> Duration {
        let soon = self.leaving().is_some();
        match (self.armed(), soon) {
            (false, _) => Duration::from_millis(50),
            (true, true) => Duration::from_millis(200),
            (true, false) => Duration::from_millis(500),
        }
    }

    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.note = Some(Note { text: text.into(), bad: false, until: self.now.mono + NOTE });
    }

    pub(super) fn complain(&mut self, text: impl Into<String>) {
        self.note = Some(Note { text: text.into(), bad: true, until: self.now.mono + NOTE });
    }

    /// The screen shows something else now: whatever was pressed before is void.
    pub(super) fn changed(&mut self) {
        self.screen = Screen::default();
    }

    pub(super) fn open_dialog(&mut self, dialog: Dialog) {
        self.dialog = Some(dialog);
        self.changed();
    }

    pub(super) fn close_dialog(&mut self) {
        self.dialog = None;
        self.changed();
    }

    /// The open question is void. A notice takes its place, which takes Esc and nothing else: whoever was typing goes on
    /// for a while, and no letter of that may be a command.
    pub(super) fn void_dialog(&mut self, why: String) {
        self.note = None;
        let lines = vec![why, "Nothing was sent from here, and what you typed was dropped.".to_owned()];
        self.open_dialog(Dialog::Notice { title: "the question is void".to_owned(), lines });
    }

    /// What to make of a frame of this size: a screen that was drawn, or one that has another size by now.
    pub fn was_drawn(&self, area: Rect) -> What {
        let drawn = (area.width, area.height);
        if drawn == self.size { What::Drawn } else { What::Resize(drawn.0, drawn.1) }
    }

    pub(super) fn select(&mut self, id: Option<CallId>) {
        if self.selected != id {
            self.selected = id;
            self.open = None;
            // A question stays what it is, whatever the list behind it does.
            if self.dialog.is_none() {
                self.changed();
            }
        }
    }
}
