//! The configuration's file, the folders of state and sockets, and what rules are read from: whose they are, and who
//! else could change or enter them.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::finding::{Act, Finding, count, place, shell};
use super::ground::Ground;
use crate::cli::keyfile;
use crate::config::{Code, Config, ConfigError, SecretSource, Upstream};
use crate::credential::trust::{self, TrustError};
use crate::shim;
use crate::transport::runtime_dir::{self, SocketError};

/// More files than this in one folder of ours are not looked at.
const MAX_FILES: usize = 1000;

/// The configuration, as `serve` would read it.
pub fn configuration(ground: &Ground) -> Vec<Finding> {
    let at = ground.file.as_deref().map_or_else(String::new, place);
    let Some(refused) = &ground.refused else {
        let Some(config) = &ground.config else { return Vec::new() };
        let (servers, principals) = (config.servers.len(), config.principals.len());
        return vec![Finding::ok(at, format!("{}, {}", count(servers, "server"), count(principals, "principal")))];
    };
    match refused {
        ConfigError::NotFound(_) => {
            let said = refused.to_string();
            let first = said.lines().next().unwrap_or_default();
            vec![Finding::problem("", first).run("countersign init --server stripe   # or stigg, statsig, custom")]
        }
        ConfigError::File(error) => vec![untrusted(ground, error)],
        ConfigError::NotUtf8 { line, .. } => {
            vec![Finding::problem(format!("{at}:{line}"), "it is not UTF-8").run("save it as UTF-8")]
        }
        ConfigError::Invalid(report) => {
            // What others could change is said by the check that names the right `chmod`.
            let readable = ground.config.is_some();
            let problems = report.problems().iter().filter(|problem| !(readable && problem.code == Code::Untrusted));
            let found = problems.map(|problem| {
                let (line, column) = report.position(problem);
                let text = format!("{} ({})", problem.message, problem.code.as_str());
                Finding::problem(format!("{at}:{line}:{column}"), text).run(problem.help.as_str())
            });
            found.collect()
        }
    }
}

/// The keys of the console, as `console` would read them.
pub fn console_keys(_ground: &Ground) -> Vec<Finding> {
    let Some(path) = keyfile::default_path().filter(|path| path.symlink_metadata().is_ok()) else { return Vec::new() };
    match keyfile::load(None) {
        Ok(_) => vec![Finding::ok(place(&path), "keys of your own for the console")],
        Err(ConfigError::Invalid(report)) => {
            let found = report.problems().iter().map(|problem| {
                let (line, column) = report.position(problem);
                let text = format!("{}: the console does not start", problem.message);
                Finding::problem(format!("{}:{line}:{column}", place(&path)), text).run(problem.help.as_str())
            });
            found.collect()
        }
        Err(error) => {
            let said = error.to_string();
            let first = said.lines().next().unwrap_or_default();
            let command = format!("chmod go-w {}   # yours or root's, a regular file; or rename it", shell(&path));
            vec![Finding::problem(place(&path), format!("{first}: the console does not start")).run(command)]
        }
    }
}

/// What a path that is not trusted has to say, and what fixes it.
pub(super) fn untrusted(ground: &Ground, error: &TrustError) -> Finding {
    let (path, bits) = match error {
        TrustError::Writable { path, .. } => (path, 0o022),
        TrustError::Readable { path, .. } => (path, 0o077),
        TrustError::Missing(_)
        | TrustError::Io { .. }
        | TrustError::NotAFile(_)
        | TrustError::NotAFolder(_)
        | TrustError::Owner { .. }
        | TrustError::Links(_)
        | TrustError::Size { .. }
        | TrustError::TooMany(_)
        | TrustError::NoCommand { .. }
        | TrustError::RelativeSearch(_) => return Finding::problem("", error.to_string()).run(error.help()),
    };
    let act = Act::Take { path: path.clone(), bits };
    let mine = path.symlink_metadata().is_ok_and(|found| found.uid() == ground.me);
    let found = Finding::problem("", error.to_string());
    // Folders above, the home perhaps, are the operator's to change.
    if mine && ground.named().iter().any(|named| path.starts_with(named)) {
        found.act(act)
    } else {
        found.run(act.command())
    }
}

impl Ground {
    /// Files and folders that are countersign's own, or that its configuration names.
    fn named(&self) -> Vec<PathBuf> {
        let mut named: Vec<PathBuf> = self.file.iter().cloned().collect();
        let folder = self.file.as_deref().and_then(Path::parent);
        named.extend(folder.filter(|folder| folder.ends_with("countersign")).map(Path::to_owned));
        let Some(config) = &self.config else { return real(named) };
        named.extend(read(config));
        named.extend(config.secrets.values().filter_map(|source| match source {
            SecretSource::File(path) | SecretSource::Stored(path) => Some(path.clone()),
            SecretSource::Env(_) | SecretSource::Command { .. } | SecretSource::Keyring(_) => None,
        }));
        named.extend([config.state_dir.clone(), config.runtime_dir.clone()]);
        real(named)
    }
}

/// An error names where a path really is.
fn real(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.into_iter().map(|path| path.canonicalize().unwrap_or(path)).collect()
}

/// Whatever rules are read from.
fn read(config: &Config) -> Vec<PathBuf> {
    let catalogs = config.servers.values().flat_map(|server| server.catalogs.iter());
    config.policy.paths.iter().chain(catalogs).chain(&config.operators.allowed_signers).cloned().collect()
}

