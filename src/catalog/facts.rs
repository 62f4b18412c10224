//! What is known about one tool or operation, and how a call's arguments fill it in.
//!
//! Invariant: what a call says about itself only tightens. Numbers keep their spelling, and what is not one plain number
//! is never written as one.

use crate::call::{Class, Magnitude, Money, Operation, Reach, ReachMode};
use crate::json::{Json, Kind};

use super::file::{Currency, MagnitudeFacts, ModeArgument, MoneyFacts, Raise, Reaches};
use super::pointer::{Arguments, Found, Pointer};

/// As many targets, accounts and environments are named; the rest is counted.
const MAX_NAMED: usize = 64;
/// As many values are spelled out where there is not one number.
const MAX_SPELLED: usize = 16;

/// An entry of a catalog with everything that it takes over from others.
#[derive(Clone, Debug)]
pub struct Facts {
    pub class: Class,
    pub reversible: Option<bool>,
    pub money: Option<MoneyFacts>,
    pub targets: Vec<Pointer>,
    pub magnitude: Option<MagnitudeFacts>,
    pub unmeasured: Vec<Pointer>,
    /// Arguments besides those that pointers lead into. A call with any other is unmeasured; absent: nobody lists them.
    pub known: Option<Vec<String>>,
    pub environment: Option<Reaches>,
    pub raises: Vec<Raise>,
    pub effect: Option<String>,
    pub inside: Vec<Pointer>,
    pub gated: Option<Class>,
}

impl Facts {
    pub fn of_class(class: Class) -> Facts {
        Facts {
            class,
            reversible: None,
            money: None,
            targets: Vec::new(),
            magnitude: None,
            unmeasured: Vec::new(),
            known: None,
            environment: None,
            raises: Vec::new(),
            effect: None,
            inside: Vec::new(),
            gated: None,
        }
    }

    /// The worst that a call can be.
    pub fn worst(&self) -> Class {
        self.raises.iter().map(|raise| raise.class).fold(self.class, Class::max)
    }

    /// What is known without a call: nothing about where, and no condition holds yet.
    pub fn listed(&self, name: &str) -> Operation {
        let (reversible, effect) = (self.reversible, self.effect.clone());
        let nothing = Arguments::default();
        Operation {
            reversible,
            money: self.money.as_ref().and_then(|money| money.read(&nothing)),
            magnitude: self.magnitude.as_ref().and_then(|magnitude| magnitude.read(&nothing)),
            effect,
            ..Operation::bare(name, self.class)
        }
    }

    /// What a call does whose own arguments are in these places; without places, at the top.
    pub fn describe_inside(&self, name: &str, places: &[Pointer], arguments: &Arguments<'_>) -> Operation {
        if places.is_empty() {
            let mut operation = self.describe(name, arguments);
            operation.unmeasured |= self.has_more(arguments, places);
            return operation;
        }
        let inside = arguments.inside(places);
        let mut operation = self.describe(name, &inside);
        operation.unmeasured |= self.has_more(&inside, places);
        if inside.odd().is_some() {
            operation.make_unknown("something that is no object stands in place of the arguments");
        }
        operation
    }

    /// Something is among the arguments of which the entry says nothing. A place inside another one is none of them.
    fn has_more(&self, arguments: &Arguments<'_>, places: &[Pointer]) -> bool {
        let Some(known) = &self.known else { return false };
        let is_known = |name: &str| known.iter().any(|one| one == name) || self.leads_to(name);
        let is_place = |name: &str| places.iter().any(|place| place.is_last_of(name, places));
        arguments.names().any(|name| !is_known(name) && !is_place(name))
    }

    /// Some pointer of the entry leads into this argument. One that says where the call reaches says nothing of how much.
    fn leads_to(&self, name: &str) -> bool {
        let amount = self.money.iter().flat_map(MoneyFacts::pointers);
        let magnitude = self.magnitude.iter().flat_map(|much| much.value.iter().chain(&much.count));
        let raises = self.raises.iter().flat_map(|raise| raise.when.pointers());
        let others = self.targets.iter().chain(&self.unmeasured);
        amount.chain(magnitude).chain(raises).chain(others).any(|pointer| pointer.first() == name)
    }

    /// Calls of this entry are within a limit with an argument that takes them out of those of the other one.
    pub fn knows_more_than(&self, other: &Facts) -> bool {
        let knows = |name: &String| {
            let known = other.known.as_ref().is_none_or(|known| known.contains(name));
            known || other.leads_to(name)
        };
        match &self.known {
            Some(own) => !own.iter().all(knows),
            None => other.known.is_some(),
        }
    }

