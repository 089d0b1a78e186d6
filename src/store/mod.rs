//! The store engine (skeleton).

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::body::Body;
use crate::entry::Meta;
use crate::error::Result;
use crate::key::EntryId;
use crate::links::Links;

/// What the engine is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Bounded by `disk`, evicts the least recently used.
    Cache,
    /// Bounded by its caller, never evicts.
    Outbox,
}

/// The engine's numbers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `disk`: bytes of the cache at most (ignored by an outbox).
    pub disk: u64,
    /// `disk_keep_free`: with less free bytes, the cache evicts.
    pub disk_keep_free: u64,
    /// `inodes_keep_free`: percent.
    pub inodes_keep_free: u8,
    /// `disk_floor`: with less free bytes nothing more is written.
    pub disk_floor: u64,
    /// Sync before acknowledging (`durability = "power"`).
    pub sync: bool,
    /// Bodies up to this go into the log.
    pub inline_max: u64,
    /// A segment is sealed at this size.
    pub segment_bytes: u64,
    /// How long what an answered action result named goes last.
    pub protect: Duration,
}

/// A change number. Every commit takes the next one; shared by the two stores of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

/// The counter of generations of a daemon.
#[derive(Debug, Clone, Default)]
pub struct Generations(Arc<std::sync::atomic::AtomicU64>);

/// Which upstream a queue row is for: a stable 64-bit name of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueTag(pub u64);

/// What a put row says besides the bytes.
#[derive(Debug, Clone)]
pub struct Record {
    /// The index key.
    pub id: EntryId,
    /// The canonical key, compared on read.
    pub key: Arc<[u8]>,
    /// Length, digest, ETag, attributes.
    pub meta: Meta,
    /// What it names; `None` for spaces without links.
    pub links: Option<Links>,
    /// Queued for this upstream under this object name.
    pub queue: Option<(QueueTag, Arc<str>)>,
}

/// On what condition a commit is published.
#[derive(Debug, Clone, Copy)]
pub enum Guard<'a> {
    /// Always: a PUT.
    Always,
    /// Only if its key had no commit, delete or supersede since the ticket was taken: a fill.
    Unchanged(&'a Ticket),
}

/// Taken when a fill begins; see [`Guard::Unchanged`].
#[derive(Debug)]
pub struct Ticket {
    _private: (),
}

/// An entry that was found.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its record.
    pub record: Arc<Record>,
    /// When it was committed.
    pub generation: Generation,
    /// A queued delete: the entry is absent here and is to be deleted upstream.
    pub deleted: bool,
}

/// A row of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Which entry.
    pub id: EntryId,
    /// Which commit of it.
    pub generation: Generation,
    /// For whom.
    pub tag: QueueTag,
    /// Bytes of the body.
    pub bytes: u64,
}

/// One engine over one folder.
#[derive(Debug, Clone)]
pub struct Store {
    _private: (),
}

/// A body that is being written; dropped, it never happened.
#[derive(Debug)]
pub struct Draft {
    _private: (),
}
