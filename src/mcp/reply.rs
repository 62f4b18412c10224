//! Our own answers on the wire: refusals as results that a model can read, malformed messages as JSON-RPC errors.

use serde_json::json;

use crate::call::{Decided, Outcome, Refusal};
use crate::json::JsonText;

use super::message::{Id, Malformed};

/// Our JSON-RPC code for a refusal of a method that has no result to carry it. Outside the reserved range.
pub const REFUSED: i64 = 4403;

/// Whether the same call may be tried again.
fn retry(refusal: &Refusal) -> &'static str {
    if refusal.open_until.is_some() {
        return "same_call";
    }
    match refusal.outcome {
        Outcome::Denied | Outcome::Rejected | Outcome::Withdrawn => "no",
        Outcome::Invalid => "corrected",
        Outcome::Expired | Outcome::Unattended => "after_operator",
        Outcome::Unavailable | Outcome::Overloaded | Outcome::ShuttingDown => "later",
    }
}

/// Who decided and what to do now, for a model.
fn words(refusal: &Refusal) -> String {
    let (who, next) = match refusal.outcome {
        Outcome::Expired if refusal.open_until.is_some() => (
            "No operator has ruled yet",
            "Tell your user that an operator has to approve it, then make exactly the same call again: it waits again, \
             and goes through once without a new question if the operator approves in between.",
        ),
        Outcome::Denied => ("Denied by policy", "Do not retry it unchanged."),
        Outcome::Invalid => {
            ("The arguments are not what the tool takes", "Correct them by the tool's input schema and call it again.")
        }
        Outcome::Rejected => ("Rejected by the operator", "Do not retry it unchanged; follow the operator's reason."),
        Outcome::Expired => {
            ("No operator approved it", "Tell your user that an operator has to approve it, then retry once.")
        }
        Outcome::Unattended => (
            "Nobody could rule on it",
            "Tell your user to start `countersign console`, then retry with the same arguments.",
        ),
        Outcome::Withdrawn => ("The call was withdrawn", "It was cancelled before an operator ruled."),
        Outcome::Unavailable => ("Countersign cannot decide or record calls right now", "Retry later."),
        Outcome::Overloaded => ("A limit of Countersign was reached", "Wait for calls that are pending, then retry."),
        Outcome::ShuttingDown => ("Countersign is shutting down", "Retry when it is back."),
    };
    let rule = refusal.rule.as_ref().map(|rule| format!(" (rule {rule})")).unwrap_or_default();
    let reference = refusal.call.as_ref().map(|call| format!(" Reference {call}.")).unwrap_or_default();
    format!("{who}{rule}: {}. Nothing was sent to the server. {next}{reference}", refusal.reason.trim_end_matches('.'))
}

fn data(refusal: &Refusal) -> serde_json::Value {
    json!({
        "outcome": refusal.outcome.as_str(),
        "rule": refusal.rule,
        "reason": refusal.reason,
        "ref": refusal.call.as_ref().map(ToString::to_string),
        "sent": false,
        "retry": retry(refusal),
        "open_until": refusal.open_until,
    })
}

/// The same for whoever is answered in another form: a text, and what it says as data.
pub fn told(refusal: &Refusal) -> (String, serde_json::Value) {
    (words(refusal), data(refusal))
}

/// The answer to a call that is not sent.
pub fn refusal(id: &Id, method: Decided, modern: bool, refusal: &Refusal) -> JsonText {
    let text = words(refusal);
    if method == Decided::ToolsCall {
        let mut result = json!({
            "content": [{"type": "text", "text": text}],
            "isError": true,
            "_meta": {"dev.countersign/decision": data(refusal)},
        });
        if let (true, Some(result)) = (modern, result.as_object_mut()) {
            result.insert("resultType".to_owned(), json!("complete"));
        }
        return envelope(id, "result", &result);
    }
    envelope(
        id,
        "error",
        &json!({"code": REFUSED, "message": text, "data": {"dev.countersign/decision": data(refusal)}}),
    )
}

/// The result of a call whose server asked for input and does not get it: the call was sent before.
pub fn refused_answers(refusal: &Refusal) -> JsonText {
    let rule = refusal.rule.as_ref().map(|rule| format!(" (rule {rule})")).unwrap_or_default();
    let text = format!(
        "The answers to the server's questions were not sent{rule}: {}. Its task was cancelled; the call itself was \
         sent before, so look at what it did. Do not retry it unchanged.",
        refusal.reason.trim_end_matches('.')
    );
    let decision = json!({
        "outcome": refusal.outcome.as_str(),
        "rule": refusal.rule,
        "reason": refusal.reason,
        "ref": refusal.call.as_ref().map(ToString::to_string),
        "sent": true,
        "retry": "no",
    });
    let result = json!({
        "resultType": "complete",
        "isError": true,
        "content": [{"type": "text", "text": text}],
        "_meta": {"dev.countersign/decision": decision},
    });
    JsonText::of(&result).unwrap_or_else(|_| JsonText::empty_object())
}

