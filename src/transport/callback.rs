//! The address on this machine that a browser comes back to when somebody has signed in.
//!
//! Invariant: it listens on 127.0.0.1 alone, answers with fixed texts, and takes one answer: the one that its judge
//! accepts. Whoever else comes is told nothing and changes nothing.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

const PATH: &str = "/callback";
/// Connections at once: a browser opens a few, and one of them asks.
const MOST: usize = 16;
/// For one connection.
const TIME: Duration = Duration::from_secs(10);
/// Longest head of a request: an address with a code in it.
const HEAD: usize = 32 << 10;
/// How long the page may take to be written when the answer is there.
const LAST: Duration = Duration::from_secs(1);

const TAKEN: &str =
    "Countersign has got the answer. The terminal says how the sign-in ended; this page can be closed.\n";
const NOT_TAKEN: &str =
    "This is not the answer to a sign-in that is under way. See the terminal, or begin again there.\n";

/// Listening, before anybody has come.
#[derive(Debug)]
pub struct Callback {
    listener: TcpListener,
    address: SocketAddr,
}

impl Callback {
    /// At this port, or at any that is free.
    ///
    /// # Errors
    /// Where it is taken.
    pub async fn bind(port: Option<u16>) -> io::Result<Callback> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.unwrap_or(0))).await?;
        let address = listener.local_addr()?;
        Ok(Callback { listener, address })
    }

    /// What the authorization server sends the browser back to.
    pub fn redirect_uri(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Waits for the request that `judge` takes, by its path and query.
    pub async fn wait<T: Send + 'static>(self, judge: impl Fn(&str) -> Option<T> + Send + Sync + 'static) -> Option<T> {
        let (found, mut answer) = mpsc::channel(1);
        let (judge, places) = (Arc::new(judge), Arc::new(Semaphore::new(MOST)));
        let host = self.address.to_string();
        let mut open = JoinSet::new();
        let taken = loop {
            let place = Arc::clone(&places).acquire_owned();
            let accepted = tokio::select! {
                taken = answer.recv() => break taken,
                accepted = async { (place.await, self.listener.accept().await) } => accepted,
            };
            let (Ok(place), Ok((stream, _))) = accepted else { continue };
            let (judge, found, host) = (Arc::clone(&judge), found.clone(), host.clone());
            open.spawn(async move {
                let _place = place;
                let service = service_fn(move |request: Request<Incoming>| {
                    let taken = asks(&request, &host).and_then(|asked| judge(asked));
                    let page = page(taken.is_some());
                    // Only the first counts.
                    if let Some(taken) = taken {
                        let _ = found.try_send(taken);
                    }
                    async move { Ok::<_, Infallible>(page) }
                });
                let mut http = Builder::new();
                http.max_buf_size(HEAD).keep_alive(false).timer(TokioTimer::new()).header_read_timeout(TIME);
                let _ = timeout(TIME, http.serve_connection(TokioIo::new(stream), service)).await;
            });
            while open.try_join_next().is_some() {}
        };
        let written = async { while open.join_next().await.is_some() {} };
        let _ = timeout(LAST, written).await;
        // Browsers keep connections that they never use: nothing of the judge is left with them.
        open.shutdown().await;
        taken
    }
}

/// The path and query of a request that could be the answer. A page elsewhere that makes a browser come here by another
/// name is none.
fn asks<'a>(request: &'a Request<Incoming>, host: &str) -> Option<&'a str> {
    let named = request.headers().get(HOST).is_some_and(|named| named.as_bytes() == host.as_bytes());
    let asked = request.uri().path_and_query()?;
    (request.method() == Method::GET && named && asked.path() == PATH).then(|| asked.as_str())
}

fn page(taken: bool) -> Response<Full<Bytes>> {
    let mut page = Response::new(Full::new(Bytes::from_static(if taken { TAKEN } else { NOT_TAKEN }.as_bytes())));
    if !taken {
        *page.status_mut() = StatusCode::BAD_REQUEST;
    }
    let fields = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CONNECTION, "close"),
    ];
    page.headers_mut().extend(fields.map(|(name, value)| (name, http::HeaderValue::from_static(value))));
    page
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn ask(port: u16, head: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn one_answer_counts_and_nobody_else_is_told_anything() {
        let callback = Callback::bind(None).await.unwrap();
        assert!(callback.address.ip().is_loopback());
        let port = callback.address.port();
        let waiting =
            tokio::spawn(callback.wait(|asked| asked.strip_prefix("/callback?state=right&").map(str::to_owned)));
        let get = |path: &str, host: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let here = format!("127.0.0.1:{port}");
        for (head, why) in [
            (get("/callback?state=wrong&code=%3Cb%3Ex", &here), "state"),
            (get("/callback?state=right&code=1", &format!("evil.example:{port}")), "another name"),
            (get("/other?state=right&code=1", &here), "path"),
            (
                format!("POST /callback?state=right&code=1 HTTP/1.1\r\nHost: {here}\r\nContent-Length: 0\r\n\r\n"),
                "method",
            ),
        ] {
            let answer = ask(port, &head).await;
            assert!(answer.starts_with("HTTP/1.1 400") && answer.ends_with(NOT_TAKEN), "{why}: {answer}");
        }
        let answer = ask(port, &get("/callback?state=right&code=1", &here)).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(TAKEN), "{answer}");
        assert_eq!(waiting.await.unwrap().as_deref(), Some("code=1"));
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_err(), "it listens no more");
    }
}
