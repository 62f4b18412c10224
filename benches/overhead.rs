//! What Countersign adds to a call, end to end: direct, through a bare hop, and through the proxy, in one run.
//!
//! `cargo bench --bench overhead` starts an upstream, a bare hyper hop, a bare stdio relay and `countersign serve`
//! with the built-in policies and the record on, then alternates batches over all of them. Read the ratios: they are
//! medians over the rounds of one run. Environment: `ROUNDS` (7), `CALLS` a batch (400), `PIN=1` pins the
//! upstream, the hops and the proxy to the first CPU through `taskset`; the client, which is this process, is where the
//! command puts it (`taskset -c 1`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const TOKEN: &str = "bench-token-0123456789abcdef";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match args.first().map(String::as_str) {
        Some("upstream") => runtime.block_on(upstream()),
        Some("hop") => runtime.block_on(hop(args[1].parse().unwrap())),
        Some("stdio-upstream") => stdio_upstream(),
        Some("stdio-hop") => runtime.block_on(stdio_hop()),
        _ => runtime.block_on(measure()),
    }
}

// ---- peers -----------------------------------------------------------------------------------------------------

fn answer(message: &serde_json::Value) -> Option<String> {
    let id = message.get("id")?;
    let result = match message["method"].as_str()? {
        "initialize" => {
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"0"}}"#
                .to_owned()
        }
        "tools/call" => {
            let text = message["params"]["arguments"]["text"].as_str().unwrap_or("");
            format!(r#"{{"content":[{{"type":"text","text":"{text}"}}]}}"#)
        }
        _ => "{}".to_owned(),
    };
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
}

async fn announce(listener: &TcpListener) {
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
}

async fn upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    announce(&listener).await;
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let service = hyper::service::service_fn(|request: Request<Incoming>| async move {
            if request.method() != Method::POST {
                return Ok::<_, hyper::Error>(reply(StatusCode::METHOD_NOT_ALLOWED, Bytes::new()));
            }
            let body = request.into_body().collect().await?.to_bytes();
            let message = serde_json::from_slice(&body).unwrap();
            let mut response = match answer(&message) {
                Some(text) => reply(StatusCode::OK, Bytes::from(text)),
                None => reply(StatusCode::ACCEPTED, Bytes::new()),
            };
            response.headers_mut().insert("mcp-session-id", "bench".parse().unwrap());
            Ok(response)
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn reply(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    Response::builder().status(status).header(CONTENT_TYPE, "application/json").body(Full::new(body)).unwrap()
}

async fn hop(target: SocketAddr) {
    use hyper_util::client::legacy::Client;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    announce(&listener).await;
    let client = Client::builder(hyper_util::rt::TokioExecutor::new()).build_http::<Incoming>();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let client = client.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let client = client.clone();
            async move {
                *request.uri_mut() = format!("http://{target}{}", request.uri().path()).parse().unwrap();
                client.request(request).await
            }
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn stdio_upstream() {
    let (stdin, stdout) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut stdout = std::io::LineWriter::new(stdout);
    for line in std::io::BufRead::lines(stdin) {
        if let Some(text) = answer(&serde_json::from_str(&line.unwrap()).unwrap()) {
            writeln!(stdout, "{text}").unwrap();
        }
    }
}

async fn stdio_hop() {
    let mut child = me().arg("stdio-upstream").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let up = tokio::spawn(async move { tokio::io::copy(&mut tokio::io::stdin(), &mut to).await });
    let mut buffer = vec![0; 64 << 10];
    let mut stdout = tokio::io::stdout();
    loop {
        let read = from.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        stdout.write_all(&buffer[..read]).await.unwrap();
        stdout.flush().await.unwrap();
    }
    up.abort();
}

fn program(path: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = if std::env::var_os("PIN").is_some() {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "0"]).arg(path);
        pinned
    } else {
        Command::new(path)
    };
    command.kill_on_drop(true);
    command
}

fn me() -> Command {
    program(std::env::current_exe().unwrap())
}

// ---- the proxy under test --------------------------------------------------------------------------------------

struct Proxy {
    child: Child,
    http: SocketAddr,
    folder: tempfile::TempDir,
    started: Duration,
}

async fn proxy(upstream: SocketAddr) -> Proxy {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().display();
    let uid = rustix::process::geteuid().as_raw();
    let myself = std::env::current_exe().unwrap().display().to_string();
    // The catalog of the demo's server knows `get_customer` as a read, so this is an allowed read under the shipped rules.
    let config = format!(
        "version: 1\nstate_dir: {root}/state\nruntime_dir: {root}/run\nlisten: {{ http: '127.0.0.1:0' }}\n\
         secrets: {{ token: {{ env: BENCH_TOKEN }} }}\n\
         servers:\n  bench: {{ vendor: billing, environment: production, upstream: {{ http: {{ url: 'http://{upstream}/mcp', allow_plain_http: true }} }} }}\n  \
         pipe: {{ vendor: billing, environment: production, upstream: {{ stdio: {{ command: '{myself}', args: [stdio-upstream] }} }} }}\n\
         principals:\n  - {{ name: bench, match: {{ token: {{ secret: token }} }}, scopes: ['*/read'] }}\n  \
         - {{ name: local, match: {{ uid: {uid} }}, scopes: ['*/read'] }}\n\
         operators: {{ unsigned_rulings: accept }}\nlimits: {{ sessions_per_principal: 1000 }}\n"
    );
    let path = folder.path().join("countersign.yaml");
    std::fs::write(&path, config).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let begun = Instant::now();
    let mut child = program(env!("CARGO_BIN_EXE_countersign"))
        .args(["serve", "--config"])
        .arg(&path)
        .env("BENCH_TOKEN", TOKEN)
        .env("COUNTERSIGN_LOG", "warn")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let http = loop {
        let line = lines.next_line().await.unwrap().expect("countersign did not start");
        match line.strip_prefix("listening http=").and_then(|rest| rest.split_whitespace().next()) {
            Some(address) => break address.parse().unwrap(),
            None => eprintln!("{line}"),
        }
    };
    let started = begun.elapsed();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            eprintln!("{line}")
        }
    });
    Proxy { child, http, folder, started }
}

