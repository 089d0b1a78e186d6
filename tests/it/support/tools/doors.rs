//! Clients of the doors that are libraries: Amazon's and Azure's own for Python and JavaScript. What they play is in the
//! folder of this name.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{HUNG_SECONDS, text_of, tool};

/// Plays scenarios of the script in Python.
///
/// # Panics
/// With all the script says, when the server did something other than what they expect.
#[track_caller]
pub(crate) fn python(arguments: &[&str]) {
    let mut command = limited(installed().join("venv/bin/python"));
    command.arg("-B").arg(scripts()).args(arguments);
    succeeds(&mut command, arguments);
}

/// Plays the script `name` in JavaScript.
///
/// # Panics
/// The same.
#[track_caller]
pub(crate) fn node(name: &str, arguments: &[&str]) {
    let mut command = limited("node");
    command.arg(scripts().join(name)).args(arguments);
    command.env("SDK_ROOT", installed().join("node_modules/root.js"));
    succeeds(&mut command, arguments);
}

/// rclone with the remote `store` as `settings` have it.
///
/// # Panics
/// When it does not exit 0.
#[track_caller]
pub(crate) fn rclone(settings: &[(&str, &str)], arguments: &[&str]) -> String {
    let mut command = limited(tool("rclone"));
    command.args(["--config", "/dev/null", "--retries", "1", "--low-level-retries", "1"]).args(arguments);
    command.envs(settings.iter().map(|(name, value)| (format!("RCLONE_CONFIG_STORE_{name}"), value)));
    succeeds(&mut command, arguments)
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/tools/doors")
}

fn installed() -> PathBuf {
    let weed = tool("weed");
    weed.parent().and_then(Path::parent).expect("two levels up").to_owned()
}

fn limited(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--foreground", "--signal=KILL", HUNG_SECONDS]).arg(program).stdin(Stdio::null());
    command
}

#[track_caller]
fn succeeds(command: &mut Command, arguments: &[&str]) -> String {
    let output = command.output().expect("a process can be started");
    assert!(
        output.status.success(),
        "{}: {:?}\n{}",
        arguments.first().unwrap_or(&""),
        output.status.code(),
        text_of(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
