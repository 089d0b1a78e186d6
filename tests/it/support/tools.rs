//! The real build tools, each with a workspace small enough to know every task of.
//!
//! A workspace is one checkout: two of them with the same `version` have the same sources and so the same task
//! hashes, wherever they lie. Each task writes a random number into its output, so that an output which is the same
//! on two machines came through the cache.

pub(crate) mod bazel;
pub(crate) mod casd;
pub(crate) mod ccache;
pub(crate) mod depot;
pub(crate) mod doors;
pub(crate) mod gradle;
pub(crate) mod lage;
pub(crate) mod maven;
pub(crate) mod minimal;
pub(crate) mod moon;
pub(crate) mod nx;
pub(crate) mod reapi;
pub(crate) mod rush;
pub(crate) mod sccache;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::tool;

/// What one run of a tool did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Tasks whose output came from the remote cache.
    pub(crate) remote: usize,
    /// Tasks that ran here.
    pub(crate) ran: usize,
    /// Tasks that the tool had in a cache of its own.
    pub(crate) local: usize,
}

/// A run that ended otherwise than with 0.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Option<i32>,
    /// All it said.
    pub(crate) text: String,
}

/// A checkout of a project and the tool that builds it.
pub(crate) trait Tool {
    /// How many tasks a build has.
    const TASKS: usize;

    /// A fresh checkout whose sources say `version`.
    fn checkout(version: &str) -> Self
    where
        Self: Sized;

    /// Builds with the daemon at `base` as the remote cache.
    ///
    /// # Panics
    /// When the tool does not exit 0: no state of the daemon excuses that.
    fn build(&self, base: &str) -> Run;

    /// The same where the tool may end otherwise than with 0.
    fn attempt(&self, base: &str) -> Result<Run, Failed> {
        Ok(self.build(base))
    }

    /// What the last run that ended well printed, for tools of which a test asks it.
    fn said(&self) -> String {
        String::new()
    }

    /// Throws away outputs and what the tool itself caches, as a fresh machine would have it.
    fn wipe(&self);

    /// What the tasks wrote.
    fn outputs(&self) -> Vec<String>;
}

/// A Turborepo workspace of two packages, `b` depending on `a`, with npm.
pub(crate) struct Turbo(Checkout);

struct Checkout(TempDir);

impl Run {
    /// Every task was a hit of the remote cache.
    pub(crate) const fn all_remote(tasks: usize) -> Self {
        Self { remote: tasks, ran: 0, local: 0 }
    }

    /// Every task ran.
    pub(crate) const fn all_ran(tasks: usize) -> Self {
        Self { remote: 0, ran: tasks, local: 0 }
    }
}

/// When a tool is said to hang, on however noisy a machine: some would wait for a silent server for ever.
const HUNG_SECONDS: &str = "120";

/// Writes an output: the source, and a number that no second run has.
const BUILD: &str =
    "mkdir -p \"$1\"\ncat src.txt > \"$1/out.txt\"\nod -An -N8 -tx8 /dev/urandom >> \"$1/out.txt\"\n";

// === impl Checkout ===

impl Checkout {
    fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        fs::create_dir_all(folder.path().join("w")).expect("a temporary folder");
        fs::create_dir_all(folder.path().join("home")).expect("a temporary folder");
        Self(folder)
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("w")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a temporary folder");
        fs::write(path, text).expect("a temporary file");
    }

    fn read(&self, path: &str) -> String {
        let path = self.root().join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("no output {}: {error}", path.display()))
    }

    /// Copies the files of the project `name`, which `tests/run` builds once to have all that it needs here.
    fn lay(&self, name: &str) {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/tools").join(name);
        finish(Command::new("cp").arg("-R").arg(project.join(".")).arg(self.root()));
    }

    /// Removes a file or folder that may be there.
    fn forget(&self, path: &Path) {
        if path.is_dir() {
            fs::remove_dir_all(path).expect("our own folder");
        } else if path.exists() {
            fs::remove_file(path).expect("our own file");
        }
    }

    /// A process that knows nothing of the person who runs the tests.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--foreground", "--signal=KILL", HUNG_SECONDS]).arg(program);
        command.current_dir(self.root()).env_clear().env("HOME", self.0.path().join("home"));
        for kept in ["PATH", "LANG", "TMPDIR"] {
            command.envs(std::env::var_os(kept).map(|value| (kept, value)));
        }
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Both tools that hash with git need a commit.
    fn commit(&self) {
        let script = "git init -q && git add -A && \
                      git -c user.name=t -c user.email=t@example.invalid commit -q -m sources";
        finish(self.command("sh").args(["-c", script]));
    }
}

