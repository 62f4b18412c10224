//! An entry of a client: what it starts or reaches, read from the client's own members, and the members by which it
//! reaches countersign instead.

use std::path::Path;

use anyhow::{Context, bail};

use super::clients::{Client, Shape, Variables};
use super::sign_in;
use super::tree::{Change, Node, Value};

/// What an entry says.
#[derive(Clone, PartialEq, Eq)]
pub enum Said {
    Stdio { command: String, args: Vec<String>, env: Vec<(String, Text)>, cwd: Option<String> },
    Http { url: Text, headers: Vec<(String, Text)>, sign_in: sign_in::Said },
}

/// A text of an entry.
#[derive(Clone, PartialEq, Eq)]
pub enum Text {
    Plain(String),
    /// A variable that the client fills in, and what stands before it.
    Variable {
        name: String,
        prefix: String,
    },
}

/// What an entry reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An MCP server that is not ours.
    Server,
    /// Countersign.
    Ours,
    /// No MCP server that the client starts or reaches by itself.
    Other,
}

/// Members by which a client gets keys in ways that cannot be carried over.
const ELSEWHERE: &[(&str, &str)] = &[
    ("envFile", "put the variables that the server needs into `env`"),
    ("headersHelper", "put the headers into `headers`"),
    ("bearer_token", "Codex refuses it; use `bearer_token_env_var`"),
    ("oauth_resource", "write the server into countersign.yaml with `auth: oauth`"),
];

pub fn kind(shape: Shape, entry: &Node) -> Kind {
    let started = started(shape, entry);
    let named = |command: &str| Path::new(command).file_name().is_some_and(|name| name == "countersign");
    if let [program, "connect", ..] = started.as_slice()
        && named(program)
    {
        return Kind::Ours;
    }
    let kind = entry.get("type").and_then(Node::text);
    let built_in = shape == Shape::Goose && !matches!(kind, Some("stdio" | "streamable_http" | "sse"));
    let reaches = !started.is_empty() || address(entry).is_some();
    if reaches && !built_in { Kind::Server } else { Kind::Other }
}

/// The program that an entry starts, and its arguments; nothing where it starts none.
pub fn started(shape: Shape, entry: &Node) -> Vec<&str> {
    let program = |name: &str| entry.get(name).and_then(Node::text);
    let list = |name: &str| entry.get(name).map(Node::items).unwrap_or_default();
    let (program, args) = match shape {
        Shape::Usual { .. } | Shape::Codex => (program("command"), list("args")),
        Shape::Goose => (program("cmd"), list("args")),
        Shape::Opencode => match list("command").split_first() {
            Some((program, args)) => (program.text(), args),
            None => (None, [].as_slice()),
        },
    };
    let Some(program) = program else { return Vec::new() };
    std::iter::once(program).chain(args.iter().map(|arg| arg.text().unwrap_or_default())).collect()
}

/// The address that an entry names.
pub fn address(entry: &Node) -> Option<&str> {
    ["url", "serverUrl", "httpUrl", "uri"].iter().find_map(|name| entry.get(name)?.text())
}

pub fn read(client: Client, entry: &Node, folder: Option<&Path>) -> anyhow::Result<Said> {
    if let Some((member, help)) = ELSEWHERE.iter().find(|(member, _)| is_set(entry.get(member))) {
        bail!("it has `{member}`, which countersign cannot take over: {help}");
    }
    // Where there is nothing to sign in to, it is read all the same: what cannot be read may be a key.
    let sign_in = sign_in::read(client, entry)?;
    let of = Reader { entry, variables: client.variables(), folder, sign_in };
    match client.shape() {
        Shape::Usual { .. } => of.usual(client),
        Shape::Codex => of.codex(),
        Shape::Goose => of.goose(),
        Shape::Opencode => of.opencode(),
    }
}

pub fn is_set(node: Option<&Node>) -> bool {
    node.is_some_and(|node| !matches!(&node.data, super::tree::Data::Other(text) if text == "false" || text == "null"))
}

struct Reader<'a> {
    entry: &'a Node,
    variables: Variables,
    folder: Option<&'a Path>,
    sign_in: sign_in::Said,
}

