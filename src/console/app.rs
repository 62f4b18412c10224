//! What the console knows and what it does about an event: pure. Time comes in with events, so a test owns the clock.
//!
//! Invariants: a ruling is only ever made of a hold that is on the screen, whole, and was there before the key was
//! pressed; it names the hold by id and digest; whatever changes under an open question voids the question.

use std::time::Duration;

use crossterm::event::KeyEvent;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::call::CallId;
use crate::console::describe;
use crate::console::dialog::{ARMING, Answer, Dialog, FOCUS, Ready, Reject};
use crate::console::doc::{Doc, Layout};
use crate::console::holds::{Entry, Holds};
use crate::console::keys::{self, Action, Context};
use crate::console::news;
use crate::console::ruling;
use crate::console::sign::Signing;
use crate::console::view;
use crate::control::wire::{Command, Daemon, Notice, RulingKind, SignedBy};

/// A ruling key that came too early keeps the others dead for so long: a key that is held down never counts.
const QUIET: Duration = Duration::from_secs(1);
/// How long a note stays.
const NOTE: Duration = Duration::from_secs(12);
/// After this an answer is not waited for any longer.
const ANSWER: Duration = Duration::from_secs(10);
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
    Paste(String),
    Resize(u16, u16),
    /// The screen now shows the app as it is.
    Drawn,
    Tick,
    Link(Box<Link>),
    /// What came of [`Effect::Sign`].
    Signed(u64, Result<SignedBy, String>),
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
    drawn: Option<Duration>,
    focus: Option<Duration>,
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
    until: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub seq: u64,
    pub id: CallId,
    pub kind: RulingKind,
    pub since: Duration,
    /// It waits for its signature, on this connection.
    pub unsigned: Option<(u64, Command)>,
}

/// The document of the hold that is selected.
#[derive(Debug)]
pub struct Open {
    pub id: CallId,
    pub doc: Doc,
    pub layout: Layout,
    width: u16,
    pub scroll: usize,
}

#[derive(Debug)]
pub struct App {
    pub now: Now,
    pub zone: TimeZone,
    pub size: (u16, u16),
    pub colour: bool,
    /// The daemon runs in this process: quitting ends it too.
    pub owns_daemon: bool,
    /// The operator's key, where one was named.
    pub signing: Option<Signing>,
    pub state: State,
    pub operator: String,
    pub daemon: Option<Daemon>,
    pub holds: Holds,
    pub selected: Option<CallId>,
    /// First row of the list on the screen.
    pub top: usize,
    pub zoom: bool,
    pub open: Option<Open>,
    pub dialog: Option<Dialog>,
    pub note: Option<Note>,
    pub(super) connection: u64,
    pub(super) screen: Screen,
    pub(super) flight: Option<InFlight>,
    pub(super) seq: u64,
    /// When the bell last rang.
    pub(super) rung: Option<Duration>,
    /// Row of the cursor in the list when the list was last put in order.
    row: Option<usize>,
}

impl App {
    pub fn new(now: Now, size: (u16, u16), zone: TimeZone) -> App {
        App {
            now,
            zone,
            size,
            colour: true,
            owns_daemon: false,
            signing: None,
            state: State::Joining,
            operator: String::new(),
            daemon: None,
            holds: Holds::default(),
            selected: None,
            top: 0,
            zoom: false,
            open: None,
            dialog: None,
            note: None,
            connection: 0,
            screen: Screen::default(),
            flight: None,
            seq: 0,
            rung: None,
            row: None,
        }
    }

    pub fn selected(&self) -> Option<&Entry> {
        self.holds.get(self.selected.as_ref()?)
    }

    pub fn too_small(&self) -> bool {
        self.size.0 < MIN.0 || self.size.1 < MIN.1
    }

    /// Lines that have to be seen of the selected hold, and those that have been.
    pub fn seen(&self) -> (usize, usize) {
        match (&self.open, self.selected()) {
            (Some(open), Some(entry)) => (open.layout.seen_count(&open.doc, &entry.seen), open.layout.must_count()),
            _ => (0, 0),
        }
    }

    /// Whether the selected hold has been on the screen, whole.
    pub(super) fn is_seen(&self, id: &CallId) -> bool {
        let (seen, must) = self.seen();
        must > 0
            && seen >= must
            && self.open.as_ref().is_some_and(|open| open.id == *id)
            && self.selected.as_ref() == Some(id)
    }

    /// Whether the question on the screen may be answered now.
    pub fn armed(&self) -> bool {
        let delay = self.dialog.as_ref().map_or(ARMING, Dialog::arming);
        self.screen.since(self.now.mono, delay)
    }

