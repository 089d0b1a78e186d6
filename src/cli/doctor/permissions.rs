//! Files that hold secrets, or say what is done: who may read or change them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::machine::{self, Seen};
use crate::config::Config;
use crate::server::user_name;
use crate::upstream::{Credentials, Kept};

/// The files, as far as they are there.
#[derive(Debug)]
pub(super) struct Facts {
    own_uid: u32,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    what: &'static str,
    path: PathBuf,
    found: Option<Seen>,
    /// Nobody else may read it, either.
    secret: bool,
    /// It has to be there.
    needed: bool,
}

const CHECK: &str = "permissions";

// === impl Facts ===

impl Facts {
    pub(super) fn look(config: &Config) -> Self {
        let file = |what, path: &Path, secret, needed| File {
            what,
            path: path.to_path_buf(),
            found: machine::look(path),
            secret,
            needed,
        };
        let mut files = Vec::new();
        files.extend(config.file.iter().map(|path| file("the configuration", path, false, false)));
        let credentials: BTreeSet<&Path> = config
            .routes
            .places
            .iter()
            .filter_map(|place| match &place.upstream.credentials {
                Credentials::File { path, .. } => Some(path.as_path()),
                _ => None,
            })
            .collect();
        files.extend(credentials.into_iter().map(|path| file("the credentials file", path, true, true)));
        // systemd's have modes of its own.
        let stored = config.credentials.list().into_iter().filter(|row| row.kept != Kept::Systemd);
        files.extend(stored.map(|row| file("the stored credential", &row.path, true, false)));
        for (what, name) in
            [("the master key of issued keys", "master.key"), ("the list of issued keys", "tokens.json")]
        {
            files.push(file(what, &config.folders.state.join(name), true, false));
        }
        Self { own_uid: machine::own_uid(), files }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> = self.files.iter().filter_map(|file| self.finding(file)).collect();
        if findings.is_empty() {
            let there = self.files.iter().filter(|file| file.found.is_some()).count();
            findings.push(match there {
                0 => Finding::ok(CHECK, "there are no files of configuration or keys"),
                1 => Finding::ok(CHECK, "the one file of configuration or keys is its owner's alone"),
                _ => Finding::ok(
                    CHECK,
                    format!("{there} files of configuration and keys are their owner's alone"),
                ),
            });
        }
        findings
    }

    fn finding(&self, file: &File) -> Option<Finding> {
        let (what, path) = (file.what, file.path.display());
        let Some(found) = &file.found else {
            return file.needed.then(|| {
                Finding::problem(
                    CHECK,
                    format!("{what} {path} is not there"),
                    "put it there, or name another",
                )
            });
        };
        let mode = found.mode;
        if file.secret && mode & 0o077 != 0 {
            return Some(Finding::problem(
                CHECK,
                format!(
                    "{what} {path} has mode {mode:04o}: others can reach its secrets, and the daemon doesn't use it"
                ),
                format!("`chmod 0600 {path}`, and replace what others may have read"),
            ));
        }
        if mode & 0o022 != 0 {
            return Some(Finding::problem(
                CHECK,
                format!("{what} {path} has mode {mode:04o}: others can change what the daemon does"),
                format!("`chmod go-w {path}`"),
            ));
        }
        let strangers = found.uid != 0 && found.uid != self.own_uid && self.own_uid != 0;
        strangers.then(|| {
            Finding::problem(
                CHECK,
                format!("{what} {path} belongs to user {}", user_name(found.uid)),
                format!("`chown` it to the daemon's user ({} runs this)", user_name(self.own_uid)),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn finding(secret: bool, mode: u32, uid: u32) -> Finding {
        let found = Some(Seen { is_dir: false, is_socket: false, mode, uid, device: 1 });
        let file = File { what: "the file", path: "/etc/keys".into(), found, secret, needed: true };
        Facts { own_uid: 7, files: vec![file] }.findings().remove(0)
    }

    #[test]
    fn secrets_are_for_one_and_configurations_for_one_to_write() {
        for (secret, mode, uid, level) in [
            (true, 0o600, 7, Level::Ok),
            (true, 0o400, 0, Level::Ok),
            (true, 0o640, 7, Level::Problem),
            (true, 0o604, 7, Level::Problem),
            (true, 0o600, 8, Level::Problem),
            (false, 0o644, 7, Level::Ok),
            (false, 0o664, 7, Level::Problem),
            (false, 0o646, 0, Level::Problem),
        ] {
            let found = finding(secret, mode, uid);
            assert_eq!(found.level, level, "{found:?}");
        }
        assert!(finding(true, 0o644, 7).remedy.is_some_and(|remedy| remedy.contains("chmod 0600 /etc/keys")));
        let gone = File { what: "the file", path: "/x".into(), found: None, secret: true, needed: true };
        assert!(Facts { own_uid: 7, files: vec![gone] }.findings()[0].words.contains("not there"));
        assert_eq!(Facts { own_uid: 7, files: Vec::new() }.findings()[0].level, Level::Ok);
    }
}
