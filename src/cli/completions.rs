//! `larder completions`: what a shell needs to complete this command, made of the command's own definition.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, print};

/// The flags of `larder completions`.
#[derive(Debug, Args)]
pub(super) struct CompletionsFlags {
    /// Whose completions
    shell: Shell,
}

/// Prints them.
pub(super) fn completions(flags: &CompletionsFlags) -> ExitCode {
    print(&script(flags.shell))
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "larder", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_is_told_of_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in Cli::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    #[test]
    fn bash_can_read_its_own() {
        let mut bash = Command::new("bash")
            .args(["-n", "/dev/stdin"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash is there");
        let mut stdin = bash.stdin.take().expect("it is piped");
        stdin.write_all(script(Shell::Bash).as_bytes()).expect("bash reads");
        drop(stdin);
        let output = bash.wait_with_output().expect("it ends");
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}
