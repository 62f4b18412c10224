//! What a policy author may know about the operations of a catalog: their names, the tools that reach them and their
//! arguments. For messages and samples; nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use super::dispatch::{Dispatcher, Way};
use super::facts::Facts;
use super::file::{Currency, Reaches, Unique};
use super::pointer::Pointer;
use super::{Catalog, Entry};
use crate::call::Class;

/// An operation, or a tool whose operations its arguments select.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    pub name: String,
    /// Of a dispatcher by itself: unknown.
    pub class: Class,
    /// The tool to call, and the argument that selects the operation with its value.
    pub tool: String,
    pub selects: Option<(Path, String)>,
    pub arguments: Arguments,
}

/// The arguments of an operation.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Arguments {
    pub paths: BTreeSet<Path>,
    /// The tool has no others at the top.
    pub complete: bool,
}

/// Names below the arguments of a call.
pub type Path = Vec<String>;

/// `policies/catalog/arguments.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(rename = "version")]
    _version: super::file::Version,
    vendors: Unique<Unique<Vec<Pointer>>>,
}

/// By vendor and tool. A test shows that the file is one.
static LISTED: LazyLock<BTreeMap<(String, String), BTreeSet<Path>>> = LazyLock::new(|| {
    let table: Option<Table> = serde_yaml::from_str(include_str!("../../policies/catalog/arguments.yaml")).ok();
    let mut listed = BTreeMap::new();
    for (vendor, tools) in table.into_iter().flat_map(|table| table.vendors.0) {
        for (tool, pointers) in tools.0 {
            listed.insert((vendor.clone(), tool), pointers.iter().map(path).collect());
        }
    }
    listed
});

impl Catalog {
    /// Every operation of the catalog, which is for servers of this vendor, through every tool whose arguments select
    /// it, and the dispatchers themselves. What only a handle selects nobody can call by its name.
    pub fn known(&self, vendor: Option<&str>) -> Vec<Known> {
        let mut known = Vec::new();
        for (tool, entry) in &self.tools {
            let class = match entry {
                Entry::Facts(facts) => facts.class,
                Entry::Dispatcher(_) => Class::Unknown,
            };
            let arguments = self.arguments_of(vendor, tool).unwrap_or_default();
            known.push(Known { name: tool.clone(), class, tool: tool.clone(), selects: None, arguments });
            let Entry::Dispatcher(dispatcher) = entry else { continue };
            for (selector, name) in self.selected(dispatcher) {
                let Some(facts) = self.operations.get(name) else { continue };
                known.push(Known {
                    name: name.to_owned(),
                    class: facts.class,
                    tool: tool.clone(),
                    selects: Some((path(&dispatcher.selects), selector.to_owned())),
                    arguments: self.arguments_of(vendor, name).unwrap_or_default(),
                });
            }
        }
        known.sort_by(|a, b| (&a.name, &a.tool).cmp(&(&b.name, &b.tool)));
        known
    }

    /// What the selector has to say for an operation that goes through this tool.
    fn selected<'a>(&'a self, dispatcher: &'a Dispatcher) -> Vec<(&'a str, &'a str)> {
        let goes = |name: &str| {
            let class = self.operations.get(name).map(|facts| facts.class);
            class.is_some_and(|class| dispatcher.classes.as_ref().is_none_or(|classes| classes.contains(&class)))
        };
        match &dispatcher.way {
            Way::Name(verbs) => {
                let begins = |name: &&str| verbs.iter().any(|verb| name.starts_with(verb.as_str()));
                let names = self.operations.keys().map(String::as_str).filter(begins).filter(|name| goes(name));
                names.map(|name| (name, name)).collect()
            }
            Way::Choice(choices) => {
                let all = choices.iter().flat_map(|(says, options)| options.iter().map(move |option| (says, option)));
                let names = all.map(|(says, option)| (says.as_str(), option.operation.as_str()));
                names.filter(|(_, name)| goes(name)).collect()
            }
            Way::Handle => Vec::new(),
        }
    }

    /// The arguments of a tool or an operation, as far as they are known; `None` for a name that the catalog does not
    /// have.
    pub fn arguments_of(&self, vendor: Option<&str>, name: &str) -> Option<Arguments> {
        let listed = self.listed_arguments(vendor, name);
        let mut arguments = Arguments { complete: listed.is_some(), paths: listed.unwrap_or_default() };
        match (self.tools.get(name), self.operations.get(name)) {
            (Some(Entry::Facts(facts)), _) => arguments.paths.extend(inside(&facts.inside, facts)),
            (Some(Entry::Dispatcher(dispatcher)), _) => {
                arguments.paths.insert(path(&dispatcher.selects));
                arguments.paths.extend(dispatcher.inside.iter().map(path));
            }
            (None, Some(facts)) => {
                // An operation has the arguments of the tools that reach it, and its own inside of theirs.
                let own = std::mem::take(&mut arguments.paths);
                arguments.complete = false;
                for (tool, entry) in &self.tools {
                    let Entry::Dispatcher(dispatcher) = entry else { continue };
                    for place in places(dispatcher, name, &self.selected(dispatcher)) {
                        arguments.paths.extend(self.arguments_of(vendor, tool)?.paths);
                        arguments.paths.extend(own.iter().map(|own| [place.clone(), own.clone()].concat()));
                        arguments
                            .paths
                            .extend(pointers(facts).into_iter().map(|pointer| [place.clone(), path(pointer)].concat()));
                    }
                }
            }
            (None, None) => return None,
        }
        arguments.paths.extend(self.shared().map(path));
        Some(arguments)
    }

    /// Every argument, where somebody has listed all of them.
    fn listed_arguments(&self, vendor: Option<&str>, name: &str) -> Option<BTreeSet<Path>> {
        let key = (vendor.unwrap_or("").to_owned(), name.to_owned());
        let table = LISTED.get(&key).filter(|listed| !listed.is_empty()).cloned();
        let own = self.arguments.get(name).filter(|listed| !listed.is_empty());
        let own = own.map(|listed| listed.iter().map(|name| vec![name.clone()]).collect::<BTreeSet<Path>>());
        match (table, own) {
            (Some(mut table), Some(own)) => {
                table.extend(own);
                Some(table)
            }
            (table, own) => table.or(own),
        }
    }

    /// Pointers that the catalog looks for in every call.
    fn shared(&self) -> impl Iterator<Item = &Pointer> {
        let confirmations = self.confirmations.iter().map(|confirmation| &confirmation.at);
        reaches(&self.environment).chain(confirmations)
    }
}

