//! The load that wrk can't make: PUTs under names that nobody has used, many names in turn, a crowd that asks for one
//! object at the same moment, and the calls of the Remote Execution API.
//!
//! One thread, ready-made request bytes, no client library: it must be faster than what it measures. For HTTP the
//! driver prints the control's figure beside each of its own, so that one sees whether it was; for gRPC it prints how
//! busy this thread was. Prints one line of JSON.

mod blobs;
mod build;
mod grpc;
mod http;
mod reapi;
mod tally;

use std::io::{Result, Write};

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    work: Option<Work>,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Work {
    #[command(flatten)]
    Http(http::Work),
    /// Calls of the Remote Execution API, over gRPC.
    Reapi(reapi::Work),
    /// A build of cached actions over gRPC.
    Build(build::Work),
}

fn main() -> Result<()> {
    // Without work nothing runs, so that a runner of all targets passes by.
    let Some(work) = Args::parse().work else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = tokio::task::LocalSet::new().block_on(&runtime, async {
        match work {
            Work::Http(work) => http::run(work).await,
            Work::Reapi(work) => reapi::run(work).await,
            Work::Build(work) => build::run(work).await,
        }
    })?;
    writeln!(std::io::stdout(), "{report}")
}
