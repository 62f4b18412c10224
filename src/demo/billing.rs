//! The billing company's MCP server: the [`Books`] over streamable HTTP on a loopback port, behind a bearer key.
//!
//! It knows nothing of Countersign: any MCP client that has the key may do everything. It writes down every HTTP
//! request that it gets, so that what reached it can be proved.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolResult, ContentBlock};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ServerHandler, tool, tool_handler, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::books::{Books, Refused};
use crate::credential::secret::Secret;

/// Largest request body that is read.
const MAX_BODY: usize = 1 << 20;
/// Requests that are written down; after that the server refuses, so the log is always complete.
const MAX_LOG: usize = 10_000;

/// One HTTP request as it arrived, without its headers: the key is in none of this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// It carried the key.
    pub authorized: bool,
    pub http: Method,
    /// As it came; empty where it was not read (no key, too long).
    pub body: String,
}

impl Received {
    /// The tool and the arguments, where this is a `tools/call`.
    pub fn call(&self) -> Option<(String, Value)> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        if body.get("method")?.as_str()? != "tools/call" {
            return None;
        }
        let params = body.get("params")?;
        let tool = params.get("name")?.as_str()?.to_owned();
        Some((tool, params.get("arguments").cloned().unwrap_or_else(|| json!({}))))
    }
}

#[derive(Debug)]
struct State {
    books: Mutex<Books>,
    log: Mutex<Vec<Received>>,
}

