//! What a command would do, step by step: shown, or done.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{FlockOperation, flock};

use super::written;

/// One thing that is done.
#[derive(Debug)]
pub(super) enum Step {
    /// Words for who reads: something is as it should be already, or wants their attention.
    Note(String),
    /// A folder is made if it isn't there.
    Folder(PathBuf),
    /// A file is written.
    Write { path: PathBuf, text: String },
    /// A file is removed.
    Remove(PathBuf),
    /// A folder is removed if nothing is in it.
    RemoveEmpty(PathBuf),
    /// A folder of a daemon's is removed with all that is in it, if no daemon has it. A file in it stays: on macOS the
    /// person's configuration is where the daemon's data is.
    RemoveData { folder: PathBuf, spared: Option<PathBuf> },
    /// A program is run.
    Run(Run),
    /// A program is run, and that it did its work is written down in a file.
    RunAndRecord { run: Run, path: PathBuf, text: String },
}

/// A program that is run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) args: Vec<String>,
    pub(super) failing: Failing,
}

/// What follows when a program fails.
#[derive(Debug, Clone)]
pub(super) enum Failing {
    /// Nothing further is done; these words are the remedy.
    Stops(String),
    /// One goes on, and says this.
    Warns(String),
    /// It was worth trying.
    IsFine,
}

/// Runs programs with what they need of the environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Runner {
    /// `XDG_RUNTIME_DIR`, where it is known: systemctl finds the user's manager there.
    pub(super) runtime_dir: Option<PathBuf>,
}

/// What a program said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) success: bool,
    pub(super) out: String,
    pub(super) err: String,
}

// === impl Step ===

impl Step {
    /// Runs `args`; if it fails, the rest is not done.
    pub(super) fn run<const N: usize>(args: [&str; N], remedy: impl Into<String>) -> Self {
        Self::Run(Run::new(args, Failing::Stops(remedy.into())))
    }

    /// Runs `args`, which may fail.
    pub(super) fn try_run<const N: usize>(args: [&str; N]) -> Self {
        Self::Run(Run::new(args, Failing::IsFine))
    }

    /// As `--print` shows it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Note(words) => format!("# {words}\n"),
            Self::Folder(path) => format!("==> make the folder {}\n", path.display()),
            Self::Write { path, text } => format!("==> write {}\n{text}", path.display()),
            Self::Remove(path) => format!("==> remove {}\n", path.display()),
            Self::RemoveEmpty(path) => format!("==> remove {} if it is empty\n", path.display()),
            Self::RemoveData { folder, spared: None } => {
                format!("==> remove {} and all in it\n", folder.display())
            }
            Self::RemoveData { folder, spared: Some(spared) } => {
                format!("==> remove all in {} but {}\n", folder.display(), spared.display())
            }
            Self::Run(run) => format!("==> run {}\n", run.words()),
            Self::RunAndRecord { run, path, text } => {
                format!("==> run {}\n==> write {}\n{text}", run.words(), path.display())
            }
        }
    }

    /// Does it; words for who watches, if there is something to say.
    ///
    /// # Errors
    /// Words with the remedy: the steps after it must not be done.
    pub(super) fn take(&self, runner: &Runner) -> Result<Option<String>, String> {
        match self {
            Self::Note(words) => Ok(Some(words.clone())),
            Self::Folder(path) => {
                fs::create_dir_all(path).map_err(|error| failed("make the folder", path, &error))?;
                Ok(None)
            }
            Self::Write { path, text } => {
                written::write(path, text).map_err(|error| failed("write", path, &error))?;
                Ok(Some(format!("wrote {}", path.display())))
            }
            Self::Remove(path) => match fs::remove_file(path) {
                Ok(()) => Ok(Some(format!("removed {}", path.display()))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed("remove", path, &error)),
            },
            Self::RemoveEmpty(path) => {
                // What others have in it keeps it.
                let _ = fs::remove_dir(path);
                Ok(None)
            }
            Self::RemoveData { folder: path, spared } => {
                let lock = fs::File::open(path.join("lock")).map_err(|error| failed("lock", path, &error))?;
                if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                    return Err(format!("a larder that runs has {}; end it first", path.display()));
                }
                let removed = match spared {
                    Some(spared) => remove_but(path, spared),
                    None => fs::remove_dir_all(path),
                };
                removed.map_err(|error| failed("remove", path, &error))?;
                Ok(Some(format!("removed {}", path.display())))
            }
            Self::Run(run) => Ok(run.take(runner)?.1),
            Self::RunAndRecord { run, path, text } => {
                let (done, words) = run.take(runner)?;
                if done {
                    written::write(path, text).map_err(|error| failed("write", path, &error))?;
                }
                Ok(words)
            }
        }
    }
}

