//! What a policy author may know about the operations of a catalog: their names, the tools that reach them and their
//! arguments. For messages and samples; nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use super::dispatch::{Dispatcher, Way};
use super::facts::Facts;
use super::file::{Body, Currency, Reaches, Unique};
use super::handles::Handles;
use super::pointer::Pointer;
use super::{Catalog, Entry};
use crate::call::Class;

/// An operation, or a tool whose operations its arguments select.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    pub name: String,
    /// Of a dispatcher by itself: unknown.
    pub class: Class,
    /// The tool to call; of a request its method and path.
    pub tool: String,
    pub way: Reached,
    pub arguments: Arguments,
    pub numbers: Numbers,
    /// Arguments by which the catalog tells mode, account or environment.
    pub elsewhere: BTreeSet<Path>,
    /// Arguments that are lists, and that are objects.
    pub lists: BTreeSet<Path>,
    pub objects: BTreeSet<Path>,
}

/// How a call comes to an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reached {
    /// The tool is the operation.
    Tool,
    /// No operation at all: a dispatcher by itself.
    Nothing,
    /// What this argument says selects it, and its own arguments are in `holder` alone.
    Says { at: Path, value: String, holder: Option<Path> },
    /// A handle that the server gave out.
    Handle { at: Path },
    /// A request to the vendor's API.
    Request { method: String, path: String, is_form: bool },
}

/// Arguments whose value is a number by which a call is judged. A step `*` is an item of a list.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Numbers {
    pub at: Vec<Path>,
    pub currency: Option<Path>,
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

/// The handle of samples.
pub const HANDLE: &str = "sample_1";

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

/// An operation behind a dispatcher: what the selector says, and the argument that holds its own where there is one.
struct Selected<'a> {
    says: &'a str,
    name: &'a str,
    holder: Option<&'a Pointer>,
}

impl Known {
    fn new(name: &str, class: Class, tool: &str, way: Reached, arguments: Arguments) -> Known {
        let (name, tool) = (name.to_owned(), tool.to_owned());
        let (numbers, [elsewhere, lists, objects]) = <(Numbers, [BTreeSet<Path>; 3])>::default();
        Known { name, class, tool, way, arguments, numbers, elsewhere, lists, objects }
    }

    /// A tool of which nothing is known but its class.
    pub fn listed(tool: &str, class: Class) -> Known {
        Known::new(tool, class, tool, Reached::Tool, Arguments::default())
    }
}

impl Catalog {
    /// Every operation of the catalog, which is for servers of this vendor, through every tool whose arguments or
    /// handles select it and as a request to the vendor's API, and the dispatchers themselves.
    pub fn known(&self, vendor: Option<&str>) -> Vec<Known> {
        let mut known = Vec::new();
        for (tool, entry) in &self.tools {
            let arguments = self.arguments_of(vendor, tool).unwrap_or_default();
            let dispatcher = match entry {
                Entry::Facts(facts) => {
                    let new = Known::new(tool, facts.class, tool, Reached::Tool, arguments);
                    known.push(self.described(new, facts, &facts.inside.iter().map(path).collect::<Vec<_>>()));
                    continue;
                }
                Entry::Dispatcher(dispatcher) => dispatcher,
            };
            let nothing = Known::new(tool, Class::Unknown, tool, Reached::Nothing, arguments);
            known.push(self.described(nothing.clone(), &Facts::of_class(Class::Unknown), &[]));
            for Selected { says, name, holder } in self.selected(dispatcher) {
                let Some(facts) = self.operations.get(name) else { continue };
                let at = path(&dispatcher.selects);
                let way = match &dispatcher.way {
                    Way::Handle => Reached::Handle { at: at.clone() },
                    Way::Name(_) | Way::Choice(_) => {
                        Reached::Says { at: at.clone(), value: says.to_owned(), holder: holder.map(path) }
                    }
                };
                let places: Vec<Path> =
                    holder.map_or_else(|| dispatcher.inside.iter().map(path).collect(), |own| vec![path(own)]);
                // Of all tools that reach it, this one takes its own arguments alone.
                let mut takes: BTreeSet<Option<String>> =
                    places.iter().chain([&at]).map(|path| path.first().cloned()).collect();
                if holder.is_none() {
                    takes.extend(nothing.arguments.paths.iter().map(|path| path.first().cloned()));
                }
                let mut arguments = self.arguments_of(vendor, name).unwrap_or_default();
                let anywhere = holder.is_none() && dispatcher.inside.is_empty();
                arguments.paths.retain(|path| anywhere || takes.contains(&path.first().cloned()));
                known.push(self.described(Known::new(name, facts.class, tool, way, arguments), facts, &places));
            }
        }
        known.extend(self.requests());
        known.sort_by(|a, b| (&a.name, &a.tool).cmp(&(&b.name, &b.tool)));
        known
    }

