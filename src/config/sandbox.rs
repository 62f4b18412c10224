//! `servers.<name>.upstream.stdio.sandbox:`

use std::path::{Path, PathBuf};

use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::yaml::{Data, Node};
use super::{Config, SecretSource, Upstream};
use crate::sandbox::{Limits, Network, Wishes};

const SANDBOX: Keys = Keys { known: &["read", "write", "network", "unix_sockets", "strict", "limits"], later: &[] };
const LIMITS: Keys = Keys { known: &["open_files", "processes", "memory", "file_size"], later: &[] };
const MAX_PATHS: usize = 100;
const MAX_PORTS: usize = 100;
const HELP: &str = "write a mapping, as in { read: [/srv/data], network: [443] }, or `off`";

/// What is not written is the default sandbox; `None` where it is turned off. A child that is `gated` needs no network
/// for its API, and gets one where that is said.
pub fn sandbox(cx: &mut Context<'_>, node: Option<&Node>, path: String, gated: bool) -> Option<Wishes> {
    let usual = if gated { Network::Ports([].into()) } else { Network::Any };
    let Some(node) = node else { return Some(Wishes { network: usual, ..Wishes::default() }) };
    match &node.data {
        Data::Scalar { text, .. } if text == "off" => return None,
        Data::Scalar { .. } | Data::List(_) => {
            let message = format!("`{path}` must be a mapping or `off`");
            cx.problems.add(Code::WrongType, &node.span, message, HELP);
            return None;
        }
        Data::Map(_) => {}
    }
    let fields = Fields::of(cx, node, path, &SANDBOX);
    let read = paths(cx, &fields, "read");
    let write = paths(cx, &fields, "write");
    let network = network(cx, &fields, usual);
    let (unix_sockets, strict) = (fields.yes(cx, "unix_sockets"), fields.yes(cx, "strict"));
    let limits = fields.get("limits").map_or_else(Limits::default, |node| limits(cx, node, fields.child("limits")));
    Some(Wishes { read, write, network, unix_sockets, strict, limits })
}

fn paths(cx: &mut Context<'_>, fields: &Fields<'_>, name: &str) -> Vec<PathBuf> {
    let path = fields.child(name);
    let nodes = fields.get(name).map_or(&[][..], |node| cx.list(node, &path));
    if let Some(node) = nodes.get(MAX_PATHS) {
        let message = format!("`{path}` names more than {MAX_PATHS} places");
        cx.problems.add(Code::TooMuch, &node.span, message, "name the folder that they lie in");
    }
    nodes.iter().take(MAX_PATHS).filter_map(|node| cx.path(node, &path)).collect()
}

/// `any`, `none`, or a list of ports.
fn network(cx: &mut Context<'_>, fields: &Fields<'_>, usual: Network) -> Network {
    let path = fields.child("network");
    let Some(node) = fields.get("network") else { return usual };
    let Data::List(items) = &node.data else {
        let closed = Network::Ports([].into());
        let choices = [("any", false), ("none", true)];
        return if fields.choice(cx, "network", &choices).unwrap_or(true) { closed } else { Network::Any };
    };
    if items.is_empty() || items.len() > MAX_PORTS {
        let message = format!("`{path}` has to name 1 to {MAX_PORTS} ports");
        cx.problems.add(Code::Range, &node.span, message, "write the ports, as in [443], or `none`, or `any`");
    }
    let mut ports = std::collections::BTreeSet::new();
    for item in items.iter().take(MAX_PORTS) {
        let port = match &item.data {
            Data::Scalar { text, plain: true } if !text.starts_with('0') => text.parse::<u16>().ok(),
            _ => None,
        };
        match port {
            Some(port) => drop(ports.insert(port)),
            None => cx.wrong(item, &path, "ports, whole numbers from 1 to 65535"),
        }
    }
    Network::Ports(ports)
}

