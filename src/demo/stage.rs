//! What the play needs around it: a folder that is gone afterwards, the production key, the billing server, the
//! configuration, and the log of the process.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::billing::Billing;
use crate::credential::secret::Secret;

/// The server's name in the configuration.
pub const SERVER: &str = "billing";
/// More log than this is not kept, and then nobody can say that the key is not in it.
const MAX_LOG: usize = 8 << 20;

/// A folder of this user alone. Dropping it removes it and everything in it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Where the system puts temporary files. The name is random and must not exist yet.
    fn create() -> io::Result<Folder> {
        let path = std::env::temp_dir().join(format!("countersign-demo-{}", random_hex::<6>()?));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Folder(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "the folder of the demo is left behind");
        }
    }
}

/// The billing company and everything the daemon is configured from.
#[derive(Debug)]
pub struct Stage {
    pub billing: Billing,
    key: Arc<Secret>,
    folder: Folder,
}

impl Stage {
    /// # Errors
    /// Where the system has no randomness, no room or no port.
    pub async fn set() -> io::Result<Stage> {
        let folder = Folder::create()?;
        let key = Arc::new(Secret::new(format!("billing_live_{}", random_hex::<24>()?)));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(key_file(&folder))?;
        file.write_all(key.expose().as_bytes())?;
        for name in ["state", "run"] {
            DirBuilder::new().mode(0o700).create(folder.path().join(name))?;
        }
        let billing = Billing::start(Arc::clone(&key)).await?;
        Ok(Stage { billing, key, folder })
    }

    /// Where [`Stage::config`] would be, were it a file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("countersign.yaml")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The text of `countersign.yaml`. Strings are written as JSON, which YAML reads as it is.
    pub fn config(&self) -> String {
        let path = |path: PathBuf| json!(path.to_string_lossy());
        let (state, run) = (path(self.state_dir()), path(self.folder.path().join("run")));
        let (key, url) = (path(key_file(&self.folder)), json!(self.billing.url()));
        let uid = rustix::process::geteuid().as_raw();
        format!(
            "version: 1\n\
             state_dir: {state}\n\
             runtime_dir: {run}\n\
             secrets:\n\
             \x20 billing_key: {{ file: {key} }}\n\
             servers:\n\
             \x20 {SERVER}:\n\
             \x20   vendor: billing\n\
             \x20   environment: production\n\
             \x20   upstream:\n\
             \x20     http:\n\
             \x20       url: {url}\n\
             \x20       allow_plain_http: true\n\
             \x20       headers: {{ Authorization: {{ secret: billing_key, prefix: \"Bearer \" }} }}\n\
             principals:\n\
             \x20 - name: support-agent\n\
             \x20   match: {{ uid: {uid} }}\n\
             \x20   scopes: [\"billing/read\", \"billing/create_refund\"]\n\
             policy: {{ builtin: [environment, destructive, scopes, pins] }}\n\
             operators: {{ unsigned_rulings: accept }}\n"
        )
    }

    pub fn holds_key(&self, text: &str) -> bool {
        text.contains(self.key.expose())
    }

    /// Files of the daemon that contain the key.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn files_with_key(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && path != key_file(&self.folder) && contains(&fs::read(&path)?, &self.key) {
                    found.push(path.display().to_string());
                }
            }
        }
        Ok(found)
    }

    /// Closes the billing server and removes the folder.
    pub async fn clear(self) {
        self.billing.stop().await;
    }
}

fn key_file(folder: &Folder) -> PathBuf {
    folder.path().join("billing.key")
}

fn contains(bytes: &[u8], key: &Secret) -> bool {
    let key = key.expose().as_bytes();
    bytes.windows(key.len()).any(|window| window == key)
}

fn random_hex<const N: usize>() -> io::Result<String> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Everything that this process logs while the demo runs: it is searched for the key, and kept off the screen.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Nothing where more was logged than is kept.
    pub fn text(&self) -> Option<String> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (bytes.len() < MAX_LOG).then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_LOG - log.len();
        log.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_folder_is_private_and_gone_afterwards() {
        let stage = Stage::set().await.unwrap();
        let path = stage.folder.path().to_owned();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&stage.state_dir()), 0o700);
        assert_eq!(mode(&key_file(&stage.folder)), 0o600);
        stage.clear().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn the_config_is_yaml_without_the_key() {
        let stage = Stage::set().await.unwrap();
        let text = stage.config();
        assert!(!stage.holds_key(&text));
        let yaml: serde_json::Value = serde_yaml::from_str(&text).unwrap();
        let header = "/servers/billing/upstream/http/headers/Authorization";
        assert_eq!(yaml.pointer(header), Some(&json!({"secret": "billing_key", "prefix": "Bearer "})));
        assert_eq!(yaml.pointer("/servers/billing/environment"), Some(&json!("production")));
        assert_eq!(yaml.pointer("/principals/0/match/uid"), Some(&json!(rustix::process::geteuid().as_raw())));
        let file = yaml.pointer("/secrets/billing_key/file").unwrap().as_str().unwrap();
        assert!(stage.holds_key(&fs::read_to_string(file).unwrap()));
    }

    #[tokio::test]
    async fn a_file_with_the_key_is_found_and_the_key_file_is_no_leak() {
        let stage = Stage::set().await.unwrap();
        assert_eq!(stage.files_with_key().unwrap(), Vec::<String>::new());
        let leak = stage.state_dir().join("leak");
        fs::write(&leak, format!("..{}..", stage.key.expose())).unwrap();
        assert_eq!(stage.files_with_key().unwrap(), [leak.display().to_string()]);
    }

    #[test]
    fn a_log_that_overflows_proves_nothing() {
        let mut log = Log::default();
        log.write_all(b"a line").unwrap();
        assert_eq!(log.text().unwrap(), "a line");
        log.write_all(&vec![b'x'; MAX_LOG]).unwrap();
        log.write_all(b"more").unwrap();
        assert!(log.text().is_none());
    }
}
