//! `secrets:`: where keys come from.

use std::collections::BTreeMap;
use std::path::Path;

use super::SecretSource;
use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::servers::{self, argument, variable};
use super::yaml::{Data, Key, Node};
use crate::credential::keyring::Item;
use crate::credential::{shape, store};

const MAX_SECRETS: usize = 1000;

const SOURCES: &[&str] = &["env", "file", "command", "keyring"];
const SECRET: Keys = Keys { known: &["env", "file", "command", "keyring", "inherit_env"], later: &[] };
const KEYRING: Keys = Keys { known: &["service", "user"], later: &[] };

/// What stands in place of a source for a key that countersign keeps itself.
pub(super) const STORED: &str = "stored";

/// `store` is the folder of the keys that countersign keeps itself.
pub fn secrets(cx: &mut Context<'_>, node: Option<&Node>, store: &Path) -> BTreeMap<String, SecretSource> {
    let Some(node) = node else { return BTreeMap::new() };
    let mut sources = BTreeMap::new();
    let fields = Fields::any(cx, node, "secrets");
    if fields.entries().len() > MAX_SECRETS {
        let message = format!("there are more than {MAX_SECRETS} secrets");
        cx.problems.add(Code::TooMuch, &node.span, message, "run several daemons");
        return sources;
    }
    for (key, node) in fields.entries() {
        let named = cx.name(&key.span, &key.text, "a secret");
        if let (true, Some(source)) = (named, secret(cx, key, node, store)) {
            sources.insert(key.text.clone(), source);
        }
    }
    others(cx, &fields, &sources);
    sources
}

/// The variables of the daemon that a command gets. One may hold the key by which its program fetches others.
fn inherited(cx: &mut Context<'_>, fields: &Fields<'_>) -> Vec<String> {
    let mut inherit: Vec<String> = Vec::new();
    for (node, name) in fields.texts(cx, "inherit_env") {
        if !servers::variable(cx, &node.span, name) {
            continue;
        }
        if servers::loads_code(name) {
            let message = format!("the variable {name} can make a program load other code and is not inherited");
            let help = format!("write what it should be: command: [env, \"{name}=...\", PROGRAM]");
            cx.problems.add(Code::Exposed, &node.span, message, help);
        } else if matches!(name, "PATH" | "HOME") || inherit.iter().any(|other| other == name) {
            let message = format!("the variable {name} is given twice");
            cx.problems.add(Code::Repeated, &node.span, message, "once is enough; PATH and HOME are always given");
        } else {
            inherit.push(name.to_owned());
        }
    }
    inherit
}

/// What is a key of its own here is for its server alone, and for no program that fetches another one.
fn others(cx: &mut Context<'_>, fields: &Fields<'_>, sources: &BTreeMap<String, SecretSource>) {
    for (key, node) in fields.entries() {
        let Some(SecretSource::Command { inherit, .. }) = sources.get(&key.text) else { continue };
        for (other, source) in sources {
            if let SecretSource::Env(variable) = source
                && inherit.contains(variable)
            {
                let message = format!("the variable {variable} is the secret {} and cannot be inherited", quote(other));
                let help = "take it out of `inherit_env`: a key is for its own server alone";
                cx.problems.add(Code::PlainKey, &node.span, message, help);
            }
        }
    }
}

fn secret(cx: &mut Context<'_>, key: &Key, node: &Node, folder: &Path) -> Option<SecretSource> {
    let path = format!("secrets.{}", key.text);
    if let Data::Scalar { text, .. } = &node.data {
        if text == STORED {
            return Some(store::source(folder, &key.text));
        }
        // One that looks like a key is noted for the whole file.
        if shape::key_like(text).is_some() {
            return None;
        }
        let message = format!("`{path}` must say where the key is, not be the key");
        let help = "write `stored`, { env: NAME }, { file: PATH }, { command: [PROGRAM, ...] } or \
                    { keyring: { service: S, user: U } }";
        cx.problems.add(Code::WrongType, &node.span, message, help);
        return None;
    }
    let fields = Fields::of(cx, node, path, &SECRET);
    let help = "a secret has one source: `env`, `file`, `command`, `keyring` or `stored`";
    let Some((kind, node)) = fields.one_of(cx, SOURCES, help) else {
        if fields.get("inherit_env").is_some() {
            let message = format!("`secrets.{}` names no source", key.text);
            cx.problems.add(Code::MissingKey, &node.span, message, help);
        }
        return None;
    };
    if let (true, Some(node)) = (kind.text != "command", fields.get("inherit_env")) {
        let message = format!("`{}` is for programs", fields.child("inherit_env"));
        cx.problems.add(Code::Contradiction, &node.span, message, "take it out: nothing else inherits variables");
    }
    let path = fields.child(&kind.text);
    match kind.text.as_str() {
        "env" => {
            let name = cx.text(node, &path)?;
            variable(cx, &node.span, name).then(|| SecretSource::Env(name.to_owned()))
        }
        "file" => cx.path(node, &path).map(SecretSource::File),
        "keyring" => keyring(cx, node, path).map(SecretSource::Keyring),
        _ => {
            let texts = cx.texts(node, &path);
            let (program, rest) = match texts.split_first() {
                Some(((program, _), rest)) => (cx.program(program, &path)?, rest),
                None => {
                    if matches!(&node.data, Data::List(items) if items.is_empty()) {
                        let help = "write the program and its arguments: [PROGRAM, ARGUMENT]";
                        cx.problems.add(Code::MissingKey, &node.span, format!("`{path}` names no program"), help);
                    }
                    return None;
                }
            };
            for (node, text) in rest {
                argument(cx, node, &path, text);
            }
            let args = rest.iter().map(|(_, text)| (*text).to_owned());
            let inherit = inherited(cx, &fields);
            Some(SecretSource::Command { argv: std::iter::once(program).chain(args).collect(), inherit })
        }
    }
}

fn keyring(cx: &mut Context<'_>, node: &Node, path: String) -> Option<Item> {
    let fields = Fields::of(cx, node, path, &KEYRING);
    let mut attribute = |name: &str| {
        let help = "name the item by both its attributes: keyring: { service: S, user: U }";
        let node = fields.need(cx, name, help)?;
        let text = cx.text(node, &fields.child(name))?;
        let fits = (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
        if !fits {
            let message = format!("`{}` cannot be {}", fields.child(name), quote(text));
            cx.problems.add(Code::Form, &node.span, message, "write 1 to 256 visible characters");
        }
        fits.then(|| text.to_owned())
    };
    let (service, user) = (attribute("service"), attribute("user"));
    Some(Item { service: service?, user: user? })
}
