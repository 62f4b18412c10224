//! A page of the record for people: what each record says, and which call it is about.
//!
//! Invariant: whether the page is intact is found by computing it, from the records that are on it and from where the
//! writer knows that the log ends. A record that is missing between two others, or at either end, makes it not intact.

use std::collections::HashMap;

use super::{AuditError, AuditReader, Record, Words};
use crate::call::{CallId, Digest};

/// Longest text of one member of a line, in characters.
const CLIPPED: usize = 400;

/// What a record says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Line {
    pub seq: u64,
    pub at: String,
    pub call: Option<CallId>,
    pub kind: String,
    pub words: String,
    pub about: About,
}

/// Whose call a record is about; members of the call's first record, for its later ones too.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct About {
    pub server: Option<String>,
    pub environment: Option<String>,
    pub principal: Option<String>,
    pub session: Option<String>,
    pub operation: Option<String>,
    pub rule: Option<String>,
    pub operator: Option<String>,
}

/// Records, newest first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Page {
    pub lines: Vec<Line>,
    /// The hash of the newest record there is.
    pub head: Option<Digest>,
    /// The records are what their hashes say and follow one another, none is missing among them, and the log does not
    /// end before the writer's last record. Of one call's records only neighbours can follow one another.
    pub intact: bool,
}

impl AuditReader {
    /// At most `limit` records of before `before`, where that is named, and of one call, where that is. `end`: number and
    /// hash of the last record that the writer knew before this was called. Blocks.
    ///
    /// # Errors
    /// Where the log cannot be read. What is not intact is said in the page.
    pub fn page(
        &self,
        before: Option<u64>,
        limit: usize,
        call: Option<&CallId>,
        end: Option<(u64, Digest)>,
    ) -> Result<Page, AuditError> {
        let (mut page, mut calls) = (Page { intact: true, ..Page::default() }, HashMap::new());
        let mut newer: Option<(u64, Digest)> = None;
        let mut intact = true;
        let mut take = |record: &Record| {
            let next = |seq: u64| seq == record.seq + 1;
            let follows = newer.is_none_or(|(seq, prev)| if next(seq) { prev == record.hash } else { call.is_some() });
            intact &= follows && record.computed() == record.hash;
            newer = Some((record.seq, record.prev));
            page.lines.push(self.line(record, &mut calls));
        };
        let read = match call {
            Some(call) => {
                let mut story = Vec::new();
                let read = self.story(call, |record| {
                    story.extend(Some(record).filter(|record| before.is_none_or(|before| record.seq < before)));
                    story.len() < 10_000
                });
                story.iter().rev().take(limit).for_each(&mut take);
                read
            }
            None => {
                let from = before.map_or(u64::MAX >> 1, |before| before.saturating_sub(1));
                let mut left = limit;
                self.scan_back(from, |record| {
                    take(&record);
                    left = left.saturating_sub(1);
                    left > 0
                })
            }
        };
        let odd = |read: Result<(), AuditError>| match read {
            Ok(()) => Ok(true),
            Err(AuditError::Broken(_)) => Ok(false),
            Err(error) => Err(error),
        };
        let readable = odd(read)?;
        let mut last = None;
        let ends = odd(self.scan_back(u64::MAX >> 1, |record| {
            last = Some((record.seq, record.hash));
            false
        }))?;
        let cut = end
            .is_some_and(|end| end.0 > 0 && last.is_none_or(|last| last.0 < end.0 || last.0 == end.0 && last != end));
        let whole = call.is_some() || reaches(&page.lines, before, limit, end.map_or(0, |(seq, _)| seq));
        Ok(Page { head: last.map(|(_, hash)| hash), intact: intact && readable && ends && !cut && whole, ..page })
    }

    fn line(&self, record: &Record, calls: &mut HashMap<String, About>) -> Line {
        let words = Words::of(record);
        let own = About::of(&words);
        let call = record.call.as_deref().and_then(|call| call.parse::<CallId>().ok());
        let about = match &call {
            Some(call) if own.server.is_none() => {
                let first = calls.entry(call.to_string()).or_insert_with(|| self.first(call));
                About { operator: own.operator, rule: own.rule.or(first.rule.clone()), ..first.clone() }
            }
            Some(_) | None => own,
        };
        let (at, kind) = (record.at.clone(), clipped(&record.kind));
        Line { seq: record.seq, at, call, words: clipped(&words.sentence(&record.kind)), kind, about }
    }

    /// What the first record of a call says that it is about.
    fn first(&self, call: &CallId) -> About {
        let mut about = About::default();
        // A call whose beginning cannot be read is about nothing that is known.
        let _ = self.story(call, |record| {
            about = About::of(&Words::of(&record));
            false
        });
        about
    }
}

/// Whether a page begins where it should, and goes on to the first record of all where it is not full.
fn reaches(lines: &[Line], before: Option<u64>, limit: usize, end: u64) -> bool {
    let first = before.map_or(end, |before| end.min(before.saturating_sub(1)));
    let begins = lines.first().map_or(0, |line| line.seq) >= first;
    begins && (lines.len() >= limit || lines.last().is_none_or(|line| line.seq == 1))
}

impl About {
    fn of(words: &Words) -> About {
        let text = |pointer: &str| Some(clipped(&words.text(pointer))).filter(|text| !text.is_empty());
        let named =
            |one: &str, other: &str| text(one).or_else(|| words.value(other)?.as_str().map(|text| clipped(&text)));
        About {
            server: named("/server/name", "/server"),
            environment: text("/environment/name"),
            principal: named("/principal/name", "/principal"),
            session: text("/session"),
            operation: text("/operation/name"),
            rule: text("/decision/rules/0/rule"),
            operator: text("/operator"),
        }
    }
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(CLIPPED) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
