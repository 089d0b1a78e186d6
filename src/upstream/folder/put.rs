//! Writing to a folder upstream, whole or not at all.
//!
//! ```text
//! bytes -> .larder/tmp/{pid}-{n}, synced     meta -> a second draft
//! lock of the name; does the condition hold?
//! rename meta over {name}.meta; rename the bytes over {name} (link, where there must be none)
//! ```
//!
//! Synced, because what is upstream leaves the outbox. The meta comes first: bytes with a meta of others are read as
//! an object without attributes, and a reader that sees that looks again.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use futures_util::StreamExt as _;
use rustix::fs::FlockOperation;

use super::super::{Failure, Fault, PutDone, PutIf, PutOptions, Signal, Source};
use super::meta::{self, MetaFile};
use super::{Folder, OURS, Root};
use crate::key::ObjectName;

/// Bytes gathered for one write.
const GATHER: usize = 1 << 20;

/// A draft without a write for this long is of a process that is gone.
const DRAFT_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A file in `.larder/tmp`; removed when dropped.
#[derive(Debug)]
struct Draft {
    file: File,
    path: PathBuf,
    hasher: blake3::Hasher,
    crc: Digest,
}

/// See [`super::super::Upstream::put`].
pub(super) async fn put(
    folder: &Folder,
    name: &ObjectName,
    source: &dyn Source,
    options: &PutOptions,
) -> Result<PutDone, Fault> {
    let target = {
        let name = name.clone();
        folder.call(move |root| prepare(root, &name)).await?
    };
    let draft = write(folder, source).await?;
    let (name, options) = (name.clone(), options.clone());
    folder.call(move |root| draft.publish(root, &name, &target, &options)).await
}

/// See [`super::super::Upstream::delete`].
pub(super) fn delete(root: &Root, name: &ObjectName) -> Result<(), Fault> {
    let Some(path) = root.path_of(name) else {
        return Ok(());
    };
    let _lock = meta::lock(root, name, FlockOperation::LockExclusive);
    // The bytes first: a meta without bytes is nothing, bytes without a meta are an object.
    for path in [&path, &meta::meta_path(&path)] {
        match std::fs::remove_file(path) {
            Ok(()) => {}
            Err(e) if super::is_no_such_file(&e) => root.check()?,
            Err(e) => return Err(root.fault("delete", path, &e)),
        }
    }
    Ok(())
}

/// Whether a draft can be made.
pub(super) fn try_write(root: &Root) -> Result<(), Fault> {
    Draft::new(root).map(drop)
}

