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

/// A program and its data. Cheap to start a machine from.
#[derive(Debug)]
pub struct Compiled {
    program: Arc<Program>,
    data: Value,
}

/// One evaluation of a program: all its sets, on one input.
#[derive(Debug)]
pub struct Machine(RegoVM);

impl Compiled {
    /// Compiles the sets at these paths. `None` where there are none.
    ///
    /// # Errors
    /// Where the compiler does not take the texts: a fault of ours, which a test would have shown.
    pub fn new(sources: &[&Source], data: &Value, paths: &[String]) -> Result<Option<Compiled>, PolicyErrors> {
        let Some(first) = paths.first() else { return Ok(None) };
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
        engine.add_data(data.clone()).map_err(|error| failed(format!("{error:#}")))?;
        let policy =
            engine.compile_with_entrypoint(&first.as_str().into()).map_err(|error| failed(format!("{error:#}")))?;
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let program = Compiler::compile_from_policy(&policy, &paths).map_err(|error| failed(error.to_string()))?;
        let compiled = Compiled { program, data: data.clone() };
        // Rules and data that are at odds are found here and not with the first call.
        compiled.start(Value::new_object(), Duration::ZERO).map_err(failed)?;
        Ok(Some(compiled))
    }

    /// A machine for one input. Each set may take `limit`.
    ///
    /// # Errors
    /// Where the data does not fit the rules.
    pub fn start(&self, input: Value, limit: Duration) -> Result<Machine, String> {
        let mut vm = RegoVM::new();
        vm.load_program(Arc::clone(&self.program));
        vm.set_data(self.data.clone()).map_err(|error| error.to_string())?;
        vm.set_input(input);
        // As the interpreter does it: an error of a built-in function is an error of the policy.
        vm.set_strict_builtin_errors(true);
        vm.set_max_instructions(INSTRUCTIONS);
        vm.set_execution_timer_config(Some(ExecutionTimerConfig { limit, check_interval: LOOK }));
        Ok(Machine(vm))
    }
}

