//! Who asks for `input.history`: nobody, the budgets of some servers, or rules. What nobody asks for is not built.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::source;
use super::syntax::Module;

/// What of the history is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HistoryUse {
    No,
    /// What a principal did: `data.budgets` has an entry for the server.
    Budgets,
    /// Everything: a rule of the operator's names it.
    Rules,
}

/// The same for a whole set of policies.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct HistoryUses {
    rules: bool,
    servers: BTreeSet<String>,
}

impl HistoryUses {
    pub fn of(modules: &[Module], data: &Value) -> HistoryUses {
        // A rule that takes the input as a whole may look at every member of it. The shipped rules take it for members
        // that they name.
        let asks = |path: &[String]| match path {
            [root] => root == "input",
            [root, member, ..] => root == "input" && member == "history",
            [] => false,
        };
        let own = modules.iter().filter(|module| !module.is_test() && !source::is_shipped(&module.source));
        let mut references =
            own.flat_map(|module| module.rules.iter().flat_map(|rule| &rule.references).chain(&module.import_places));
        let budgets = data.get("budgets").and_then(Value::as_object);
        let servers = budgets.into_iter().flatten().filter(|(_, of)| of.as_object().is_some_and(|of| !of.is_empty()));
        HistoryUses {
            rules: references.any(|reference| asks(&reference.path)),
            servers: servers.map(|(server, _)| server.clone()).collect(),
        }
    }

    pub fn on(&self, server: &str) -> HistoryUse {
        match (self.rules, self.servers.contains(server)) {
            (true, _) => HistoryUse::Rules,
            (false, true) => HistoryUse::Budgets,
            (false, false) => HistoryUse::No,
        }
    }

    pub fn any(&self) -> bool {
        self.rules || !self.servers.is_empty()
    }
}