    /// What a call with these arguments does.
    fn describe(&self, name: &str, arguments: &Arguments<'_>) -> Operation {
        let mut operation = Operation {
            targets: named(self.targets.iter(), arguments),
            environment: self.environment.as_ref().and_then(|reaches| reaches.read(arguments)),
            money: self.money.as_ref().and_then(|money| money.read(arguments)),
            magnitude: self.magnitude.as_ref().and_then(|magnitude| magnitude.read(arguments)),
            unmeasured: self.unmeasured.iter().any(|pointer| arguments.carries(pointer)),
            ..self.listed(name)
        };
        for raise in self.raises.iter().filter(|raise| raise.when.hold(arguments)) {
            operation.unmeasured |= !raise.measured;
            if raise.reversible == Some(false) {
                operation.reversible = Some(false);
            }
            if raise.class > operation.class {
                operation.class = raise.class;
                operation.effect = raise.effect.clone().or(operation.effect);
            }
        }
        operation
    }
}

impl MoneyFacts {
    fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        let currency = match &self.currency {
            Some(Currency::At(pointer)) => Some(pointer),
            Some(Currency::Always(_)) | None => None,
        };
        self.amount.0.iter().chain(currency)
    }

    fn read(&self, arguments: &Arguments<'_>) -> Option<Money> {
        let amount = Tally::of(&self.amount.0, arguments).only();
        (amount.is_some() || !self.optional).then(|| Money {
            amount,
            unit: self.unit.as_str().to_owned(),
            currency: match &self.currency {
                Some(Currency::At(pointer)) => arguments.value(pointer).map(word),
                Some(Currency::Always(code)) => Some(code.clone()),
                None => None,
            },
            absent: self.absent.clone(),
        })
    }
}

impl MagnitudeFacts {
    fn read(&self, arguments: &Arguments<'_>) -> Option<Magnitude> {
        let value = match (self.count.is_empty(), self.total) {
            (true, false) => Tally::of(&self.value, arguments).largest(),
            (true, true) => Tally::of(&self.value, arguments).total(),
            (false, _) => counted(&self.count, arguments),
        };
        let is_there = value.is_some() || !self.optional;
        is_there.then(|| Magnitude { value, unit: self.unit.clone(), absent: self.absent.clone() })
    }
}

/// Everything that stands at some places where one number is expected.
#[derive(Default)]
struct Tally<'a> {
    values: Vec<&'a str>,
    found: usize,
    largest: Option<(f64, &'a str)>,
    /// Of whole numbers that take nothing away; `None` where something else is there, too.
    total: Option<u64>,
    /// Something is there that is not a plain number.
    mixed: bool,
    /// Something is there in another place than it belongs.
    odd: bool,
}

impl<'a> Tally<'a> {
    fn of(pointers: &[Pointer], arguments: &Arguments<'a>) -> Tally<'a> {
        let mut tally = Tally { total: Some(0), ..Tally::default() };
        for pointer in pointers {
            arguments.visit(pointer, &mut |found| match found {
                Found::Value(value) => tally.add(value),
                Found::Odd(value) => {
                    tally.odd = true;
                    tally.spell(value.text());
                }
                Found::Missing => {
                    tally.odd = true;
                    tally.spell("null");
                }
            });
        }
        tally
    }

    fn add(&mut self, value: Json<'a>) {
        let number = value.text().parse::<f64>().ok().filter(|_| value.kind() == Kind::Number);
        match (number, self.largest) {
            (Some(number), Some((before, _))) if number <= before => {}
            (Some(number), _) => self.largest = Some((number, value.text())),
            (None, _) => self.mixed = true,
        }
        let whole = value.text().parse::<u64>().ok().filter(|_| value.kind() == Kind::Number);
        self.total = self.total.zip(whole).and_then(|(total, whole)| total.checked_add(whole));
        self.spell(value.text());
    }

    fn spell(&mut self, text: &'a str) {
        self.found += 1;
        if self.values.len() < MAX_SPELLED {
            self.values.push(text);
        }
    }

    /// The one value; a list where there are several.
    fn only(self) -> Option<String> {
        match (self.values.as_slice(), self.odd) {
            ([], _) => None,
            ([one], false) => Some((*one).to_owned()),
            _ => Some(self.list()),
        }
    }

    /// The largest number; a list where something else is among them.
    fn largest(self) -> Option<String> {
        match self.largest {
            Some((_, text)) if !self.mixed && !self.odd => Some(text.to_owned()),
            _ => self.only(),
        }
    }

    /// The sum; a list where something else than whole numbers is among them.
    fn total(self) -> Option<String> {
        match (self.total, self.values.as_slice()) {
            (Some(total), [_, _, ..]) if !self.odd => Some(total.to_string()),
            _ => self.only(),
        }
    }

    fn list(&self) -> String {
        let more = if self.found > self.values.len() { ",\"...\"" } else { "" };
        format!("[{}{more}]", self.values.join(","))
    }
}

/// How many items the lists have together. What is no list is spelled out in one, so that it is no number.
fn counted(lists: &[Pointer], arguments: &Arguments<'_>) -> Option<String> {
    let (mut items, mut any, mut odd) = (0_usize, false, None);
    for pointer in lists {
        arguments.visit(pointer, &mut |found| {
            any = true;
            match found {
                Found::Value(value) if value.kind() == Kind::Array => items += value.items().count(),
                Found::Value(value) | Found::Odd(value) => odd = Some(value.text()),
                Found::Missing => {}
            }
        });
    }
    match odd {
        Some(odd) => Some(format!("[{odd}]")),
        None => any.then(|| items.to_string()),
    }
}

impl Reaches {
    /// Where the arguments want the call to take effect, where they name a place.
    pub fn read(&self, arguments: &Arguments<'_>) -> Option<Reach> {
        let reach = Reach {
            mode: self.mode.as_ref().and_then(|mode| mode.read(arguments)),
            accounts: named(self.accounts.iter(), arguments),
            ..self.environments(arguments)
        };
        (!reach.is_nowhere()).then_some(reach)
    }

