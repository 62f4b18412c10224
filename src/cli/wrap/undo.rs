//! One entry is put back.
//!
//! Invariant: what somebody has edited since is not overwritten.

use std::path::Path;

use anyhow::{Context, bail};
use clap::ValueEnum;
use zeroize::Zeroizing;

use super::clients::{Client, Place, Scope, Surroundings};
use super::files::{Files, hash};
use super::found::marked;
use super::originals::{Original, Was};
use super::remains;
use super::tree::Format;
use crate::credential::store;

/// The place that an original is of.
pub fn place(around: &Surroundings, original: &Original) -> anyhow::Result<Place> {
    let client = Client::from_str(&original.client, false).ok().context("its record names an unknown client")?;
    let scope = Scope::from_str(&original.scope, false).ok().context("its record names an unknown scope")?;
    let place = around.place(client, scope, original.file.clone());
    let project = original.path.get(1).filter(|_| scope == Scope::Local);
    Ok(project.map_or(place.clone(), |folder| place.of_project(Path::new(folder))))
}

pub fn one(files: &mut Files, around: &Surroundings, state_dir: &Path, original: &Original) -> anyhow::Result<String> {
    let place = place(around, original)?;
    let opened = place.open(files)?;
    let (mark, text) = marked(opened.text());
    let format = place.client.format();
    let edited = || original.edited(state_dir, if opened.exists() { "the entry" } else { "the file" });
    let root = place.read(&opened)?;
    let node = root.at(&original.path).with_context(edited)?;
    for name in original.secrets() {
        if let Some(secret) = store::get(&store::folder(state_dir), name)? {
            files.hide(secret.expose());
        }
    }
    if node.digest() != original.wrote_entry {
        if !is_back(format, text, state_dir, original) {
            bail!(edited());
        }
        // The entry is back; its key in comments may not be.
        let restored = remains::restored(format, text, &original.masked, state_dir)?;
        if *restored != text {
            files.replace(&opened, Some(&format!("{mark}{}", restored.as_str())))?;
        }
        if !files.dry_run {
            original.forget(state_dir)?;
        }
        let (client, name, file) = (&original.client, original.name(), original.file.display());
        return Ok(format!("{client} {name} in {file} is as it was before it was wrapped"));
    }
    let untouched = hash(opened.text()) == original.wrote_file;
    match &original.was {
        Was::Entry(_) => {
            // The comments first: a mark in what the entry was is none of ours.
            let restored = remains::restored(format, text, &original.masked, state_dir)?;
            let restored = Zeroizing::new(format.replace(&restored, &original.path, &original.text(state_dir)?)?);
            files.replace(&opened, Some(&format!("{mark}{}", restored.as_str())))?;
        }
        Was::Absent { file: false, .. } if untouched => files.replace(&opened, None)?,
        Was::Absent { at, length, instead, .. } if untouched => {
            let whole = opened.text();
            let (before, after) =
                (whole.get(..*at).with_context(edited)?, whole.get(at + length..).with_context(edited)?);
            files.replace(&opened, Some(&format!("{before}{instead}{after}")))?;
        }
        Was::Absent { .. } => {
            let without = remove(format, text, &original.path)?;
            files.replace(&opened, Some(&format!("{mark}{without}")))?;
        }
    }
    if !files.dry_run {
        original.forget(state_dir)?;
    }
    let done = if files.dry_run { "would unwrap" } else { "unwrapped" };
    let rest = if untouched { "the file is as it was" } else { "what else changed in the file stays" };
    Ok(format!(
        "{done}: {} {} in {}; {rest}\n  the server `{}` stays in the configuration, and its keys in the store",
        original.client,
        original.name(),
        original.file.display(),
        original.server
    ))
}

/// Whether an entry was never changed, or somebody has put it back by hand.
fn is_back(format: Format, text: &str, state_dir: &Path, original: &Original) -> bool {
    let Ok(was) = original.text(state_dir) else { return false };
    format.region(text, &original.path).is_ok_and(|now| text.get(now) == Some(was.as_str()))
}

/// An entry that was added goes out of a file that has changed since.
fn remove(format: Format, text: &str, path: &[String]) -> anyhow::Result<String> {
    let without = format.remove(text, path)?;
    if format.read(&without)?.digest() != format.read(text)?.digest_without(path) {
        bail!("the entry cannot be taken out in place: remove it by hand");
    }
    Ok(without)
}
