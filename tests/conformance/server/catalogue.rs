//! Resources and prompts.

use rmcp::ErrorData;
use rmcp::model::{
    ErrorCode, GetPromptRequestParams, GetPromptResponse, GetPromptResult, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult,
};
use serde_json::{Value, json};

use super::rounds;
use super::{invalid, of};

/// One red pixel.
pub const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC";
/// A sound without a sample.
pub const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

pub fn resources() -> ListResourcesResult {
    of(json!({"resultType": "complete", "ttlMs": 60000, "cacheScope": "public", "resources": [
        {"uri": "test://static-text", "name": "static-text", "description": "Words", "mimeType": "text/plain"},
        {"uri": "test://static-binary", "name": "static-binary", "description": "A pixel", "mimeType": "image/png"},
        {"uri": "test://watched-resource", "name": "watched", "description": "Watched", "mimeType": "text/plain"},
    ]}))
}

pub fn templates() -> ListResourceTemplatesResult {
    let template = json!({
        "uriTemplate": "test://template/{id}/data", "name": "data", "description": "Data of an id",
        "mimeType": "application/json",
    });
    of(json!({"resultType": "complete", "ttlMs": 60000, "cacheScope": "public", "resourceTemplates": [template]}))
}

pub fn read(uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let content = match uri {
        "test://static-text" => {
            json!({"mimeType": "text/plain", "text": "This is the content of the static text resource."})
        }
        "test://watched-resource" => json!({"mimeType": "text/plain", "text": "Watched."}),
        "test://static-binary" => json!({"mimeType": "image/png", "blob": PNG}),
        _ => {
            let id = uri.strip_prefix("test://template/").and_then(|rest| rest.strip_suffix("/data"));
            let unknown =
                || ErrorData::new(ErrorCode::INVALID_PARAMS, "Resource not found", Some(json!({ "uri": uri })));
            let id = id.ok_or_else(unknown)?;
            let data = json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")});
            json!({"mimeType": "application/json", "text": data.to_string()})
        }
    };
    let mut content = content;
    content["uri"] = uri.into();
    Ok(of(json!({"resultType": "complete", "contents": [content], "ttlMs": 1000, "cacheScope": "private"})))
}

pub fn prompts() -> ListPromptsResult {
    let argument = |name: &str| json!({"name": name, "description": "An argument", "required": true});
    of(json!({"resultType": "complete", "ttlMs": 60000, "cacheScope": "public", "prompts": [
        {"name": "test_simple_prompt", "description": "No arguments"},
        {
            "name": "test_prompt_with_arguments", "description": "Two arguments",
            "arguments": [argument("arg1"), argument("arg2")],
        },
        {
            "name": "test_prompt_with_embedded_resource", "description": "A resource",
            "arguments": [argument("resourceUri")],
        },
        {"name": "test_prompt_with_image", "description": "An image"},
        {"name": "test_input_required_result_prompt", "description": "Asks back"},
    ]}))
}

pub fn prompt(request: &GetPromptRequestParams) -> Result<GetPromptResponse, ErrorData> {
    let argument = |name: &str| {
        let found = request.arguments.as_ref().and_then(|arguments| arguments.get(name));
        found.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let text = |text: String| json!({"type": "text", "text": text});
    let contents = match request.name.as_str() {
        "test_simple_prompt" => vec![text("This is a simple prompt for testing.".into())],
        "test_prompt_with_arguments" => {
            let (one, two) = (argument("arg1"), argument("arg2"));
            vec![text(format!("Prompt with arguments: arg1='{one}', arg2='{two}'"))]
        }
        "test_prompt_with_embedded_resource" => {
            let resource = json!({
                "uri": argument("resourceUri"), "mimeType": "text/plain",
                "text": "Embedded resource content for testing.",
            });
            let words = text("Please process the embedded resource above.".into());
            vec![json!({"type": "resource", "resource": resource}), words]
        }
        "test_prompt_with_image" => {
            let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
            vec![image, text("Please analyze the image above.".into())]
        }
        "test_input_required_result_prompt" => {
            let Some(context) = rounds::answer(request.input_responses.as_ref(), "user_context", "context") else {
                return Ok(rounds::ask(json!({
                    "user_context": rounds::question("What context should the prompt use?", "context", "string"),
                }))
                .into());
            };
            vec![text(format!("The context is {context}."))]
        }
        _ => return Err(invalid("unknown prompt")),
    };
    let messages: Vec<_> = contents.into_iter().map(|content| json!({"role": "user", "content": content})).collect();
    let result: GetPromptResult =
        of(json!({"resultType": "complete", "description": "A prompt", "messages": messages}));
    Ok(result.into())
}
