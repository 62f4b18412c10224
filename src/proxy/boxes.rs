//! The sandboxes of the configured servers, and what is said of them at start.

use std::sync::Arc;

use super::StartError;
use crate::config::{Config, Upstream};
use crate::policy;
use crate::sandbox::{self, Rule, Sandbox, Wishes, Yard};

/// Where children live, and what is closed to them. Says what this system can keep from them, where there are any.
///
/// # Errors
/// Where the folders cannot be made.
pub fn yard(config: &Config) -> Result<Arc<Yard>, StartError> {
    let folder = config.state_dir.join("children");
    let failed = |source| StartError::Yard { folder: folder.clone(), source };
    let program = policy::this_program().ok_or_else(|| failed(std::io::Error::other("this program has no file")))?;
    let closed = crate::config::closed(config).into_iter().map(|(path, _)| path);
    let yard = Yard::new(program, &folder, closed).map_err(failed)?;
    if config.servers.values().any(|server| matches!(&server.upstream, Upstream::Stdio { sandbox: Some(_), .. })) {
        tracing::info!(support = %sandbox::support(), "sandboxes of children");
    }
    Ok(Arc::new(yard))
}

/// A server's sandbox as this system can have it. `port`: of this machine, which the child has to reach. Of `trusted` code
/// all that it does has to be judged, and so it has to be kept from files and from other programs.
///
/// # Errors
/// Where it is strict, or trusted, and something is missing; where a path of it is not there.
pub fn sandbox(
    server: &str,
    wishes: Option<&Wishes>,
    port: Option<u16>,
    trusted: bool,
    yard: &Arc<Yard>,
) -> Result<Option<Sandbox>, StartError> {
    let Some(wishes) = wishes else {
        tracing::warn!(server, "sandbox: off; its child can do whatever this account can, with the server's key");
        return Ok(None);
    };
    let mut wishes = wishes.clone();
    port.into_iter().for_each(|port| wishes.network.allow(port));
    let sandbox = Sandbox::new(Arc::clone(yard), wishes)
        .map_err(|error| StartError::Upstream { server: server.to_owned(), reason: error.to_string() })?;
    let missing = sandbox.missing();
    if let (true, Some(rule)) = (trusted, missing.iter().find(|rule| matches!(rule, Rule::Files | Rule::Sockets))) {
        let reason = format!(
            "gate.trust_code: this system cannot limit {rule}, so the child can take the key from where the daemon has it\n  \
             help: take `trust_code` out, or run on a system that can"
        );
        return Err(StartError::Upstream { server: server.to_owned(), reason });
    }
    for rule in missing {
        tracing::warn!(server, "its sandbox cannot limit {rule}");
    }
    Ok(Some(sandbox))
}
