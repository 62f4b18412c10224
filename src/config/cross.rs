//! What can only be said about the whole: names that refer to each other, keys in the wrong hands, paths that lie in
//! each other, and files that others could change.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::auth::Subject;
use super::fields::Context;
use super::problem::{Code, quote};
use super::yaml::{Data, Node};
use super::{Config, KeySource, Match, NotifyTo, SecretSource, Upstream, sandbox};
use crate::credential::{shape, trust};

/// The keys of a section, before anything in it is judged.
pub fn names(root: &Node, section: &str) -> BTreeMap<String, Range<usize>> {
    let Some(Data::Map(entries)) = child(root, section).map(|node| &node.data) else { return BTreeMap::new() };
    entries.iter().map(|(key, _)| (key.text.clone(), key.span.clone())).collect()
}

/// Text that looks like a key stands nowhere in the file, whatever it is the value of.
pub fn plain_keys(cx: &mut Context<'_>, node: &Node) {
    match &node.data {
        Data::List(items) => items.iter().for_each(|item| plain_keys(cx, item)),
        Data::Map(entries) => {
            for (key, value) in entries {
                plain_text(cx, &key.span, &key.text);
                plain_keys(cx, value);
            }
        }
        Data::Scalar { text, .. } => plain_text(cx, &node.span, text),
    }
}

fn plain_text(cx: &mut Context<'_>, span: &Range<usize>, text: &str) {
    if !cx.problems.are_enough() && shape::key_like(text).is_some() {
        let help = "put the key into a variable or a private file, name that in `secrets:`, and write { secret: NAME } here; \
                    a key that was shared with this file should be replaced";
        cx.problems.add(
            Code::PlainKey,
            span,
            "this looks like a key, and keys do not stand in the configuration",
            help,
        );
    }
}

/// What must hold between the sections of a file without other problems.
pub fn check(cx: &mut Context<'_>, root: &Node, config: &Config) {
    same_sources(cx, config);
    tokens_are_no_keys(cx, root, config);
    issuers(cx, root, config);
    assertions(cx, config);
    identity_providers(cx, root, config);
    aliases(cx, root, config);
    sandbox::aliases(cx, root, config);
}

fn same_sources(cx: &mut Context<'_>, config: &Config) {
    for (index, (name, source)) in config.secrets.iter().enumerate() {
        let Some((first, _)) = config.secrets.iter().take(index).find(|(_, other)| *other == source) else { continue };
        let (Some(here), Some(there)) = (cx.secrets.get(name).cloned(), cx.secrets.get(first).cloned()) else {
            continue;
        };
        let (here, there) = if here.start > there.start { (here, there) } else { (there, here) };
        let message = format!("the secrets `{first}` and `{name}` are the same");
        cx.problems.add(Code::Repeated, &here, message, "keep one of them and use its name in both places");
        cx.problems.with(&there, "also here");
    }
}

/// An agent holds its token: were it a key as well, the agent would hold that.
fn tokens_are_no_keys(cx: &mut Context<'_>, root: &Node, config: &Config) {
    for (index, entry) in config.principals.iter().enumerate() {
        let Match::Token(token) = &entry.by else { continue };
        let Some(what) = also(config, token) else { continue };
        let span = item(root, "principals", index).and_then(|node| child(node, "match")).map(|node| node.span.clone());
        let message = format!("the token of {} is also {what}", quote(&entry.principal.name));
        let help = "make a token of its own for the principal";
        cx.problems.add(Code::Contradiction, &span.unwrap_or_default(), message, help);
    }
}

/// What a token is beside a token.
fn also(config: &Config, token: &str) -> Option<String> {
    let mut servers = config.servers.iter();
    if let Some((server, _)) = servers.find(|(_, server)| server.upstream.secrets().any(|name| name == token)) {
        return Some(format!("the key of server `{server}`: its holder could go there without countersign"));
    }
    if config.oauth_key.as_deref() == Some(token) {
        return Some("`oauth.key`: its holder could open the sign-ins".to_owned());
    }
    let signs = |to: &NotifyTo| matches!(to, NotifyTo::Webhook { secret, .. } if secret == token);
    let index = config.notify.iter().position(|entry| signs(&entry.to))?;
    Some(format!("the secret of `notify[{index}]`: its holder could sign notices as countersign"))
}

