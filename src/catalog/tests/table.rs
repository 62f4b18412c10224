//! The table of everything that the shipped catalogs are about: tools and operations, each with a call, and what that
//! call is taken for. The rows lie in `tests/catalog/`; `why` says where a class is not the obvious one.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const VENDORS: [(&str, &str); 3] = [
    ("stripe", include_str!("../../../tests/catalog/stripe.tsv")),
    ("stigg", include_str!("../../../tests/catalog/stigg.tsv")),
    ("statsig", include_str!("../../../tests/catalog/statsig.tsv")),
];

/// A line of a table.
struct Row {
    /// A tool; or `op:` and an operation, for the operations that no argument of a tool names.
    tool: String,
    arguments: Value,
    route: String,
    /// Name, class, targets, money, magnitude, where.
    expected: Vec<String>,
}

fn rows(table: &str) -> Vec<Row> {
    let mut lines = table.lines();
    assert_eq!(
        lines.next(),
        Some("tool\targuments\troute\tname\tclass\ttargets\tmoney\tmagnitude\treach\twhy"),
        "the columns of the table"
    );
    let row = |line: &str| {
        let cells: Vec<_> = line.split('\t').map(str::to_owned).collect();
        assert_eq!(cells.len(), 10, "{line}");
        Row {
            tool: cells[0].clone(),
            arguments: serde_json::from_str(&cells[1]).unwrap(),
            route: cells[2].clone(),
            expected: cells[3..9].to_vec(),
        }
    };
    lines.map(row).collect()
}

fn cells(operation: &Operation) -> Vec<String> {
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let money = operation.money.as_ref().map(|money| {
        format!("{}/{}/{}/{}", part(&money.amount), money.unit, part(&money.currency), part(&money.absent))
    });
    let magnitude = operation.magnitude.as_ref();
    let magnitude = magnitude.map(|much| format!("{}/{}/{}", part(&much.value), much.unit, part(&much.absent)));
    let reach = operation.environment.as_ref().map(|reach| {
        let mode = reach.mode.map(|mode| format!("{mode:?}").to_lowercase());
        let everywhere = reach.everywhere.then(|| "everywhere".to_owned());
        mode.into_iter()
            .chain(reach.accounts.iter().map(|name| format!("account={name}")))
            .chain(reach.environments.iter().map(|name| format!("environment={name}")))
            .chain(everywhere)
            .collect::<Vec<_>>()
            .join(",")
    });
    vec![
        operation.name.clone(),
        operation.class.as_str().to_owned(),
        or_none(operation.targets.join(",")),
        or_none(money.unwrap_or_default()),
        or_none(magnitude.unwrap_or_default()),
        or_none(reach.unwrap_or_default()),
    ]
}

fn judged(catalog: &Catalog, row: &Row) -> Operation {
    match row.tool.strip_prefix("op:") {
        Some(name) => {
            let arguments = JsonText::parse(row.arguments.to_string(), Rules::CLIENT).unwrap();
            let facts = catalog.operations.get(name).unwrap_or_else(|| panic!("the catalog has no {name}"));
            let arguments = Arguments::of(arguments.view());
            let operation = facts.describe_inside(name, &[], &arguments);
            let environment = both(catalog.environment.read(&arguments), operation.environment.clone());
            Operation { environment, ..operation }
        }
        None => catalog.operation(&call(&row.tool, &row.arguments)),
    }
}

#[test]
fn every_tool_and_operation_is_what_the_table_says() {
    for (vendor, table) in VENDORS {
        let catalog = Catalog::builtin(Some(vendor)).unwrap();
        for row in rows(table) {
            let operation = judged(&catalog, &row);
            assert_eq!(cells(&operation), row.expected, "{vendor} {} {}", row.tool, row.arguments);
            let plain = operation.class == Class::Read;
            assert!(plain || operation.effect.is_some(), "{vendor} {} does not say what it does", operation.name);
        }
    }
}

#[test]
fn the_table_has_every_tool_and_operation_and_the_catalog_no_other() {
    for (vendor, table) in VENDORS {
        let rows = rows(table);
        let catalog = Catalog::builtin(Some(vendor)).unwrap();
        let tools: BTreeSet<_> = rows.iter().map(|row| row.tool.as_str()).filter(|tool| !tool.contains(':')).collect();
        let operations = rows.iter().map(|row| match row.tool.strip_prefix("op:") {
            Some(name) => name,
            None => row.expected[0].as_str(),
        });
        let operations: BTreeSet<_> = operations.filter(|name| !tools.contains(name)).collect();
        let known: BTreeSet<_> = catalog.tools.keys().map(String::as_str).collect();
        assert_eq!(known.difference(&tools).collect::<Vec<_>>(), [&""; 0], "{vendor}: tools that no row is about");
        let known: BTreeSet<_> = catalog.operations.keys().map(String::as_str).collect();
        assert_eq!(known.symmetric_difference(&operations).collect::<Vec<_>>(), [&""; 0], "{vendor}: operations");
        let sizes = match vendor {
            // 42 names in 44 definitions, and one that a tool had for a day; 123 operations that were offered and 31 that
            // were not.
            "stripe" => (43, 154),
            "stigg" => (2, 122),
            _ => (91, 244),
        };
        assert_eq!((tools.len(), operations.len()), sizes, "{vendor}");
    }
}

