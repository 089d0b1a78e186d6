//! Rush on two projects, `b` depending on `a`, with its HTTP plugin and with its S3 plugin.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{BUILD, Checkout, Failed, Run, Tool, ended, finish, tool};

/// A Rush repository.
pub(crate) struct Rush(Checkout, Plugin);

/// How it reaches the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Http,
    /// At the root of an address of its own.
    S3,
}

// === impl Rush ===

impl Rush {
    /// `rush` with what it installed for itself when the tests were installed: nothing here needs a registry.
    fn rush(&self, action: &str) -> Command {
        let program = tool("rush");
        let global = program.parent().and_then(|bin| bin.parent()).expect("two levels up").join("rush");
        let mut command = self.0.command(program);
        command.arg(action).env("RUSH_GLOBAL_FOLDER", global).env("npm_config_update_notifier", "false");
        command
    }

    /// With its S3 plugin, for a daemon's listener that serves nothing else.
    pub(crate) fn s3(self) -> Self {
        Self(self.0, Plugin::S3)
    }

    /// `rush build`, with the daemon at `base` as the remote cache.
    fn building(&self, base: &str) -> Command {
        let config = match self.1 {
            Plugin::Http => serde_json::json!({
                "buildCacheEnabled": true,
                "cacheProvider": "http",
                "httpConfiguration": { "url": format!("{base}/blob/rush"), "isCacheWriteAllowed": true },
            }),
            Plugin::S3 => serde_json::json!({
                "buildCacheEnabled": true,
                "cacheProvider": "amazon-s3",
                "amazonS3Configuration": {
                    "s3Endpoint": base,
                    "s3Region": "us-east-1",
                    "s3Prefix": "rush-cache/web",
                    "isCacheWriteAllowed": true,
                },
            }),
        };
        self.0.write("common/config/rush/build-cache.json", &config.to_string());
        // It says here what it found where, and leaves what it said of an earlier build.
        for log in ["a", "b"].map(|name| self.log(name)) {
            self.0.forget(&log);
        }
        let mut command = self.rush("build");
        if self.1 == Plugin::S3 {
            // Without one it writes nothing, and ends with 1; any will do where the daemon asks for none.
            command.env("RUSH_BUILD_CACHE_CREDENTIAL", "none:needed");
        }
        command
    }

    fn log(&self, project: &str) -> PathBuf {
        self.0.root().join(format!("packages/{project}/rush-logs/{project}.build.cache.log"))
    }
}

impl Tool for Rush {
    const TASKS: usize = 2;

    fn checkout(version: &str) -> Self {
        let checkout = Checkout::new();
        checkout.lay("rush");
        checkout.write(".gitignore", "node_modules\ndist\ntemp\n.rush\nrush-logs\n");
        for name in ["a", "b"] {
            checkout.write(&format!("packages/{name}/src.txt"), &format!("{name} {version}\n"));
            checkout.write(&format!("packages/{name}/build.sh"), BUILD);
        }
        checkout.commit();
        let rush = Self(checkout, Plugin::Http);
        finish(&mut rush.rush("update"));
        rush
    }

    fn build(&self, base: &str) -> Run {
        self.attempt(base)
            .unwrap_or_else(|failed| panic!("rush ended with {:?}:\n{}", failed.code, failed.text))
    }

    /// A write that fails is a warning, and a warning is a failure.
    fn attempt(&self, base: &str) -> Result<Run, Failed> {
        ended(&mut self.building(base))?;
        let mut run = Run { remote: 0, ran: 0, local: 0 };
        for log in ["a", "b"].map(|name| self.log(name)) {
            let text =
                fs::read_to_string(&log).unwrap_or_else(|error| panic!("no {}: {error}", log.display()));
            match (text.contains("Build cache hit."), text.contains("Querying the cloud build cache.")) {
                (true, true) => run.remote += 1,
                (true, false) => run.local += 1,
                (false, _) => run.ran += 1,
            }
        }
        Ok(run)
    }

    fn wipe(&self) {
        for path in ["common/temp/build-cache", "packages/a/dist", "packages/b/dist"] {
            self.0.forget(&self.0.root().join(path));
        }
    }

    fn outputs(&self) -> Vec<String> {
        ["a", "b"].map(|name| self.0.read(&format!("packages/{name}/dist/out.txt"))).into()
    }
}
