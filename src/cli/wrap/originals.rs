//! What an entry was before it was wrapped: one private file for each, in the state folder.
//!
//! Invariant: no key stands in it. Where one stood, the piece names the secret that it has become.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::files::hash;
use super::remains::Masked;
use crate::credential::shape;
use crate::credential::store;
use crate::credential::trust::{self, Readers};

const FOLDER: &str = "wrap";
const SCHEMA: &str = "countersign.wrap/v1";
const MAX_BYTES: usize = 4 << 20;
const MAX_RECORDS: usize = 10_000;

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Original {
    schema: String,
    pub client: String,
    pub scope: String,
    /// As it was named; links are followed again.
    pub file: PathBuf,
    /// The way to the entry.
    pub path: Vec<String>,
    /// Its name in our configuration.
    pub server: String,
    /// Of the file as it was written.
    pub wrote_file: String,
    /// Of what the entry says as it was written.
    pub wrote_entry: String,
    pub was: Was,
    /// Secrets whose keys stood in comments of the file; marks have taken their place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<Masked>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Was {
    /// The text of the entry.
    Entry(Vec<Piece>),
    /// There was no entry: of the file as it was written, the bytes from `at` are new and stand for `instead`.
    Absent { at: usize, length: usize, instead: String, file: bool },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Piece {
    Text(String),
    Secret(String),
}

/// Cuts the keys out of a text. `keys` are their names and values.
pub fn pieces(text: &str, keys: &[(String, Zeroizing<String>)]) -> anyhow::Result<Vec<Piece>> {
    let mut pieces = vec![Piece::Text(text.to_owned())];
    let mut keys: Vec<_> = keys.iter().collect();
    // A key may be a part of another one.
    keys.sort_by_key(|(_, key)| std::cmp::Reverse(key.len()));
    for (name, key) in keys {
        let cut = |piece: Piece| match piece {
            Piece::Secret(_) => vec![piece],
            Piece::Text(text) => {
                let mut out = Vec::new();
                for (n, part) in text.split(key.as_str()).enumerate() {
                    if n > 0 {
                        out.push(Piece::Secret(name.clone()));
                    }
                    if !part.is_empty() {
                        out.push(Piece::Text(part.to_owned()));
                    }
                }
                out
            }
        };
        pieces = pieces.into_iter().flat_map(cut).collect();
        if !pieces.contains(&Piece::Secret(name.clone())) {
            bail!("the key `{name}` is spelled with escapes in the file: write it plainly, and wrap again");
        }
    }
    let left = pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if shape::key_like(text).is_some()));
    if left {
        bail!("another text of the entry looks like a key, perhaps in a comment: take it out, and wrap again");
    }
    Ok(pieces)
}

impl Original {
    pub fn new(
        place: &super::clients::Place,
        path: &[String],
        server: &str,
        written: (&str, String),
        was: Was,
    ) -> anyhow::Result<Original> {
        let (file, wrote_entry) = written;
        Ok(Original {
            schema: SCHEMA.to_owned(),
            client: place.client.as_str().to_owned(),
            scope: place.scope.as_str().to_owned(),
            file: std::path::absolute(&place.file)?,
            path: path.to_vec(),
            server: server.to_owned(),
            wrote_file: hash(file),
            wrote_entry,
            was,
            masked: Vec::new(),
        })
    }

