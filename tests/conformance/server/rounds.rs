//! Tools that ask back before they answer (multi round-trip requests of 2026-07-28).

use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, InputRequiredResult, InputResponses};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Handler, invalid, of};

pub fn ask(requests: Value) -> InputRequiredResult {
    of(json!({"resultType": "input_required", "inputRequests": requests}))
}

fn ask_with_state(requests: Value, state: &str) -> CallToolResponse {
    let asked = json!({"resultType": "input_required", "inputRequests": requests, "requestState": seal(state)});
    of::<InputRequiredResult>(asked).into()
}

/// One field that a person fills in.
pub fn question(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "properties": {field: {"type": kind}}, "required": [field]});
    json!({"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

fn sampling(text: &str) -> Value {
    let message = json!({"role": "user", "content": {"type": "text", "text": text}});
    json!({"method": "sampling/createMessage", "params": {"messages": [message], "maxTokens": 100}})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

/// What a person filled into a field.
pub fn answer(responses: Option<&InputResponses>, key: &str, field: &str) -> Option<Value> {
    responses?.get(key)?.get("content")?.get(field).cloned()
}

/// State that only this server can have made.
fn seal(state: &str) -> String {
    let mac = Sha256::digest(format!("conformance fixture {state}"));
    format!("{state}.{}", mac.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn unseal(state: Option<&str>) -> Result<&str, ErrorData> {
    let inner = state.and_then(|sealed| sealed.rsplit_once('.').map(|(inner, _)| inner));
    inner.filter(|inner| Some(seal(inner).as_str()) == state).ok_or_else(|| invalid("requestState is not ours"))
}

fn said(text: String) -> CallToolResponse {
    of::<CallToolResult>(
        json!({"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": false}),
    )
    .into()
}

/// The first round of the tool that goes on as a task.
pub fn name_first() -> CallToolResponse {
    ask(json!({"user_name": question("What is your name?", "name", "string")})).into()
}

pub fn call(
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let responses = request.input_responses.as_ref();
    let given = |key: &str| responses.and_then(|given| given.get(key)).filter(|one| one.is_object());
    let state = request.request_state.as_deref();
    match request.name.trim_start_matches("test_input_required_result_") {
        "elicitation" => Ok(match answer(responses, "user_name", "name") {
            Some(name) => said(format!("Hello, {}!", name.as_str().unwrap_or_default())),
            None => name_first(),
        }),
        "sampling" => Ok(match given("capital_question") {
            Some(answer) => said(answer["content"]["text"].as_str().unwrap_or_default().to_owned()),
            None => ask(json!({"capital_question": sampling("What is the capital of France?")})).into(),
        }),
        "list_roots" => Ok(match given("client_roots") {
            Some(answer) => said(format!("Roots: {}", answer["roots"])),
            None => ask(json!({"client_roots": roots()})).into(),
        }),
        "request_state" | "tampered_state" => {
            if given("confirm").is_none() {
                return Ok(ask_with_state(json!({"confirm": question("Please confirm", "ok", "boolean")}), "confirm"));
            }
            unseal(state)?;
            Ok(said("state-ok".into()))
        }
        "multiple_inputs" => {
            let keys = ["user_name", "greeting", "client_roots"];
            if keys.iter().any(|key| given(key).is_none()) {
                let requests = json!({
                    "user_name": question("What is your name?", "name", "string"),
                    "greeting": sampling("Generate a greeting"),
                    "client_roots": roots(),
                });
                return Ok(ask_with_state(requests, "multiple"));
            }
            unseal(state)?;
            Ok(said("All three answers came.".into()))
        }
        "multi_round" => {
            let first = json!({"step1": question("Step 1: What is your name?", "name", "string")});
            let second = json!({"step2": question("Step 2: What is your favorite color?", "color", "string")});
            if state.is_none() {
                return Ok(ask_with_state(first, "round-1"));
            }
            Ok(match (unseal(state)?, given("step1"), given("step2")) {
                ("round-1", Some(_), _) => ask_with_state(second, "round-2"),
                ("round-2", _, Some(_)) => said("Both steps are done.".into()),
                ("round-2", _, None) => ask_with_state(second, "round-2"),
                _ => ask_with_state(first, "round-1"),
            })
        }
        "capabilities" => {
            let mut requests = json!({});
            if Handler::declares(context, |declared| declared.sampling.is_some()) {
                requests["words"] = sampling("Say something");
            }
            if Handler::declares(context, |declared| declared.elicitation.is_some()) {
                requests["name"] = question("What is your name?", "name", "string");
            }
            Ok(ask(requests).into())
        }
        _ => Err(invalid("unknown tool")),
    }
}
