//! The keyring of the desktop's session: the Secret Service on the session's D-Bus (GNOME Keyring, KWallet, KeePassXC);
//! on macOS the login keychain.
//!
//! Invariant: nothing waits for it longer than [`TIME`], whatever a dialog, a lock or a broken service does; an item is
//! only taken where exactly one has the two attributes.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::secret::Secret;

/// Long enough for somebody to type a password into the keyring's dialog.
pub const TIME: Duration = Duration::from_secs(30);

/// An item, by its attributes `service` and `username` (in a keychain: service and account).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    pub service: String,
    pub user: String,
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service {:?}, user {:?}", self.service, self.user)
    }
}

/// Why the keyring gives or takes nothing. No variant holds any of a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("no keyring can be reached: {0}")]
    Unreachable(String),
    #[error("the keyring is locked: {0}")]
    Locked(String),
    #[error("the keyring has no item with {0}")]
    Missing(Item),
    #[error("the keyring has {count} items with {item}")]
    Several { item: Item, count: usize },
    #[error("the keyring failed: {0}")]
    Failed(String),
    #[error("the keyring did not answer within {} s", TIME.as_secs())]
    Time,
    #[error("on this system countersign knows no keyring")]
    NotHere,
}

impl KeyringError {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self {
            KeyringError::Unreachable(_) | KeyringError::Locked(_) if cfg!(target_os = "macos") => {
                "countersign must run in your session, with its login keychain unlocked: security unlock-keychain".to_owned()
            }
            KeyringError::Unreachable(_) => "countersign must run in your session, with DBUS_SESSION_BUS_ADDRESS set and a \
                                             Secret Service such as gnome-keyring; else write `stored`, or { file: PATH }"
                .to_owned(),
            KeyringError::Locked(_) => "unlock it, and answer its dialog".to_owned(),
            KeyringError::Missing(_) => {
                "keep it there: countersign secret set NAME, with the name that the configuration has for it".to_owned()
            }
            KeyringError::Several { item: Item { service, user }, .. } => format!(
                "keep one of them: secret-tool search --all service '{service}' username '{user}' shows where they are"
            ),
            KeyringError::Failed(_) if cfg!(target_os = "macos") => {
                "look at the item in Keychain Access: whether countersign may use it is said there".to_owned()
            }
            KeyringError::Failed(_) => "look at the keyring with its own program (Seahorse, KWalletManager)".to_owned(),
            KeyringError::Time => "see whether it waits for an answer in a dialog".to_owned(),
            KeyringError::NotHere => "write `stored`, { file: PATH }, or a command that asks it".to_owned(),
        }
    }
}

/// The key in an item.
///
/// # Errors
/// [`KeyringError`].
pub async fn get(item: &Item) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
    let item = item.clone();
    ask(move || service::get(&item)).await
}

/// Keeps a key in the item, which is made in the default keyring where there is none.
///
/// # Errors
/// [`KeyringError`].
pub async fn put(item: &Item, secret: &Secret) -> Result<(), KeyringError> {
    let (item, key) = (item.clone(), Zeroizing::new(secret.expose().as_bytes().to_vec()));
    ask(move || service::put(&item, &key)).await
}

/// Forgets an item.
///
/// # Errors
/// [`KeyringError`].
pub async fn remove(item: &Item) -> Result<(), KeyringError> {
    let item = item.clone();
    ask(move || service::remove(&item)).await
}

/// On a thread of its own, which is left behind where it hangs: the end of the runtime does not wait for it.
async fn ask<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, KeyringError> + Send + 'static,
) -> Result<T, KeyringError> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("keyring".to_owned());
    // Nobody may wait for the answer any more.
    thread.spawn(move || drop(answer.send(question()))).map_err(|error| KeyringError::Failed(error.to_string()))?;
    match tokio::time::timeout(TIME, answered).await {
        Err(_) => Err(KeyringError::Time),
        Ok(Err(_)) => Err(KeyringError::Failed("it could not be asked".to_owned())),
        Ok(Ok(answer)) => answer,
    }
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
mod service {
    use std::sync::Arc;

    #[cfg(target_os = "macos")]
    use apple_native_keyring_store::keychain::Store;
    use keyring_core::api::CredentialStoreApi as _;
    use keyring_core::{Entry, Error};
    #[cfg(target_os = "linux")]
    use zbus_secret_service_keyring_store::Store;
    use zeroize::Zeroizing;

    use super::{Item, KeyringError};
    use crate::credential::shape;

    pub fn get(item: &Item) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        entry(item)?.get_secret().map(Zeroizing::new).map_err(|error| said(item, error))
    }

    pub fn put(item: &Item, key: &[u8]) -> Result<(), KeyringError> {
        entry(item)?.set_secret(key).map_err(|error| said(item, error))
    }

    pub fn remove(item: &Item) -> Result<(), KeyringError> {
        entry(item)?.delete_credential().map_err(|error| said(item, error))
    }

    fn entry(item: &Item) -> Result<Entry, KeyringError> {
        let store: Arc<Store> = Store::new().map_err(|error| KeyringError::Unreachable(words(&error)))?;
        store.build(&item.service, &item.user, None).map_err(|error| said(item, error))
    }

    fn said(item: &Item, error: Error) -> KeyringError {
        match error {
            Error::NoEntry => KeyringError::Missing(item.clone()),
            Error::Ambiguous(entries) => KeyringError::Several { item: item.clone(), count: entries.len() },
            Error::NoStorageAccess(why) => KeyringError::Locked(words(&why)),
            // These two carry what was read.
            Error::BadEncoding(_) | Error::BadDataFormat(..) => KeyringError::Failed("it gave no text".to_owned()),
            other => KeyringError::Failed(words(&other)),
        }
    }

    /// In one line of plain characters.
    fn words(error: &dyn std::fmt::Display) -> String {
        let text = error.to_string();
        let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
        shape::mask(&words.join(" ")).chars().take(300).collect()
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod service {
    use zeroize::Zeroizing;

    use super::{Item, KeyringError};

    pub fn get(_: &Item) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        Err(KeyringError::NotHere)
    }

    pub fn put(_: &Item, _: &[u8]) -> Result<(), KeyringError> {
        Err(KeyringError::NotHere)
    }

    pub fn remove(_: &Item) -> Result<(), KeyringError> {
        Err(KeyringError::NotHere)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_keyring_that_does_not_answer_is_given_up() {
        let (answer, waits) = std::sync::mpsc::channel::<()>();
        let given_up = ask(move || {
            _ = waits.recv();
            Ok(())
        });
        assert!(matches!(given_up.await, Err(KeyringError::Time)));
        drop(answer);
    }

    /// By a clock that runs: a stopped one goes on as soon as only another thread works.
    #[tokio::test]
    async fn a_keyring_that_fails_in_the_middle_of_an_answer_gives_no_key() {
        let lost = ask(|| -> Result<(), KeyringError> { std::panic::resume_unwind(Box::new(())) });
        assert!(matches!(lost.await, Err(KeyringError::Failed(_))));
    }

    #[test]
    fn every_failure_says_what_to_do() {
        let item = || Item { service: "s".to_owned(), user: "u".to_owned() };
        let word = || "why".to_owned();
        for error in [
            KeyringError::Unreachable(word()),
            KeyringError::Locked(word()),
            KeyringError::Missing(item()),
            KeyringError::Several { item: item(), count: 2 },
            KeyringError::Failed(word()),
            KeyringError::Time,
            KeyringError::NotHere,
        ] {
            assert!(error.help().len() > 20, "{error}");
        }
    }
}
