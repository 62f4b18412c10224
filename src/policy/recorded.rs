//! The input document of a decision that was recorded, built once more from the body of its record. Nothing is
//! guessed: a record that does not say everything that the rules saw has no document.
//!
//! Invariant: the document is the one that was judged, byte for byte. (The operation in it is what the catalog said
//! then, and the digest the one that was taken then.)

use std::sync::Arc;

use serde::Deserialize;

use super::Phase;
use super::input::{self, Subject, Text};
use crate::call::{
    Bound, CallContext, CallId, ClientInfo, Confirmation, Decided, Digest, Environment, Operation, Pin, Principal,
    SchemaCheck, ServerFacts, ToolFacts,
};
use crate::json::{Json, JsonText, Rules};

/// Why a record has no document.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, thiserror::Error)]
pub enum NotReplayable {
    #[error("written by a version that did not record everything that the rules saw")]
    Older,
    #[error("too long to be recorded whole")]
    Cut,
    #[error("not of the form that this version writes")]
    Form,
}

/// The members of a record that are plain values.
#[derive(Deserialize)]
struct Facts {
    session: String,
    principal: Principal,
    client: ClientInfo,
    server: ServerFacts,
    environment: Environment,
    method: String,
    tool: String,
    definition: Option<Digest>,
    operation: Operation,
    #[serde(default)]
    bound: Bound,
    #[serde(default)]
    confirmations: Vec<Confirmation>,
    history: Option<JsonText>,
    digest: Digest,
    continues: Option<CallId>,
    judged: Judged,
}

#[derive(Deserialize)]
struct Judged {
    now: u64,
    pin: Pin,
    schema: SchemaCheck,
    tool: Option<String>,
}

/// A document that can be judged as the call was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded(pub(super) Text);

impl Recorded {
    /// The document, to be looked at. What judges it as the call was takes the value itself.
    pub fn into_text(self) -> String {
        self.0.into()
    }
}