/// Removes drafts of processes that are gone.
pub(super) fn sweep(root: &Root) {
    let Ok(files) = std::fs::read_dir(root.path.join(OURS).join("tmp")) else {
        return;
    };
    for file in files.flatten() {
        let age = file.metadata().and_then(|metadata| metadata.modified()).map(|time| time.elapsed());
        if matches!(age, Ok(Ok(age)) if age > DRAFT_AGE_MAX) {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

/// Makes the folders that `name` needs, never the root.
fn prepare(root: &Root, name: &ObjectName) -> Result<PathBuf, Fault> {
    root.check()?;
    let Some(target) = root.path_of(name) else {
        let words =
            format!("a folder upstream keeps no names that end in {} or begin with {OURS}", meta::SUFFIX);
        return Err(Failure::Refused(words).into());
    };
    let mut path = root.path.clone();
    let segments: Vec<&str> = name.as_str().split('/').collect();
    for segment in &segments[..segments.len() - 1] {
        path.push(segment);
        make_folder(root, &path)?;
    }
    if target.is_dir() {
        return Err(Failure::Refused(format!("{} is a folder", target.display())).into());
    }
    Ok(target)
}

fn make_folder(root: &Root, path: &Path) -> Result<(), Fault> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(root.fault("make", path, &e)),
    }
}

async fn write(folder: &Folder, source: &dyn Source) -> Result<Draft, Fault> {
    let failed = |error| Fault::from(Failure::Source(error));
    let mut body = source.open(0..source.len()).await.map_err(failed)?;
    let mut draft = folder.call(Draft::new).await?;
    let mut gathered = BytesMut::new();
    loop {
        let piece = body.next().await.transpose().map_err(failed)?;
        let ended = piece.is_none();
        if let Some(piece) = piece {
            gathered.extend_from_slice(&piece);
        }
        if gathered.len() >= GATHER || (ended && !gathered.is_empty()) {
            let bytes = gathered.split().freeze();
            draft = folder.call(move |root| draft.append(root, &bytes)).await?;
        }
        if ended {
            return Ok(draft);
        }
    }
}

// === impl Draft ===

impl Draft {
    fn new(root: &Root) -> Result<Self, Fault> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let ours = root.path.join(OURS);
        let tmp = ours.join("tmp");
        make_folder(root, &ours)?;
        root.marked.store(true, Ordering::Relaxed);
        make_folder(root, &tmp)?;
        // Machines share the folder, and process ids are no names among machines.
        let random =
            blake3::hash(format!("{:?}", (SystemTime::now(), std::thread::current().id())).as_bytes());
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = tmp.join(format!("{}-{next}-{}", std::process::id(), &random.to_hex()[..8]));
        let file = File::options().create_new(true).write(true).read(true).open(&path);
        let file = file.map_err(|e| root.fault("make", &path, &e))?;
        let crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        Ok(Self { file, path, hasher: blake3::Hasher::new(), crc })
    }

    fn append(mut self, root: &Root, bytes: &Bytes) -> Result<Self, Fault> {
        self.hasher.update(bytes);
        self.crc.update(bytes);
        self.file.write_all(bytes).map_err(|e| root.fault("write to", &self.path, &e))?;
        Ok(self)
    }

    fn publish(
        self,
        root: &Root,
        name: &ObjectName,
        target: &Path,
        options: &PutOptions,
    ) -> Result<PutDone, Fault> {
        let fault = |e| root.fault("write to", &self.path, &e);
        self.file.sync_data().map_err(fault)?;
        let metadata = self.file.metadata().map_err(fault)?;
        let etag = meta::etag(&self.hasher.finalize());
        let meta_file = MetaFile::new(&metadata, &etag, self.crc.finalize() as u32, options);
        let meta = Self::new(root)?.append(root, &meta_file.to_json().into())?;

        let _lock = meta::lock(root, name, FlockOperation::LockExclusive);
        let current = root.find(name)?.map(|(_, found)| found.meta.etag);
        match &options.condition {
            PutIf::Always => {}
            PutIf::Absent if current.is_none() => {}
            PutIf::Matches(etag) if current == Some(Some(Arc::clone(etag))) => {}
            PutIf::Absent | PutIf::Matches(_) => return Err(Failure::Conflict.into()),
        }
        rename(root, &meta.path, &meta::meta_path(target))?;
        if options.condition == PutIf::Absent {
            match std::fs::hard_link(&self.path, target) {
                Ok(()) => {}
                // Somebody who takes no lock was faster.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => return Err(Failure::Conflict.into()),
                // No links here (FAT, some network shares): the lock and the look before must do.
                Err(_) => rename(root, &self.path, target)?,
            }
        } else {
            rename(root, &self.path, target)?;
        }
        Ok(PutDone { etag: Some(etag), server_date: Some(SystemTime::now()) })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Published by rename, it is gone from here already.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn rename(root: &Root, from: &Path, to: &Path) -> Result<(), Fault> {
    std::fs::rename(from, to).map_err(|e| match e.kind() {
        ErrorKind::NotFound => {
            Fault::state(Signal::Fault, format!("{} has lost a folder", root.path.display()))
        }
        _ => root.fault("write", to, &e),
    })
}
