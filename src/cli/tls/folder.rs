//! The folder of certificates and keys. A key is its owner's alone, and no file is written over.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A certificate and its key, each in PEM.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// Where they lie: `NAME.pem` and `NAME-key.pem`.
pub(super) struct Folder(PathBuf);

/// How the files of clients begin.
const CLIENT: &str = "client-";

/// The name of a client's files.
pub(super) fn of_client(name: &str) -> String {
    format!("{CLIENT}{name}")
}

// === impl Folder ===

impl Folder {
    /// Makes it, if it isn't there.
    pub(super) fn open(path: PathBuf) -> Result<Self, String> {
        let failed = |error: io::Error| {
            format!("make the folder {}: {error}; give another with --dir", path.display())
        };
        // Absolute, so that what is printed holds wherever it is pasted.
        let absolute = std::path::absolute(&path).map_err(failed)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&absolute).map_err(failed)?;
        Ok(Self(absolute))
    }

    pub(super) fn shown(&self) -> String {
        self.0.display().to_string()
    }

    pub(super) fn certificate(&self, stem: &str) -> PathBuf {
        self.0.join(format!("{stem}.pem"))
    }

    pub(super) fn key(&self, stem: &str) -> PathBuf {
        self.0.join(format!("{stem}-key.pem"))
    }

    /// Whether a pair is there.
    ///
    /// # Errors
    /// When only one half is.
    pub(super) fn has(&self, stem: &str) -> Result<bool, String> {
        let is_there = |path: &Path| path.symlink_metadata().is_ok();
        let (certificate, key) = (self.certificate(stem), self.key(stem));
        match (is_there(&certificate), is_there(&key)) {
            (true, true) => Ok(true),
            (false, false) => Ok(false),
            (true, false) => Err(half(&certificate, &key)),
            (false, true) => Err(half(&key, &certificate)),
        }
    }

    pub(super) fn read(&self, path: &Path) -> Result<String, String> {
        fs::read_to_string(path)
            .map_err(|error| format!("read {}: {error}; run this as its owner", path.display()))
    }

    /// A certificate and its key.
    pub(super) fn pair(&self, stem: &str) -> Result<(String, String), String> {
        Ok((self.read(&self.certificate(stem))?, self.read(&self.key(stem))?))
    }

    /// Both or none.
    pub(super) fn write(&self, stem: &str, made: &Made) -> Result<(), String> {
        let (certificate, key) = (self.certificate(stem), self.key(stem));
        create(&key, &made.key, 0o600)?;
        create(&certificate, &made.certificate, 0o644).inspect_err(|_| {
            // A key without its certificate would be in the way of the next try.
            let _ = fs::remove_file(&key);
        })
    }

    /// The clients that have a certificate here, in order.
    pub(super) fn clients(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut clients: Vec<String> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let name = name.strip_prefix(CLIENT)?.strip_suffix(".pem")?;
                (!name.ends_with("-key")).then(|| name.to_owned())
            })
            .collect();
        clients.sort_unstable();
        clients
    }
}

fn half(there: &Path, missing: &Path) -> String {
    format!(
        "go on: {} is there and {} is not; put that back, or move the other away",
        there.display(),
        missing.display()
    )
}

/// Writes a file that was not there, whole.
fn create(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written.inspect_err(|_| {
            // Half a file is none.
            let _ = fs::remove_file(path);
        })
    };
    write().map_err(|error| format!("write {}: {error}; make room, or give another --dir", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_its_owners_and_nothing_is_written_over() {
        let at = tempfile::tempdir().expect("a temporary folder");
        let folder = Folder::open(at.path().join("a/tls")).expect("made");
        let made = |text: &str| Made { certificate: text.into(), key: text.into() };
        folder.write("client-ci", &made("one")).expect("written");
        assert_eq!(folder.has("client-ci"), Ok(true));
        assert_eq!(folder.clients(), ["ci"]);
        let mode = folder.key("client-ci").metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(folder.write("client-ci", &made("two")).is_err());
        assert_eq!(folder.read(&folder.key("client-ci")).as_deref(), Ok("one"));
        fs::remove_file(folder.key("client-ci")).expect("ours");
        assert!(folder.has("client-ci").expect_err("half").contains("client-ci-key.pem is not"));
        assert!(folder.write("client-ci", &made("two")).is_err(), "the certificate is there");
        assert!(!folder.key("client-ci").exists(), "no half is left");
    }
}
