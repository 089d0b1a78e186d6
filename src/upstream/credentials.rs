//! The keys of an upstream, and the file that they may come from.
//!
//! The file is in the form that the cloud's own tools write, so that it can be the one that is there already: see
//! [`aws`], [`azure`], [`google`]. A file that its group or others can read is refused, as is one of another user. It
//! is looked at again before use, at most once a second, and read again when it changed: a replaced key works from the
//! next request on, without a restart.

mod aws;
mod azure;
mod google;
mod headers;
mod secret;
pub(super) mod stored;

use std::fmt;
use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

pub(super) use self::aws::Keys as AwsKeys;
pub use self::azure::ConnectionString;
pub(super) use self::azure::Keys as AzureKeys;
pub(super) use self::google::Keys as GoogleKeys;
pub(super) use self::headers::Sender;
pub use self::secret::Secret;
pub use self::stored::Stored;
use crate::error::{Error, Kind, Result};
use crate::regular;

/// The file is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A larger file is no credentials file.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Where the keys of an upstream come from.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// There are none: requests are not signed.
    #[default]
    Anonymous,
    /// S3's, as given, usually from the environment.
    Keys {
        /// `AWS_ACCESS_KEY_ID`.
        access_key_id: String,
        /// `AWS_SECRET_ACCESS_KEY`.
        secret_access_key: String,
        /// `AWS_SESSION_TOKEN`.
        session_token: Option<String>,
    },
    /// Azure's, the account's own: `AZURE_STORAGE_KEY`.
    AccountKey(String),
    /// Azure's, a shared access signature: `AZURE_STORAGE_SAS_TOKEN`.
    Sas(String),
    /// A bearer token, of a cache that is no bucket: `LARDER_UPSTREAM_TOKEN`.
    Token(String),
    /// A file in the form of the cloud's own tools, read again when it changes.
    File {
        /// Where.
        path: PathBuf,
        /// Which `[profile]` of S3's; `default` if none.
        profile: Option<String>,
    },
    /// The machine's instance metadata service.
    InstanceMetadata,
    /// Stored under a name: by `larder login`, or by systemd.
    Stored(Stored),
}

/// What a credentials file holds.
pub(super) trait Keys: Clone + Send + Sync + 'static {
    /// Reads them from a file's text; `whose` is the profile, or the account, that they must be of. The error never
    /// quotes the file.
    fn parse(text: &str, whose: &str) -> Result<Self, String>;
}

/// A file that may become another.
pub(super) trait Watched: Send + Sync {
    /// Whether the file is another than the one that was read last. Looks at it.
    fn has_changed(&self) -> bool;
}

/// The keys of a file.
pub(super) struct KeyFile<K> {
    path: PathBuf,
    whose: String,
    /// Leaf mutex.
    known: Mutex<Option<Known<K>>>,
}

#[derive(Clone)]
struct Known<K> {
    looked: Instant,
    version: Option<Version>,
    keys: Result<K>,
}

/// What differs when the file does: device, inode, length, times of its last write and its last change.
type Version = (u64, u64, u64, i64, i64);

// === impl Credentials ===

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Keys { .. } => f.write_str("Keys(redacted)"),
            Self::AccountKey(_) => f.write_str("AccountKey(redacted)"),
            Self::Sas(_) => f.write_str("Sas(redacted)"),
            Self::Token(_) => f.write_str("Token(redacted)"),
            Self::File { path, profile } => write!(f, "File({}, {profile:?})", path.display()),
            Self::InstanceMetadata => f.write_str("InstanceMetadata"),
            Self::Stored(stored) => write!(f, "{stored:?}"),
        }
    }
}

// === impl KeyFile ===

