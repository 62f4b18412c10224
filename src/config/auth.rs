//! How an HTTP server is signed in to: `servers.<name>.upstream.http.auth`, and the key that sign-ins are kept under.

use super::fields::{Context, Fields, Keys};
use super::problem::{Code, quote};
use super::servers;
use super::yaml::{Data, Node};
use crate::credential::oauth::Dpop;

/// How a server is signed in to. Without a word of it Countersign finds everything out by itself.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OAuth {
    pub grant: Grant,
    /// Countersign's name at the authorization server, where it is registered already.
    pub client_id: Option<String>,
    /// Name of the secret that goes with it.
    pub client_secret: Option<String>,
    /// Name of the secret that holds the private key which signs for the client, and the key's own name there.
    pub private_key: Option<String>,
    pub key_id: Option<String>,
    /// Name of the secret, a file, that holds the assertion.
    pub assertion: Option<String>,
    /// Who gives the assertion.
    pub idp: Option<Idp>,
    /// The address of a client-id metadata document.
    pub client_metadata_url: Option<String>,
    /// Exactly these are asked for.
    pub scopes: Vec<String>,
    /// The one authorization server that is accepted.
    pub issuer: Option<String>,
    /// Whether tokens are to count for a key of ours alone.
    pub dpop: Dpop,
    /// The port on this machine that the browser comes back to; any that is free where it is absent.
    pub callback_port: Option<u16>,
}

/// Who signs in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Grant {
    /// An operator, in a browser.
    #[default]
    Person,
    /// Countersign itself, as a client that is registered there.
    Client,
    /// Countersign itself, with an assertion that somebody else makes for it.
    Assertion,
    /// Countersign itself, with an assertion that the organisation's identity provider gives for a person.
    IdJag,
}

/// The organisation's identity provider, and what it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idp {
    pub issuer: String,
    /// Countersign's name there.
    pub client_id: String,
    /// Names of secrets, as those of [`OAuth`]. A public client has neither.
    pub client_secret: Option<String>,
    pub private_key: Option<String>,
    pub key_id: Option<String>,
    pub subject: Subject,
}

/// The person's token, by the name of its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// In a file.
    IdToken(String),
    RefreshToken(String),
}

impl OAuth {
    /// The names of the secrets that it takes.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let at_idp = self.idp.iter().flat_map(|idp| {
            let (Subject::IdToken(token) | Subject::RefreshToken(token)) = &idp.subject;
            [idp.client_secret.as_deref(), idp.private_key.as_deref(), Some(token)]
        });
        let own = [&self.client_secret, &self.private_key, &self.assertion].into_iter().map(Option::as_deref);
        own.chain(at_idp).flatten()
    }

    /// Of these, the private keys that sign for the client.
    pub fn private_keys(&self) -> impl Iterator<Item = &str> {
        let at_idp = self.idp.iter().filter_map(|idp| idp.private_key.as_deref());
        self.private_key.as_deref().into_iter().chain(at_idp)
    }

    /// Of these, what ends soon and is made anew by somebody else, with the word for it.
    pub fn short_lived(&self) -> Option<(&str, &'static str)> {
        match self.idp.as_ref().map(|idp| &idp.subject) {
            Some(Subject::IdToken(name)) => Some((name, "ID token")),
            Some(Subject::RefreshToken(_)) | None => self.assertion.as_deref().map(|name| (name, "assertion")),
        }
    }
}

/// Scopes of one server, and the length of one.
const MAX_SCOPES: usize = 50;
const MAX_SCOPE: usize = 200;

