//! One step of the console: an event goes in, effects come out. What a key means comes from `keys`; what a ruling takes
//! is in `ruling`.

use crossterm::event::KeyEvent;

use crate::call::CallId;
use crate::console::app::{ANSWER, App, Effect, Event, Open, What};
use crate::console::dialog::{ARMING, Answer, Dialog, FOCUS, FilterLine, Focus, Ready, Reject};
use crate::console::doc::Layout;
use crate::console::filter::{Filter, Of};
use crate::console::holds::Entry;
use crate::console::keys::{Action, Context, Page};
use crate::console::palette::Palette;
use crate::console::rows::{Key, Row, Rows, Wanted};
use crate::console::tabs::{self, Tab};
use crate::console::{acts, batch, mouse, news, outside, pages, pan, ruling, sweep, view, visible};
use crate::control::wire::RulingKind;

/// A console that follows goes to the riskiest hold when no key and no mouse was touched for so long.
const IDLE: std::time::Duration = std::time::Duration::from_secs(10);

/// How long the bell stays silent.
pub const MUTE: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// One step.
pub fn update(app: &mut App, event: Event) -> Vec<Effect> {
    app.now = event.at;
    let mut effects = match event.what {
        What::Key(key) => {
            app.touched = app.now.mono;
            key_pressed(app, &key)
        }
        What::Mouse(event) => {
            app.touched = app.now.mono;
            mouse::moused(app, event)
        }
        What::Paste(text) => pasted(app, &text),
        What::Resize(width, height) => {
            app.size = (width, height);
            app.changed();
            vec![Effect::Redraw]
        }
        What::Drawn => {
            drawn(app);
            Vec::new()
        }
        What::Tick => tick(app),
        What::Link(link) => news::linked(app, *link),
        What::Signed(seq, outcome) => ruling::signed(app, seq, outcome),
        What::Did(outcome) => {
            match outcome {
                Ok(words) => app.say(visible::line(&words)),
                Err(words) => app.complain(visible::line(&words)),
            }
            Vec::new()
        }
    };
    refit(app);
    effects.extend(sweep::go_on(app));
    effects.extend(pages::missing(app));
    effects
}

/// Makes the parts agree again: rows, a selection that exists, its document, the scroll positions.
fn refit(app: &mut App) {
    rebuild(app);
    if app.selected.as_ref().is_none_or(|id| app.rows.row_of(id).is_none()) {
        let fallback = app.row.unwrap_or(0).min(app.rows.len());
        let next = app.rows.down(fallback).next().or_else(|| app.rows.up(fallback).next()).cloned();
        app.select(next);
        app.row = None;
        rebuild(app);
    }
    let row = app.selected.as_ref().and_then(|id| app.rows.row_of(id));
    let areas = view::areas(app);
    // Rows that came or went above the cursor move the window, not the cursor.
    if let (Some(old), Some(new)) = (app.row, row) {
        app.top = (app.top + new).saturating_sub(old);
    }
    app.row = row;
    let window = areas.list_rows.max(1);
    let cursor = row.unwrap_or(0);
    app.top = app.top.clamp((cursor + 1).saturating_sub(window), cursor).min(app.rows.len().saturating_sub(window));
    open_document(app, areas.doc.width);
    let height = usize::from(areas.doc.height);
    if let Some(open) = &mut app.open {
        open.scroll = open.scroll.min(open.layout.len().saturating_sub(height));
    }
    pages::refit(app, usize::from(areas.list.height));
}

fn rebuild(app: &mut App) {
    batch::settle(app);
    app.filter.search(&mut app.holds);
    let wanted = Wanted {
        filter: &app.filter,
        unfolded: &app.unfolded,
        selected: app.selected.as_ref(),
        sort_in: app.key(Action::SortIn),
        now: app.now.wall,
    };
    app.rows = Rows::of(&app.holds, wanted);
}

