//! What a policy author may know about the operations of a catalog: their names, the tools that reach them and their
//! arguments. For messages and samples; nothing is decided by it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use serde::Deserialize;

use super::file::{Facts, Pointer, Unique};
use super::{BUILTIN, Catalog};
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

/// The vendors that the program has a catalog for.
pub fn vendors() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

impl Catalog {
    /// Every operation of the catalog, which is for servers of this vendor, through every tool that
    /// reaches it, and the dispatchers themselves.
    pub fn known(&self, vendor: Option<&str>) -> Vec<Known> {
        let plain = self.tools.iter().map(|(name, facts)| Known {
            name: name.clone(),
            class: facts.class,
            tool: name.clone(),
            selects: None,
            arguments: self.arguments_of(vendor, name).unwrap_or_default(),
        });
        let mut known: Vec<Known> = plain.collect();
        for (tool, dispatcher) in &self.dispatchers {
            let arguments = self.arguments_of(vendor, tool).unwrap_or_default();
            known.push(Known {
                name: tool.clone(),
                class: Class::Unknown,
                tool: tool.clone(),
                selects: None,
                arguments,
            });
            let reached = |name: &str| dispatcher.verbs.iter().any(|verb| name.starts_with(&verb.0));
            for (name, facts) in self.operations.iter().filter(|(name, _)| reached(name)) {
                known.push(Known {
                    name: name.clone(),
                    class: facts.class,
                    tool: tool.clone(),
                    selects: Some((path(&dispatcher.selects), name.clone())),
                    arguments: self.arguments_of(vendor, name).unwrap_or_default(),
                });
            }
        }
        known.sort_by(|a, b| (&a.name, &a.tool).cmp(&(&b.name, &b.tool)));
        known
    }

    /// The arguments of a tool or an operation, as far as they are known; `None` for a name that the catalog does not
    /// have.
    pub fn arguments_of(&self, vendor: Option<&str>, name: &str) -> Option<Arguments> {
        let shared = self.shared().map(path);
        if let Some(facts) = self.operations.get(name) {
            // An operation has the arguments of the tools that reach it, and its own inside of theirs.
            let mut arguments = Arguments::default();
            for (tool, dispatcher) in &self.dispatchers {
                if !dispatcher.verbs.iter().any(|verb| name.starts_with(&verb.0)) {
                    continue;
                }
                arguments.paths.extend(self.arguments_of(vendor, tool)?.paths);
                let inside = dispatcher.inside.as_ref().map(path).unwrap_or_default();
                let own = pointers(facts).map(|pointer| [inside.clone(), path(pointer)].concat());
                arguments.paths.extend(own);
            }
            return Some(arguments);
        }
        let key = (vendor.unwrap_or("").to_owned(), name.to_owned());
        let listed = LISTED.get(&key).filter(|listed| !listed.is_empty());
        let mut paths: BTreeSet<Path> = listed.cloned().unwrap_or_default();
        let complete = listed.is_some();
        if let Some(dispatcher) = self.dispatchers.get(name) {
            paths.extend([Some(path(&dispatcher.selects)), dispatcher.inside.as_ref().map(path)].into_iter().flatten());
        } else {
            paths.extend(pointers(self.tools.get(name)?).map(path));
        }
        paths.extend(shared);
        Some(Arguments { paths, complete })
    }

    /// Pointers that the catalog looks for in every call.
    fn shared(&self) -> impl Iterator<Item = &Pointer> {
        let mode = self.environment.mode.as_ref().map(|mode| &mode.at);
        mode.into_iter().chain(&self.environment.account).chain(&self.suspicious)
    }
}

/// Everything that the catalog reads of an operation.
fn pointers(facts: &Facts) -> impl Iterator<Item = &Pointer> {
    let money = facts.money.as_ref().map(|money| (&money.amount, money.currency.as_ref()));
    let money = money.into_iter().flat_map(|(amount, currency)| std::iter::once(amount).chain(currency));
    money.chain(&facts.targets).chain(&facts.magnitude)
}

fn path(pointer: &Pointer) -> Path {
    let steps = pointer.0.strip_prefix('/').unwrap_or(&pointer.0).split('/');
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
