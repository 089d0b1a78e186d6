//! Partial uploads: bodies that come in pieces, over several requests or connections, until they become an entry.
//!
//! A partial upload has an id, of its owner's own. It holds *parts* (`part.rs`), each whole, which come in any order
//! and at once and are put together at the end; or a *stream* (`stream.rs`), which comes in order, from one writer at a
//! time, and goes on where it was broken off; or both, which don't touch. Each ends in a put like any other: hashed,
//! checked against its claim, conditional, routed, shed where it can't be kept.
//!
//! # What is kept
//! The bytes in drafts of the store that they will be published in, without a descriptor or a buffer while nobody
//! writes; small beginnings of streams, and what all is called, in memory. None of it survives a restart: clients
//! begin again, and the drafts are swept at the next start.
//!
//! # Bounds
//! Of uploads that nobody writes to (*idle* ones): `partial_uploads_count`, `partial_uploads_bytes`, and a number of
//! parts. Over one of them, the one that has had no byte for longest goes; after `partial_uploads_age` without a byte
//! it goes too, at most a minute late. One with a live writer, or that is being put together, is a reservation: not
//! counted and not dropped. One upload alone takes no more than `partial_uploads_bytes` and that number of parts.

mod part;
mod stream;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

pub use part::{Part, Staged, StagedPart};
pub use stream::{Resumed, Stream};

use super::Cache;
use super::config::Settings;
use super::status::PartialUploads;
use crate::error::{Error, Result};
use crate::key::{Owner, Scope};
use uploads::{Limits, Upload, Uploads};

/// A partial upload, whether there is one of that name or not. A handle; cheap.
#[derive(Debug, Clone)]
pub struct PartialUpload {
    cache: Cache,
    scope: Scope,
    ident: Ident,
}

/// All partial uploads.
#[derive(Debug)]
pub(super) struct Partials {
    /// A leaf mutex.
    bounds: Mutex<(Limits, Duration)>,
    /// A leaf mutex.
    uploads: Mutex<Uploads>,
    /// Wakes who waits for a stream to come to rest.
    changes: watch::Sender<()>,
    runtime: Handle,
}

/// Keeps an upload from being idle. Whatever becomes of a writer, dropping this ends its part in it.
#[derive(Debug)]
struct Hold {
    partials: Arc<Partials>,
    ident: Ident,
    /// Which upload of that name: it may end, and another begin, while this is held.
    number: u64,
    /// When its last byte came.
    last: Instant,
}

/// Whose upload, and its id.
type Ident = (Owner, Arc<str>);

/// Ids of uploads and names of parts are kept in memory: at most so many bytes each.
const ID_BYTES_MAX: usize = 2048;

/// Aged uploads are looked for this often, or eight times in their age if that is more.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

impl Cache {
    /// The partial upload of this id. The scope's owner is part of its name; its upstream says where parts are kept
    /// until they are put together, so all calls for one upload should be for the same.
    ///
    /// # Errors
    /// `Invalid` for an id over 2,048 bytes.
    pub fn stage(&self, scope: &Scope, id: &str) -> Result<PartialUpload> {
        check_id(id)?;
        Ok(PartialUpload { cache: self.clone(), scope: scope.clone(), ident: (scope.owner, id.into()) })
    }

    /// The ids of an owner's partial uploads that begin so, in order of their bytes.
    pub fn staged_ids(&self, scope: &Scope, prefix: &str) -> Vec<Arc<str>> {
        let uploads = self.inner.partials.uploads.lock();
        let mut ids: Vec<_> = uploads.ids(scope.owner).filter(|id| id.starts_with(prefix)).cloned().collect();
        ids.sort();
        ids
    }
}

/// Drops uploads that have aged. Ends with the daemon.
pub(super) async fn expire(cache: Cache) {
    let partials = &cache.inner.partials;
    loop {
        tokio::time::sleep((partials.age() / 8).clamp(Duration::from_millis(10), EXPIRE_EVERY)).await;
        if let Some(since) = Instant::now().checked_sub(partials.age()) {
            let aged = partials.uploads.lock().aged(since);
            partials.drop_behind(aged);
        }
    }
}

// === impl PartialUpload ===

impl PartialUpload {
    /// Begins it before there are any bytes, with attributes to be remembered for its end.
    pub fn begin(&self, attrs: crate::entry::Attrs) {
        let hold = self.hold();
        hold.with(|upload| upload.begin(attrs));
    }

    /// Ends it, with all that it holds; its writers find out when they finish. `false` when there is none.
    pub fn end(&self) -> bool {
        let partials = &self.cache.inner.partials;
        let upload = partials.uploads.lock().remove(&self.ident);
        let was = upload.is_some();
        partials.drop_behind(upload.into_iter().collect());
        was
    }

    fn hold(&self) -> Hold {
        let partials = &self.cache.inner.partials;
        let number = partials.uploads.lock().hold(&self.ident);
        Hold { partials: Arc::clone(partials), ident: self.ident.clone(), number, last: Instant::now() }
    }

    /// Only if there is one.
    fn hold_known(&self) -> Option<Hold> {
        let known = self.cache.inner.partials.uploads.lock().get(&self.ident).is_some();
        known.then(|| self.hold())
    }
}

// === impl Partials ===

impl Partials {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            bounds: Mutex::new(bounds(settings)),
            uploads: Mutex::default(),
            changes: watch::Sender::new(()),
            runtime: Handle::current(),
        })
    }

    /// Other bounds; what is over them goes.
    pub(super) fn bound(&self, settings: &Settings) {
        *self.bounds.lock() = bounds(settings);
        let over = self.uploads.lock().over(&self.limits());
        self.drop_behind(over);
    }

    fn limits(&self) -> Limits {
        self.bounds.lock().0
    }

    fn age(&self) -> Duration {
        self.bounds.lock().1
    }

    /// How many there are, and their bytes.
    pub(super) fn usage(&self) -> PartialUploads {
        self.uploads.lock().usage()
    }

    /// Ends all: a stream at rest holds the cache that holds it.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.uploads.lock());
        drop(all);
    }

    /// On the disk pool: there may be thousands of files to unlink.
    fn drop_behind<T: Send + 'static>(&self, dropped: Vec<T>) {
        if !dropped.is_empty() {
            self.runtime.spawn_blocking(move || drop(dropped));
        }
    }
}

// === impl Hold ===

impl Hold {
    /// What is held, unless it was ended meanwhile.
    fn with<T>(&self, change: impl FnOnce(&mut Upload) -> T) -> Option<T> {
        let mut uploads = self.partials.uploads.lock();
        let upload = uploads.get_mut(&self.ident).filter(|upload| upload.number == self.number)?;
        Some(change(upload))
    }

    /// A byte came.
    fn touch(&mut self) {
        self.last = Instant::now();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let dropped = {
            let limits = self.partials.limits();
            let mut uploads = self.partials.uploads.lock();
            uploads.release(&self.ident, self.number, self.last, &limits)
        };
        self.partials.drop_behind(dropped);
    }
}

fn bounds(settings: &Settings) -> (Limits, Duration) {
    let limits = Limits {
        uploads: settings.partial_uploads,
        bytes: settings.partial_bytes,
        parts: settings.partial_parts,
    };
    (limits, settings.partial_age)
}

fn check_id(id: &str) -> Result<()> {
    if id.len() > ID_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the id of an upload has {} bytes, at most {ID_BYTES_MAX} are taken",
            id.len()
        )));
    }
    Ok(())
}
