//! The built-in policies under OPA itself, on the kinds of input on which their machine and the interpreter are compared:
//! documents that the proxy could have made, and documents of any shape. Where the interpreter has an answer, OPA has the
//! same.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::compiled::tests::{SETS, amount, context, document, key, object, odd};
use super::super::{Phase, input, source};
use crate::json::JsonText;

#[path = "../../../tests/opa/peer.rs"]
mod peer;

use peer::{Answer, Opa, exact};

/// For each set of data, of each kind.
const DOCUMENTS: usize = 150;

/// A document that the proxy could have made.
fn ours() -> BoxedStrategy<String> {
    let arguments = object(vec![("a", odd().boxed()), ("b", amount()), ("c", key())]);
    let responses = prop::option::of(object(vec![("a", key()), ("b", odd().boxed())]));
    let meta = prop::option::of(object(vec![("progressToken", odd().boxed()), ("x/y", key())]));
    let now = select(vec![0, 1_770_000_000_000_000_000]);
    let parts = (context(), arguments, responses, meta, any::<bool>(), now);
    let made = parts.prop_map(|(context, arguments, responses, meta, listed, now)| {
        let text = |value: Option<serde_json::Value>| value.map(|value| JsonText::of(&value).unwrap());
        let (responses, meta, arguments) = (text(responses), text(meta), arguments.to_string());
        let phase = if listed { Phase::List } else { Phase::Call };
        let (responses, meta) = (responses.as_ref().map(JsonText::view), meta.as_ref().map(JsonText::view));
        let subject =
            input::Subject { phase, method: "tools/call", arguments: &arguments, responses, meta, digest: None };
        input::document(now, subject, &context).as_str().to_owned()
    });
    made.boxed()
}

/// The entries without their reasons: words that nothing is decided by, in which OPA spells some characters and large
/// numbers in another way.
fn decisive(entries: &str) -> String {
    let mut entries: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(entries).unwrap();
    entries.iter_mut().for_each(|entry| drop(entry.remove("reason")));
    let mut entries: Vec<_> = entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    entries.sort();
    entries.join(" ")
}

#[test]
fn opa_says_what_the_built_in_policies_say() {
    let names: Vec<String> = source::builtin_names().map(str::to_owned).collect();
    let modules: Vec<String> =
        source::builtin(&names).unwrap().policies.into_iter().map(|policy| policy.text).collect();
    let (mut runner, mut opa) = (TestRunner::deterministic(), Opa::start());
    // How often each set had entries.
    let (mut held, mut wrong) = (BTreeMap::new(), Vec::new());
    for set in &*SETS {
        let kinds = [ours(), document().prop_map(|document| document.to_string()).boxed()];
        let mut said = Vec::new();
        for kind in kinds.iter().flat_map(|kind| std::iter::repeat_n(kind, DOCUMENTS)) {
            let document = kind.new_tree(&mut runner).unwrap().current();
            for (path, [interpreted, _]) in set.both_for_test(&document) {
                // What fails here is refused, whatever OPA says.
                let Ok(value) = interpreted else { continue };
                *held.entry(path.clone()).or_insert(0) += usize::from(!value.as_set().unwrap().is_empty());
                said.push((path, document.clone(), decisive(&exact(&value.to_json_str().unwrap()))));
            }
        }
        let asks: Vec<_> = said.iter().map(|(path, document, _)| (path.as_str(), document.clone())).collect();
        let answers = opa.ask(&modules, &set.data_for_test().to_json_str().unwrap(), &asks).unwrap();
        for ((path, document, ours), theirs) in said.iter().zip(answers) {
            let theirs = match theirs {
                Answer::Is(entries) => Answer::Is(decisive(&entries)),
                other => other,
            };
            if theirs != Answer::Is(ours.clone()) {
                wrong.push(format!("{path} is {ours}, and in OPA {theirs}, on {document}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(held.len(), 7, "{held:?}");
    assert!(held.values().all(|times| *times > 10), "{held:?}");
}
