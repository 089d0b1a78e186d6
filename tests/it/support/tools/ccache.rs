//! ccache before a C compiler, in each of its layouts and in two versions: the system's own (Debian has 4.7, whose keys
//! are base 32), and the one that `tests/run` installs (4.14, hex).

use super::{Checkout, Run, Tool, finish, tool};

/// Three C files with a header. `VERSION` and `LAYOUT` are places in [`VERSIONS`] and [`LAYOUTS`].
pub(crate) struct Ccache<const VERSION: usize, const LAYOUT: usize>(Checkout);

const VERSIONS: [&str; 2] = ["ccache-system", "ccache"];
const LAYOUTS: [&str; 3] = ["subdirs", "flat", "bazel"];
const FILES: [&str; 3] = ["one", "two", "three"];

/// A compiler whose objects end in a number that no second run has: a linker would not mind.
pub(super) const GCC: &str = "#!/bin/sh\nfor word; do [ \"$word\" != -E ] || exec cc \"$@\"; done\ncc \"$@\" || exit\n\
                   while [ $# -gt 1 ]; do\n[ \"$1\" != -o ] || head -c 16 /dev/urandom >>\"$2\"\nshift\ndone\n";

// === impl Ccache ===

impl<const VERSION: usize, const LAYOUT: usize> Ccache<VERSION, LAYOUT> {
    /// ccache with a server at all of `url`. It gives a connection 100 ms, which a loaded machine may take.
    fn command(&self, url: &str, layout: usize) -> std::process::Command {
        let layout = LAYOUTS[layout];
        let storage = format!("{url}|layout={layout}|connect-timeout=10000");
        let mut command = self.0.command(tool(VERSIONS[VERSION]));
        command
            .env("CCACHE_DIR", self.0.0.path().join("ccache"))
            .env("CCACHE_CONFIGPATH", "/dev/null")
            .env("CCACHE_COMPILERCHECK", "content")
            .env("CCACHE_REMOTE_STORAGE", storage);
        command
    }

    /// Builds with any server of ccache's, at all of `url`.
    pub(crate) fn build_at(&self, url: &str) -> Run {
        self.build_in_layout::<LAYOUT>(url)
    }

    /// The same in another layout than its own.
    pub(crate) fn build_in_layout<const OTHER: usize>(&self, url: &str) -> Run {
        finish(self.command(url, OTHER).arg("--zero-stats"));
        for name in FILES {
            let (source, object) = (format!("{name}.c"), format!("{name}.o"));
            finish(self.command(url, OTHER).args(["bin/gcc", "-c", &source, "-o", &object]));
        }
        let stats = finish(self.command(url, OTHER).arg("--print-stats"));
        let stats = String::from_utf8_lossy(&stats.stdout).into_owned();
        let count = |counter: &str| {
            let line = stats.lines().find_map(|line| line.strip_prefix(counter)?.strip_prefix('\t'));
            line.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let hits: usize = count("direct_cache_hit") + count("preprocessed_cache_hit");
        let local = hits.saturating_sub(count("remote_storage_hit"));
        Run { remote: hits - local, ran: count("cache_miss"), local }
    }
}

impl<const VERSION: usize, const LAYOUT: usize> Tool for Ccache<VERSION, LAYOUT> {
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
        Self(checkout)
    }

    fn build(&self, base: &str) -> Run {
        self.build_at(&format!("{base}/ccache/ns"))
    }

    fn wipe(&self) {
        self.0.forget(&self.0.0.path().join("ccache"));
        for name in FILES {
            self.0.forget(&self.0.root().join(format!("{name}.o")));
        }
    }

    fn outputs(&self) -> Vec<String> {
        let object = |name: &str| std::fs::read(self.0.root().join(format!("{name}.o"))).expect("an object");
        FILES.map(|name| String::from_utf8_lossy(&object(name)).into_owned()).into()
    }
}