const AUTH: Keys = Keys { known: &["oauth"], later: &[] };
const OAUTH: Keys = Keys {
    known: &[
        "grant",
        "client_id",
        "client_secret",
        "private_key",
        "key_id",
        "assertion",
        "idp",
        "client_metadata_url",
        "scopes",
        "issuer",
        "callback_port",
        "dpop",
    ],
    later: &[],
};
const IDP: Keys = Keys {
    known: &["issuer", "client_id", "client_secret", "private_key", "key_id", "id_token", "refresh_token"],
    later: &[],
};
const GRANTS: [(&str, Grant); 4] = [
    ("authorization_code", Grant::Person),
    ("client_credentials", Grant::Client),
    ("jwt_bearer", Grant::Assertion),
    ("id_jag", Grant::IdJag),
];
const DPOP: [(&str, Dpop); 3] = [("off", Dpop::Off), ("auto", Dpop::Auto), ("required", Dpop::Required)];
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
    let grant = fields.choice(cx, "grant", &GRANTS).unwrap_or_default();
    fits(cx, &fields, grant);
    let client_id = fields.text(cx, "client_id").map(str::to_owned);
    let client_secret = fields.get("client_secret").and_then(|node| secret(cx, node, fields.child("client_secret")));
    let private_key = fields.get("private_key").and_then(|node| secret(cx, node, fields.child("private_key")));
    let assertion = fields.get("assertion").and_then(|node| secret(cx, node, fields.child("assertion")));
    let idp = fields.get("idp").and_then(|node| idp(cx, node, fields.child("idp")));
    let key_id = fields.text(cx, "key_id").map(str::to_owned);
    let document = fields.get("client_metadata_url").and_then(|node| document(cx, node, &fields));
    let scopes = scopes(cx, &fields);
    let issuer = fields.get("issuer").and_then(|node| servers::url(cx, node, &fields.child("issuer")));
    let port = fields.number(cx, "callback_port", 1024..=65535, 0);
    if let Some(node) =
        fields.get("client_secret").filter(|_| grant == Grant::Person && fields.get("client_id").is_none())
    {
        let help =
            "write the client_id that it belongs to, or take it out: a client that registers by itself needs none";
        cx.problems.add(Code::Contradiction, &node.span, "a `client_secret` without a `client_id`", help);
    }
    let two_names = grant == Grant::Person && fields.get("client_id").is_some();
    if let Some(node) = fields.get("client_metadata_url").filter(|_| two_names) {
        let help = "keep `client_id` for a client that is registered there, or `client_metadata_url`";
        cx.problems.add(Code::Contradiction, &node.span, "this is a second name for the same client", help);
    }
    names(cx, &fields);
    let callback_port = u16::try_from(port).ok().filter(|port| *port != 0);
    Some(OAuth {
        grant,
        client_id,
        client_secret,
        private_key,
        key_id,
        assertion,
        idp,
        client_metadata_url: document,
        scopes,
        issuer,
        dpop: fields.choice(cx, "dpop", &DPOP).unwrap_or_default(),
        callback_port,
    })
}

/// What a client and its key are called at an authorization server.
fn names(cx: &mut Context<'_>, fields: &Fields<'_>) {
    for (key, what) in [("client_id", "a client id"), ("key_id", "the name of a key")] {
        if let Some(node) = fields.get(key)
            && let Some(text) = fields.text(cx, key)
            && (text.is_empty() || text.len() > 1000 || text.chars().any(char::is_control))
        {
            let help = "write it as the authorization server has it";
            cx.problems.add(Code::Form, &node.span, format!("this cannot be {what}"), help);
        }
    }
}

