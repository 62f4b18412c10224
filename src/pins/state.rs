//! How the tools of one server stand, in memory: pure, and what every call asks.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use crate::call::{Digest, Pin};
use crate::json::{Json, JsonText};

use super::store::{Entry, Kept};
use super::{
    Counts, FIRST_LIST, FIRST_PAGES, FIRST_USE, FirstUse, MAX_BYTES, MAX_DEFINITION, MAX_NAME, MAX_TOOLS, Remembered,
};

/// A page of a list of tools, as the server wrote it: all of its tools, whoever is shown them.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    pub principal: &'a str,
    pub session: &'a str,
    /// What the client asked for, where it asked for more than the beginning.
    pub cursor: Option<&'a str>,
    /// Where the list goes on.
    pub next: Option<&'a str>,
    pub tools: &'a [(String, Digest, Json<'a>)],
}

/// What a page says of a tool that was not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub tool: String,
    pub digest: Digest,
    /// Absent where it is too large.
    pub text: Option<JsonText>,
    pub change: Change,
    /// The pin that it is not.
    pub was: Option<Digest>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Pinned, because it is of the server's first list.
    Trusted,
    /// Not pinned.
    New,
    /// Another definition is pinned.
    Changed,
}

/// What a page changes. Nothing of it counts before it is kept, except that what has changed is not trusted.
#[derive(Clone, Default, Debug)]
pub struct Plan {
    /// It is the beginning of the server's first list.
    pub begins: bool,
    pub seen: Vec<Seen>,
    /// Tools for which there is no room.
    pub left_out: usize,
    first: Option<First>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        !self.begins && self.seen.is_empty()
    }
}

/// A first list that goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
struct First {
    cursor: String,
    until: Instant,
    pages: usize,
}

#[derive(Debug, Default)]
pub struct State {
    /// The first list has been listed, or begun: there will be no other.
    begun: bool,
    first: Option<First>,
    tools: BTreeMap<String, Row>,
    /// Of all definitions that are kept.
    bytes: usize,
}

#[derive(Clone, Default, Debug)]
struct Row {
    first_seen: String,
    pinned: Option<Side>,
    pinned_by: String,
    offered: Option<Side>,
}

#[derive(Clone, Debug)]
struct Side {
    digest: Digest,
    at: String,
    bytes: usize,
    /// It is on the disk. What has changed counts before.
    kept: bool,
}

impl Row {
    fn bytes(&self) -> usize {
        [&self.pinned, &self.offered].into_iter().flatten().map(|side| side.bytes).sum()
    }
}

fn side(kept: &Kept) -> Side {
    let bytes = kept.text.as_ref().map_or(0, |text| text.as_str().len());
    Side { digest: kept.digest, at: kept.at.clone(), bytes, kept: true }
}

/// A name that a person reads as what it is. Others are never trusted unseen.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic())
}

impl State {
    pub fn new(begun: bool) -> State {
        State { begun, ..State::default() }
    }

    /// A row as the store has it.
    pub fn restore(&mut self, entry: &Entry) {
        self.replace(&entry.tool, Some(entry));
    }

    /// Takes the store's row for a tool in place of what is known of it.
    pub fn replace(&mut self, tool: &str, entry: Option<&Entry>) {
        if let Some(old) = self.tools.remove(tool) {
            self.bytes -= old.bytes();
        }
        let Some(entry) = entry else { return };
        let row = Row {
            first_seen: entry.first_seen.clone(),
            pinned: entry.pinned.as_ref().map(side),
            pinned_by: entry.pinned_by.clone(),
            offered: entry.offered.as_ref().map(side),
        };
        self.bytes += row.bytes();
        self.tools.insert(tool.to_owned(), row);
    }

    pub fn pin(&self, tool: &str, listed: Option<Digest>, first_use: FirstUse) -> Pin {
        let row = self.tools.get(tool);
        match (row.and_then(|row| row.pinned.as_ref()), listed) {
            (Some(_), _) if row.is_some_and(|row| row.offered.is_some()) => Pin::Changed,
            (Some(pinned), Some(listed)) if pinned.digest == listed => Pin::Match,
            // A session has seen a definition that was another's turn to report, or that is not the pin any more.
            (Some(_), Some(_)) => Pin::Changed,
            (Some(_), None) => Pin::Unknown,
            // A tool that no list has is no better than a new one.
            (None, None) if !self.begun && first_use == FirstUse::Trust => Pin::Unknown,
            (None, _) => Pin::Unpinned,
        }
    }

    /// The definition that arguments are compared with.
    pub fn definition(&self, tool: &str) -> Option<Digest> {
        let row = self.tools.get(tool)?;
        row.pinned.as_ref().or(row.offered.as_ref()).map(|side| side.digest)
    }

    /// Whether a page says nothing that is not known.
    pub fn knows(&self, page: &Page<'_>, now: Instant) -> bool {
        self.begun && !self.goes_on(page, now) && page.tools.iter().all(|(tool, digest, _)| self.has(tool, *digest))
    }

    fn goes_on(&self, page: &Page<'_>, now: Instant) -> bool {
        self.first.as_ref().is_some_and(|first| page.cursor == Some(first.cursor.as_str()) && now < first.until)
    }

    fn has(&self, tool: &str, digest: Digest) -> bool {
        let Some(row) = self.tools.get(tool) else { return false };
        match (&row.pinned, &row.offered) {
            (_, Some(offered)) if offered.digest == digest => offered.kept,
            // The pin is listed again: what was offered in between stays in question.
            (Some(pinned), _) => pinned.digest == digest,
            (None, _) => false,
        }
    }

