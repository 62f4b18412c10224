//! The field's Rust client, in both eras, against a server that speaks both: direct, behind the shim and behind the
//! HTTP front.

#![allow(deprecated, reason = "the legacy era asks this way")]

use rmcp::model::{
    CallToolRequestParams, ClientConfig, CreateMessageRequestParams, CreateMessageResult, ElicitRequestParams,
    ElicitResult, GetPromptRequestParams, ListRootsResult, ProtocolVersion, ReadResourceRequestParams,
    ServerNotification, SubscriptionFilter,
};
use rmcp::service::{RequestContext, RoleClient, RunningService};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt, ErrorData};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::fixture::Server;
use crate::harness::daemon::{ALLOW_ALL, TOKEN};
use crate::harness::{Countersign, Daemon, within};

fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A client that answers whatever a server asks it.
#[derive(Clone)]
pub struct Agent {
    pub name: &'static str,
}

impl ClientHandler for Agent {
    fn get_info(&self) -> ClientConfig {
        of(json!({
            "protocolVersion": "2025-11-25", "clientInfo": {"name": self.name, "version": "1.0.0"},
            "capabilities": {"sampling": {}, "elicitation": {"form": {}}, "roots": {}},
        }))
    }

    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        let content = json!({"type": "text", "text": "sampled"});
        Ok(of(json!({"role": "assistant", "content": content, "model": "none", "stopReason": "endTurn"})))
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        let content = json!({"name": "Ada", "ok": true, "color": "blue", "username": "ada", "email": "a@example.com"});
        Ok(of(json!({"action": "accept", "content": content})))
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(of(json!({"roots": [{"uri": "file:///home/agent/ledger", "name": "ledger"}]})))
    }
}

pub type Client = RunningService<RoleClient, Agent>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Era {
    Legacy,
    Modern,
}

impl Era {
    fn lifecycle(self) -> ClientLifecycleMode {
        match self {
            Era::Legacy => ClientLifecycleMode::Initialize,
            Era::Modern => ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] },
        }
    }
}

/// Over HTTP; the token where there is one.
pub async fn over_http(agent: Agent, era: Era, url: &str, token: Option<&str>) -> Client {
    let config = StreamableHttpClientTransportConfig::with_uri(url);
    let config = match token {
        Some(token) => config.auth_header(token),
        None => config,
    };
    let connecting = agent.serve_with_lifecycle(StreamableHttpClientTransport::from_config(config), era.lifecycle());
    within("the Rust client to connect", connecting).await.unwrap()
}

/// Behind a shim.
pub async fn behind_shim(agent: Agent, era: Era, daemon: &Daemon, server: &str) -> Client {
    let transport = TokioChildProcess::new(daemon.shim_command(server)).unwrap();
    within("the Rust client to connect", agent.serve_with_lifecycle(transport, era.lifecycle())).await.unwrap()
}

pub fn call(tool: &'static str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    CallToolRequestParams::new(tool).with_arguments(arguments)
}

fn outcome<T: Serialize, E: std::fmt::Display>(result: Result<T, E>) -> Value {
    match result {
        Ok(value) => serde_json::to_value(value).unwrap(),
        Err(error) => json!({"error": error.to_string()}),
    }
}

/// Everything that the client was told.
async fn report(client: &Client, era: Era) -> Value {
    let mut said = Map::new();
    said.insert("server".into(), outcome(Ok::<_, ErrorData>(client.peer_info().as_deref().cloned())));
    said.insert("tools".into(), outcome(client.list_all_tools().await));
    let mut calls = vec![
        ("test_simple_text", json!({})),
        ("test_multiple_content_types", json!({})),
        ("test_error_handling", json!({})),
        ("test_tool_with_progress", json!({})),
        ("greet", json!({"name": "two\nlines, \u{e9} and \u{202e}"})),
        ("test_header_parameter", json!({"region": "us west, \u{e9}"})),
        ("no-such-tool", json!({})),
    ];
    match era {
        Era::Legacy => calls
            .extend([("test_sampling", json!({"prompt": "hello"})), ("test_elicitation", json!({"message": "who?"}))]),
        Era::Modern => calls.extend([
            ("test_input_required_result_elicitation", json!({})),
            ("test_input_required_result_multiple_inputs", json!({})),
            ("test_input_required_result_multi_round", json!({})),
        ]),
    }
    for (tool, arguments) in calls {
        let answer = outcome(client.call_tool(call(tool, arguments)).await);
        said.insert(tool.into(), answer);
    }
    said.insert("resources".into(), outcome(client.list_all_resources().await));
    said.insert("templates".into(), outcome(client.list_all_resource_templates().await));
    for uri in ["test://template/7/data", "test://nowhere"] {
        said.insert(uri.into(), outcome(client.read_resource(ReadResourceRequestParams::new(uri)).await));
    }
    said.insert("prompts".into(), outcome(client.list_all_prompts().await));
    let arguments = json!({"name": "test_prompt_with_arguments", "arguments": {"arg1": "a", "arg2": "b"}});
    said.insert("prompt".into(), outcome(client.get_prompt(of::<GetPromptRequestParams>(arguments)).await));
    let completion = client.complete_prompt_simple("test_prompt_with_arguments", "arg1", "par").await;
    said.insert("completion".into(), outcome(completion));
    Value::Object(said)
}

