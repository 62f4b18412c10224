//! The binary: everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Messages come and go in sizes that glibc hands back to the system each time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    // The allocator wants huge pages: an idle daemon would hold half as much memory again, and a call is no faster.
    // Where the system has none to turn off there is nothing to do.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    countersign::cli::main()
}
