//! Signing, which is OpenSSH's business: `ssh-keygen -Y sign` opens key files with their passphrase, asks the agent,
//! and waits for the touch of a security key. Used by the operator's side only.

use std::io::IsTerminal;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::{MAX_SIGNATURE, NAMESPACE};

/// Somebody has to type a passphrase or touch a key. After this the ruling is not made.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("ssh-keygen cannot be run: {0} (install OpenSSH's client)")]
    Run(std::io::Error),
    #[error("ssh-keygen did not sign: {0}")]
    Failed(String),
    #[error("no passphrase, touch or confirmation within {} seconds", PATIENCE.as_secs())]
    Timeout,
}

/// Signs a text with a key: a private key's file, or a public key's whose private half the agent has. Prompts appear on
/// the terminal of this process, or in the program that `SSH_ASKPASS` names.
///
/// # Errors
/// Where there is no signature within [`PATIENCE`].
pub async fn sign(key: &Path, text: &str) -> Result<String, SignError> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"]).arg(key);
    // A security key is announced on stderr, and only where that is a terminal.
    let terminal = std::io::stderr().is_terminal();
    let stderr = if terminal { Stdio::inherit() } else { Stdio::piped() };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
    let mut child = command.spawn().map_err(SignError::Run)?;
    let stdin = child.stdin.take();
    let signed = tokio::time::timeout(PATIENCE, async {
        if let Some(mut stdin) = stdin {
            // What it does not read it does not sign: its answer says so.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
        child.wait_with_output().await
    });
    let output = signed.await.map_err(|_| SignError::Timeout)?.map_err(SignError::Run)?;
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = || {
        let reason = said.lines().last().unwrap_or("wrong passphrase, no such key, or no touch");
        SignError::Failed(reason.chars().take(300).collect())
    };
    if !output.status.success() || output.stdout.len() > MAX_SIGNATURE {
        return Err(failed());
    }
    String::from_utf8(output.stdout).map_err(|_| failed())
}
