//! How an HTTP server is signed in to: `servers.<name>.upstream.http.auth`, and the key that sign-ins are kept under.

use super::OAuth;
use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::servers;
use super::yaml::{Data, Node};

/// Scopes of one server, and the length of one.
const MAX_SCOPES: usize = 50;
const MAX_SCOPE: usize = 200;

const AUTH: Keys = Keys { known: &["oauth"], later: &[] };
const OAUTH: Keys = Keys {
    known: &["client_id", "client_secret", "client_metadata_url", "scopes", "issuer", "callback_port"],
    later: &[],
};
const STORE: Keys = Keys { known: &["key"], later: &[] };
const SECRET: Keys = Keys { known: &["secret"], later: &[] };

/// `oauth`, or `{ oauth: { ... } }`.
pub fn auth(cx: &mut Context<'_>, node: &Node, path: String) -> Option<OAuth> {
    if let Data::Scalar { text, .. } = &node.data {
        if text == "oauth" {
            return Some(OAuth::default());
        }
        cx.no_choice(node, &path, text, ["oauth"].into_iter());
        return None;
    }
    let fields = Fields::of(cx, node, path, &AUTH);
    let (_, node) = fields.one_of(cx, AUTH.known, "write auth: oauth, or auth: { oauth: { ... } }")?;
    oauth(cx, node, fields.child("oauth"))
}

fn oauth(cx: &mut Context<'_>, node: &Node, path: String) -> Option<OAuth> {
    let fields = Fields::of(cx, node, path, &OAUTH);
    let client_id = fields.text(cx, "client_id").map(str::to_owned);
    let client_secret = fields.get("client_secret").and_then(|node| secret(cx, node, fields.child("client_secret")));
    let document = fields.get("client_metadata_url").and_then(|node| document(cx, node, &fields));
    let scopes = scopes(cx, &fields);
    let issuer = fields.get("issuer").and_then(|node| servers::url(cx, node, &fields.child("issuer")));
    let port = fields.number(cx, "callback_port", 1024..=65535, 0);
    if let Some(node) = fields.get("client_secret").filter(|_| fields.get("client_id").is_none()) {
        let help =
            "write the client_id that it belongs to, or take it out: a client that registers by itself needs none";
        cx.problems.add(Code::Contradiction, &node.span, "a `client_secret` without a `client_id`", help);
    }
    if let Some(node) = fields.get("client_metadata_url").filter(|_| fields.get("client_id").is_some()) {
        let help = "keep `client_id` for a client that is registered there, or `client_metadata_url`";
        cx.problems.add(Code::Contradiction, &node.span, "this is a second name for the same client", help);
    }
    if let Some((node, text)) = fields.get("client_id").zip(client_id.as_ref())
        && (text.is_empty() || text.len() > 1000 || text.chars().any(char::is_control))
    {
        cx.problems.add(
            Code::Form,
            &node.span,
            "this cannot be a client id",
            "write it as the authorization server gave it",
        );
    }
    let callback_port = u16::try_from(port).ok().filter(|port| *port != 0);
    Some(OAuth { client_id, client_secret, client_metadata_url: document, scopes, issuer, callback_port })
}

pub(super) fn secret(cx: &mut Context<'_>, node: &Node, path: String) -> Option<String> {
    if let Data::Scalar { .. } = node.data {
        let help = "name a secret: { secret: NAME }";
        cx.problems.add(Code::PlainKey, &node.span, format!("`{path}` stands in the file"), help);
        return None;
    }
    let fields = Fields::of(cx, node, path, &SECRET);
    let name = fields.need(cx, "secret", "name the secret: { secret: NAME }")?;
    cx.secret(name, &fields.child("secret"))
}

/// A client-id metadata document is at an https address with a path.
fn document(cx: &mut Context<'_>, node: &Node, fields: &Fields<'_>) -> Option<String> {
    let address = servers::url(cx, node, &fields.child("client_metadata_url"))?;
    let uri: http::Uri = address.parse().ok()?;
    if uri.scheme_str() != Some("https") || uri.path() == "/" {
        let help = "it is the address of the document that describes the client: https://HOST/PATH";
        cx.problems.add(Code::Form, &node.span, "this cannot be the address of a client's metadata", help);
        return None;
    }
    Some(address)
}

fn scopes(cx: &mut Context<'_>, fields: &Fields<'_>) -> Vec<String> {
    let mut scopes: Vec<String> = Vec::new();
    for (node, text) in fields.texts(cx, "scopes") {
        let fits = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if text.is_empty() || text.len() > MAX_SCOPE || !text.bytes().all(fits) {
            let message = format!("{} cannot be a scope of OAuth", quote(text));
            cx.problems.add(
                Code::Form,
                &node.span,
                message,
                "one scope is one item, without spaces: scopes: [read, write]",
            );
        } else if scopes.iter().any(|known| known == text) {
            cx.problems.add(
                Code::Repeated,
                &node.span,
                format!("the scope {} stands here twice", quote(text)),
                "keep one",
            );
        } else if scopes.len() >= MAX_SCOPES {
            let message = format!("there are more than {MAX_SCOPES} scopes");
            cx.problems.add(Code::TooMuch, &node.span, message, "ask for those that are needed");
            break;
        } else {
            scopes.push(text.to_owned());
        }
    }
    scopes
}

/// `oauth: { key: { secret: NAME } }`: what sign-ins are sealed with on the disk.
pub fn store(cx: &mut Context<'_>, node: Option<&Node>) -> Option<String> {
    let fields = Fields::of(cx, node?, "oauth", &STORE);
    let help = "name the secret that sign-ins are sealed with: oauth: { key: { secret: NAME } }";
    let node = fields.need(cx, "key", help)?;
    secret(cx, node, fields.child("key"))
}
