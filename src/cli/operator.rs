//! `countersign operator`: who may sign rulings. The list is OpenSSH's `allowed_signers`; nothing here talks to a daemon,
//! which reads the list anew for every signature.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs::{OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::Exit;
use crate::config::{self, Config};
use crate::console::sign::Signing;
use crate::console::visible;
use crate::control::wire::is_operator_name;
use crate::signing::{self, Signers, tool};

const SCHEMA: &str = "countersign.operators/v1";

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Let somebody sign rulings: adds a public key to the list of operators
    Enroll {
        /// The operator's name, as records and screens will show it
        name: String,
        /// The public key's file
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        #[command(flatten)]
        list: List,
    },
    /// Who may sign rulings
    Ls {
        #[command(flatten)]
        list: List,
        #[arg(short, long, value_enum, default_value_t = Format::Table)]
        output: Format,
    },
    /// Sign a text that is no ruling, and verify it as the daemon would
    Check {
        #[command(flatten)]
        sign: SignArgs,
        #[command(flatten)]
        list: List,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Where the list is.
#[derive(clap::Args, Debug)]
pub struct List {
    /// The list of operators, instead of the configuration's
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    allowed_signers: Option<PathBuf>,
    /// The configuration that names the list
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Who signs, and with what.
#[derive(clap::Args, Clone, Debug)]
pub struct SignArgs {
    /// Sign with this key: a private key's file, or a public key's whose private half the agent has; else
    /// COUNTERSIGN_SIGN_WITH
    #[arg(long, value_name = "KEY")]
    sign_with: Option<PathBuf>,
    /// The signer's name in the list of operators, and what other operators see beside the account; else
    /// COUNTERSIGN_OPERATOR, else the user's name
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
}

/// What the operator wants to be called, where that was said and is a name that others can read.
pub fn name(given: Option<&str>) -> Option<String> {
    let variable = std::env::var("COUNTERSIGN_OPERATOR").ok();
    given.map(str::to_owned).or(variable).filter(|name| is_operator_name(name))
}

impl SignArgs {
    /// See [`name`].
    pub fn name(&self) -> Option<String> {
        name(self.operator.as_deref())
    }

    pub fn operator(&self) -> Option<String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.operator.clone().or_else(|| variable("COUNTERSIGN_OPERATOR")).or_else(|| variable("USER"))
    }

    /// Nothing where no key is named.
    ///
    /// # Errors
    /// A key that is not there, or no name.
    pub fn signing(&self) -> anyhow::Result<Option<Signing>> {
        let variable = std::env::var_os("COUNTERSIGN_SIGN_WITH").filter(|value| !value.is_empty());
        let Some(key) = self.sign_with.clone().or_else(|| variable.map(PathBuf::from)) else { return Ok(None) };
        if !key.is_file() {
            bail!("{}: there is no such key; name a key's file with --sign-with", key.display());
        }
        let operator = self.operator().context("say who signs with --operator NAME")?;
        Ok(Some(Signing { operator, key }))
    }
}

impl List {
    /// The list, and the configuration that names it, where it does.
    fn path(&self) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.allowed_signers {
            return Ok(path.clone());
        }
        let config = config::load(self.config.as_deref())?;
        Ok(config.operators.allowed_signers.clone().unwrap_or_else(|| beside(&config)))
    }

    /// Whether the daemon looks at this list; what to write where it does not.
    fn is_used(&self, path: &Path) -> bool {
        let named = config::load(self.config.as_deref()).ok().and_then(|config| config.operators.allowed_signers);
        let place = |path: &Path| path.canonicalize().ok();
        named.is_some_and(|named| place(&named).is_some() && place(&named) == place(path))
    }
}

fn beside(config: &Config) -> PathBuf {
    let folder = config.path.as_deref().and_then(Path::parent).unwrap_or(Path::new("."));
    folder.join("operators.pub")
}

pub fn run(command: Command) -> anyhow::Result<Exit> {
    crate::credential::harden::harden().context("cannot protect this process")?;
    match command {
        Command::Enroll { name, key, list } => enroll(&name, &key, &list),
        Command::Ls { list, output } => show(&list, output),
        Command::Check { sign, list } => check(&sign, &list),
    }
}

