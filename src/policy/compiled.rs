//! The shipped families as a program for regorus' virtual machine, which decides several times faster than the
//! interpreter. Operators' policies stay with the interpreter: the machine does not take all of the language, and it
//! takes an error inside of a rule for a rule that does not hold.
//!
//! Invariant: a program exists only for texts that are part of this binary, and runs only on documents that are built
//! by `input`. Tests show that on these no shipped rule errs, and that both evaluators give the same sets.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::program::Program;
use regorus::rvm::vm::RegoVM;
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::problem::{PolicyErrors, Problem};
use super::source::Source;

/// More than the shipped rules need for the largest list of scopes that a configuration can hold; the clock is the
/// limit that counts.
const INSTRUCTIONS: usize = 10_000_000;
/// Instructions between two looks at the clock.
const LOOK: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);

/// Where the program begins: a rule whose value is the array of all sets. One evaluation costs less than one for each
/// set, and what several sets ask for is found out once.
const ALL: &str = "data.countersign.compiled.sets";

/// A program and its data. Cheap to start a machine from.
#[derive(Debug)]
pub struct Compiled {
    program: Arc<Program>,
    pub(super) data: Value,
}

/// What a program says about one input: all its sets.
#[derive(Debug)]
pub struct Sets(Value);

impl Compiled {
    /// Compiles the sets at these paths. `None` where there are none.
    ///
    /// # Errors
    /// Where the compiler does not take the texts: a fault of ours, which a test would have shown.
    pub fn new(sources: &[&Source], data: &Value, paths: &[String]) -> Result<Option<Compiled>, PolicyErrors> {
        if paths.is_empty() {
            return Ok(None);
        }
        let failed = |error: String| {
            let help = "this is a fault of countersign: please report it";
            PolicyErrors::from(Problem::of_file("the built-in policies", "compile", error, help))
        };
        let mut engine = Engine::new();
        for source in sources {
            engine
                .add_policy(source.name.clone(), source.text.clone())
                .map_err(|error| failed(format!("{error:#}")))?;
        }
        let all = format!("package countersign.compiled\n\nsets := [{}]\n", paths.join(", "));
        engine.add_policy("compiled".to_owned(), all).map_err(|error| failed(format!("{error:#}")))?;
        engine.add_data(data.clone()).map_err(|error| failed(format!("{error:#}")))?;
        let policy = engine.compile_with_entrypoint(&ALL.into()).map_err(|error| failed(format!("{error:#}")))?;
        let program = Compiler::compile_from_policy(&policy, &[ALL]).map_err(|error| failed(error.to_string()))?;
        let compiled = Compiled { program, data: data.clone() };
        // Rules and data that are at odds are found here and not with the first call.
        compiled.machine(Value::new_object(), Duration::ZERO).map_err(failed)?;
        Ok(Some(compiled))
    }

    /// All sets, on one input, within `limit`.
    ///
    /// # Errors
    /// Where the data does not fit the rules, and what the machine says.
    pub fn evaluate(&self, input: Value, limit: Duration) -> Result<Sets, String> {
        let mut machine = self.machine(input, limit)?;
        machine.execute_entry_point_by_index(0).map(Sets).map_err(|error| error.to_string())
    }

    fn machine(&self, input: Value, limit: Duration) -> Result<RegoVM, String> {
        let mut vm = RegoVM::new();
        vm.load_program(Arc::clone(&self.program));
        vm.set_data(self.data.clone()).map_err(|error| error.to_string())?;
        vm.set_input(input);
        // As the interpreter does it: an error of a built-in function is an error of the policy.
        vm.set_strict_builtin_errors(true);
        vm.set_max_instructions(INSTRUCTIONS);
        vm.set_execution_timer_config(Some(ExecutionTimerConfig { limit, check_interval: LOOK }));
        Ok(vm)
    }
}