fn rss_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

// ---- the load --------------------------------------------------------------------------------------------------

fn call(id: u64, payload: usize) -> String {
    let text = format!("{id}-{}", "x".repeat(payload));
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"get_customer","arguments":{{"text":"{text}"}}}}}}"#
    )
}

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bench","version":"0"}}}"#;
const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

struct HttpClient {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    path: &'static str,
    session: Option<String>,
    next: u64,
}

impl HttpClient {
    async fn open(address: SocketAddr, path: &'static str) -> HttpClient {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut client = HttpClient { sender, host: address.to_string(), path, session: None, next: 1 };
        client.post(INITIALIZE.to_owned()).await;
        client.post(INITIALIZED.to_owned()).await;
        client
    }

    async fn post(&mut self, body: String) -> Bytes {
        let mut request = Request::post(self.path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header(AUTHORIZATION, format!("Bearer {TOKEN}"));
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session).header("mcp-protocol-version", "2025-11-25");
        }
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        if self.session.is_none() {
            self.session = response.headers().get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
        }
        response.into_body().collect().await.unwrap().to_bytes()
    }

    async fn batch(&mut self, calls: usize, payload: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let id = self.next;
            self.next += 1;
            let body = call(id, payload);
            let begun = Instant::now();
            let answer = self.post(body).await;
            times.push(begun.elapsed());
            check(&answer, id, payload);
        }
        times
    }
}

struct Pipe {
    _child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    next: u64,
}

impl Pipe {
    async fn open(mut command: Command) -> Pipe {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut pipe = Pipe { _child: child, to, from, next: 1 };
        pipe.to.write_all(format!("{INITIALIZE}\n").as_bytes()).await.unwrap();
        pipe.line().await;
        pipe.to.write_all(format!("{INITIALIZED}\n").as_bytes()).await.unwrap();
        pipe
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).await.unwrap();
        line
    }

    async fn batch(&mut self, calls: usize, payload: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let id = self.next;
            self.next += 1;
            let body = format!("{}\n", call(id, payload));
            let begun = Instant::now();
            self.to.write_all(body.as_bytes()).await.unwrap();
            let answer = self.line().await;
            times.push(begun.elapsed());
            check(answer.as_bytes(), id, payload);
        }
        times
    }
}

fn check(answer: &[u8], id: u64, payload: usize) {
    let text = std::str::from_utf8(answer).unwrap();
    assert!(
        text.contains(&format!("\"{id}-x")) && text.len() > payload && !text.contains("isError\":true"),
        "{}",
        &text[..text.len().min(400)]
    );
}