/// An issuer that nobody uses is a mistake; tokens come in over HTTP, for an address that clients know.
fn issuers(cx: &mut Context<'_>, root: &Node, config: &Config) {
    for (name, issuer) in &config.issuers {
        let Some(span) = cx.issuers.get(name).cloned() else { continue };
        let mine = |entry: &&super::PrincipalEntry| matches!(&entry.by, Match::Jwt { issuer, .. } if issuer == name);
        if !config.principals.iter().any(|entry| mine(&entry)) {
            let help = format!("write one: {{ name: staff, match: {{ jwt: {{ issuer: {name} }} }}, scopes: [...] }}");
            cx.problems.add(Code::MissingKey, &span, format!("no principal is matched by tokens of `{name}`"), help);
        }
        for entry in config.principals.iter().filter(mine) {
            let Some(both) = issuer.claims.iter().find(|claim| entry.principal.claims.contains_key(*claim)) else {
                continue;
            };
            let message = format!(
                "the claim {} is taken from tokens of `{name}`, and {} says it itself",
                quote(both),
                quote(&entry.principal.name)
            );
            cx.problems.add(Code::Contradiction, &span, message, "keep one of the two");
        }
    }
    let Some(span) = child(root, "issuers").map(|node| node.span.clone()).filter(|_| !config.issuers.is_empty()) else {
        return;
    };
    match &config.http {
        None => {
            let help = "listen for them: listen: { http: 127.0.0.1:8377 }";
            cx.problems.add(
                Code::MissingKey,
                &span,
                "tokens of issuers come in over HTTP, and there is no `listen`",
                help,
            );
        }
        Some(listen) if listen.behind_proxy && listen.public_url.is_none() => {
            let help = "write how clients reach it: public_url: https://countersign.example";
            let message = "`listen.http` has no `public_url`, which tokens of issuers are for";
            cx.problems.add(Code::MissingKey, &span, message, help);
        }
        Some(_) => {}
    }
}

/// An assertion or ID token ends soon, and what is read once would end with it.
fn assertions(cx: &mut Context<'_>, config: &Config) {
    for (server, _, oauth) in config.sign_ins() {
        let Some((name, what)) = oauth.short_lived() else { continue };
        let is_file = matches!(config.secrets.get(name), Some(SecretSource::File(_)) | None);
        if let Some(span) = cx.secrets.get(name).cloned().filter(|_| !is_file) {
            let message = format!("the secret `{name}` is the {what} of server `{server}`, and no `file`");
            let help = "write { file: PATH }: a file is read again when it changes, as these do before they end";
            cx.problems.add(Code::Contradiction, &span, message, help);
        }
    }
}

/// The authorization server and the identity provider are two, and what one of them is shown is no business of the other.
fn identity_providers(cx: &mut Context<'_>, root: &Node, config: &Config) {
    for (server, _, oauth) in config.sign_ins() {
        let Some(idp) = &oauth.idp else { continue };
        let at = ["servers", server, "upstream", "http", "auth", "oauth", "idp"];
        let node = at.iter().try_fold(root, |node, key| child(node, key));
        let span = |name: &str| {
            let own = node.and_then(|node| child(node, name)).or(node);
            own.map(|node| node.span.clone()).unwrap_or_default()
        };
        if oauth.issuer.as_ref() == Some(&idp.issuer) {
            let message = "the identity provider is the authorization server itself, and an ID-JAG is for another one";
            let help = "write the issuer that the organisation's people sign in at";
            cx.problems.add(Code::Contradiction, &span("issuer"), message, help);
        }
        let (word, Subject::IdToken(token) | Subject::RefreshToken(token)) = match &idp.subject {
            subject @ Subject::IdToken(_) => ("id_token", subject),
            subject @ Subject::RefreshToken(_) => ("refresh_token", subject),
        };
        let at_server = [oauth.client_secret.as_deref(), oauth.private_key.as_deref()];
        let at_idp = [idp.client_secret.as_deref(), idp.private_key.as_deref()];
        // A private key stays here, whoever is shown what it signs; all else is shown as it is.
        let also = |name: &str, others: &[Option<&str>]| others.contains(&Some(name));
        let secret = idp.client_secret.as_deref();
        let shown = [
            (word, also(token, &at_server) || also(token, &at_idp)),
            ("client_secret", secret.is_some_and(|name| also(name, &at_server))),
            ("private_key", idp.private_key.is_some() && idp.private_key == oauth.client_secret),
        ];
        for (name, _) in shown.iter().filter(|(_, shared)| *shared) {
            let message =
                format!("the secret of `{name}` is also shown elsewhere, or has another part in this sign-in");
            let help = "name a secret of its own: whoever is shown one could go to the other with it";
            cx.problems.add(Code::Contradiction, &span(name), message, help);
        }
    }
}

