//! The command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Environment, Flags};
use crate::daemon;

/// The local larder of build artifacts: a per-machine cache daemon
#[derive(Debug, Parser)]
#[command(name = "larder", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(Flags),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let environment = Environment::of_process();
    match Cli::parse().command {
        Command::Serve(flags) => serve(flags, &environment),
    }
}

fn serve(flags: Flags, environment: &Environment) -> ExitCode {
    match Config::load(flags, environment) {
        Ok(config) => match daemon::run(config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("failed to {error}")),
        },
        Err(problems) => {
            for problem in &problems {
                complain(&problem.to_string());
            }
            ExitCode::from(2)
        }
    }
}

/// Says what went wrong, to people.
fn complain(words: &str) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "larder: {words}");
    ExitCode::FAILURE
}