    /// When the loop should send the next tick.
    pub fn tick_after(&self) -> Duration {
        if self.armed() { Duration::from_millis(500) } else { Duration::from_millis(50) }
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

    fn select(&mut self, id: Option<CallId>) {
        if self.selected != id {
            self.selected = id;
            self.open = None;
            self.changed();
        }
    }
}

/// One step.
pub fn update(app: &mut App, event: Event) -> Vec<Effect> {
    app.now = event.at;
    let effects = match event.what {
        What::Key(key) => key_pressed(app, &key),
        What::Paste(text) => {
            pasted(app, &text);
            Vec::new()
        }
        What::Resize(width, height) => {
            app.size = (width, height);
            app.changed();
            vec![Effect::Redraw]
        }
        What::Drawn => {
            drawn(app);
            Vec::new()
        }
        What::Tick => {
            tick(app);
            Vec::new()
        }
        What::Link(link) => news::linked(app, *link),
        What::Signed(seq, outcome) => ruling::signed(app, seq, outcome),
    };
    refit(app);
    effects
}

/// Makes the parts agree again: a selection that exists, its document, the scroll positions.
fn refit(app: &mut App) {
    let row = app.selected.as_ref().and_then(|id| app.holds.row_of(id));
    if row.is_none() {
        let fallback = app.row.unwrap_or(0).min(app.holds.len().saturating_sub(1));
        let next = app.holds.row(fallback).cloned();
        app.select(next);
        app.row = None;
    }
    let row = app.selected.as_ref().and_then(|id| app.holds.row_of(id));
    let areas = view::areas(app);
    // Rows that came or went above the cursor move the window, not the cursor.
    if let (Some(old), Some(new)) = (app.row, row) {
        app.top = (app.top + new).saturating_sub(old);
    }
    app.row = row;
    let window = areas.list_rows.max(1);
    let cursor = row.unwrap_or(0);
    app.top = app.top.clamp((cursor + 1).saturating_sub(window), cursor).min(app.holds.len().saturating_sub(window));
    open_document(app, areas.doc.width);
    let height = usize::from(areas.doc.height);
    if let Some(open) = &mut app.open {
        open.scroll = open.scroll.min(open.layout.len().saturating_sub(height));
    }
}

fn open_document(app: &mut App, width: u16) {
    let Some(entry) = app.selected.as_ref().and_then(|id| app.holds.get(id)) else { return };
    match &mut app.open {
        Some(open) if open.id == entry.view.id => {
            if open.width != width {
                open.layout = open.doc.layout(width);
                open.width = width;
            }
        }
        _ => {
            let doc = describe::document(&entry.view, &entry.risk, &app.zone);
            let layout = doc.layout(width);
            app.open = Some(Open { id: entry.view.id.clone(), doc, layout, width, scroll: 0 });
        }
    }
}

fn drawn(app: &mut App) {
    let at = app.now.mono;
    app.screen.drawn.get_or_insert(at);
    app.screen.focus.get_or_insert(at);
    if app.dialog.is_some() || app.too_small() {
        return;
    }
    let areas = view::areas(app);
    for row in app.top..app.top + areas.list_rows {
        if let Some(id) = app.holds.row(row).cloned()
            && let Some(entry) = app.holds.get_mut(&id)
        {
            entry.fresh = false;
        }
    }
    if let Some(open) = &app.open
        && let Some(entry) = app.holds.get_mut(&open.id)
    {
        let rows = open.scroll..open.scroll + usize::from(areas.doc.height);
        open.layout.mark_seen(rows, &mut entry.seen);
    }
}

fn tick(app: &mut App) {
    let now = app.now.mono;
    if app.note.as_ref().is_some_and(|note| now >= note.until) {
        app.note = None;
    }
    let late = |flight: &mut InFlight| flight.unsigned.is_none() && now >= flight.since + ANSWER;
    if let Some(flight) = app.flight.take_if(late) {
        app.complain(format!("{}: the daemon has not answered; look at the state of the hold", flight.id));
    }
    let over = app.dialog.as_ref().and_then(Dialog::hold).and_then(|id| app.holds.get(id));
    if over.is_some_and(|entry| entry.is_over(app.now.wall)) {
        app.close_dialog();
        app.complain("the time of this hold is over: nothing was sent");
    }
}

fn key_pressed(app: &mut App, key: &KeyEvent) -> Vec<Effect> {
    if app.too_small() {
        return match keys::action(Context::Main, key) {
            Some(Action::Quit) => vec![Effect::Quit],
            _ => Vec::new(),
        };
    }
    if app.dialog.is_some() {
        return dialog_key(app, key);
    }
    let context = if app.zoom { Context::Zoom } else { Context::Main };
    let Some(action) = keys::action(context, key) else { return Vec::new() };
    app.note = None;
    act(app, action)
}

fn act(app: &mut App, action: Action) -> Vec<Effect> {
    let last = app.holds.len().saturating_sub(1);
    let page = usize::from(view::areas(app).doc.height).max(2) - 1;
    match action {
        Action::Next => go(app, |row| (row + 1).min(last)),
        Action::Previous => go(app, |row| row.saturating_sub(1)),
        Action::First => go(app, |_| 0),
        Action::Last => go(app, |_| last),
        Action::LineDown => scroll(app, |line| line + 1),
        Action::LineUp => scroll(app, |line| line.saturating_sub(1)),
        Action::HalfDown => scroll(app, |line| line + page.div_ceil(2)),
        Action::HalfUp => scroll(app, |line| line.saturating_sub(page.div_ceil(2))),
        Action::PageDown => scroll(app, |line| line + page),
        Action::PageUp => scroll(app, |line| line.saturating_sub(page)),
        Action::Unfold => unfold(app),
        Action::Fold => fold(app),
        Action::Open if app.selected.is_some() && !app.zoom => zoom(app, true),
        Action::Back if app.zoom => zoom(app, false),
        Action::Approve => ruling::ask_approve(app),
        Action::Reject => ruling::ask_reject(app),
        Action::Help => app.open_dialog(Dialog::Help { scroll: 0 }),
        Action::Redraw => return vec![Effect::Redraw],
        Action::Quit => return ask_quit(app),
        Action::Open
        | Action::Back
        | Action::Yes
        | Action::Enter
        | Action::Forward
        | Action::Backward
        | Action::Erase
        | Action::Clear
        | Action::Preset(_) => {}
    }
    Vec::new()
}

fn go(app: &mut App, to: impl Fn(usize) -> usize) {
    // Ended holds leave their old place now: the operator moves, so the list may.
    let row = app.selected.as_ref().and_then(|id| app.holds.row_of(id)).unwrap_or(0);
    let next = app.holds.row(to(row)).cloned();
    app.select(next);
    app.holds.settle(None);
    app.row = None;
}

fn scroll(app: &mut App, to: impl Fn(usize) -> usize) {
    if let Some(open) = &mut app.open {
        open.scroll = to(open.scroll);
    }
}

/// Opens the first part on the screen that is folded.
fn unfold(app: &mut App) {
    let height = usize::from(view::areas(app).doc.height);
    let Some(open) = &mut app.open else { return };
    if open.doc.unfold(&open.layout, open.scroll..open.scroll + height) {
        open.layout = open.doc.layout(open.width);
        app.changed();
    } else {
        app.complain("nothing on the screen is folded");
    }
}

/// Folds the part that the screen begins in.
fn fold(app: &mut App) {
    let height = usize::from(view::areas(app).doc.height);
    let Some(open) = &mut app.open else { return };
    match open.doc.refold(&open.layout, open.scroll..open.scroll + height) {
        Some(line) => {
            open.layout = open.doc.layout(open.width);
            open.scroll = open.layout.row_of_line(line);
            app.changed();
        }
        None => app.complain("nothing on the screen can be folded"),
    }
}

fn zoom(app: &mut App, zoom: bool) {
    app.zoom = zoom;
    app.changed();
}

fn ask_quit(app: &mut App) -> Vec<Effect> {
    let waiting = app.holds.pending().next().is_some();
    let alone = app.daemon.as_ref().is_none_or(|daemon| daemon.consoles <= 1);
    let live = app.state == State::Live;
    if app.dialog == Some(Dialog::Quit) || !(app.owns_daemon || waiting && alone && live) {
        return vec![Effect::Quit];
    }
    app.open_dialog(Dialog::Quit);
    Vec::new()
}

fn ready(app: &App) -> Ready {
    let at = app.now.mono;
    let delay = app.dialog.as_ref().map_or(ARMING, Dialog::arming);
    Ready {
        keys: app.screen.drawn.is_some_and(|drawn| at >= drawn + ARMING),
        ruling: app.screen.since(at, delay),
        focus: app.screen.focus.is_some_and(|focus| at >= focus + FOCUS),
    }
}

fn dialog_key(app: &mut App, key: &KeyEvent) -> Vec<Effect> {
    let ready = ready(app);
    let Some(dialog) = &mut app.dialog else { return Vec::new() };
    let answer = dialog.key(key, ready);
    answered(app, answer)
}

fn pasted(app: &mut App, text: &str) {
    let Some(dialog) = &mut app.dialog else { return };
    let answer = dialog.paste(text);
    answered(app, answer);
}

fn answered(app: &mut App, answer: Answer) -> Vec<Effect> {
    match answer {
        Answer::Stay => app.note = None,
        Answer::Moved => {
            app.note = None;
            app.screen.focus = None;
        }
        Answer::Early(why) => {
            if !ready(app).ruling {
                app.screen.disturbed = Some(app.now.mono);
            }
            app.complain(why);
        }
        Answer::Close => {
            app.note = None;
            app.close_dialog();
        }
        Answer::ToReject => {
            let hold = app.dialog.as_ref().and_then(Dialog::hold).and_then(|id| app.holds.get(id));
            if let Some(question) = hold.map(|entry| Reject::new(&entry.view)) {
                app.open_dialog(Dialog::Reject(question));
            }
        }
        Answer::Approve => return ruling::rule(app, RulingKind::Approve, None),
        Answer::Reject(reason) => return ruling::rule(app, RulingKind::Reject, Some(reason)),
        Answer::Quit => return ask_quit(app),
    }
    Vec::new()
}
