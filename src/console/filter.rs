//! The language of the filters: words, and `field:value` for what a list knows by name; `!` before a term means not.
//!
//! `env:live tool:refund risk:>=high !test`: every term has to be true. A value is a part of the text, in any case of
//! letters. A word is looked for in every field and in what the row shows beside them: summary, targets and reason; in
//! the arguments `arg:` looks, and a word does not: they may be long. A field that a list does not have is an error and never a filter that hides everything.

use crate::call::Tier;
use crate::console::describe;
use crate::console::holds::{Entry, Holds};
use crate::control::wire::{HoldView, RecordView};

/// Fields of the queue, then those of the history.
const HOLD_FIELDS: &[&str] =
    &["env", "server", "tool", "op", "class", "rule", "client", "session", "id", "state", "risk", "claimed", "arg"];
const RECORD_FIELDS: &[&str] = &["env", "server", "op", "rule", "client", "session", "id", "kind", "operator"];

/// Which list is filtered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Of {
    Holds,
    Records,
}

/// A filter that can be used; empty: everything passes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    pub text: String,
    terms: Vec<Term>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Term {
    not: bool,
    test: Test,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Test {
    Word(String),
    Field(&'static str, String),
    Risk(Compare, Tier),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Compare {
    Is,
    AtLeast,
    AtMost,
    More,
    Less,
}

impl Term {
    fn is_of_arguments(&self) -> bool {
        matches!(self.test, Test::Field("arg", _))
    }
}

impl Filter {
    /// # Errors
    /// What is wrong, in words.
    pub fn parse(text: &str, of: Of) -> Result<Filter, String> {
        let terms = text.split_whitespace().map(|word| term(word, of)).collect::<Result<_, _>>()?;
        Ok(Filter { text: text.trim().to_owned(), terms })
    }

    /// The records of one operation of one server, however they are called: a name may have spaces.
    pub fn of_operation(server: &str, operation: &str) -> Filter {
        let term = |field, value: &str| Term { not: false, test: Test::Field(field, value.to_lowercase()) };
        let text = format!("server:{server} op:{operation}");
        Filter { text, terms: vec![term("server", server), term("op", operation)] }
    }

    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Looks into the arguments of holds, once for each: they may be long, and rows are made anew after every event.
    pub fn search(&self, holds: &mut Holds) {
        if self.terms.iter().any(Term::is_of_arguments) {
            for entry in holds.all_mut() {
                if entry.searched.as_ref().is_none_or(|(text, _)| *text != self.text) {
                    entry.searched = Some((self.text.clone(), self.finds(&entry.view)));
                }
            }
        }
    }

    /// Whether the terms about arguments take these.
    fn finds(&self, hold: &HoldView) -> bool {
        let mut terms = self.terms.iter().filter(|term| term.is_of_arguments()).peekable();
        if terms.peek().is_none() {
            return true;
        }
        // As they are sent: no pointer, no decoding.
        let text = hold.arguments.as_str().to_lowercase();
        terms.all(|term| matches!(&term.test, Test::Field(_, value) if text.contains(value) != term.not))
    }

    pub fn takes(&self, entry: &Entry) -> bool {
        let short = self.terms.iter().filter(|term| !term.is_of_arguments()).all(|term| {
            let is = match &term.test {
                Test::Risk(compare, tier) => compare.holds(entry.risk.tier, *tier),
                Test::Field(field, value) => hold_field(entry, field).is_some_and(|text| has(&text, value)),
                Test::Word(word) => {
                    let hold = &entry.view;
                    HOLD_FIELDS.iter().filter_map(|field| hold_field(entry, field)).any(|text| has(&text, word))
                        || has(&describe::summary(hold), word)
                        || hold.targets.iter().any(|target| has(target, word))
                        || has(&hold.reason, word)
                }
            };
            is != term.not
        });
        short
            && match &entry.searched {
                Some((text, found)) if *text == self.text => *found,
                Some(_) | None => self.finds(&entry.view),
            }
    }

    pub fn takes_record(&self, record: &RecordView) -> bool {
        self.terms.iter().all(|term| {
            let is = match &term.test {
                Test::Risk(..) => false,
                Test::Field(field, value) => record_field(record, field).is_some_and(|text| has(text, value)),
                Test::Word(word) => {
                    has(&record.words, word)
                        || RECORD_FIELDS
                            .iter()
                            .filter_map(|field| record_field(record, field))
                            .any(|text| has(text, word))
                }
            };
            is != term.not
        })
    }
}

fn term(word: &str, of: Of) -> Result<Term, String> {
    let (not, rest) = word.strip_prefix('!').map_or((false, word), |rest| (true, rest));
    let test = match rest.split_once(':') {
        None if rest.is_empty() => return Err("`!` stands before a word".to_owned()),
        None => Test::Word(rest.to_lowercase()),
        Some(("risk", value)) if of == Of::Holds => risk(value)?,
        Some((name, value)) => {
            let fields = match of {
                Of::Holds => HOLD_FIELDS,
                Of::Records => RECORD_FIELDS,
            };
            let Some(field) = fields.iter().find(|field| **field == name) else {
                return Err(format!("there is no field {name:?}; there are {}", fields.join(", ")));
            };
            if value.is_empty() {
                return Err(format!("{field}: of what?"));
            }
            Test::Field(field, value.to_lowercase())
        }
    };
    Ok(Term { not, test })
}

fn risk(value: &str) -> Result<Test, String> {
    let ways = [
        (">=", Compare::AtLeast),
        ("<=", Compare::AtMost),
        (">", Compare::More),
        ("<", Compare::Less),
        ("=", Compare::Is),
        ("", Compare::Is),
    ];
    let found = ways.iter().find_map(|(sign, compare)| Some((*compare, value.strip_prefix(sign)?)));
    let (compare, word) = found.unwrap_or((Compare::Is, value));
    let tier = match word {
        "low" | "!" => Tier::Low,
        "medium" | "!!" => Tier::Medium,
        "high" | "!!!" => Tier::High,
        _ => return Err("risk: is low, medium or high, with >=, <=, > or < before it".to_owned()),
    };
    Ok(Test::Risk(compare, tier))
}

impl Compare {
    fn holds(self, have: Tier, want: Tier) -> bool {
        match self {
            Compare::Is => have == want,
            Compare::AtLeast => have >= want,
            Compare::AtMost => have <= want,
            Compare::More => have > want,
            Compare::Less => have < want,
        }
    }
}

/// `part` is in lower case.
fn has(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(part)
}

fn hold_field(entry: &Entry, field: &str) -> Option<String> {
    let hold = &entry.view;
    match field {
        "env" => Some(format!("{} {}", describe::badge(hold), hold.environment.name)),
        "server" => Some(hold.server.clone()),
        "tool" => Some(hold.tool.clone()),
        "op" => Some(hold.operation.clone()),
        "class" => Some(hold.class.as_str().to_owned()),
        "rule" => Some(hold.rule.clone()),
        "client" => Some(format!("{} {}", hold.principal, hold.client.name.as_deref().unwrap_or(""))),
        "session" => Some(hold.session.clone()),
        "id" => Some(hold.id.to_string()),
        "state" => Some(describe::state_word(&hold.state).to_owned()),
        "claimed" => hold.claimed.as_ref().map(|claimed| claimed.by.clone()),
        _ => None,
    }
}

fn record_field<'a>(record: &'a RecordView, field: &str) -> Option<&'a str> {
    match field {
        "env" => record.environment.as_deref(),
        "server" => record.server.as_deref(),
        "op" => record.operation.as_deref(),
        "rule" => record.rule.as_deref(),
        "client" => record.principal.as_deref(),
        "session" => record.session.as_deref(),
        "id" => record.call.as_ref().map(crate::call::CallId::as_str),
        "kind" => Some(&record.kind),
        "operator" => record.operator.as_deref(),
        _ => None,
    }
}