/// The same over HTTP. This client takes no notice of a list that it reads in the moment in which its stream ends. It
/// does not know then which arguments go into header fields too, and never asks for the list again: another one does.
async fn report_over_http(agent: &Agent, era: Era, url: &str, token: Option<&str>) -> Value {
    for _ in 0..9 {
        let client = over_http(agent.clone(), era, url, token).await;
        let said = report(&client, era).await;
        within("the client to end", client.cancel()).await.unwrap();
        if !said["test_header_parameter"]["error"].as_str().is_some_and(|error| error.contains("Mcp-Param-Region")) {
            return said;
        }
    }
    panic!("no client has noticed the list");
}

async fn daemon(server: &Server) -> Daemon {
    let upstream = json!({"http": {"url": server.url, "allow_plain_http": true}});
    Countersign::with_policy(ALLOW_ALL)
        .server("both", json!({"environment": "test", "upstream": upstream}))
        .start()
        .await
}

async fn sees_no_difference(era: Era) {
    let agent = Agent { name: "rust-agent" };
    let server = Server::start().await;
    let expected = report_over_http(&agent, era, &server.url, None).await;
    assert!(expected["tools"].as_array().unwrap().len() > 30);
    assert_eq!(expected["completion"], json!(["paris", "park", "party"]));
    let asked = match era {
        Era::Legacy => "/test_sampling/content/0/text",
        Era::Modern => "/test_input_required_result_multiple_inputs/content/0/text",
    };
    assert!(expected.pointer(asked).is_some(), "{expected}");

    let daemon = daemon(&server).await;
    let url = format!("http://{}/mcp/both", daemon.address);
    assert_same(&expected, &report_over_http(&agent, era, &url, Some(TOKEN)).await, "the HTTP front");
    let shim = behind_shim(agent, era, &daemon, "both").await;
    assert_same(&expected, &report(&shim, era).await, "the shim");
    within("the client to end", shim.cancel()).await.unwrap();
}

#[track_caller]
fn assert_same(direct: &Value, through: &Value, front: &str) {
    for (key, value) in direct.as_object().unwrap() {
        assert_eq!(value, &through[key], "{key}, through {front}");
    }
    assert_eq!(direct, through, "through {front}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_rust_client() {
    sees_no_difference(Era::Legacy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_modern_rust_client() {
    sees_no_difference(Era::Modern).await;
}

/// A change of the server's tools reaches a client that listens for it, and ends with the subscription.
async fn hears_of_a_change(client: Client) {
    let mut changes =
        within("the subscription", client.listen(SubscriptionFilter::builder().tools_list_changed().build()))
            .await
            .unwrap();
    within("the trigger", client.call_tool(call("test_trigger_tool_change", json!({})))).await.unwrap();
    let change = within("the change", changes.next()).await.unwrap();
    assert!(matches!(change, Some(ServerNotification::ToolListChangedNotification(_))), "{change:?}");
    changes.cancel().await.unwrap();
    within("the client to end", client.cancel()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listening_rust_client() {
    let agent = Agent { name: "rust-agent" };
    let server = Server::start().await;
    hears_of_a_change(over_http(agent.clone(), Era::Modern, &server.url, None).await).await;
    let daemon = daemon(&server).await;
    let url = format!("http://{}/mcp/both", daemon.address);
    hears_of_a_change(over_http(agent.clone(), Era::Modern, &url, Some(TOKEN)).await).await;
    hears_of_a_change(behind_shim(agent, Era::Modern, &daemon, "both").await).await;
}