/// Removes what is in a folder, but one of its files.
fn remove_but(folder: &Path, spared: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false if entry.path() == spared => {}
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

fn failed(what: &str, path: &Path, error: &io::Error) -> String {
    format!("failed to {what} {}: {error}", path.display())
}

// === impl Run ===

impl Run {
    pub(super) fn new<const N: usize>(args: [&str; N], failing: Failing) -> Self {
        Self { args: args.map(str::to_owned).to_vec(), failing }
    }

    /// As a shell would be told.
    fn words(&self) -> String {
        let quoted = self.args.iter().map(|arg| {
            let is_plain = arg.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+,@=:%".contains(c));
            if is_plain { arg.clone() } else { format!("'{}'", arg.replace('\'', "'\\''")) }
        });
        quoted.collect::<Vec<_>>().join(" ")
    }

    /// Whether it did its work, and what there is to say.
    fn take(&self, runner: &Runner) -> Result<(bool, Option<String>), String> {
        let why = match runner.run(&self.args) {
            Ok(said) if said.success => return Ok((true, None)),
            Ok(said) => said.err.trim().to_owned(),
            Err(error) => error.to_string(),
        };
        match &self.failing {
            Failing::IsFine => Ok((false, None)),
            Failing::Warns(words) => Ok((false, Some(format!("{words} ({}: {why})", self.words())))),
            Failing::Stops(remedy) => Err(format!("`{}` failed: {why}; {remedy}", self.words())),
        }
    }
}

// === impl Runner ===

impl Runner {
    /// Runs a program to its end.
    pub(super) fn run(&self, args: &[String]) -> io::Result<Said> {
        let (program, rest) = args.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::null()).env("SYSTEMD_COLORS", "0").env("SYSTEMD_PAGER", "");
        if let Some(runtime_dir) = &self.runtime_dir {
            command.env("XDG_RUNTIME_DIR", runtime_dir);
        }
        let output = command.output()?;
        Ok(Said {
            success: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs a program that only tells something.
    pub(super) fn ask<const N: usize>(&self, args: [&str; N]) -> io::Result<Said> {
        self.run(&args.map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_given_to_a_shell() {
        let step = Step::run(["a", "b c", "d'e", "--x=/y"], "");
        assert_eq!(step.show(), "==> run a 'b c' 'd'\\''e' --x=/y\n");
    }

    #[test]
    fn a_program_that_fails_stops_warns_or_is_fine() {
        let runner = Runner::default();
        let take = |failing| Step::Run(Run::new(["false"], failing)).take(&runner);
        assert_eq!(take(Failing::IsFine), Ok(None));
        assert!(
            take(Failing::Warns("oh".into())).is_ok_and(|words| words.is_some_and(|w| w.starts_with("oh")))
        );
        assert!(take(Failing::Stops("do x".into())).is_err_and(|words| words.ends_with("do x")));
        let missing = Step::run(["larder-has-no-such-program"], "install it").take(&runner);
        assert!(missing.is_err_and(|words| words.contains("install it")));
    }

    #[test]
    fn a_record_is_made_of_what_was_done_only() {
        let folder = tempfile::tempdir().expect("a folder");
        for (program, recorded) in [("false", false), ("true", true)] {
            let path = folder.path().join(program);
            let run = Run::new([program], Failing::Warns("not done".into()));
            let step = Step::RunAndRecord { run, path: path.clone(), text: "done\n".into() };
            step.take(&Runner::default()).expect("goes on");
            assert_eq!(path.exists(), recorded, "{program}");
        }
    }
}
