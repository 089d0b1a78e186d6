//! `tokens.json`: read when it has changed, written whole beside itself and renamed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::master::Master;
use super::{Access, Door, Grant, Issued, Wish};
use crate::error::{Error, Kind, Result};

const NAME: &str = "tokens.json";
const LOCK: &str = "tokens.lock";
const VERSION: u32 = 1;
/// Some ten thousand rows. A longer file is not ours.
const BYTES_MAX: u64 = 4 << 20;

/// Tells one version of the file from another: every one is a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    modified_ns: i128,
    len: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Tokens {
    version: u32,
    tokens: Vec<Row>,
}

/// One that was issued.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) id: String,
    kind: String,
    place: String,
    access: String,
    created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<u64>,
    /// Of a bearer token: BLAKE3 in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
}

/// The file as it is now; `None` when there is none.
pub(super) fn stamp(state: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(state.join(NAME)).ok()?;
    let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Some(Stamp { inode: meta.ino(), modified_ns, len: meta.len() })
}

/// Its rows; none when there is no file.
pub(super) fn read(state: &Path) -> Result<Vec<Row>> {
    let path = state.join(NAME);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("open", &path, error)),
    };
    check_private(&file, &path)?;
    let mut text = String::new();
    (&mut file).take(BYTES_MAX).read_to_string(&mut text).map_err(|error| Error::io("read", &path, error))?;
    let damaged = |error: serde_json::Error| {
        let words = format!(
            "read {}: it is damaged; restore it, or delete it and issue all keys anew",
            path.display()
        );
        Error::new(Kind::Corrupt, words).because(error)
    };
    let tokens: Tokens = serde_json::from_str(&text).map_err(damaged)?;
    if tokens.version > VERSION {
        let words = format!("read {}: a newer larder wrote it; use that one", path.display());
        return Err(Error::new(Kind::Unsupported, words));
    }
    Ok(tokens.tokens)
}

/// Replaces the file in one step. Under its lock.
pub(super) fn write(state: &Path, rows: &[Row]) -> Result<()> {
    let (path, draft) = (state.join(NAME), state.join("tokens.json.new"));
    let tokens = Tokens { version: VERSION, tokens: rows.to_vec() };
    let text = serde_json::to_vec_pretty(&tokens)
        .map_err(|error| Error::new(Kind::Internal, "write the list of issued keys").because(error))?;
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&text)?;
        file.sync_all()
    })();
    written.map_err(|error| Error::io("write", &draft, error))?;
    std::fs::rename(&draft, &path).map_err(|error| Error::io("replace", &path, error))
}

/// Keeps a second writer waiting, as long as it lives.
pub(super) fn lock(state: &Path) -> Result<File> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(|error| Error::io("make the folder", state, error))?;
    let owner = std::fs::metadata(state).map_err(|error| Error::io("look at", state, error))?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        let words = format!(
            "write {}: it belongs to uid {owner}, whose daemon could not read what you write; run this as that user",
            state.display()
        );
        return Err(Error::new(Kind::Denied, words));
    }
    let path = state.join(LOCK);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(|error| Error::io("open", &path, error))?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive)
        .map_err(|error| Error::io("lock", &path, error.into()))?;
    Ok(file)
}

/// A file that only its owner, who is us, can read.
pub(super) fn check_private(file: &File, path: &Path) -> Result<()> {
    let meta = file.metadata().map_err(|error| Error::io("look at", path, error))?;
    let refused = |why: String| Err(Error::new(Kind::Denied, format!("read {}: {why}", path.display())));
    if meta.mode() & 0o077 != 0 {
        return refused(format!("others can read it (mode {:o}); chmod 600", meta.mode() & 0o777));
    }
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return refused(format!("it belongs to uid {}, not to this user", meta.uid()));
    }
    Ok(())
}

// === impl Row ===

impl Row {
    pub(super) fn new(issued: &Issued, hash: Option<String>) -> Self {
        let Wish { door, place, access, expires } = issued.wish.clone();
        Self {
            id: issued.id.clone(),
            kind: door.name().into(),
            place,
            access: access.name().into(),
            created: issued.created,
            expires,
            hash,
        }
    }

    /// `None`: of a later version.
    pub(super) fn door(&self) -> Option<Door> {
        [Door::Azure, Door::S3, Door::Bearer].into_iter().find(|door| door.name() == self.kind)
    }

    fn access(&self) -> Option<Access> {
        [Access::ReadOnly, Access::ReadWrite].into_iter().find(|access| access.name() == self.access)
    }

    pub(super) fn is_bearer(&self, hash: &blake3::Hash) -> bool {
        let own = self.hash.as_ref().and_then(|hex| blake3::Hash::from_hex(hex).ok());
        self.door() == Some(Door::Bearer) && own.is_some_and(|own| own == *hash)
    }

    pub(super) fn grant(&self, master: &Master) -> Option<(Door, Grant)> {
        let door = self.door()?;
        let secret = match door {
            Door::Azure => master.azure(&self.id),
            Door::S3 => master.s3(&self.id),
            Door::Bearer => return None,
        };
        let (id, place) = (self.id.clone(), self.place.clone());
        Some((door, Grant { id, place, access: self.access()?, expires: self.expires, secret }))
    }

    pub(super) fn issued(&self) -> Option<Issued> {
        let wish = Wish {
            door: self.door()?,
            place: self.place.clone(),
            access: self.access()?,
            expires: self.expires,
        };
        Some(Issued { id: self.id.clone(), wish, created: self.created })
    }
}

impl Door {
    /// The word in files and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Azure => "azure",
            Self::S3 => "s3",
            Self::Bearer => "bearer",
        }
    }
}

impl Access {
    /// The word in files and lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::ReadWrite => "read-write",
        }
    }
}
