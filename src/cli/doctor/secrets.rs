//! Keys: each can be had, and nobody else can read where it is. What is shown of one is the start of its hash.

use super::files;
use super::finding::{Finding, shell};
use super::ground::Ground;
use crate::config::SecretSource;
use crate::credential::keyring::KeyringError;
use crate::credential::secret::{Secret, SecretCell};
use crate::credential::source::SecretError;

pub fn check(ground: &Ground) -> Vec<Finding> {
    let Some(config) = &ground.config else { return Vec::new() };
    let each = config.secrets.iter().filter_map(|(name, from)| Some((name, from, ground.secrets.get(name)?)));
    each.map(|(name, from, had)| judged(ground, name, from, had)).collect()
}

fn judged(ground: &Ground, name: &str, from: &SecretSource, had: &Result<SecretCell, SecretError>) -> Finding {
    let why = match had {
        Ok(secret) => return Finding::ok(name, shown(&secret.current())),
        Err(why) => why,
    };
    // The name stands before it anyway.
    let text = why.to_string();
    let text = text.strip_prefix(&format!("secret `{name}`: ")).unwrap_or(&text);
    match (why, from) {
        (SecretError::Unset { variable, .. }, _) if ground.daemon.is_ok() => {
            let text = format!("the variable {variable} is not set here; the daemon has read its own when it started");
            Finding::note(name, text)
        }
        (SecretError::Failed { .. }, SecretSource::Command { inherit, .. })
            if ground.daemon.is_ok() && inherit.iter().any(|variable| std::env::var_os(variable).is_none()) =>
        {
            let missing: Vec<&str> =
                inherit.iter().map(String::as_str).filter(|name| std::env::var_os(name).is_none()).collect();
            let text = format!("{text}; not set here: {}; the daemon may have it", missing.join(", "));
            Finding::note(name, text)
        }
        (SecretError::Unset { variable, .. }, _) => Finding::problem(name, text).run(format!("export {variable}=...")),
        (SecretError::NotStored { .. }, _) => {
            Finding::problem(name, "nothing is stored under this name").run(format!("countersign secret set {name}"))
        }
        (SecretError::File { error, .. }, _) => Finding { about: name.to_owned(), ..files::untrusted(ground, error) },
        (SecretError::Keyring { error: KeyringError::Missing(_), .. }, _) => {
            Finding::problem(name, text).run(format!("countersign secret set {name}"))
        }
        (SecretError::Keyring { error, .. }, _) => Finding::problem(name, error.to_string()).run(error.help()),
        (SecretError::Program { error, .. }, _) => Finding::problem(name, error.to_string()).run(error.help()),
        (SecretError::Unfit { .. }, SecretSource::Stored(_) | SecretSource::Keyring(_)) => {
            Finding::problem(name, text).run(format!("countersign secret set {name}"))
        }
        (SecretError::Unfit { .. }, SecretSource::File(path)) => {
            Finding::problem(name, text).run(format!("write the key, and nothing else, into {}", shell(path)))
        }
        (SecretError::Unfit { .. }, SecretSource::Env(variable)) => {
            Finding::problem(name, text).run(format!("export {variable}=...   # the key, and nothing else"))
        }
        (
            SecretError::Start { .. }
            | SecretError::Time { .. }
            | SecretError::Failed { .. }
            | SecretError::Unfit { .. },
            _,
        ) => Finding::problem(name, text).run(by_hand(from)),
    }
}

fn by_hand(from: &SecretSource) -> String {
    match from {
        SecretSource::Command { argv, .. } => {
            let words: Vec<String> = argv.iter().map(|word| crate::cli::quoted(word)).collect();
            format!("{}   # it has to print the key, and nothing else", words.join(" "))
        }
        SecretSource::Env(_) | SecretSource::File(_) | SecretSource::Stored(_) | SecretSource::Keyring(_) => {
            String::new()
        }
    }
}

fn shown(secret: &Secret) -> String {
    let start: String = secret.digest().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("[set, sha256:{start}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_of_the_hash_are_all_that_is_shown() {
        let shown = shown(&Secret::new("sk_live_CANARY7Qm2Zt9XeVb4".to_owned()));
        assert_eq!(shown.len(), "[set, sha256:12345678]".len());
        assert!(!shown.contains("CANARY"), "{shown}");
    }
}