/// Files that rules are read from, files that are written, and files that hold keys stay apart.
fn aliases(cx: &mut Context<'_>, root: &Node, config: &Config) {
    let own = [("state_dir", &config.state_dir), ("runtime_dir", &config.runtime_dir)];
    for (path, span) in policies(root, config) {
        for (name, folder) in own {
            if path.starts_with(folder) || folder.starts_with(&path) {
                let message = format!("policies and `{name}` lie in each other: `{}`", folder.display());
                cx.problems.add(Code::Alias, &span, message, "keep policies in a folder of their own");
            }
        }
        for (name, source) in &config.secrets {
            if matches!(source, SecretSource::File(file) if file.starts_with(&path)) {
                let message =
                    format!("the secret `{name}` lies in a folder of policies, whose files are loaded as data");
                cx.problems.add(Code::Alias, &span, message, "move the key to another folder");
            }
        }
    }
    for (path, span) in catalogs(root, config) {
        if let Some((name, _)) = own.iter().find(|(_, folder)| path.starts_with(folder)) {
            let message = format!("a catalog cannot lie in `{name}`");
            cx.problems.add(Code::Alias, &span, message, "keep it beside the configuration");
        }
    }
}

/// Whatever the daemon reads rules from, or starts programs in, must be the operator's alone to change.
pub fn trusted(cx: &mut Context<'_>, root: &Node, config: &Config) {
    sandbox::there(cx, root, config);
    let folders = config.servers.iter().filter_map(|(name, server)| match &server.upstream {
        Upstream::Stdio { cwd: Some(cwd), .. } => {
            let node =
                ["servers", name, "upstream", "stdio", "cwd"].iter().try_fold(root, |node, key| child(node, key));
            Some((cwd.clone(), node.map(|node| node.span.clone()).unwrap_or_default()))
        }
        Upstream::Stdio { cwd: None, .. } | Upstream::Http { .. } => None,
    });
    let signers = config.operators.allowed_signers.iter().map(|path| {
        let node = child(root, "operators").and_then(|node| child(node, "allowed_signers"));
        (path.clone(), node.map(|node| node.span.clone()).unwrap_or_default())
    });
    let keys = config.issuers.iter().filter_map(|(name, issuer)| {
        let KeySource::File(path) = &issuer.keys else { return None };
        let node = ["issuers", name, "jwks", "file"].iter().try_fold(root, |node, key| child(node, key));
        Some((path.clone(), node.map(|node| node.span.clone()).unwrap_or_default()))
    });
    let whole = policies(root, config).into_iter().chain(catalogs(root, config)).chain(signers).chain(keys);
    let whole = whole.map(|place| (place, true));
    let places: Vec<((PathBuf, Range<usize>), bool)> = whole.chain(folders.map(|place| (place, false))).collect();
    for ((path, span), whole) in places {
        let checked = if whole { trust::check_tree(&path) } else { folder(&path) };
        if let Err(error) = checked {
            let list = config.operators.allowed_signers.as_deref() == Some(path.as_path());
            let help = match error {
                trust::TrustError::Missing(_) if list => NO_LIST.to_owned(),
                _ => error.help(),
            };
            cx.problems.add(Code::Untrusted, &span, error.to_string(), help);
        }
    }
}

/// What makes the list of operators, for as long as this configuration cannot be read.
const NO_LIST: &str = "make it: countersign operator enroll NAME --key KEY.pub --allowed-signers FILE";

fn folder(path: &Path) -> Result<(), trust::TrustError> {
    let resolved = trust::check(path)?;
    if resolved.is_dir() { Ok(()) } else { Err(trust::TrustError::NotAFolder(resolved)) }
}

fn policies(root: &Node, config: &Config) -> Vec<(PathBuf, Range<usize>)> {
    let node = child(root, "policy").and_then(|node| child(node, "paths"));
    config.policy.paths.iter().cloned().zip(spans(node)).collect()
}

fn catalogs(root: &Node, config: &Config) -> Vec<(PathBuf, Range<usize>)> {
    let of = |(name, server): (&String, &super::Server)| {
        let node = ["servers", name, "catalog"].iter().try_fold(root, |node, key| child(node, key));
        server.catalogs.iter().cloned().zip(spans(node)).collect::<Vec<_>>()
    };
    config.servers.iter().flat_map(of).collect()
}

fn spans(list: Option<&Node>) -> Vec<Range<usize>> {
    let Some(Data::List(items)) = list.map(|node| &node.data) else { return Vec::new() };
    items.iter().map(|node| node.span.clone()).collect()
}

pub fn child<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Data::Map(entries) = &node.data else { return None };
    entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
}

fn item<'n>(root: &'n Node, list: &str, index: usize) -> Option<&'n Node> {
    let Data::List(items) = &child(root, list)?.data else { return None };
    items.get(index)
}