impl<K: Keys> KeyFile<K> {
    /// The keys of `whose` in the file at `path`, which is not read yet.
    pub(super) fn new(path: PathBuf, whose: impl Into<String>) -> Self {
        Self { path, whose: whose.into(), known: Mutex::new(None) }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What a look within the last second found.
    pub(super) fn fresh(&self) -> Option<Result<K>> {
        let known = self.known.lock();
        known.as_ref().filter(|known| known.looked.elapsed() < LOOK_AGAIN).map(|known| known.keys.clone())
    }

    /// The keys as the file has them now. Blocks on the file.
    ///
    /// # Errors
    /// `Denied`, with the remedy: it isn't there, others can read it, it has no such keys.
    pub(super) fn read(&self) -> Result<K> {
        let file = regular::open(&self.path);
        let now = file.as_ref().ok().map(|(_, metadata)| metadata.clone());
        let version = now.as_ref().map(version);
        if let Some(known) = self.known.lock().as_mut()
            && known.version.is_some()
            && known.version == version
        {
            known.looked = Instant::now();
            return known.keys.clone();
        }
        let keys = file.map_err(|e| e.to_string()).and_then(|(file, metadata)| self.parse(&metadata, file));
        let keys = keys.map_err(|words| {
            Error::new(Kind::Denied, format!("the credentials file {}: {words}", self.path.display()))
        });
        if keys.is_err()
            && now.as_ref().is_some_and(is_being_written)
            && let Some(known) = self.known.lock().as_mut()
            && known.keys.is_ok()
        {
            // The old ones go on until it is whole.
            known.looked = Instant::now();
            return known.keys.clone();
        }
        *self.known.lock() = Some(Known { looked: Instant::now(), version, keys: keys.clone() });
        keys
    }

    /// Checks the open file, not its name: what is checked is what is read.
    fn parse(&self, metadata: &Metadata, file: File) -> Result<K, String> {
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
        K::parse(&text, &self.whose)
    }
}

impl<K: Keys> Watched for KeyFile<K> {
    fn has_changed(&self) -> bool {
        let now = std::fs::metadata(&self.path).ok().as_ref().map(version);
        self.known.lock().as_ref().is_some_and(|known| known.version != now)
    }
}

impl<K> fmt::Debug for KeyFile<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({})", self.path.display())
    }
}

fn version(metadata: &Metadata) -> Version {
    let nanos = |seconds: i64, nanos: i64| seconds.wrapping_mul(1_000_000_000).wrapping_add(nanos);
    let written = nanos(metadata.mtime(), metadata.mtime_nsec());
    let changed = nanos(metadata.ctime(), metadata.ctime_nsec());
    (metadata.dev(), metadata.ino(), metadata.len(), written, changed)
}

/// Whether a file that can't be used may be one that somebody is just writing, as it was written to a moment ago. Not one
/// that others can read: more of it makes that no better.
fn is_being_written(metadata: &Metadata) -> bool {
    const WRITING: Duration = Duration::from_secs(3);
    let age = metadata.modified().map(|written| written.elapsed());
    metadata.mode() & 0o077 == 0 && age.is_ok_and(|age| age.is_ok_and(|age| age < WRITING))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn file(path: &Path) -> KeyFile<AwsKeys> {
        KeyFile::new(path.into(), "default")
    }

    fn profile(id: &str) -> String {
        format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = s3cret\n")
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        for mode in [0o644, 0o640, 0o604, 0o620] {
            write(&path, &profile("A"), mode);
            let error = file(&path).read().unwrap_err();
            assert_eq!(error.kind(), Kind::Denied);
            assert!(error.message().contains("chmod 600") && !error.message().contains("s3cret"), "{error}");
        }
        write(&path, &profile("A"), 0o600);
        assert!(file(&path).read().is_ok());
        write(&path, &profile("A"), 0o400);
        assert!(file(&path).read().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_again_within_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let file = file(&path);
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
    fn the_old_keys_go_on_while_others_are_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let file = file(&path);
        write(&path, "", 0o600);
        assert!(file.read().is_err(), "there are none yet");
        write(&path, &profile("A"), 0o600);
        assert_eq!(file.read().unwrap().access_key_id, "A");
        for part in ["", "[defa", "[default]\naws_access_key_id = B"] {
            write(&path, part, 0o600);
            assert_eq!(file.read().unwrap().access_key_id, "A", "{part}");
            assert!(file.has_changed(), "it is looked at again");
        }
        let written = std::time::SystemTime::now() - Duration::from_secs(5);
        File::options().append(true).open(&path).unwrap().set_modified(written).unwrap();
        assert!(file.read().is_err(), "nobody writes it any more");
        write(&path, &profile("B"), 0o600);
        assert_eq!(file.read().unwrap().access_key_id, "B");
        write(&path, &profile("C"), 0o644);
        assert!(file.read().is_err(), "others can read it");
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let keys = AwsKeys {
            access_key_id: "AKIA".into(),
            secret_access_key: "s3cret".into(),
            session_token: Some("t0ken".into()),
        };
        let given = Credentials::Keys {
            access_key_id: "AKIA".into(),
            secret_access_key: "s3cret".into(),
            session_token: Some("t0ken".into()),
        };
        for shown in [
            format!("{given:?}"),
            format!("{keys:?}"),
            format!("{:?}", Credentials::AccountKey("s3cret".into())),
            format!("{:?}", Credentials::Sas("sig=s3cret".into())),
            format!("{:?}", AzureKeys::parse("sv=1&sig=s3cret", "acme")),
            format!("{:?}", AzureKeys::parse("czNjcmV0czNjcmV0", "acme")),
            format!("{:?}", ConnectionString::parse("AccountName=acme;AccountKey=s3cret")),
        ] {
            let secret = ["AKIA", "s3cret", "t0ken", "czNjcm"].iter().any(|secret| shown.contains(secret));
            assert!(!secret, "{shown}");
        }
    }
}
