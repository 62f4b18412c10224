//! `servers.<name>.upstream.http.query`: keys that a server takes as parameters of its address.
//!
//! Invariant: a key never stands in `url`, which is shown wherever the server is; it joins a request when that is sent.

use super::Value;
use super::auth;
use super::fields::{Context, Fields};
use super::problem::{Code, quote};
use super::servers::names_a_key;
use super::yaml::Node;

const MAX: usize = 20;

/// Parameters with the secrets that they carry. `url` is the address that they are added to.
pub fn query(cx: &mut Context<'_>, node: Option<&Node>, path: String, url: &str) -> Vec<(String, Value)> {
    let Some(node) = node else { return Vec::new() };
    let fields = Fields::any(cx, node, path);
    if fields.entries().len() > MAX {
        let message = format!("there are more than {MAX} parameters");
        cx.problems.add(Code::TooMuch, &node.span, message, "keep those that are keys; others stand in `url`");
        return Vec::new();
    }
    let mut query = Vec::new();
    for (key, node) in fields.entries() {
        let name = &key.text;
        if !is_name(name) {
            let message = format!("{} cannot be the name of a parameter", quote(name));
            cx.problems.add(Code::Form, &key.span, message, "write letters, digits, `-`, `.`, `_` and `~`");
        } else if parameters(url).any(|(there, _)| there == name) {
            let message = format!("the parameter {} stands in `url` as well", quote(name));
            cx.problems.add(Code::Repeated, &key.span, message, "take it out of `url`");
        } else if let Some(name) = auth::secret(cx, node, fields.child(name)) {
            query.push((key.text.clone(), Value::Secret { name, prefix: String::new() }));
        }
    }
    query
}

/// Notes a parameter of an address that says by its name that it is a key.
pub fn no_key(cx: &mut Context<'_>, node: &Node, path: &str, url: &str) {
    if let Some((name, _)) = parameters(url).find(|(name, value)| !value.is_empty() && names_a_key(name)) {
        let message = format!("`{path}` carries a key, the parameter {}", quote(name));
        let help =
            format!("take it out of the address, and write beside `url`: query: {{ {name}: {{ secret: NAME }} }}");
        cx.problems.add(Code::PlainKey, &node.span, message, help);
    }
}

/// Of an address, as they are spelled.
pub fn parameters(url: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// What no reader of an address takes for anything else.
fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}
