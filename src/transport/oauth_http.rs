//! The requests of sign-ins: one connection each, one answer, nothing followed, everything bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::Builder;
use hyper::service::Service as _;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::service::TowerToHyperService;
use rustls::ClientConfig;

use super::http_client::{TlsError, chain, tls};
use super::reach::Reach;

/// For everything: looking up the name, connecting, sending, and the whole answer.
const TIME: Duration = Duration::from_secs(20);
/// Longest body that is read; metadata and tokens have a few kilobytes.
const BODY: usize = 256 << 10;
/// Longest head of an answer.
const HEAD: usize = 32 << 10;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("countersign/", env!("CARGO_PKG_VERSION")));

/// A whole exchange.
pub type Exchange = Arc<dyn Fn(Request<Vec<u8>>) -> BoxFuture<'static, Answered> + Send + Sync>;
type Answered = Result<Response<Vec<u8>>, String>;

/// What sends the requests of one server's sign-ins.
///
/// # Errors
/// [`TlsError`].
pub fn exchange(reach: Reach) -> Result<Exchange, TlsError> {
    let tls = tls()?;
    Ok(Arc::new(move |request| {
        let (reach, tls) = (reach.clone(), tls.clone());
        async move {
            let host = request.uri().host().unwrap_or_default().to_owned();
            let done = tokio::time::timeout(TIME, send(reach, tls, request)).await;
            let done = done.unwrap_or_else(|_| Err(format!("no whole answer within {} s", TIME.as_secs())));
            done.map_err(|why| format!("{host}: {why}"))
        }
        .boxed()
    }))
}

async fn send(reach: Reach, tls: ClientConfig, request: Request<Vec<u8>>) -> Answered {
    let uri = request.uri().clone();
    reach.check(&uri)?;
    let mut http = HttpConnector::new_with_resolver(reach);
    http.enforce_http(false);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(http);
    let io = TowerToHyperService::new(connector).call(uri.clone()).await;
    let io = io.map_err(|error| format!("it cannot be reached: {}", chain(error.as_ref())))?;
    let handshake = Builder::new().max_buf_size(HEAD).handshake(io).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let answer = async { receive(sender.send_request(in_origin_form(request, &uri)?).await).await };
    tokio::pin!(connection);
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // The connection may be over before the answer has been read out of it.
        _ = &mut connection => answer.await,
    }
}

fn in_origin_form(request: Request<Vec<u8>>, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
    let (mut head, body) = request.into_parts();
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
    head.uri = Uri::from(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    head.headers.insert(HOST, host);
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    head.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    head.headers.insert(USER_AGENT, AGENT);
    Ok(Request::from_parts(head, Full::new(Bytes::from(body))))
}

async fn receive(answer: Result<Response<hyper::body::Incoming>, hyper::Error>) -> Answered {
    let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Err("the answer is encoded, which was not asked for".to_owned());
    }
    // A refusal of the server itself may open a stream: its head says everything.
    let body = match head.status.is_success() || head.status.is_client_error() {
        true => Limited::new(body, BODY)
            .collect()
            .await
            .map_err(|_| format!("the answer breaks off or is longer than {BODY} bytes"))?
            .to_bytes(),
        false => Bytes::new(),
    };
    Ok(Response::from_parts(head, body.to_vec()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// One answer, in bytes, to one request, which is returned.
    async fn asked(answer: String) -> (Answered, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            // A client that has seen enough closes early.
            let _ = stream.write_all(answer.as_bytes()).await;
            String::from_utf8_lossy(&request[..read]).into_owned()
        });
        let exchange = exchange(Reach::new(&url.parse().unwrap(), None)).unwrap();
        let answered = exchange(Request::post(&url).body(b"a=b".to_vec()).unwrap()).await;
        (answered, server.await.unwrap())
    }

    #[tokio::test]
    async fn one_request_and_one_answer() {
        let (answered, request) = asked("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned()).await;
        assert_eq!(answered.unwrap().body(), b"{}");
        assert!(request.starts_with("POST /token HTTP/1.1\r\n") && request.ends_with("a=b"), "{request}");
    }

    #[tokio::test]
    async fn what_is_too_long_or_encoded_is_refused() {
        let long = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", BODY + 1, "x".repeat(BODY + 1));
        assert!(asked(long).await.0.unwrap_err().contains("longer than"));
        let head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(HEAD * 2));
        assert!(asked(head).await.0.is_err());
        let zipped = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx".to_owned();
        assert!(asked(zipped).await.0.unwrap_err().contains("encoded"));
    }

    #[tokio::test]
    async fn nothing_is_sent_where_nothing_may_be() {
        let exchange = exchange(Reach::new(&"https://mcp.example/mcp".parse().unwrap(), None)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for url in [
            format!("http://127.0.0.1:{port}/"),
            format!("https://127.0.0.1:{port}/"),
            format!("https://localhost:{port}/"),
        ] {
            let answered = exchange(Request::get(&url).body(Vec::new()).unwrap()).await;
            assert!(answered.is_err(), "{url}");
        }
        let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(nobody.is_err(), "somebody connected");
    }
}
