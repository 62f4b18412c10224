//! `countersign auth status`.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Format, Place};
use crate::cli::Exit;
use crate::console::visible;
use crate::control::client::Operator;
use crate::control::wire::{Notice, ServerView, SignInState, SignInView};
use crate::credential::oauth::{Alone, KnownAs, Proof, Record};

const SCHEMA: &str = "countersign.sign_ins/v1";
/// How long a daemon may take to say how it stands.
const ASK: Duration = Duration::from_secs(5);

/// How one stands.
struct Stands<'p> {
    place: &'p Place,
    record: Option<Record>,
    /// What the daemon says, where countersign signs in by itself and a daemon runs.
    told: Option<SignInView>,
    /// Why somebody has to sign in, where that is so.
    needed: Option<String>,
}

pub async fn status(places: &[Place], output: Format) -> anyhow::Result<Exit> {
    let mut all: Vec<Stands<'_>> = places.iter().map(stands).collect();
    if let Some(one) = places.iter().find(|place| place.settings.client.alone().is_some()) {
        let told = told(&one.operator_socket).await;
        for one in all.iter_mut().filter(|one| one.place.settings.client.alone().is_some()) {
            let mine = told.iter().find(|server| server.name == one.place.settings.server);
            one.told = mine.and_then(|server| server.sign_in.clone()).filter(|view| view.by_itself);
        }
    }
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
    let failed = |one: &Stands<'_>| one.told.as_ref().is_some_and(|told| told.state == SignInState::Failed);
    Ok(match (all.iter().any(|one| one.needed.is_some()), all.iter().any(failed)) {
        (true, _) => Exit::AuthNeeded,
        (false, true) => Exit::Problems,
        (false, false) => Exit::Ok,
    })
}

/// What the daemon says of its servers. Nothing where none answers.
async fn told(socket: &Path) -> Vec<ServerView> {
    match tokio::time::timeout(ASK, Operator::connect(socket, false, true)).await {
        Ok(Ok(operator)) => match operator.welcome() {
            Notice::Welcome { daemon, .. } => daemon.servers.clone(),
            _ => Vec::new(),
        },
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

fn stands(place: &Place) -> Stands<'_> {
    if place.settings.client.alone().is_some() {
        return Stands { place, record: None, told: None, needed: None };
    }
    match place.store.read(&place.settings.server) {
        Err(error) => Stands { place, record: None, told: None, needed: Some(error.to_string()) },
        Ok(None) => Stands { place, record: None, told: None, needed: Some("nobody has signed in".to_owned()) },
        Ok(Some(record)) => {
            let needed = record.needs_sign_in(&place.settings);
            Stands { place, record: Some(record), told: None, needed }
        }
    }
}

fn object(one: &Stands<'_>) -> Value {
    let record = one.record.as_ref();
    let alone = one.place.settings.client.alone();
    let told = one.told.as_ref();
    let state = match (&one.needed, alone, told.map(|told| told.state)) {
        (Some(_), _, _) => "sign_in_needed",
        (None, None, _) | (None, Some(_), Some(SignInState::SignedIn)) => "signed_in",
        (None, Some(_), Some(SignInState::Failed)) => "failed",
        (None, Some(_), _) => "by_itself",
    };
    let reason = one.needed.as_ref().or(told.and_then(|told| told.reason.as_ref()));
    let until = record.and_then(Record::expires_at).map(time).or(told.and_then(|told| told.until.clone()));
    let known_as = |record: &Record| match record.known_as {
        KnownAs::Registered => "registered",
        KnownAs::Document => "document",
        KnownAs::Dynamic => "dynamic",
    };
    json!({
        "server": one.place.settings.server,
        "state": state,
        "by_itself": alone.is_some(),
        "reason": reason,
        "issuer": record.map(|record| &record.issuer).or(alone.and(one.place.settings.issuer.as_ref())),
        "resource": record.map(|record| &record.resource),
        "idp": alone.and_then(|alone| if let Alone::IdJag { idp, .. } = alone { Some(&idp.issuer) } else { None }),
        "client_id": record.and_then(Record::client_id).or(alone.and_then(|alone| alone.id())),
        "client": record.map(known_as).or(alone.map(|alone| if alone.proof().is_none() { "workload" } else { "registered" })),
        "scopes": record.map(Record::scopes),
        "wanted_scopes": record.map(|record| &record.wanted),
        "signed_in_at": record.map(|record| time(record.signed_in_at)),
        "token_expires_at": until,
        "dpop": record.map(Record::is_bound),
        "renewable": record.map(Record::can_be_renewed).or(alone.map(|_| true)),
    })
}

fn table(one: &Stands<'_>) {
    let server = &one.place.settings.server;
    if let Some(alone) = one.place.settings.client.alone() {
        return by_itself(one, alone);
    }
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
    if record.is_bound() {
        say!("  dpop      the token counts for a key of this sign-in alone");
    }
    let renewed = if record.can_be_renewed() { "renewed by itself" } else { "not renewed" };
    match record.expires_at() {
        Some(end) => say!("  token     until {}, {renewed}", time(end)),
        None => say!("  token     without an end that was said, {renewed}"),
    }
}

/// Where nobody signs in. The token is in the daemon alone, which says how it stands.
fn by_itself(one: &Stands<'_>, alone: &Alone) {
    let (place, server) = (one.place, &one.place.settings.server);
    let proof = match alone.proof() {
        Some(Proof::Secret(_)) => "its secret",
        Some(Proof::Key { .. }) => "its private key",
        None => "an assertion",
    };
    let reason = |told: &SignInView| visible::line(told.reason.as_deref().unwrap_or_default());
    match &one.told {
        None => say!("{server}  countersign signs in by itself; no daemon runs that could say how that stands"),
        Some(told) => match told.state {
            SignInState::SignedIn => say!("{server}  signed in: countersign does it by itself"),
            SignInState::Failed => say!("{server}  countersign cannot sign in by itself: {}", reason(told)),
            SignInState::Begins | SignInState::Needed => {
                say!("{server}  countersign signs in by itself, and has not yet")
            }
        },
    }
    say!("  issuer    {}", visible::line(place.settings.issuer.as_deref().unwrap_or_default()));
    say!("  client    {}, with {proof}", visible::line(alone.id().unwrap_or("(without an id)")));
    if let Alone::IdJag { idp, .. } = alone {
        say!("  idp       {}, as {}", visible::line(&idp.issuer), visible::line(&idp.client_id));
    }
    if !place.settings.scopes.is_empty() {
        say!("  scopes    {}", visible::line(&place.settings.scopes.join(" ")));
    }
    if let Some(until) = one.told.as_ref().and_then(|told| told.until.as_ref()) {
        say!("  token     until {}, renewed by itself", visible::line(until));
    }
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map(|time| time.to_string()).unwrap_or_default()
}