fn open_document(app: &mut App, width: u16) {
    let Some(entry) = app.selected.as_ref().and_then(|id| app.holds.get(id)) else { return };
    let id = entry.view.id.clone();
    let (tab, alike) = (app.tab, app.rows.behind(&id).len());
    match &mut app.open {
        Some(open) if open.id == id && open.tab == tab && open.alike == alike => {
            if open.width != width {
                pan::lay(open, width, app.wrap);
            }
        }
        known => {
            let kept = known.as_ref().filter(|open| open.id == id && open.tab == tab).map_or(0, |open| open.scroll);
            let doc = tabs::document(app, entry, tab);
            let mut open =
                Open { id, tab, alike, doc, layout: Layout::default(), width, wrap: app.wrap, scroll: kept, pan: 0 };
            pan::lay(&mut open, width, app.wrap);
            app.open = Some(open);
        }
    }
}

fn drawn(app: &mut App) {
    let at = app.now.mono;
    app.screen.drawn.get_or_insert(at);
    app.screen.focus.get_or_insert(at);
    let fits = view::fits(app);
    match &mut app.dialog {
        Some(Dialog::Grant(wish)) => wish.fits = fits,
        Some(Dialog::Batch(batch)) => batch.fits = fits,
        Some(Dialog::Approve(question)) => question.fits = fits,
        _ => {}
    }
    if app.dialog.is_some() || app.too_small() || app.page != Page::Queue {
        return;
    }
    let areas = view::areas(app);
    for row in app.top..app.top + areas.list_rows {
        let ids = match app.rows.get(row) {
            Some(Row::Hold(id)) => std::slice::from_ref(id),
            Some(Row::Group(ids)) => ids,
            Some(Row::Line(_)) | None => &[],
        };
        for id in ids {
            if let Some(entry) = app.holds.get_mut(id) {
                entry.fresh = false;
            }
        }
    }
    if let Some(open) = &app.open
        && let Some(entry) = app.holds.get_mut(&open.id)
    {
        entry.shown.get_or_insert(at);
        let rows = open.scroll..open.scroll + usize::from(areas.doc.height);
        let seen = match open.tab {
            Tab::Pretty => &mut entry.seen,
            Tab::Raw => &mut entry.seen_raw,
            Tab::Diff | Tab::Rule | Tab::Session | Tab::Result => return,
        };
        open.layout.mark_seen(&open.doc, rows, open.pan, seen);
        let must = open.layout.must_count();
        entry.read |= must > 0 && open.layout.seen_count(&open.doc, seen) >= must;
    }
}

fn tick(app: &mut App) -> Vec<Effect> {
    let now = app.now.mono;
    if app.note.as_ref().is_some_and(|note| now >= note.until) {
        app.note = None;
    }
    let late = |flight: &mut super::app::InFlight| flight.unsigned.is_none() && now >= flight.since + ANSWER;
    if let Some(flight) = app.flight.take_if(late) {
        let and = flight.not_paused();
        app.complain(format!("{}: the daemon has not answered; look at the state of the hold{and}", flight.id));
    }
    let over = |id: &CallId| app.holds.get(id).is_some_and(|entry| entry.is_over(app.now.wall));
    let over = app.dialog.as_ref().and_then(|dialog| dialog.holds().into_iter().find(|id| over(id)).cloned());
    if let Some(id) = over {
        app.void_dialog(format!("{id}: the time of this hold is over."));
    }
    let idle = app.dialog.is_none() && app.page == Page::Queue && !app.zoom && now >= app.touched + IDLE;
    if app.follow && idle && app.rows.new > 0 {
        sort_in(app);
        let first = app.rows.down(0).next().cloned();
        app.select(first);
        app.row = None;
    }
    pages::tick(app)
}

fn key_pressed(app: &mut App, key: &KeyEvent) -> Vec<Effect> {
    if app.too_small() {
        return match app.keys.action(Context::Main, key) {
            Some(Action::Quit) => vec![Effect::Quit],
            _ => Vec::new(),
        };
    }
    if app.dialog.is_some() {
        return dialog_key(app, key);
    }
    let Some(action) = app.keys.action(app.context(), key) else { return Vec::new() };
    obey(app, action)
}

fn obey(app: &mut App, action: Action) -> Vec<Effect> {
    app.note = None;
    match everywhere(app, action) {
        Some(effects) => effects,
        None if app.page == Page::Queue => queue(app, action),
        None => page(app, action),
    }
}

/// What the key of a command does. The palette was on the screen for as long as the key asks for: whatever question opens
/// has its own time from here on.
fn run(app: &mut App, action: Action) -> Vec<Effect> {
    app.dialog = None;
    let effects = obey(app, action);
    if app.dialog.is_none() {
        app.changed();
    }
    effects
}