    /// Every operation as a request to the vendor's API.
    fn requests(&self) -> impl Iterator<Item = Known> {
        self.routes_by_path.all().filter_map(|(method, template, operation)| {
            let facts = self.operations.get(operation)?;
            // The words of a template that stand for something are no arguments of the body.
            let parameter = |step: &str| Some(step.strip_prefix('{')?.strip_suffix('}')?.to_owned());
            let parameters: BTreeSet<String> = template.split('/').filter_map(parameter).collect();
            let filled = template.split('/').map(|step| if parameter(step).is_some() { "sample_1" } else { step });
            let way = Reached::Request {
                method: method.to_owned(),
                path: filled.collect::<Vec<_>>().join("/"),
                is_form: self.body == Body::Form,
            };
            let place = if matches!(method, "GET" | "HEAD" | "DELETE") { "query" } else { "body" };
            let own = self.arguments.get(operation).filter(|own| !own.is_empty());
            let takes = |path: &Path| {
                let first = path.first();
                first.is_some_and(|first| !parameters.contains(first) && own.is_none_or(|own| own.contains(first)))
            };
            let listed = own.into_iter().flatten().map(|name| vec![name.clone()]);
            let below: BTreeSet<Path> = pointers(facts).into_iter().map(path).chain(listed).filter(takes).collect();
            let ways = ["method", "path", "query", "headers", "body"].map(|name| vec![name.to_owned()]);
            let below = below.iter().map(|below| [vec![place.to_owned()], below.clone()].concat());
            let arguments = Arguments { paths: below.chain(ways).collect(), complete: false };
            let new = Known::new(operation, facts.class, &format!("{method} {template}"), way, arguments);
            Some(self.described(new, facts, &[vec![place.to_owned()]]))
        })
    }

    /// With what the catalog reads of it below these places.
    fn described(&self, mut known: Known, facts: &Facts, places: &[Path]) -> Known {
        let top = [Path::new()];
        let places = if places.is_empty() { &top } else { places };
        let below = |way: fn(&Pointer) -> Path, pointer: &Pointer| {
            places.iter().map(|place| [place.clone(), way(pointer)].concat()).collect::<Vec<_>>()
        };
        known.objects = places.iter().cloned().collect();
        let own = facts.environment.iter().flat_map(reaches).collect::<Vec<_>>();
        known.elsewhere = reaches(&self.environment)
            .flat_map(|pointer| [vec![path(pointer)], below(path, pointer)].concat())
            .collect();
        known
            .elsewhere
            .extend(own.into_iter().filter(|pointer| !is_listed(pointer)).flat_map(|pointer| below(path, pointer)));
        known.lists = pointers(facts)
            .into_iter()
            .filter(|pointer| is_listed(pointer))
            .flat_map(|pointer| below(path, pointer))
            .collect();
        let amounts = facts.money.iter().flat_map(|money| &money.amount.0);
        let values = facts.magnitude.iter().flat_map(|magnitude| &magnitude.value);
        known.numbers.at = amounts.chain(values).flat_map(|pointer| below(steps, pointer)).collect();
        known.numbers.currency = facts.money.iter().find_map(|money| match &money.currency {
            Some(Currency::At(pointer)) => below(path, pointer).into_iter().next(),
            Some(Currency::Always(_)) | None => None,
        });
        known
    }

