//! Who may approve, and whether a program of the same account could do it in their place: keys that lie open, and keys
//! that an agent signs with for whoever asks.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::finding::{Finding, count, place, shell};
use super::ground::Ground;
use super::run;
use crate::call::Environment;
use crate::config::{Config, UnsignedRulings};
use crate::credential::trust;
use crate::proxy;
use crate::signing::{self, PrivateFile, Signers};

/// Files of a folder of keys that are looked at, and the longest of them.
const MAX_FILES: usize = 200;
const MAX_KEY: u64 = 64 << 10;

/// A key by which somebody approves, where a program of this account finds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Open {
    /// A file without a passphrase.
    File { path: PathBuf, fingerprint: String },
    /// ssh-agent has it.
    Agent { fingerprint: String },
}

pub fn check(ground: &Ground) -> Vec<Finding> {
    let Some(config) = &ground.config else { return Vec::new() };
    let mut found = unsigned(config, ground);
    let Some(path) = &config.operators.allowed_signers else {
        found.extend(nobody(config));
        return found;
    };
    let signers = match proxy::signers(path) {
        Ok(signers) => signers,
        Err(error) => {
            let text = error.lines().next().unwrap_or_default();
            found.push(Finding::problem(place(path), text).run(format!("correct that line of {}", shell(path))));
            return found;
        }
    };
    found.extend(listed(path, &signers, Timestamp::now()));
    if signers.iter().next().is_none() {
        found.extend(nobody(config));
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let mut open = home.as_ref().map(|home| files(&home.join(".ssh"), &signers)).unwrap_or_default();
    let named = std::env::var_os("COUNTERSIGN_SIGN_WITH").filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = &named {
        let known = open.iter().any(|open| matches!(open, Open::File { path: known, .. } if is_same(known, path)));
        open.extend(key_at(path, &signers).filter(|_| !known));
        found.extend((!path.is_file()).then(|| nowhere(path)));
    }
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
    let asked = socket.as_ref().and_then(|socket| agent(&signers, socket));
    let places = [
        home.is_some().then_some("in ~/.ssh"),
        named.as_ref().filter(|path| path.is_file()).map(|_| "at COUNTERSIGN_SIGN_WITH"),
        asked.as_ref().map(|_| "in ssh-agent"),
    ];
    let places: Vec<_> = places.into_iter().flatten().collect();
    let words = format!("no operator's key lies open {}; it was looked for nowhere else", places.join(", "));
    let silent = socket.filter(|_| asked.is_none());
    open.extend(asked.unwrap_or_default());
    found.extend(open.iter().map(|open| lies_open(open, &signers)));
    if signers.iter().next().is_some() {
        found.extend(silent.map(|socket| unasked(&socket)));
        found.extend((open.is_empty() && !places.is_empty()).then(|| Finding::ok("", words)));
    }
    found
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().ok().is_some_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn nowhere(path: &Path) -> Finding {
    let text = "COUNTERSIGN_SIGN_WITH names it, and there is no such file: the console does not start with it";
    Finding::warning(place(path), text).run("export COUNTERSIGN_SIGN_WITH=KEY   # or unset it")
}

fn unasked(socket: &OsStr) -> Finding {
    let place = socket.to_string_lossy();
    let text = format!("ssh-agent at {place} could not be asked: whether it signs with an operator's key is not known");
    Finding::note("", text).run("ssh-add -l   # or, where no agent runs: unset SSH_AUTH_SOCK")
}

/// Servers whose approvals have to be signed.
pub fn signed(config: &Config) -> impl Iterator<Item = &str> {
    let needs = |environment: &str| match config.operators.unsigned_rulings {
        Some(UnsignedRulings::Refuse) => true,
        Some(UnsignedRulings::Accept) => false,
        None => Environment::declared(environment).is_production(),
    };
    config.servers.iter().filter(move |(_, server)| needs(&server.environment)).map(|(name, _)| name.as_str())
}

fn nobody(config: &Config) -> Option<Finding> {
    let first = signed(config).next()?;
    let text = format!("approvals of {first} have to be signed, and no operator is listed: nobody can approve");
    let folder = config.path.as_deref().and_then(Path::parent);
    let list = folder.map_or_else(|| PathBuf::from("operators.pub"), |folder| folder.join("operators.pub"));
    let command = format!("countersign operator enroll NAME --key ~/.ssh/KEY.pub --allowed-signers {}", shell(&list));
    Some(Finding::warning("", text).run(command))
}

fn unsigned(config: &Config, ground: &Ground) -> Vec<Finding> {
    if config.operators.unsigned_rulings != Some(UnsignedRulings::Accept) {
        return Vec::new();
    }
    let production = |environment: &str| Environment::declared(environment).is_production();
    let mut servers =
        config.servers.iter().filter(|(_, server)| production(&server.environment)).map(|(name, _)| name.as_str());
    let Some(first) = servers.next() else { return Vec::new() };
    let text =
        format!("unsigned rulings are accepted for production ({first}): every program of this account can approve");
    let command = "write operators: { unsigned_rulings: refuse, allowed_signers: operators.pub }, and enroll: \
                   countersign operator enroll NAME --key ~/.ssh/KEY.pub";
    let clients_too = config.principals.iter().any(|entry| entry.by == crate::config::Match::Uid(ground.me));
    let found = if clients_too {
        Finding::problem("", format!("{text}, and clients run under it"))
    } else {
        Finding::warning("", text)
    };
    vec![found.run(command)]
}

fn listed(path: &Path, signers: &Signers, now: Timestamp) -> Vec<Finding> {
    let names: Vec<&str> = signers.iter().map(|signer| signer.operator.as_str()).collect();
    let mut found =
        vec![Finding::ok(place(path), format!("{} of operators: {}", count(names.len(), "key"), names.join(", ")))];
    for signer in signers.iter().filter(|signer| !signer.is_valid_at(now)) {
        let text = format!("the key {} of {} is not valid now", signer.fingerprint(), signer.operator);
        found.push(
            Finding::warning(place(path), text).run(format!("correct valid-after and valid-before in {}", shell(path))),
        );
    }
    found
}

fn of<'a>(signers: &'a Signers, fingerprint: &str) -> Option<&'a signing::Signer> {
    signers.iter().find(|signer| signer.fingerprint() == fingerprint)
}

