//! Screens 2 to 4, and what the daemon is asked for them: what has come, where the cursor is. Nothing here rules; pausing,
//! ending and revoking are questions of `dialog`.
//!
//! Invariant: bounded. A screen keeps one answer of the daemon, the history at most as many records as it says.

use std::time::Duration;

use crate::call::CallId;
use crate::console::app::{App, Effect, State};
use crate::console::filter::Filter;
use crate::console::keys::Page;
use crate::console::tabs::Tab;
use crate::console::view;
use crate::control::wire::{ChainView, Command, Excerpt, GrantView, RecordView, RuleView, SessionView};

/// Records that are asked for at once.
pub const PAGE: u16 = 100;
/// Records that are kept.
pub const RECORDS: usize = 5_000;
/// A screen that is open is asked for anew so often.
const REFRESH: Duration = Duration::from_secs(5);
/// The chain is looked at so often where no screen asks for records: what the header says of it is no older.
pub const LOOK: Duration = Duration::from_secs(60);
/// Questions that wait for their answers.
const ASKED: usize = 32;

/// A question of this console's, until it is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Newest first; `more`: those before the ones that are known.
    Records {
        more: bool,
    },
    /// The newest records, for the state of the chain alone.
    Chain,
    CallRecords(CallId),
    Sessions,
    Grants,
    Rules,
    Explain(CallId),
    Draft(CallId),
    Batch,
    /// One of several rejections.
    Rejection(CallId),
    /// Something that changes: what it was, in words.
    Change(String),
}

/// Answers that the other screens are made of.
#[derive(Debug, Default)]
pub struct Pages {
    pub records: Vec<RecordView>,
    /// There are no older ones.
    pub complete: bool,
    /// What is known of the chain. Once it was found broken it stays so: another page may be intact all the same.
    pub chain: Option<ChainView>,
    pub filter: Filter,
    pub sessions: Option<Vec<SessionView>>,
    pub grants: Vec<GrantView>,
    pub rules: Option<Vec<RuleView>>,
    pub explained: Option<(CallId, Result<Vec<Excerpt>, String>)>,
    pub call_records: Option<(CallId, Vec<RecordView>)>,
    /// Why the daemon did not answer, for the screen that is open; has not passed the escape function.
    pub error: Option<String>,
    /// The row that is selected, by what it stands for.
    pub cursor: [Option<String>; 4],
    pub top: usize,
    /// First line of the detail.
    pub scroll: usize,
    asked_at: Duration,
    /// When the chain was looked at last.
    looked_at: Duration,
}

/// A row of screen 3.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    Session(&'a SessionView),
    Grant(&'a GrantView),
}

impl Pages {
    /// Another daemon's record: nothing that is known is about it.
    pub fn forget(&mut self) {
        *self = Pages { filter: std::mem::take(&mut self.filter), ..Pages::default() };
    }

    /// An answer has said how the chain is. `fits`: it goes with what is known already.
    pub fn took_chain(&mut self, chain: ChainView, fits: bool) {
        let intact = self.chain.as_ref().is_none_or(|known| known.intact) && chain.intact && fits;
        self.chain = Some(ChainView { intact, ..chain });
    }

    pub fn is_broken(&self) -> bool {
        self.chain.as_ref().is_some_and(|chain| !chain.intact)
    }

    /// The records that the filter takes.
    pub fn records(&self) -> impl Iterator<Item = &RecordView> {
        self.records.iter().filter(|record| self.filter.takes_record(record))
    }

    pub fn items(&self) -> impl Iterator<Item = Item<'_>> {
        let sessions = self.sessions.iter().flatten().map(Item::Session);
        sessions.chain(self.grants.iter().map(Item::Grant))
    }

    /// The names of a screen's rows, in order.
    pub fn keys(&self, page: Page) -> Vec<String> {
        match page {
            Page::Queue => Vec::new(),
            Page::History => self.records().map(|record| record.seq.to_string()).collect(),
            Page::Sessions => self.items().map(Item::key).collect(),
            Page::Policy => self.rules.iter().flatten().map(|rule| rule.rule.clone()).collect(),
        }
    }

    /// The row of the cursor among so many.
    pub fn row(&self, page: Page) -> usize {
        let Some(cursor) = self.cursor(page) else { return 0 };
        self.keys(page).iter().position(|key| key == cursor).unwrap_or(0)
    }

    fn cursor(&self, page: Page) -> Option<&String> {
        self.cursor.get(page as usize)?.as_ref()
    }

    fn put_cursor(&mut self, page: Page, key: Option<String>) {
        if let Some(cursor) = self.cursor.get_mut(page as usize) {
            *cursor = key;
        }
    }

    pub fn item(&self) -> Option<Item<'_>> {
        self.items().nth(self.row(Page::Sessions))
    }
}