/// What a key does on every screen; nothing where it is the screen's own.
fn everywhere(app: &mut App, action: Action) -> Option<Vec<Effect>> {
    let step = |app: &App, by: usize| {
        let here = Page::ALL.iter().position(|page| *page == app.page).unwrap_or(0);
        Page::ALL.get((here + by) % Page::ALL.len()).copied().unwrap_or(Page::Queue)
    };
    Some(match action {
        Action::Go(page) => pages::open(app, page),
        Action::NextPage => {
            let page = step(app, 1);
            pages::open(app, page)
        }
        Action::PreviousPage => {
            let page = step(app, Page::ALL.len() - 1);
            pages::open(app, page)
        }
        Action::TakeBack => acts::take_back(app),
        Action::Freeze => {
            acts::ask_freeze(app);
            Vec::new()
        }
        Action::Mouse => {
            app.mouse = !app.mouse;
            app.say(if app.mouse { "mouse on: it selects and scrolls" } else { "mouse off" });
            vec![Effect::Mouse(app.mouse)]
        }
        Action::Mute => {
            let over = app.muted.is_none_or(|until| app.now.mono >= until);
            app.muted = over.then(|| app.now.mono + MUTE);
            app.say(if over { "no bell for 15 min, but for tier high" } else { "the bell rings again" });
            Vec::new()
        }
        Action::Suspend if app.owns_daemon => {
            app.complain("the daemon runs in this terminal: suspending would stop it");
            Vec::new()
        }
        Action::Suspend => vec![Effect::Suspend],
        Action::Palette => {
            app.open_dialog(Dialog::Palette(Palette::new(app.context(), app.keys.clone())));
            Vec::new()
        }
        Action::OpenRule => outside::edit(app),
        Action::Export => outside::export(app),
        Action::Help => {
            app.open_dialog(Dialog::Help { scroll: 0 });
            Vec::new()
        }
        Action::Redraw => {
            let mut effects = pages::refresh(app);
            effects.push(Effect::Redraw);
            effects
        }
        Action::Quit => ask_quit(app),
        _ => return None,
    })
}

fn queue(app: &mut App, action: Action) -> Vec<Effect> {
    let page = usize::from(view::areas(app).doc.height).max(2) - 1;
    match action {
        Action::Next => go(app, |rows, row| rows.down(row + 1).next().cloned()),
        Action::Previous => go(app, |rows, row| rows.up(row).next().cloned()),
        Action::First => {
            settle(app);
            go(app, |rows, _| rows.down(0).next().cloned());
        }
        Action::Last => {
            settle(app);
            go(app, |rows, _| rows.up(rows.len()).next().cloned());
        }
        Action::NextMatch => go_waiting(app, true),
        Action::PreviousMatch => go_waiting(app, false),
        Action::LineDown => scroll(app, |line| line + 1),
        Action::LineUp => scroll(app, |line| line.saturating_sub(1)),
        Action::HalfDown => scroll(app, |line| line + page.div_ceil(2)),
        Action::HalfUp => scroll(app, |line| line.saturating_sub(page.div_ceil(2))),
        Action::PageDown => scroll(app, |line| line + page),
        Action::PageUp => scroll(app, |line| line.saturating_sub(page)),
        Action::View => return view(app, app.tab.next()),
        Action::Rule => return view(app, Tab::Rule),
        Action::SameTool => return same_tool(app),
        Action::Draft => return outside::draft(app),
        Action::Copy => return copy(app),
        Action::Wrap => pan::wrap(app),
        Action::Unfold if pan::right(app) => {}
        Action::Fold if pan::left(app) => {}
        Action::Unfold => unfold(app),
        Action::Fold => fold(app),
        Action::SortIn => sort_in(app),
        Action::Follow => {
            app.follow = !app.follow;
            app.say(if app.follow {
                "follows: goes to the riskiest hold while no key is pressed"
            } else {
                "stays where you are"
            });
        }
        Action::Filter => app.open_dialog(Dialog::Filter(FilterLine::new(&app.filter.text, Of::Holds))),
        Action::Open if app.selected.is_some() && !app.zoom => zoom(app, true),
        Action::Back if app.zoom => zoom(app, false),
        Action::Back if !app.filter.is_empty() => app.filter = Filter::default(),
        Action::Approve => ruling::ask_approve(app),
        Action::Ticket => return ruling::ask_ticket(app),
        Action::Reject => ruling::ask_reject(app, false),
        Action::RejectAndPause => ruling::ask_reject(app, true),
        Action::Claim => return acts::claim(app),
        Action::Release => return acts::release(app),
        Action::Mark => batch::mark(app),
        Action::Unmark => {
            app.marked.clear();
            app.say("nothing is marked");
        }
        _ => {}
    }
    Vec::new()
}