/// Policies, catalogs, the list of operators, and the folders that servers start in.
pub fn rules(ground: &Ground) -> Vec<Finding> {
    let Some(config) = &ground.config else { return Vec::new() };
    let mut found = Vec::new();
    let paths = read(config);
    for path in &paths {
        match trust::check_tree(path) {
            Ok(()) => {}
            Err(TrustError::Missing(_)) if config.operators.allowed_signers.as_ref() == Some(path) => {
                let command =
                    format!("countersign operator enroll NAME --key ~/.ssh/KEY.pub --allowed-signers {}", shell(path));
                found.push(Finding::problem(place(path), "the list of operators is not there").run(command));
            }
            Err(error) => found.push(untrusted(ground, &error)),
        }
    }
    for server in config.servers.values() {
        if let Upstream::Stdio { cwd: Some(cwd), .. } = &server.upstream
            && let Err(error) = trust::check(cwd)
        {
            found.push(untrusted(ground, &error));
        }
    }
    if found.is_empty() && !paths.is_empty() {
        let text =
            format!("{} that rules are read from: only you can change what is there", count(paths.len(), "place"));
        found.push(Finding::ok("", text));
    }
    found
}

/// The folders of state and sockets, and what lies in them.
pub fn folders(ground: &Ground) -> Vec<Finding> {
    let Some(config) = &ground.config else { return Vec::new() };
    let mut found = Vec::new();
    for folder in [&config.state_dir, &config.runtime_dir] {
        let before = found.len();
        found.extend(private(folder));
        found.extend(files(folder, ground.me));
        if found.len() == before {
            found.push(Finding::ok(place(folder), "only you can enter it"));
        }
    }
    found
}

fn private(folder: &Path) -> Option<Finding> {
    if matches!(folder.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        let text = "it is not there; the daemon makes it when it starts";
        return Some(Finding::note(place(folder), text).act(Act::MakeFolder(folder.to_owned())));
    }
    let error = runtime_dir::check_private(folder).err()?;
    let found = Finding::problem(place(folder), error.to_string().lines().next().unwrap_or_default());
    Some(match &error {
        SocketError::Open { path, .. } if path == folder => {
            let text = "others can enter it";
            Finding { text: text.to_owned(), ..found }.act(Act::Take { path: path.clone(), bits: 0o077 })
        }
        SocketError::Open { path, .. } => {
            let text = format!("others can change what lies above it, in {}", place(path));
            Finding { text, ..found }.run(format!("chmod go-w {}", shell(path)))
        }
        SocketError::Foreign { path, owner, me } if path == folder => {
            let text = format!("it belongs to user {owner}, and this is user {me}");
            Finding { text, ..found }.run(format!("sudo -u '#{owner}' countersign doctor"))
        }
        SocketError::Foreign { path, .. } => found.run(format!("sudo chown root {}", shell(path))),
        SocketError::NotAFolder { path } => found.run(format!("rm {}", shell(path))),
        SocketError::NoFolder { .. }
        | SocketError::Running { .. }
        | SocketError::NotASocket { .. }
        | SocketError::Io { .. } => found,
    })
}

/// The folder keeps others out; a file that is open beside that is one mistake away from being read.
fn files(folder: &Path, me: u32) -> Vec<Finding> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let open = entries.flatten().take(MAX_FILES).filter_map(|entry| {
        let path = entry.path();
        let found = path.symlink_metadata().ok()?;
        let ours = found.is_file() && found.uid() == me && found.mode() & 0o077 != 0;
        let act = Act::Take { path: path.clone(), bits: 0o077 };
        ours.then(|| Finding::warning(place(&path), "others may read or write it").act(act))
    });
    open.collect()
}

/// The two sockets: whose they are, who can reach them, whether a daemon is behind them.
pub fn sockets(ground: &Ground) -> Vec<Finding> {
    let Some(folder) = &ground.sockets else { return Vec::new() };
    let mut found: Vec<Finding> = ["client.sock", "operator.sock"]
        .into_iter()
        .filter_map(|name| socket(&folder.join(name), ground.me, ground.daemon.is_ok()))
        .collect();
    let expected = shim::default_socket().ok();
    let here = folder.join("client.sock");
    if expected.as_ref() != Some(&here) {
        let text = format!(
            "clients that name no socket look elsewhere, in {}",
            expected.as_deref().map_or_else(|| "no folder".to_owned(), place)
        );
        found.push(
            Finding::note(place(&here), text).run(format!("countersign connect SERVER --socket {}", shell(&here))),
        );
    }
    found
}

fn socket(path: &Path, me: u32, alive: bool) -> Option<Finding> {
    let found = fs::symlink_metadata(path).ok()?;
    let at = place(path);
    if !found.file_type().is_socket() {
        return Some(Finding::problem(at, "it is not a socket").run(format!("rm {}", shell(path))));
    }
    if found.uid() != me {
        let text = format!("it belongs to user {}, this is user {me}", found.uid());
        return Some(Finding::problem(at, text).run(format!("sudo -u '#{}' countersign doctor", found.uid())));
    }
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if !alive && std::os::unix::net::UnixStream::connect(path).is_err_and(refused) {
        let text = "a daemon that is dead has left it";
        return Some(Finding::note(at, text).act(Act::RemoveDeadSocket(path.to_owned())));
    }
    if found.mode() & 0o077 != 0 {
        let text = format!("its mode is {:04o}: only its folder keeps others out", found.mode() & 0o7777);
        return Some(Finding::warning(at, text).run(format!("chmod 600 {}", shell(path))));
    }
    Some(Finding::ok(at, "only you and root can reach it"))
}
