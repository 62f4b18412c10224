//! The tools of a server that no catalog knows, from a file or from the server itself. What the server says is its own
//! claim: it is written into comments, escaped, and decides nothing.

use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::call::Limits;
use crate::console::visible;
use crate::credential::scrub::Scrubber;
use crate::json::{Json, JsonText, Rules};
use crate::mcp::message::{Id, Message};
use crate::sandbox::{self, Sandbox, Wishes, Yard};
use crate::transport::stdio_upstream::{EnvValue, StdioSpec, connect};
use crate::transport::{FromUpstream, ToUpstream, UpstreamLink};

/// For everything: start, handshake, all pages.
const LIMIT: Duration = Duration::from_secs(60);
const MAX_PAGES: usize = 100;
const MAX_TOOLS: usize = 4096;
const MAX_FILE: u64 = 16 << 20;
/// Longest name that a catalog gets.
const MAX_NAME: usize = 256;
const PROTOCOL: &str = "2025-11-25";

/// A tool, and what the server claims about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tool {
    pub name: String,
    pub read_only: Option<bool>,
    pub destructive: Option<bool>,
}

/// From the result of `tools/list`, the whole answer, or the list alone.
pub fn from_file(file: &Path) -> anyhow::Result<Vec<Tool>> {
    let named = || format!("{}", file.display());
    if file.metadata().with_context(named)?.len() > MAX_FILE {
        bail!("{}: larger than 16 MiB", file.display());
    }
    let bytes = std::fs::read(file).with_context(named)?;
    let text =
        JsonText::parse(bytes, Rules::UPSTREAM).with_context(|| format!("{}: not strict JSON", file.display()))?;
    let mut tools = Vec::new();
    let view = text.view();
    let list = view.pointer("/result/tools").or_else(|| view.get("tools")).unwrap_or(view);
    add(&mut tools, list).with_context(named)?;
    Ok(tools)
}

/// Starts the command in a sandbox, or not, with a cleared environment and the named variables, and asks for its tools.
/// It gets no call.
pub fn from_live(command: &[String], env: &[String], sandboxed: bool) -> anyhow::Result<Vec<Tool>> {
    let (program, args) = command.split_first().context("give the command after `--`")?;
    let mut values = Vec::new();
    for name in env {
        let value = std::env::var(name).with_context(|| format!("--env {name}: not set here, or no text"))?;
        values.push((name.clone(), EnvValue::Plain(value)));
    }
    let folder = Folder::new()?;
    let sandbox = if sandboxed {
        if sandbox::support().is_nothing() {
            bail!("this system has no sandboxes: --no-sandbox starts the command as any other of this account");
        }
        let program = crate::policy::this_program().context("this program has no file")?;
        Some(Box::new(Sandbox::new(Arc::new(Yard::new(program, &folder.0, [])?), Wishes::default())?))
    } else {
        None
    };
    let command =
        if program.contains('/') { std::path::absolute(program)?.display().to_string() } else { program.clone() };
    let mut spec = StdioSpec {
        server: "init".to_owned(),
        command,
        args: args.to_vec(),
        env: values,
        inherit: Vec::new(),
        cwd: Some(std::env::current_dir()?),
        sandbox,
    };
    spec.resolve().with_context(|| format!("asking `{}` for its tools", visible::line(program)))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listed = runtime.block_on(async {
        let tracker = TaskTracker::new();
        let scrubber = Arc::new(Scrubber::new(std::iter::empty()));
        let link = connect(&spec, "init", scrubber, Limits::default(), &tracker)?;
        let listed = tokio::time::timeout(LIMIT, list(link)).await;
        // The link is gone: the child is being stopped.
        tracker.close();
        let _ = tokio::time::timeout(LIMIT, tracker.wait()).await;
        listed.with_context(|| format!("the server did not list its tools within {} s", LIMIT.as_secs()))?
    });
    let mut tools = listed.with_context(|| format!("asking `{}` for its tools", visible::line(program)))?;
    // A server may repeat its key anywhere, and a catalog is no place for one.
    let keys: Vec<&String> = spec
        .env
        .iter()
        .filter_map(|(_, value)| match value {
            EnvValue::Plain(value) => Some(value).filter(|value| value.len() >= 8),
            EnvValue::Secret { .. } => None,
        })
        .collect();
    tools.retain(|tool| !keys.iter().any(|key| tool.name.contains(key.as_str())));
    Ok(tools)
}

