//! The entries of clients that reach the HTTP front, each with the token that stands in it: what their clients would send.
//!
//! Invariant: a token is for the address of our own front alone, and is in memory only.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::clients::{Client, Surroundings};
use super::entry::{self, Said, Text};
use super::files::Files;
use super::found::{self, Entry};
use super::{originals, reach, undo};
use crate::config::Config;
use crate::credential::secret::Secret;
use crate::credential::source;

/// The way of one client to one server.
pub struct Way {
    pub client: &'static str,
    /// The entry's name.
    pub name: String,
    pub file: PathBuf,
    pub server: String,
    /// Of the front, where it is configured to listen.
    pub url: String,
    pub token: Result<Secret, NoToken>,
}

/// Why there is no token to walk with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoToken {
    /// The entry has none that could be one.
    None,
    /// It is in a variable of the client's, or could not be read.
    Elsewhere,
}

/// Every entry that names the front: in the usual files of clients, and where something was wrapped.
pub fn by_http(config: &Config) -> Vec<Way> {
    let (Some(http), Ok(around)) = (&config.http, Surroundings::of_process()) else { return Vec::new() };
    let mut places: Vec<_> = Client::ALL.into_iter().flat_map(|client| around.places(client)).collect();
    let wrapped = originals::all(&config.state_dir).unwrap_or_default();
    places.extend(wrapped.iter().filter_map(|original| undo::place(&around, original).ok()));
    let files = Files::new(true);
    let mut ways: Vec<Way> = Vec::new();
    for place in places {
        // A file that cannot be read is named where the entries are listed.
        for entry in found::entries(&files, &place).unwrap_or_default() {
            let Some(url) = entry::address(&entry.node) else { continue };
            let Some(server) = reach::server(http, url) else { continue };
            let file = std::path::absolute(&entry.place.file).unwrap_or_else(|_| entry.place.file.clone());
            let known = |way: &Way| way.file == file && way.name == entry.name && way.server == server;
            if !ways.iter().any(known) {
                let (client, url, token) = (place.client.as_str(), reach::dialed(http, url), token(&entry));
                ways.push(Way { client, name: entry.name, file, server, url, token });
            }
        }
    }
    ways
}

/// The bearer token that an entry shows.
pub fn token(entry: &Entry) -> Result<Secret, NoToken> {
    let said = entry::read(entry.place.client, &entry.node, entry.place.folder.as_deref());
    let Ok(Said::Http { headers, .. }) = said else { return Err(NoToken::Elsewhere) };
    let shown = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    match shown {
        None => Err(NoToken::None),
        Some((_, Text::Variable { .. })) => Err(NoToken::Elsewhere),
        Some((_, Text::Plain(shown))) => {
            let bearer = shown.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let token = bearer.map(|(_, token)| Zeroizing::new(token.trim().as_bytes().to_vec()));
            // What cannot be a key is no token of ours.
            token.and_then(|token| source::accept(token).ok()).ok_or(NoToken::None)
        }
    }
}
