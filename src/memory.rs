//! The memory tier: whole small entries, answered without an await.
//!
//! Bounded by weight (body + 400 bytes of bookkeeping). What is held here is always also in a store or upstream, so
//! losing it costs time and nothing else. `moka` decides what stays: an entry that was asked for once doesn't drive
//! out one that is asked for all the time.
//!
//! # Hidden contract
//! A commit or a delete is published in its store *before* [`Memory::put`] or [`Memory::forget`] is called, and
//! whoever promotes a copy from a store calls [`Memory::promote`], which looks again after inserting. So a promotion
//! that races with a newer commit is either never seen or removed by one of the two.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use crate::entry::Meta;
use crate::key::EntryId;
use crate::links::Links;

/// The tier's numbers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `memory`: bytes in all.
    pub memory: u64,
    /// `memory_entry_max`: bytes of one body.
    pub memory_entry_max: u64,
}

/// An entry in memory. A clone counts two references: fewer than one more around it all would cost.
#[derive(Debug, Clone)]
pub struct Held {
    /// The commit that these bytes are of.
    pub generation: u64,
    /// Length, ETag, attributes.
    pub meta: Arc<Meta>,
    /// What it names, in spaces that have links.
    pub links: Option<Links>,
    /// The whole body.
    pub body: Bytes,
    /// When it was last known to be current, in milliseconds since the epoch.
    pub checked_ms: u64,
}

/// The tier. Cheap to clone.
#[derive(Clone)]
pub struct Memory {
    entries: Option<moka::sync::Cache<EntryId, Held, BuildHasherDefault<IdHasher>>>,
    entry_max: u64,
}

/// What an entry weighs besides its body: key, meta, attributes, the cache's own nodes.
const OVERHEAD_BYTES: u64 = 400;

/// Ids are hashes already.
#[derive(Default)]
pub struct IdHasher(u64);

// === impl Memory ===

impl Memory {
    /// An empty tier; with `memory` 0 it stays empty.
    pub fn new(settings: &Settings) -> Self {
        let entries = (settings.memory > 0).then(|| {
            moka::sync::Cache::builder()
                .max_capacity(settings.memory)
                .weigher(|_, held: &Held| {
                    u32::try_from(held.body.len() as u64 + OVERHEAD_BYTES).unwrap_or(u32::MAX)
                })
                .build_with_hasher(BuildHasherDefault::default())
        });
        Self { entries, entry_max: settings.memory_entry_max }
    }

    /// Whether a body of this length would be admitted.
    pub fn admits(&self, len: u64) -> bool {
        self.entries.is_some() && len <= self.entry_max
    }

    /// Whether nothing is ever held.
    pub fn is_off(&self) -> bool {
        self.entries.is_none()
    }

    /// The entry, if it is here.
    pub fn get(&self, id: EntryId) -> Option<Held> {
        self.entries.as_ref()?.get(&id)
    }

    /// Whether it is here, without counting as a use.
    pub fn contains(&self, id: EntryId) -> bool {
        self.entries.as_ref().is_some_and(|entries| entries.contains_key(&id))
    }

    /// A commit: replaces whatever older commit is here.
    pub fn put(&self, id: EntryId, held: Held) {
        if !self.admits(held.body.len() as u64) {
            return self.forget(id);
        }
        if let Some(entries) = &self.entries {
            entries.entry(id).and_compute_with(|present| match present {
                Some(present) if present.value().generation > held.generation => moka::ops::compute::Op::Nop,
                _ => moka::ops::compute::Op::Put(held),
            });
        }
    }

    /// A copy read from a store. `current` tells the generation that the stores hold now.
    pub fn promote(&self, id: EntryId, held: Held, current: impl Fn() -> Option<u64>) {
        if !self.admits(held.body.len() as u64) {
            return;
        }
        let generation = held.generation;
        self.put(id, held);
        if current() != Some(generation) {
            self.forget(id);
        }
    }

    /// A delete, or a commit that is too large to be held.
    pub fn forget(&self, id: EntryId) {
        if let Some(entries) = &self.entries {
            entries.invalidate(&id);
        }
    }

    /// Entries and bytes as weighed, as of the last housekeeping.
    pub fn usage(&self) -> (u64, u64) {
        self.entries.as_ref().map_or((0, 0), |entries| (entries.entry_count(), entries.weighted_size()))
    }

    /// Lets pending housekeeping end, so that [`Memory::usage`] is exact.
    pub fn settle(&self) {
        if let Some(entries) = &self.entries {
            entries.run_pending_tasks();
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (entries, bytes) = self.usage();
        write!(f, "Memory({entries} entries, {bytes} bytes)")
    }
}

// === impl Held ===

impl Held {
    /// An entry that was current at `checked_ms`.
    pub fn new(generation: u64, meta: Arc<Meta>, links: Option<Links>, body: Bytes, checked_ms: u64) -> Self {
        Self { generation, meta, links, body, checked_ms }
    }
}

// === impl IdHasher ===

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(23) ^ u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, id: u128) {
        self.0 = id as u64 ^ (id >> 64) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Attrs;

    fn held(generation: u64, body: &'static [u8]) -> Held {
        let meta = Meta {
            len: body.len() as u64,
            digest: None,
            etag: "e".into(),
            attrs: Attrs::default(),
            stored_ms: 0,
            origin_etag: None,
        };
        Held::new(generation, Arc::new(meta), None, Bytes::from_static(body), 0)
    }

    fn memory(bytes: u64) -> Memory {
        Memory::new(&Settings { memory: bytes, memory_entry_max: 16 })
    }

    #[test]
    fn an_older_commit_never_replaces_a_newer_one() {
        let memory = memory(1 << 20);
        memory.put(EntryId(1), held(7, b"new"));
        memory.put(EntryId(1), held(6, b"old"));
        assert_eq!(memory.get(EntryId(1)).map(|held| held.body.clone()), Some(Bytes::from_static(b"new")));
    }

    #[test]
    fn a_promotion_that_lost_a_race_is_undone() {
        let memory = memory(1 << 20);
        memory.promote(EntryId(1), held(5, b"old"), || Some(6));
        assert!(memory.get(EntryId(1)).is_none());
        memory.promote(EntryId(1), held(6, b"now"), || Some(6));
        assert!(memory.get(EntryId(1)).is_some());
    }

    #[test]
    fn over_memory_entry_max_nothing_is_admitted_and_the_old_copy_goes() {
        let memory = memory(1 << 20);
        memory.put(EntryId(1), held(1, b"small"));
        memory.put(EntryId(1), held(2, b"more than sixteen bytes"));
        assert!(memory.get(EntryId(1)).is_none());
    }

    #[test]
    fn weight_is_bounded() {
        let memory = memory(100 * (400 + 5));
        for id in 0..1000 {
            memory.put(EntryId(id), held(1, b"small"));
        }
        memory.settle();
        let (entries, bytes) = memory.usage();
        assert!(entries <= 100 && bytes <= 100 * 405, "{entries} entries, {bytes} bytes");
    }

    #[test]
    fn memory_zero_holds_nothing() {
        let memory = memory(0);
        memory.put(EntryId(1), held(1, b"x"));
        assert!(!memory.contains(EntryId(1)) && !memory.admits(0));
    }
}