fn idp(cx: &mut Context<'_>, node: &Node, path: String) -> Option<Idp> {
    let fields = Fields::of(cx, node, path, &IDP);
    let help = "name the identity provider: issuer: https://...";
    let issuer = fields.need(cx, "issuer", help).and_then(|node| servers::url(cx, node, &fields.child("issuer")));
    fields.need(cx, "client_id", "write the id that the client has at the identity provider: client_id: ID");
    let client_id = fields.text(cx, "client_id").map(str::to_owned);
    let mut of = |name: &str| fields.get(name).and_then(|node| secret(cx, node, fields.child(name)));
    let (client_secret, private_key) = (of("client_secret"), of("private_key"));
    let (id_token, refresh_token) = (of("id_token"), of("refresh_token"));
    names(cx, &fields);
    let help = "keep one of `client_secret` and `private_key`, as the identity provider has it";
    if fields.get("client_secret").is_some() && fields.get("private_key").is_some() {
        fields.one_of(cx, &["client_secret", "private_key"], help);
    }
    key_of_id(cx, &fields);
    let help = "write one of `id_token: { secret: NAME }` and `refresh_token: { secret: NAME }`: the token of the person \
                that the calls are made for";
    if fields.one_of(cx, &["id_token", "refresh_token"], help).is_none() && !fields.entries().is_empty() {
        let message = format!("`{}` does not say for whom it is asked", fields.path);
        cx.problems.add(Code::MissingKey, &fields.span, message, help);
    }
    let subject = id_token.map(Subject::IdToken).or(refresh_token.map(Subject::RefreshToken))?;
    let key_id = fields.text(cx, "key_id").map(str::to_owned);
    Some(Idp { issuer: issuer?, client_id: client_id?, client_secret, private_key, key_id, subject })
}

fn key_of_id(cx: &mut Context<'_>, fields: &Fields<'_>) {
    if let Some(node) = fields.get("key_id").filter(|_| fields.get("private_key").is_none()) {
        let message = "a `key_id` without a `private_key`";
        cx.problems.add(Code::Contradiction, &node.span, message, "write the key that it names, or take it out");
    }
}

/// What has to be there for a grant, and what says nothing for it.
fn fits(cx: &mut Context<'_>, fields: &Fields<'_>, grant: Grant) {
    let (idle, help): (&[&str], _) = match grant {
        Grant::Person => (
            &["private_key", "key_id", "assertion", "idp"],
            "write the `grant` that it belongs to where nobody signs in (client_credentials, jwt_bearer, id_jag), or take it out",
        ),
        Grant::Client => (
            &["client_metadata_url", "callback_port", "assertion", "idp"],
            "take it out: the client shows who it is by `client_secret` or `private_key`, and nobody opens a page",
        ),
        Grant::Assertion => (
            &["client_metadata_url", "callback_port", "client_secret", "private_key", "key_id", "idp"],
            "take it out: the assertion shows who asks, and nobody opens a page",
        ),
        Grant::IdJag => (
            &["client_metadata_url", "callback_port", "assertion"],
            "take it out: the identity provider (`idp`) gives the assertion, and nobody opens a page",
        ),
    };
    for name in idle {
        if let Some(node) = fields.get(name) {
            let word = GRANTS.iter().find(|(_, known)| *known == grant).map_or("", |(word, _)| *word);
            let message = format!("`{name}` says nothing for `grant: {word}`");
            cx.problems.add(Code::Contradiction, &node.span, message, help);
        }
    }
    if grant == Grant::Person {
        return;
    }
    // Nobody looks at a page, and nothing is remembered: without it the server could have the proof shown to anybody.
    fields.need(cx, "issuer", "name the one authorization server that is shown who asks: issuer: https://...");
    if grant == Grant::Assertion {
        fields.need(cx, "assertion", "name the secret that holds it: assertion: { secret: NAME }");
        return;
    }
    fields.need(cx, "client_id", "write the id that the client has at the authorization server: client_id: ID");
    let proofs = ["client_secret", "private_key"];
    let help = "write one of `client_secret: { secret: NAME }` and `private_key: { secret: NAME }`";
    if fields.one_of(cx, &proofs, help).is_none() && !fields.entries().is_empty() {
        let message = format!("`{}` does not say how the client shows who it is", fields.path);
        cx.problems.add(Code::MissingKey, &fields.span, message, help);
    }
    key_of_id(cx, fields);
    if grant == Grant::IdJag {
        let help = "write the organisation's identity provider: idp: { issuer: https://..., client_id: ID, id_token: { secret: NAME } }";
        fields.need(cx, "idp", help);
    }
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
