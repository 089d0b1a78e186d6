//! lage on two packages, `b` depending on `a`, by both of its ways of configuration and in several versions.

use std::fs;

use super::{Checkout, Failed, Run, Tool, ended, tool};
use crate::support::sha256;

/// A lage workspace with npm.
pub(crate) struct Lage {
    checkout: Checkout,
    program: &'static str,
    way: Way,
    /// `None`: a string without any secret, for the daemon that a build is given.
    string: Option<String>,
    container: &'static str,
    /// What `LAGE_WRITE_CACHE` says, where it says anything.
    writes: Option<bool>,
}

/// Where lage is told of its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `BACKFILL_CACHE_PROVIDER`: both of its layers are the remote cache.
    Environment,
    /// `cacheStorageConfig`: it has a cache of its own before the remote one.
    File,
}

/// The versions that `tests/run` installs.
pub(crate) const VERSIONS: [&str; 3] = ["lage", "lage-2.14.18", "lage-2.5.0"];

/// Writes an output: the source, and a number that no second run has; and as much again as `size` says.
const BUILD: &str = "mkdir -p lib\ncat src.txt > lib/out.txt\nod -An -N8 -tx8 /dev/urandom >> lib/out.txt\n\
                     head -c \"$(cat size)\" /dev/urandom > lib/rest\n";

// === impl Lage ===

impl Lage {
    /// A checkout whose second target writes `bytes`, too.
    pub(crate) fn big(version: &str, bytes: usize) -> Self {
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
        checkout.write(
            "lage.config.js",
            "const told = process.env.TEST_STORAGE;\n\
             module.exports = { npmClient: \"npm\", pipeline: { build: { dependsOn: [\"^build\"], outputs: [\"lib/**\"] } },\n\
             cacheOptions: told ? { cacheStorageConfig: JSON.parse(told) } : {} };\n",
        );
        checkout.write(".gitignore", "node_modules\nlib\n");
        for (name, needs, size) in [("a", "{}", 0), ("b", r#"{"a":"1.0.0"}"#, bytes)] {
            let package = format!(
                r#"{{"name":"{name}","version":"1.0.0","dependencies":{needs},"scripts":{{"build":"sh build.sh"}}}}"#
            );
            checkout.write(&format!("packages/{name}/package.json"), &package);
            checkout.write(&format!("packages/{name}/src.txt"), &format!("{name} {version}\n"));
            checkout.write(&format!("packages/{name}/size"), &size.to_string());
            checkout.write(&format!("packages/{name}/build.sh"), BUILD);
        }
        checkout.commit();
        Self {
            checkout,
            program: VERSIONS[0],
            way: Way::Environment,
            string: None,
            container: "cache",
            writes: Some(true),
        }
    }

    /// By another version: one of [`VERSIONS`].
    pub(crate) fn by(self, program: &'static str) -> Self {
        Self { program, ..self }
    }

    pub(crate) fn told_by(self, way: Way) -> Self {
        Self { way, ..self }
    }

    /// With this connection string, to this container.
    pub(crate) fn with(self, string: impl Into<String>, container: &'static str) -> Self {
        Self { string: Some(string.into()), container, ..self }
    }

    /// What `LAGE_WRITE_CACHE` says; `None`: it is not set.
    pub(crate) fn writes(self, writes: Option<bool>) -> Self {
        Self { writes, ..self }
    }

    /// Throws away what tasks wrote, and keeps the tool's own cache.
    pub(crate) fn clean(&self) {
        for path in ["packages/a/lib", "packages/b/lib"] {
            self.checkout.forget(&self.checkout.root().join(path));
        }
    }

    /// Whether it has entries in a cache of its own.
    fn has_its_own(&self) -> bool {
        let own = self.checkout.root().join("node_modules/.cache/lage/cache");
        fs::read_dir(own).is_ok_and(|mut entries| entries.next().is_some())
    }
}

impl Tool for Lage {
    const TASKS: usize = 2;

    fn checkout(version: &str) -> Self {
        Self::big(version, 0)
    }

    fn build(&self, base: &str) -> Run {
        self.attempt(base)
            .unwrap_or_else(|failed| panic!("lage ended with {:?}:\n{}", failed.code, failed.text))
    }

    fn attempt(&self, base: &str) -> Result<Run, Failed> {
        let unsigned = || format!("BlobEndpoint={base}/larder;SharedAccessSignature=token=local");
        let string = self.string.clone().unwrap_or_else(unsigned);
        let options = serde_json::json!({ "connectionString": string, "container": self.container });
        let own = self.has_its_own();
        let mut command = self.checkout.command("node");
        command.arg(tool(self.program)).args(["build", "--reporter", "json"]);
        match self.way {
            Way::Environment => command
                .env("BACKFILL_CACHE_PROVIDER", "azure-blob")
                .env("BACKFILL_CACHE_PROVIDER_OPTIONS", options.to_string()),
            Way::File => {
                let storage = serde_json::json!({ "provider": "azure-blob", "options": options });
                command.env("TEST_STORAGE", storage.to_string())
            }
        };
        command.envs(self.writes.map(|writes| ("LAGE_WRITE_CACHE", writes.to_string())));
        let output = ended(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let summary = text.lines().rev().find_map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            value.get("summary").cloned()
        });
        let summary = summary.unwrap_or_else(|| panic!("lage sums up:\n{text}"));
        let count = |status: &str| {
            let stats = summary["taskStats"].as_array().into_iter().flatten();
            stats.filter(|task| task.get("package").is_some() && task["status"] == status).count()
        };
        let hits = count("skipped");
        let (local, remote) = if own { (hits, 0) } else { (0, hits) };
        Ok(Run { remote, ran: count("success"), local })
    }

    fn wipe(&self) {
        self.checkout.forget(&self.checkout.root().join("node_modules/.cache"));
        self.clean();
    }

    fn outputs(&self) -> Vec<String> {
        ["a", "b"]
            .map(|name| {
                let path = self.checkout.root().join(format!("packages/{name}/lib/rest"));
                let rest = fs::read(&path).unwrap_or_else(|error| panic!("no {}: {error}", path.display()));
                format!("{}{}", self.checkout.read(&format!("packages/{name}/lib/out.txt")), sha256(&rest))
            })
            .into()
    }
}
