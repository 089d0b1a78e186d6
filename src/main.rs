//! The `larder` command.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Many short-lived small blocks a request, freed on other threads than they were made on.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    larder::cli::run()
}