fn read(path: &Path) -> anyhow::Result<Signers> {
    crate::proxy::signers(path).map_err(|error| anyhow::anyhow!("{error}"))
}

fn enroll(name: &str, key: &Path, list: &List) -> anyhow::Result<Exit> {
    let text = std::fs::read_to_string(key).with_context(|| format!("{}: cannot be read", key.display()))?;
    if text.contains("PRIVATE KEY") {
        bail!("{}: this is a private key, which never leaves its owner: give the file with .pub", key.display());
    }
    let line = signing::line_of(name, &text)
        .map_err(|error| anyhow::anyhow!("{}: not an OpenSSH public key: {error}", key.display()))?;
    let path = list.path()?;
    let mut whole = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    };
    if !whole.is_empty() && !whole.ends_with('\n') {
        whole.push('\n');
    }
    whole.push_str(&line);
    whole.push('\n');
    // The new line is judged with the others: nothing is written that the daemon would not take.
    let signers = Signers::parse(&whole).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    replace(&path, &whole)?;
    let signer = signers.iter().last().context("the list is empty")?;
    println!("{name} may sign rulings with {} {}", signer.kind(), signer.fingerprint());
    println!("  in {}", path.display());
    if !list.is_used(&path) {
        let place = path.canonicalize().unwrap_or(path);
        println!("  write into countersign.yaml: operators: {{ allowed_signers: {} }}", place.display());
    }
    if !signer.is_security_key() {
        let private = key.with_extension("");
        eprintln!("note: {}", advice(&private));
    }
    Ok(Exit::Ok)
}

/// How far a key protects against a program of the same account.
fn advice(private: &Path) -> String {
    let open = std::fs::read_to_string(private).is_ok_and(|text| signing::is_unprotected(&text));
    if open {
        return format!(
            "{} has no passphrase: every program of its account can approve with it (ssh-keygen -p -f {0})",
            private.display()
        );
    }
    "an agent that asks for no confirmation signs for every program of the account: use ssh-add -c, a security key \
     (ssh-keygen -t ed25519-sk), or the passphrase each time"
        .to_owned()
}

/// In one step, so that the daemon never reads half a list.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
        // It is no secret, and a daemon of another account reads it: this process's mask is not for it.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    written().with_context(|| format!("{}: cannot be written", path.display()))
}

fn show(list: &List, format: Format) -> anyhow::Result<Exit> {
    let path = list.path()?;
    let signers = read(&path)?;
    let now = jiff::Timestamp::now();
    match format {
        Format::Json => {
            let operators: Vec<_> = signers
                .iter()
                .map(|signer| {
                    json!({
                        "operator": signer.operator, "kind": signer.kind(), "key": signer.fingerprint(),
                        "valid": signer.is_valid_at(now), "security_key": signer.is_security_key(),
                    })
                })
                .collect();
            println!("{}", json!({"schema": SCHEMA, "path": path, "operators": operators}));
        }
        Format::Table => {
            for signer in signers.iter() {
                let valid = if signer.is_valid_at(now) { "" } else { "  not valid now" };
                let name = visible::line(&signer.operator);
                println!("{name}  {}  {}{valid}", signer.kind(), signer.fingerprint());
            }
        }
    }
    Ok(Exit::Ok)
}

fn check(sign: &SignArgs, list: &List) -> anyhow::Result<Exit> {
    let Some(signing) = sign.signing()? else { bail!("name the key with --sign-with KEY") };
    let signers = read(&list.path()?)?;
    let now = jiff::Timestamp::now();
    // No ruling has this first line.
    let text = format!("countersign check 1\nat: {now}\n");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signature = match runtime.block_on(tool::sign(&signing.key, &text)) {
        Ok(signature) => signature,
        Err(error) => {
            eprintln!("countersign: {}", visible::line(&error.to_string()));
            return Ok(Exit::AuthNeeded);
        }
    };
    match signing::verify(&text, &signing.operator, &signature, &signers, now) {
        Ok(proof) => {
            println!("{} signs with {}", proof.operator, proof.key);
            Ok(Exit::Ok)
        }
        Err(error) => {
            eprintln!("countersign: the signature would not count: {}", visible::line(&error.to_string()));
            Ok(Exit::AuthNeeded)
        }
    }
}
