//! `countersign connect`.
#![allow(clippy::print_stderr)]

use std::path::PathBuf;

use super::Exit;
use crate::shim::{self, Ended, ShimError};
use crate::transport::client_socket::Turned;

/// Started by an MCP client as its server: connects the client to SERVER through the running daemon.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Name of the server in the daemon's configuration
    pub(super) server: String,
    /// Client socket of the daemon [default: client.sock in $COUNTERSIGN_RUNTIME_DIR, else in
    /// $XDG_RUNTIME_DIR/countersign, else in countersign/run in $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "PATH")]
    pub(super) socket: Option<PathBuf>,
}

/// # Errors
/// None: the client is told why there is no connection.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    // It holds no key, but whatever its client asks for and is told goes through it.
    let protected = crate::credential::harden::harden().map_err(|source| ShimError::Open { source });
    let path = protected.and_then(|()| args.socket.map_or_else(shim::default_socket, Ok));
    let error = match path.and_then(|path| shim::run(&path, &args.server)) {
        Ok(Ended::ByClient) => return Ok(Exit::Ok),
        Ok(Ended::ByDaemon) => {
            eprintln!("countersign connect: the daemon ended the session");
            return Ok(Exit::Unreachable);
        }
        Err(error) => error,
    };
    // stderr first: a client that waits for an answer may never send a request.
    eprintln!("countersign connect: {error}");
    if let Err(broken) = shim::answer_first(&error) {
        eprintln!("countersign connect: the client's pipes broke: {broken}");
    }
    Ok(exit(&error))
}

fn exit(error: &ShimError) -> Exit {
    match error {
        ShimError::NoFolder | ShimError::TurnedAway { kind: Turned::Usage, .. } => Exit::Usage,
        ShimError::TurnedAway { kind: Turned::Principal, .. } => Exit::AuthNeeded,
        ShimError::Open { .. }
        | ShimError::NotRunning { .. }
        | ShimError::Foreign { .. }
        | ShimError::Odd { .. }
        | ShimError::TurnedAway { kind: Turned::Busy, .. } => Exit::Unreachable,
    }
}
