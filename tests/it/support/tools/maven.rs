//! Maven with the build cache extension on two jars, `b` depending on `a`.

use std::fs;

use super::{Checkout, QUICK_JVM, Run, Tool, finish, tool};
use crate::support::sha256;

/// A Maven project of two modules.
pub(crate) struct Maven(Checkout);

// === impl Maven ===

impl Tool for Maven {
    const TASKS: usize = 2;

    fn checkout(version: &str) -> Self {
        let checkout = Checkout::new();
        checkout.lay("maven");
        for name in ["a", "b"] {
            checkout.write(
                &format!("{name}/src/src.txt"),
                &format!("{name} {version}, made at ${{maven.build.timestamp}}\n"),
            );
        }
        Self(checkout)
    }

    fn build(&self, base: &str) -> Run {
        let program = tool("mvn");
        let repository =
            program.parent().and_then(|bin| bin.parent()).expect("two levels up").join("maven/repository");
        let home = self.0.0.path().join("home");
        let output = finish(
            self.0
                .command(program)
                // Offline is for repositories: the remote cache is asked all the same.
                .args(["--batch-mode", "--no-transfer-progress", "--offline", "package"])
                .arg(format!("-Dmaven.repo.local={}", repository.display()))
                .arg(format!("-Dmaven.build.cache.location={}", home.join("cache").display()))
                .arg("-Dmaven.build.cache.remote.enabled=true")
                .arg(format!("-Dmaven.build.cache.remote.url={base}/maven/web"))
                .arg("-Dmaven.build.cache.remote.save.enabled=true")
                // Java asks the machine for the home folder, not HOME; a mirror in somebody's settings.xml there would
                // take the cache's address over.
                .env("MAVEN_OPTS", format!("-Duser.home={} {}", home.display(), QUICK_JVM.join(" "))),
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        let local = count("Local build found by checksum");
        // What it found and couldn't fetch whole it builds.
        let found = count("Found cached build, restoring") - count("Cannot restore project artifacts");
        Run { remote: found - local, ran: count("Building jar:"), local }
    }

    fn wipe(&self) {
        for path in ["../home/cache", "a/target", "b/target"] {
            self.0.forget(&self.0.root().join(path));
        }
    }

    fn outputs(&self) -> Vec<String> {
        ["a", "b"]
            .map(|name| {
                let jar = self.0.root().join(format!("{name}/target/{name}-1.jar"));
                let bytes = fs::read(&jar).unwrap_or_else(|error| panic!("no {}: {error}", jar.display()));
                sha256(&bytes)
            })
            .into()
    }
}
