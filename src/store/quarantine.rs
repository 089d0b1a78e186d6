//! What is found damaged is set aside: out of the index, so that it is fetched again, and into a folder, so that a
//! person can look at it.
//!
//! # Bounds
//! `quarantine_entries`, `quarantine_bytes`, `quarantine_age`; the oldest goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Generation;
use super::disk;
use super::file::{list, unlink};
use super::inner::Inner;
use crate::error::{Error, Result};
use crate::key::EntryId;

/// How much of what was found damaged is kept.
#[derive(Debug, Clone, Copy)]
pub struct Quarantine {
    /// `quarantine_entries`.
    pub entries: usize,
    /// `quarantine_bytes`.
    pub bytes: u64,
    /// `quarantine_age`: how long.
    pub age: Duration,
}

/// The bytes of a damaged entry.
#[derive(Debug)]
pub(super) enum Damaged {
    /// A record of the log, as read.
    Record(Bytes),
    /// The file of a large body.
    File(PathBuf),
}

// === impl Quarantine ===

impl Default for Quarantine {
    fn default() -> Self {
        Self { entries: 100, bytes: 256 << 20, age: Duration::from_secs(7 * 24 * 3600) }
    }
}

// === impl Inner ===

impl Inner {
    /// Sets a damaged entry aside, on the disk pool.
    pub(super) async fn set_aside(self: &Arc<Self>, id: EntryId, generation: Generation, damaged: Damaged) {
        let inner = Arc::clone(self);
        let aside = tokio::task::spawn_blocking(move || inner.set_aside_now(id, generation, &damaged));
        // A panic there has been reported; the entry stays, and is found damaged again.
        let _ = aside.await;
    }

    fn set_aside_now(&self, id: EntryId, generation: Generation, damaged: &Damaged) {
        if self.index.lock().peek(id).is_none_or(|slot| slot.generation != generation) {
            // Gone meanwhile, or found by another reader first.
            return;
        }
        self.counts.corrupt.one();
        tracing::warn!(%id, generation = generation.0, "a stored entry is damaged: set aside");
        let to = self.folders.quarantine.join(format!("{id}-{:x}", generation.0));
        if let Err(error) = keep(damaged, &to) {
            tracing::warn!(%id, %error, "cannot keep the damaged bytes");
        }
        self.forget(id, generation);
        self.trim_quarantine();
    }

    /// Removes the oldest above the bounds.
    pub(super) fn trim_quarantine(&self) {
        let mut kept: Vec<_> = list(&self.folders.quarantine)
            .filter_map(|path| {
                let meta = path.metadata().ok()?;
                Some((meta.modified().ok()?, meta.len(), path))
            })
            .collect();
        kept.sort_unstable_by(|a, b| b.cmp(a));
        let bounds = self.keep.lock().quarantine;
        let (now, mut entries, mut bytes) = (SystemTime::now(), 0, 0);
        for (modified, len, path) in kept {
            let old = now.duration_since(modified).is_ok_and(|age| age > bounds.age);
            if old || entries >= bounds.entries || bytes + len > bounds.bytes {
                unlink(&path);
            } else {
                entries += 1;
                bytes += len;
            }
        }
        self.counts.quarantined.store(entries as u64, Ordering::Relaxed);
    }
}

/// Moves a file, or writes down a record. Its time becomes that of now: it is the age in quarantine that counts.
fn keep(damaged: &Damaged, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        disk::create_folder(folder)?;
    }
    let done = match damaged {
        Damaged::Record(bytes) => std::fs::write(to, bytes),
        Damaged::File(path) => std::fs::rename(path, to)
            .and_then(|()| std::fs::File::options().append(true).open(to)?.set_modified(SystemTime::now())),
    };
    done.map_err(|error| Error::io("keep", to, error))
}
