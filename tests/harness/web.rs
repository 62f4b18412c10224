//! A loopback HTTP server that keeps every request: behind the spy over streamable HTTP and behind the vendor's API.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use super::within;

/// One request, whole.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `POST /v1/refunds`
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.uri)
    }
}

/// What is answered. The body ends when its sender is dropped.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: mpsc::Receiver<Bytes>,
}

impl Answer {
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let (sender, receiver) = mpsc::channel(1);
        let body = body.into();
        if !body.is_empty() {
            sender.try_send(body).unwrap();
        }
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Answer { status, headers, body: receiver }
    }

    pub fn json(body: &serde_json::Value) -> Answer {
        Answer::new(200, &[("content-type", "application/json")], body.to_string())
    }
}

type Handler = dyn Fn(Asked) -> std::pin::Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// The server; it lives as long as the test's runtime.
#[derive(Clone)]
pub struct Web {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    changed: Arc<watch::Sender<usize>>,
}

impl Web {
    pub async fn start<F>(handler: impl Fn(Asked) -> F + Send + Sync + 'static) -> Web
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let web = Web {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            changed: Arc::new(watch::channel(0).0),
        };
        let handler: Arc<Handler> = Arc::new(move |asked| Box::pin(handler(asked)));
        let shared = web.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (web, handler) = (shared.clone(), handler.clone());
                let service = service_fn(move |request| {
                    let (web, handler) = (web.clone(), handler.clone());
                    async move { web.serve(request, &*handler).await }
                });
                tokio::spawn(async move {
                    // A client that goes away in the middle is part of some tests.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        web
    }

    async fn serve(
        &self,
        request: http::Request<Incoming>,
        handler: &Handler,
    ) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible> + use<>>, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let asked = Asked { method: head.method, uri: head.uri, headers: head.headers, body };
        self.asked.lock().unwrap().push(asked.clone());
        self.changed.send_modify(|count| *count += 1);
        let answer = handler(asked).await;
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap();
        for (name, value) in &answer.headers {
            response.headers_mut().append(http::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
        }
        let frames = futures_util::stream::unfold(answer.body, |mut body| async move {
            body.recv().await.map(|bytes| (Ok::<_, Infallible>(Frame::data(bytes)), body))
        });
        Ok(response.map(|()| StreamBody::new(frames)))
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until the requests so far satisfy `done`.
    pub async fn until(&self, what: &str, done: impl Fn(&[Asked]) -> bool) {
        let mut changed = self.changed.subscribe();
        within(what, async {
            while !done(&self.asked()) {
                changed.changed().await.unwrap();
            }
        })
        .await;
    }
}