fn page(app: &mut App, action: Action) -> Vec<Effect> {
    let page = usize::from(view::areas(app).list.height).max(2) - 1;
    match action {
        Action::Next => return pages::go(app, |row, _| row + 1),
        Action::Previous => return pages::go(app, |row, _| row.saturating_sub(1)),
        Action::First => return pages::go(app, |_, _| 0),
        Action::Last => return pages::go(app, |_, last| last),
        Action::PageDown => return pages::go(app, |row, _| row + page),
        Action::PageUp => return pages::go(app, |row, _| row.saturating_sub(page)),
        Action::LineDown => app.pages.scroll = app.pages.scroll.saturating_add(1),
        Action::LineUp => app.pages.scroll = app.pages.scroll.saturating_sub(1),
        Action::Filter if app.page == Page::History => {
            app.open_dialog(Dialog::Filter(FilterLine::new(&app.pages.filter.text, Of::Records)));
        }
        Action::Filter => app.say("the filter is for the queue and the history"),
        Action::Back => app.pages.filter = Filter::default(),
        Action::Ticket if app.page == Page::History => return ruling::ask_ticket_of_record(app),
        Action::Ticket => app.say("a ticket is for a call: put the cursor on one in the queue or the history"),
        Action::Pause => acts::ask_session(app, false),
        Action::End => acts::ask_session(app, true),
        Action::Revoke => acts::ask_revoke(app),
        _ => {}
    }
    Vec::new()
}

pub(super) fn go(app: &mut App, to: impl Fn(&Rows, usize) -> Option<CallId>) {
    // Ended holds leave their old place now: the operator moves, so the list may.
    let row = app.selected.as_ref().and_then(|id| app.rows.row_of(id)).unwrap_or(0);
    if let Some(next) = to(&app.rows, row) {
        app.select(Some(next));
    }
    app.holds.settle(None);
    app.row = None;
}

/// Ended holds leave their old place: the operator goes somewhere that does not depend on it.
fn settle(app: &mut App) {
    app.holds.settle(None);
    rebuild(app);
}

fn go_waiting(app: &mut App, down: bool) {
    let row = app.selected.as_ref().and_then(|id| app.rows.row_of(id)).unwrap_or(0);
    let waits = |id: &&CallId| app.holds.get(id).is_some_and(Entry::is_pending);
    let found = if down { app.rows.down(row + 1).find(waits).cloned() } else { app.rows.up(row).find(waits).cloned() };
    match found {
        Some(id) => go(app, |_, _| Some(id.clone())),
        None => app.say("no other hold waits in that direction"),
    }
}

fn sort_in(app: &mut App) {
    app.holds.settle(None);
    app.holds.sort();
    app.row = None;
    rebuild(app);
}

/// Opens the first part on the screen that is folded, or else the group.
fn unfold(app: &mut App) {
    let height = usize::from(view::areas(app).doc.height);
    if let Some(open) = &mut app.open
        && open.doc.unfold(&open.layout, open.scroll..open.scroll + height)
    {
        pan::lay(open, open.width, open.wrap);
        return app.changed();
    }
    let folded = app.selected.as_ref().is_some_and(|id| app.rows.behind(id).len() > 1);
    match app.selected().map(Key::of).filter(|_| folded) {
        Some(key) => {
            app.unfolded.insert(key);
        }
        None => app.complain("nothing on the screen is folded"),
    }
}