impl Reader<'_> {
    fn usual(&self, client: Client) -> anyhow::Result<Said> {
        let kind = self.entry.get("type").and_then(Node::text);
        let old =
            kind == Some("sse") || (client == Client::Gemini && kind.is_none() && self.entry.get("url").is_some());
        if self.entry.get("command").is_some() {
            if self.entry.get("command").and_then(Node::text).is_none() {
                bail!("its `command` is in the old form: write command, args and env beside each other");
            }
            return self.stdio("command", "env");
        }
        if old {
            bail!("it uses the old transport HTTP+SSE: give the server's address for streamable HTTP");
        }
        let url = ["url", "serverUrl", "httpUrl"].iter().find_map(|name| self.entry.get(name));
        self.http(url.context("it has neither a command nor an address")?, "headers")
    }

    fn codex(&self) -> anyhow::Result<Said> {
        if self.entry.get("command").is_some() {
            let Said::Stdio { command, args, mut env, cwd } = self.stdio("command", "env")? else {
                bail!("it is no command")
            };
            for variable in self.entry.get("env_vars").map(Node::items).unwrap_or_default() {
                let name = variable.text().context("`env_vars` has more than names")?.to_owned();
                env.push((name.clone(), Text::Variable { name, prefix: String::new() }));
            }
            return Ok(Said::Stdio { command, args, env, cwd });
        }
        let url = self.entry.get("url").context("it has neither `command` nor `url`")?;
        let Said::Http { url, mut headers, sign_in } = self.http(url, "http_headers")? else {
            bail!("it is no address")
        };
        if let Some(name) = self.entry.get("bearer_token_env_var").and_then(Node::text) {
            let text = Text::Variable { name: name.to_owned(), prefix: "Bearer ".to_owned() };
            headers.push(("Authorization".to_owned(), text));
        }
        for member in self.entry.get("env_http_headers").map(Node::members).unwrap_or_default() {
            let name = member.value.text().context("`env_http_headers` has more than names")?.to_owned();
            headers.push((member.name.clone(), Text::Variable { name, prefix: String::new() }));
        }
        Ok(Said::Http { url, headers, sign_in })
    }

    fn goose(&self) -> anyhow::Result<Said> {
        if self.entry.get("env_keys").is_some_and(|keys| !keys.items().is_empty()) {
            bail!(
                "it has `env_keys`, which Goose takes from the system's keyring: store the key with \
                 `countersign secret set`, or write it into `envs` and wrap again"
            );
        }
        match self.entry.get("type").and_then(Node::text) {
            Some("stdio") => self.stdio("cmd", "envs"),
            Some("streamable_http") => self.http(self.entry.get("uri").context("it has no `uri`")?, "headers"),
            _ => bail!("it uses the old transport HTTP+SSE: give the server's address for streamable HTTP"),
        }
    }

    fn opencode(&self) -> anyhow::Result<Said> {
        if let Some(url) = self.entry.get("url") {
            return self.http(url, "headers");
        }
        let command = self.entry.get("command").context("it has neither `command` nor `url`")?;
        let mut command = self.list(command, "command")?.into_iter();
        Ok(Said::Stdio {
            command: command.next().context("its `command` is empty")?,
            args: command.collect(),
            env: self.texts("environment")?,
            cwd: self.cwd()?,
        })
    }

    fn stdio(&self, command: &str, env: &str) -> anyhow::Result<Said> {
        let program = self.entry.get(command).and_then(Node::text);
        Ok(Said::Stdio {
            command: self.fixed(program.with_context(|| format!("its `{command}` is no text"))?)?,
            args: self.entry.get("args").map(|args| self.list(args, "args")).transpose()?.unwrap_or_default(),
            env: self.texts(env)?,
            cwd: self.cwd()?,
        })
    }

    fn http(&self, url: &Node, headers: &str) -> anyhow::Result<Said> {
        let url = with_folder(url.text().context("its address is no text")?, self.variables, self.folder);
        Ok(Said::Http {
            url: filled(&url, self.variables)?,
            headers: self.texts(headers)?,
            sign_in: self.sign_in.clone(),
        })
    }

    fn cwd(&self) -> anyhow::Result<Option<String>> {
        let cwd = self.entry.get("cwd").filter(|_| is_set(self.entry.get("cwd")));
        cwd.map(|cwd| self.fixed(cwd.text().context("its `cwd` is no text")?)).transpose()
    }

    fn list(&self, list: &Node, name: &str) -> anyhow::Result<Vec<String>> {
        let text = |item: &Node| match &item.data {
            // What a variable of the arguments stands for is told from its place in them, later.
            super::tree::Data::Text(text) => Ok(text.clone()),
            super::tree::Data::Other(text) => Ok(text.clone()),
            _ => bail!("its `{name}` has more than texts"),
        };
        list.items().iter().map(text).collect()
    }

    fn texts(&self, name: &str) -> anyhow::Result<Vec<(String, Text)>> {
        let text = |member: &super::tree::Member| {
            let said = match &member.value.data {
                super::tree::Data::Text(text) | super::tree::Data::Other(text) => text,
                _ => bail!("`{name}.{}` is no text", member.name),
            };
            let text = filled(said, self.variables).with_context(|| format!("`{name}.{}`", member.name))?;
            Ok((member.name.clone(), text))
        };
        self.entry.get(name).map(Node::members).unwrap_or_default().iter().map(text).collect()
    }

    /// A text in which nothing is left to fill in.
    fn fixed(&self, said: &str) -> anyhow::Result<String> {
        fixed(said, self.variables, self.folder)
    }
}

