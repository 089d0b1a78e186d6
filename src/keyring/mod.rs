//! The credentials that Larder issues: keys for its Azure Blob and S3 doors, and bearer tokens.
//!
//! ```text
//! {state}/tokens.json   what was issued: ids, rights, ends; of bearer tokens a hash. No secret
//! {state}/master.key    32 bytes; with the id they make the secret of a key (BLAKE3, derive_key)
//! ```
//! Both are for their owner's eyes alone (0600), and refused otherwise. `larder token` writes them, whether a daemon runs
//! or not; a daemon looks at the list's stamp with every request that shows a credential, so that what is issued or
//! revoked counts at once, and needs no restart.
//!
//! # A list that can't be read
//! Of a list that is damaged, or that others can read, a running daemon says so once and goes on with what it read last;
//! at its start that is nothing, so nobody gets in by it who should not.

mod file;
mod master;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::error::{Error, Kind, Result};
use file::{Row, Stamp};
use master::Master;

/// What was issued. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Fixed(Arc<[Grant]>),
    Folder(Arc<Folder>),
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// A leaf mutex.
    last: Mutex<Last>,
}

/// What was read last.
#[derive(Debug, Default)]
struct Last {
    stamp: Option<Stamp>,
    known: Arc<Known>,
}

#[derive(Debug, Default)]
struct Known {
    rows: Vec<Row>,
    /// Of the rows of keys.
    grants: Vec<(Door, Grant)>,
}

/// What a credential is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The Azure Blob door: an account key.
    Azure,
    /// The S3 door: an access key id and a secret access key.
    S3,
    /// Any listener: a bearer token.
    Bearer,
}

/// A key that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names it in lists; of S3 it is the access key id.
    pub id: String,
    /// The container or bucket.
    pub place: String,
    /// What it lets do.
    pub access: Access,
    /// When it ends, in seconds since the Unix epoch.
    pub expires: Option<u64>,
    /// Azure: the 64 bytes of the account key. S3: the 40 characters of the secret access key.
    pub secret: Secret,
}

/// What a key lets do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look.
    ReadOnly,
    /// Look, write and delete.
    ReadWrite,
}

/// A shared secret; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// What is wanted of a new credential.
#[derive(Debug, Clone)]
pub struct Wish {
    /// What it is for.
    pub door: Door,
    /// The container or bucket; of a bearer token whose it is.
    pub place: String,
    /// What it lets do.
    pub access: Access,
    /// When it ends, in seconds since the Unix epoch.
    pub expires: Option<u64>,
}

/// One that was issued, in a list.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Its id.
    pub id: String,
    /// What was asked for.
    pub wish: Wish,
    /// When it was issued, in seconds since the Unix epoch.
    pub created: u64,
}

// === impl Keyring ===

impl Default for Source {
    fn default() -> Self {
        Self::Fixed(Arc::new([]))
    }
}

impl Keyring {
    /// One that issues nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// These and no others.
    pub fn of(grants: Vec<Grant>) -> Self {
        Self { source: Source::Fixed(grants.into()) }
    }

    /// That of a daemon with this state folder. Nothing needs to be there.
    pub fn open(state: &Path) -> Self {
        let folder = Folder { path: state.to_path_buf(), last: Mutex::default() };
        Self { source: Source::Folder(Arc::new(folder)) }
    }

    /// All keys of a container, those that have ended too.
    pub fn azure(&self, container: &str) -> Vec<Grant> {
        self.find(Door::Azure, |grant| grant.place == container)
    }

    /// The key of an access key id, though it has ended.
    pub fn s3(&self, access_key_id: &str) -> Option<Grant> {
        self.find(Door::S3, |grant| grant.id == access_key_id).pop()
    }

    /// Whether this is a bearer token that has not ended.
    pub fn bearer(&self, token: &str) -> bool {
        let Source::Folder(folder) = &self.source else { return false };
        let (hash, now) = (blake3::hash(token.as_bytes()), now());
        let known = folder.known();
        known.rows.iter().any(|row| row.is_bearer(&hash) && row.expires.is_none_or(|expires| expires > now))
    }

