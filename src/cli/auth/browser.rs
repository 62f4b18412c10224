//! Opens an address in the user's browser: one program, one argument, no shell. The address has been judged before.

use std::process::{Command, Stdio};

use crate::credential::trust;

#[cfg(target_os = "macos")]
const OPENER: &str = "open";
#[cfg(not(target_os = "macos"))]
const OPENER: &str = "xdg-open";

/// False where there is nothing that could open it.
pub fn open(address: &str) -> bool {
    let path = std::env::var_os("PATH");
    let Ok(program) = trust::find_command(OPENER, path.as_deref()) else { return false };
    let mut command = Command::new(program);
    // Its words do not belong among ours, and it gets no key from us: this process has none in its environment that it
    // did not have before.
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Ok(mut child) => {
            // Browsers stay; the opener ends soon, and is not waited for.
            std::thread::spawn(move || child.wait());
            true
        }
        Err(_) => false,
    }
}
