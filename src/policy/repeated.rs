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
    use std::sync::Arc;

    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::json;

    use super::super::compiled::tests::{SETS, context, text};
    use super::super::document::Document;
    use super::super::input::{self, Text};
    use super::super::set::PolicySet;
    use super::*;
    use crate::call::{Bound, Digest, Environment, Operation, Pin, Principal, PrincipalKind, ToolFacts, fixtures};
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Two inputs with the same key are decided alike, where the decision is one that is kept: by rules that are
        /// asked each time.
        #[test]
        fn what_is_left_out_of_a_key_decides_nothing(
            context in context(),
            scopes in prop::collection::vec(select(vec!["*/read", "*/*", "billing/get_*", "stripe/x"]), 0..3),
            read in prop::bool::weighted(0.8),
            (words, targets) in ([text(), text()], [prop::collection::vec(text(), 0..3), prop::collection::vec(text(), 0..3)]),
            (now, which) in ([any::<u64>(), any::<u64>()], 0..3_usize),
            meta in prop::option::of(text()),
        ) {
            let scopes = scopes.into_iter().map(str::to_owned).collect();
            let principal = Arc::new(Principal::plain("agent", PrincipalKind::Uid, scopes));
            let class = if read { Class::Read } else { context.operation.class };
            let with = |targets: &Vec<String>| {
                let operation = Operation { class, targets: targets.clone(), ..context.operation.clone() };
                CallContext { principal: Arc::clone(&principal), operation, ..context.clone() }
            };
            let arguments = words.each_ref().map(|word| json!({"a": word, "amount": now[0], "deep": [word]}).to_string());
            let meta = meta.map(|meta| JsonText::of(&json!({"progressToken": meta})).unwrap());
            let document = |n: usize, meta| {
                let (context, now) = (with(&targets[n]), now[n]);
                let digest = Some(Digest::of_bytes(words[n].as_bytes()));
                let subject = Subject { phase: Phase::Call, arguments: &arguments[n], meta, digest, ..Subject::listed() };
                input::document(now, subject, &context)
            };
            let both = [document(0, None), document(1, meta.as_ref().map(JsonText::view))];
            let [Some(one), Some(other)] = both.each_ref().map(Text::repeats) else { return Ok(()) };
            prop_assert_eq!(&one, &other);
            let [decided, again] = both.map(|text| SETS[which].evaluate(Phase::Call, &Document::Ours(text)).unwrap());
            let repeated = Repeated::default();
            repeated.keep(one, &decided);
            prop_assert!(repeated.get(&other).is_none_or(|kept| kept == again));
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
    fn a_live_key_is_seen_after_a_thousand_reads_without_one() {
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