/// A text in which nothing is left to fill in but the project's folder, which is known.
pub fn fixed(said: &str, variables: Variables, folder: Option<&Path>) -> anyhow::Result<String> {
    match filled(&with_folder(said, variables, folder), variables)? {
        Text::Plain(text) => Ok(text),
        Text::Variable { name, .. } => bail!("{}", open(&name)),
    }
}

/// Where no variable can stand.
pub fn open(variable: &str) -> String {
    format!("the client fills in the variable {variable} here: write its value")
}

fn with_folder(said: &str, variables: Variables, folder: Option<&Path>) -> String {
    match (variables, folder) {
        (Variables::Named, Some(folder)) => said.replace("${workspaceFolder}", &folder.display().to_string()),
        _ => said.to_owned(),
    }
}

/// Reads the variables of a text. One at its end can be carried over, whatever the client calls it.
pub fn filled(said: &str, variables: Variables) -> anyhow::Result<Text> {
    let open = match variables {
        Variables::None => None,
        Variables::Braces | Variables::Named => said.find("${"),
        Variables::Dollar => said.find('$'),
        Variables::Curly => said.find("{env:").or_else(|| said.find("{file:")),
    };
    let Some(open) = open else { return Ok(Text::Plain(said.to_owned())) };
    let (prefix, rest) = said.split_at(open);
    let inner = rest.trim_start_matches('$').strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    let inner = inner.or_else(|| rest.strip_prefix('$').filter(|_| variables == Variables::Dollar)).unwrap_or_default();
    if let Some(id) = inner.strip_prefix("input:") {
        bail!(
            "the client asks for the input `{id}`, and its answer is in no file: store the key with \
             `countersign secret set NAME` and write the server into countersign.yaml"
        );
    }
    let name = inner.strip_prefix("env:").or((variables != Variables::Named).then_some(inner)).unwrap_or_default();
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty() || !name.bytes().all(valid) {
        bail!("the client fills in a part of it that cannot be carried over: write the value itself");
    }
    Ok(Text::Variable { name: name.to_owned(), prefix: prefix.to_owned() })
}