/// A holder of the lock that panicked has left whole entries behind, so its data stays usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running server. Dropping it stops accepting; [`Billing::stop`] also waits.
#[derive(Debug)]
pub struct Billing {
    address: SocketAddr,
    state: Arc<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Billing {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// Where the system gives no port.
    pub async fn start(key: Arc<Secret>) -> std::io::Result<Billing> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { books: Mutex::new(Books::opening()), log: Mutex::new(Vec::new()) });
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let counter = Arc::clone(&state);
        let config = StreamableHttpServerConfig::default().with_cancellation_token(stop.child_token());
        let mcp = StreamableHttpService::new(
            move || Ok(Counter { state: Arc::clone(&counter) }),
            Arc::new(LocalSessionManager::default()),
            config.enforce_origin_validation(),
        );
        let door = Door { key, state: Arc::clone(&state), mcp };
        tasks.spawn(accept(listener, door, stop.clone(), tasks.clone()));
        Ok(Billing { address, state, stop, tasks })
    }

    /// Where it is: `http://127.0.0.1:PORT/mcp`.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Every request so far, in order of arrival.
    pub fn log(&self) -> Vec<Received> {
        lock(&self.state.log).clone()
    }

    /// The books as they are now.
    pub fn books(&self) -> Books {
        lock(&self.state.books).clone()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Billing {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(listener: TcpListener, door: Door, stop: CancellationToken, tasks: TaskTracker) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: asking again at once would only spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Answers are small and waited for.
        let _ = stream.set_nodelay(true);
        let (door, stop) = (door.clone(), stop.clone());
        tasks.spawn(async move {
            let service = service_fn(move |request| {
                let door = door.clone();
                async move { Ok::<_, Infallible>(door.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Some(Err(error)) = stop.run_until_cancelled(connection).await {
                tracing::debug!(%error, "a connection of the billing server broke");
            }
        });
    }
}

/// Checks the key and writes the request down before MCP sees it.
#[derive(Clone)]
struct Door {
    key: Arc<Secret>,
    state: Arc<State>,
    mcp: StreamableHttpService<Counter, LocalSessionManager>,
}

impl Door {
    async fn answer(&self, request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
        let (mut head, body) = request.into_parts();
        let authorized = head.headers.get(header::AUTHORIZATION).is_some_and(|value| self.opens(value));
        // The key goes no further than this door.
        head.headers.remove(header::AUTHORIZATION);
        let body = if authorized { Limited::new(body, MAX_BODY).collect().await.ok() } else { None };
        let body = body.map(http_body_util::Collected::to_bytes);
        let text = body.as_deref().map(|body| String::from_utf8_lossy(body).into_owned());
        let entry = Received { authorized, http: head.method.clone(), body: text.unwrap_or_default() };
        if !self.write_down(entry) {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "the demo is over\n");
        }
        if !authorized {
            let mut refused = plain(StatusCode::UNAUTHORIZED, "a key is needed\n");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refused;
        }
        if head.uri.path() != "/mcp" {
            return plain(StatusCode::NOT_FOUND, "there is only /mcp\n");
        }
        let Some(body) = body else { return plain(StatusCode::PAYLOAD_TOO_LARGE, "too long\n") };
        self.mcp.handle(Request::from_parts(head, Full::new(body))).await
    }

    fn opens(&self, value: &HeaderValue) -> bool {
        let shown = value.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default();
        shown.ct_eq(self.key.expose().as_bytes()).into()
    }

    fn write_down(&self, entry: Received) -> bool {
        let mut log = lock(&self.state.log);
        let room = log.len() < MAX_LOG;
        if room {
            log.push(entry);
        }
        room
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<BoxBody<Bytes, Infallible>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())).boxed());
    *response.status_mut() = status;
    response
}

/// The MCP side: one for each session, all on the same books.
#[derive(Clone, Debug)]
struct Counter {
    state: Arc<State>,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoArguments {}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfCustomer {
    /// Id of the customer, for example cus_harbor.
    customer: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfInvoice {
    /// Id of the invoice, for example in_2041.
    invoice: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct OfSubscription {
    /// Id of the subscription, for example sub_301.
    subscription: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewRefund {
    /// Id of the customer.
    customer: String,
    /// Id of the invoice that was paid.
    invoice: String,
    /// In minor units: 12500 is 125.00. Left out: all that is left of the invoice.
    amount: Option<i64>,
    /// Why, for the books.
    reason: String,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewEmail {
    /// Id of the customer.
    customer: String,
    /// The new address.
    email: String,
}

/// What the counter did, or why it did not, for the caller.
fn said<T: Serialize>(member: &str, outcome: Result<T, Refused>) -> CallToolResult {
    match outcome {
        Ok(value) => CallToolResult::structured(json!({ member: value })),
        Err(refused) => CallToolResult::error(vec![ContentBlock::text(refused.to_string())]),
    }
}

#[tool_router]
impl Counter {
    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.state.books)
    }

    /// List all customers.
    #[tool(annotations(title = "List customers", read_only_hint = true, open_world_hint = false))]
    fn list_customers(&self, Parameters(NoArguments {}): Parameters<NoArguments>) -> CallToolResult {
        said("customers", Ok(self.books().customers()))
    }

    /// Read one customer.
    #[tool(annotations(title = "Read a customer", read_only_hint = true, open_world_hint = false))]
    fn get_customer(&self, Parameters(of): Parameters<OfCustomer>) -> CallToolResult {
        said("customer", self.books().customer(&of.customer))
    }

    /// List the invoices of a customer.
    #[tool(annotations(title = "List invoices", read_only_hint = true, open_world_hint = false))]
    fn list_invoices(&self, Parameters(of): Parameters<OfCustomer>) -> CallToolResult {
        said("invoices", self.books().invoices(&of.customer))
    }

    /// Read one invoice with its memo.
    #[tool(annotations(title = "Read an invoice", read_only_hint = true, open_world_hint = false))]
    fn get_invoice(&self, Parameters(of): Parameters<OfInvoice>) -> CallToolResult {
        said("invoice", self.books().invoice(&of.invoice))
    }

    /// List the subscriptions of a customer.
    #[tool(annotations(title = "List subscriptions", read_only_hint = true, open_world_hint = false))]
    fn list_subscriptions(&self, Parameters(of): Parameters<OfCustomer>) -> CallToolResult {
        said("subscriptions", self.books().subscriptions(&of.customer))
    }

    /// Pay money of an invoice back to its customer. It cannot be undone.
    #[tool(annotations(
        title = "Refund",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = true
    ))]
    fn create_refund(&self, Parameters(new): Parameters<NewRefund>) -> CallToolResult {
        said("refund", self.books().refund(&new.customer, &new.invoice, new.amount, &new.reason))
    }

    /// Change the e-mail address of a customer.
    #[tool(annotations(
        title = "Change an address",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    fn update_customer(&self, Parameters(new): Parameters<NewEmail>) -> CallToolResult {
        said("customer", self.books().set_email(&new.customer, &new.email))
    }

    /// End a subscription now.
    #[tool(annotations(
        title = "Cancel a subscription",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    fn cancel_subscription(&self, Parameters(of): Parameters<OfSubscription>) -> CallToolResult {
        said("subscription", self.books().cancel(&of.subscription))
    }

    /// Delete a customer with its invoices and subscriptions for good.
    #[tool(annotations(
        title = "Delete a customer",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    fn delete_customer(&self, Parameters(of): Parameters<OfCustomer>) -> CallToolResult {
        said("deleted", self.books().delete(&of.customer))
    }
}

#[tool_handler(
    name = "billing",
    version = "1.0.0",
    instructions = "Customers, invoices, refunds. Amounts are in cents."
)]
impl ServerHandler for Counter {}

#[cfg(test)]
mod tests {
    use rmcp::model::{CallToolRequestParams, Tool};
    use rmcp::service::{RoleClient, RunningService};

    use super::*;
    use crate::demo::books::{ATLAS, HARBOR, JUNE};
    use crate::demo::bridge::{bridge, post};

    const KEY: &str = "key-of-the-billing-test";
    const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    async fn start() -> Billing {
        Billing::start(Arc::new(Secret::new(KEY.to_owned()))).await.unwrap()
    }

    async fn client(billing: &Billing) -> RunningService<RoleClient, ()> {
        rmcp::serve_client((), bridge(billing.url(), KEY.to_owned())).await.unwrap()
    }

