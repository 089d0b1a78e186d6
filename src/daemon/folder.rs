//! The two folders: made, locked against a second daemon, and of a version that this one writes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{Error, Kind, Result};

/// The version of what is on disk. Raised with every change of format that an older larder can't read.
pub(crate) const VERSION: u32 = 1;

/// A folder that no other daemon uses; dropped, it is free again. `kill -9` frees it too.
#[derive(Debug)]
pub(super) struct Locked {
    _file: File,
}

// === impl Locked ===

impl Locked {
    /// Makes and locks a folder.
    ///
    /// # Errors
    /// `Unavailable` naming the folder and the process that has it; `Unsupported` when a newer larder wrote it.
    pub(super) fn take(folder: &Path) -> Result<Self> {
        make(folder)?;
        let path = folder.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| unwritable(folder, error))?;
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            // Only for the words: without them the refusal stands as well.
            let _ = file.read_to_string(&mut pid);
            let words = format!(
                "use {}: another larder has it (pid {}); end that one, or give this one a --dir of its own",
                folder.display(),
                pid.trim()
            );
            return Err(Error::new(Kind::Unavailable, words));
        }
        let write = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(|error| unwritable(folder, error))?;
        check_version(folder)?;
        Ok(Self { _file: file })
    }
}

/// Makes a folder that only its owner can enter.
pub(super) fn make(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unwritable(folder, error))
}

/// The folder, what is wrong and who has to be able to write there.
fn unwritable(folder: &Path, error: std::io::Error) -> Error {
    let uid = rustix::process::geteuid().as_raw();
    let words = match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "its filesystem is read-only: mount it writable, or choose another by --dir".into()
        }
        ErrorKind::PermissionDenied => {
            format!("uid {uid} may not write there: `chown` it, or choose another by --dir")
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            "a file is in its way: move that, or choose another by --dir".to_owned()
        }
        _ => return Error::io("write into the folder", folder, error),
    };
    Error::new(Kind::Unavailable, format!("write into the folder {}: {words}", folder.display()))
        .because(error)
}

fn check_version(folder: &Path) -> Result<()> {
    let path: PathBuf = folder.join("VERSION");
    match std::fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse::<u32>() {
            Ok(found) if found <= VERSION => Ok(()),
            _ => {
                let words = format!(
                    "read {}: it has format {}, this larder ({}) knows formats up to {VERSION}; use the newer one, \
                     or another --dir",
                    folder.display(),
                    text.trim().escape_debug(),
                    env!("CARGO_PKG_VERSION"),
                );
                Err(Error::new(Kind::Unsupported, words))
            }
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            std::fs::write(&path, format!("{VERSION}\n")).map_err(|error| unwritable(folder, error))
        }
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_daemon_is_told_the_folder_and_the_pid() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Locked::take(folder.path()).expect("free");
        let error = Locked::take(folder.path()).expect_err("taken").to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        Locked::take(folder.path()).expect("free again");
    }

    #[test]
    fn a_newer_format_is_refused_by_both_numbers_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        for bad in ["2\n", "seven"] {
            std::fs::write(folder.path().join("VERSION"), bad).expect("writes");
            let error = Locked::take(folder.path()).expect_err("newer").to_string();
            assert!(error.contains(bad.trim()) && error.contains("up to 1"), "{error}");
            assert_eq!(std::fs::read_to_string(folder.path().join("VERSION")).ok().as_deref(), Some(bad));
        }
    }
}