/// How an entry reaches countersign.
pub enum Ours {
    /// A program and its arguments. `inherit` is a variable that the shim needs and Codex would not pass on.
    Shim { program: String, args: Vec<String>, inherit: Option<&'static str> },
    /// An address, and what the `Authorization` header says.
    Http { url: String, authorization: String },
}

/// What to change in an entry so that it is ours; everything that is not about how the server is reached stays.
pub fn changes(client: Client, entry: &Node, ours: &Ours) -> Vec<Change> {
    let text = |text: &str| Value::Text(text.to_owned());
    let mut set: Vec<(&'static str, Value)> = match (client.shape(), ours) {
        (Shape::Usual { .. }, Ours::Shim { program, args, .. }) => {
            // Gemini has no such type, and everybody else takes a command for it where none is said.
            let typed = entry.get("type").is_some_and(|_| client != Client::Gemini);
            let kind = typed.then(|| ("type", text("stdio")));
            kind.into_iter().chain([("command", text(program)), ("args", Value::List(args.clone()))]).collect()
        }
        (Shape::Usual { url: member, http_type }, Ours::Http { url, authorization }) => {
            let kind = http_type.map(|kind| ("type", text(kind)));
            let headers = Value::Map(vec![("Authorization".to_owned(), authorization.clone())]);
            kind.into_iter().chain([(member, text(url)), ("headers", headers)]).collect()
        }
        (Shape::Codex, Ours::Shim { program, args, inherit }) => {
            let inherit = inherit.map(|name| ("env_vars", Value::List(vec![name.to_owned()])));
            [("command", text(program)), ("args", Value::List(args.clone()))].into_iter().chain(inherit).collect()
        }
        (Shape::Codex, Ours::Http { url, authorization }) => {
            let headers = Value::Map(vec![("Authorization".to_owned(), authorization.clone())]);
            vec![("url", text(url)), ("http_headers", headers)]
        }
        (Shape::Goose, Ours::Shim { program, args, .. }) => {
            vec![("type", text("stdio")), ("cmd", text(program)), ("args", Value::List(args.clone()))]
        }
        (Shape::Goose, Ours::Http { url, authorization }) => {
            let headers = Value::Map(vec![("Authorization".to_owned(), authorization.clone())]);
            vec![("type", text("streamable_http")), ("uri", text(url)), ("headers", headers)]
        }
        (Shape::Opencode, Ours::Shim { program, args, .. }) => {
            let command = std::iter::once(program).chain(args).cloned().collect();
            vec![("type", text("local")), ("command", Value::List(command))]
        }
        (Shape::Opencode, Ours::Http { url, authorization }) => {
            let headers = Value::Map(vec![("Authorization".to_owned(), authorization.clone())]);
            vec![("type", text("remote")), ("url", text(url)), ("headers", headers)]
        }
    };
    let all = [
        "type",
        "command",
        "args",
        "env",
        "cwd",
        "url",
        "serverUrl",
        "httpUrl",
        "headers",
        "env_vars",
        "http_headers",
        "bearer_token_env_var",
        "env_http_headers",
        "cmd",
        "envs",
        "env_keys",
        "uri",
        "environment",
        "oauth",
        "auth",
        "authProviderType",
        "scopes",
    ];
    let gone: Vec<Change> = all
        .into_iter()
        .filter(|key| entry.get(key).is_some() && !set.iter().any(|(there, _)| there == key))
        .map(Change::Remove)
        .collect();
    set.drain(..).map(|(key, value)| Change::Set(key, value)).chain(gone).collect()
}

/// A whole entry, for a client that has none for the server yet.
pub fn whole(client: Client, name: &str, ours: &Ours) -> Vec<(&'static str, Value)> {
    let nothing = Node { span: 0..0, data: super::tree::Data::Map(Vec::new()) };
    let set = changes(client, &nothing, ours).into_iter().filter_map(|change| match change {
        Change::Set(key, value) => Some((key, value)),
        Change::Remove(_) => None,
    });
    let mut entry: Vec<_> = set.collect();
    match client {
        Client::Goose => {
            entry.insert(0, ("name", Value::Text(name.to_owned())));
            entry.insert(0, ("enabled", Value::Flag(true)));
        }
        Client::Opencode => entry.push(("enabled", Value::Flag(true))),
        Client::Vscode if matches!(ours, Ours::Shim { .. }) => {
            entry.insert(0, ("type", Value::Text("stdio".to_owned())));
        }
        _ => {}
    }
    entry
}
