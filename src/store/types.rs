//! What is said to a store, and what it says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::quarantine::Quarantine;
use super::{Ticket, read};
use crate::entry::Meta;
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
    /// Compaction copies at most this much a second, unless the cache is over its bound.
    pub compact_bytes_per_s: u64,
    /// How much of what was found damaged is kept.
    pub quarantine: Quarantine,
    /// Whether touches, eviction, compaction and sweeps run by themselves. Tests switch it off and call
    /// `Store::flush_touches`, `Store::evict_once`, `Store::compact_once` and `Store::sweep_once`.
    pub background: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            disk: 10 << 30,
            disk_keep_free: 5 << 30,
            inodes_keep_free: 2,
            disk_floor: 256 << 20,
            sync: false,
            inline_max: 64 << 10,
            segment_bytes: 80 << 20,
            protect: Duration::from_secs(600),
            compact_bytes_per_s: 64 << 20,
            quarantine: Quarantine::default(),
            background: true,
        }
    }
}

/// A change number. Every commit takes the next one; shared by the two stores of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

/// The counter of generations of a daemon.
#[derive(Debug, Clone, Default)]
pub struct Generations(Arc<AtomicU64>);

impl Generations {
    /// The next one, never given before.
    pub fn next(&self) -> Generation {
        Generation(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The last one given.
    pub fn current(&self) -> Generation {
        Generation(self.0.load(Ordering::Relaxed))
    }

    /// `seen` was given, by an earlier process.
    pub(super) fn raise(&self, seen: Generation) {
        self.0.fetch_max(seen.0, Ordering::Relaxed);
    }
}

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

/// An entry that was found.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its record.
    pub record: Arc<Record>,
    /// When it was committed.
    pub generation: Generation,
    /// A queued delete: the entry is absent here and is to be deleted upstream.
    pub deleted: bool,
    pub(super) found: Found,
}

/// Where the bytes of an entry are.
#[derive(Debug, Clone)]
pub(super) enum Found {
    Inline(Bytes),
    File(Arc<read::Opened>, Arc<[u32]>),
    Nothing,
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

/// Whether there is room to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Ok,
    /// Less than `disk_floor` is free: nothing more is written.
    Floor,
}

/// What a store holds and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries that a look-up finds (queued deletes included).
    pub entries: u64,
    /// What entries are charged against `disk`.
    pub bytes: u64,
    /// `disk`, as it is in force; `u64::MAX` for the outbox, which has no bound of its own.
    pub bound_bytes: u64,
    /// Bytes of bodies.
    pub live_bytes: u64,
    /// Bytes that drafts have reserved.
    pub draft_bytes: u64,
    /// Files of the log.
    pub segments: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of the log that compaction could free.
    pub dead_bytes: u64,
    /// Free bytes of the filesystem, when last looked at.
    pub free_bytes: u64,
    /// Free inodes of it, likewise; 0 of 0 where a filesystem doesn't count them.
    pub free_inodes: u64,
    /// All its inodes.
    pub inodes: u64,
    /// `disk_keep_free`, as it is in force.
    pub keep_free_bytes: u64,
    /// `inodes_keep_free` of this filesystem, likewise.
    pub keep_free_inodes: u64,
    /// Rows of the queue.
    pub queue_rows: u64,
    /// Entries evicted since start.
    pub evictions: u64,
    /// Entries found damaged since start.
    pub corrupt: u64,
    /// Entries lying in quarantine.
    pub quarantined: u64,
    /// Log segments compacted or deleted since start.
    pub compactions: u64,
}

// === impl Stored ===

impl Stored {
    pub(super) fn new(record: Record, generation: Generation, found: Found) -> Self {
        let deleted = matches!(found, Found::Nothing);
        Self { record: Arc::new(record), generation, deleted, found }
    }

    /// Bytes of the body.
    pub fn len(&self) -> u64 {
        self.record.meta.len
    }

    /// Whether the body has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The body, if it lies in the log and so is here already.
    pub fn inline(&self) -> Option<&Bytes> {
        match &self.found {
            Found::Inline(bytes) => Some(bytes),
            Found::File(..) | Found::Nothing => None,
        }
    }
}

// === impl Guard ===

impl Guard<'_> {
    pub(super) fn state(&self) -> Option<u64> {
        match self {
            Self::Always => None,
            Self::Unchanged(ticket) => Some(ticket.state),
        }
    }
}
