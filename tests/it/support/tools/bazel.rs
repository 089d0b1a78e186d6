//! Bazel in two versions, over HTTP and over gRPC.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Checkout, Failed, QUICK_JVM, Run, Tool, ended, finish, text_of, tool};

/// A Bazel workspace with two rules, the second reading the first.
pub(crate) struct Bazel {
    checkout: Checkout,
    version: Version,
    grpc: bool,
    minimal: bool,
    /// Where its cache is, the workspace's `.bazelrc` says.
    told: bool,
    said: RefCell<String>,
}

/// Which Bazel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// From npm.
    V2,
    /// Debian's, which finds its own parts by the system's `bazelrc`.
    V4,
}

// === impl Bazel ===

impl Bazel {
    /// From here on built by `version`.
    #[must_use]
    pub(crate) fn by(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// From here on over gRPC.
    #[must_use]
    pub(crate) fn grpc(self) -> Self {
        Self { grpc: true, ..self }
    }

    /// From here on nothing is downloaded but what a local action reads.
    #[must_use]
    pub(crate) fn minimal(self) -> Self {
        Self { minimal: true, ..self }
    }

    /// From here on its cache is what these lines say.
    #[must_use]
    pub(crate) fn told(self, bazelrc: &str) -> Self {
        self.checkout.write(".bazelrc", bazelrc);
        Self { told: true, ..self }
    }

    /// Changes the second rule, so that it has to run; what the first one wrote is as it was.
    pub(crate) fn edit(&self, edit: &str) {
        self.write_rules(&format!("; echo {edit} >> $@"));
    }

    fn write_rules(&self, last: &str) {
        let rule = |name: &str, source: &str, last: &str| {
            format!(
                "genrule(name = '{name}', srcs = ['{source}'], outs = ['{name}.txt'], \
                 cmd = 'cat $< > $@; od -An -N8 -tx8 /dev/urandom >> $@{last}')\n"
            )
        };
        self.checkout.write("BUILD", &format!("{}{}", rule("one", "src.txt", ""), rule("two", ":one", last)));
    }

    fn base(&self) -> PathBuf {
        self.checkout.0.path().join("base")
    }

    fn command(&self, base: &str) -> Command {
        let name = match self.version {
            Version::V2 => "bazel",
            Version::V4 => "bazel-4",
        };
        let mut command = self.checkout.command(tool(name));
        command
            .args(["--batch", "--nohome_rc"])
            .args(QUICK_JVM.map(|flag| format!("--host_jvm_args={flag}")));
        if self.version == Version::V2 {
            // What it unpacks once is the same for all.
            let shared = tool(name).parent().and_then(Path::parent).expect("two levels up").join("bazel");
            command.arg("--nosystem_rc").arg(format!("--output_user_root={}", shared.display()));
        }
        let scheme = if self.grpc { "grpc://" } else { "http://" };
        command
            .arg(format!("--output_base={}", self.base().display()))
            .args(["build", "//:two", "--spawn_strategy=local", "--color=no", "--curses=no"])
            .args(["--noshow_progress", "--incompatible_strict_action_env"]);
        if !self.told {
            command.arg(format!("--remote_cache={}", base.replacen("http://", scheme, 1)));
        }
        if self.minimal {
            command.arg("--remote_download_minimal");
        }
        command
    }
}

impl Tool for Bazel {
    const TASKS: usize = 2;

    fn checkout(version: &str) -> Self {
        let checkout = Checkout::new();
        checkout.write("WORKSPACE", "workspace(name = 'w')\n");
        checkout.write("src.txt", &format!("{version}\n"));
        let bazel = Self {
            checkout,
            version: Version::V2,
            grpc: false,
            minimal: false,
            told: false,
            said: RefCell::default(),
        };
        bazel.write_rules("");
        bazel
    }

    fn build(&self, base: &str) -> Run {
        self.attempt(base)
            .unwrap_or_else(|failed| panic!("Bazel ended with {:?}:\n{}", failed.code, failed.text))
    }

    /// Over gRPC, a cache that is not there ends its run.
    fn attempt(&self, base: &str) -> Result<Run, Failed> {
        let output = ended(&mut self.command(base))?;
        self.said.replace(text_of(&output));
        let text = self.said.borrow();
        let count = |what: &str| {
            let line = text.lines().find(|line| line.contains(" process")).unwrap_or_default();
            let list = line.split_once(": ").map_or("", |(_, rest)| rest);
            let list = list.split_once(':').map_or("", |(_, rest)| rest);
            list.split(['.', ','])
                .filter_map(|item| item.trim().split_once(' '))
                .find(|(_, kind)| *kind == what)
                .and_then(|(count, _)| count.parse().ok())
                .unwrap_or(0)
        };
        let run = Run { remote: count("remote cache hit"), ran: count("local"), local: 0 };
        Ok(Run { local: Self::TASKS - run.remote - run.ran, ..run })
    }

    fn said(&self) -> String {
        self.said.borrow().clone()
    }

    fn wipe(&self) {
        if self.base().exists() {
            // Bazel makes its outputs read-only.
            finish(self.checkout.command("chmod").args(["-R", "u+w"]).arg(self.base()));
            self.checkout.forget(&self.base());
        }
    }

    fn outputs(&self) -> Vec<String> {
        let bin = self.base().join("execroot/w/bazel-out/k8-fastbuild/bin");
        ["one.txt", "two.txt"]
            .map(|name| {
                fs::read_to_string(bin.join(name)).unwrap_or_else(|error| panic!("no output {name}: {error}"))
            })
            .into()
    }
}