/// Private keys of operators that anything which reads them signs with.
pub fn files(folder: &Path, signers: &Signers) -> Vec<Open> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    entries.flatten().take(MAX_FILES).filter_map(|entry| key_at(&entry.path(), signers)).collect()
}

/// A file, where it is a private key of an operator's that anything which reads it signs with.
fn key_at(path: &Path, signers: &Signers) -> Option<Open> {
    let PrivateFile { fingerprint, open } = signing::private_file(&text(path)?)?;
    // What hides its fingerprint has its public half beside it.
    let mut public = path.as_os_str().to_owned();
    public.push(".pub");
    let fingerprint = fingerprint.or_else(|| signing::fingerprint_of(&text(Path::new(&public))?))?;
    let operators = open && of(signers, &fingerprint).is_some();
    operators.then(|| Open::File { path: path.to_owned(), fingerprint })
}

fn text(path: &Path) -> Option<Zeroizing<String>> {
    let found = path.metadata().ok()?;
    if !found.is_file() || found.len() > MAX_KEY {
        return None;
    }
    std::fs::read_to_string(path).ok().map(Zeroizing::new)
}

/// Keys of operators that the agent has. Its protocol does not say whether it asks before it signs. Nothing where it could
/// not be asked.
fn agent(signers: &Signers, socket: &OsStr) -> Option<Vec<Open>> {
    let program = trust::find_command("ssh-add", std::env::var_os("PATH").as_deref()).ok()?.display().to_string();
    let (code, said) = run::answer(&[&program, "-l", "-E", "sha256"], &[("SSH_AUTH_SOCK", socket)])?;
    // 1: it has no keys. 2: it cannot be reached.
    if !matches!(code, 0 | 1) {
        return None;
    }
    let keys = said.lines().filter_map(|line| line.split_whitespace().nth(1));
    // The agent has the handle of a security key, and the key is touched all the same.
    let open = |print: &&str| of(signers, print).is_some_and(|signer| !signer.is_security_key());
    Some(keys.filter(open).map(|fingerprint| Open::Agent { fingerprint: fingerprint.to_owned() }).collect())
}

fn lies_open(open: &Open, signers: &Signers) -> Finding {
    let name = |fingerprint: &str| of(signers, fingerprint).map_or("", |signer| signer.operator.as_str()).to_owned();
    match open {
        Open::File { path, fingerprint } => {
            let text = format!(
                "the key of {} has no passphrase: every program of this account can approve with it",
                name(fingerprint)
            );
            Finding::problem(place(path), text).run(format!("ssh-keygen -p -f {}", shell(path)))
        }
        Open::Agent { fingerprint } => {
            let text = format!(
                "ssh-agent has the key {fingerprint} of {}: unless it was added with -c, it signs for every program of \
                 this account",
                name(fingerprint)
            );
            Finding::warning("", text)
                .run("ssh-add -d KEY && ssh-add -c KEY   # or a security key: ssh-keygen -t ed25519-sk")
        }
    }
}