    /// What to keep of a page. A tool that is pinned and has changed is not trusted from here on.
    pub fn plan(&mut self, page: &Page<'_>, first_use: FirstUse, now: Instant) -> Plan {
        let begins = !self.begun && page.cursor.is_none();
        let goes_on = self.goes_on(page, now);
        let trusts = first_use == FirstUse::Trust && (begins || goes_on);
        let mut plan = Plan { begins, first: self.follows(page, begins, goes_on, now), ..Plan::default() };
        let mut bytes = self.bytes;
        // What this page itself has said of a tool: twice the same name may be two definitions.
        let mut said: HashMap<&str, (Digest, bool)> = HashMap::new();
        for (tool, digest, definition) in page.tools {
            let before = said.get(tool.as_str()).copied();
            let row = self.tools.get(tool);
            let pinned = match before {
                Some((digest, true)) => Some(digest),
                Some((_, false)) | None => row.and_then(|row| row.pinned.as_ref()).map(|side| side.digest),
            };
            let small = definition.text().len() <= MAX_DEFINITION;
            let trusted = trusts && pinned.is_none() && before.is_none() && small && is_plain(tool);
            let is_known = match before {
                Some((before, _)) => before == *digest,
                None => self.has(tool, *digest) && !trusted,
            };
            if is_known {
                continue;
            }
            let is_new = row.is_none() && before.is_none();
            let size = if small { definition.text().len() } else { 0 };
            let full = bytes + size > MAX_BYTES;
            let crowded = is_new && self.tools.len() + said.len() >= MAX_TOOLS;
            // What changes a pin is kept even where its text is not.
            if tool.len() > MAX_NAME || crowded || (full && pinned.is_none()) {
                plan.left_out += 1;
                continue;
            }
            let text = (small && !full).then(|| JsonText::owned(*definition));
            bytes += text.as_ref().map_or(0, |text| text.as_str().len());
            let change = match pinned {
                Some(_) => Change::Changed,
                None if trusted => Change::Trusted,
                None => Change::New,
            };
            said.insert(tool, (*digest, change == Change::Trusted));
            plan.seen.push(Seen { tool: tool.clone(), digest: *digest, text, change, was: pinned });
        }
        for seen in plan.seen.iter().filter(|seen| seen.change == Change::Changed) {
            let side = Side { kept: false, ..of(seen, "") };
            self.change(&seen.tool, "", |row| row.offered = Some(side));
        }
        plan
    }

    /// Where the first list goes on after this page.
    fn follows(&self, page: &Page<'_>, begins: bool, goes_on: bool, now: Instant) -> Option<First> {
        let next = page.next?.to_owned();
        match &self.first {
            _ if begins => Some(First { cursor: next, until: now + FIRST_LIST, pages: 1 }),
            Some(first) if goes_on && first.pages < FIRST_PAGES => {
                Some(First { cursor: next, until: first.until, pages: first.pages + 1 })
            }
            first => first.clone().filter(|_| !goes_on),
        }
    }

    /// The plan has been kept: it counts.
    pub fn apply(&mut self, plan: Plan, at: &str) {
        self.begun |= plan.begins;
        self.first = plan.first;
        for seen in &plan.seen {
            match seen.change {
                Change::Trusted => {
                    self.change(&seen.tool, at, |row| {
                        row.pinned = Some(of(seen, at));
                        row.pinned_by = FIRST_USE.to_owned();
                        row.offered = None;
                    });
                }
                Change::New | Change::Changed => self.offer(seen, at),
            }
        }
    }

    fn change(&mut self, tool: &str, at: &str, change: impl FnOnce(&mut Row)) {
        let row = self.tools.entry(tool.to_owned());
        let row = row.or_insert_with(|| Row { first_seen: at.to_owned(), ..Row::default() });
        let before = row.bytes();
        change(row);
        self.bytes = self.bytes - before + row.bytes();
    }

    fn offer(&mut self, seen: &Seen, at: &str) {
        self.change(&seen.tool, at, |row| row.offered = Some(of(seen, at)));
    }

    pub fn all(&self) -> Vec<Remembered> {
        let kept = |side: &Side| Kept { digest: side.digest, text: None, at: side.at.clone() };
        let remembered = |(tool, row): (&String, &Row)| Remembered {
            tool: tool.clone(),
            pin: standing(row),
            first_seen: row.first_seen.clone(),
            pinned: row.pinned.as_ref().map(kept),
            pinned_by: row.pinned_by.clone(),
            offered: row.offered.as_ref().map(kept),
        };
        self.tools.iter().map(remembered).collect()
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for row in self.tools.values() {
            match standing(row) {
                Pin::Match => counts.pinned += 1,
                Pin::Changed => counts.changed += 1,
                Pin::Unpinned | Pin::Unknown => counts.unpinned += 1,
            }
        }
        counts
    }
}

fn of(seen: &Seen, at: &str) -> Side {
    let bytes = seen.text.as_ref().map_or(0, |text| text.as_str().len());
    Side { digest: seen.digest, at: at.to_owned(), bytes, kept: true }
}

fn standing(row: &Row) -> Pin {
    match (&row.pinned, &row.offered) {
        (Some(_), Some(_)) => Pin::Changed,
        (Some(_), None) => Pin::Match,
        (None, _) => Pin::Unpinned,
    }
}
