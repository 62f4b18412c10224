//! The binary: everything is in the library.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Messages come and go in sizes that glibc hands back to the system each time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    countersign::cli::main()
}
