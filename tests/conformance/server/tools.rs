//! The list of tools, and those that answer in one go or ask the client on the way (legacy era).

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, CreateMessageRequestParams,
    ElicitRequestParams, LoggingMessageNotificationParam, ProgressNotificationParam, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use super::catalogue::{PNG, WAV};
use super::{Changed, Handler, invalid, of, tasks};

/// Between two notifications: so that they arrive as what they are, a stream.
const STEP: Duration = Duration::from_millis(50);

/// How long somebody may stay away whose stream was closed.
const COME_BACK: Duration = Duration::from_secs(20);

const PLAIN: [&str; 14] = [
    "test_simple_text",
    "test_image_content",
    "test_audio_content",
    "test_embedded_resource",
    "test_multiple_content_types",
    "test_tool_with_logging",
    "test_logging_tool",
    "test_error_handling",
    "test_tool_with_progress",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "test_reconnection",
    "test_missing_capability",
    "test_streaming_elicitation",
];

const ROUNDS: [&str; 8] = [
    "elicitation",
    "sampling",
    "list_roots",
    "request_state",
    "multiple_inputs",
    "multi_round",
    "tampered_state",
    "capabilities",
];

pub fn all() -> Vec<Tool> {
    let none = || json!({"type": "object", "properties": {}});
    let one = |name: &str, kind: &str, required: bool| {
        let required = if required { vec![name] } else { vec![] };
        json!({"type": "object", "properties": {name: {"type": kind}}, "required": required})
    };
    let mut all: Vec<(String, Value)> = PLAIN.iter().map(|name| ((*name).to_owned(), none())).collect();
    all.extend(ROUNDS.iter().map(|name| (format!("test_input_required_result_{name}"), none())));
    all.extend(["test_trigger_tool_change", "test_trigger_prompt_change"].map(|name| (name.to_owned(), none())));
    all.extend(tasks::TOOLS.iter().map(|name| match *name {
        "slow_compute" => ((*name).to_owned(), one("seconds", "number", false)),
        "confirm_delete" => ((*name).to_owned(), one("filename", "string", false)),
        _ => ((*name).to_owned(), none()),
    }));
    all.push(("greet".to_owned(), one("name", "string", false)));
    all.push(("test_sampling".to_owned(), one("prompt", "string", true)));
    all.push(("test_elicitation".to_owned(), one("message", "string", true)));
    let region = json!({"type": "string", "x-mcp-header": "Region"});
    all.push((
        "test_header_parameter".to_owned(),
        json!({"type": "object", "properties": {"region": region}, "required": ["region"]}),
    ));
    all.push(("json_schema_2020_12_tool".to_owned(), schema_2020_12()));
    let build = |(name, schema): (String, Value)| -> Tool {
        of(json!({"name": name, "description": format!("The suite's {name}"), "inputSchema": schema}))
    };
    all.into_iter().map(build).collect()
}

/// Keywords of JSON Schema 2020-12 that a proxy must not touch.
fn schema_2020_12() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {
            "$anchor": "addressDef", "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

fn text(text: impl Into<String>) -> Value {
    json!({"type": "text", "text": text.into()})
}

fn resource(uri: &str, kind: &str, text: &str) -> Value {
    json!({"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": text}})
}

fn result(content: &[Value]) -> CallToolResponse {
    of::<CallToolResult>(json!({"resultType": "complete", "content": content, "isError": false})).into()
}

impl Handler {
    /// Tools without rounds and tasks.
    pub(super) async fn plain(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
        Ok(match request.name.as_ref() {
            "test_simple_text" => result(&[text("This is a simple text response for testing.")]),
            "test_image_content" => result(&[image]),
            "test_audio_content" => result(&[json!({"type": "audio", "data": WAV, "mimeType": "audio/wav"})]),
            "test_embedded_resource" => {
                let words = "This is an embedded resource content.";
                result(&[resource("test://embedded-resource", "text/plain", words)])
            }
            "test_multiple_content_types" => {
                let data = r#"{"test":"data","value":123}"#;
                let embedded = resource("test://mixed-content-resource", "application/json", data);
                result(&[text("Multiple content types test:"), image, embedded])
            }
            "test_error_handling" => {
                let content = [text("This tool intentionally returns an error for testing")];
                of::<CallToolResult>(json!({"resultType": "complete", "content": content, "isError": true})).into()
            }
            "test_tool_with_logging" => {
                logs(&context).await;
                result(&[text("logged")])
            }
            "test_logging_tool" => {
                if context.meta.get("io.modelcontextprotocol/logLevel").is_some() {
                    logs(&context).await;
                }
                result(&[text("logged where asked to")])
            }
            "test_tool_with_progress" => {
                progress(&context).await;
                result(&[text("done")])
            }
            "test_sampling" => sampling(&context, &arguments).await,
            "test_elicitation" => {
                let schema = json!({
                    "type": "object",
                    "properties": {
                        "username": {"type": "string", "description": "User's response"},
                        "email": {"type": "string", "description": "User's email address"},
                    },
                    "required": ["username", "email"],
                });
                elicitation(&context, arguments["message"].as_str().unwrap_or_default(), schema).await
            }
            "test_elicitation_sep1034_defaults" => elicitation(&context, "Defaults", defaults()).await,
            "test_elicitation_sep1330_enums" => elicitation(&context, "Enums", enums()).await,
            "test_reconnection" => {
                self.hang_up(&context).await;
                result(&[text("answered after the stream was closed")])
            }
            "test_missing_capability" => {
                if !Handler::declares(&context, |declared| declared.sampling.is_some()) {
                    let needed: ClientCapabilities = of(json!({"sampling": {}}));
                    return Err(ErrorData::missing_required_client_capability(needed));
                }
                result(&[text("sampling is there")])
            }
            "test_streaming_elicitation" => super::rounds::name_first(),
            "test_trigger_tool_change" => self.changed(&context, Changed::Tools).await,
            "test_trigger_prompt_change" => self.changed(&context, Changed::Prompts).await,
            "greet" => result(&[text(format!("Hello, {}!", arguments["name"].as_str().unwrap_or_default()))]),
            "test_header_parameter" => result(&[text(arguments["region"].as_str().unwrap_or_default())]),
            "json_schema_2020_12_tool" => result(&[text(arguments.to_string())]),
            _ => return Err(invalid("unknown tool")),
        })
    }