/// What a Java that lives for a second is best told: it takes half of the time.
const QUICK_JVM: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// Runs a tool to its end, which must be a good one.
fn finish(command: &mut Command) -> Output {
    ended(command)
        .unwrap_or_else(|failed| panic!("{command:?} ended with {:?}:\n{}", failed.code, failed.text))
}

/// Runs a tool to its end.
fn ended(command: &mut Command) -> Result<Output, Failed> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    if output.status.success() {
        return Ok(output);
    }
    Err(Failed { code: output.status.code(), text: text_of(&output) })
}

/// All that a tool printed.
fn text_of(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn parse(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("no report {}: {error}", path.display()));
    serde_json::from_slice(&text).expect("the tool's report is JSON")
}

// === impl Turbo ===

impl Turbo {
    /// From here on its artifacts are signed, and taken only when they are.
    pub(crate) fn sign(&self) {
        self.0.write(
            "turbo.json",
            r#"{"remoteCache":{"signature":true},"tasks":{"build":{"dependsOn":["^build"],"outputs":["dist/**"]}}}"#,
        );
    }

    fn runs(&self) -> PathBuf {
        self.0.root().join(".turbo/runs")
    }
}

impl Tool for Turbo {
    const TASKS: usize = 2;

    fn checkout(version: &str) -> Self {
        let checkout = Checkout::new();
        checkout.write(
            "package.json",
            r#"{"name":"w","private":true,"packageManager":"npm@10.0.0","workspaces":["packages/*"]}"#,
        );
        checkout.write(
            "package-lock.json",
            r#"{"name":"w","lockfileVersion":3,"requires":true,"packages":{"":{"name":"w","workspaces":["packages/*"]},
               "node_modules/a":{"resolved":"packages/a","link":true},"node_modules/b":{"resolved":"packages/b","link":true},
               "packages/a":{"version":"1.0.0"},"packages/b":{"version":"1.0.0"}}}"#,
        );
        checkout.write("turbo.json", r#"{"tasks":{"build":{"dependsOn":["^build"],"outputs":["dist/**"]}}}"#);
        checkout.write(".gitignore", "node_modules\ndist\n.turbo\n");
        for (name, needs) in [("a", "{}"), ("b", r#"{"a":"1.0.0"}"#)] {
            checkout.write(
                &format!("packages/{name}/package.json"),
                &format!(
                    r#"{{"name":"{name}","version":"1.0.0","dependencies":{needs},"scripts":{{"build":"sh build.sh dist"}}}}"#
                ),
            );
            checkout.write(&format!("packages/{name}/src.txt"), &format!("{name} {version}\n"));
            checkout.write(&format!("packages/{name}/build.sh"), BUILD);
        }
        checkout.commit();
        Self(checkout)
    }

    fn build(&self, base: &str) -> Run {
        self.0.forget(&self.runs());
        finish(
            self.0
                .command(tool("turbo"))
                .args(["run", "build", "--summarize"])
                .env("TURBO_API", base)
                .env("TURBO_TOKEN", "any")
                .env("TURBO_TEAM", "team")
                .env("TURBO_REMOTE_CACHE_SIGNATURE_KEY", "shared by the team")
                .env("TURBO_TELEMETRY_DISABLED", "1"),
        );
        let summary = fs::read_dir(self.runs()).expect("turbo summarized").next().expect("one run");
        let summary = parse(&summary.expect("a readable folder").path());
        let mut run = Run { remote: 0, ran: 0, local: 0 };
        for task in summary["tasks"].as_array().expect("a summary lists its tasks") {
            let cache = &task["cache"];
            match (cache["status"].as_str(), cache["source"].as_str()) {
                (Some("HIT"), Some("REMOTE")) => run.remote += 1,
                (Some("HIT"), _) => run.local += 1,
                _ => run.ran += 1,
            }
        }
        run
    }

    fn wipe(&self) {
        for path in [".turbo", "node_modules/.cache", "packages/a/dist", "packages/b/dist"] {
            self.0.forget(&self.0.root().join(path));
        }
    }

    fn outputs(&self) -> Vec<String> {
        ["a", "b"].map(|name| self.0.read(&format!("packages/{name}/dist/out.txt"))).into()
    }
}
