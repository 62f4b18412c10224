//! For tests: lines in, HTTP out. Puts an MCP client straight in front of the billing server, with no daemon between.

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};

/// One POST; the answer is read to its end.
pub async fn post(url: &str, key: Option<&str>, session: Option<&str>, body: String) -> Response<Bytes> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let mut request = Request::post(url)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, text/event-stream");
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    if let Some(session) = session {
        request = request.header("mcp-session-id", session);
    }
    let response = client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

/// The client's end of a bridge to `url`.
pub fn bridge(url: String, key: String) -> DuplexStream {
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let (read, mut write) = tokio::io::split(far);
        let mut lines = BufReader::new(read).lines();
        let mut session = None;
        while let Ok(Some(line)) = lines.next_line().await {
            let answer = post(&url, Some(&key), session.as_deref(), line).await;
            if let Some(id) = answer.headers().get("mcp-session-id") {
                session = Some(id.to_str().unwrap().to_owned());
            }
            if answer.status() == StatusCode::ACCEPTED {
                continue;
            }
            let body = std::str::from_utf8(answer.body()).unwrap();
            let events = body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
            for message in events.filter(|data| !data.is_empty()) {
                write.write_all(format!("{message}\n").as_bytes()).await.unwrap();
            }
        }
    });
    near
}