/// The answer to a message that is refused before policy; nothing where nobody waits for one.
pub fn malformed(malformed: &Malformed) -> Option<JsonText> {
    if !malformed.answer {
        return None;
    }
    let mut body = json!({"code": malformed.code, "message": malformed.reason});
    if let (Some(data), Some(body)) = (&malformed.data, body.as_object_mut()) {
        body.insert("data".to_owned(), data.as_ref().clone());
    }
    Some(match &malformed.id {
        Some(id) => envelope(id, "error", &body),
        None => raw("null", "error", &body),
    })
}

/// An error of ours about a request that could not be carried through, for example a dead upstream.
pub fn error(id: &Id, code: i64, message: &str) -> JsonText {
    envelope(id, "error", &json!({"code": code, "message": message}))
}

/// The same with data.
pub fn error_with(id: &Id, code: i64, message: &str, data: &serde_json::Value) -> JsonText {
    envelope(id, "error", &json!({"code": code, "message": message, "data": data}))
}

/// An answer with a result that is written already.
pub fn result(id: &Id, result: &JsonText) -> JsonText {
    let text = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{}}}"#, id.to_json(), result.as_str());
    JsonText::parse(text, crate::json::Rules::UPSTREAM).unwrap_or_else(|_| JsonText::empty_object())
}

/// A progress notification of ours. The token keeps its spelling.
pub fn progress(token: &JsonText, progress: u64, message: &str) -> JsonText {
    let method = super::headers::PROGRESS;
    let params =
        format!(r#"{{"progressToken":{},"progress":{progress},"message":{}}}"#, token.as_str(), json!(message));
    let text = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
    JsonText::parse(text, crate::json::Rules::UPSTREAM).unwrap_or_else(|_| JsonText::empty_object())
}

/// An error that a server sent without the id of the request that it is about, as the answer to that request.
pub fn named_error(id: &Id, error: crate::json::Json<'_>) -> Option<JsonText> {
    let text = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{}}}"#, id.to_json(), error.text());
    JsonText::parse(text, crate::json::Rules::UPSTREAM).ok()
}

/// A notification of ours.
pub fn notification(method: &str, params: &serde_json::Value) -> JsonText {
    let text = format!(r#"{{"jsonrpc":"2.0","method":{},"params":{params}}}"#, json!(method));
    JsonText::parse(text, crate::json::Rules::UPSTREAM).unwrap_or_else(|_| JsonText::empty_object())
}

fn envelope(id: &Id, member: &str, body: &serde_json::Value) -> JsonText {
    raw(&id.to_json(), member, body)
}

fn raw(id: &str, member: &str, body: &serde_json::Value) -> JsonText {
    let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{body}}}"#);
    // Every part is JSON that we wrote, so this cannot fail; an empty object would be no answer, and never a wrong one.
    JsonText::parse(text, crate::json::Rules::UPSTREAM).unwrap_or_else(|_| JsonText::empty_object())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_tool_call_is_a_result_that_says_so() {
        let said = Refusal { rule: Some("refunds.max".into()), ..Refusal::new(Outcome::Denied, "over 500.00") };
        let text = refusal(&Id::Number(7), Decided::ToolsCall, false, &said);
        let view = text.view();
        assert_eq!(view.pointer("/result/isError").unwrap().as_bool(), Some(true));
        assert!(view.pointer("/result/structuredContent").is_none() && view.pointer("/result/resultType").is_none());
        assert_eq!(view.pointer("/result/_meta/dev.countersign~1decision/sent").unwrap().text(), "false");
        let words = view.pointer("/result/content/0/text").unwrap().as_str().unwrap().into_owned();
        assert!(words.contains("refunds.max") && words.contains("Nothing was sent"), "{words}");
    }

    /// The reasons are those of the gate.
    #[test]
    fn a_refusal_says_its_reason_once() {
        for (outcome, reason, begins) in [
            (Outcome::Unattended, "no operator console is attached", "Nobody could rule on it: no operator console"),
            (Outcome::Expired, "nobody ruled in time", "No operator approved it: nobody ruled in time"),
        ] {
            let words = words(&Refusal::new(outcome, reason));
            assert!(words.starts_with(begins), "{words}");
        }
    }

    #[test]
    fn other_methods_get_an_error_outside_the_reserved_range() {
        let text =
            refusal(&Id::String("a\"".into()), Decided::ResourcesRead, true, &Refusal::new(Outcome::Denied, "no"));
        assert_eq!(text.view().pointer("/error/code").unwrap().as_i64(), Some(REFUSED));
        assert_eq!(text.view().get("id").unwrap().as_str().unwrap(), "a\"");
    }
}
