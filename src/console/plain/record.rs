//! The record as plain mode reads it out: page by page, what a filter takes, and how its chain is.
//!
//! Invariant: what is kept and how the chain is judged is `pages`' business, as for the screen: once it was found broken
//! it stays so.

use super::talk::{Asked, Talk};
use crate::console::filter::{Filter, Of};
use crate::console::pages;
use crate::control::wire::{ChainView, Command, RecordView};

/// Records that are read out at once.
const READ_OUT: usize = 20;

impl Talk {
    /// The newest records that a filter takes.
    pub(super) fn history(&mut self, words: &[&str]) {
        match Filter::parse(&words.join(" "), Of::Records) {
            Ok(filter) => self.history_of(filter),
            Err(why) => self.say(format!("That is no filter: {why}.")),
        }
    }

    fn history_of(&mut self, filter: Filter) {
        (self.record.filter, self.oldest) = (filter, None);
        self.ask_records(false);
    }

    /// What was recorded of the operation of a hold.
    pub(super) fn same(&mut self, id: &crate::call::CallId) {
        let Some(hold) = self.holds.get(id).map(|entry| &entry.view) else { return };
        self.history_of(Filter::of_operation(&hold.server, &hold.operation));
    }

    /// The records before those that were read out last.
    pub(super) fn older(&mut self) {
        if self.oldest.is_none() {
            return self.say("There are no older records, or none were read out yet: type history.");
        }
        self.read_records();
    }

    /// `more`: those before the ones that are known.
    fn ask_records(&mut self, more: bool) {
        let before = self.record.records.last().map(|record| record.seq).filter(|_| more);
        let limit = pages::PAGE;
        self.send(Asked::History { more }, |seq| Command::Records { seq, before, limit, call: None });
    }

    pub(super) fn took_page(&mut self, more: bool, records: Vec<RecordView>, chain: ChainView) {
        let was = self.record.is_broken();
        pages::took_records(&mut self.record, more, records, chain);
        self.broke(was);
        self.read_records();
    }

    /// Reads out the next ones that are known, or asks for more of them.
    fn read_records(&mut self) {
        let oldest = self.oldest;
        let is_next = |record: &&RecordView| oldest.is_none_or(|oldest| record.seq < oldest);
        let page: Vec<_> = self.record.records().filter(is_next).take(READ_OUT).map(record).collect();
        let last = self.record.records().filter(is_next).take(READ_OUT).last().map(|record| record.seq);
        let known = self.record.records.len();
        let at_end = self.record.complete || self.record.records.last().is_none_or(|record| record.seq <= 1);
        if page.len() < READ_OUT && !at_end && known < pages::RECORDS {
            return self.ask_records(true);
        }
        page.iter().rev().for_each(|line| self.say(line));
        let more = page.len() == READ_OUT;
        self.oldest = last.filter(|_| more);
        let count = page.len();
        let hidden = known - self.record.records().count();
        if !self.record.filter.is_empty() {
            let words = self.record.filter.text.clone();
            self.say(format!("{count} of those that {words} takes; of {known} looked through it left out {hidden}."));
        }
        let rest = match (more, at_end) {
            (true, _) => "Type older for those before them.".to_owned(),
            (false, true) => "There are none before them.".to_owned(),
            (false, false) => {
                format!("No more than {known} are looked through: countersign audit tail has the others.")
            }
        };
        self.say(rest);
        self.chain_words();
    }

    /// How the chain is, as far as it was looked at.
    pub(super) fn chain_words(&mut self) {
        let Some(chain) = &self.record.chain else { return };
        let words = if chain.intact { "those that were read follow one another" } else { BROKEN };
        self.say(format!("{} records in all; {words}.", chain.records));
    }

    /// Looks at the newest records from time to time, as the screen does.
    pub(super) fn look(&mut self) {
        let due = self.looked_at.is_none_or(|at| self.now.mono >= at + pages::LOOK);
        let waits = |asked: &Asked| matches!(asked, Asked::Chain | Asked::History { .. });
        if self.live && due && !self.asked.values().any(waits) && self.has_room() {
            self.looked_at = Some(self.now.mono);
            let limit = pages::PAGE;
            self.send(Asked::Chain, |seq| Command::Records { seq, before: None, limit, call: None });
        }
    }

    pub(super) fn took_chain(&mut self, chain: ChainView) {
        let was = self.record.is_broken();
        self.record.took_chain(chain, true);
        self.broke(was);
    }

    /// A chain that breaks is said when it is seen.
    fn broke(&mut self, was: bool) {
        self.unread = false;
        if self.record.is_broken() && !was {
            self.say(format!("Records: {BROKEN}."));
        }
    }
}

const BROKEN: &str = "THE CHAIN IS BROKEN: those that were read do not follow one another, or some are missing. Run \
                      countersign audit verify";

/// A record in one line.
pub(super) fn record(record: &RecordView) -> String {
    let RecordView { seq, at, words, call, operation, server, environment, principal, operator, .. } = record;
    let of = |before: &str, text: &Option<String>| text.as_ref().map(|text| format!("{before}{text}"));
    let about = [
        call.as_ref().map(|call| format!("call {call}")),
        of("", operation),
        of("on ", server).map(|on| environment.as_ref().map_or_else(|| on.clone(), |name| format!("{on} in {name}"))),
        of("for ", principal),
        of("session ", &record.session),
        of("rule ", &record.rule),
        of("by ", operator),
    ];
    let about: Vec<_> = about.into_iter().flatten().collect();
    let about = if about.is_empty() { String::new() } else { format!(" ({})", about.join(", ")) };
    format!("Record {seq} at {at}: {words}{about}")
}
