//! One entry is wrapped.

use std::path::PathBuf;

use anyhow::{Context, bail};
use zeroize::Zeroizing;

use super::clear;
use super::clients::{Client, Place, Scope};
use super::entry::{self, Ours};
use super::files::{Files, Opened};
use super::found::{Entry, marked};
use super::keys::{self, From, Hints, Moved, Reached};
use super::originals::{self, Original, Was};
use super::ours::Draft;
use super::remains::{self, Masked};
use super::sign_in::Auth;
use super::tree::Node;
use crate::cli::quoted;
use crate::credential::shape;

/// What was asked for, and what has been done so far.
pub struct Run {
    pub files: Files,
    /// The configuration, which may not be there yet.
    pub config: PathBuf,
    /// It was named, and has to be named to undo this.
    pub explicit: bool,
    /// Keys that a dry run would have stored.
    pub stored: Vec<(String, Zeroizing<String>)>,
    pub http: bool,
    pub environment: Option<String>,
    pub vendor: Option<String>,
    pub as_name: Option<String>,
    /// Names of values that are keys.
    pub keys: Vec<String>,
    pub auth: Option<Auth>,
}

impl Run {
    pub fn wrap(&mut self, entry: &Entry) -> anyhow::Result<String> {
        let place = &entry.place;
        let (client, format) = (place.client, place.client.format());
        let opened = place.open(&self.files)?;
        let (mark, text) = marked(opened.text());
        let root = place.read(&opened)?;
        let node = root.at(&entry.path).context("the entry is not there any more")?;
        let server = self.name(&entry.name)?;
        let moved = self.moved(place, node)?;
        let mut draft = Draft::open(&self.files, &self.config, &self.stored)?;
        let names = draft.server(&server, &moved, self.environment.as_deref())?;
        let ours = self.ours(place, &server, &mut draft)?;
        let changed = format.change(text, &entry.path, &entry::changes(client, node, &ours))?;
        let keys = from_file(&moved, &names);
        let was = Was::Entry(original(client, text, &entry.path, &keys)?);
        let (changed, masked) = remains::masked(format, text, &changed, &keys)?;
        keys.iter().for_each(|(_, key)| self.files.hide(key));
        let mut told =
            vec![format!("{}: {}", if self.files.dry_run { "would wrap" } else { "wrapped" }, entry.shown())];
        told.extend(draft.told.drain(..).map(|line| format!("  {line}")));
        told.extend(self.sign_in(&server, &moved.reached));
        for Masked { name, .. } in &masked {
            told.push(format!(
                "  comments of the file had its key too: there stands [secret:{name}] now, until an unwrap"
            ));
        }
        told.extend(remarks(place, &changed, &moved));
        let was = (was, masked);
        self.apply(place, &opened, &format!("{mark}{changed}"), &entry.path, &server, was, draft)?;
        told.push(format!("  undo: {}", self.undo(place, &entry.name)));
        Ok(told.join("\n"))
    }

    /// Adds an entry for a server that the configuration has. Nothing where it has none of that name.
    pub fn add(&mut self, place: &Place, name: &str) -> anyhow::Result<Option<String>> {
        let opened = place.open(&self.files)?;
        let (mark, text) = marked(opened.text());
        place.read(&opened)?;
        let server = self.name(name)?;
        let there = self.config.symlink_metadata().is_ok();
        if !there
            || !crate::config::load(Some(&self.config))
                .map_err(|error| anyhow::anyhow!("{}", error.render(false)))?
                .servers
                .contains_key(&server)
        {
            return Ok(None);
        }
        let mut draft = Draft::open(&self.files, &self.config, &self.stored)?;
        let ours = self.ours(place, &server, &mut draft)?;
        let path: Vec<String> = place.section.iter().cloned().chain([name.to_owned()]).collect();
        let changed = place.client.format().insert(text, &path, &entry::whole(place.client, name, &ours))?;
        let changed = format!("{mark}{changed}");
        let was = (absent(opened.text(), &changed, opened.exists())?, Vec::new());
        let done = if self.files.dry_run { "would add" } else { "added" };
        let (client, scope, file) = (place.client.as_str(), place.scope.as_str(), place.file.display());
        let mut told = vec![format!("{done}: {client} ({scope}) {name} in {file}")];
        told.extend(draft.told.drain(..).map(|line| format!("  {line}")));
        self.apply(place, &opened, &changed, &path, &server, was, draft)?;
        told.push(format!("  undo: {}", self.undo(place, name)));
        Ok(Some(told.join("\n")))
    }

    fn moved(&self, place: &Place, node: &Node) -> anyhow::Result<Moved> {
        let said = entry::read(place.client, node, place.folder.as_deref())?;
        let (keys, folder) = (self.keys.as_slice(), place.folder.as_deref());
        let hints = Hints { vendor: self.vendor.as_deref(), keys, auth: self.auth, folder };
        keys::moved(said, place.client.variables(), &hints)
    }

