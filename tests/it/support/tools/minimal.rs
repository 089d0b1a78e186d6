//! Bazel without the bytes: what its rules write stays in the cache, and a last rule that runs here reads all of it.

use std::process::Command;

use super::{Checkout, QUICK_JVM, ended, finish, tool};

/// A workspace of [`Minimal::LEAVES`] rules that write files of some size, and one that reads them all. Bazel's own server
/// runs on from build to build, and remembers what it never downloaded.
pub(crate) struct Minimal {
    checkout: Checkout,
    cache: String,
}

impl Minimal {
    pub(crate) const LEAVES: usize = 16;
    /// What one leaf writes.
    pub(crate) const LEAF_BYTES: usize = 300_000;

    /// A fresh checkout that builds with the daemon at `url`.
    pub(crate) fn checkout(url: &str) -> Self {
        let checkout = Checkout::new();
        checkout.write("WORKSPACE", "workspace(name = 'w')\n");
        let mut rules = String::new();
        for leaf in 0..Self::LEAVES {
            checkout.write(&format!("leaf{leaf}.src"), &format!("leaf {leaf}\n"));
            rules.push_str(&format!(
                "genrule(name = 'leaf{leaf}', srcs = ['leaf{leaf}.src'], outs = ['leaf{leaf}.out'], \
                 cmd = 'cat $< > $@; head -c {} /dev/urandom >> $@')\n",
                Self::LEAF_BYTES
            ));
        }
        let leaves: Vec<String> = (0..Self::LEAVES).map(|leaf| format!("':leaf{leaf}'")).collect();
        rules.push_str(&format!(
            "genrule(name = 'top', srcs = ['top.src', {}], outs = ['top.out'], cmd = 'cat $(SRCS) | cksum > $@')\n",
            leaves.join(", ")
        ));
        checkout.write("BUILD", &rules);
        checkout.write("top.src", "first\n");
        Self { checkout, cache: url.replacen("http://", "grpc://", 1) }
    }

    /// Changes what only the last rule reads.
    pub(crate) fn edit(&self, text: &str) {
        self.checkout.write("top.src", text);
    }

    /// Forgets all outputs and what is known of them, as a fresh checkout would.
    pub(crate) fn clean(&self) {
        finish(self.bazel().args(["clean", "--color=no", "--curses=no"]));
    }

    /// Builds; how many rules ran here.
    ///
    /// # Panics
    /// When Bazel does not exit 0, with all that it said.
    #[track_caller]
    pub(crate) fn build(&self, when: &str) -> usize {
        let output = ended(
            self.bazel()
                .args(["build", "//:top", "--spawn_strategy=local", "--color=no", "--curses=no"])
                .args(["--noshow_progress", "--incompatible_strict_action_env", "--remote_download_minimal"])
                .arg(format!("--remote_cache={}", self.cache)),
        )
        .unwrap_or_else(|failed| panic!("Bazel ended with {:?}, {when}:\n{}", failed.code, failed.text));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        // "17 processes: 16 remote cache hit, 1 local."
        let line = text.lines().find(|line| line.contains(" process")).unwrap_or_default();
        let (_, list) = line.split_once(" process").unwrap_or_default();
        list.split([':', ',', '.'])
            .filter_map(|item| item.trim().split_once(' '))
            .find(|(_, kind)| *kind == "local")
            .and_then(|(count, _)| count.parse().ok())
            .unwrap_or(0)
    }

    fn bazel(&self) -> Command {
        let shared =
            tool("bazel").parent().and_then(std::path::Path::parent).expect("two levels up").join("bazel");
        let mut command = self.checkout.command(tool("bazel"));
        command
            .args(["--nohome_rc", "--nosystem_rc", "--max_idle_secs=60"])
            .args(QUICK_JVM.map(|flag| format!("--host_jvm_args={flag}")))
            .arg(format!("--output_user_root={}", shared.display()))
            .arg(format!("--output_base={}", self.checkout.0.path().join("base").display()));
        command
    }
}

impl Drop for Minimal {
    fn drop(&mut self) {
        // Its server would go on for a minute, in a folder that is gone.
        let ended = self.bazel().arg("shutdown").output();
        assert!(
            std::thread::panicking() || ended.is_ok_and(|output| output.status.success()),
            "bazel shutdown"
        );
    }
}
