//! The command line. What it prints goes through handles: a closed pipe is an answer, not a panic. Data goes to standard
//! output, what is said to people about it to standard error.
//!
//! # Exit codes
//! The constants below are the one place: help, manual pages and `docs/cli.md` say the same.

mod bazelrc;
mod client;
mod completions;
mod credentials;
mod doctor;
mod log;
mod man;
mod paint;
mod prompt;
mod queue;
mod service;
mod status;
mod tls;
mod token;
mod units;
mod unreadable;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, Environment, Flags, Folders, Problem};
use crate::daemon;

/// The local larder of build artifacts: a per-machine cache daemon
#[derive(Debug, Parser)]
#[command(name = "larder", version, about, arg_required_else_help = true, after_long_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    #[command(after_help = "Example:\n  larder serve --upstream 's3://bucket/prefix?region=eu-central-1'")]
    Serve(Flags),
    /// Check the configuration, and show what is in force and where it was said
    #[command(after_help = "Example:\n  larder check --config larder.toml")]
    Check(Flags),
    /// Print what an editor, or a new configuration, begins from
    #[command(subcommand)]
    Config(Print),
    /// Print the lines of a .bazelrc that make this daemon Bazel's cache
    #[command(after_help = "Example:\n  larder bazelrc --bazel 8.6 >> ~/.bazelrc")]
    Bazelrc(bazelrc::BazelrcFlags),
    /// Issue, list and revoke keys and tokens for this daemon's clients
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Make a small private CA, and certificates for TLS between this daemon and its clients
    #[command(subcommand)]
    Tls(tls::TlsCommand),
    /// Store a credential for upstreams, from what is typed or from standard input
    #[command(
        after_help = "Examples:\n  larder login work\n  larder login work --kind aws-profile\n  larder login ci --kind token < token.txt"
    )]
    Login(credentials::LoginFlags),
    /// Remove a stored credential
    #[command(after_help = "Example:\n  larder logout work")]
    Logout(credentials::LogoutFlags),
    /// List the stored credentials and who uses them; never what they hold
    #[command(after_help = "Example:\n  larder credentials --json")]
    Credentials(credentials::CredentialsFlags),
    /// Show how the daemon is, and what needs a person; the exit code says it, too
    #[command(after_help = "Examples:\n  larder status --watch\n  larder status --json | jq .queue")]
    Status(status::StatusFlags),
    /// Install, start and stop the daemon as a service of this machine's service manager
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// List what waits to go upstream
    #[command(after_help = "Example:\n  larder queue --limit 5")]
    Queue(queue::QueueFlags),
    /// Wait until nothing waits to go upstream; Ctrl-C leaves the queue as it is
    #[command(after_help = "Example:\n  larder flush --timeout '5 min'")]
    Flush(queue::FlushFlags),
    /// Print what a shell needs to complete this command
    #[command(
        after_help = "Example:\n  larder completions bash > ~/.local/share/bash-completion/completions/larder"
    )]
    Completions(completions::CompletionsFlags),
    /// Print the manual page, or write those of all commands
    #[command(after_help = "Examples:\n  larder man | man -l -\n  larder man --dir ~/.local/share/man/man1")]
    Man(man::ManFlags),
    /// Look for what is wrong with the daemon, its folders, its upstreams and this shell, and say what helps
    Doctor(doctor::DoctorFlags),
    /// Show what the daemon logs, or change it for a while
    Log(log::LogFlags),
}

#[derive(Debug, Subcommand)]
enum Print {
    /// A JSON Schema of the configuration file
    #[command(after_help = "Example:\n  larder config schema > larder.schema.json")]
    Schema,
    /// A configuration file with every key, its default and the reason for it
    #[command(after_help = "Example:\n  larder config example > larder.toml")]
    Example,
}

/// Which daemon is meant.
#[derive(Debug, Args)]
struct Where {
    /// The daemon's folder, as it was given to `larder serve`
    #[arg(long, value_name = "DIR", env = "LARDER_DIR")]
    dir: Option<PathBuf>,

    /// The machine's daemon, not the user's [env: LARDER_SYSTEM]
    #[arg(long)]
    system: bool,

    /// The daemon's admin socket itself
    #[arg(long, value_name = "PATH", env = "LARDER_SOCKET")]
    socket: Option<PathBuf>,
}

