//! A recording forwarder between the daemon and a real HTTP server; it can cut a stream where a test wants that.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::web::{Answer, Asked, Web};
use super::within;

/// The messages that passed one place, by direction.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<(Vec<String>, Vec<String>)>>);

impl Recorder {
    pub fn to_server(&self, text: &str) {
        self.0.lock().unwrap().0.push(text.to_owned());
    }

    pub fn to_client(&self, text: &str) {
        self.0.lock().unwrap().1.push(text.to_owned());
    }

    pub fn taken(&self) -> (Vec<String>, Vec<String>) {
        self.0.lock().unwrap().clone()
    }
}

/// Whether a stream is cut before its next piece, by the request and what came so far with that piece.
type Cut = dyn Fn(&Asked, &str) -> bool + Send + Sync;

#[derive(Clone)]
pub struct Between {
    pub web: Web,
    pub recorder: Recorder,
    /// Answers that are not over.
    open: Arc<watch::Sender<usize>>,
}

impl Between {
    pub async fn start(target: Uri, cut: impl Fn(&Asked, &str) -> bool + Send + Sync + 'static) -> Between {
        let (recorder, open) = (Recorder::default(), Arc::new(watch::channel(0).0));
        let cut: Arc<Cut> = Arc::new(cut);
        let (kept, counted) = (recorder.clone(), open.clone());
        let web =
            Web::start(move |asked| forward(asked, target.clone(), kept.clone(), counted.clone(), cut.clone())).await;
        Between { web, recorder, open }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.web.address)
    }

    /// Waits until every answer is over.
    pub async fn quiet(&self) {
        let mut open = self.open.subscribe();
        within("every answer's end", open.wait_for(|open| *open == 0)).await.unwrap();
    }
}

/// One request of the proxy, passed on; everything that comes back is passed back as it comes and kept.
async fn forward(
    asked: Asked,
    target: Uri,
    recorder: Recorder,
    open: Arc<watch::Sender<usize>>,
    cut: Arc<Cut>,
) -> Answer {
    let io = TcpStream::connect(target.authority().unwrap().as_str()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    if !asked.body.is_empty() {
        recorder.to_server(&asked.text());
    }
    let mut request = Request::new(Full::new(asked.body.clone()));
    *request.method_mut() = asked.method.clone();
    *request.uri_mut() = target.path().parse().unwrap();
    *request.headers_mut() = asked.headers.clone();
    request.headers_mut().insert("host", target.authority().unwrap().as_str().parse().unwrap());
    let response = within("the server", sender.send_request(request)).await.unwrap();
    let status = response.status().as_u16();
    let headers: Vec<(String, String)> = response
        .headers()
        .iter()
        .filter(|(name, _)| !["content-length", "transfer-encoding", "connection"].contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let is_stream =
        headers.iter().any(|(name, value)| name == "content-type" && value.starts_with("text/event-stream"));
    let (to_proxy, body) = mpsc::channel::<Bytes>(64);
    open.send_modify(|open| *open += 1);
    tokio::spawn(async move {
        let _sender = sender;
        let (mut incoming, mut seen) = (response.into_body(), Vec::new());
        while let Some(Ok(frame)) = incoming.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            seen.extend_from_slice(&data);
            // A piece may end inside a character.
            let cut = is_stream && cut(&asked, &String::from_utf8_lossy(&seen));
            if cut || to_proxy.send(data).await.is_err() {
                break;
            }
        }
        let text = String::from_utf8_lossy(&seen);
        if is_stream {
            for event in text.split("\n\n") {
                let data: Vec<&str> = event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
                if !data.concat().is_empty() {
                    recorder.to_client(&data.join("\n"));
                }
            }
        } else if !text.is_empty() && status == 200 {
            recorder.to_client(&text);
        }
        open.send_modify(|open| *open -= 1);
    });
    Answer { status, headers, body }
}
