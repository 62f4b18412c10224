//! How a client signs in at a server by itself, as far as its entry says so: countersign signs in there in its place.
//!
//! Invariant: what the client has kept of its own sign-ins is in files of its own, which nothing here reads or changes.

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::clients::{Client, Variables};
use super::entry::{Text, filled, fixed, is_set};
use super::tree::{Data, Member, Node};

/// What the operator says of servers without a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Auth {
    /// An operator signs in there
    Oauth,
    /// They ask for nothing
    None,
}

/// What an entry says about it.
#[derive(Clone, PartialEq, Eq)]
pub enum Said {
    /// Clients sign in where a server wants it, without a word of it in the entry.
    Nothing,
    Never,
    SignIn(Registered),
}

/// How the client is known at the authorization server; empty where it registers by itself.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Registered {
    pub client_id: Option<String>,
    pub client_secret: Option<Text>,
    pub scopes: Vec<String>,
    pub issuer: Option<String>,
    pub callback_port: Option<u16>,
}

/// Members that only say how the browser comes back to the client.
const ITS_OWN: &[&str] = &["redirectUri", "redirect_uri"];

pub fn read(client: Client, entry: &Node) -> anyhow::Result<Said> {
    if let Some(kind) = entry.get("authProviderType").filter(|kind| is_set(Some(kind)))
        && kind.text() != Some("dynamic_discovery")
    {
        bail!("it has an `authProviderType` that countersign cannot take over: write the server into countersign.yaml");
    }
    let mut said = Vec::new();
    for name in ["oauth", "auth"] {
        said.extend(entry.get(name).map(|node| member(client, name, node)).transpose()?);
    }
    said.retain(|said| *said != Said::Nothing);
    let mut said = match said.len() {
        0 if is_set(entry.get("authProviderType")) => Said::SignIn(Registered::default()),
        0 => Said::Nothing,
        1 => said.remove(0),
        _ => bail!("it has both `oauth` and `auth`: keep one of them"),
    };
    // Codex has them beside the address.
    if let (Client::Codex, Some(node)) = (client, entry.get("scopes")) {
        let scopes = scopes(node).context("`scopes`")?;
        match &mut said {
            Said::SignIn(registered) => registered.scopes = scopes,
            Said::Nothing => said = Said::SignIn(Registered { scopes, ..Registered::default() }),
            Said::Never => {}
        }
    }
    Ok(said)
}

fn member(client: Client, name: &str, node: &Node) -> anyhow::Result<Said> {
    match &node.data {
        Data::Text(text) if text == "oauth" => Ok(Said::SignIn(Registered::default())),
        Data::Other(text) if text == "true" => Ok(Said::SignIn(Registered::default())),
        Data::Other(text) if text == "false" => Ok(Said::Never),
        Data::Other(text) if text == "null" => Ok(Said::Nothing),
        Data::Map(members) => registered(client.variables(), name, members),
        Data::Text(_) | Data::Other(_) | Data::List(_) => bail!(
            "its `{name}` says how the client signs in, and countersign does not know that way: write the server into \
             countersign.yaml"
        ),
    }
}

fn registered(variables: Variables, of: &str, members: &[Member]) -> anyhow::Result<Said> {
    let (mut registered, mut never) = (Registered::default(), false);
    for Member { name, value } in members {
        let place = || format!("`{of}.{name}`");
        let text = || fixed(value.text().context("it is no text")?, variables, None).with_context(place);
        match name.as_str() {
            _ if !is_set(Some(value)) && name != "enabled" => {}
            "enabled" => never = !is_set(Some(value)),
            "clientId" | "client_id" | "CLIENT_ID" => registered.client_id = Some(text()?).filter(|id| !id.is_empty()),
            "clientSecret" | "client_secret" | "CLIENT_SECRET" => {
                let secret = filled(value.text().with_context(place)?, variables).with_context(place)?;
                registered.client_secret = Some(secret).filter(|secret| *secret != Text::Plain(String::new()));
            }
            "scope" | "scopes" => registered.scopes = scopes(value).with_context(place)?,
            "issuer" => registered.issuer = Some(text()?),
            "callbackPort" | "callback_port" => {
                let port = match &value.data {
                    Data::Text(port) | Data::Other(port) => port.parse().ok().filter(|port| *port >= 1024_u16),
                    Data::List(_) | Data::Map(_) => None,
                };
                registered.callback_port = Some(port.with_context(|| format!("{} is no port from 1024", place()))?);
            }
            own if ITS_OWN.contains(&own) => {}
            _ => bail!(
                "it has {}, which countersign cannot take over: it finds out by itself where a server is signed in to; \
                 take it out, or write the server into countersign.yaml with `auth: oauth`",
                place()
            ),
        }
    }
    if never {
        return Ok(Said::Never);
    }
    if registered.client_secret.is_some() && registered.client_id.is_none() {
        bail!("`{of}` has the secret of a client and not its id");
    }
    Ok(Said::SignIn(registered))
}

/// A list, or one text with spaces.
fn scopes(node: &Node) -> anyhow::Result<Vec<String>> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    match &node.data {
        Data::Text(text) => Ok(words(text)),
        Data::List(items) => {
            items.iter().map(|item| Ok(item.text().context("it has more than texts")?.to_owned())).collect()
        }
        Data::Other(_) | Data::Map(_) => bail!("it is no list of texts"),
    }
}
