//! The memory tier: whole small entries, answered without an await.
//!
//! Bounded by weight (body + 400 bytes of bookkeeping). What is held here is always also in a store or upstream, so
//! losing it costs time and nothing else. `quick_cache` decides what stays: an entry that was asked for once doesn't
//! drive out one that is asked for all the time. (`moka` did it before: about 690 bytes an entry where 400 are promised,
//! and a channel that every hit of every core writes to.)
//!
//! # Hidden contract
//! A commit or a delete is published in its store *before* [`Memory::put`] or [`Memory::forget`] is called, and `put`
//! looks again after inserting. So a copy that races with a newer commit or a delete is either never seen or removed by
//! one of the two.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle, EntryAction, EntryResult};
use quick_cache::{OptionsBuilder, Weighter};

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
    /// The moment when it was last known to be current, in milliseconds since boot; before boot it is below 0.
    pub checked: i64,
}

/// The tier. Cheap to clone.
#[derive(Clone)]
pub struct Memory {
    entries: Option<Arc<Entries>>,
    entry_max: u64,
}

type Entries = Cache<EntryId, Held, Weight, BuildHasherDefault<IdHasher>>;

/// What an entry weighs besides its body: key, meta, attributes, the cache's own nodes.
const OVERHEAD_BYTES: u64 = 400;

/// The bound is kept in each of several parts, for as many cores; each has room for so many entries of the largest size.
const ENTRIES_IN_PART: u64 = 16;
const PARTS_MAX: u64 = 32;

/// What a usual entry weighs: only sizes the list of what was evicted lately.
const USUAL_BYTES: u64 = 16 << 10;

/// How the bound is counted.
#[derive(Clone)]
struct Weight;

/// Ids are hashes already.
#[derive(Default)]
pub struct IdHasher(u64);

// === impl Memory ===

impl Memory {
    /// An empty tier; with `memory` 0 it stays empty.
    pub fn new(settings: &Settings) -> Self {
        let bytes = settings.memory;
        let parts = bytes / (settings.memory_entry_max + OVERHEAD_BYTES) / ENTRIES_IN_PART;
        let options = OptionsBuilder::new()
            .weight_capacity(bytes)
            .estimated_items_capacity(usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX))
            .shards(1 << parts.clamp(1, PARTS_MAX).ilog2())
            .build();
        let entries = options.ok().filter(|_| bytes > 0).map(|options| {
            Arc::new(Cache::with_options(
                options,
                Weight,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            ))
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

    /// A commit, or a copy read from a store: replaces whatever older commit is here. `current` tells the generation
    /// that the stores hold now.
    pub fn put(&self, id: EntryId, held: Held, current: impl FnOnce() -> Option<u64>) {
        let Some(entries) = self.entries.as_ref().filter(|_| held.body.len() as u64 <= self.entry_max) else {
            return self.forget(id);
        };
        let generation = held.generation;
        let mut held = Some(held);
        let entry = entries.entry(&id, None, |_, present| {
            if let Some(held) = held.take_if(|held| held.generation >= present.generation) {
                *present = held;
            }
            EntryAction::Retain(())
        });
        if let (EntryResult::Vacant(place), Some(held)) = (entry, held) {
            // Refused when it was forgotten meanwhile, which is as well.
            let _ = place.insert(held);
        }
        if current() != Some(generation) {
            self.forget(id);
        }
    }

    /// A delete, or a commit that is too large to be held.
    pub fn forget(&self, id: EntryId) {
        if let Some(entries) = &self.entries {
            entries.remove(&id);
        }
    }

    /// Entries, and bytes as weighed.
    pub fn usage(&self) -> (u64, u64) {
        self.entries.as_ref().map_or((0, 0), |entries| (entries.len() as u64, entries.weight()))
    }

    /// The bound of that weight.
    pub fn bound(&self) -> u64 {
        self.entries.as_ref().map_or(0, |entries| entries.capacity())
    }
}

impl Weighter<EntryId, Held> for Weight {
    fn weight(&self, _: &EntryId, held: &Held) -> u64 {
        held.body.len() as u64 + OVERHEAD_BYTES
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
    /// An entry that was current at `checked`.
    pub fn new(generation: u64, meta: Arc<Meta>, links: Option<Links>, body: Bytes, checked: i64) -> Self {
        Self { generation, meta, links, body, checked }
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

    fn put(memory: &Memory, id: u128, held: Held) {
        let generation = held.generation;
        memory.put(EntryId(id), held, || Some(generation));
    }

    #[test]
    fn an_older_commit_never_replaces_a_newer_one() {
        let memory = memory(1 << 20);
        put(&memory, 1, held(7, b"new"));
        memory.put(EntryId(1), held(6, b"old"), || Some(6));
        assert_eq!(memory.get(EntryId(1)).map(|held| held.body), Some(Bytes::from_static(b"new")));
        put(&memory, 1, held(8, b"newer"));
        assert_eq!(memory.get(EntryId(1)).map(|held| held.body), Some(Bytes::from_static(b"newer")));
    }

    #[test]
    fn a_copy_that_lost_a_race_is_undone() {
        let memory = memory(1 << 20);
        memory.put(EntryId(1), held(5, b"old"), || Some(6));
        assert!(memory.get(EntryId(1)).is_none());
        memory.put(EntryId(1), held(5, b"deleted"), || None);
        assert!(memory.get(EntryId(1)).is_none());
        memory.put(EntryId(1), held(6, b"now"), || Some(6));
        assert!(memory.get(EntryId(1)).is_some());
    }

    #[test]
    fn over_memory_entry_max_nothing_is_admitted_and_the_old_copy_goes() {
        let memory = memory(1 << 20);
        put(&memory, 1, held(1, b"small"));
        put(&memory, 1, held(2, b"more than sixteen bytes"));
        assert!(memory.get(EntryId(1)).is_none());
    }

    #[test]
    fn weight_is_bounded_at_every_moment() {
        for bytes in [405, 100 * 405, 1000 * 405] {
            let memory = memory(bytes);
            for id in 0..5000_u128 {
                put(&memory, id.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835), held(1, b"small"));
                let (entries, weight) = memory.usage();
                assert!(weight <= bytes && weight == entries * 405, "{entries} entries, {weight} bytes");
            }
            assert!(memory.usage().1 > bytes / 2 || bytes == 405);
        }
    }

    #[test]
    fn a_replaced_body_weighs_what_it_is() {
        let memory = memory(1 << 20);
        put(&memory, 1, held(1, b"small"));
        put(&memory, 1, held(2, b"a little larger"));
        assert_eq!(memory.usage(), (1, 415));
    }

    #[test]
    fn memory_zero_holds_nothing() {
        let memory = memory(0);
        put(&memory, 1, held(1, b"x"));
        assert!(!memory.contains(EntryId(1)) && !memory.admits(0));
    }
}
