//! The command line. What it prints goes through handles: a closed pipe is an answer, not a panic.

mod bazelrc;
mod client;
mod queue;
mod token;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, Environment, Flags, Folders, Problem};
use crate::daemon;

/// The local larder of build artifacts: a per-machine cache daemon
///
/// Exit codes: 0 done, 1 failed, 2 wrong flags or configuration, 3 no daemon is running.
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
    /// Check the configuration, and show what is in force and where it was said
    Check(Flags),
    /// Print what an editor, or a new configuration, begins from
    #[command(subcommand)]
    Config(Print),
    /// Print the lines of a .bazelrc that make this daemon Bazel's cache
    Bazelrc(bazelrc::BazelrcFlags),
    /// Issue, list and revoke keys and tokens for this daemon's clients
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// List what waits to go upstream
    Queue(queue::QueueFlags),
    /// Wait until nothing waits to go upstream
    Flush(queue::FlushFlags),
}

#[derive(Debug, Subcommand)]
enum Print {
    /// A JSON Schema of the configuration file
    Schema,
    /// A configuration file with every key, its default and the reason for it
    Example,
}

/// Which daemon is meant.
#[derive(Debug, Args)]
struct Where {
    /// The daemon's folder, as it was given to `larder serve`
    #[arg(long, value_name = "DIR", env = "LARDER_DIR")]
    dir: Option<PathBuf>,

    /// The daemon's admin socket itself
    #[arg(long, value_name = "PATH", env = "LARDER_SOCKET")]
    socket: Option<PathBuf>,
}

/// No daemon is running.
const EXIT_NOT_RUNNING: u8 = 3;

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let environment = Environment::of_process();
    match Cli::parse().command {
        Command::Serve(flags) => serve(&flags, &environment),
        Command::Check(flags) => match config::check(&flags, &environment) {
            Ok(page) => print(&page),
            Err(problems) => complain_of(&problems),
        },
        Command::Config(Print::Schema) => print(&format!("{:#}\n", config::schema())),
        Command::Config(Print::Example) => print(&config::example()),
        Command::Bazelrc(flags) => bazelrc::bazelrc(&flags, &environment),
        Command::Token(command) => token::token(command, &environment),
        Command::Queue(flags) => wait_for(queue::queue(flags, &environment)),
        Command::Flush(flags) => wait_for(queue::flush(flags, &environment)),
    }
}

fn serve(flags: &Flags, environment: &Environment) -> ExitCode {
    match Config::load(flags, environment) {
        Ok(config) => match daemon::run(config, flags.clone(), environment.clone()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("failed to {error}")),
        },
        Err(problems) => complain_of(&problems),
    }
}

/// All of them, and that nothing was begun.
fn complain_of(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        complain(&problem.to_string());
    }
    ExitCode::from(2)
}

fn print(page: &str) -> ExitCode {
    match std::io::stdout().write_all(page.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has enough.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs a command that only asks.
fn wait_for(command: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => complain(&format!("failed to start: {error}")),
    }
}

/// Says what went wrong, to people.
fn complain(words: &str) -> ExitCode {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "larder: {words}");
    ExitCode::FAILURE
}

// === impl Where ===

impl Where {
    fn socket(self, environment: &Environment) -> Result<PathBuf, String> {
        match self.socket {
            Some(socket) => Ok(socket),
            None => {
                Folders::socket(self.dir, environment).map_err(|words| format!("the admin socket {words}"))
            }
        }
    }
}