/// Folds the part that the screen begins in, or else the group.
fn fold(app: &mut App) {
    let height = usize::from(view::areas(app).doc.height);
    if let Some(open) = &mut app.open
        && let Some(line) = open.doc.refold(&open.layout, open.scroll..open.scroll + height)
    {
        pan::lay(open, open.width, open.wrap);
        open.scroll = open.layout.row_of_line(line);
        return app.changed();
    }
    if app.selected().map(Key::of).is_none_or(|key| !app.unfolded.remove(&key)) {
        app.complain("nothing on the screen can be folded");
    }
}

fn view(app: &mut App, tab: Tab) -> Vec<Effect> {
    app.tab = tab;
    app.changed();
    pages::for_tab(app)
}

/// The history of the operation that the selected hold is about.
fn same_tool(app: &mut App) -> Vec<Effect> {
    let Some(hold) = app.selected().map(|entry| &entry.view) else { return Vec::new() };
    app.pages.filter = Filter::of_operation(&hold.server, &hold.operation);
    pages::open(app, Page::History)
}

/// Nothing of a call is copied: what is pasted into a shell is ours.
fn copy(app: &mut App) -> Vec<Effect> {
    let Some(hold) = app.selected().map(|entry| &entry.view) else { return Vec::new() };
    let text = format!("{} --digest {}", hold.id, hold.digest);
    app.say("the id and the digest are copied, where the terminal takes it");
    vec![Effect::Copy(text)]
}

pub(super) fn scroll(app: &mut App, to: impl Fn(usize) -> usize) {
    if let Some(open) = &mut app.open {
        open.scroll = to(open.scroll);
    }
}

fn zoom(app: &mut App, zoom: bool) {
    app.zoom = zoom;
    app.changed();
}

fn ask_quit(app: &mut App) -> Vec<Effect> {
    let waiting = app.holds.pending().next().is_some();
    let alone = app.daemon.as_ref().is_none_or(|daemon| daemon.consoles <= 1);
    let live = app.state == super::app::State::Live && !app.read_only;
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
    let answer = dialog.key(&app.keys, key, ready);
    answered(app, answer)
}

fn pasted(app: &mut App, text: &str) -> Vec<Effect> {
    let Some(dialog) = &mut app.dialog else { return Vec::new() };
    let answer = dialog.paste(text);
    answered(app, answer)
}

fn answered(app: &mut App, answer: Answer) -> Vec<Effect> {
    match answer {
        Answer::Stay => app.note = None,
        Answer::Moved => {
            app.note = None;
            app.screen.focus = None;
        }
        Answer::Turned => {
            app.note = None;
            app.changed();
        }
        Answer::Early(why) => {
            // A held Enter arrives as one press after another where a terminal tells no repeats: each starts the wait anew.
            let button = matches!(&app.dialog, Some(Dialog::Approve(question)) if question.focus == Focus::Approve);
            if button || !ready(app).ruling {
                app.screen.disturbed = Some(app.now.mono);
            }
            app.complain(why);
        }
        Answer::Close => {
            app.note = None;
            app.close_dialog();
        }
        Answer::ToReject => {
            let asked = app.dialog.as_ref().and_then(|dialog| dialog.holds().first().copied());
            let hold = asked.and_then(|id| app.holds.get(id));
            if let Some(question) = hold.map(|entry| Reject::new(&entry.view)) {
                app.open_dialog(Dialog::Reject(question));
            }
        }
        Answer::ToGrant => ruling::ask_grant(app),
        Answer::Draft => return ruling::draft(app),
        Answer::Grant => return ruling::grant(app),
        Answer::Batch => return batch::approve(app),
        Answer::Confirmed => return acts::confirmed(app),
        Answer::Filtered => filtered(app),
        Answer::Run(action) => return run(app, action),
        Answer::Approve(note) => return ruling::rule(app, RulingKind::Approve, note),
        Answer::Reject(reason) => return ruling::rule(app, RulingKind::Reject, Some(reason)),
        Answer::Quit => return ask_quit(app),
    }
    Vec::new()
}

fn filtered(app: &mut App) {
    let Some(Dialog::Filter(line)) = app.dialog.take() else { return };
    app.changed();
    app.note = None;
    match (line.parsed(), line.of) {
        (Ok(filter), Of::Holds) => app.filter = filter,
        (Ok(filter), Of::Records) => app.pages.filter = filter,
        (Err(_), _) => {}
    }
}
