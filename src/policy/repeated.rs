//! Decisions that need not be made again. Most calls of an agent are reads that are allowed, one like the other but for
//! their arguments, and the shipped rules look at the arguments of such a call for live keys alone.
//!
//! Invariant: a decision is remembered by everything in the input that a rule may look at, byte for byte, and only one
//! that allows a read with nothing said against it. It lives no longer than the policies that made it. Whatever is not
//! known to repeat is decided.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Phase;
use super::input::Subject;
use crate::call::{CallContext, Class, Decision, Effect};

/// Longest input that is remembered, without what differs from call to call.
const LONGEST: usize = 8 << 10;
/// Decisions that are kept; then all are forgotten.
const MOST: usize = 256;
/// What every live key has in it.
const LIVE: &str = "k_live_";

/// Decisions by their inputs.
#[derive(Debug, Default)]
pub struct Repeated(Mutex<HashMap<Box<str>, Decision>>);

impl Repeated {
    pub fn get(&self, input: &str) -> Option<Decision> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(input).cloned()
    }

    /// Keeps one that allows, where no rule, watched ones among them, has said anything else.
    pub fn keep(&self, input: String, decision: &Decision) {
        let would = |hit: &crate::call::RuleHit| hit.would.is_none_or(|would| would == Effect::Allow);
        if decision.effect != Effect::Allow || !decision.observed.iter().all(would) || input.len() > LONGEST {
            return;
        }
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(input.into(), decision.clone());
    }
}