    fn find(&self, door: Door, which: impl Fn(&Grant) -> bool) -> Vec<Grant> {
        match &self.source {
            Source::Fixed(grants) => grants.iter().filter(|grant| which(grant)).cloned().collect(),
            Source::Folder(folder) => {
                let known = folder.known();
                let of_door = known.grants.iter().filter(|(of, _)| *of == door);
                of_door.map(|(_, grant)| grant).filter(|grant| which(grant)).cloned().collect()
            }
        }
    }
}

// === impl Folder ===

impl Folder {
    fn known(&self) -> Arc<Known> {
        let stamp = file::stamp(&self.path);
        let mut last = self.last.lock();
        if last.stamp != stamp {
            // Whatever comes of it, it is read once for each change.
            last.stamp = stamp;
            match read(&self.path) {
                Ok(known) => last.known = Arc::new(known),
                Err(error) => {
                    tracing::error!(
                        "the list of issued keys is not read, what was read last is in force: {error}"
                    );
                }
            }
        }
        Arc::clone(&last.known)
    }
}

fn read(state: &Path) -> Result<Known> {
    let rows = file::read(state)?;
    let mut grants = Vec::new();
    if rows.iter().any(|row| row.door() != Some(Door::Bearer)) {
        let master = Master::read(state)?;
        grants.extend(rows.iter().filter_map(|row| row.grant(&master)));
    }
    Ok(Known { rows, grants })
}

/// Issues a credential: what it is called, and its secret, which is shown nowhere again.
///
/// # Errors
/// When the folder can't be written, or what is there is damaged or open to others.
pub fn issue(state: &Path, wish: Wish) -> Result<(Issued, Secret)> {
    let _lock = file::lock(state)?;
    let mut rows = file::read(state)?;
    let created = now();
    let (id, secret, hash) = match wish.door {
        Door::Bearer => {
            let secret = master::random::<32>()?;
            let token = crate::digest::hex(&secret);
            let hash = blake3::hash(token.as_bytes()).to_hex().to_string();
            (format!("b-{}", word(8)?.to_lowercase()), Secret::new(token), Some(hash))
        }
        Door::Azure => {
            let id = format!("az-{}", word(8)?.to_lowercase());
            let secret = Master::read_or_make(state)?.azure(&id);
            (id, secret, None)
        }
        Door::S3 => {
            let id = format!("LARDER{}", word(14)?);
            let secret = Master::read_or_make(state)?.s3(&id);
            (id, secret, None)
        }
    };
    let issued = Issued { id, wish, created };
    rows.push(Row::new(&issued, hash));
    file::write(state, &rows)?;
    Ok((issued, secret))
}

/// All that was issued and not revoked.
///
/// # Errors
/// When what is there is damaged or open to others.
pub fn list(state: &Path) -> Result<Vec<Issued>> {
    Ok(file::read(state)?.iter().filter_map(Row::issued).collect())
}

/// Takes credentials back; all of them or none.
///
/// # Errors
/// `Invalid` when there is none of that id; else as [`issue`].
pub fn revoke(state: &Path, ids: &[String]) -> Result<()> {
    let _lock = file::lock(state)?;
    let mut rows = file::read(state)?;
    for id in ids {
        let before = rows.len();
        rows.retain(|row| row.id != *id);
        if rows.len() == before {
            let words =
                format!("there is no `{}`; `larder token list` shows what there is", id.escape_debug());
            return Err(Error::new(Kind::Invalid, words));
        }
    }
    file::write(state, &rows)
}

/// Letters and digits that nobody mistakes for others.
fn word(len: usize) -> Result<String> {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bytes = master::random::<16>()?;
    Ok(bytes.iter().take(len).map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

// === impl Secret ===

impl Secret {
    /// One of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests;