    async fn call(client: &RunningService<RoleClient, ()>, tool: &'static str, arguments: Value) -> CallToolResult {
        let params = CallToolRequestParams::new(tool).with_arguments(arguments.as_object().unwrap().clone());
        client.call_tool(params).await.unwrap()
    }

    #[tokio::test]
    async fn without_the_key_nothing_is_answered_and_all_is_written_down() {
        let billing = start().await;
        for key in [None, Some(""), Some("key-of-the-billing-tesT"), Some("key-of-the-billing-test2")] {
            let refused = post(&billing.url(), key, None, PING.to_owned()).await;
            assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(refused.headers().get(header::WWW_AUTHENTICATE).unwrap(), "Bearer");
        }
        let log = billing.log();
        assert_eq!(log.len(), 4);
        assert!(log.iter().all(|entry| !entry.authorized && entry.body.is_empty() && entry.call().is_none()));
        billing.stop().await;
    }

    #[tokio::test]
    async fn only_one_path_and_no_endless_body() {
        let billing = start().await;
        let elsewhere = post(&billing.url().replace("/mcp", "/"), Some(KEY), None, PING.to_owned()).await;
        assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
        let long = post(&billing.url(), Some(KEY), None, " ".repeat(MAX_BODY + 1)).await;
        assert_eq!(long.status(), StatusCode::PAYLOAD_TOO_LARGE);
        billing.stop().await;
    }

    #[tokio::test]
    async fn tools_say_honestly_what_they_do() {
        let billing = start().await;
        let client = client(&billing).await;
        let tools = client.list_all_tools().await.unwrap();
        let reads = |tool: &Tool| tool.annotations.as_ref().unwrap().read_only_hint.unwrap();
        let (read, change): (Vec<_>, Vec<_>) = tools.iter().partition(|tool| reads(tool));
        let mut names: Vec<_> = change.iter().map(|tool| tool.name.as_ref()).collect();
        names.sort_unstable();
        assert_eq!(names, ["cancel_subscription", "create_refund", "delete_customer", "update_customer"]);
        assert_eq!(read.len(), 5);
        assert!(tools.iter().all(|tool| tool.description.is_some()));
        let destructive = |tool: &&Tool| tool.annotations.as_ref().unwrap().destructive_hint == Some(true);
        assert!(change.iter().all(destructive));
    }

    #[tokio::test]
    async fn tools_act_on_the_books_and_errors_are_real() {
        let billing = start().await;
        let client = client(&billing).await;
        let read = call(&client, "get_invoice", json!({"invoice": JUNE})).await.structured_content.unwrap();
        assert_eq!(read.pointer("/invoice/amount"), Some(&json!(12_500)));
        assert_eq!(call(&client, "get_customer", json!({"customer": "cus_0"})).await.is_error, Some(true));
        let refund = json!({"customer": HARBOR, "invoice": JUNE, "amount": 12_501, "reason": "x"});
        let refused = call(&client, "create_refund", refund).await;
        assert_eq!(refused.is_error, Some(true));
        assert!(refused.content[0].as_text().unwrap().text.contains("12500"));
        let full = json!({"customer": HARBOR, "invoice": JUNE, "reason": "x"});
        let done = call(&client, "create_refund", full).await.structured_content.unwrap();
        assert_eq!(done.pointer("/refund/amount"), Some(&json!(12_500)));
        let email = json!({"customer": HARBOR, "email": "new@harborcoffee.example"});
        assert_eq!(call(&client, "update_customer", email).await.is_error, Some(false));
        let subscription = call(&client, "list_subscriptions", json!({"customer": ATLAS})).await;
        let subscription = subscription.structured_content.unwrap();
        assert_eq!(subscription.pointer("/subscriptions/0/id"), Some(&json!("sub_302")));
        assert_eq!(
            call(&client, "cancel_subscription", json!({"subscription": "sub_302"})).await.is_error,
            Some(false)
        );
        assert_eq!(call(&client, "delete_customer", json!({"customer": ATLAS})).await.is_error, Some(false));
        assert_eq!(call(&client, "list_invoices", json!({"customer": ATLAS})).await.is_error, Some(true));
        assert_eq!(billing.books().refunds().len(), 1);
        assert_eq!(billing.books().customers().len(), 3);
        let calls: Vec<_> = billing.log().iter().filter_map(Received::call).map(|(tool, _)| tool).collect();
        assert_eq!(calls.len(), 9);
        assert!(billing.log().iter().all(|entry| entry.authorized && !entry.body.contains(KEY)));
    }

    #[tokio::test]
    async fn arguments_that_a_tool_does_not_know_are_refused() {
        let billing = start().await;
        let client = client(&billing).await;
        for arguments in [json!({"invoice": JUNE, "more": 1}), json!({}), json!({"invoice": 5})] {
            let refused = call(&client, "get_invoice", arguments).await;
            assert_eq!(refused.is_error, Some(true));
            assert!(refused.content[0].as_text().unwrap().text.contains("deserialize"));
        }
    }
}
