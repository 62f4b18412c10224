//! Which operations a helper rule is about: those that the bodies ask for by name from which it is looked at, however many
//! rules lie between. Reads the syntax tree; evaluates nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::super::check;
use super::super::syntax::{Body, Module, Rule};
use super::lint;

/// What a call may be where a rule or a body is looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum About {
    Anything,
    /// One of these operations or tools.
    Names(BTreeSet<String>),
}

impl About {
    /// Of a rule that is looked at from both. True where that says more than before.
    fn add(&mut self, other: &About) -> bool {
        match (&mut *self, other) {
            (About::Anything, _) => false,
            (About::Names(_), About::Anything) => {
                *self = About::Anything;
                true
            }
            (About::Names(names), About::Names(others)) => {
                let before = names.len();
                names.extend(others.iter().cloned());
                names.len() > before
            }
        }
    }
}

/// The names that a body asks for; `None` where it asks for none.
pub fn asked(body: &Body) -> Option<About> {
    let asks =
        body.statements.iter().filter_map(|statement| statement.asks.as_ref()).find(|asks| lint::is_name(asks))?;
    Some(About::Names(asks.values.iter().map(|(value, _)| value.clone()).collect()))
}

/// Whether something stands in the body, or in what is made where it holds.
pub fn is_in(rule: &Rule, body: &Body, offset: usize) -> bool {
    let mut parts = body.statements.iter().map(|statement| statement.span).chain(rule.value).chain(body.value);
    parts.any(|part| part.start <= offset && offset < part.end)
}

/// By path, of every rule that a set of a policy comes to.
pub fn around(modules: &[Module]) -> BTreeMap<Vec<String>, About> {
    let modules: Vec<&Module> = modules.iter().filter(|module| !module.is_test()).collect();
    let rules = || {
        modules.iter().flat_map(|module| module.rules.iter().map(move |rule| (module.full_path(rule), *module, rule)))
    };
    let paths: BTreeSet<Vec<String>> = rules().map(|(path, ..)| path).collect();
    let mut around: BTreeMap<Vec<String>, About> = BTreeMap::new();
    loop {
        let mut grew = false;
        for (path, module, rule) in rules() {
            let exported = check::is_policy(module) && check::is_export(rule);
            let Some(outer) = (if exported { Some(About::Anything) } else { around.get(&path).cloned() }) else {
                continue;
            };
            let references = rule.references.iter().map(|reference| (&reference.path, reference.offset));
            for (target, offset) in references.chain(rule.calls.iter().map(|call| (&call.path, call.offset))) {
                let Some(helper) = (0..=target.len()).rev().find_map(|end| paths.get(target.get(..end)?)) else {
                    continue;
                };
                let bodies = rule.bodies.iter().filter(|body| is_in(rule, body, offset));
                let mut abouts: Vec<About> = bodies.map(|body| asked(body).unwrap_or_else(|| outer.clone())).collect();
                if abouts.is_empty() {
                    abouts.push(outer.clone());
                }
                for about in abouts {
                    grew |= match around.get_mut(helper) {
                        Some(there) => there.add(&about),
                        None => around.insert(helper.clone(), about).is_none(),
                    };
                }
            }
        }
        if !grew {
            return around;
        }
    }
}
