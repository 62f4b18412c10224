//! A server that the conformance suite passes in every revision, in this process, on loopback: everything that the
//! suite asks for, behind the field's own SDK. What goes over the wire here is what a transparent proxy has to keep.

#![allow(deprecated, reason = "the legacy era is served too")]

mod catalogue;
mod rounds;
mod tasks;
mod tools;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, ClientCapabilities, CompleteRequestParams,
    CompleteResult, CompletionInfo, ErrorCode, GetPromptRequestParams, GetPromptResponse, GetTaskParams, GetTaskResult,
    Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ServerCapabilities, ServerConfig,
    SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool, UnsubscribeRequestParams,
    UpdateTaskParams,
};
use rmcp::service::{RequestContext, SubscriptionContext};
use rmcp::task_manager::TaskManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast};

/// A value of the SDK from its JSON form.
fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> ErrorData {
    ErrorData::new(ErrorCode::INVALID_PARAMS, message, None)
}

/// When a client is to come back to a stream.
const RETRY: Duration = Duration::from_millis(200);

/// A list that has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Changed {
    Tools,
    Prompts,
}

/// The server; it lives as long as the test's runtime.
pub struct Server {
    pub url: String,
}

impl Server {
    pub async fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let mut sessions = LocalSessionManager::default();
        sessions.session_config.sse_retry = Some(RETRY);
        let (sessions, resumed) = (Arc::new(sessions), Arc::new(Notify::new()));
        let handler = Handler {
            tasks: TaskManager::new(),
            changes: broadcast::channel(16).0,
            sessions: Arc::clone(&sessions),
            resumed: Arc::clone(&resumed),
        };
        let config = StreamableHttpServerConfig::default().with_sse_retry(Some(RETRY));
        let service = StreamableHttpService::new(move || Ok(handler.clone()), sessions, config);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (service, resumed) = (service.clone(), Arc::clone(&resumed));
                let answer = service_fn(move |request: Request<Incoming>| {
                    let (service, resumed) = (service.clone(), Arc::clone(&resumed));
                    async move {
                        let resumes =
                            request.method() == Method::GET && request.headers().contains_key("last-event-id");
                        let response = service.handle(request).await;
                        if resumes {
                            resumed.notify_waiters();
                        }
                        Ok::<_, Infallible>(response)
                    }
                });
                tokio::spawn(async move {
                    // A client that goes away in the middle is part of the suite.
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        Server { url }
    }
}

#[derive(Clone)]
struct Handler {
    tasks: TaskManager,
    changes: broadcast::Sender<Changed>,
    sessions: Arc<LocalSessionManager>,
    /// Somebody has come back to a stream.
    resumed: Arc<Notify>,
}

impl Handler {
    /// The client declared what `needed` names, for this request or for its session.
    fn declares(context: &RequestContext<RoleServer>, needed: impl Fn(&ClientCapabilities) -> bool) -> bool {
        context.client_capabilities().is_some_and(|declared| needed(&declared))
    }
}

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        let capabilities: ServerCapabilities = of(json!({
            "tools": {"listChanged": true}, "prompts": {"listChanged": true}, "resources": {"subscribe": true},
            "logging": {}, "completions": {}, "extensions": {"io.modelcontextprotocol/tasks": {}},
        }));
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("conformance-fixture", "1.0.0"))
            .with_instructions("Answers what the conformance suite asks.")
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(of(json!({"resultType": "complete", "tools": tools::all(), "ttlMs": 60000, "cacheScope": "public"})))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::all().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        match request.name.as_ref() {
            name if name.starts_with("test_input_required_result_") => rounds::call(&request, &context),
            "test_tool_with_task" if request.input_responses.is_none() => Ok(rounds::name_first()),
            name if tasks::TOOLS.contains(&name) => tasks::call(&self.tasks, &request, &context).await,
            _ => self.plain(request, context).await,
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(catalogue::resources())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(catalogue::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        catalogue::read(&request.uri).map(Into::into)
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(catalogue::prompts())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        catalogue::prompt(&request)
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let known = ["paris", "park", "party", "prague"];
        let fitting = known.iter().filter(|word| word.starts_with(&request.argument.value));
        let values = fitting.map(|word| (*word).to_owned()).collect();
        Ok(CompleteResult::new(CompletionInfo::new(values).map_err(|error| ErrorData::internal_error(error, None))?))
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes.subscribe();
        loop {
            let changed = tokio::select! {
                () = context.cancelled() => return Ok(()),
                changed = changes.recv() => changed,
            };
            // What the client did not ask for, the sink does not send.
            let _ = match changed {
                Ok(Changed::Tools) => context.sink().notify_tool_list_changed().await,
                Ok(Changed::Prompts) => context.sink().notify_prompt_list_changed().await,
                Err(_) => return Ok(()),
            };
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks.get_task(&request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(&self, request: UpdateTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }
}