    /// What a session knows after the server gave out [`HANDLE`] for this operation.
    pub fn handles_for(&self, known: &Known) -> Handles {
        let mut handles = Handles::default();
        if let Reached::Handle { .. } = known.way {
            handles.give(HANDLE, &known.tool, &known.name);
        }
        handles
    }

    /// What the selector has to say for an operation that goes through this tool.
    fn selected<'a>(&'a self, dispatcher: &'a Dispatcher) -> Vec<Selected<'a>> {
        let goes = |name: &str| {
            let class = self.operations.get(name).map(|facts| facts.class);
            class.is_some_and(|class| dispatcher.classes.as_ref().is_none_or(|classes| classes.contains(&class)))
        };
        let names = self.operations.keys().map(String::as_str).filter(|name| goes(name));
        let named = |name: &'a str| Selected { says: name, name, holder: None };
        match &dispatcher.way {
            Way::Name(verbs) => {
                let begins = |name: &&str| verbs.iter().any(|verb| name.starts_with(verb.as_str()));
                names.filter(begins).map(named).collect()
            }
            Way::Choice(choices) => {
                let all = choices.iter().flat_map(|(says, options)| options.iter().map(move |option| (says, option)));
                let all = all.map(|(says, option)| Selected {
                    says: says.as_str(),
                    name: option.operation.as_str(),
                    holder: Some(&option.holder),
                });
                all.filter(|selected| goes(selected.name)).collect()
            }
            Way::Handle => names.map(named).collect(),
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
fn places(dispatcher: &Dispatcher, name: &str, selected: &[Selected<'_>]) -> Vec<Path> {
    if !selected.iter().any(|selected| selected.name == name) {
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
    steps(pointer).into_iter().take_while(|step| step != "*").collect()
}

/// All of the way.
fn steps(pointer: &Pointer) -> Path {
    let steps = pointer.as_str().strip_prefix('/').unwrap_or_default().split('/');
    steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

fn is_listed(pointer: &Pointer) -> bool {
    pointer.as_str().split('/').any(|step| step == "*")
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
            ["POST /v1/webhook_endpoints", "stripe_api_execute", "stripe_api_write"]
        );
        let Reached::Says { value, .. } = &through[1].way else { panic!("{:?}", through[1].way) };
        assert_eq!(value, "PostWebhookEndpoints");
    }

    #[test]
    fn what_only_a_handle_or_a_request_reaches_is_known_and_judged_as_such() {
        let statsig = Catalog::builtin(Some("statsig")).unwrap();
        let keys = statsig.known(Some("statsig")).into_iter().filter(|known| known.name == "POST /console/v1/keys");
        let keys: Vec<Known> = keys.collect();
        let handle = keys.iter().find(|known| known.tool == "api_write").unwrap();
        let arguments =
            crate::json::JsonText::parse(format!(r#"{{"operationHandle":"{HANDLE}"}}"#), crate::json::Rules::CLIENT);
        let call = |tool: &str| {
            let (id, said) = (crate::call::CallId::random().unwrap(), arguments.clone().unwrap());
            crate::call::ToolCall::new(
                id,
                crate::call::Decided::ToolsCall,
                tool.to_owned(),
                said.clone(),
                said.clone(),
                said,
            )
        };
        let judged = statsig.operation_with(&call("api_write"), &statsig.handles_for(handle));
        assert_eq!((judged.name.as_str(), judged.class), ("POST /console/v1/keys", handle.class));
        assert!(!keys.iter().any(|known| known.tool == "api_read"), "its class does not go through there");

        let stigg = Catalog::builtin(Some("stigg")).unwrap();
        let all = stigg.known(Some("stigg"));
        let cancel = all.iter().find(|known| known.name == "v1.subscriptions.cancel").unwrap();
        let Reached::Request { method, path, is_form } = &cancel.way else { panic!("{:?}", cancel.way) };
        assert_eq!(
            (method.as_str(), path.as_str(), *is_form),
            ("POST", "/api/v1/subscriptions/sample_1/cancel", false)
        );
        assert!(paths(&cancel.arguments).contains(&"body/endDate".to_owned()), "{:?}", cancel.arguments);
    }
}