impl Machine {
    /// The set at this place of the paths that were compiled.
    ///
    /// # Errors
    /// What the machine says.
    pub fn evaluate(&mut self, entry_point: usize) -> Result<Value, String> {
        self.0.execute_entry_point_by_index(entry_point).map_err(|error| error.to_string())
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
    use super::super::{Phase, input, source};
    use super::*;
    use crate::call::{CallContext, Class, Environment, Money, Operation, Principal, PrincipalKind, fixtures};
    use crate::json::JsonText;

    /// Every shipped family, with data of the operator's for each of them, odd data among it.
    fn set(data: Json) -> PolicySet {
        let names: Vec<String> = source::builtin_names().map(str::to_owned).collect();
        let mut sources = source::builtin(&names).unwrap();
        sources.data.push(Source { name: "data.json".into(), text: data.to_string() });
        PolicySet::load(Build { sources, modes: BTreeMap::new(), time_limit: Duration::from_secs(30) }).unwrap()
    }

    static SETS: LazyLock<Vec<PolicySet>> = LazyLock::new(|| {
        vec![
            set(json!({})),
            set(json!({
                "destructive": {
                    "needs": {"production": {"write": "pass", "financial": "low", "odd": "huge"}},
                    "limits": {"production": {"create_refund": 1000}, "sandbox": {"create_refund": 10.5, "x": "7"}},
                },
                "environment": {"accounts": {"billing": ["acct_1", 7], "stripe": []}},
            })),
            set(json!({
                "destructive": {"needs": {"sandbox": null}, "limits": {"production": []}},
                "environment": {"accounts": {"billing": 7}},
            })),
        ]
    });

    /// Any value, from a pool in which the values that rules look for stand beside odd ones.
    fn odd() -> impl Strategy<Value = Json> {
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

    fn amount() -> impl Strategy<Value = Json> {
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
        prop_oneof![4 => spelled, 1 => odd()]
    }

    fn one_of(values: &[&'static str]) -> BoxedStrategy<Json> {
        let usual = select(values.iter().map(|value| json!(value)).collect::<Vec<_>>());
        prop_oneof![6 => usual, 1 => odd()].boxed()
    }

    fn object(members: Vec<(&'static str, BoxedStrategy<Json>)>) -> BoxedStrategy<Json> {
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

    fn document() -> BoxedStrategy<Json> {
        let scopes = prop_oneof![5 => prop::collection::vec(scope(), 0..4).prop_map(Json::Array), 1 => odd()];
        let money = object(vec![("amount", amount().boxed()), ("unit", one_of(&["minor", "major"]))]);
        let targets =
            prop_oneof![3 => prop::collection::vec(one_of(&["cus_1", ""]), 0..3).prop_map(Json::Array), 1 => odd()];
        let class = one_of(&["read", "write", "financial", "destructive", "unknown", "odd", "Read"]);
        let name = one_of(&["create_refund", "get_customer", "read", "write", "x", "*"]);
        let place =
            one_of(&["", "/", "production/", "test/", "production/acct_1", "/acct_1", "/acct_2", "live/", "x", "/é"]);
        let operation = object(vec![
            ("name", name),
            ("class", class),
            ("money", prop_oneof![4 => money, 1 => odd()].boxed()),
            ("targets", targets.boxed()),
            ("environment", place),
        ]);
        let argument = prop_oneof![key(), amount().boxed(), key().prop_map(|key| json!({"deep": [key]}))];
        object(vec![
            ("phase", one_of(&["call", "list"])),
            ("principal", object(vec![("name", one_of(&["a"])), ("scopes", scopes.boxed())])),
            ("server", object(vec![("name", one_of(&["billing", "stripe"]))])),
            (
                "environment",
                object(vec![
                    ("name", one_of(&["production", "sandbox"])),
                    ("production", prop_oneof![select(vec![json!(true), json!(false)]), odd()].boxed()),
                    ("conflict", prop_oneof![odd(), Just(json!("key and declaration disagree"))].boxed()),
                ]),
            ),
            ("operation", prop_oneof![8 => operation, 1 => odd()].boxed()),
            ("arguments", object(vec![("a", argument.clone().boxed()), ("b", odd().boxed())])),
            ("responses", prop_oneof![object(vec![("a", argument.boxed())]), odd()].boxed()),
        ])
    }

    fn key() -> BoxedStrategy<Json> {
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
        let money = (prop::option::of(spelled()), text(), prop::option::of(text()));
        let money = money.prop_map(|(amount, unit, currency)| Money { amount, unit, currency, absent: None });
        let targets = prop::collection::vec(text(), 0..3);
        let place = select(vec!["", "/", "production/", "test/", "production/acct_1", "/acct_2", "live/x", "x", "/é/"]);
        let place = prop_oneof![3 => place.prop_map(str::to_owned), 1 => any::<String>()];
        let operation = (text(), class, prop::option::of(any::<bool>()), prop::option::of(money), targets)
            .prop_flat_map(move |(name, class, reversible, money, targets)| {
                let operation = Operation { reversible, money, targets, ..Operation::bare(&name, class) };
                (Just(operation), prop::option::of(spelled()), prop::option::of(place.clone()))
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
        let environment = (select(vec!["production", "sandbox", "test", "x"]), prop::option::of(text()));
        (operation, scopes, environment, select(vec!["billing", "stripe"]), text())
            .prop_map(|(operation, scopes, (environment, conflict), server, tool)| CallContext {
                principal: Arc::new(Principal { name: "agent".into(), kind: PrincipalKind::Uid, scopes }),
                server: fixtures::server(server),
                environment: Arc::new(Environment { conflict, ..Environment::declared(environment) }),
                operation,
                ..fixtures::context(&tool, Class::Unknown)
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
            listed in any::<bool>(),
            which in 0..3_usize,
        ) {
            let arguments = arguments.to_string();
            let phase = if listed { Phase::List } else { Phase::Call };
            let (method, arguments) = ("tools/call", arguments.as_str());
            let responses = responses.map(|responses| JsonText::of(&responses).unwrap());
            let responses = responses.as_ref().map(JsonText::view);
            let subject = input::Subject { phase, method, arguments, responses, digest: None };
            let document = input::document(0, subject, &context);
            for (path, [interpreted, compiled]) in SETS[which].both_for_test(&document) {
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
            assert_eq!(set.both_for_test("{}").len(), 3);
        }
    }
}
