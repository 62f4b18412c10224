//! What lies on disk is sealed with AES-256-GCM, under a key that lies elsewhere: the folder of tokens alone, in a backup
//! or a copy, is worth nothing. Whoever can read both reads the tokens; a configured key can be kept further away.
//!
//! Invariant: a sealed text opens for the name that it was sealed for, under the key that sealed it, or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use super::store::StoreError;
use crate::credential::secret::Secret;
use crate::credential::trust::{self, Readers};

const HEAD: &[u8] = b"countersign oauth 1\n";
const SALT: &[u8] = b"countersign tokens of servers";
const KEY_LEN: usize = 32;
/// Fewer characters than this hold no 128 random bits in any usual spelling.
const SHORTEST: usize = 22;

pub(super) struct Sealer {
    key: LessSafeKey,
    random: SystemRandom,
}

impl Sealer {
    /// Under a key of the operator's.
    pub(super) fn under(secret: &Secret) -> Result<Sealer, StoreError> {
        if secret.expose().len() < SHORTEST {
            return Err(StoreError::WeakKey(SHORTEST));
        }
        let extracted = Salt::new(HKDF_SHA256, SALT).extract(secret.expose().as_bytes());
        let key = extracted.expand(&[HEAD], &AES_256_GCM).map_err(|_| StoreError::Random)?;
        Ok(Sealer { key: LessSafeKey::new(UnboundKey::from(key)), random: SystemRandom::new() })
    }

    /// Under the key in a file, which is made where it is missing.
    pub(super) fn in_file(path: &Path) -> Result<Sealer, StoreError> {
        let random = SystemRandom::new();
        if !path.try_exists().map_err(|error| StoreError::io(path, error))? {
            make(path, &random)?;
        }
        let bytes = trust::read(path, Readers::OwnerOnly, KEY_LEN)?;
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| StoreError::KeyFile(path.to_owned()))?;
        Ok(Sealer { key: LessSafeKey::new(key), random })
    }

    pub(super) fn seal(&self, name: &str, text: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| StoreError::Random)?;
        // Sealed in place: no plain copy stays behind.
        let mut body = Zeroizing::new(Vec::with_capacity(text.len() + AES_256_GCM.tag_len()));
        body.extend_from_slice(text);
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce_used, aad(name), &mut *body).map_err(|_| StoreError::Random)?;
        Ok([HEAD, &nonce, &body].concat())
    }

    /// Nothing where it was sealed under another key, for another name, or changed.
    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, body) = sealed.strip_prefix(HEAD)?.split_first_chunk::<NONCE_LEN>()?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad(name), &mut body)
            .ok()
            .map(|plain| plain.len())?;
        body.truncate(length);
        Some(body)
    }
}

fn aad(name: &str) -> Aad<Vec<u8>> {
    Aad::from([HEAD, name.as_bytes()].concat())
}

/// Appears whole or not at all; of two that are made at once one stays.
fn make(path: &Path, random: &SystemRandom) -> Result<(), StoreError> {
    let failed = |error| StoreError::io(path, error);
    let mut key = Zeroizing::new([0; KEY_LEN]);
    random.fill(&mut *key).map_err(|_| StoreError::Random)?;
    let new = path.with_extension(format!("key.{}", std::process::id()));
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(failed)?;
    let written = file.write_all(&*key).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&new, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let _ = fs::remove_file(&new);
    linked.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_name_under_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("oauth.key");
        let sealer = Sealer::in_file(&path).unwrap();
        let sealed = sealer.seal("stripe", b"{\"access_token\":\"at_1\"}").unwrap();
        assert!(!sealed.windows(4).any(|window| window == b"at_1"));
        assert_ne!(
            sealed,
            sealer.seal("stripe", b"{\"access_token\":\"at_1\"}").unwrap(),
            "a nonce of its own each time"
        );
        // Another process finds the same key.
        let again = Sealer::in_file(&path).unwrap();
        assert_eq!(&**again.open("stripe", &sealed).unwrap(), b"{\"access_token\":\"at_1\"}");
        assert!(again.open("statsig", &sealed).is_none(), "for another server");
        for at in [0, HEAD.len(), HEAD.len() + NONCE_LEN, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(again.open("stripe", &changed).is_none(), "changed at {at}");
        }
        assert!(again.open("stripe", &sealed[..HEAD.len() + 3]).is_none());
        let other = Sealer::under(&Secret::new("0123456789abcdef0123456789".to_owned())).unwrap();
        assert!(other.open("stripe", &sealed).is_none(), "under another key");
    }

    #[test]
    fn a_short_key_is_refused() {
        assert!(matches!(Sealer::under(&Secret::new("hunter2hunter2".to_owned())), Err(StoreError::WeakKey(_))));
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("oauth.key");
        Sealer::in_file(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Sealer::in_file(&path), Err(StoreError::Trust { .. })));
        fs::write(&path, "short").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Sealer::in_file(&path), Err(StoreError::KeyFile(_))));
    }
}
