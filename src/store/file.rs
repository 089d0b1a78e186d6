//! The folders of a store, and the plain files of large bodies in them.
//!
//! ```text
//! {dir}/CACHEDIR.TAG                     of a cache
//!       log/{number}.seg                 see segment.rs
//!       files/{hh}/{id}-{generation}     a large body, nothing else; never written again once it is there
//!       tmp/{pid}-{random}/{n}           drafts of one process; the folder is locked while the process lives
//!       quarantine/                      what was found damaged
//! ```
//! A file without a record is swept behind start; a record without a file is dropped when it is found.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::FlockOperation;

use super::{Generation, Role, disk};
use crate::error::{Error, Result};
use crate::key::EntryId;

/// Where a store keeps what.
#[derive(Debug)]
pub(super) struct Folders {
    role: Role,
    root: PathBuf,
    pub(super) log: PathBuf,
    files: PathBuf,
    pub(super) quarantine: PathBuf,
    tmp: PathBuf,
    /// This process's folder in `tmp`, and the lock that says so.
    own: Mutex<(PathBuf, Option<File>)>,
    next_draft: AtomicU64,
}

/// What <https://bford.info/cachedir/> asks for: backups leave the folder out.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
     # This folder is a cache of larder and may be deleted at any time.\n";

// === impl Folders ===

impl Folders {
    pub(super) fn open(root: &Path, role: Role) -> Result<Self> {
        let folders = Self {
            role,
            root: root.to_owned(),
            log: root.join("log"),
            files: root.join("files"),
            quarantine: root.join("quarantine"),
            tmp: root.join("tmp"),
            own: Mutex::new((PathBuf::new(), None)),
            next_draft: AtomicU64::new(0),
        };
        folders.make()?;
        Ok(folders)
    }

    /// Makes what is missing: at open, and after somebody has deleted the folder.
    pub(super) fn make(&self) -> Result<()> {
        for folder in [&self.log, &self.files] {
            disk::create_folder(folder)?;
        }
        let tag = self.root.join("CACHEDIR.TAG");
        if self.role == Role::Cache && !tag.exists() {
            std::fs::write(&tag, CACHEDIR_TAG).map_err(|error| Error::io("write", &tag, error))?;
        }
        let mut own = self.own.lock();
        if own.1.is_none() || !own.0.exists() {
            // Not the process id alone: in containers every one is 1, and the lock comes after the folder.
            let random = RandomState::new().hash_one(std::process::id());
            let folder = self.tmp.join(format!("{}-{random:016x}", std::process::id()));
            disk::create_folder(&folder)?;
            let locked = lock(&folder).map_err(|error| Error::io("lock", &folder, error))?;
            *own = (folder, Some(locked));
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn segment(&self, number: u32) -> PathBuf {
        self.log.join(super::segment::file_name(number))
    }

    /// Where the body of an entry lies.
    pub(super) fn file(&self, id: EntryId, generation: Generation) -> PathBuf {
        self.files.join(format!("{:02x}/{id}-{:x}", id.0 >> 120, generation.0))
    }

    /// A name for a new draft.
    pub(super) fn draft(&self) -> PathBuf {
        let number = self.next_draft.fetch_add(1, Ordering::Relaxed);
        self.own.lock().0.join(number.to_string())
    }

    /// Moves a finished draft to its place. Makes the folder on the way when it is missing.
    pub(super) fn install(&self, draft: &Path, file: &Path) -> io::Result<()> {
        match std::fs::rename(draft, file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && draft.exists() => {
                if let Some(shard) = file.parent() {
                    std::fs::create_dir_all(shard)?;
                }
                std::fs::rename(draft, file)
            }
            done => done,
        }
    }

    /// Removes the drafts of processes that are gone.
    pub(super) fn sweep_drafts(&self) {
        for folder in list(&self.tmp) {
            // Who lives holds the lock; so do we, on our own.
            if lock(&folder).is_ok()
                && let Err(error) = std::fs::remove_dir_all(&folder)
            {
                tracing::warn!(folder = %folder.display(), %error, "cannot remove the drafts of an earlier run");
            }
        }
    }

    /// All files of bodies, with what their names say. Names that are not ours are left out, and left alone.
    pub(super) fn bodies(&self) -> impl Iterator<Item = (PathBuf, EntryId, Generation)> {
        let parse = |path: PathBuf| {
            let (id, generation) = path.file_name()?.to_str()?.split_once('-')?;
            let id = EntryId(u128::from_str_radix(id, 16).ok()?);
            let generation = Generation(u64::from_str_radix(generation, 16).ok()?);
            Some((path, id, generation))
        };
        list(&self.files).flat_map(|shard| list(&shard)).filter_map(parse)
    }
}

/// The paths in a folder; none when it can't be read.
pub(super) fn list(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
}

/// Removes a file; says whether it is gone, as one that wasn't there is too. What can't be removed is left to the
/// sweep of the next start.
pub(super) fn unlink(path: &Path) -> bool {
    match std::fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove a file");
            false
        }
    }
}

fn lock(folder: &Path) -> io::Result<File> {
    let folder = File::open(folder)?;
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    Ok(folder)
}
