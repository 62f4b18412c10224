//! Tools that go on as tasks (the tasks extension of 2026-07-28) for a client that declares it.

use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, CreateTaskResult, InputRequest,
};
use rmcp::service::RequestContext;
use rmcp::task_manager::{TaskContext, TaskExit, TaskManager, TaskOptions};
use rmcp::{ErrorData, RoleServer};
use serde_json::{Value, json};

use super::rounds::question;
use super::{Handler, invalid, of};

pub const TOOLS: [&str; 6] =
    ["slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input", "test_tool_with_task"];

fn said(text: &str, is_error: bool) -> CallToolResult {
    of(json!({"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": is_error}))
}

async fn ask(task: &TaskContext, key: &str, request: Value) -> Result<Value, TaskExit> {
    task.request_input(key, of::<InputRequest>(request)).await
}

/// The work itself, however it is asked for.
async fn work(tool: &str, arguments: Value, name: Value, task: &TaskContext) -> Result<CallToolResult, TaskExit> {
    match tool {
        "slow_compute" => {
            let seconds = arguments["seconds"].as_f64().unwrap_or(0.0);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs_f64(seconds)) => Ok(said("computed", false)),
                () = task.cancelled() => Err(TaskExit::Cancelled),
            }
        }
        "failing_job" => Ok(said("the job failed", true)),
        "protocol_error_job" => Err(TaskExit::Error(ErrorData::internal_error("the job broke", None))),
        "confirm_delete" => {
            let answer = ask(task, "confirm", question("Really?", "confirm", "boolean")).await?;
            Ok(said(&format!("confirmed: {}", answer["content"]["confirm"]), false))
        }
        "multi_input" => {
            let (one, two) = (question("First?", "name", "string"), question("Second?", "name", "string"));
            let (one, two) = tokio::join!(ask(task, "one", one), ask(task, "two", two));
            Ok(said(&format!("{} and {}", one?["content"]["name"], two?["content"]["name"]), false))
        }
        _ => Ok(said(&format!("Hello, {}!", name.as_str().unwrap_or_default()), false)),
    }
}

pub async fn call(
    tasks: &TaskManager,
    request: &CallToolRequestParams,
    context: &RequestContext<RoleServer>,
) -> Result<CallToolResponse, ErrorData> {
    let tool = request.name.to_string();
    let arguments = Value::Object(request.arguments.clone().unwrap_or_default());
    if !Handler::declares(context, ClientCapabilities::supports_tasks) {
        // The only tool of these that can also answer at once.
        if tool == "slow_compute" {
            let seconds = arguments["seconds"].as_f64().unwrap_or(0.0);
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            return Ok(said("computed", false).into());
        }
        let needed = ClientCapabilities::builder().enable_tasks().build();
        return Err(ErrorData::missing_required_client_capability(needed));
    }
    let responses = request.input_responses.as_ref();
    let name = super::rounds::answer(responses, "user_name", "name");
    if tool == "test_tool_with_task" && name.is_none() {
        return Err(invalid("the name is missing"));
    }
    let options = TaskOptions::new().with_ttl_ms(60_000).with_poll_interval_ms(200);
    let task = tasks.spawn(options, move |task| {
        Box::pin(async move { work(&tool, arguments, name.unwrap_or_default(), &task).await })
    });
    Ok(CreateTaskResult::new(task).into())
}
