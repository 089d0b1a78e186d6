//! What a folder upstream knows of an object: the `.meta` file beside its bytes.
//!
//! Bytes and meta are two files, so a reader can meet the meta of one version beside the bytes of another. The meta
//! names its bytes by length and modification time; when they disagree the reader looks again, at last under the
//! writers' lock. Bytes without a meta of theirs (put there by other tools, or copied without times) are an object
//! without attributes.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::super::{ObjectMeta, PutOptions, Stated};
use super::{OURS, Root};
use crate::entry::Attrs;
use crate::key::ObjectName;

/// What follows an object's name.
pub(super) const SUFFIX: &str = ".meta";

/// Attributes are 2 KiB at most; a larger file is not ours.
const META_BYTES_MAX: u64 = 64 << 10;

/// Writers of names with the same hash take turns at the last step of a write.
const LOCKS: u64 = 16;

/// An object that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) meta: ObjectMeta,
}

/// The `.meta` file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MetaFile {
    /// Of the bytes that it describes.
    len: u64,
    mtime_ns: i128,
    etag: String,
    crc32c: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

// === impl MetaFile ===

impl MetaFile {
    /// The meta of bytes that were just written to a draft.
    pub(super) fn new(draft: &Metadata, etag: &str, crc32c: u32, options: &PutOptions) -> Self {
        Self {
            len: draft.len(),
            mtime_ns: mtime_ns(draft),
            etag: etag.to_owned(),
            crc32c,
            content_type: options.content_type.clone(),
            attrs: options.attrs.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers are JSON")
    }

    fn describes(&self, bytes: &Metadata) -> bool {
        self.len == bytes.len() && self.mtime_ns == mtime_ns(bytes)
    }
}

/// Opens `path` and takes what is known of it. `None`: it is a folder.
pub(super) fn find(root: &Root, name: &ObjectName, path: &Path) -> std::io::Result<Option<(File, Found)>> {
    for _ in 0..2 {
        let (file, bytes) = open(path)?;
        match read(&meta_path(path)) {
            _ if !bytes.is_file() => return Ok(None),
            Some(meta) if meta.describes(&bytes) => return Ok(Some((file, found(&bytes, Some(meta))))),
            Some(_) => {}
            None => return Ok(Some((file, found(&bytes, None)))),
        }
    }
    // A writer is between its two steps, or the meta is of bytes that are gone.
    let _lock = lock(root, name, FlockOperation::LockShared);
    let (file, bytes) = open(path)?;
    let meta = read(&meta_path(path)).filter(|meta| meta.describes(&bytes));
    Ok(Some((file, found(&bytes, meta))))
}

/// Where the meta of the bytes at `path` is.
pub(super) fn meta_path(path: &Path) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(SUFFIX);
    text.into()
}

/// Takes the writers' lock of `name`. `None` where there is no place for one, or the filesystem knows none: then two
/// machines that write one name at one moment may leave its attributes behind.
pub(super) fn lock(root: &Root, name: &ObjectName, operation: FlockOperation) -> Option<File> {
    let mut shard = [0; 8];
    shard.copy_from_slice(&blake3::hash(name.as_str().as_bytes()).as_bytes()[..8]);
    let path = root.path.join(OURS).join(format!("lock-{}", u64::from_le_bytes(shard) % LOCKS));
    let file = File::options().create(true).truncate(false).write(true).open(path).ok()?;
    rustix::fs::flock(&file, operation).ok()?;
    Some(file)
}

fn open(path: &Path) -> std::io::Result<(File, Metadata)> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn read(path: &Path) -> Option<MetaFile> {
    let len = std::fs::metadata(path).ok()?.len();
    if len > META_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn found(bytes: &Metadata, meta: Option<MetaFile>) -> Found {
    let last_modified = bytes.modified().ok();
    let foreign = || format!("mtime-{:x}-{:x}", mtime_ns(bytes), bytes.len());
    let meta = match meta {
        None => ObjectMeta { etag: Some(foreign().into()), ..ObjectMeta::default() },
        Some(meta) => ObjectMeta {
            etag: Some(meta.etag.into()),
            attrs: Attrs::new(meta.attrs).unwrap_or_default(),
            content_type: meta.content_type,
            stated: Stated { crc32c: Some(meta.crc32c), ..Stated::default() },
            ..ObjectMeta::default()
        },
    };
    // The share's clock is what its modification times are of; ours is the only one that can be asked.
    Found {
        meta: ObjectMeta { len: bytes.len(), last_modified, server_date: Some(SystemTime::now()), ..meta },
    }
}

/// The ETag of bytes with this hash.
pub(super) fn etag(hash: &blake3::Hash) -> Arc<str> {
    format!("b3-{}", &hash.to_hex()[..32]).into()
}

fn mtime_ns(metadata: &Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}
