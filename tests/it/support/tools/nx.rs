//! Nx 24 on two packages, `b` depending on `a`.

use std::os::unix::fs::symlink;

use super::{BUILD, Checkout, Failed, Run, Tool, ended, parse, tool};

/// An Nx workspace.
pub(crate) struct Nx(Checkout);

// === impl Nx ===

impl Tool for Nx {
    const TASKS: usize = 2;

    fn checkout(version: &str) -> Self {
        let checkout = Checkout::new();
        checkout.write("package.json", r#"{"name":"w","private":true}"#);
        checkout.write(
            "nx.json",
            r#"{"neverConnectToCloud":true,"analytics":false,"targetDefaults":{"build":{"cache":true,
               "dependsOn":["^build"],"inputs":["{projectRoot}/**/*"],"outputs":["{projectRoot}/dist"]}}}"#,
        );
        checkout.write(".gitignore", "node_modules\ndist\n.nx\n");
        for (name, needs) in [("a", "[]"), ("b", r#"["a"]"#)] {
            checkout.write(
                &format!("packages/{name}/project.json"),
                &format!(
                    r#"{{"name":"{name}","implicitDependencies":{needs},"targets":{{"build":{{"executor":"nx:run-commands",
                       "options":{{"command":"sh build.sh dist","cwd":"packages/{name}"}}}}}}}}"#
                ),
            );
            checkout.write(&format!("packages/{name}/src.txt"), &format!("{name} {version}\n"));
            checkout.write(&format!("packages/{name}/build.sh"), BUILD);
        }
        checkout.commit();
        let installed =
            tool("nx").parent().and_then(|bin| bin.parent()).expect("two levels up").join("node_modules");
        symlink(installed, checkout.root().join("node_modules")).expect("a link in our own folder");
        Self(checkout)
    }

    fn build(&self, base: &str) -> Run {
        self.attempt(base)
            .unwrap_or_else(|failed| panic!("nx ended with {:?}:\n{}", failed.code, failed.text))
    }

    /// Nobody at the address, or a body that breaks off, ends its run.
    fn attempt(&self, base: &str) -> Result<Run, Failed> {
        ended(
            self.0
                .command(tool("nx"))
                .args(["run-many", "-t", "build", "--outputStyle=static"])
                .env("NX_SELF_HOSTED_REMOTE_CACHE_SERVER", base)
                // Where it keeps its cache by itself depends on where the workspace lies.
                .env("NX_CACHE_DIRECTORY", self.0.root().join(".nx/cache"))
                .env("NX_DAEMON", "false")
                .env("NX_NO_CLOUD", "true"),
        )?;
        let mut run = Run { remote: 0, ran: 0, local: 0 };
        let report = parse(&self.0.root().join(".nx/cache/run.json"));
        for task in report["tasks"].as_array().expect("a report lists its tasks") {
            match task["cacheStatus"].as_str() {
                Some("remote-cache-hit") => run.remote += 1,
                Some("local-cache-hit") => run.local += 1,
                _ => run.ran += 1,
            }
        }
        Ok(run)
    }

    fn wipe(&self) {
        for path in [".nx", "../home/.nx", "packages/a/dist", "packages/b/dist"] {
            self.0.forget(&self.0.root().join(path));
        }
    }

    fn outputs(&self) -> Vec<String> {
        ["a", "b"].map(|name| self.0.read(&format!("packages/{name}/dist/out.txt"))).into()
    }
}