    /// What is left to do where an operator signs in.
    fn sign_in(&self, server: &str, reached: &Reached) -> Vec<String> {
        let Reached::Http { sign_in: Some(sign_in), .. } = reached else { return Vec::new() };
        let mut command = format!("countersign auth login {server}");
        if self.explicit {
            command.push_str(&format!(" --config {}", quoted(&self.config.display().to_string())));
        }
        let mut told = vec![
            format!("  sign in next: {command}"),
            "  the client's own sign-in stays where the client keeps it: sign out there when nothing else needs it; a server \
             that asks for no sign-in is wrapped with --auth none"
                .to_owned(),
        ];
        if let Some(id) = &sign_in.client_id {
            let port = sign_in.callback_port.map_or_else(|| "PORT".to_owned(), |port| port.to_string());
            told.push(format!(
                "  the client id {id} has to be registered with countersign's address too: http://127.0.0.1:{port}/callback"
            ));
        }
        told
    }

    /// The server's name in the configuration.
    fn name(&self, entry: &str) -> anyhow::Result<String> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        if let Some(name) = &self.as_name {
            if name.is_empty() || name.len() > 64 || !name.chars().all(fits) {
                bail!("--as {name}: a name has 1 to 64 of the characters a-z, 0-9, `_` and `-`");
            }
            return Ok(name.clone());
        }
        let name: String =
            entry.chars().map(|c| c.to_ascii_lowercase()).map(|c| if fits(c) { c } else { '-' }).collect();
        let name = name.trim_matches('-').to_owned();
        if name.is_empty() || name.len() > 64 {
            bail!("its name cannot be that of a server: give it one with --as NAME");
        }
        Ok(name)
    }

    /// How the client is to reach us.
    fn ours(&self, place: &Place, server: &str, draft: &mut Draft) -> anyhow::Result<Ours> {
        let shared = place.scope == Scope::Project;
        if self.http {
            if !place.client.speaks_http() {
                bail!(
                    "{} connects to no address that stands in its file: wrap it without --http",
                    place.client.as_str()
                );
            }
            if shared {
                bail!(
                    "{} is shared, and a token would be shared with it: wrap it without --http",
                    place.file.display()
                );
            }
            let front = draft.listen()?;
            let token = draft.token(server, place.client.as_str())?;
            let authorization = format!("Bearer {}", token.as_str());
            return Ok(Ours::Http { url: format!("{front}/mcp/{server}"), authorization });
        }
        draft.local(server)?;
        let mut args = vec!["connect".to_owned(), server.to_owned()];
        if shared {
            // Codex gives a server few variables, and the shim finds the daemon by this one.
            let inherit = (place.client == Client::Codex).then_some("XDG_RUNTIME_DIR");
            return Ok(Ours::Shim { program: "countersign".to_owned(), args, inherit });
        }
        let socket = draft.socket()?;
        args.extend([
            "--socket".to_owned(),
            socket.to_str().context("the path of the socket is not UTF-8")?.to_owned(),
        ]);
        Ok(Ours::Shim { program: program()?, args, inherit: None })
    }

    #[allow(clippy::too_many_arguments)]
    fn apply(
        &mut self,
        place: &Place,
        opened: &Opened,
        text: &str,
        path: &[String],
        server: &str,
        (was, masked): (Was, Vec<Masked>),
        draft: Draft,
    ) -> anyhow::Result<()> {
        let written = place.client.format().read(marked(text).1)?;
        let digest = written.at(path).context("the entry")?.digest();
        let mut original = Original::new(place, path, server, (text, digest), was)?;
        original.masked = masked;
        let state_dir = draft.state_dir.clone();
        self.stored.extend(draft.stored.iter().filter(|_| self.files.dry_run).cloned());
        draft.write(&mut self.files)?;
        if self.files.dry_run {
            return self.files.replace(opened, Some(text));
        }
        original.keep(&state_dir)?;
        let replaced = self.files.replace(opened, Some(text));
        if replaced.is_err() {
            _ = original.forget(&state_dir);
        }
        replaced
    }

    fn undo(&self, place: &Place, name: &str) -> String {
        let mut command = format!("countersign unwrap {} --server {}", place.client.as_str(), quoted(name));
        let file = std::path::absolute(&place.file).unwrap_or_else(|_| place.file.clone());
        command.push_str(&format!(" --file {}", quoted(&file.display().to_string())));
        if self.explicit {
            command.push_str(&format!(" --config {}", quoted(&self.config.display().to_string())));
        }
        command
    }
}