/// For one child, and gone with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Folder> {
        let mut name = [0; 8];
        getrandom::fill(&mut name).map_err(|error| anyhow::anyhow!("{error}"))?;
        let path = std::env::temp_dir().join(format!("countersign-{:016x}", u64::from_ne_bytes(name)));
        std::fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| format!("{}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it lies in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn list(mut link: UpstreamLink) -> anyhow::Result<Vec<Tool>> {
    let hello = json!({
        "protocolVersion": PROTOCOL,
        "capabilities": {},
        "clientInfo": {"name": "countersign", "version": env!("CARGO_PKG_VERSION")},
    });
    ask(&mut link, 1, "initialize", &hello).await?;
    send(&link, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await?;
    let (mut tools, mut cursor) = (Vec::new(), None);
    for page in 0..MAX_PAGES {
        let params = match &cursor {
            Some(cursor) => json!({"cursor": cursor}),
            None => json!({}),
        };
        let answer = ask(&mut link, i64::try_from(page).unwrap_or(0) + 2, "tools/list", &params).await?;
        let result = answer.result().context("no result")?;
        add(&mut tools, result.get("tools").context("the answer has no `tools`")?)?;
        let next = result.get("nextCursor").and_then(|next| next.as_str().map(std::borrow::Cow::into_owned));
        if next.is_none() || next == cursor {
            return Ok(tools);
        }
        cursor = next;
    }
    bail!("the list of tools has more than {MAX_PAGES} pages")
}

async fn send(link: &UpstreamLink, message: &serde_json::Value) -> anyhow::Result<()> {
    let text = JsonText::of(message).ok().and_then(Message::ours).context("a message of ours")?;
    link.outbound.send(ToUpstream::Send(text)).await.ok().context("the server is gone")
}

/// The answer to a request. Whatever else the server says is passed over: it gets no answer from here.
async fn ask(
    link: &mut UpstreamLink,
    number: i64,
    method: &str,
    params: &serde_json::Value,
) -> anyhow::Result<Message> {
    let request = json!({"jsonrpc": "2.0", "id": number, "method": method, "params": params});
    send(link, &request).await?;
    let id = JsonText::of(&number).ok().and_then(|text| Id::of(text.view())).context("an id of ours")?;
    loop {
        match link.inbound.recv().await.context("the server ended")? {
            FromUpstream::Message { message, .. } if message.method().is_none() && message.id() == Some(&id) => {
                let error = message.text().view().pointer("/error/message").and_then(Json::as_str);
                if let Some(error) = error {
                    bail!("{method}: {}", visible::line(&error));
                }
                return Ok(message);
            }
            FromUpstream::Message { .. } | FromUpstream::Streams { .. } | FromUpstream::Pauses { .. } => {}
            FromUpstream::Lost { .. } => bail!("{method}: the server gave no answer"),
            FromUpstream::Closed { reason } => bail!("the server ended: {}", visible::line(&reason)),
        }
    }
}

/// Adds tools that are not there yet.
fn add(tools: &mut Vec<Tool>, list: Json<'_>) -> anyhow::Result<()> {
    let mut seen: BTreeSet<String> = tools.iter().map(|tool| tool.name.clone()).collect();
    let mut any = false;
    for item in list.items() {
        any = true;
        let name = item.get("name").and_then(Json::as_str).context("a tool has no name")?.into_owned();
        if name.is_empty() || name.len() > MAX_NAME {
            bail!("a tool's name is empty or longer than {MAX_NAME} bytes");
        }
        let hint = |hint: &str| {
            let said = item.get("annotations")?.get(hint)?;
            match said.text() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            }
        };
        let tool = Tool { read_only: hint("readOnlyHint"), destructive: hint("destructiveHint"), name };
        if seen.insert(tool.name.clone()) {
            tools.push(tool);
        }
        if tools.len() > MAX_TOOLS {
            bail!("more than {MAX_TOOLS} tools");
        }
    }
    if !any && tools.is_empty() {
        bail!("no tools: a list of objects with a `name` is expected");
    }
    Ok(())
}
