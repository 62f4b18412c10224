//! What else a client's account could use to approve its own calls, or to change what is asked: terminals that it can
//! type into, programs that it can replace.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::clients;
use super::finding::{Finding, count, place, shell};
use super::ground::Ground;
use super::operators;
use crate::config::{Match, NotifyTo};
use crate::credential::trust::{self, TrustError};

/// Sockets of one folder that are looked at.
const MAX_SOCKETS: usize = 100;
/// Folders of PATH that are looked at.
const MAX_PATH: usize = 200;

/// Clients under the operator's own account.
pub fn shared(ground: &Ground) -> Vec<Finding> {
    let Some(config) = &ground.config else { return Vec::new() };
    let mut found = Vec::new();
    let same = config.principals.iter().find(|entry| entry.by == Match::Uid(ground.me));
    let terminals = terminals(ground.me);
    // Whoever has an entry here reads it under this account, whatever it is taken for at the front.
    let who = match same {
        Some(entry) => Ok(entry.principal.name.clone()),
        None => match clients::through_us(ground) {
            Some(0) => Err(Finding::ok("", "no principal is this account, and no client of this home has an entry")),
            Some(entries) => Ok(match entries {
                1 => "an entry in this home".to_owned(),
                entries => format!("{entries} entries in this home"),
            }),
            None => Err(Finding::note(
                "",
                "no principal is this account; whether a client of this home has an entry is not known",
            )
            .run(ground.with_config("countersign wrap ls"))),
        },
    };
    match who {
        Err(finding) => found.push(finding),
        Ok(who) => {
            let text = if operators::signed(config).next().is_some() {
                format!(
                    "clients run under this account ({who}): signatures keep them from approving, not from typing into your console"
                )
            } else {
                format!(
                    "clients run under this account ({who}), and no approval has to be signed: they could approve their own calls"
                )
            };
            found.push(Finding::note("", text).run("docs/setup.md: an account of its own"));
            if let Some(first) = terminals.first() {
                let text = format!(
                    "clients of this account can type into {}, a console in it too",
                    count(terminals.len(), "terminal")
                );
                found.push(Finding::warning(place(first), text).run("run the console outside of tmux and screen"));
            }
        }
    }
    found.extend(terminals.iter().filter_map(|socket| open_to_others(socket)));
    found
}

/// Sockets of tmux and screen of this user that somebody answers at.
fn terminals(me: u32) -> Vec<PathBuf> {
    let mut folders = BTreeSet::new();
    let tmux = std::env::var_os("TMUX_TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    folders.insert(tmux.join(format!("tmux-{me}")));
    let user = std::env::var("USER").unwrap_or_default();
    for base in ["/run/screen", "/var/run/screen", "/tmp/screens"] {
        folders.insert(Path::new(base).join(format!("S-{user}")));
    }
    folders.extend(std::env::var_os("SCREENDIR").map(PathBuf::from));
    folders.extend(std::env::var_os("HOME").map(|home| Path::new(&home).join(".screen")));
    let mut sockets: BTreeSet<PathBuf> = folders.iter().flat_map(|folder| live(folder)).collect();
    // `/path/of/the/socket,pid,session`
    let current = std::env::var("TMUX").ok();
    let current = current.as_deref().and_then(|value| value.split(',').next()).map(PathBuf::from);
    sockets.extend(current.filter(|socket| is_live(socket)));
    sockets.into_iter().filter(|socket| socket.metadata().is_ok_and(|found| found.uid() == me)).collect()
}

fn live(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    entries.flatten().take(MAX_SOCKETS).map(|entry| entry.path()).filter(|path| is_live(path)).collect()
}

fn is_live(path: &Path) -> bool {
    let socket = path.metadata().is_ok_and(|found| found.file_type().is_socket());
    socket && std::os::unix::net::UnixStream::connect(path).is_ok()
}

/// A shared terminal that another account can type into.
fn open_to_others(socket: &Path) -> Option<Finding> {
    let mode = |path: &Path| path.metadata().map_or(0, |found| found.mode());
    let folder = socket.parent()?;
    let (entered, written) = (mode(folder) & 0o011 != 0, mode(socket) & 0o022 != 0);
    (entered && written).then(|| {
        let text = "other accounts can type into this terminal";
        Finding::problem(place(socket), text).run(format!("chmod go-rwx {}", shell(socket)))
    })
}

/// Programs that run with the daemon's rights: in PATH, as notification hooks, and this one.
pub fn programs(ground: &Ground, path: Option<&OsStr>) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        trust::check(&ground.program).err().map(|error| writable(&error)).into_iter().collect();
    for entry in ground.config.iter().flat_map(|config| &config.notify) {
        let NotifyTo::Command { argv, .. } = &entry.to else { continue };
        let Some(program) = argv.first() else { continue };
        match trust::find_command(program, path) {
            Err(error) => {
                found.push(Finding::problem(format!("notify: {program}"), error.to_string()).run(error.help()))
            }
            Ok(program) => found.extend(trust::check(&program).err().map(|error| writable(&error))),
        }
    }
    let mut seen = BTreeSet::new();
    // No PATH has no folders; an empty part of one is the folder that it is used in.
    let folders = path.into_iter().filter(|path| !path.is_empty()).flat_map(std::env::split_paths);
    for folder in folders.take(MAX_PATH) {
        if !seen.insert(folder.clone()) {
            continue;
        }
        if !folder.is_absolute() {
            let text = "PATH has a relative folder: whoever chooses the folder chooses the programs";
            found.push(Finding::warning(place(&folder), text).run("take it out of PATH"));
            continue;
        }
        found.extend(trust::check(&folder).err().filter(|error| !is_absent(error)).map(|error| writable(&error)));
    }
    found.dedup();
    if found.is_empty() {
        found.push(Finding::ok("", "nobody else can replace a program in PATH, a hook, or this one"));
    }
    found
}

fn is_absent(error: &TrustError) -> bool {
    match error {
        TrustError::Missing(_) | TrustError::NotAFolder(_) => true,
        TrustError::Io { error, .. } => error.kind() == io::ErrorKind::PermissionDenied,
        TrustError::NotAFile(_)
        | TrustError::Owner { .. }
        | TrustError::Writable { .. }
        | TrustError::Readable { .. }
        | TrustError::Links(_)
        | TrustError::Size { .. }
        | TrustError::TooMany(_)
        | TrustError::NoCommand { .. }
        | TrustError::RelativeSearch(_) => false,
    }
}

/// A group may maintain programs; everybody may not.
fn writable(error: &TrustError) -> Finding {
    match error {
        TrustError::Writable { path, mode } if mode & 0o002 != 0 => {
            let text = format!("everybody can replace programs here (mode {mode:04o})");
            Finding::problem(place(path), text).run(format!("chmod o-w {}", shell(path)))
        }
        TrustError::Writable { path, mode } => {
            let text = format!("its group can replace programs here (mode {mode:04o})");
            Finding::note(place(path), text).run(format!("chmod g-w {}", shell(path)))
        }
        TrustError::Owner { path, uid } => {
            let text = format!("user {uid} can replace programs here");
            Finding::warning(place(path), text).run(format!("take it out of PATH, or chown root {}", shell(path)))
        }
        TrustError::Missing(_)
        | TrustError::Io { .. }
        | TrustError::NotAFile(_)
        | TrustError::NotAFolder(_)
        | TrustError::Readable { .. }
        | TrustError::Links(_)
        | TrustError::Size { .. }
        | TrustError::TooMany(_)
        | TrustError::NoCommand { .. }
        | TrustError::RelativeSearch(_) => Finding::warning("", error.to_string()).run(error.help()),
    }
}
