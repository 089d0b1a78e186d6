//! The index: which entries there are, where they lie, and in which order they go.
//!
//! Pure: no I/O and no clock (callers say what time it is). It lives behind one leaf mutex: while it is held no other
//! lock is taken.
//!
//! # Order
//! Exact: the list is ordered by last use, and every use gives the entry the next *tick*. Ticks are what the log
//! keeps, so that replaying rows by tick brings back the same order and the same last word on every id.
//!
//! # What an entry is charged
//! `disk` bounds what lies on disk, and that is more than the bytes of the bodies: a file takes up whole 4 KiB blocks
//! besides its record; a small entry's record is charged 4/3, because a quarter of the log may be dead.

use std::collections::HashMap;

use super::evict::{Protected, Tickets};
use super::footer::{ROW_LEN, Row};
use super::ledger::Segments;
use super::order::Slots;
use super::record::{LARGE, QUEUED, What};
use super::{Generation, QueueTag, Queued};
use crate::key::EntryId;

/// The entry was used since its recency was last written. In memory only.
const DIRTY: u8 = 8;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// What the index knows of an entry: 40 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) generation: Generation,
    pub(super) tick: u64,
    /// Length of the body (40 bits), which tag its own queue row is for (16), flags (8).
    packed: u64,
    pub(super) place: Place,
    /// Goes last until then, in seconds since the store was opened.
    pub(super) until: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    slots: Slots,
    pub(super) segments: Segments,
    tick: u64,
    /// The bound of `charged` and `reserved` together.
    pub(super) disk: u64,
    pub(super) charged: u64,
    pub(super) body_bytes: u64,
    /// What drafts have reserved.
    pub(super) reserved: u64,
    pub(super) queue_rows: u64,
    pub(super) tickets: Tickets,
    pub(super) protected: Protected,
    dirty: Vec<EntryId>,
    tags: Vec<QueueTag>,
    further: HashMap<u128, Vec<Further>>,
}

/// A row of the queue beyond the put's own.
#[derive(Debug, Clone, Copy)]
struct Further {
    tag: QueueTag,
    place: Place,
}

/// Recency waits in memory for at most this many entries; of more, the uses since the last flush are forgotten at
/// the next start.
const DIRTY_MAX: usize = 256 << 10;

// === impl Slot ===

impl Slot {
    pub(super) fn is(&self, flag: u8) -> bool {
        self.packed as u8 & flag != 0
    }

    #[cfg(test)]
    pub(super) fn with_tick(tick: u64) -> Self {
        let place = Place { segment: 0, offset: 0, length: 0 };
        Self { generation: Generation(0), tick, packed: 0, place, until: 0 }
    }

    pub(super) fn body_len(&self) -> u64 {
        self.packed >> 24
    }

    fn set(&mut self, flag: u8, on: bool) {
        self.packed = if on { self.packed | u64::from(flag) } else { self.packed & !u64::from(flag) };
    }

    fn tag_number(&self) -> usize {
        usize::from((self.packed >> 8) as u16)
    }

    pub(super) fn charge(&self) -> u64 {
        let record = u64::from(self.place.length) + ROW_LEN as u64;
        if self.is(LARGE) { self.body_len().next_multiple_of(4096) + record } else { record * 4 / 3 }
    }
}

impl Place {
    /// What the record costs its segment: itself and its row in the footer.
    pub(super) fn cost(self) -> u64 {
        u64::from(self.length) + ROW_LEN as u64
    }
}

// === impl Index: entries ===

impl Index {
    pub(super) fn new(disk: u64) -> Self {
        Self {
            slots: Slots::with_capacity(0),
            segments: Segments::default(),
            tick: 0,
            disk,
            charged: 0,
            body_bytes: 0,
            reserved: 0,
            queue_rows: 0,
            tickets: Tickets::default(),
            protected: Protected::default(),
            dirty: Vec::new(),
            tags: Vec::new(),
            further: HashMap::new(),
        }
    }