    async fn changed(&self, context: &RequestContext<RoleServer>, changed: Changed) -> CallToolResponse {
        // Nobody may be listening.
        let _ = self.changes.send(changed);
        let _ = match changed {
            Changed::Tools => context.peer.notify_tool_list_changed().await,
            Changed::Prompts => context.peer.notify_prompt_list_changed().await,
        };
        result(&[text("changed")])
    }

    /// Ends the stream of this call and goes on: the answer is for whoever comes back with `Last-Event-ID`.
    async fn hang_up(&self, context: &RequestContext<RoleServer>) {
        let session = context.extensions.get::<http::request::Parts>();
        let session = session.and_then(|parts| parts.headers.get("mcp-session-id")?.to_str().ok());
        let sessions = self.sessions.sessions.read().await;
        let Some(handle) = session.and_then(|id| sessions.get(id)) else { return };
        tokio::time::sleep(STEP).await;
        let resumed = self.resumed.notified();
        // The SDK does not say which stream of the session is this call's; it is the only one that is open.
        for stream in 0..8 {
            let _ = handle.close_sse_stream(stream, None).await;
        }
        // The SDK keeps no answer that nobody reads. Whoever does not come back does not get one.
        let _ = tokio::time::timeout(COME_BACK, resumed).await;
    }
}

async fn logs(context: &RequestContext<RoleServer>) {
    for words in ["Tool execution started", "Tool processing data", "Tool execution completed"] {
        let said: LoggingMessageNotificationParam = of(json!({"level": "info", "logger": "fixture", "data": words}));
        let _ = context.peer.notify_logging_message(said).await;
        tokio::time::sleep(STEP).await;
    }
}

async fn progress(context: &RequestContext<RoleServer>) {
    for done in [0.0, 50.0, 100.0] {
        if let Some(token) = context.meta.get_progress_token() {
            let step = ProgressNotificationParam::new(token, done).with_total(100.0);
            let _ = context.peer.notify_progress(step).await;
        }
        tokio::time::sleep(STEP).await;
    }
}

async fn sampling(context: &RequestContext<RoleServer>, arguments: &Value) -> CallToolResponse {
    let content = text(arguments["prompt"].as_str().unwrap_or_default());
    let params: CreateMessageRequestParams =
        of(json!({"messages": [{"role": "user", "content": content}], "maxTokens": 100}));
    match context.peer.create_message(params).await {
        Ok(answer) => {
            let answer = serde_json::to_value(answer).unwrap();
            let words = answer["content"]["text"].as_str().unwrap_or_default();
            result(&[text(format!("LLM response: {words}"))])
        }
        Err(error) => of::<CallToolResult>(
            json!({"resultType": "complete", "content": [text(error.to_string())], "isError": true}),
        )
        .into(),
    }
}

async fn elicitation(context: &RequestContext<RoleServer>, message: &str, schema: Value) -> CallToolResponse {
    let params: ElicitRequestParams = of(json!({"mode": "form", "message": message, "requestedSchema": schema}));
    match context.peer.create_elicitation(params).await {
        Ok(answer) => {
            let answer = serde_json::to_value(answer).unwrap();
            let (action, content) = (answer["action"].as_str().unwrap_or_default(), &answer["content"]);
            result(&[text(format!("User response: action={action}, content={content}"))])
        }
        Err(error) => of::<CallToolResult>(
            json!({"resultType": "complete", "content": [text(error.to_string())], "isError": true}),
        )
        .into(),
    }
}

fn defaults() -> Value {
    json!({"type": "object", "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    }})
}

fn enums() -> Value {
    let titled = |words: &str| {
        let one = |number: usize, title: &str| json!({"const": format!("value{number}"), "title": title});
        json!([
            one(1, &format!("First {words}")),
            one(2, &format!("Second {words}")),
            one(3, &format!("Third {words}"))
        ])
    };
    json!({"type": "object", "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    }})
}
