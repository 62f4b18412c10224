//! `countersign principal`: tokens for clients. The daemon gets the hash alone; nothing here reads or writes a file.

#![allow(clippy::print_stderr)]

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Exit;
use crate::call::BUILTIN_PRINCIPAL;
use crate::credential::harden;
use crate::credential::shape::CLIENT_TOKEN;

const SCHEMA: &str = "countersign.token/v1";
/// Random bytes of a token.
const BYTES: usize = 32;

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Make a bearer token for a client: printed once, and kept nowhere. The configuration gets its hash
    Token {
        /// The principal's name, as the configuration has it
        name: String,
        #[arg(short, long, value_enum, default_value_t = Format::Text)]
        output: Format,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Format {
    /// The token alone on stdout, the line for the configuration on stderr
    Text,
    Json,
}

/// # Errors
/// A name that no principal can have, or no randomness.
pub fn run(command: Command) -> anyhow::Result<Exit> {
    harden::harden().context("cannot protect this process")?;
    match command {
        Command::Token { name, output } => token(&name, output),
    }
}

fn token(name: &str, output: Format) -> anyhow::Result<Exit> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(valid) || name.eq_ignore_ascii_case(BUILTIN_PRINCIPAL) {
        bail!(
            "{name:?} cannot be the name of a principal: 1 to 64 of the characters a-z, A-Z, 0-9, `_`, `-`, `.` and `@`"
        );
    }
    let mut bytes = Zeroizing::new([0; BYTES]);
    getrandom::fill(bytes.as_mut_slice()).context("the system has no randomness for a token")?;
    let token = Zeroizing::new(format!("{CLIENT_TOKEN}{}", &*Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))));
    let hash: String = Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    match output {
        Format::Json => {
            let line = json!({"schema": SCHEMA, "principal": name, "token": *token, "sha256": hash});
            say!("{}", *Zeroizing::new(line.to_string()));
        }
        Format::Text => {
            eprintln!("The token of {name}, shown once; it goes to the client:");
            say!("{}", *token);
            eprintln!("In countersign.yaml, under `principals`:");
            eprintln!("  - {{ name: {name}, match: {{ token: {{ sha256: {hash} }} }}, scopes: [\"*/read\"] }}");
        }
    }
    Ok(Exit::Ok)
}