/// Wrong flags, or a wrong configuration: nothing was begun. clap's own, too.
const EXIT_USAGE: u8 = 2;
/// No daemon is running.
const EXIT_NOT_RUNNING: u8 = 3;
/// Ctrl-C, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Every exit code, and what it means.
const EXIT_CODES: [(u8, &str); 5] = [
    (0, "Done; of `status`: healthy. Ctrl-C ends `status --watch` so, and the daemon."),
    (1, "Failed; of `status`: the daemon runs, and something needs a person, or it doesn't answer."),
    (EXIT_USAGE, "Wrong flags or configuration: nothing was begun."),
    (EXIT_NOT_RUNNING, "No daemon is running."),
    (EXIT_INTERRUPTED, "Ended by Ctrl-C before it was done; what is queued stays queued."),
];

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let environment = Environment::of_process();
    if !environment.dumpable {
        unreadable::become_so();
    }
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
        Command::Tls(command) => tls::tls(command, &environment),
        Command::Login(flags) => wait_for(credentials::login(flags, &environment)),
        Command::Logout(flags) => wait_for(credentials::logout(flags, &environment)),
        Command::Credentials(flags) => wait_for(credentials::credentials(flags, &environment)),
        Command::Status(flags) => wait_for(status::status(flags, &environment)),
        Command::Service(command) => service::service(command, &environment),
        Command::Queue(flags) => wait_for(queue::queue(flags, &environment)),
        Command::Flush(flags) => wait_for(queue::flush(flags, &environment)),
        Command::Completions(flags) => completions::completions(&flags),
        Command::Man(flags) => man::man(&flags),
        Command::Doctor(flags) => doctor::doctor(&flags, &environment),
        Command::Log(flags) => wait_for(log::log(flags, &environment)),
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

/// The environment, for the machine's daemon where a flag says so.
fn of_system(system: bool, environment: &Environment) -> Environment {
    Environment { system: system || environment.system, ..environment.clone() }
}

/// The folders of the daemon that the configuration describes; `None` where a flag names one, or where it is no help.
fn described(dir: Option<&Path>, system: bool, environment: &Environment) -> Option<Folders> {
    if dir.is_some() {
        return None;
    }
    // What else is wrong with it is for who starts the daemon, and for `larder check`.
    let flags = Flags { system, ..Flags::default() };
    Config::read_anyway(&flags, environment).0.map(|config| config.folders)
}

/// All of them, and that nothing was begun.
fn complain_of(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        complain(&problem.to_string());
    }
    ExitCode::from(EXIT_USAGE)
}

fn print(page: &str) -> ExitCode {
    written(io::stdout().write_all(page.as_bytes())).map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

/// What became of writing to standard output. A reader that went away (`| head`) has what it wanted.
fn written(outcome: io::Result<()>) -> Result<(), ExitCode> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(complain(&format!("failed to print: {error}")))
        }
        _ => Ok(()),
    }
}

/// The end of `larder --help`.
fn exit_codes() -> String {
    let codes = EXIT_CODES.map(|(code, words)| format!("  {code:<4} {words}"));
    format!("Exit codes:\n{}", codes.join("\n"))
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
    let _ = writeln!(io::stderr(), "larder: {words}");
    ExitCode::FAILURE
}

// === impl Where ===

impl Where {
    /// The one that is named; else the user's own daemon's; where that isn't there and the machine's is, the
    /// machine's.
    fn socket(self, environment: &Environment) -> Result<PathBuf, String> {
        if let Some(socket) = self.socket {
            return Ok(socket);
        }
        let is_default = self.dir.is_none() && !self.system && !environment.system;
        let own = match described(self.dir.as_deref(), self.system, environment) {
            Some(folders) => folders.socket,
            None => Folders::socket(self.dir, &of_system(self.system, environment))
                .map_err(|words| format!("the admin socket {words}"))?,
        };
        let system = Folders::system_socket();
        Ok(if is_default && !own.exists() && system.exists() { system } else { own })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_reference_names_every_command_and_exit_code() {
        let page = include_str!("../../docs/cli.md");
        for command in Cli::command().get_subcommands() {
            assert!(page.contains(&format!("`larder {}", command.get_name())), "{}", command.get_name());
        }
        for (code, words) in EXIT_CODES {
            assert!(page.contains(&format!("| {code} | {words} |")), "{code}");
        }
    }
}
