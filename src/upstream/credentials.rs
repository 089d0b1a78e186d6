//! The keys of an upstream, and the file that they may come from.
//!
//! The file is what the AWS tools share, so that it can be the one that is there already:
//!
//! ```text
//! [default]
//! aws_access_key_id = …
//! aws_secret_access_key = …
//! aws_session_token = …          # if the keys are temporary
//! ```
//!
//! Lines before the first `[profile]` belong to `default`. A file that its group or others can read is refused, as is
//! one of another user. It is looked at again before use, at most once a second, and read again when it changed: a
//! replaced key works from the next request on, without a restart.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{Error, Kind, Result};

/// The file is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A larger file is no credentials file.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Where the keys of an upstream come from.
#[derive(Clone, Default)]
pub enum Credentials {
    /// There are none: requests are not signed.
    #[default]
    Anonymous,
    /// As given, usually from the environment.
    Keys {
        /// `AWS_ACCESS_KEY_ID`.
        access_key_id: String,
        /// `AWS_SECRET_ACCESS_KEY`.
        secret_access_key: String,
        /// `AWS_SESSION_TOKEN`.
        session_token: Option<String>,
    },
    /// A shared-credentials file, read again when it changes.
    File {
        /// Where.
        path: PathBuf,
        /// Which `[profile]`; `default` if none.
        profile: Option<String>,
    },
    /// The machine's instance metadata service.
    InstanceMetadata,
}

/// Keys that sign.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
}

/// The keys of a file.
#[derive(Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    profile: String,
    /// Leaf mutex.
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    looked: Instant,
    version: Option<Version>,
    keys: Result<Keys>,
}

/// What differs when the file does: device, inode, length, times of its last write and its last change.
type Version = (u64, u64, u64, i64, i64);

// === impl Credentials ===

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Keys { .. } => f.write_str("Keys(redacted)"),
            Self::File { path, profile } => write!(f, "File({}, {profile:?})", path.display()),
            Self::InstanceMetadata => f.write_str("InstanceMetadata"),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

// === impl KeyFile ===

impl KeyFile {
    /// The keys of `profile` in the file at `path`, which is not read yet.
    pub(super) fn new(path: PathBuf, profile: Option<String>) -> Self {
        Self { path, profile: profile.unwrap_or_else(|| "default".into()), known: Mutex::new(None) }
    }

    /// What a look within the last second found.
    pub(super) fn fresh(&self) -> Option<Result<Keys>> {
        let known = self.known.lock();
        known.as_ref().filter(|known| known.looked.elapsed() < LOOK_AGAIN).map(|known| known.keys.clone())
    }

    /// The keys as the file has them now. Blocks on the file.
    ///
    /// # Errors
    /// `Denied`, with the remedy: it isn't there, others can read it, it has no such keys.
    pub(super) fn read(&self) -> Result<Keys> {
        let file = File::open(&self.path).and_then(|file| Ok((file.metadata()?, file)));
        let version = file.as_ref().ok().map(|(metadata, _)| version(metadata));
        if let Some(known) = self.known.lock().as_mut()
            && known.version.is_some()
            && known.version == version
        {
            known.looked = Instant::now();
            return known.keys.clone();
        }
        let keys = file.map_err(|e| e.to_string()).and_then(|(metadata, file)| self.parse(&metadata, file));
        let keys = keys.map_err(|words| {
            Error::new(Kind::Denied, format!("the credentials file {}: {words}", self.path.display()))
        });
        *self.known.lock() = Some(Known { looked: Instant::now(), version, keys: keys.clone() });
        keys
    }

    /// Whether the file is another than the one that was read last. Looks at it.
    pub(super) fn has_changed(&self) -> bool {
        let now = std::fs::metadata(&self.path).ok().as_ref().map(version);
        self.known.lock().as_ref().is_some_and(|known| known.version != now)
    }

    /// Checks the open file, not its name: what is checked is what is read.
    fn parse(&self, metadata: &Metadata, file: File) -> Result<Keys, String> {
        if metadata.mode() & 0o077 != 0 {
            let mode = metadata.mode() & 0o777;
            return Err(format!("can be read or changed by others (mode {mode:03o}): chmod 600 it"));
        }
        let me = rustix::process::geteuid().as_raw();
        if metadata.uid() != me && metadata.uid() != 0 {
            return Err(format!("belongs to user {}: make it our own", metadata.uid()));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(format!("has {} bytes: it is no such file", metadata.len()));
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|e| e.to_string())?;
        parse(&text, &self.profile).map_err(|words| format!("profile {}: {words}", self.profile))
    }
}