impl Item<'_> {
    fn key(self) -> String {
        match self {
            Item::Session(session) => session.session.clone(),
            Item::Grant(grant) => grant.id.to_string(),
        }
    }
}

/// Asks the daemon; nothing where it is not there, and nothing more than is answered. A change that is not sent is said.
pub fn ask(app: &mut App, asked: Asked, build: impl FnOnce(u64) -> Command) -> Vec<Effect> {
    if app.state != State::Live || app.asked.len() >= ASKED {
        if matches!(asked, Asked::Change(_) | Asked::Batch | Asked::Draft(_)) {
            app.complain("the daemon has not answered what was asked before: nothing was sent");
        }
        return Vec::new();
    }
    app.seq += 1;
    app.asked.push((app.seq, asked));
    vec![Effect::Send { connection: app.connection, command: build(app.seq) }]
}

/// Opens a screen.
pub fn open(app: &mut App, page: Page) -> Vec<Effect> {
    if app.page != page {
        app.page = page;
        (app.pages.top, app.pages.scroll) = (0, 0);
        app.changed();
    }
    refresh(app)
}

/// Asks for what is on the screen anew.
pub fn refresh(app: &mut App) -> Vec<Effect> {
    app.pages.asked_at = app.now.mono;
    app.pages.error = None;
    match app.page {
        Page::Queue => Vec::new(),
        // What is older stays as it was: records do not change.
        Page::History => records(app, false),
        Page::Sessions => {
            let mut effects = ask(app, Asked::Sessions, |seq| Command::Sessions { seq });
            effects.extend(ask(app, Asked::Grants, |seq| Command::Grants { seq }));
            effects
        }
        Page::Policy => ask(app, Asked::Rules, |seq| Command::Rules { seq }),
    }
}

/// The same, from time to time.
pub fn tick(app: &mut App) -> Vec<Effect> {
    let waits =
        app.asked.iter().any(|(_, asked)| !matches!(asked, Asked::Change(_) | Asked::Rejection(_) | Asked::Chain));
    let due = app.page != Page::Queue && !waits && app.now.mono >= app.pages.asked_at + REFRESH;
    let mut effects = if due { refresh(app) } else { Vec::new() };
    if app.now.mono >= app.pages.looked_at + LOOK {
        effects.extend(look(app));
    }
    effects
}

/// Asks how the chain is.
pub fn look(app: &mut App) -> Vec<Effect> {
    let asks = |asked: &Asked| matches!(asked, Asked::Chain | Asked::Records { .. });
    if app.asked.iter().any(|(_, asked)| asks(asked)) {
        return Vec::new();
    }
    app.pages.looked_at = app.now.mono;
    ask(app, Asked::Chain, |seq| Command::Records { seq, before: None, limit: PAGE, call: None })
}

fn records(app: &mut App, more: bool) -> Vec<Effect> {
    let oldest = app.pages.records.last().map(|record| record.seq);
    let before = if more { oldest } else { None };
    let waits = app.asked.iter().any(|(_, asked)| matches!(asked, Asked::Records { .. }));
    if waits || more && (app.pages.complete || before.is_none() || app.pages.records.len() >= RECORDS) {
        return Vec::new();
    }
    app.pages.looked_at = app.now.mono;
    ask(app, Asked::Records { more }, |seq| Command::Records { seq, before, limit: PAGE, call: None })
}

/// What a view of the detail needs that has not come with the hold.
pub fn for_tab(app: &mut App) -> Vec<Effect> {
    let Some(id) = app.selected.clone() else { return Vec::new() };
    match app.tab {
        // Below the call there is room for both.
        Tab::Pretty if view::is_wide(app) => {
            let mut effects = ask(app, Asked::Explain(id.clone()), |seq| Command::Explain { seq, id });
            effects.extend(ask(app, Asked::Sessions, |seq| Command::Sessions { seq }));
            effects
        }
        Tab::Pretty | Tab::Raw | Tab::Diff => Vec::new(),
        Tab::Rule => ask(app, Asked::Explain(id.clone()), |seq| Command::Explain { seq, id }),
        Tab::Session => ask(app, Asked::Sessions, |seq| Command::Sessions { seq }),
        Tab::Result => ask(app, Asked::CallRecords(id.clone()), |seq| Command::Records {
            seq,
            before: None,
            limit: PAGE,
            call: Some(id),
        }),
    }
}