#[test]
fn routes_lead_to_the_operation() {
    for (vendor, table) in VENDORS {
        let catalog = Catalog::builtin(Some(vendor)).unwrap();
        for row in rows(table).iter().filter(|row| row.route != "-") {
            let (method, path) = row.route.split_once(' ').unwrap();
            assert_eq!(catalog.route(method, path), row.tool.strip_prefix("op:"), "{vendor} {}", row.route);
            assert_eq!(catalog.route(&method.to_lowercase(), path), None);
        }
    }
}

#[test]
fn a_stripe_operation_goes_through_its_own_lane_alone() {
    let catalog = stripe();
    let (_, table) = VENDORS[0];
    for row in rows(table) {
        let Some(id) = row.arguments.get("stripe_api_operation_id").and_then(Value::as_str) else { continue };
        let wrong = match row.tool.as_str() {
            "stripe_api_read" => "stripe_api_write",
            "stripe_api_write" => "stripe_api_read",
            _ => continue,
        };
        let crossed = catalog.operation(&call(wrong, &row.arguments));
        assert_eq!((crossed.class, crossed.name.as_str()), (Class::Unknown, wrong), "{id}");
        let either = catalog.operation(&call("stripe_api_execute", &row.arguments));
        assert_eq!(cells(&either), row.expected, "{id}");
    }
}

/// Handles for all operations of Statsig, each for the lane that fits its class.
fn all_handles(catalog: &Catalog) -> (Handles, HashMap<String, &'static str>) {
    let (mut handles, mut lanes) = (Handles::default(), HashMap::new());
    for (name, facts) in &catalog.operations {
        let lane = match facts.class {
            Class::Read => "api_read",
            Class::Write => "api_write",
            Class::Financial | Class::Destructive | Class::Unknown => "api_destructive",
        };
        let said = json!({"structuredContent": {"operationId": name, "lane": lane, "handle": format!("h {name}")}});
        catalog.learn("discover_tools", JsonText::of(&said).unwrap().view(), &mut handles);
        lanes.insert(name.clone(), lane);
    }
    (handles, lanes)
}

#[test]
fn a_statsig_operation_goes_through_the_lane_of_its_handle_alone() {
    let catalog = Catalog::builtin(Some("statsig")).unwrap();
    let (handles, lanes) = all_handles(&catalog);
    assert_eq!(lanes.len(), 244);
    for (name, lane) in lanes {
        for tool in ["api_read", "api_write", "api_destructive"] {
            let made = call(tool, &json!({"operationHandle": format!("h {name}"), "arguments": {"params": {}}}));
            let operation = catalog.operation_with(&made, &handles);
            match tool == lane {
                true => assert_eq!((operation.name, operation.class), (name.clone(), catalog.operations[&name].class)),
                false => assert_eq!((operation.name.as_str(), operation.class), (tool, Class::Unknown), "{name}"),
            }
            assert_eq!(catalog.operation(&made).class, Class::Unknown, "{name} in another session");
        }
    }
}

#[test]
fn what_is_handed_out_for_a_milder_lane_is_unknown() {
    let catalog = Catalog::builtin(Some("statsig")).unwrap();
    let mut handles = Handles::default();
    for (handle, lane, operation) in [
        ("h1", "api_read", "DELETE /console/v1/gates/{id}"),
        ("h2", "api_write", "GET /console/v1/gates"),
        ("h3", "api_read", "drop_everything"),
        ("h4", "api_read", "get_context"),
    ] {
        let said = json!({"structuredContent": [{"operationId": operation, "executeWith": {"tool": lane, "operationHandle": handle}}]});
        catalog.learn("discover_tools", JsonText::of(&said).unwrap().view(), &mut handles);
        catalog.learn("gate_read", JsonText::of(&said).unwrap().view(), &mut handles);
        let made = call(lane, &json!({"operationHandle": handle}));
        let operation = catalog.operation_with(&made, &handles);
        assert_eq!((operation.class, operation.name.as_str()), (Class::Unknown, lane), "{handle}");
    }
    let other =
        json!({"structuredContent": {"operationId": "GET /console/v1/gates", "lane": "api_read", "handle": "h9"}});
    catalog.learn("gate_read", JsonText::of(&other).unwrap().view(), &mut handles);
    let made = call("api_read", &json!({"operationHandle": "h9"}));
    assert_eq!(catalog.operation_with(&made, &handles).class, Class::Unknown, "another tool teaches nothing");
}