fn limits(cx: &mut Context<'_>, node: &Node, path: String) -> Limits {
    let fields = Fields::of(cx, node, path, &LIMITS);
    let default = Limits::default();
    let given = |name: &str| fields.get(name).is_some();
    let wide = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
    Limits {
        open_files: fields.number(cx, "open_files", 64..=1 << 20, default.open_files),
        processes: given("processes").then(|| fields.number(cx, "processes", 16..=1 << 20, 1 << 20)),
        memory: given("memory").then(|| wide(fields.size(cx, "memory", 64 << 20..=1 << 42, usize::MAX))),
        file_size: given("file_size").then(|| wide(fields.size(cx, "file_size", 1 << 20..=1 << 42, usize::MAX))),
    }
}

/// Places of ours that no child gets, and what they are.
pub fn closed(config: &Config) -> Vec<(PathBuf, String)> {
    let mut closed = vec![
        (config.state_dir.clone(), "`state_dir`".to_owned()),
        (config.runtime_dir.clone(), "`runtime_dir`".to_owned()),
    ];
    closed.extend(config.path.iter().map(|path| (path.clone(), "this configuration".to_owned())));
    closed.extend(config.policy.paths.iter().map(|path| (path.clone(), "policies".to_owned())));
    closed
        .extend(config.operators.allowed_signers.iter().map(|path| (path.clone(), "the list of operators".to_owned())));
    let catalogs = config.servers.values().flat_map(|server| &server.catalogs);
    closed.extend(catalogs.map(|path| (path.clone(), "a catalog".to_owned())));
    for (name, source) in &config.secrets {
        if let SecretSource::File(path) = source {
            closed.push((path.clone(), format!("the file of the secret `{name}`")));
        }
    }
    closed
}

/// What the sandboxes of the file open does not lie in a place of ours, nor the other way round.
pub fn aliases(cx: &mut Context<'_>, root: &Node, config: &Config) {
    let closed = closed(config);
    for (path, node) in named(root, config) {
        let own = closed.iter().find(|(own, _)| path.starts_with(own) || own.starts_with(&path));
        if let Some((own, what)) = own {
            let message = format!("the sandbox would open {what}: `{}` and `{}`", path.display(), own.display());
            cx.problems.add(Code::Alias, &node.span, message, "name the folders beside it that the server needs");
        }
    }
}

/// The same by real path, and that they are there.
pub fn there(cx: &mut Context<'_>, root: &Node, config: &Config) {
    let closed = closed(config);
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for (path, node) in named(root, config) {
        let found = match path.canonicalize() {
            Ok(found) => found,
            Err(error) => {
                let message = format!("{} cannot be opened: {error}", quote(&path.display().to_string()));
                cx.problems.add(Code::Path, &node.span, message, "make it, or correct the path");
                continue;
            }
        };
        let own = closed.iter().find(|(own, _)| found.starts_with(real(own)) || real(own).starts_with(&found));
        if let Some((_, what)) = own {
            let message = format!("`{}` leads to {what}", path.display());
            cx.problems.add(Code::Alias, &node.span, message, "name the folders beside it that the server needs");
        }
    }
}

/// Every path of a sandbox, and where it stands.
fn named<'n>(root: &'n Node, config: &Config) -> Vec<(PathBuf, &'n Node)> {
    let of = |(name, server): (&String, &super::Server)| {
        let Upstream::Stdio { sandbox: Some(wishes), .. } = &server.upstream else { return Vec::new() };
        let lists = [("read", wishes.read.clone()), ("write", wishes.write.clone())];
        let nodes = lists.map(|(list, paths)| {
            let keys = ["servers", name, "upstream", "stdio", "sandbox", list];
            let node = keys.iter().try_fold(root, |node, key| super::cross::child(node, key));
            let items = match node.map(|node| &node.data) {
                Some(Data::List(items)) => items.as_slice(),
                _ => &[],
            };
            paths.into_iter().zip(items).collect::<Vec<_>>()
        });
        nodes.concat()
    };
    config.servers.iter().flat_map(of).collect()
}
