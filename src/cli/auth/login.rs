//! `countersign auth login`: the page, the wait for the answer, the tokens.

#![allow(clippy::print_stderr)]

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::{Place, browser};
use crate::cli::Exit;
use crate::console::visible;
use crate::credential::oauth::{Answer, Begun, Fault, Login, NoAnswer, Record};
use crate::transport::callback::Callback;

/// How long somebody may take to sign in.
const TIME: Duration = Duration::from_secs(600);
/// Longest line that is read from stdin.
const LINE: u64 = 16 << 10;

/// How the answer comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Browser { open: bool },
    Paste,
}

pub async fn login(place: &Place, way: Way) -> anyhow::Result<Exit> {
    let server = &place.settings.server;
    let callback =
        Callback::bind(place.oauth.callback_port).await.with_context(|| match place.oauth.callback_port {
            Some(port) => format!("the port {port} (callback_port) cannot be listened on"),
            None => "no port of this machine can be listened on".to_owned(),
        })?;
    let redirect = callback.redirect_uri();
    let begun = match Login::begin(&place.settings, Arc::clone(&place.store), &place.http()?, &redirect).await {
        Ok(begun) => begun,
        Err(fault) => return Ok(failed(server, &fault)),
    };
    let page = match begun.login.page(&place.settings.url) {
        Ok(page) => page.to_owned(),
        Err(fault) => return Ok(failed(server, &fault)),
    };
    eprintln!("Sign in for {server} at {}:\n\n  {page}\n", visible::line(begun.login.issuer()));
    let answer = match way {
        Way::Paste => pasted(&begun.login, &redirect).await,
        Way::Browser { open } => {
            if open && !browser::open(&page) {
                eprintln!("There is nothing here that opens a browser: open the address yourself.");
            }
            eprintln!("Waiting for the browser to come back to this machine ({} minutes).", TIME.as_secs() / 60);
            let login = Arc::new(begun);
            let judge = Arc::clone(&login);
            // What is not an answer to this sign-in changes nothing: the wait goes on.
            let came = callback.wait(move |asked| match judge.login.answer(asked) {
                Err(NoAnswer::State | NoAnswer::Elsewhere(_) | NoAnswer::Twice | NoAnswer::NoCode) => None,
                answer => Some(answer),
            });
            let came = tokio::time::timeout(TIME, came).await;
            let Some(answer) = came.ok().flatten() else {
                eprintln!("countersign: nobody came back; if the browser runs on another machine, use --paste");
                return Ok(Exit::AuthNeeded);
            };
            // The callback is over, and with it the other handle.
            let begun = Arc::into_inner(login).context("the sign-in is still in use")?;
            return finish(place, begun, answer).await;
        }
    };
    finish(place, begun, answer).await
}

/// The address that the browser ended at, from stdin.
async fn pasted(login: &Login, redirect: &str) -> Result<Answer, NoAnswer> {
    eprintln!(
        "Open it in any browser. At the end the browser cannot show a page; that is as it should be. Copy the address \
         that it stands at (it begins with {redirect}) and paste it here:"
    );
    let mut line = String::new();
    let read = BufReader::new(tokio::io::stdin().take(LINE)).read_line(&mut line).await;
    if read.is_err() || line.trim().is_empty() {
        return Err(NoAnswer::NoCode);
    }
    login.answer(&line)
}

async fn finish(place: &Place, begun: Begun, answer: Result<Answer, NoAnswer>) -> anyhow::Result<Exit> {
    let server = &place.settings.server;
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => {
            eprintln!("countersign: not signed in at {server}: {}", visible::line(&why.to_string()));
            return Ok(Exit::AuthNeeded);
        }
    };
    match begun.finish(answer).await {
        Ok(record) => {
            eprintln!("{}", signed_in(server, &record));
            Ok(Exit::Ok)
        }
        Err(fault) => Ok(failed(server, &fault)),
    }
}

fn signed_in(server: &str, record: &Record) -> String {
    let scopes = record.scopes().join(" ");
    let scopes = if scopes.is_empty() { String::new() } else { format!(", for {}", visible::line(&scopes)) };
    let renewed = if record.can_be_renewed() {
        "it is renewed by itself"
    } else {
        "it cannot be renewed: you will have to sign in again when it ends"
    };
    format!("Signed in for {server} at {}{scopes}; {renewed}.", visible::line(&record.issuer))
}

fn failed(server: &str, fault: &Fault) -> Exit {
    eprintln!("countersign: not signed in at {server}: {}", visible::line(&fault.to_string()));
    match fault {
        Fault::Rejected(_) | Fault::Token(_) => Exit::AuthNeeded,
        _ => Exit::Problems,
    }
}
