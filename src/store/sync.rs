//! `durability = "power"`: one syncer for all who wait, so that many commits share one `fdatasync`.
//!
//! The first commit after a pause is synced at once; while a sync runs, or less than 5 ms after one began, commits
//! gather for the next.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::segment::Segment;
use crate::error::{Error, Result};

/// Syncs begin at least this far apart.
const SYNC_INTERVAL: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug)]
pub(super) struct Syncer {
    asked: Mutex<Asked>,
    wake: Condvar,
    done: watch::Sender<Done>,
}

#[derive(Debug, Default)]
struct Asked {
    /// Counts what was written.
    wrote: u64,
    segments: Vec<Arc<Segment>>,
    folders: BTreeSet<PathBuf>,
    ended: bool,
}

#[derive(Debug, Clone, Default)]
struct Done {
    /// Up to here it was tried.
    upto: u64,
    /// The last round that failed: what it covered, and why.
    failed: Option<(u64, u64, Error)>,
}

// === impl Syncer ===

impl Syncer {
    /// Starts the thread. It ends after [`Syncer::end`].
    pub(super) fn start() -> Result<Arc<Self>> {
        let syncer = Arc::new(Self {
            asked: Mutex::default(),
            wake: Condvar::new(),
            done: watch::channel(Done::default()).0,
        });
        let thread = Arc::clone(&syncer);
        let spawned = std::thread::Builder::new().name("larder-sync".into()).spawn(move || thread.run());
        spawned.map_err(|error| Error::io("start a thread for", Path::new("sync"), error))?;
        Ok(syncer)
    }

    /// Bytes were appended to a segment.
    pub(super) fn wrote(&self, segment: &Arc<Segment>) {
        let mut asked = self.asked.lock();
        asked.wrote += 1;
        if !asked.segments.iter().any(|known| known.number == segment.number) {
            asked.segments.push(Arc::clone(segment));
        }
    }

    /// A name was made in a folder.
    pub(super) fn folder(&self, folder: &Path) {
        let mut asked = self.asked.lock();
        asked.wrote += 1;
        asked.folders.insert(folder.to_owned());
    }

    /// Waits until all that was written so far is on the disk.
    ///
    /// # Errors
    /// It could not be brought there.
    pub(super) async fn synced(&self) -> Result<()> {
        let target = self.asked.lock().wrote;
        self.wake.notify_one();
        let mut done = self.done.subscribe();
        let done = done.wait_for(|done| done.upto >= target).await;
        match done.as_ref().ok().and_then(|done| done.failed.as_ref()) {
            Some((after, upto, error)) if target > *after && target <= *upto => Err(error.clone()),
            _ => Ok(()),
        }
    }

    /// Ends the thread.
    pub(super) fn end(&self) {
        self.asked.lock().ended = true;
        self.wake.notify_one();
    }

    fn run(&self) {
        let mut upto = 0;
        loop {
            let began = Instant::now();
            let (wrote, segments, folders) = {
                let mut asked = self.asked.lock();
                while asked.wrote == upto && !asked.ended {
                    self.wake.wait(&mut asked);
                }
                if asked.wrote == upto {
                    return;
                }
                let asked = &mut *asked;
                (asked.wrote, std::mem::take(&mut asked.segments), std::mem::take(&mut asked.folders))
            };
            let result = sync(&segments, &folders);
            self.done.send_modify(|done| {
                if let Err(error) = result {
                    done.failed = Some((upto, wrote, error));
                }
                done.upto = wrote;
            });
            upto = wrote;
            let mut asked = self.asked.lock();
            while !asked.ended && !self.wake.wait_until(&mut asked, began + SYNC_INTERVAL).timed_out() {}
        }
    }
}

fn sync(segments: &[Arc<Segment>], folders: &BTreeSet<PathBuf>) -> Result<()> {
    for folder in folders {
        let opened = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        opened.map_err(|error| Error::io("sync", folder, error))?;
    }
    for segment in segments {
        segment.file.sync_data().map_err(|error| Error::io("sync", &segment.path, error))?;
    }
    Ok(())
}