    /// The secrets that it needs to be put back.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let pieces = match &self.was {
            Was::Entry(pieces) => pieces.as_slice(),
            Was::Absent { .. } => &[],
        };
        let cut = pieces.iter().filter_map(|piece| match piece {
            Piece::Secret(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        });
        cut.chain(self.masked.iter().map(|masked| masked.name.as_str()))
    }

    pub fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    /// Whether an entry is as it was written.
    pub fn is_of(&self, file: &Path, path: &[String], digest: &str) -> bool {
        self.file == file && self.path == path && self.wrote_entry == digest
    }

    /// Where it is kept.
    pub fn place(&self, state_dir: &Path) -> PathBuf {
        let id = hash(&format!("{}\0{}", self.file.display(), self.path.join("\0")));
        state_dir.join(FOLDER).join(format!("{}-{}.json", self.client, id.get(..16).unwrap_or_default()))
    }

    pub fn keep(&self, state_dir: &Path) -> anyhow::Result<()> {
        let path = self.place(state_dir);
        let failed = || format!("{} cannot be written", path.display());
        let folder = path.parent().with_context(failed)?;
        make(folder)?;
        trust::check(folder).map_err(|error| anyhow::anyhow!("{error}\nhelp: {}", error.help()))?;
        let text = serde_json::to_string_pretty(self)?;
        let unfinished = path.with_extension("new");
        _ = fs::remove_file(&unfinished);
        let mut out =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).with_context(failed)?;
        out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).with_context(failed)?;
        fs::rename(&unfinished, &path).with_context(failed)
    }

    /// What is said where somebody has edited what was written: the entry, or the whole file.
    pub fn edited(&self, state_dir: &Path, what: &str) -> String {
        format!(
            "{what} has been edited since it was wrapped\nhelp: what the entry was, without its keys, is in {}; remove that \
             file when you are done",
            self.place(state_dir).display()
        )
    }

    pub fn forget(&self, state_dir: &Path) -> anyhow::Result<()> {
        let path = self.place(state_dir);
        fs::remove_file(&path).with_context(|| format!("{} cannot be removed", path.display()))
    }

    /// The entry as it was, with its keys out of the store.
    pub fn text(&self, state_dir: &Path) -> anyhow::Result<Zeroizing<String>> {
        let Was::Entry(pieces) = &self.was else { bail!("there was no entry") };
        let folder = store::folder(state_dir);
        let mut out = Zeroizing::new(String::new());
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Secret(name) => {
                    let secret = store::get(&folder, name)?.with_context(|| {
                        format!("its key is no longer stored: countersign secret set {name}, then unwrap again")
                    })?;
                    out.push_str(secret.expose());
                }
            }
        }
        Ok(out)
    }
}

fn make(folder: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("{} cannot be made", folder.display()))
}

/// Held by the one run that wraps or puts back. A second one at the same time could take a key for stored that the first
/// takes out of the store again, because it fails.
pub struct Alone(#[expect(dead_code, reason = "held, not read")] File);

impl Alone {
    pub fn take(state_dir: &Path) -> anyhow::Result<Alone> {
        let folder = state_dir.join(FOLDER);
        make(&folder)?;
        let held = File::open(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
        match flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Alone(held)),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                bail!("another `countersign wrap` or `unwrap` is at work: run this again when it has ended")
            }
            Err(errno) => Err(errno).with_context(|| format!("{} cannot be locked", folder.display())),
        }
    }
}

/// Everything that is wrapped.
pub fn all(state_dir: &Path) -> anyhow::Result<Vec<Original>> {
    let folder = state_dir.join(FOLDER);
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", folder.display())),
    };
    let mut originals = Vec::new();
    for entry in entries.take(MAX_RECORDS) {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let bytes = trust::read(&path, Readers::OwnerOnly, MAX_BYTES)
            .map_err(|error| anyhow::anyhow!("{error}\nhelp: {}", error.help()))?;
        let original: Original =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is no record of `wrap`", path.display()))?;
        if original.schema != SCHEMA {
            bail!("{} is of another version of countersign", path.display());
        }
        originals.push(original);
    }
    originals.sort_by(|one, other| (&one.client, &one.file, &one.path).cmp(&(&other.client, &other.file, &other.path)));
    Ok(originals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[(&str, &str)]) -> Vec<(String, Zeroizing<String>)> {
        keys.iter().map(|(name, key)| ((*name).to_owned(), Zeroizing::new((*key).to_owned()))).collect()
    }

    #[test]
    fn keys_are_cut_out_of_a_text_wherever_they_stand() {
        let text = r#"{"a": "Bearer tok-12345678", "b": "tok-12345678-more", "c": "tok-12345678"}"#;
        let cut = pieces(text, &keys(&[("short", "tok-12345678"), ("long", "tok-12345678-more")])).unwrap();
        let joined: String = cut
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => text.clone(),
                Piece::Secret(name) => format!("<{name}>"),
            })
            .collect();
        assert_eq!(joined, r#"{"a": "Bearer <short>", "b": "<long>", "c": "<short>"}"#);
        assert!(!serde_json::to_string(&cut).unwrap().contains("12345678"));
    }

    #[test]
    fn a_key_that_would_stay_is_refused() {
        let escaped = pieces(r#""sk\u005flive""#, &keys(&[("k", "sk_live")])).unwrap_err();
        assert!(escaped.to_string().contains("escapes"), "{escaped}");
        let comment = pieces("{ // sk_live_CANARY7Q\n \"a\": \"tok-12345678\" }", &keys(&[("k", "tok-12345678")]));
        assert!(comment.unwrap_err().to_string().contains("comment"));
    }
}