    fn environments(&self, arguments: &Arguments<'_>) -> Reach {
        let (mut names, mut absent) = (Names::default(), true);
        let mut missing = false;
        for pointer in &self.environments {
            arguments.visit(pointer, &mut |found| {
                absent = false;
                match found {
                    Found::Missing => missing = true,
                    Found::Value(value) if value.kind() == Kind::Null => missing = true,
                    Found::Value(value) if value.kind() == Kind::Array => {
                        missing |= value.items().next().is_none();
                        value.items().for_each(|item| names.add(item));
                    }
                    Found::Value(value) | Found::Odd(value) => names.add(value),
                }
            });
        }
        let everywhere = self.absent.is_some() && (absent || missing);
        Reach { environments: names.finish(), everywhere, ..Reach::default() }
    }
}

impl ModeArgument {
    fn read(&self, arguments: &Arguments<'_>) -> Option<ReachMode> {
        let mut mode = None;
        arguments.visit(&self.at, &mut |found| {
            let says = match found {
                Found::Value(value) if value.text() == self.production => ReachMode::Production,
                Found::Value(value) if value.text() == self.test => ReachMode::Test,
                Found::Value(_) | Found::Odd(_) | Found::Missing => ReachMode::Unknown,
            };
            mode = Some(if mode.is_some_and(|before| before != says) { ReachMode::Unknown } else { says });
        });
        mode
    }
}

/// Both together; a mode that only one of them names counts.
pub fn both(one: Option<Reach>, other: Option<Reach>) -> Option<Reach> {
    match (one, other) {
        (Some(mut one), Some(other)) => {
            one.mode = match (one.mode, other.mode) {
                (Some(a), Some(b)) if a != b => Some(ReachMode::Unknown),
                (a, b) => a.or(b),
            };
            one.accounts.extend(other.accounts);
            one.environments.extend(other.environments);
            one.everywhere |= other.everywhere;
            Some(one)
        }
        (one, other) => one.or(other),
    }
}

/// Names that arguments spell. A list names each of its items.
fn named<'p>(pointers: impl Iterator<Item = &'p Pointer>, arguments: &Arguments<'_>) -> Vec<String> {
    let mut names = Names::default();
    for pointer in pointers {
        arguments.visit(pointer, &mut |found| match found {
            Found::Value(value) if value.kind() == Kind::Array => value.items().for_each(|item| names.add(item)),
            Found::Value(value) | Found::Odd(value) => names.add(value),
            Found::Missing => {}
        });
    }
    names.finish()
}

#[derive(Default)]
struct Names {
    names: Vec<String>,
    more: usize,
}

impl Names {
    fn add(&mut self, value: Json<'_>) {
        if self.names.len() < MAX_NAMED {
            self.names.push(word(value));
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.names.push(format!("and {} more", self.more));
        }
        self.names
    }
}

/// A string's characters; anything else as it is spelled.
pub fn word(value: Json<'_>) -> String {
    match value.kind() {
        Kind::String => value.as_str().unwrap_or_default().into_owned(),
        Kind::Object | Kind::Array | Kind::Number | Kind::Bool | Kind::Null => value.text().to_owned(),
    }
}
