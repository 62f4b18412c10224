//! A raw client of the HTTP front: it sends what it is told, byte by byte where a test wants that, and reads answers
//! in the form in which they come.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{hello, request, within};

/// An MCP session over HTTP.
pub struct HttpClient {
    pub address: SocketAddr,
    pub path: String,
    pub token: Option<String>,
    pub session: Option<String>,
}

impl HttpClient {
    pub fn new(address: SocketAddr, server: &str, token: Option<&str>) -> HttpClient {
        let (path, token) = (format!("/mcp/{server}"), token.map(str::to_owned));
        HttpClient { address, path, token, session: None }
    }

    /// The handshake of the legacy era.
    pub async fn initialize(&mut self) -> Value {
        let mut reply = self.post(&request("hello", "initialize", hello())).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        self.session = reply.headers.get("mcp-session-id").cloned();
        let answer = reply.message().await.expect("an answer to initialize");
        let ready = self.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        assert_eq!(ready.status, 202, "{ready:?}");
        answer
    }

    /// Goes on in this session, without the rest of the handshake.
    pub fn adopt(&mut self, session: Option<String>) {
        self.session = session;
    }

    /// The headers that every request of this session carries.
    pub fn headers(&self) -> Vec<(String, String)> {
        let mut headers = vec![
            ("Host".to_owned(), self.address.to_string()),
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("Accept".to_owned(), "application/json, text/event-stream".to_owned()),
        ];
        if let Some(token) = &self.token {
            headers.push(("Authorization".to_owned(), format!("Bearer {token}")));
        }
        if let Some(session) = &self.session {
            headers.push(("Mcp-Session-Id".to_owned(), session.clone()));
            headers.push(("MCP-Protocol-Version".to_owned(), "2025-11-25".to_owned()));
        }
        headers
    }

    pub async fn post(&self, message: &Value) -> Reply {
        self.send("POST", &self.headers(), message.to_string().as_bytes()).await
    }

    /// A request of the stateless era, with the header fields that repeat it.
    pub async fn stateless(&self, message: &Value) -> Reply {
        let mut headers = self.headers();
        headers.push(("MCP-Protocol-Version".to_owned(), "2026-07-28".to_owned()));
        headers.push(("Mcp-Method".to_owned(), message["method"].as_str().unwrap().to_owned()));
        let params = &message["params"];
        let name = ["name", "uri", "taskId"].iter().find_map(|member| params[member].as_str());
        headers.extend(name.map(|name| ("Mcp-Name".to_owned(), name.to_owned())));
        self.send("POST", &headers, message.to_string().as_bytes()).await
    }

    pub async fn send(&self, method: &str, headers: &[(String, String)], body: &[u8]) -> Reply {
        let mut head = format!("{method} {} HTTP/1.1\r\n", self.path);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        self.raw(&bytes).await.expect("an answer over HTTP")
    }

    /// Bytes as they are; `None` where the connection ends without an answer.
    pub async fn raw(&self, bytes: &[u8]) -> Option<Reply> {
        let mut stream = within("a connection", TcpStream::connect(self.address)).await.unwrap();
        // The daemon may refuse before it has read everything.
        let _ = within("the daemon to read", stream.write_all(bytes)).await;
        Reply::read(stream).await
    }

    /// Calls a tool and waits for its answer.
    pub async fn call(&self, id: &str, tool: &str, arguments: Value) -> Value {
        self.post(&super::call(id, tool, arguments)).await.answer(id).await
    }
}

#[derive(Debug)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// An answer whose body may still be on its way. Dropping it closes the connection.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    stream: TcpStream,
    framing: Framing,
    /// Read from the socket, not decoded.
    raw: Vec<u8>,
    /// Decoded body that is not consumed.
    body: Vec<u8>,
    ended: bool,
    /// Everything that was read, for searches.
    pub traffic: Vec<u8>,
}

impl Reply {
    async fn read(mut stream: TcpStream) -> Option<Reply> {
        let mut raw = Vec::new();
        let end = loop {
            if let Some(end) = find(&raw, b"\r\n\r\n") {
                break end;
            }
            if read_more(&mut stream, &mut raw).await == 0 {
                return None;
            }
        };
        let head = String::from_utf8(raw[..end].to_vec()).unwrap();
        let traffic = raw.clone();
        raw.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
        let framing = match headers.get("content-length") {
            Some(length) => Framing::Length(length.parse().unwrap()),
            None if chunked => Framing::Chunked,
            None if matches!(status, 202 | 204 | 304) => Framing::Length(0),
            None => Framing::UntilClose,
        };
        let mut reply = Reply { status, headers, stream, framing, raw, body: Vec::new(), ended: false, traffic };
        reply.decode();
        Some(reply)
    }

    /// Moves whatever has arrived completely from `raw` to `body`.
    fn decode(&mut self) {
        match &mut self.framing {
            Framing::Length(left) => {
                let take = (*left).min(self.raw.len());
                self.body.extend(self.raw.drain(..take));
                *left -= take;
                self.ended |= *left == 0;
            }
            Framing::UntilClose => self.body.append(&mut self.raw),
            Framing::Chunked => {
                while let Some(line) = find(&self.raw, b"\r\n") {
                    let text = std::str::from_utf8(&self.raw[..line]).unwrap();
                    let size = usize::from_str_radix(text.split(';').next().unwrap().trim(), 16).unwrap();
                    if self.raw.len() < line + 2 + size + 2 {
                        return;
                    }
                    self.body.extend_from_slice(&self.raw[line + 2..line + 2 + size]);
                    self.raw.drain(..line + 2 + size + 2);
                    self.ended |= size == 0;
                }
            }
        }
    }

    async fn more(&mut self) -> bool {
        if self.ended {
            return false;
        }
        let before = self.raw.len();
        if read_more(&mut self.stream, &mut self.raw).await == 0 {
            self.ended = true;
            return false;
        }
        self.traffic.extend_from_slice(&self.raw[before..]);
        self.decode();
        true
    }

    /// The whole body.
    pub async fn text(&mut self) -> String {
        while self.more().await {}
        String::from_utf8(std::mem::take(&mut self.body)).unwrap()
    }

    fn is_stream(&self) -> bool {
        self.headers.get("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The next JSON-RPC message of the body, be it one JSON text or an event stream; `None` at its end.
    pub async fn message(&mut self) -> Option<Value> {
        if !self.is_stream() {
            let text = self.text().await;
            return (!text.is_empty()).then(|| serde_json::from_str(&text).unwrap());
        }
        loop {
            let event = self.event().await?;
            let data: Vec<&str> =
                event.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim_start).collect();
            if data.iter().any(|line| !line.is_empty()) {
                return Some(serde_json::from_str(&data.join("\n")).unwrap());
            }
        }
    }

    /// The next block of an event stream, comments included.
    pub async fn event(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.body, b"\n\n") {
                let event: Vec<u8> = self.body.drain(..end + 2).collect();
                return Some(String::from_utf8(event).unwrap());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The answer to a request; what comes before it is passed over.
    pub async fn answer(&mut self, id: impl Into<Value>) -> Value {
        let id = id.into();
        loop {
            let Some(message) = self.message().await else {
                panic!("the body ended before the answer to {id}: {self:?}")
            };
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }
}

async fn read_more(stream: &mut TcpStream, into: &mut Vec<u8>) -> usize {
    // A reset is an end too.
    within("bytes over HTTP", stream.read_buf(into)).await.unwrap_or(0)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