/// The document from the body of a record of kind `decided` or `failed`.
///
/// # Errors
/// Where the body does not say everything.
pub fn document(body: &str) -> Result<Recorded, NotReplayable> {
    let text = JsonText::parse(body, Rules::UPSTREAM).map_err(|_| NotReplayable::Form)?;
    let body = text.view();
    if body.get("judged").is_none() {
        return Err(NotReplayable::Older);
    }
    // What was cut besides is not of the input: a decision with long details.
    let is_input = |name: Json<'_>| name.as_str().is_none_or(|name| !["decision", "fault"].contains(&&*name));
    if body.get("cut").is_some_and(|cut| cut.items().any(is_input)) {
        return Err(NotReplayable::Cut);
    }
    let facts: Facts = serde_json::from_str(text.as_str()).map_err(|_| NotReplayable::Form)?;
    let params = body.get("params").ok_or(NotReplayable::Form)?;
    // As `mcp` takes them from the parameters.
    let arguments = match facts.method == Decided::ToolsCall.as_str() {
        true => params.get("arguments").map_or("{}", Json::text),
        false => params.text(),
    };
    let subject = Subject {
        phase: Phase::Call,
        method: &facts.method,
        arguments,
        responses: params.get("inputResponses"),
        meta: body.get("meta"),
        digest: Some(facts.digest),
    };
    let tool = ToolFacts {
        name: facts.judged.tool.unwrap_or(facts.tool),
        annotations: body.get("annotations").map(JsonText::owned),
        definition: facts.definition,
        pin: facts.judged.pin,
        schema: facts.judged.schema,
    };
    let context = CallContext {
        session: facts.session,
        principal: Arc::new(facts.principal),
        client: Arc::new(facts.client),
        server: Arc::new(facts.server),
        environment: Arc::new(facts.environment),
        tool,
        operation: facts.operation,
        bound: facts.bound,
        confirmations: facts.confirmations,
        history: facts.history,
        continues: facts.continues,
    };
    Ok(Recorded(input::document(facts.judged.now, subject, &context)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Value, json};

    use super::super::compiled::tests::{context, text};
    use super::*;
    use crate::audit::{CallFacts, Event};
    use crate::call::{ToolCall, Transport, fixtures};
    use crate::mcp::message::Message;
    use crate::mcp::method::{self, Sorted, sort};

    /// Values in spellings that a reader would change.
    fn value() -> BoxedStrategy<String> {
        let odd = select(vec!["null", "1.0", "1e2", "-0", "9007199254740993", r#""\u0041\/""#, "[]", "{}", "true"]);
        prop_oneof![odd.prop_map(str::to_owned), text().prop_map(|text| json!(text).to_string())].boxed()
    }

    fn object() -> BoxedStrategy<String> {
        let member =
            |name: &'static str| prop::option::of(value().prop_map(move |value| format!(r#""{name}": {value}"#)));
        (member("z"), member("a"), member("cut"))
            .prop_map(|(z, a, cut)| format!("{{{}}}", [z, a, cut].into_iter().flatten().collect::<Vec<_>>().join(", ")))
            .boxed()
    }

    fn request(method: &str, params: &str) -> ToolCall {
        let version = "\"io.modelcontextprotocol/protocolVersion\": \"2026-07-28\"";
        let params = params.replacen("META", version, 1);
        let text = format!(r#"{{"jsonrpc": "2.0", "id": 1, "method": "{method}", "params": {params}}}"#);
        match sort(Message::from_client(text.clone()).unwrap()) {
            Sorted::Decide(call) => *call,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn answer(decided: Decided, result: &str) -> ToolCall {
        let text = format!(r#"{{"jsonrpc": "2.0", "id": 1, "result": {result}}}"#);
        let Sorted::Answer { passage, .. } = sort(Message::from_client(text).unwrap()) else { panic!("no answer") };
        method::answer(passage, decided).unwrap()
    }

    /// Everything that is judged, as clients write it.
    fn call() -> BoxedStrategy<ToolCall> {
        let arguments = prop::option::of(object()).prop_map(|arguments| {
            arguments.map_or(String::new(), |arguments| format!(r#", "arguments": {arguments}"#))
        });
        let responses = prop::option::of(object()).prop_map(|responses| {
            let state = r#", "requestState": "s""#;
            responses.map_or(String::new(), |responses| format!(r#", "inputResponses": {responses}{state}"#))
        });
        let tool = (arguments, responses).prop_map(|(arguments, responses)| {
            request("tools/call", &format!(r#"{{"name": "t"{arguments}{responses}, "_meta": {{META}}}}"#))
        });
        let other = (select(vec!["resources/read", "prompts/get"]), object()).prop_map(|(method, object)| {
            let own = match method {
                "prompts/get" => format!(r#""name": "n", "arguments": {object}"#),
                _ => r#""uri": "u:x""#.to_owned(),
            };
            request(method, &format!(r#"{{{own}, "_meta": {{META, "x/y": {object}}}}}"#))
        });
        let answered = (select(vec![Decided::Elicited, Decided::Sampled, Decided::Roots]), object());
        prop_oneof![6 => tool, 1 => other, 1 => answered.prop_map(|(decided, object)| answer(decided, &object))].boxed()
    }

    fn surrounded() -> BoxedStrategy<CallContext> {
        let client = (prop::option::of(text()), prop::option::of(text()), prop::option::of(any::<u32>()));
        let transport = select(vec![Transport::Stdio, Transport::Http]);
        let pin = select(vec![Pin::Match, Pin::Changed, Pin::Unpinned, Pin::Unknown]);
        let tool = (prop::option::of(object()), any::<bool>(), pin);
        (context(), client, transport, tool, text(), any::<bool>())
            .prop_map(|(context, (name, version, uid), transport, (claims, listed, pin), session, continues)| {
                let annotations = claims.map(|claims| JsonText::parse(claims, Rules::UPSTREAM).unwrap());
                let definition = listed.then(|| Digest::of_bytes(b"definition"));
                CallContext {
                    session,
                    client: Arc::new(ClientInfo { name, version, uid, ..ClientInfo::silent(transport) }),
                    tool: ToolFacts { annotations, definition, pin, ..context.tool.clone() },
                    continues: continues.then(|| CallId::random().unwrap()),
                    ..context
                }
            })
            .boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

        #[test]
        fn the_document_of_a_record_is_the_one_that_was_judged(
            call in call(),
            context in surrounded(),
            now in any::<u64>(),
        ) {
            let digest = call.digest(&context);
            let judged = input::document(now, Subject::call(&call, digest), &context);
            let facts = Box::new(CallFacts::of(&call, &context, digest, now));
            let body = Event::Failed { facts, fault: "x".into() }.body().unwrap();
            prop_assert_eq!(document(body.as_str()), Ok(Recorded(judged)));
        }
    }

    fn recorded(call: &ToolCall, change: impl FnOnce(&mut CallFacts)) -> String {
        let context = fixtures::context("t", crate::call::Class::Read);
        let mut facts = Box::new(CallFacts::of(call, &context, call.digest(&context), 0));
        change(&mut facts);
        Event::Failed { facts, fault: "x".into() }.body().unwrap().as_str().to_owned()
    }

    #[test]
    fn what_is_not_there_is_not_guessed() {
        let long =
            |n: usize| request("tools/call", &format!(r#"{{"name":"t","arguments":{{"a":"{}"}}}}"#, "x".repeat(n)));
        let short = long(1);
        assert_eq!(document(&recorded(&short, |facts| facts.judged = None)), Err(NotReplayable::Older));
        assert_eq!(document(&recorded(&long(crate::audit::MAX_BODY), |_| ())), Err(NotReplayable::Cut));
        let claims = |n: usize| JsonText::of(&json!({"title": "x".repeat(n)})).ok();
        assert_eq!(document(&recorded(&short, |facts| facts.annotations = claims(1 << 16))), Err(NotReplayable::Cut));
        let body = recorded(&short, |facts| facts.meta = claims(crate::audit::MAX_BODY));
        assert!(body.contains(r#""cut":["meta"]"#) && document(&body) == Err(NotReplayable::Cut));
        for odd in ["", "{}", "[]", r#"{"judged":1}"#, r#"{"judged":{"now":1}}"#] {
            assert!(matches!(document(odd), Err(NotReplayable::Form | NotReplayable::Older)), "{odd}");
        }
        // A class that this version does not know.
        let body = recorded(&short, |_| ()).replace(r#""class":"read""#, r#""class":"later""#);
        assert_eq!(document(&body), Err(NotReplayable::Form));
    }

    /// A call cannot make its own record look as if it were cut.
    #[test]
    fn a_call_cannot_hide_from_a_replay() {
        let params =
            r#"{"name":"t","arguments":{"cut":true,"judged":null},"_meta":{META,"cut":["params"],"judged":1}}"#;
        let call = request("tools/call", params);
        let document: Value = serde_json::from_str(document(&recorded(&call, |_| ())).unwrap().0.as_str()).unwrap();
        assert_eq!(document["arguments"], json!({"cut": true, "judged": null}));
    }
}
