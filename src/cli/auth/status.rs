//! `countersign auth status`.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Format, Place};
use crate::cli::Exit;
use crate::console::visible;
use crate::credential::oauth::{KnownAs, Record, Standing};

const SCHEMA: &str = "countersign.sign_ins/v1";

/// How one stands.
struct Stands {
    server: String,
    record: Option<Record>,
    /// Why somebody has to sign in, where that is so.
    needed: Option<String>,
}

pub fn status(places: &[Place], output: Format) -> anyhow::Result<Exit> {
    let all: Vec<Stands> = places.iter().map(stands).collect();
    match output {
        Format::Json => {
            let sign_ins: Vec<Value> = all.iter().map(object).collect();
            say!("{}", json!({"schema": SCHEMA, "sign_ins": sign_ins}));
        }
        Format::Table => {
            if all.is_empty() {
                say!("no server of the configuration is signed in to");
            }
            for one in &all {
                table(one);
            }
        }
    }
    Ok(if all.iter().any(|one| one.needed.is_some()) { Exit::AuthNeeded } else { Exit::Ok })
}

fn stands(place: &Place) -> Stands {
    let server = place.settings.server.clone();
    let needed = |why: &str| Some(why.to_owned());
    match place.store.read(&server) {
        Err(error) => Stands { server, record: None, needed: Some(error.to_string()) },
        Ok(None) => Stands { server, record: None, needed: needed("nobody has signed in") },
        Ok(Some(record)) => {
            let ended = record.expires_at().is_some_and(|end| end <= now()) && !record.can_be_renewed();
            let needed = match record.standing(&place.settings) {
                Standing::SignIn(why) => Some(why),
                Standing::Good if ended => needed("the token has ended, and there is none to renew it with"),
                Standing::Good => None,
            };
            Stands { server, record: Some(record), needed }
        }
    }
}

fn object(one: &Stands) -> Value {
    let record = one.record.as_ref();
    json!({
        "server": one.server,
        "state": if one.needed.is_some() { "sign_in_needed" } else { "signed_in" },
        "reason": one.needed,
        "issuer": record.map(|record| &record.issuer),
        "resource": record.map(|record| &record.resource),
        "client_id": record.and_then(Record::client_id),
        "client": record.map(|record| match record.known_as {
            KnownAs::Registered => "registered",
            KnownAs::Document => "document",
            KnownAs::Dynamic => "dynamic",
        }),
        "scopes": record.map(Record::scopes),
        "wanted_scopes": record.map(|record| &record.wanted),
        "signed_in_at": record.map(|record| time(record.signed_in_at)),
        "token_expires_at": record.and_then(Record::expires_at).map(time),
        "renewable": record.map(Record::can_be_renewed),
    })
}

fn table(one: &Stands) {
    let server = &one.server;
    match &one.needed {
        Some(why) => {
            say!("{server}  sign-in needed: {}", visible::line(why));
            say!("  countersign auth login {server}");
        }
        None => say!("{server}  signed in"),
    }
    let Some(record) = &one.record else { return };
    say!("  issuer    {}", visible::line(&record.issuer));
    say!("  resource  {}", visible::line(&record.resource));
    if let Some(client) = record.client_id() {
        say!("  client    {}", visible::line(client));
    }
    if !record.scopes().is_empty() {
        say!("  scopes    {}", visible::line(&record.scopes().join(" ")));
    }
    if !record.wanted.is_empty() {
        say!("  wanted    {} (countersign auth login {server})", visible::line(&record.wanted.join(" ")));
    }
    let renewed = if record.can_be_renewed() { "renewed by itself" } else { "not renewed" };
    match record.expires_at() {
        Some(end) => say!("  token     until {}, {renewed}", time(end)),
        None => say!("  token     without an end that was said, {renewed}"),
    }
}

fn now() -> u64 {
    u64::try_from(Timestamp::now().as_second()).unwrap_or_default()
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}