/// Where the arguments of an operation lie in a call of a dispatcher; nowhere where it does not go through it.
fn places(dispatcher: &Dispatcher, name: &str, selected: &[(&str, &str)]) -> Vec<Path> {
    if !selected.iter().any(|(_, operation)| *operation == name) {
        return Vec::new();
    }
    match &dispatcher.way {
        Way::Choice(choices) => {
            let options = choices.values().flatten().filter(|option| option.operation == name);
            options.map(|option| path(&option.holder)).collect()
        }
        Way::Name(_) | Way::Handle if dispatcher.inside.is_empty() => vec![Path::new()],
        Way::Name(_) | Way::Handle => dispatcher.inside.iter().map(path).collect(),
    }
}

/// Everything that the catalog reads of a tool whose arguments lie in these places.
fn inside(places: &[Pointer], facts: &Facts) -> Vec<Path> {
    let places: Vec<Path> = if places.is_empty() { vec![Path::new()] } else { places.iter().map(path).collect() };
    let below = |place: &Path| {
        let own = pointers(facts).into_iter().map(|pointer| [place.clone(), path(pointer)].concat());
        own.chain(std::iter::once(place.clone()).filter(|place| !place.is_empty())).collect::<Vec<_>>()
    };
    places.iter().flat_map(below).collect()
}

fn reaches(reaches: &Reaches) -> impl Iterator<Item = &Pointer> {
    let mode = reaches.mode.as_ref().map(|mode| &mode.at);
    mode.into_iter().chain(&reaches.accounts).chain(&reaches.environments)
}

/// Everything that the catalog reads of an operation.
fn pointers(facts: &Facts) -> Vec<&Pointer> {
    let mut all: Vec<&Pointer> = facts.targets.iter().collect();
    if let Some(money) = &facts.money {
        all.extend(&money.amount.0);
        all.extend(match &money.currency {
            Some(Currency::At(pointer)) => Some(pointer),
            Some(Currency::Always(_)) | None => None,
        });
    }
    all.extend(facts.magnitude.iter().flat_map(|magnitude| magnitude.value.iter().chain(&magnitude.count)));
    all.extend(facts.environment.iter().flat_map(reaches));
    all.extend(facts.raises.iter().flat_map(|raise| raise.when.pointers()));
    all
}

/// The names on the way, as far as they lead through no list.
fn path(pointer: &Pointer) -> Path {
    let steps = pointer.as_str().strip_prefix('/').unwrap_or_default().split('/').take_while(|step| *step != "*");
    steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(arguments: &Arguments) -> Vec<String> {
        arguments.paths.iter().map(|path| path.join("/")).collect()
    }

    #[test]
    fn the_table_of_arguments_is_read() {
        assert!(LISTED.len() > 100, "{}", LISTED.len());
        let stripe = Catalog::builtin(Some("stripe")).unwrap();
        let refund = stripe.arguments_of(Some("stripe"), "create_refund").unwrap();
        assert!(refund.complete);
        for argument in ["amount", "payment_intent", "reason", "livemode", "human_confirmation/approval_token"] {
            assert!(paths(&refund).contains(&argument.to_owned()), "{argument}: {refund:?}");
        }
        assert_eq!(stripe.arguments_of(Some("stripe"), "nothing"), None);
    }

    #[test]
    fn an_operation_has_its_arguments_inside_of_its_tools() {
        let stripe = Catalog::builtin(Some("stripe")).unwrap();
        let webhook = stripe.arguments_of(Some("stripe"), "PostWebhookEndpoints").unwrap();
        for argument in ["parameters/url", "stripe_api_operation_id", "stripe_context"] {
            assert!(paths(&webhook).contains(&argument.to_owned()), "{argument}: {webhook:?}");
        }
        assert!(!webhook.complete);
        let through: Vec<_> =
            stripe.known(Some("stripe")).into_iter().filter(|known| known.name == "PostWebhookEndpoints").collect();
        assert_eq!(
            through.iter().map(|known| known.tool.as_str()).collect::<Vec<_>>(),
            ["stripe_api_execute", "stripe_api_write"]
        );
        assert_eq!(through[0].selects.as_ref().unwrap().1, "PostWebhookEndpoints");
    }
}