    /// Makes an empty index fit for this many entries, so that replay doesn't grow its table step by step.
    pub(super) fn expect(&mut self, entries: usize) {
        self.slots = Slots::with_capacity(entries);
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// The entry, without using it.
    pub(super) fn peek(&self, id: EntryId) -> Option<&Slot> {
        self.slots.peek(id)
    }

    /// Uses the entry: it goes last now, and its recency is to be written.
    pub(super) fn touch(&mut self, id: EntryId) -> Option<Slot> {
        let tick = self.tick + 1;
        let slot = self.slots.touch(id)?;
        self.tick = tick;
        slot.tick = tick;
        if !slot.is(DIRTY) && self.dirty.len() < DIRTY_MAX {
            slot.set(DIRTY, true);
            self.dirty.push(id);
        }
        Some(*slot)
    }

    /// The entries whose recency is to be written.
    pub(super) fn take_dirty(&mut self) -> Vec<(EntryId, u64)> {
        let mut touches = Vec::with_capacity(self.dirty.len());
        for id in std::mem::take(&mut self.dirty) {
            if let Some(slot) = self.slots.peek_mut(id).filter(|slot| slot.is(DIRTY)) {
                slot.set(DIRTY, false);
                touches.push((id, slot.tick));
            }
        }
        touches.sort_unstable_by_key(|(_, tick)| *tick);
        touches
    }

    /// Makes a put the last word on its id, unless there is a newer one. Returns what it replaced.
    pub(super) fn insert(&mut self, row: &Row, segment: u32) -> Option<Slot> {
        let tag = if row.flags & QUEUED != 0 { self.tag_number(row.tag) } else { 0 };
        let place = Place { segment, offset: row.offset, length: row.length };
        let packed = row.body << 24 | (tag as u64) << 8 | u64::from(row.flags & !DIRTY);
        let slot = Slot { generation: row.generation, tick: row.tick, packed, place, until: 0 };
        self.tick = self.tick.max(row.tick);
        let old = self.slots.insert(row.id, slot);
        if let Some(old) = old.filter(|old| old.generation > slot.generation) {
            self.slots.insert(row.id, old);
            return None;
        }
        if let Some(old) = &old {
            self.unaccount(row.id, old);
        }
        self.charged += slot.charge();
        self.body_bytes += slot.body_len();
        self.queue_rows += u64::from(slot.is(QUEUED));
        self.segments.live(place, true);
        old
    }

    /// Forgets an entry and its rows of the queue.
    pub(super) fn remove(&mut self, id: EntryId) -> Option<Slot> {
        let slot = self.slots.remove(id)?;
        self.unaccount(id, &slot);
        Some(slot)
    }

    fn unaccount(&mut self, id: EntryId, slot: &Slot) {
        self.charged -= slot.charge();
        self.body_bytes -= slot.body_len();
        self.queue_rows -= u64::from(slot.is(QUEUED));
        self.segments.live(slot.place, false);
        if slot.until > 0 {
            self.protected.lose(slot);
        }
        if self.further.is_empty() {
            return;
        }
        for further in self.further.remove(&id.0).into_iter().flatten() {
            self.queue_rows -= 1;
            self.segments.live(further.place, false);
        }
    }

    /// Follows a record that compaction has moved; `false` when the entry has changed meanwhile.
    pub(super) fn repoint(&mut self, id: EntryId, from: Place, to: Place) -> bool {
        let Some(slot) = self.slots.peek_mut(id).filter(|slot| slot.place == from) else {
            return false;
        };
        // A copy is as long as what it was copied from, so the charge is the same.
        slot.place = to;
        self.segments.live(from, false);
        self.segments.live(to, true);
        true
    }

    /// Forgets everything: the folder is gone.
    pub(super) fn clear(&mut self) {
        let (tick, reserved) = (self.tick, self.reserved);
        let (mut tickets, tags) = (std::mem::take(&mut self.tickets), std::mem::take(&mut self.tags));
        tickets.change_all();
        *self = Self { tick, reserved, tickets, tags, ..Self::new(self.disk) };
    }

    /// The entry that goes next.
    pub(super) fn oldest(&self) -> Option<(EntryId, Slot)> {
        self.slots.oldest()
    }

    /// Until when an entry goes last.
    pub(super) fn until(&mut self, id: EntryId) -> Option<(u64, &mut u32)> {
        self.slots.peek_mut(id).map(|slot| (slot.charge(), &mut slot.until))
    }

    // === replay ===

    /// These ids come next.
    pub(super) fn warm(&self, ids: impl Iterator<Item = EntryId>) {
        self.slots.warm(ids);
    }

    /// Applies a row. Rows come by tick.
    pub(super) fn replay(&mut self, row: &Row, holder: u32) {
        self.tick = self.tick.max(row.tick);
        match row.what {
            What::Put => drop(self.insert(row, holder)),
            What::Deleted => {
                if self.peek(row.id).is_some_and(|slot| slot.generation <= row.generation) {
                    self.remove(row.id);
                }
            }
            What::Queue => {
                let place = Place { segment: holder, offset: row.offset, length: row.length };
                self.queue(row.id, row.generation, row.tag, place);
            }
            What::Done => drop(self.done(row.id, row.generation, row.tag)),
            What::Touched => {}
        }
    }

    /// Applies a touch. They come by tick, among the rows.
    pub(super) fn replay_touch(&mut self, id: EntryId, tick: u64) {
        self.tick = self.tick.max(tick);
        if let Some(slot) = self.slots.touch(id) {
            slot.tick = tick;
        }
    }
}

// === impl Index: queue ===

impl Index {
    /// Adds a row of the queue; `false` when that generation is not here, or has the row.
    pub(super) fn queue(&mut self, id: EntryId, generation: Generation, tag: QueueTag, place: Place) -> bool {
        if self.peek(id).is_none_or(|slot| slot.generation != generation) || self.row(id, tag).is_some() {
            return false;
        }
        self.further.entry(id.0).or_default().push(Further { tag, place });
        self.queue_rows += 1;
        self.segments.live(place, true);
        true
    }