/// Whether the shipped rules decide about this without a look at its arguments, its targets and the time: a read of a
/// principal whose scopes have no conditions, with no text in it that is a live key or may be spelled to hide one.
pub fn may_repeat(subject: &Subject<'_>, context: &CallContext) -> bool {
    let texts =
        [Some(subject.arguments), subject.responses.map(|json| json.text()), subject.meta.map(|json| json.text())];
    subject.phase == Phase::Call
        && context.operation.class == Class::Read
        && context.principal.conditional_scopes.is_empty()
        && context.history.is_none()
        && texts.into_iter().flatten().all(|text| !text.contains('\\') && !text.contains(LIVE))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::test_runner::TestRunner;
    use serde_json::json;

    use super::super::Mode;
    use super::super::compiled::tests::{SETS, context, text};
    use super::super::document::Document;
    use super::super::input::{self, Text};
    use super::super::set::PolicySet;
    use super::*;
    use crate::call::{
        Bound, Digest, Environment, Operation, Pin, Principal, PrincipalKind, SchemaCheck, ToolFacts, fixtures,
    };
    use crate::json::JsonText;

    fn document(context: &CallContext, arguments: &str, now: u64) -> Text {
        let digest = Some(Digest::of_bytes(arguments.as_bytes()));
        let subject = Subject { phase: Phase::Call, arguments, digest, ..Subject::listed() };
        input::document(now, subject, context)
    }

    fn reader() -> CallContext {
        let principal = Principal::plain("agent", PrincipalKind::Uid, vec!["*/read".to_owned()]);
        CallContext { principal: Arc::new(principal), ..fixtures::context("get_customer", Class::Read) }
    }

    fn decide(set: &PolicySet, document: &Text) -> Decision {
        set.decide(Phase::Call, &Document::Ours(document.clone())).unwrap()
    }

    fn known(set: &PolicySet) -> usize {
        set.repeated_for_test().0.lock().unwrap().len()
    }

    /// Some families only watched, and one of these failing on every input.
    fn watched() -> [PolicySet; 2] {
        let watched = || {
            let modes = BTreeMap::from([("pins".to_owned(), Mode::Shadow)]);
            super::super::compiled::tests::set_in(json!({}), modes)
        };
        [watched(), watched().failing_for_test(Mode::Shadow)]
    }

    /// A text that may hold a live key, plainly or not.
    fn words() -> BoxedStrategy<String> {
        let hidden = select(vec!["sk_live_abc", "K_LIVE_abc", "rk_live", "k_live_é", "a\\b", "\u{1}sk_live_a"]);
        prop_oneof![3 => text(), 1 => hidden.prop_map(str::to_owned)].boxed()
    }

    /// Two inputs with the same key are decided alike, where the decision is one that is kept: by rules that are asked
    /// each time.
    #[test]
    fn what_is_left_out_of_a_key_decides_nothing() {
        let [watched, _] = watched();
        let sets: Vec<&PolicySet> = SETS.iter().chain([&watched]).collect();
        let scopes = prop::collection::vec(select(vec!["*/read", "*/*", "billing/get_*", "stripe/x"]), 1..3);
        let targets = || prop::collection::vec(text(), 0..3);
        let varying = ((words(), words()), (targets(), targets()), any::<[u64; 2]>(), prop::option::of(words()));
        let usual = (prop::bool::weighted(0.9), prop::bool::weighted(0.6));
        let inputs = (context(), scopes, usual, varying, 0..sets.len());
        let kept = Cell::new(0);
        let mut runner = TestRunner::new(ProptestConfig::with_cases(4000));
        let ran =
            runner.run(&inputs, |(context, scopes, (read, plain), ((a, b), (these, those), now, meta), which)| {
                let scopes = scopes.into_iter().map(str::to_owned).collect();
                let principal = Arc::new(Principal::plain("agent", PrincipalKind::Uid, scopes));
                let class = if read { Class::Read } else { context.operation.class };
                // Most contexts of any kind have something that is held or denied.
                let context = if plain {
                    let tool = ToolFacts { pin: Pin::Match, schema: SchemaCheck::Checked, ..context.tool.clone() };
                    let operation = Operation { environment: None, ..context.operation.clone() };
                    let environment = Arc::new(Environment::declared("production"));
                    CallContext { tool, operation, environment, confirmations: Vec::new(), ..context }
                } else {
                    context
                };
                let meta = meta.map(|meta| JsonText::of(&json!({"progressToken": meta})).unwrap());
                let document = |words: &str, targets: Vec<String>, now, meta| {
                    let operation = Operation { class, targets, ..context.operation.clone() };
                    let principal = Arc::clone(&principal);
                    let context = CallContext { principal, operation, history: None, ..context.clone() };
                    let arguments = json!({"a": words, "amount": now, "deep": [words]}).to_string();
                    let digest = Some(Digest::of_bytes(words.as_bytes()));
                    let subject =
                        Subject { phase: Phase::Call, arguments: &arguments, meta, digest, ..Subject::listed() };
                    input::document(now, subject, &context)
                };
                let one = document(&a, these, now[0], None);
                let other = document(&b, those, now[1], meta.as_ref().map(JsonText::view));
                let (Some(key), Some(again)) = (one.repeats(), other.repeats()) else { return Ok(()) };
                prop_assert_eq!(&key, &again);
                let evaluate = |text| sets[which].evaluate(Phase::Call, &Document::Ours(text)).unwrap();
                let (decided, afresh) = (evaluate(one), evaluate(other));
                let repeated = Repeated::default();
                repeated.keep(key, &decided);
                if let Some(remembered) = repeated.get(&again) {
                    kept.set(kept.get() + 1);
                    prop_assert_eq!(remembered, afresh);
                }
                Ok(())
            });
        ran.unwrap();
        assert!(kept.get() > 200, "{} of 4000 were kept", kept.get());
    }

    #[test]
    fn what_a_watched_rule_objects_to_is_asked_each_time() {
        let unpinned = CallContext { tool: ToolFacts { pin: Pin::Unpinned, ..reader().tool }, ..reader() };
        for (set, context) in watched().iter().zip([unpinned, reader()]) {
            let decision = decide(set, &document(&context, "{}", 1));
            assert_eq!(decision.effect, Effect::Allow);
            assert!(!decision.observed.is_empty());
            assert_eq!(known(set), 0);
        }
    }

    #[test]
    fn a_read_like_another_is_remembered_and_nothing_that_differs_is() {
        let set = super::super::compiled::tests::set(json!({}));
        let first = document(&reader(), r#"{"id":"cus_1"}"#, 1);
        assert_eq!(decide(&set, &first).effect, Effect::Allow);
        assert_eq!(known(&set), 1);
        let alike = CallContext {
            operation: Operation { targets: vec!["cus_2".to_owned()], ..reader().operation },
            ..reader()
        };
        assert_eq!(decide(&set, &document(&alike, r#"{"id":"cus_2"}"#, 2)).effect, Effect::Allow);
        assert_eq!(known(&set), 1, "the same but for its arguments, target and time");

        let other = |change: &dyn Fn(&mut CallContext)| {
            let mut context = reader();
            change(&mut context);
            document(&context, "{}", 1).repeats()
        };
        let changes: [&dyn Fn(&mut CallContext); 8] = [
            &|context| context.principal = Arc::new(Principal::plain("agent", PrincipalKind::Uid, vec![])),
            &|context| context.principal = Arc::new(Principal::plain("b", PrincipalKind::Uid, vec!["*/read".into()])),
            &|context| context.session = "another".to_owned(),
            &|context| context.tool = ToolFacts { pin: Pin::Changed, ..context.tool.clone() },
            &|context| context.operation.name = "another".to_owned(),
            &|context| context.bound = Bound { accounts: vec!["acct_1".to_owned()], ..Bound::default() },
            &|context| context.environment = Arc::new(Environment::declared("another")),
            &|context| {
                let environment =
                    Environment { conflict: Some("another".to_owned()), ..(*context.environment).clone() };
                context.environment = Arc::new(environment);
            },
        ];
        let mut keys: Vec<Option<String>> = changes.iter().map(|change| other(change)).collect();
        keys.push(first.repeats());
        assert!(keys.iter().all(Option::is_some));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 9, "each has a key of its own");
    }

    #[test]
    fn a_live_key_is_seen_after_a_read_without_one() {
        let set = super::super::compiled::tests::set(json!({}));
        assert_eq!(decide(&set, &document(&reader(), "{}", 1)).effect, Effect::Allow);
        for arguments in [r#"{"a":"sk_live_abc"}"#, r#"{"a":"sk\u005flive_abc"}"#, r#"{"sk_live_abc":1}"#] {
            let decision = decide(&set, &document(&reader(), arguments, 1));
            assert_eq!(decision.rules[0].rule, "environment.live_key", "{arguments}");
        }
        let meta = JsonText::of(&json!({"note": "rk_live_abc"})).unwrap();
        let subject = Subject { phase: Phase::Call, meta: Some(meta.view()), ..Subject::listed() };
        assert_eq!(decide(&set, &input::document(1, subject, &reader())).effect, Effect::Deny);
        assert_eq!(known(&set), 1);
    }

    #[test]
    fn only_plain_yeses_are_kept_and_their_number_is_bounded() {
        let set = super::super::compiled::tests::set(json!({}));
        let denied = CallContext { principal: fixtures::principal("agent", &[]), ..reader() };
        assert_eq!(decide(&set, &document(&denied, "{}", 1)).effect, Effect::Deny);
        let held =
            super::super::compiled::tests::set(json!({"destructive": {"needs": {"production": {"read": "low"}}}}));
        let production = CallContext { environment: Arc::new(Environment::declared("production")), ..reader() };
        assert_eq!(decide(&held, &document(&production, "{}", 1)).effect, Effect::Hold);
        assert_eq!((known(&set), known(&held)), (0, 0));
        for session in 0..3 * MOST {
            let _ = decide(&set, &document(&CallContext { session: format!("s-{session}"), ..reader() }, "{}", 1));
        }
        assert!((1..=MOST).contains(&known(&set)));
        // What looks at arguments or at the time is asked each time, and so is whatever is no read.
        for class in [Class::Write, Class::Financial, Class::Destructive, Class::Unknown] {
            let context = CallContext { operation: Operation::bare("x", class), ..reader() };
            assert_eq!(document(&context, "{}", 1).repeats(), None);
        }
        assert_eq!(input::document(1, Subject::listed(), &reader()).repeats(), None);
        let history = Some(JsonText::of(&json!({})).unwrap());
        assert_eq!(document(&CallContext { history, ..reader() }, "{}", 1).repeats(), None);
    }
}
