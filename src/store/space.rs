//! How much of the disk is free, and the files that wait to be unlinked.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Room;
use super::file::unlink;
use super::tend::Bell;
use crate::error::{Error, Kind};

/// The filesystem is asked again after this long,
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// or after so many bytes were written.
const SAMPLE_BYTES: u64 = 16 << 20;
/// So many files wait to be unlinked behind; above it, who adds one does it himself.
const GRAVES_MAX: usize = 1024;

/// What the filesystem said last.
#[derive(Debug)]
pub(super) struct Space {
    floor: AtomicU64,
    sample: Mutex<Sample>,
    written: AtomicU64,
}

/// What the filesystem said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: Option<Instant>,
    pub(super) free: u64,
    pub(super) inodes: u64,
    pub(super) free_inodes: u64,
}

/// Files of entries that are gone.
#[derive(Debug)]
pub(super) struct Graves {
    waiting: Mutex<Vec<PathBuf>>,
    /// Nobody comes by: unlink at once.
    at_once: bool,
    bell: std::sync::Arc<Bell>,
}

// === impl Space ===

impl Space {
    pub(super) fn new(floor: u64) -> Self {
        let sample = Sample { at: None, free: u64::MAX, inodes: 0, free_inodes: 0 };
        Self { floor: AtomicU64::new(floor), sample: Mutex::new(sample), written: AtomicU64::new(0) }
    }

    /// Another floor.
    pub(super) fn set_floor(&self, floor: u64) {
        self.floor.store(floor, Ordering::Relaxed);
    }

    /// Bytes were written.
    pub(super) fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn room(&self, folder: &Path) -> Room {
        if self.sample(folder, false).free < self.floor.load(Ordering::Relaxed) {
            Room::Floor
        } else {
            Room::Ok
        }
    }

    /// The error of [`Room::Floor`].
    pub(super) fn floor(&self) -> Error {
        let message = format!(
            "less than disk_floor ({} bytes) is free: nothing more is written",
            self.floor.load(Ordering::Relaxed)
        );
        Error::new(Kind::NoSpace, message)
    }

    /// What the filesystem says, not much older than now. A folder that can't be asked is taken to be as it was.
    pub(super) fn sample(&self, folder: &Path, now: bool) -> Sample {
        let mut sample = self.sample.lock();
        let fresh = sample.at.is_some_and(|at| at.elapsed() < SAMPLE_INTERVAL);
        if !now && fresh && self.written.load(Ordering::Relaxed) < SAMPLE_BYTES {
            return *sample;
        }
        self.written.store(0, Ordering::Relaxed);
        sample.at = Some(Instant::now());
        if let Ok(stat) = rustix::fs::statvfs(folder) {
            sample.free = stat.f_bavail.saturating_mul(stat.f_frsize);
            (sample.inodes, sample.free_inodes) = (stat.f_files, stat.f_favail);
        }
        *sample
    }
}

// === impl Graves ===

impl Graves {
    pub(super) fn new(at_once: bool, bell: std::sync::Arc<Bell>) -> Self {
        Self { waiting: Mutex::default(), at_once, bell }
    }

    pub(super) fn push(&self, path: PathBuf) {
        let mut waiting = self.waiting.lock();
        if self.at_once || waiting.len() >= GRAVES_MAX {
            drop(waiting);
            unlink(&path);
            return;
        }
        waiting.push(path);
        drop(waiting);
        self.bell.ring();
    }

    /// Unlinks all that wait.
    pub(super) fn fill(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        for path in waiting {
            unlink(&path);
        }
    }
}
