//! sccache before a C compiler, and before rustc for a real crate, over S3 and over Azure Blob.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::ccache::GCC;
use super::{Checkout, Failed, Run, Tool, ended, finish, tool};
use crate::support::{PATIENCE, until};

/// Two C files with a header, and a server of its own.
pub(crate) struct Sccache {
    checkout: Checkout,
    store: Store,
    /// Whether its server may run.
    up: Cell<bool>,
}

/// Where its objects are.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    /// A bucket of the S3 door, unsigned.
    S3,
    /// The same, with keys as they are found in somebody's environment.
    Signed { id: String, secret: String },
    /// A container behind a connection string.
    Azure(String),
}

const FILES: [&str; 2] = ["one", "two"];

// === impl Sccache ===

impl Sccache {
    pub(crate) fn at(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// The client, with the daemon at `base` as the store.
    fn command(&self, base: &str) -> Command {
        let mut command = self.checkout.command(tool("sccache"));
        command.envs(self.environment(base));
        command
    }

    fn environment(&self, base: &str) -> Vec<(&'static str, String)> {
        let own = |name: &str| self.checkout.0.path().join(name).display().to_string();
        let mut told = vec![
            ("SCCACHE_SERVER_UDS", own("sccache.sock")),
            ("SCCACHE_DIR", own("sccache")),
            ("SCCACHE_CONF", own("sccache.toml")),
        ];
        let s3 = |told: &mut Vec<_>| {
            told.push(("SCCACHE_BUCKET", "sccache".to_owned()));
            told.push(("SCCACHE_ENDPOINT", format!("{base}/s3")));
            told.push(("SCCACHE_REGION", "auto".to_owned()));
        };
        match &self.store {
            Store::S3 => {
                s3(&mut told);
                told.push(("SCCACHE_S3_NO_CREDENTIALS", "true".to_owned()));
            }
            Store::Signed { id, secret } => {
                s3(&mut told);
                told.push(("AWS_ACCESS_KEY_ID", id.clone()));
                told.push(("AWS_SECRET_ACCESS_KEY", secret.clone()));
            }
            Store::Azure(string) => {
                told.push(("SCCACHE_AZURE_CONNECTION_STRING", string.clone()));
                told.push(("SCCACHE_AZURE_BLOB_CONTAINER", "sccache".to_owned()));
            }
        }
        told
    }

    /// Runs what `work` says with a server of its own, and sums up what was asked of it.
    fn served(&self, base: &str, work: impl FnOnce() -> Result<(), Failed>) -> Result<Run, Failed> {
        self.up.set(true);
        ended(self.command(base).arg("--start-server"))?;
        let done = work();
        // It writes behind the compiler, and says when it has.
        let mut stats = Value::Null;
        until("sccache has written", PATIENCE, || {
            let output = finish(self.command(base).args(["--show-stats", "--stats-format", "json"]));
            stats = serde_json::from_slice(&output.stdout).expect("sccache's statistics are JSON");
            let count = |name: &str| stats["stats"][name].as_u64().unwrap_or(0);
            count("cache_writes") + count("cache_write_errors") >= self.sum(&stats, "cache_misses")
        });
        finish(self.command(base).arg("--stop-server"));
        self.up.set(false);
        done?;
        let count = |name: &str| usize::try_from(self.sum(&stats, name)).expect("a small number");
        Ok(Run { remote: count("cache_hits"), ran: count("cache_misses"), local: 0 })
    }

    /// A counter of all languages.
    fn sum(&self, stats: &Value, counter: &str) -> u64 {
        let counts = stats["stats"][counter]["counts"].as_object();
        counts.into_iter().flat_map(|counts| counts.values()).filter_map(Value::as_u64).sum()
    }

    /// Compiles the crate whose sources lie in `package` with rustc, into a new folder.
    pub(crate) fn compile_crate(&self, base: &str, package: &Path) -> Run {
        let target = self.checkout.root().join("target");
        self.checkout.forget(&target);
        let cargo = PathBuf::from(std::env::var_os("CARGO").expect("cargo runs the tests"));
        let rustc = cargo.with_file_name("rustc");
        let sources = self.checkout.root().join("package");
        if !sources.exists() {
            finish(Command::new("cp").arg("-R").arg(package).arg(&sources));
        }
        let run = self.served(base, || {
            let mut command = self.checkout.command(&cargo);
            command
                .args(["build", "--offline", "--manifest-path"])
                .arg(sources.join("Cargo.toml"))
                .envs(self.environment(base))
                .env("RUSTC", &rustc)
                .env("RUSTC_WRAPPER", tool("sccache"))
                .env("CARGO_INCREMENTAL", "0")
                .env("CARGO_TARGET_DIR", &target);
            ended(&mut command).map(|_| ())
        });
        run.unwrap_or_else(|failed| panic!("cargo ended with {:?}:\n{}", failed.code, failed.text))
    }
}

impl Tool for Sccache {
    const TASKS: usize = FILES.len();

    fn checkout(version: &str) -> Self {
        let checkout = Checkout::new();
        checkout.write("version.h", &format!("static const char version[] = \"{version}\";\n"));
        for name in FILES {
            let source = format!("#include \"version.h\"\nconst char *{name}(void) {{ return version; }}\n");
            checkout.write(&format!("{name}.c"), &source);
        }
        checkout.write("bin/gcc", GCC);
        finish(checkout.command("chmod").args(["+x", "bin/gcc"]));
        Self { checkout, store: Store::S3, up: Cell::new(false) }
    }

    fn build(&self, base: &str) -> Run {
        self.attempt(base)
            .unwrap_or_else(|failed| panic!("sccache ended with {:?}:\n{}", failed.code, failed.text))
    }

    fn attempt(&self, base: &str) -> Result<Run, Failed> {
        self.served(base, || {
            for name in FILES {
                let (source, object) = (format!("{name}.c"), format!("{name}.o"));
                ended(self.command(base).args(["bin/gcc", "-c", &source, "-o", &object]))?;
            }
            Ok(())
        })
    }

    fn wipe(&self) {
        for name in FILES {
            self.checkout.forget(&self.checkout.root().join(format!("{name}.o")));
        }
    }

    fn outputs(&self) -> Vec<String> {
        let object =
            |name: &str| std::fs::read(self.checkout.root().join(format!("{name}.o"))).expect("an object");
        FILES.map(|name| String::from_utf8_lossy(&object(name)).into_owned()).into()
    }
}

/// A server that a failed test left behind goes with its checkout.
impl Drop for Sccache {
    fn drop(&mut self) {
        if self.up.get() {
            // It may never have started.
            let _ = self.command("http://127.0.0.1").arg("--stop-server").output();
        }
    }
}
