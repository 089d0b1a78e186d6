//! moon, over HTTP and over gRPC: the same checkout can be built over either, for moon's task hashes know nothing of
//! how the cache is reached.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use super::{BUILD, Checkout, Run, Tool, finish, parse, text_of, tool};
use crate::support::sha256;

/// A moon workspace with two tasks.
pub(crate) struct Moon {
    checkout: Checkout,
    api: Api,
    zstd: bool,
    /// Where its cache is, the workspace says.
    told: bool,
    /// The log of the daemon whose answer its tasks wait for.
    greeted_in: Option<PathBuf>,
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

/// Waits until the daemon has said what it can do. moon doesn't: it begins its tasks while it connects, and those that
/// are decided before are neither looked up nor stored. Over TLS, with a handshake more and a build without
/// optimisation, a loaded machine is slow enough for that: 3 runs of 60 were.
const GREETED: &str = r#"tries=0
until tail -c "+$((SEEN + 1))" "$DAEMON_LOG" | grep -q GetCapabilities; do
  tries=$((tries + 1))
  if [ "$tries" -gt 1000 ]; then echo 'the daemon was asked nothing' >&2; exit 1; fi
  sleep 0.05
done
"#;

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

    /// From here on its tasks wait until it and the daemon with this log have met.
    #[must_use]
    pub(crate) fn once_greeted_in(self, log: &Path) -> Self {
        let greeted = "  greeted: {command: 'sh greeted.sh', inputs: [greeted.sh], options: {cache: false}, \
                       toolchains: ['system']}\n";
        self.checkout.write("app/greeted.sh", GREETED);
        self.checkout.write("app/moon.yml", &format!("{}{greeted}", tasks("deps: ['greeted'], ")));
        self.checkout.commit();
        Self { greeted_in: Some(log.into()), ..self }
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
        checkout.write("app/moon.yml", &tasks(""));
        checkout.write("app/src.txt", &format!("app {version}\n"));
        checkout.write("app/build.sh", BUILD);
        checkout.write(".gitignore", ".moon/cache\n.larder\none\ntwo\n");
        checkout.commit();
        Self {
            checkout,
            api: Api::Http,
            zstd: false,
            told: false,
            greeted_in: None,
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
        if let Some(log) = &self.greeted_in {
            let seen = fs::metadata(log).expect("a daemon has a log").len();
            command.env("DAEMON_LOG", log).env("SEEN", seen.to_string());
        }
        let output = finish(&mut command);
        self.said.replace(text_of(&output));
        let mut run = Run { remote: 0, ran: 0, local: 0 };
        let report = parse(&report);
        let tasks = report["actions"].as_array().expect("a report lists its actions").iter();
        let ours = |label: &str| label.starts_with("RunTask") && !label.contains("greeted");
        for action in tasks.filter(|action| action["label"].as_str().is_some_and(ours)) {
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

/// What moon is told of the two tasks, each with `more`.
fn tasks(more: &str) -> String {
    let task = |name: &str| {
        format!(
            "  {name}: {{command: 'sh build.sh {name}', {more}inputs: [src.txt, build.sh], outputs: [{name}], \
             toolchains: ['system']}}\n"
        )
    };
    format!("tasks:\n{}{}", task("one"), task("two"))
}

fn big(path: &Path) -> Option<String> {
    path.exists().then(|| sha256(&fs::read(path).expect("an output can be read")))
}
