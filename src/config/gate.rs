//! `servers.<name>.upstream.stdio.gate`: a child that reaches its vendor's API through countersign, and holds no key.
//!
//! Invariant: the key of a gate is in no variable of its child, else the child could do without the gate. Where its code
//! is trusted because all that it does is judged, it is in a sandbox that speaks to no other program.

use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::servers::{headers, plain_url, variable};
use super::yaml::{Data, Node};
use super::{Gate, Upstream, Value};
use crate::sandbox::{Network, Wishes};

const GATE: Keys =
    Keys { known: &["url", "headers", "url_env", "key_env", "trust_code", "allow_plain_http"], later: &[] };

/// `env` and `inherit` are what the child sees besides, `sandbox` is what it is in.
pub fn gate(
    cx: &mut Context<'_>,
    node: &Node,
    path: String,
    env: &[(String, Value)],
    inherit: &[String],
    sandbox: Option<&Wishes>,
) -> Option<Gate> {
    let fields = Fields::of(cx, node, path, &GATE);
    let help = "write the address of the API, without a path: url: https://api.example.com";
    let path = fields.child("url");
    let url = fields.need(cx, "url", help).and_then(|node| {
        let allow_plain = fields.yes(cx, "allow_plain_http");
        let url = plain_url(cx, node, &path, allow_plain)?;
        let rest = url.split_once("://").map_or("", |(_, rest)| rest);
        if rest.trim_end_matches('/').contains(['/', '?']) {
            cx.problems.add(Code::Form, &node.span, format!("`{path}` has a path or a query"), help);
            return None;
        }
        Some(url)
    });
    let help = "say in which header the key goes to the API: headers: { X-API-KEY: { secret: NAME } }";
    let headers = fields.need(cx, "headers", help).and_then(|node| {
        let headers = headers(cx, node, fields.child("headers"));
        key(cx, node, &fields, &headers, env)?;
        if let Some((name, _)) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("idempotency-key")) {
            let message = format!("the header {} is that of each request", quote(name));
            cx.problems.add(Code::Contradiction, &node.span, message, "take it out");
        }
        Some(headers)
    });
    let url_env = name(cx, &fields, "url_env", "the address of the API", env, inherit);
    let key_env = name(cx, &fields, "key_env", "the key", env, inherit);
    if let (Some(one), true) = (fields.get("key_env"), url_env.is_some() && url_env == key_env) {
        let message = format!("`{}` and `url_env` name one variable", fields.child("key_env"));
        cx.problems.add(Code::Repeated, &one.span, message, "name the two that the server reads");
    }
    let trust_code = fields.yes(cx, "trust_code");
    let other = env.iter().find(|(_, value)| matches!(value, Value::Secret { .. }));
    if let (true, Some((other, _)), Some(node)) = (trust_code, other, fields.get("trust_code")) {
        let message = format!("the child has a key in {}, so what its code does is not all judged", quote(other));
        cx.problems.add(Code::Contradiction, &node.span, message, "take that key out of `env`, or `trust_code` out");
    }
    let free = match sandbox {
        None => Some("`sandbox: off`: the child can take the key from where the daemon has it"),
        Some(wishes) if wishes.unix_sockets => Some("`unix_sockets`: other programs can do things for the child"),
        Some(_) => None,
    };
    if let (true, Some(why), Some(node)) = (trust_code, free, fields.get("trust_code")) {
        let message = format!("not all that the child's code does is judged with {why}");
        cx.problems.add(
            Code::Contradiction,
            &node.span,
            message,
            "take `trust_code` out, or leave the sandbox as it is",
        );
    }
    Some(Gate { url: url?, headers: headers?, url_env: url_env?, key_env: key_env?, trust_code })
}

/// What is wrong where the program of a child behind a gate has to fetch its server first and has no network for
/// that, and what to do.
pub fn cannot_fetch(upstream: &Upstream) -> Option<(String, &'static str)> {
    let Upstream::Stdio { command, args, sandbox: Some(wishes), gate: Some(_), .. } = upstream else { return None };
    if wishes.network != Network::Ports([].into()) {
        return None;
    }
    let program = std::path::Path::new(command).file_name()?.to_str()?;
    let help = match program {
        _ if fetches(command, args) => {
            "install the server and name its file in `args`, or open the network, and know that its code then reaches every \
             host by it: `sandbox: { network: [443] }`"
        }
        "docker" | "podman" => "a container has a network of its own: install the server and start it without one",
        _ => return None,
    };
    Some((format!("{program} has no network to fetch the server by: behind a `gate` there is none"), help))
}

/// Whether a program downloads what it runs.
pub fn fetches(command: &str, args: &[String]) -> bool {
    let program = std::path::Path::new(command).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    matches!(
        (program, args.first().map(String::as_str)),
        ("npx" | "pnpx" | "bunx" | "uvx" | "pipx", _)
            | ("pnpm" | "yarn", Some("dlx"))
            | ("npm", Some("exec" | "x"))
            | ("bun", Some("x"))
            | ("uv", Some("tool"))
    )
}

/// The one secret among the headers, which the child must not have.
fn key(
    cx: &mut Context<'_>,
    node: &Node,
    fields: &Fields<'_>,
    headers: &[(String, Value)],
    env: &[(String, Value)],
) -> Option<()> {
    let secret = |value: &Value| match value {
        Value::Secret { name, .. } => Some(name.clone()),
        Value::Plain(_) => None,
    };
    let keys: Vec<String> = headers.iter().filter_map(|(_, value)| secret(value)).collect();
    let [key] = keys.as_slice() else {
        let many = if keys.is_empty() { "no header" } else { "more than one header" };
        let message = format!("`{}` has {many} with a secret", fields.child("headers"));
        let help = "one header carries the key: headers: { X-API-KEY: { secret: NAME } }";
        // Where a header is wrong that is noted already.
        if matches!(&node.data, Data::Map(entries) if entries.len() == headers.len()) {
            cx.problems.add(Code::MissingKey, &node.span, message, help);
        }
        return None;
    };
    let held = env.iter().find(|(_, value)| secret(value).as_ref() == Some(key));
    if let Some((name, _)) = held {
        let message = format!("the child has the secret {} in {} and does not need the gate", quote(key), quote(name));
        let help = "take it out of `env`: the child gets a key of its own, which is good at the gate alone";
        cx.problems.add(Code::Contradiction, &node.span, message, help);
        return None;
    }
    Some(())
}

/// A variable that countersign writes for the child.
fn name(
    cx: &mut Context<'_>,
    fields: &Fields<'_>,
    key: &str,
    what: &str,
    env: &[(String, Value)],
    inherit: &[String],
) -> Option<String> {
    let help = format!("name the variable in which the server looks for {what}: {key}: NAME");
    let node = fields.need(cx, key, &help)?;
    let name = cx.text(node, &fields.child(key))?;
    if !variable(cx, &node.span, name) {
        return None;
    }
    if env.iter().any(|(other, _)| other == name) || inherit.iter().any(|other| other == name) {
        let message = format!("the variable {} is given twice", quote(name));
        let help = format!("countersign writes it: keep it in `{key}`, and out of `env` and `inherit_env`");
        cx.problems.add(Code::Repeated, &node.span, message, help);
        return None;
    }
    Some(name.to_owned())
}
