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
//! one of the two. That holds across a change of the tier, too: who inserts into the new one looks again after that, and
//! who still forgets in the old one has published before.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle, EntryAction, EntryResult};
use quick_cache::{OptionsBuilder, Weighter};

use crate::entry::Meta;
use crate::key::EntryId;
use crate::links::Links;
use crate::swap::Swap;

/// The tier's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// The tier.
pub struct Memory {
    tier: Swap<Tier>,
    /// What is asked first of all, on the hot path.
    off: AtomicBool,
}

/// The entries and their bounds.
struct Tier {
    settings: Settings,
    entries: Option<Arc<Entries>>,
    parts: usize,
}

type Entries = Cache<EntryId, Held, Weight, BuildHasherDefault<IdHasher>>;

/// What an entry weighs besides its body: key, meta, attributes, the cache's own nodes.
const OVERHEAD_BYTES: u64 = 400;

/// The bound is kept in each of several parts, for as many cores; each has room for so many entries of the largest size.
const ENTRIES_IN_PART: u64 = 16;
const PARTS_MAX: u64 = 32;

/// A tier that grew goes on with its parts, unless there would be so many times more.
const FEWER_PARTS_MAX: usize = 8;

/// What a usual entry weighs: only sizes the list of what was evicted lately.
const USUAL_BYTES: u64 = 16 << 10;

/// A smaller bound is reached in steps of this share, so that nobody waits long for one of the parts.
const SHRINK_STEPS: u64 = 32;

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
        Self { tier: Swap::new(Tier::new(settings)), off: AtomicBool::new(settings.memory == 0) }
    }

    /// Other bounds. What is held stays, as far as it fits; a tier that has to be divided otherwise begins empty. Takes
    /// its time: nobody may wait for it. Only one caller at a time.
    pub fn apply(&self, settings: &Settings) {
        let old = self.tier.read().settings.clone();
        if old == *settings {
            return;
        }
        let (entries, divided) = {
            let tier = self.tier.read();
            // Each part has room for the largest entries, and there are not far too few of them.
            let (now, wanted) = (tier.parts, parts(settings));
            let fits = settings.memory > 0 && now <= wanted && wanted <= now * FEWER_PARTS_MAX;
            (tier.entries.clone().filter(|_| fits), now)
        };
        let tier = match &entries {
            Some(entries) => {
                Tier { settings: settings.clone(), entries: Some(Arc::clone(entries)), parts: divided }
            }
            None => Tier::new(settings),
        };
        let replaced = self.tier.replace(tier);
        self.off.store(settings.memory == 0, Ordering::Relaxed);
        if let Some(entries) = entries {
            let mut bound = old.memory.max(settings.memory);
            while bound > settings.memory {
                bound = bound.saturating_sub(old.memory / SHRINK_STEPS + 1).max(settings.memory);
                entries.set_capacity(bound);
                std::thread::yield_now();
            }
            entries.set_capacity(settings.memory);
        }
        // To give back many entries takes a while, which is not for a request that happens to be their last reader.
        while Arc::strong_count(&replaced) > 1 {
            std::thread::yield_now();
        }
    }

    /// Whether a body of this length would be admitted.
    pub fn admits(&self, len: u64) -> bool {
        let tier = self.tier.read();
        tier.entries.is_some() && len <= tier.settings.memory_entry_max
    }

    /// Whether nothing is ever held.
    pub fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    /// The entry, if it is here.
    pub fn get(&self, id: EntryId) -> Option<Held> {
        self.tier.read().entries.as_ref()?.get(&id)
    }

    /// Whether it is here, without counting as a use.
    pub fn contains(&self, id: EntryId) -> bool {
        self.tier.read().entries.as_ref().is_some_and(|entries| entries.contains_key(&id))
    }

    /// A commit, or a copy read from a store: replaces whatever older commit is here. `current` tells the generation
    /// that the stores hold now.
    pub fn put(&self, id: EntryId, held: Held, current: impl FnOnce() -> Option<u64>) {
        let tier = self.tier.read();
        let Some(entries) =
            tier.entries.as_ref().filter(|_| held.body.len() as u64 <= tier.settings.memory_entry_max)
        else {
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
            entries.remove(&id);
        }
    }

    /// A delete, or a commit that is too large to be held.
    pub fn forget(&self, id: EntryId) {
        if let Some(entries) = &self.tier.read().entries {
            entries.remove(&id);
        }
    }

    /// Entries, and bytes as weighed.
    pub fn usage(&self) -> (u64, u64) {
        self.tier.read().entries.as_ref().map_or((0, 0), |entries| (entries.len() as u64, entries.weight()))
    }

    /// The bound of that weight.
    pub fn bound(&self) -> u64 {
        self.tier.read().entries.as_ref().map_or(0, |entries| entries.capacity())
    }
}

/// Into how many parts a tier is divided.
fn parts(settings: &Settings) -> usize {
    let parts = settings.memory / (settings.memory_entry_max + OVERHEAD_BYTES) / ENTRIES_IN_PART;
    1 << parts.clamp(1, PARTS_MAX).ilog2()
}

// === impl Tier ===

impl Tier {
    fn new(settings: &Settings) -> Self {
        let bytes = settings.memory;
        let options = OptionsBuilder::new()
            .weight_capacity(bytes)
            .estimated_items_capacity(usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX))
            .shards(parts(settings))
            .build();
        let entries = options.ok().filter(|_| bytes > 0).map(|options| {
            Arc::new(Cache::with_options(
                options,
                Weight,
                BuildHasherDefault::default(),
                DefaultLifecycle::default(),
            ))
        });
        Self { settings: settings.clone(), entries, parts: parts(settings) }
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
    fn a_changed_bound_keeps_what_fits() {
        let settings = |memory, memory_entry_max| Settings { memory, memory_entry_max };
        let tier = memory(100 * 405);
        (0..20).for_each(|id| put(&tier, id, held(1, b"small")));
        tier.apply(&settings(400 * 405, 16));
        assert_eq!(tier.usage().0, 20, "more room");
        (0..300).for_each(|id| put(&tier, id << 64, held(1, b"small")));
        tier.apply(&settings(150 * 405, 16));
        let (entries, weight) = tier.usage();
        assert!(entries > 50 && weight <= 150 * 405, "{entries} entries, {weight} bytes");
        tier.apply(&settings(10 * 405, 4));
        assert!(tier.usage() == (0, 0) && !tier.admits(5), "of too many parts for that");
        tier.apply(&settings(0, 4));
        assert!(tier.is_off() && tier.usage() == (0, 0));
        tier.apply(&settings(100 << 20, 1 << 10));
        put(&tier, 1, held(1, b"small"));
        assert!(!tier.is_off() && tier.contains(EntryId(1)));
    }

    #[test]
    fn memory_zero_holds_nothing() {
        let memory = memory(0);
        put(&memory, 1, held(1, b"x"));
        assert!(!memory.contains(EntryId(1)) && !memory.admits(0));
    }
}