#[test]
fn a_handle_counts_by_method_and_path_where_the_server_names_operations_its_own_way() {
    let catalog = Catalog::builtin(Some("statsig")).unwrap();
    let asked = |said: Value, lane: &str| {
        let mut handles = Handles::default();
        let said = json!({"structuredContent": [said]});
        catalog.learn("discover_tools", JsonText::of(&said).unwrap().view(), &mut handles);
        let operation = catalog.operation_with(&call(lane, &json!({"operationHandle": "h"})), &handles);
        (operation.name, operation.class)
    };
    let (gates, gate) = ("GET /console/v1/gates", "GET /console/v1/gates/{id}");
    let with = json!({"tool": "api_read", "operationHandle": "h"});
    for said in [
        json!({"operationId": "listGates", "method": "GET", "path": "/console/v1/gates", "lane": "api_read", "handle": "h"}),
        json!({"operationId": "listGates", "method": "get", "path": "/console/v1/gates", "executeWith": with}),
        json!({"operation": {"operationId": "x", "method": "GET", "path": "/console/v1/gates"}, "executeWith": with}),
    ] {
        assert_eq!(asked(said.clone(), "api_read"), (gates.to_owned(), Class::Read), "{said}");
    }
    let other =
        json!({"operationId": "getGate", "method": "GET", "path": "/console/v1/gates/{gateId}", "executeWith": with});
    assert_eq!(asked(other, "api_read"), (gate.to_owned(), Class::Read));
    // A milder name changes nothing, and neither does a lane.
    for (id, path) in [(gates, "/console/v1/gates/{id}"), ("listGates", "/console/v1/gates/{id}"), (gates, "/other")] {
        let said = json!({"operationId": id, "method": "DELETE", "path": path, "executeWith": with});
        assert_eq!(asked(said, "api_read"), ("api_read".to_owned(), Class::Unknown), "{id} {path}");
    }
}

/// Calls that try to look more harmless than they are, and a few that only look odd.
#[test]
fn no_call_looks_more_harmless_than_it_is() {
    let table = include_str!("../../../tests/catalog/cases.tsv");
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("vendor\ttool\targuments\tname\tclass\twhy"));
    let catalogs: HashMap<_, _> =
        VENDORS.iter().map(|(vendor, _)| (*vendor, Catalog::builtin(Some(vendor)).unwrap())).collect();
    for line in lines {
        let cells: Vec<_> = line.split('\t').collect();
        let [vendor, tool, arguments, name, class, why] = cells[..] else { panic!("{line}") };
        let operation = catalogs[vendor].operation(&spelled(tool, arguments));
        assert_eq!((operation.name.as_str(), operation.class.as_str()), (name, class), "{why}: {line}");
    }
}

/// Arguments of any form, from the words that the catalogs look for.
fn anything() -> impl Strategy<Value = Value> {
    let names = ["params", "application/json", "arguments", "rules", "passPercentage", "environments", "conditions"];
    let more = ["type", "items", "deleted", "submit", "parameters", "amount", "human_confirmation", "ids"];
    let selectors = ["method", "get_params", "put_launch_params", "stripe_api_operation_id", "operationHandle"];
    let name = proptest::sample::select([&names[..], &more, &selectors].concat());
    let words = ["get", "put", "public", "staging", "GetBalance", "PostRefunds", "PostCustomers", "0"];
    let leaf = prop_oneof![
        proptest::sample::select(words.to_vec()).prop_map(|word| json!(word)),
        proptest::sample::select(vec![json!(null), json!(true), json!(false), json!(0), json!(1.5), json!(-7)]),
    ];
    let object =
        move |inner| proptest::collection::btree_map(name.clone(), inner, 0..5).prop_map(|members| json!(members));
    let value = leaf.prop_recursive(5, 48, 5, {
        let object = object.clone();
        move |inner| {
            prop_oneof![object(inner.clone().boxed()), proptest::collection::vec(inner, 0..4).prop_map(Value::Array)]
        }
    });
    object(value.boxed())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// What a call says never makes it more harmless than its entry, and only operations of the catalog are selected.
    #[test]
    fn arguments_only_tighten(arguments in anything()) {
        for (vendor, _) in VENDORS {
            let catalog = CATALOGS.iter().find(|(name, _)| *name == vendor).map(|(_, catalog)| catalog).unwrap();
            for (tool, entry) in &catalog.tools {
                let operation = catalog.operation(&call(tool, &arguments));
                match entry {
                    Entry::Facts(facts) => prop_assert!(operation.class >= facts.class && operation.name == *tool),
                    Entry::Dispatcher(_) => match catalog.operations.get(&operation.name) {
                        Some(facts) => prop_assert!(operation.class >= facts.class, "{tool} {arguments}"),
                        None => prop_assert_eq!((operation.name.as_str(), operation.class), (tool.as_str(), Class::Unknown)),
                    },
                }
            }
        }
    }
}

static CATALOGS: LazyLock<Vec<(&str, Catalog)>> =
    LazyLock::new(|| VENDORS.iter().map(|(vendor, _)| (*vendor, Catalog::builtin(Some(vendor)).unwrap())).collect());