fn percentile(times: &mut [Duration], p: f64) -> f64 {
    times.sort();
    times[((times.len() - 1) as f64 * p) as usize].as_secs_f64() * 1e6
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Line {
    name: &'static str,
    p50: Vec<f64>,
    p99: Vec<f64>,
    per_second: Vec<f64>,
}

fn table(title: &str, lines: &mut [Line], base: usize) {
    println!("\n{title}");
    let heads = ["p50 µs", "p99 µs", "calls/s", "p50/direct", "p50/hop", "p99/hop"];
    println!("{:24} {}", "", heads.map(|head| format!("{head:>10}")).join(" "));
    let (direct, hop, hop_99) = (lines[0].p50.clone(), lines[base].p50.clone(), lines[base].p99.clone());
    let ratio = |one: &[f64], other: &[f64]| {
        let ratio = median(&mut one.iter().zip(other).map(|(a, b)| a / b).collect::<Vec<_>>());
        format!("{ratio:>10.2}")
    };
    for line in lines {
        let ratios = [ratio(&line.p50, &direct), ratio(&line.p50, &hop), ratio(&line.p99, &hop_99)].join(" ");
        let [p50, p99, rate] = [&mut line.p50, &mut line.p99, &mut line.per_second].map(|values| median(values));
        println!("{:24} {p50:>10.0} {p99:>10.0} {rate:>10.0} {ratios}", line.name);
    }
}

async fn http_table(
    endpoints: &[(&'static str, SocketAddr, &'static str)],
    clients: usize,
    payload: usize,
    calls: usize,
    rounds: usize,
) {
    let mut lines: Vec<Line> = Vec::new();
    let mut open: Vec<Vec<HttpClient>> = Vec::new();
    for (name, address, path) in endpoints {
        lines.push(Line { name, p50: vec![], p99: vec![], per_second: vec![] });
        let mut set = Vec::new();
        for _ in 0..clients {
            set.push(HttpClient::open(*address, path).await);
        }
        open.push(set);
    }
    for round in 0..=rounds {
        for n in 0..endpoints.len() {
            let n = (n + round) % endpoints.len();
            let begun = Instant::now();
            let batches = open[n].drain(..).map(|mut client| {
                tokio::spawn(async move {
                    let times = client.batch(calls / clients.min(calls), payload).await;
                    (client, times)
                })
            });
            let batches: Vec<_> = batches.collect();
            let mut times = Vec::new();
            for batch in batches {
                let (client, some) = batch.await.unwrap();
                open[n].push(client);
                times.extend(some);
            }
            if round > 0 {
                let elapsed = begun.elapsed().as_secs_f64();
                lines[n].per_second.push(times.len() as f64 / elapsed);
                lines[n].p50.push(percentile(&mut times, 0.5));
                lines[n].p99.push(percentile(&mut times, 0.99));
            }
        }
    }
    table(&format!("HTTP, {payload} B, {clients} client(s)"), &mut lines, 1);
}

async fn stdio_table(proxy: &Proxy, payload: usize, calls: usize, rounds: usize) {
    let mut direct = me();
    direct.arg("stdio-upstream");
    let mut relay = me();
    relay.arg("stdio-hop");
    let mut shim = program(env!("CARGO_BIN_EXE_countersign"));
    shim.args(["connect", "pipe", "--socket"]).arg(proxy.folder.path().join("run/client.sock"));
    let mut pipes = [Pipe::open(direct).await, Pipe::open(relay).await, Pipe::open(shim).await];
    let mut lines: Vec<Line> = ["direct", "bare relay", "countersign connect"]
        .map(|name| Line { name, p50: vec![], p99: vec![], per_second: vec![] })
        .into();
    for round in 0..=rounds {
        for n in 0..pipes.len() {
            let n = (n + round) % pipes.len();
            let begun = Instant::now();
            let mut times = pipes[n].batch(calls, payload).await;
            if round > 0 {
                lines[n].per_second.push(times.len() as f64 / begun.elapsed().as_secs_f64());
                lines[n].p50.push(percentile(&mut times, 0.5));
                lines[n].p99.push(percentile(&mut times, 0.99));
            }
        }
    }
    table(&format!("stdio, {payload} B, one client"), &mut lines, 1);
}

async fn address(child: &mut Child) -> SocketAddr {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    line.trim().parse().unwrap()
}

async fn measure() {
    let number =
        |name: &str, default: usize| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, calls) = (number("ROUNDS", 7), number("CALLS", 400));
    let mut upstream = me().arg("upstream").stdout(Stdio::piped()).spawn().unwrap();
    let direct = address(&mut upstream).await;
    let mut hop = me().args(["hop", &direct.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    let bare = address(&mut hop).await;
    let proxy = proxy(direct).await;
    let pid = proxy.child.id().unwrap();
    // With PIN the child is taskset's exec of countersign, so the process is the same.
    println!("start to listening: {} ms · RSS idle: {:.1} MiB", proxy.started.as_millis(), rss_mib(pid));
    let endpoints =
        [("direct", direct, "/mcp"), ("bare hyper hop", bare, "/mcp"), ("countersign", proxy.http, "/mcp/bench")];
    http_table(&endpoints, 1, 200, calls, rounds).await;
    http_table(&endpoints, 64, 200, calls * 8, rounds).await;
    http_table(&endpoints, 1, 1 << 20, (calls / 20).max(10), rounds).await;
    http_table(&endpoints, 64, 1 << 20, 128, rounds).await;
    stdio_table(&proxy, 200, calls, rounds).await;
    stdio_table(&proxy, 1 << 20, (calls / 20).max(10), rounds).await;
    println!("\nRSS after the run: {:.1} MiB", rss_mib(pid));
}