/// The path by which this program is found, where that is this program; else where it is.
fn program() -> anyhow::Result<String> {
    let exe = std::env::current_exe().context("where this program is")?;
    let real = exe.canonicalize().unwrap_or_else(|_| exe.clone());
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&search)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("countersign"))
        .find(|path| path.canonicalize().is_ok_and(|path| path == real));
    found.unwrap_or(exe).into_os_string().into_string().ok().context("the path of this program is not UTF-8")
}

/// Names and texts of the keys that stood in the file.
fn from_file(moved: &Moved, names: &[String]) -> Vec<(String, Zeroizing<String>)> {
    let keys = moved.keys.iter().zip(names).filter_map(|(key, name)| match &key.from {
        From::File(text) => Some((name.clone(), text.clone())),
        From::Variable(_) => None,
    });
    let mut keys: Vec<_> = keys.collect();
    keys.dedup();
    keys
}

/// The entry's text without keys.
fn original(
    client: Client,
    text: &str,
    path: &[String],
    keys: &[(String, Zeroizing<String>)],
) -> anyhow::Result<Vec<originals::Piece>> {
    let (format, variables) = (client.format(), client.variables());
    let region = format.region(text, path)?;
    let pieces = originals::pieces(text.get(region.clone()).unwrap_or_default(), keys)?;
    let masked: String = pieces
        .iter()
        .map(|piece| match piece {
            originals::Piece::Text(text) => text.as_str(),
            originals::Piece::Secret(_) => clear::MARK,
        })
        .collect();
    // What is left is read as the client would read it: a key that is spelled in two ways is still there in one.
    let (before, after) = (text.get(..region.start).unwrap_or_default(), text.get(region.end..).unwrap_or_default());
    let read = format.read(&format!("{before}{masked}{after}"))?;
    let mut texts = Vec::new();
    let entry = read.at(path).context("the entry")?;
    entry.texts(&mut texts);
    if keys.iter().any(|(_, key)| texts.iter().any(|text| text.contains(key.as_str()))) {
        bail!("its key is spelled with escapes in the file: write it plainly, and wrap again");
    }
    // Not every member says how the server is reached, and what is kept here is not sealed.
    if let Some(member) = clear::left(entry, variables) {
        bail!(
            "its `{}` has a key in the clear that countersign does not take over, and would keep readable: take it out, and \
             wrap again",
            shape::mask(member)
        );
    }
    Ok(pieces)
}

/// What has come into a text, and what it came in the place of.
fn absent(before: &str, after: &str, file: bool) -> anyhow::Result<Was> {
    let at = before.bytes().zip(after.bytes()).take_while(|(one, other)| one == other).count();
    let at = before.floor_char_boundary(at).min(after.floor_char_boundary(at));
    let (old, new) = (before.get(at..).unwrap_or_default(), after.get(at..).unwrap_or_default());
    let tail = old.bytes().rev().zip(new.bytes().rev()).take_while(|(one, other)| one == other).count();
    let tail = (0..=tail).rev().find(|tail| old.is_char_boundary(old.len() - tail)).unwrap_or(0);
    let instead = old.get(..old.len() - tail).unwrap_or_default().to_owned();
    // What is kept of the file is nothing that says anything.
    if !instead.chars().all(|c| c.is_whitespace() || "{}[],".contains(c)) {
        bail!("the entry cannot be added in place: write it by hand");
    }
    Ok(Was::Absent { at, length: new.len() - tail, instead, file })
}

/// What the operator should know besides.
fn remarks(place: &Place, changed: &str, moved: &Moved) -> Vec<String> {
    let mut out = Vec::new();
    if !moved.open.is_empty() {
        out.push(format!(
            "  left readable in the configuration: {}; name one that is a key with --key NAME",
            moved.open.join(", ")
        ));
    }
    for key in &moved.keys {
        if let From::File(text) = &key.from
            && let Some(at) = changed.find(text.as_str())
        {
            let line = changed.get(..at).unwrap_or_default().matches('\n').count() + 1;
            out.push(format!("  the value of {} still stands in line {line} of the client's file", key.label));
        }
    }
    if moved.keys.is_empty() && !matches!(moved.reached, Reached::Http { sign_in: Some(_), .. }) {
        out.push("  no key was found in the entry".to_owned());
    }
    if let Reached::Http { url, .. } = &moved.reached
        && keys::has_random_part(url)
    {
        out.push(
            "  a part of its address may be a key, and stays readable in the configuration: where it is one, ask for a \
             header or parameter that the server takes instead"
                .to_owned(),
        );
    }
    if place.scope == Scope::Project {
        out.push(format!(
            "  {} is shared: everybody who uses it needs countersign with a server of this name",
            place.file.display()
        ));
        if moved.keys.iter().any(|key| matches!(key.from, From::File(_))) {
            out.push(
                "  its key was in a shared file: whoever has seen it has it, so replace it at the vendor".to_owned(),
            );
        }
    }
    out
}
