//! A session bus of its own, with a keyring and a desktop.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::{peers, within};

pub struct SessionBus {
    path: PathBuf,
    state: PathBuf,
    _child: Child,
    _dir: tempfile::TempDir,
}

impl SessionBus {
    /// With these items in the keyring.
    pub async fn start(items: Value) -> SessionBus {
        let dir = tempfile::tempdir().unwrap();
        let (path, state) = (dir.path().join("bus"), dir.path().join("state.json"));
        std::fs::write(&state, json!({"items": items, "mode": "open"}).to_string()).unwrap();
        let mut child = Command::new(peers::python())
            .arg(peers::source("tests/peers/session_bus.py"))
            .args([&path, &state])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(within("the bus", lines.next_line()).await.unwrap().as_deref(), Some("ready"));
        SessionBus { path, state, _child: child, _dir: dir }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of `DBUS_SESSION_BUS_ADDRESS`.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.path.display())
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(&self.state).unwrap()).unwrap()
    }

    pub fn set(&self, state: &Value) {
        std::fs::write(&self.state, state.to_string()).unwrap();
    }
}
