//! A home of its own for `larder service`, and service managers that only write down how they are called.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const LARDER: &str = env!("CARGO_BIN_EXE_larder");

/// A program that every machine has, where the machine's service can see it.
pub(crate) const PROGRAM: &str = "/usr/bin/env";

/// A home, a runtime folder, and service managers that only write down how they are called.
pub(crate) struct Desk {
    pub(crate) folder: TempDir,
}

/// A folder as others see it: each path with its content.
pub(crate) type Tree = Vec<(PathBuf, Vec<u8>)>;

// === impl Desk ===

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self { folder: TempDir::new().expect("a temporary folder") };
        for name in ["home", "run", "bin"] {
            fs::create_dir(desk.path(name)).expect("a new folder");
        }
        for name in ["systemctl", "loginctl", "launchctl", "systemd-sysusers"] {
            desk.stand_in(name, "exit 0");
        }
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program of this name that writes down its arguments and then does `script`.
    pub(crate) fn stand_in(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        let log = self.path("calls");
        let text = self.path("script");
        fs::write(&text, format!("#!/bin/sh\necho \"{name} $*\" >> '{}'\n{script}\n", log.display()))
            .expect("a new file");
        install(&text, &path);
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(LARDER);
        command
            .env_clear()
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()))
            .arg("service")
            .args(args)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn service(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it starts")
    }

    /// Runs to success; what it printed.
    #[track_caller]
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let output = self.service(args);
        assert!(output.status.success(), "{args:?}: {}", words(&output));
        words(&output)
    }

    /// Fails with this code; what it said.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, args: &[&str]) -> String {
        let output = self.service(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", words(&output));
        words(&output)
    }

    /// The calls since the last time, without those that only ask.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        // It may never have been written.
        let _ = fs::remove_file(self.path("calls"));
        let asks = |line: &&str| !line.contains(" show ") && !line.contains(" print ");
        text.lines().filter(asks).map(str::to_owned).collect()
    }

    pub(crate) fn units(&self) -> PathBuf {
        self.path("home").join(".config/systemd/user")
    }
}

/// Puts a program there. By another process: a test beside this one may fork while a file is open for writing here, and
/// what anybody has open for writing can't be run.
pub(crate) fn install(program: &Path, path: &Path) {
    let status = Command::new("install").args(["-m", "755"]).arg(program).arg(path).status();
    assert!(status.is_ok_and(|status| status.success()), "{} is installed", path.display());
}

pub(crate) fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn tree(folder: &Path) -> Tree {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("readable").path();
            if path.is_dir() && !path.is_symlink() {
                open.push(path.clone());
                found.push((path, Vec::new()));
            } else {
                found.push((path.clone(), fs::read(&path).unwrap_or_default()));
            }
        }
    }
    found.sort();
    found
}

/// The files that `--print` shows, by name.
pub(crate) fn printed(page: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if let Some(path) = line.strip_prefix("==> write ") {
            let name = path.rsplit('/').next().expect("a name");
            files.push((name.to_owned(), String::new()));
            inside = true;
        } else if line.starts_with("==> ") {
            inside = false;
        } else if let (true, Some((_, text))) = (inside, files.last_mut()) {
            *text += &format!("{line}\n");
        }
    }
    files
}
