//! One entry is put back.
//!
//! Invariant: what somebody has edited since is not overwritten.

use std::path::Path;

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::clients::{Client, Place, Scope, Surroundings};
use super::files::{Files, hash};
use super::found::marked;
use super::originals::{Original, Was};
use super::tree::Format;

/// The place that an original is of.
fn place(original: &Original) -> anyhow::Result<Place> {
    let client = Client::from_str(&original.client, false).ok().context("its record names an unknown client")?;
    let scope = Scope::from_str(&original.scope, false).ok().context("its record names an unknown scope")?;
    Ok(Surroundings::of_process()?.place(client, scope, original.file.clone()))
}

pub fn one(files: &mut Files, state_dir: &Path, original: &Original) -> anyhow::Result<String> {
    let place = place(original)?;
    let opened = place.open(files)?;
    let (mark, text) = marked(opened.text());
    let format = place.client.format();
    let record = original.place(state_dir);
    let edited = || {
        format!(
            "{} has been edited since, and is left as it is\nhelp: what the entry was, without its keys, is in {}; remove \
             that file when you are done",
            if opened.exists() { "the entry" } else { "the file" },
            record.display()
        )
    };
    let root = place.read(&opened)?;
    let node = root.at(&original.path).with_context(edited)?;
    if node.digest() != original.wrote_entry {
        bail!(edited());
    }
    let untouched = hash(opened.text()) == original.wrote_file;
    match &original.was {
        Was::Entry(_) => {
            let restored = format.replace(text, &original.path, &original.text(state_dir)?)?;
            files.replace(&opened, Some(&format!("{mark}{restored}")))?;
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

/// An entry that was added goes out of a file that has changed since.
fn remove(format: Format, text: &str, path: &[String]) -> anyhow::Result<String> {
    let without = format.remove(text, path)?;
    if format.read(&without)?.digest() != format.read(text)?.digest_without(path) {
        bail!("the entry cannot be taken out in place: remove it by hand");
    }
    Ok(without)
}