/// The same where the cursor has come to another hold: asks for what is not known of it, once.
pub fn missing(app: &mut App) -> Vec<Effect> {
    let Some(id) = app.selected.as_ref().filter(|_| app.page == Page::Queue) else { return Vec::new() };
    let known = match app.tab {
        Tab::Rule | Tab::Pretty if app.tab == Tab::Rule || view::is_wide(app) => {
            app.pages.explained.as_ref().is_some_and(|(known, _)| known == id)
        }
        Tab::Pretty | Tab::Raw | Tab::Diff | Tab::Rule => true,
        Tab::Session => app.pages.sessions.is_some() || app.pages.error.is_some(),
        Tab::Result => app.pages.call_records.as_ref().is_some_and(|(known, _)| known == id),
    };
    let waits = app.asked.iter().any(|(_, asked)| match asked {
        Asked::Explain(_) | Asked::CallRecords(_) | Asked::Sessions => true,
        Asked::Records { .. }
        | Asked::Chain
        | Asked::Grants
        | Asked::Rules
        | Asked::Draft(_)
        | Asked::Batch
        | Asked::Rejection(_)
        | Asked::Change(_) => false,
    });
    if known || waits { Vec::new() } else { for_tab(app) }
}

/// Records have come.
pub fn took_records(pages: &mut Pages, more: bool, records: Vec<RecordView>, chain: ChainView) {
    let whole = records.len() < usize::from(PAGE);
    let fits = joins(pages, more, &records);
    pages.took_chain(chain, fits);
    if more {
        pages.complete = whole;
        let oldest = pages.records.last().map(|record| record.seq);
        pages.records.extend(records.into_iter().filter(|record| oldest.is_none_or(|oldest| record.seq < oldest)));
    } else {
        let newest = pages.records.first().map_or(0, |record| record.seq);
        let reaches = records.last().is_some_and(|last| last.seq <= newest + 1);
        if pages.records.is_empty() || !reaches {
            pages.complete = whole;
            pages.records = records;
        } else {
            let mut newer: Vec<_> = records.into_iter().filter(|record| record.seq > newest).collect();
            newer.append(&mut pages.records);
            pages.records = newer;
        }
    }
    if pages.records.len() > RECORDS {
        pages.records.truncate(RECORDS);
        pages.complete = false;
    }
}

/// Whether an answer goes with the records that are known: an older page begins right below them, a newer one ends no
/// earlier, and a record that came twice is the same both times.
fn joins(pages: &Pages, more: bool, records: &[RecordView]) -> bool {
    let (Some(newest), Some(oldest)) = (pages.records.first(), pages.records.last()) else { return true };
    if more {
        return records.first().map_or(oldest.seq <= 1, |first| first.seq + 1 == oldest.seq);
    }
    let known = |record: &RecordView| {
        let below = usize::try_from(newest.seq.checked_sub(record.seq)?).ok()?;
        pages.records.get(below).filter(|known| known.seq == record.seq)
    };
    records.first().is_some_and(|first| first.seq >= newest.seq)
        && records.iter().all(|record| known(record).is_none_or(|known| is_same(known, record)))
}

/// Whether two answers tell of one record: by what it says itself. What a call is about stands in the call's first record,
/// and is left out of an answer for which that could not be read.
fn is_same(one: &RecordView, other: &RecordView) -> bool {
    let own = |a: &RecordView, b: &RecordView| (a.seq, &a.at, &a.call, &a.kind) == (b.seq, &b.at, &b.call, &b.kind);
    own(one, other) && one.words == other.words && one.operator == other.operator
}

/// Moves the cursor; at the end of the history more of it is asked for.
pub fn go(app: &mut App, to: impl Fn(usize, usize) -> usize) -> Vec<Effect> {
    let keys = app.pages.keys(app.page);
    let last = keys.len().saturating_sub(1);
    let row = app.pages.row(app.page);
    let next = to(row, last).min(last);
    let key = keys.get(next).cloned();
    app.pages.put_cursor(app.page, key);
    app.pages.scroll = 0;
    if app.page == Page::History && next + 20 >= last { records(app, true) } else { Vec::new() }
}

/// Puts the window of the list around the cursor.
pub fn refit(app: &mut App, rows: usize) {
    if app.page == Page::Queue {
        return;
    }
    let (row, len) = (app.pages.row(app.page), app.pages.keys(app.page).len());
    // The cursor stays with what it is on, also when rows come above it; at the top it stays at the top.
    let rows = rows.max(1);
    app.pages.top = app.pages.top.clamp((row + 1).saturating_sub(rows), row).min(len.saturating_sub(rows));
}