    /// Where the record of a row of the queue lies.
    pub(super) fn row(&self, id: EntryId, tag: QueueTag) -> Option<Place> {
        let slot = self.peek(id)?;
        if slot.is(QUEUED) && self.tags.get(slot.tag_number()) == Some(&tag) {
            return Some(slot.place);
        }
        self.further.get(&id.0)?.iter().find(|further| further.tag == tag).map(|further| further.place)
    }

    /// Ends a row of the queue; says which segment has its record.
    pub(super) fn done(&mut self, id: EntryId, generation: Generation, tag: QueueTag) -> Option<u32> {
        let slot = self.slots.peek_mut(id).filter(|slot| slot.generation == generation)?;
        if slot.is(QUEUED) && self.tags.get(slot.tag_number()) == Some(&tag) {
            slot.set(QUEUED, false);
            self.queue_rows -= 1;
            return Some(slot.place.segment);
        }
        let rows = self.further.get_mut(&id.0)?;
        let ended = rows.swap_remove(rows.iter().position(|further| further.tag == tag)?);
        if rows.is_empty() {
            self.further.remove(&id.0);
        }
        self.queue_rows -= 1;
        self.segments.live(ended.place, false);
        Some(ended.place.segment)
    }

    /// Follows the record of a further row that compaction has moved.
    pub(super) fn repoint_row(&mut self, id: EntryId, from: Place, to: Place) -> bool {
        let rows = self.further.get_mut(&id.0).into_iter().flatten();
        let Some(row) = rows.into_iter().find(|further| further.place == from) else { return false };
        row.place = to;
        self.segments.live(from, false);
        self.segments.live(to, true);
        true
    }

    /// All rows of the queue, by generation.
    pub(super) fn queued(&self) -> Vec<Queued> {
        let mut rows = Vec::with_capacity(self.queue_rows as usize);
        let row = |id: EntryId, slot: &Slot, tag| {
            let (generation, bytes) = (slot.generation, slot.body_len());
            Queued { id, generation, tag, bytes }
        };
        for (id, slot) in self.slots.iter().filter(|(_, slot)| slot.is(QUEUED)) {
            rows.extend(self.tags.get(slot.tag_number()).map(|tag| row(id, slot, *tag)));
        }
        for (id, further) in &self.further {
            let id = EntryId(*id);
            let Some(slot) = self.slots.peek(id) else { continue };
            rows.extend(further.iter().map(|further| row(id, slot, further.tag)));
        }
        rows.sort_unstable_by_key(|row| (row.generation, row.tag));
        rows
    }

    /// The number of a tag. There are as many as configured upstreams: 65,536 at most, and a slot holds that.
    fn tag_number(&mut self, tag: QueueTag) -> usize {
        let known = self.tags.iter().position(|known| *known == tag);
        known.unwrap_or_else(|| {
            self.tags.push(tag);
            self.tags.len() - 1
        })
    }
}
