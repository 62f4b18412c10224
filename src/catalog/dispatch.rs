//! Which operation a call of a dispatching tool selects: by the operation's name, by a choice and the argument that comes
//! with it, or by a handle of the server.
//!
//! Invariant: only an operation of the catalog is ever selected. What is absent, odd, more than one, or for another tool
//! selects nothing, and the call is of class unknown under the tool's own name.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::call::{Class, Operation};
use crate::json::Json;

use super::facts::{Facts, word};
use super::handles::{Handles, Known};
use super::pointer::{Arguments, Pointer};

/// As much of a client's or server's text stands in a sentence of ours.
const MAX_QUOTED: usize = 120;

/// A tool whose operation depends on its arguments.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    pub selects: Pointer,
    pub way: Way,
    /// Where the operation's own arguments are; empty: beside the selector.
    pub inside: Vec<Pointer>,
    /// Classes of operations that go through this tool; absent: all.
    pub classes: Option<Vec<Class>>,
    /// Every argument that it takes, where that is known.
    pub takes: Option<HashSet<String>>,
}

#[derive(Clone, Debug)]
pub enum Way {
    /// The argument is the operation's name, which begins with one of these.
    Name(Vec<String>),
    /// What the argument says stands for one of these.
    Choice(HashMap<String, Vec<Choice>>),
    /// The argument is a handle that the server gave out in this session.
    Handle,
}

/// An operation, and the argument that holds its own.
#[derive(Clone, Debug)]
pub struct Choice {
    pub holder: Pointer,
    pub operation: String,
}

/// The name of an operation and where its arguments are; or why there is none.
type Selected<'a> = Result<(Cow<'a, str>, &'a [Pointer]), String>;

impl Dispatcher {
    /// What a call of this tool does.
    pub fn describe(
        &self,
        tool: &str,
        operations: &HashMap<String, Facts>,
        handles: &Handles,
        arguments: &Arguments<'_>,
    ) -> Operation {
        // The name is the tool's and not the agent's word, which could be the name of a harmless operation.
        let unknown = |target: Option<String>, why: String| Operation {
            targets: target.into_iter().collect(),
            effect: Some(why),
            ..Operation::bare(tool, Class::Unknown)
        };
        let said = || arguments.value(&self.selects).map(word);
        let (selected, inside) = match self.select(tool, handles, arguments) {
            Ok(selected) => selected,
            Err(why) => return unknown(said(), why),
        };
        let Some((name, facts)) = operations.get_key_value(selected.as_ref()) else {
            let why = format!("runs {}, which the catalog does not know", quoted(&selected));
            return unknown(Some(selected.into_owned()), why);
        };
        if self.classes.as_ref().is_some_and(|classes| !classes.contains(&facts.class)) {
            let why = format!("{name} is of class {} and does not go through {tool}", facts.class.as_str());
            return unknown(said(), why);
        }
        let mut operation = facts.describe_inside(name, inside, arguments);
        if let Some(stray) = self.takes.as_ref().and_then(|takes| arguments.names().find(|name| !takes.contains(*name)))
        {
            operation.make_unknown(format!("the call carries {}, which {tool} is not known to take", quoted(stray)));
        }
        operation
    }

    fn select<'a>(&'a self, tool: &str, handles: &'a Handles, arguments: &Arguments<'a>) -> Selected<'a> {
        let selector = self.selects.as_str();
        let Some(says) = arguments.value(&self.selects).and_then(Json::as_str) else {
            return Err(format!("the call does not say what it runs: {selector} is not there, or no text"));
        };
        match &self.way {
            Way::Name(verbs) if verbs.iter().any(|verb| says.starts_with(verb.as_str())) => Ok((says, &self.inside)),
            Way::Name(_) => Err(format!("{} does not go through {tool}", quoted(&says))),
            Way::Choice(choices) => {
                let Some(options) = choices.get(says.as_ref()) else {
                    return Err(format!("{selector} says {}, which {tool} is not known to take", quoted(&says)));
                };
                let choice = chosen(choices, options, arguments)?;
                Ok((Cow::Borrowed(&choice.operation), std::slice::from_ref(&choice.holder)))
            }
            Way::Handle => match handles.get(&says) {
                None => Err("the handle was not given out by the server in this session".to_owned()),
                Some(Known::Ambiguous) => Err("the server gave the handle out for different operations".to_owned()),
                Some(Known::Operation { lane, .. }) if lane != tool => {
                    Err(format!("the server gave the handle out for {}, not for {tool}", quoted(lane)))
                }
                Some(Known::Operation { operation, .. }) => Ok((Cow::Borrowed(operation), &self.inside)),
            },
        }
    }
}

/// The option whose holder is there, and no holder of another one. A single option needs none.
fn chosen<'a>(
    choices: &HashMap<String, Vec<Choice>>,
    options: &'a [Choice],
    arguments: &Arguments<'_>,
) -> Result<&'a Choice, String> {
    let is_here = |choice: &&Choice| arguments.has(choice.holder.first());
    let holders: HashSet<_> = choices.values().flatten().filter(is_here).map(|choice| choice.holder.first()).collect();
    let mut here = options.iter().filter(is_here);
    match (here.next(), here.next(), options) {
        (Some(choice), None, _) if holders.len() == 1 => Ok(choice),
        (None, None, [only]) if holders.is_empty() => Ok(only),
        (None, _, _) => {
            Err("the call does not say what it runs: the arguments of the operation are not there".to_owned())
        }
        (Some(_), _, _) => Err("the call carries the arguments of more than one operation".to_owned()),
    }
}

/// Text that is not ours, short enough for a sentence.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((cut, _)) => format!("{}...", text.get(..cut).unwrap_or("")),
        None => text.to_owned(),
    }
}
