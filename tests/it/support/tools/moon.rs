//! moon, over HTTP and over gRPC: the same checkout can be built over either, for moon's task hashes know nothing of
//! how the cache is reached.

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use super::{BUILD, Checkout, Run, Tool, finish, parse, text_of, tool};
use crate::support::sha256;

/// A moon workspace with two tasks.
pub(crate) struct Moon {
    checkout: Checkout,
    api: Api,
    zstd: bool,
    /// Where its cache is, the workspace says.
    told: bool,
    variables: Vec<(String, String)>,
    said: RefCell<String>,
}

/// How moon speaks to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Api {
    Http,
    /// To the host and port of the daemon's URL, or to `unix:///path` where the base of a build is one.
    Grpc,
}

const WORKSPACE: &str = "projects: ['app']\ntelemetry: false\n";

/// More than one batch may carry, and nothing that compresses: it goes as a stream.
const BIG: &str = "head -c 5000000 /dev/urandom > \"$1/big.bin\"\n";

// === impl Moon ===

impl Moon {
    /// The same where the second task writes a file of 5 MB too.
    pub(crate) fn big(version: &str) -> Self {
        let moon = Self::checkout(version);
        moon.checkout.write("app/build.sh", &format!("{BUILD}[ \"$1\" = one ] || {BIG}"));
        moon.checkout.commit();
        moon
    }

    /// From here on over gRPC.
    #[must_use]
    pub(crate) fn grpc(self) -> Self {
        Self { api: Api::Grpc, ..self }
    }

    /// From here on to the host and port of the daemon over HTTP, as it begins.
    #[must_use]
    pub(crate) fn http(self) -> Self {
        Self { api: Api::Http, ..self }
    }

    /// From here on its cache is what these lines of its workspace say.
    #[must_use]
    pub(crate) fn told(self, remote: &str) -> Self {
        self.checkout.write(".moon/workspace.yml", &format!("{WORKSPACE}{remote}"));
        self.checkout.commit();
        Self { told: true, ..self }
    }

    /// From here on with this file in its workspace, which git doesn't know.
    #[must_use]
    pub(crate) fn with_file(self, path: &str, from: &Path) -> Self {
        self.checkout.write(path, &fs::read_to_string(from).expect("a file"));
        self
    }

    /// From here on with this variable.
    #[must_use]
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// From here on with compression, which moon has over gRPC only.
    #[must_use]
    pub(crate) fn zstd(self) -> Self {
        Self { zstd: true, ..self }
    }
}

impl Tool for Moon {
    const TASKS: usize = 2;

    fn checkout(version: &str) -> Self {
        let checkout = Checkout::new();
        checkout.write(".moon/workspace.yml", WORKSPACE);
        let task = |name: &str| {
            format!(
                "  {name}: {{command: 'sh build.sh {name}', inputs: [src.txt, build.sh], outputs: [{name}], \
                 toolchains: ['system']}}\n"
            )
        };
        checkout.write("app/moon.yml", &format!("tasks:\n{}{}", task("one"), task("two")));
        checkout.write("app/src.txt", &format!("app {version}\n"));
        checkout.write("app/build.sh", BUILD);
        checkout.write(".gitignore", ".moon/cache\n.larder\none\ntwo\n");
        checkout.commit();
        Self {
            checkout,
            api: Api::Http,
            zstd: false,
            told: false,
            variables: Vec::new(),
            said: RefCell::default(),
        }
    }

    fn build(&self, base: &str) -> Run {
        let report = self.checkout.root().join(".moon/cache/runReport.json");
        self.checkout.forget(&report);
        let (host, api) = match self.api {
            Api::Http => (base.to_owned(), "http"),
            Api::Grpc => (base.replacen("http://", "grpc://", 1), "grpc"),
        };
        let mut command = self.checkout.command(tool("moon"));
        // Its plugins are compiled once for all, which is most of what a first build takes.
        let compiled =
            tool("moon").parent().and_then(Path::parent).expect("two levels up").join("moon-compiled");
        command.env("XDG_CACHE_HOME", compiled);
        command.args(["run", "app:one", "app:two"]);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if !self.told {
            command.env("MOON_REMOTE_HOST", host).env("MOON_REMOTE_API", api);
            command.env("MOON_REMOTE_CACHE_COMPRESSION", if self.zstd { "zstd" } else { "none" });
        }
        let output = finish(&mut command);
        self.said.replace(text_of(&output));
        let mut run = Run { remote: 0, ran: 0, local: 0 };
        let report = parse(&report);
        let tasks = report["actions"].as_array().expect("a report lists its actions").iter();
        for action in
            tasks.filter(|action| action["label"].as_str().is_some_and(|l| l.starts_with("RunTask")))
        {
            match action["status"].as_str() {
                Some("cached-from-remote") => run.remote += 1,
                Some("cached") => run.local += 1,
                _ => run.ran += 1,
            }
        }
        run
    }

    fn wipe(&self) {
        for path in [".moon/cache", "app/one", "app/two"] {
            self.checkout.forget(&self.checkout.root().join(path));
        }
    }

    fn said(&self) -> String {
        self.said.borrow().clone()
    }

    /// What is too big to be compared by eye is compared by its hash.
    fn outputs(&self) -> Vec<String> {
        let mut outputs: Vec<_> =
            ["one", "two"].map(|name| self.checkout.read(&format!("app/{name}/out.txt"))).into();
        outputs.extend(big(&self.checkout.root().join("app/two/big.bin")));
        outputs
    }
}

fn big(path: &Path) -> Option<String> {
    path.exists().then(|| sha256(&fs::read(path).expect("an output can be read")))
}
