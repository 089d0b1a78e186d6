//! Gradle on two tasks, the second reading what the first wrote. Its own cache is off: what it doesn't run comes from
//! the remote one.

use super::{Checkout, QUICK_JVM, Run, Tool, finish};

/// A Gradle build.
pub(crate) struct Gradle(Checkout);

// === impl Gradle ===

impl Gradle {
    /// Builds with any server of build caches, at all of `url`; `account` is a user and a password.
    pub(crate) fn build_at(&self, url: &str, account: Option<(&str, &str)>) -> Run {
        let output = finish(
            self.0
                .command("gradle")
                .args(["two", "--build-cache", "--no-daemon", "--console=plain"])
                .env("GRADLE_USER_HOME", self.0.0.path().join("home/gradle"))
                .env("JAVA_OPTS", QUICK_JVM.join(" "))
                .env("CACHE", url)
                .envs(
                    account
                        .iter()
                        .flat_map(|(user, password)| [("CACHE_USER", user), ("CACHE_PASSWORD", password)]),
                ),
        );
        let text = String::from_utf8_lossy(&output.stdout);
        let mut run = Run { remote: 0, ran: 0, local: 0 };
        for line in text.lines().map(|line| line.trim_start_matches("> Task ")) {
            match line.split_once(' ').unwrap_or((line, "")) {
                (":one" | ":two", "FROM-CACHE") => run.remote += 1,
                (":one" | ":two", "") => run.ran += 1,
                (":one" | ":two", _) => run.local += 1,
                _ => {}
            }
        }
        run
    }
}

impl Tool for Gradle {
    const TASKS: usize = 2;

    fn checkout(version: &str) -> Self {
        let checkout = Checkout::new();
        checkout.write(
            "settings.gradle",
            "buildCache {
                local { enabled = false }
                remote(HttpBuildCache) {
                    url = System.getenv('CACHE')
                    push = true
                    if (System.getenv('CACHE_USER')) {
                        credentials {
                            username = System.getenv('CACHE_USER')
                            password = System.getenv('CACHE_PASSWORD')
                        }
                    }
                }
            }\n",
        );
        checkout.write(
            "build.gradle",
            "@CacheableTask
            class Make extends DefaultTask {
                @InputFile @PathSensitive(PathSensitivity.NONE) File source
                @OutputFile File target
                @TaskAction void make() { target.text = source.text + UUID.randomUUID() + '\\n' }
            }
            task one(type: Make) { source = file('src.txt'); target = file('build/one.txt') }
            task two(type: Make) { dependsOn one; source = one.target; target = file('build/two.txt') }\n",
        );
        checkout.write("src.txt", &format!("{version}\n"));
        Self(checkout)
    }

    fn build(&self, base: &str) -> Run {
        self.build_at(&format!("{base}/gradle/ns/"), None)
    }

    fn wipe(&self) {
        for path in ["build", ".gradle"] {
            self.0.forget(&self.0.root().join(path));
        }
    }

    fn outputs(&self) -> Vec<String> {
        ["one", "two"].map(|name| self.0.read(&format!("build/{name}.txt"))).into()
    }
}