impl Sets {
    /// The set at this place of the paths that were compiled. Undefined where one of them all is.
    pub fn set(&self, place: usize) -> Value {
        match &self.0 {
            Value::Array(sets) => sets.get(place).cloned().unwrap_or(Value::Undefined),
            _ => Value::Undefined,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Map, Value as Json, json};

    use super::super::set::{Build, PolicySet};
    use super::super::{Mode, Phase, input, source};
    use super::*;
    use crate::call::{
        AmountLimit, Bound, CallContext, Class, ConditionalScope, Confirmation, ConfirmedBy, Environment, Hours,
        Magnitude, Money, Operation, Pin, Principal, PrincipalKind, Reach, ReachMode, SchemaCheck, Test, TestKind,
        ToolFacts, fixtures,
    };
    use crate::json::{JsonText, Rules};

    /// Every shipped family, with data of the operator's for each of them, odd data among it.
    pub fn set(data: Json) -> PolicySet {
        set_in(data, BTreeMap::new())
    }

    /// The same, with families in these modes.
    pub fn set_in(data: Json, modes: BTreeMap<String, Mode>) -> PolicySet {
        let names: Vec<String> = source::builtin_names().map(str::to_owned).collect();
        let mut sources = source::builtin(&names).unwrap();
        sources.data.push(Source { name: "data.json".into(), text: data.to_string() });
        let time_limit = Duration::from_secs(30);
        PolicySet::load(Build { sources, modes, time_limit, unsafe_default_allow: false }).unwrap()
    }

    pub static SETS: LazyLock<Vec<PolicySet>> = LazyLock::new(|| {
        vec![
            set(json!({})),
            set(json!({
                "destructive": {
                    "needs": {"production": {"write": "pass", "financial": "low"}, "x": {"read": "low", "write": "pass"}},
                    "limits": {
                        "production": {"create_refund": {"minor": 1000}, "financial": {"minor": {"eur": 10}, "count": 7}},
                        "sandbox": {"create_refund": {"minor": {"usd": 1000}, "percent": 10}},
                        "x": {"destructive": {"count": 1000}},
                    },
                    "one_operator": {"production": {"financial": {"minor": 7}, "get_customer": {"percent": 1000}}},
                },
                "environment": {"accounts": {"billing": ["acct_1"], "stripe": []}},
                "pins": {"needs": {"changed": "low", "unpinned": "deny"}, "schema": {"unusable": "high", "partial": "deny"}},
                "budgets": {
                    "billing": {
                        "create_refund": {"with": ["get_*", "x"], "hour": {"count": 2, "sum": {"eur": 1000, "any": 1500.5}}},
                        "financial": {"minute": {"count": 1}, "day": {"count": 3}},
                        "*": {"day": {"count": 4, "sum": {"none": 7}}},
                    },
                    "stripe": {"create_refund": {"minute": {"sum": {"any": 0}}}},
                },
            })),
            set(json!({
                "destructive": {"limits": {"sandbox": {}}, "one_operator": {"sandbox": {"write": {"major": 7}}}},
                "environment": {"accounts": {"billing": ["acct_2"]}},
                "pins": {"needs": {"unknown": "medium"}, "schema": {"none": "low"}},
            })),
        ]
    });

    /// Any value, from a pool in which the values that rules look for stand beside odd ones.
    pub fn odd() -> impl Strategy<Value = Json> {
        select(vec![
            json!(null),
            json!(true),
            json!(false),
            json!(0),
            json!(-5),
            json!(7),
            json!(1000),
            json!(1000.0),
            json!(10.5),
            json!(1e300),
            json!(u64::MAX),
            json!(""),
            json!("/"),
            json!("*"),
            json!("read"),
            json!("create_refund"),
            json!("production"),
            json!("sk_live_1234567"),
            json!("\u{0}é\u{202e}"),
            json!([]),
            json!({}),
            json!(["*/read", 7, null]),
            json!({"amount": 7}),
        ])
    }

    pub fn amount() -> BoxedStrategy<Json> {
        let spelled = select(vec![
            json!(1),
            json!(1000),
            json!(1001),
            json!(999.5),
            json!(0),
            json!(-1),
            json!("1000"),
            json!("1e3"),
            json!(18_446_744_073_709_551_615_u64),
            json!(1.8e19),
        ]);
        prop_oneof![4 => spelled, 1 => odd()].boxed()
    }

    fn one_of(values: &[&'static str]) -> BoxedStrategy<Json> {
        let usual = select(values.iter().map(|value| json!(value)).collect::<Vec<_>>());
        prop_oneof![6 => usual, 1 => odd()].boxed()
    }

    pub fn object(members: Vec<(&'static str, BoxedStrategy<Json>)>) -> BoxedStrategy<Json> {
        // A member is there, or it is not.
        let members = members.into_iter().map(|(name, value)| {
            prop::option::weighted(0.85, value).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        });
        let all = members.collect::<Vec<_>>();
        all.prop_map(|members| Json::Object(members.into_iter().flatten().collect::<Map<_, _>>())).boxed()
    }

    fn scope() -> BoxedStrategy<Json> {
        one_of(&[
            "*/read",
            "*/*",
            "billing/read",
            "billing/create_refund",
            "billing/create_*",
            "stripe/*",
            "*/financial",
            "*/unknown",
            "billing/[a",
            "billing/{a,b}*",
            "billing/\\",
            "billing",
            "a/b/c",
            "",
        ])
    }

    pub fn document() -> BoxedStrategy<Json> {
        let scopes = prop_oneof![5 => prop::collection::vec(scope(), 0..4).prop_map(Json::Array), 1 => odd()];
        let currency = one_of(&["usd", "EUR", "eur", "jpy", ""]);
        let money =
            object(vec![("amount", amount().boxed()), ("unit", one_of(&["minor", "major"])), ("currency", currency)]);
        let unit = one_of(&["percent", "count", "days"]);
        let magnitude = object(vec![("value", amount().boxed()), ("unit", unit), ("absent", one_of(&["all"]))]);
        let modes = || one_of(&["production", "test", "unknown"]);
        let accounts = || {
            let accounts = prop::collection::vec(one_of(&["acct_1", "acct_2"]), 0..3).prop_map(Json::Array);
            prop_oneof![4 => accounts, 1 => odd()].boxed()
        };
        let flag = || prop_oneof![3 => select(vec![json!(true), json!(false)]), 1 => odd()].boxed();
        let word = object(vec![("at", one_of(&["/x"])), ("by", one_of(&["vendor", "agent"])), ("issued", flag())]);
        let words = prop_oneof![4 => prop::collection::vec(word, 0..3).prop_map(Json::Array), 1 => odd()];
        let targets =
            prop_oneof![3 => prop::collection::vec(one_of(&["cus_1", ""]), 0..3).prop_map(Json::Array), 1 => odd()];
        let class = one_of(&["read", "write", "financial", "destructive", "unknown", "odd", "Read"]);
        let name = one_of(&["create_refund", "get_customer", "read", "write", "x", "*"]);
        let names = prop::collection::vec(one_of(&["production", "sandbox"]), 0..3).prop_map(Json::Array);
        let place = object(vec![
            ("mode", modes()),
            ("accounts", accounts()),
            ("environments", prop_oneof![4 => names, 1 => odd()].boxed()),
            ("everywhere", flag()),
        ]);
        let place = prop_oneof![6 => place, 1 => odd()].boxed();
        let operation = object(vec![
            ("name", name),
            ("class", class),
            ("money", prop_oneof![4 => money, 1 => odd()].boxed()),
            ("reversible", flag()),
            ("magnitude", prop_oneof![4 => magnitude, 1 => odd()].boxed()),
            ("confirmations", words.boxed()),
            ("targets", targets.boxed()),
            ("environment", place),
        ]);
        let argument = prop_oneof![key(), amount().boxed(), key().prop_map(|key| json!({"deep": [key]}))];
        object(vec![
            ("phase", one_of(&["call", "list"])),
            ("method", one_of(&["tools/call", "resources/read", "tasks/update", "odd"])),
            (
                "tool",
                object(vec![
                    ("name", prop_oneof![3 => one_of(&["create_refund", ""]), 1 => odd()].boxed()),
                    (
                        "pin",
                        prop_oneof![6 => one_of(&["match", "changed", "unpinned", "unknown", "odd"]), 1 => odd()]
                            .boxed(),
                    ),
                    (
                        "schema",
                        prop_oneof![6 => one_of(&["checked", "partial", "unusable", "none", "odd"]), 1 => odd()]
                            .boxed(),
                    ),
                ]),
            ),
            (
                "session",
                prop_oneof![6 => object(vec![("mode", modes()), ("accounts", accounts())]), 1 => odd()].boxed(),
            ),
            (
                "principal",
                object(vec![
                    ("name", one_of(&["a"])),
                    ("scopes", scopes.boxed()),
                    ("conditional_scopes", prop_oneof![5 => list(odd_conditional()), 1 => odd()].boxed()),
                ]),
            ),
            ("now", prop_oneof![4 => Just(json!(1_770_000_000_000_000_000_u64)), 1 => odd()].boxed()),
            ("history", prop_oneof![5 => history(), 1 => odd()].boxed()),
            ("server", object(vec![("name", one_of(&["billing", "stripe"]))])),
            (
                "environment",
                object(vec![
                    ("accounts", accounts()),
                    ("name", one_of(&["production", "sandbox", "x", "staging"])),
                    ("production", prop_oneof![select(vec![json!(true), json!(false)]), odd()].boxed()),
                    ("conflict", prop_oneof![odd(), Just(json!("key and declaration disagree"))].boxed()),
                ]),
            ),
            ("operation", prop_oneof![8 => operation, 1 => odd()].boxed()),
            ("arguments", object(vec![("a", argument.clone().boxed()), ("b", odd().boxed())])),
            ("responses", prop_oneof![object(vec![("a", argument.clone().boxed())]), odd()].boxed()),
            ("meta", prop_oneof![object(vec![("a", argument.boxed())]), odd()].boxed()),
        ])
    }

    fn list(item: BoxedStrategy<Json>) -> BoxedStrategy<Json> {
        prop::collection::vec(item, 0..3).prop_map(Json::Array).boxed()
    }

    /// A scope with conditions, or something that looks like one.
    fn odd_conditional() -> BoxedStrategy<Json> {
        let value = prop_oneof![
            4 => select(vec![json!(1000), json!(10.5), json!("c"), json!("*"), json!(["eur", 7]), json!([])]),
            1 => odd(),
        ];
        let test = object(vec![
            ("at", prop_oneof![6 => list(one_of(&["a", "b", "deep"])), 1 => odd()].boxed()),
            ("is", one_of(&["max", "min", "in", "prefix", "glob", "present", "absent"])),
            ("value", value.boxed()),
            ("whole", select(vec![json!(true), json!(false)]).boxed()),
        ]);
        let hours = object(vec![
            ("from", amount()),
            ("to", amount()),
            ("days", list(one_of(&["Monday"]))),
            ("zone", one_of(&["UTC", "Europe/Berlin"])),
        ]);
        let limit = object(vec![("max", amount()), ("currency", one_of(&["eur"]))]);
        object(vec![
            ("scope", scope()),
            ("where", prop_oneof![5 => list(test), 1 => odd()].boxed()),
            ("amount", prop_oneof![5 => limit, 1 => odd()].boxed()),
            ("environments", prop_oneof![5 => list(one_of(&["production", "sandbox"])), 1 => odd()].boxed()),
            ("hours", prop_oneof![5 => hours, 1 => odd()].boxed()),
            ("until", prop_oneof![3 => Just(json!(1_800_000_000_000_000_000_u64)), 1 => odd()].boxed()),
        ])
    }

    /// A history of any shape near the right one.
    fn history() -> BoxedStrategy<Json> {
        let sum = || object(vec![("eur", amount()), ("none", amount())]);
        let n = || select(vec![json!(0), json!(1), json!(3)]);
        let spent = move || {
            let free = Just(json!("2026-02-02T03:00:00Z")).boxed();
            object(vec![("count", n().boxed()), ("unknown", n().boxed()), ("sum", sum()), ("free", free)])
        };
        let windows = move || object(vec![("minute", spent()), ("hour", spent()), ("day", spent())]);
        let operations = object(vec![("create_refund", windows()), ("get_customer", windows()), ("x", windows())]);
        let classes = object(vec![("financial", windows()), ("read", windows())]);
        let principal = object(vec![("operations", operations), ("classes", classes)]);
        object(vec![
            ("adds", object(vec![("count", n().boxed()), ("unknown", n().boxed()), ("sum", sum())])),
            ("principal", prop_oneof![6 => principal, 1 => odd()].boxed()),
        ])
    }

    /// A history as the gate writes it.
    fn history_of_ours() -> BoxedStrategy<JsonText> {
        let sum = || {
            let amount = select(vec![json!(7), json!(1000), json!(0.5), json!(9_007_199_254_740_993_u64)]);
            prop::collection::btree_map(select(vec!["eur", "usd", "none"]), amount, 0..3)
        };
        let spent = move || {
            (0..4_u64, 0..2_u64, sum()).prop_map(|(count, unknown, sum)| {
                let spent = json!({"count": count, "unknown": unknown, "sum": sum});
                let free = json!({"count": count, "unknown": unknown, "sum": sum, "free": "2026-02-02T03:00:00Z"});
                if count == 0 { spent } else { free }
            })
        };
        let windows = move || {
            (spent(), spent(), spent())
                .prop_map(|(minute, hour, day)| json!({"minute": minute, "hour": hour, "day": day}))
        };
        let names = prop_oneof![select(vec!["create_refund", "get_customer", "x"]).prop_map(str::to_owned), text()];
        let operations = prop::collection::btree_map(names, windows(), 0..3);
        let classes = prop::collection::btree_map(
            select(vec!["read", "write", "financial", "destructive", "unknown"]),
            windows(),
            0..6,
        );
        let adds = (0..2_u64, 0..2_u64, sum());
        (operations, classes, adds)
            .prop_map(|(operations, classes, (count, unknown, sum))| {
                let counted = json!({"operations": operations, "classes": classes});
                let adds = json!({"count": count, "unknown": unknown, "sum": sum});
                JsonText::of(&json!({"adds": adds, "principal": counted, "session": counted})).unwrap()
            })
            .boxed()
    }

    /// A scope with conditions that a configuration could hold.
    fn conditional() -> BoxedStrategy<ConditionalScope> {
        let number = || select(vec!["0", "7", "1000", "10.5"]).prop_map(json);
        let at = || prop::collection::vec(select(vec!["a", "b", "deep"]).prop_map(str::to_owned), 1..3);
        let texts = select(vec!["\"c\"", "\"sk_live_\"", "\"*\"", "\"s*c\"", "\"é\""]).prop_map(json);
        let values = select(vec!["[7]", "[\"eur\",true,10.5]", "[\"sk_live_abc\"]"]).prop_map(json);
        let numbers = (select(vec![TestKind::Max, TestKind::Min]), number());
        let test = prop_oneof![
            numbers.prop_map(|(is, value)| (is, Some(value))),
            (select(vec![TestKind::Prefix, TestKind::Glob]), texts).prop_map(|(is, value)| (is, Some(value))),
            values.prop_map(|value| (TestKind::In, Some(value))),
            select(vec![TestKind::Present, TestKind::Absent]).prop_map(|is| (is, None)),
        ];
        let test = (at(), test, any::<bool>()).prop_map(|(at, (is, value), whole)| Test { at, is, value, whole });
        let amount = (number(), any::<bool>(), prop::option::of(Just("eur".to_owned())))
            .prop_map(|(max, whole, currency)| AmountLimit { max, whole, currency });
        let zone = select(vec!["UTC", "Europe/Berlin", "America/New_York"]).prop_map(str::to_owned);
        let hours = (0..700_u16, 700..1441_u16, zone).prop_map(|(from, to, zone)| Hours {
            from,
            to,
            days: vec!["Monday".to_owned(), "Thursday".to_owned()],
            zone,
        });
        let scope = select(vec!["*/*", "billing/create_refund", "billing/fin*", "stripe/financial", "*/read"]);
        let environments = prop::option::of(prop::collection::vec(text(), 1..3));
        let until = prop::option::of(select(vec![0, 1, 1_900_000_000_000_000_000]));
        let tests = prop::collection::vec(test, 0..3);
        (scope, tests, prop::option::of(amount), environments, prop::option::of(hours), until)
            .prop_map(|(scope, tests, amount, environments, hours, until)| ConditionalScope {
                scope: scope.to_owned(),
                tests,
                amount,
                environments,
                hours,
                until,
            })
            .boxed()
    }

    fn json(text: &str) -> JsonText {
        JsonText::parse(text, Rules::CLIENT).unwrap()
    }

    pub fn key() -> BoxedStrategy<Json> {
        one_of(&["x", "sk_live_abc", "k_live_", "rk_live_\u{e9}", "sk_test_1"])
    }

    pub fn text() -> BoxedStrategy<String> {
        let pool =
            ["create_refund", "get_customer", "read", "write", "billing", "stripe", "acct_1", "production", "*", ""];
        prop_oneof![3 => select(pool.to_vec()).prop_map(str::to_owned), 1 => any::<String>()].boxed()
    }

    fn spelled() -> BoxedStrategy<String> {
        prop_oneof![amount().prop_map(|amount| amount.to_string()), text(), Just("1e3".to_owned())].boxed()
    }

    /// A context that the proxy could have made, from configuration, catalog and call.
    pub fn context() -> BoxedStrategy<CallContext> {
        let class = select(vec![Class::Read, Class::Write, Class::Financial, Class::Destructive, Class::Unknown]);
        let units = || prop_oneof![select(vec!["minor", "major", "percent", "count"]).prop_map(str::to_owned), text()];
        let currency = prop_oneof![select(vec!["usd", "EUR", "jpy"]).prop_map(str::to_owned), text()];
        let money = (prop::option::of(spelled()), units(), prop::option::of(currency));
        let money = money.prop_map(|(amount, unit, currency)| Money { amount, unit, currency, absent: None });
        let targets = prop::collection::vec(text(), 0..3);
        let magnitude = (prop::option::of(spelled()), units(), prop::option::of(text()));
        let magnitude = magnitude.prop_map(|(value, unit, absent)| Magnitude { value, unit, absent });
        let mode = select(vec![None, Some(ReachMode::Production), Some(ReachMode::Test), Some(ReachMode::Unknown)]);
        let account = prop_oneof![select(vec!["acct_1", "acct_2", "é"]).prop_map(str::to_owned), any::<String>()];
        let names = prop_oneof![select(vec!["production", "sandbox"]).prop_map(str::to_owned), text()];
        let (accounts, names) = (prop::collection::vec(account, 0..3), prop::collection::vec(names, 0..3));
        let reach = (mode, accounts, names, any::<bool>())
            .prop_map(|(mode, accounts, environments, everywhere)| Reach { mode, accounts, environments, everywhere });
        let operation = (text(), class, prop::option::of(any::<bool>()), prop::option::of(money), targets)
            .prop_flat_map(move |(name, class, reversible, money, targets)| {
                let operation = Operation { reversible, money, targets, ..Operation::bare(&name, class) };
                (Just(operation), prop::option::of(magnitude.clone()), prop::option::of(reach.clone()))
            })
            .prop_map(|(operation, magnitude, environment)| Operation { magnitude, environment, ..operation });
        let scopes = prop::collection::vec(
            (
                "(\\*|billing|stripe)/",
                prop_oneof![
                    select(vec!["read", "financial", "create_refund", "*"]).prop_map(str::to_owned),
                    "[a-z_.*-]{1,8}"
                ],
            )
                .prop_map(|(server, what)| server + &what),
            0..4,
        );
        let account = || prop::collection::vec(select(vec!["acct_1", "acct_2"]).prop_map(str::to_owned), 0..2);
        let environment = (select(vec!["production", "sandbox", "test", "x"]), prop::option::of(text()), account());
        let environment = environment.prop_map(|(name, conflict, accounts)| {
            Arc::new(Environment { conflict, accounts, ..Environment::declared(name) })
        });
        let bound = (select(vec![None, Some(ReachMode::Production), Some(ReachMode::Test)]), account());
        let bound = bound.prop_map(|(mode, accounts)| Bound { mode, accounts });
        let by = select(vec![ConfirmedBy::Vendor, ConfirmedBy::Agent]);
        let word = (by, any::<bool>()).prop_map(|(by, issued)| Confirmation { at: "/x".into(), by, issued });
        let pin = select(vec![Pin::Match, Pin::Changed, Pin::Unpinned, Pin::Unknown]);
        let schema = [SchemaCheck::Checked, SchemaCheck::Partial, SchemaCheck::Unusable, SchemaCheck::None];
        let tool = (text(), pin, select(schema.to_vec())).prop_map(|(tool, pin, schema)| CallContext {
            tool: ToolFacts { pin, schema, ..fixtures::context(&tool, Class::Unknown).tool },
            ..fixtures::context(&tool, Class::Unknown)
        });
        let principal =
            (scopes, prop::collection::vec(conditional(), 0..3)).prop_map(|(scopes, conditional_scopes)| {
                Arc::new(Principal { conditional_scopes, ..Principal::plain("agent", PrincipalKind::Uid, scopes) })
            });
        let history = prop::option::weighted(0.8, history_of_ours());
        let remembered = (bound, prop::collection::vec(word, 0..2), history);
        let server = select(vec!["billing", "stripe"]).prop_map(fixtures::server);
        (operation, principal, environment, server, tool, remembered)
            .prop_map(|(operation, principal, environment, server, base, (bound, confirmations, history))| {
                CallContext { bound, confirmations, history, principal, server, environment, operation, ..base }
            })
            .boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

        /// The machine takes an error for an undefined value, so on documents of ours there may be no errors.
        #[test]
        fn on_a_document_of_ours_nothing_errs_and_both_agree(
            context in context(),
            arguments in object(vec![("a", odd().boxed()), ("b", amount().boxed())]),
            responses in prop::option::of(object(vec![("a", key().boxed()), ("b", odd().boxed())])),
            meta in prop::option::of(object(vec![("progressToken", odd().boxed()), ("x/y", key().boxed())])),
            listed in any::<bool>(),
            now in select(vec![0, 1_770_000_000_000_000_000]),
            which in 0..3_usize,
        ) {
            let arguments = arguments.to_string();
            let phase = if listed { Phase::List } else { Phase::Call };
            let (method, arguments) = ("tools/call", arguments.as_str());
            let responses = responses.map(|responses| JsonText::of(&responses).unwrap());
            let responses = responses.as_ref().map(JsonText::view);
            let meta = meta.map(|meta| JsonText::of(&meta).unwrap());
            let meta = meta.as_ref().map(JsonText::view);
            let subject = input::Subject { phase, method, arguments, responses, meta, digest: None };
            let document = input::document(now, subject, &context);
            for (path, [interpreted, compiled]) in SETS[which].both_for_test(document.as_str()) {
                prop_assert!(interpreted.is_ok(), "{path}: {interpreted:?}");
                prop_assert_eq!(interpreted, compiled, "{}", path);
            }
        }

        /// Whatever the document is: where the interpreter has an answer, the machine has the same.
        #[test]
        fn an_answer_of_the_interpreter_is_the_answer(input in document(), which in 0..3_usize) {
            for (path, [interpreted, compiled]) in SETS[which].both_for_test(&input.to_string()) {
                if interpreted.is_ok() {
                    prop_assert_eq!(interpreted, compiled, "{}", path);
                }
            }
        }
    }

    #[test]
    fn every_shipped_set_is_compiled() {
        for set in &*SETS {
            assert!(set.is_shipped());
            assert_eq!(set.both_for_test("{}").len(), 7);
        }
    }
}