fn version(metadata: &Metadata) -> Version {
    let nanos = |seconds: i64, nanos: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos);
    let written = nanos(metadata.mtime(), metadata.mtime_nsec());
    let changed = nanos(metadata.ctime(), metadata.ctime_nsec());
    (metadata.dev(), metadata.ino(), metadata.len(), written, changed)
}

/// The keys of one profile. The error never quotes the file.
fn parse(text: &str, profile: &str) -> Result<Keys, &'static str> {
    let mut section = "default";
    let (mut id, mut secret, mut session_token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err("a line is neither a [profile] nor name = value");
        };
        if section != profile {
            continue;
        }
        let value = value.trim().trim_matches('"').to_owned();
        match name.trim() {
            "aws_access_key_id" => id = Some(value),
            "aws_secret_access_key" => secret = Some(value),
            "aws_session_token" => session_token = Some(value).filter(|token| !token.is_empty()),
            // The AWS tools keep other things here.
            _ => {}
        }
    }
    match (id.filter(|id| !id.is_empty()), secret.filter(|secret| !secret.is_empty())) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Keys { access_key_id, secret_access_key, session_token })
        }
        (None, _) => Err("it has no aws_access_key_id"),
        (_, None) => Err("it has no aws_secret_access_key"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn profile(id: &str) -> String {
        format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s3cret\n")
    }

    #[test]
    fn profiles_are_told_apart() {
        let text = "# shared\naws_access_key_id=A\naws_secret_access_key = \"B=\"\n[ci]\nregion = x\n\
                    aws_access_key_id = C\naws_secret_access_key = D\naws_session_token = E\n[empty]\n";
        let keys = parse(text, "default").unwrap();
        assert_eq!((&*keys.access_key_id, &*keys.secret_access_key, keys.session_token), ("A", "B=", None));
        let keys = parse(text, "ci").unwrap();
        assert_eq!((&*keys.access_key_id, keys.session_token.as_deref()), ("C", Some("E")));
        for bad in ["empty", "absent"] {
            assert!(parse(text, bad).is_err());
        }
        assert!(!parse("s3cret", "default").unwrap_err().contains("s3cret"));
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        for mode in [0o644, 0o640, 0o604, 0o620] {
            write(&path, &profile("A"), mode);
            let error = KeyFile::new(path.clone(), None).read().unwrap_err();
            assert_eq!(error.kind(), Kind::Denied);
            assert!(error.message().contains("chmod 600") && !error.message().contains("s3cret"), "{error}");
        }
        write(&path, &profile("A"), 0o600);
        assert!(KeyFile::new(path.clone(), None).read().is_ok());
        write(&path, &profile("A"), 0o400);
        assert!(KeyFile::new(path, None).read().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_within_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let file = KeyFile::new(path.clone(), None);
        assert!(file.fresh().is_none() && file.read().is_err(), "not there yet");
        assert!(!file.has_changed());
        write(&path, &profile("A"), 0o600);
        assert!(file.has_changed() && file.fresh().unwrap().is_err(), "looked at just now");
        assert_eq!(file.read().unwrap().access_key_id, "A");
        assert!(!file.has_changed());
        write(&path, &profile("BB"), 0o600);
        assert!(file.has_changed());
        assert_eq!(file.fresh().unwrap().unwrap().access_key_id, "A", "looked at just now");
        tokio::time::advance(LOOK_AGAIN).await;
        assert!(file.fresh().is_none());
        assert_eq!(file.read().unwrap().access_key_id, "BB");
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let credentials = Credentials::Keys {
            access_key_id: "AKIA".into(),
            secret_access_key: "s3cret".into(),
            session_token: Some("t0ken".into()),
        };
        let keys =
            Keys { access_key_id: "AKIA".into(), secret_access_key: "s3cret".into(), session_token: None };
        for shown in [format!("{credentials:?}"), format!("{keys:?}")] {
            assert!(
                !shown.contains("AKIA") && !shown.contains("s3cret") && !shown.contains("t0ken"),
                "{shown}"
            );
        }
    }
}
