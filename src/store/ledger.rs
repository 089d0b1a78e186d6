//! What the bytes of each segment are worth, so that compaction knows where it pays.
//!
//! A segment *costs* the length of its records and of their rows in the footer. Of that is worth keeping: the records
//! of entries and queue rows that are here (*live*), and the *facts*: records that say that something is gone, as long
//! as the segment with what is gone exists. The rest is dead.
//!
//! A put that replaces an older one is such a fact too, which it stays when it is dead itself: then compaction keeps
//! 96 bytes of it in the form of a tombstone.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use super::footer::{ROW_LEN, Row, Rows};
use super::index::Place;
use super::record::{HEAD_LEN, TOUCH_LEN, What};
use super::segment::Segment;

/// What a tombstone costs.
const FACT_COST: u64 = (HEAD_LEN + ROW_LEN - 8) as u64;
/// What a touch costs: itself and its row.
const TOUCH_COST: u64 = 2 * TOUCH_LEN as u64;

/// All segments of a log.
#[derive(Debug, Default)]
pub(super) struct Segments {
    all: HashMap<u32, Worth, BuildHasherDefault<NumberHasher>>,
    /// Cost of facts, by the segment that they are about and the one that holds them.
    facts: BTreeMap<(u32, u32), u64>,
    /// Numbers of segments whose file can't be read: what is about them is kept.
    unreadable: Vec<u32>,
}

/// One segment.
#[derive(Debug)]
struct Worth {
    segment: Arc<Segment>,
    sealed: bool,
    cost: u64,
    live: u64,
    facts: u64,
    touches: u64,
}

/// Replay asks for a segment with every row; the default hasher would be a tenth of its time.
#[derive(Debug, Default)]
struct NumberHasher(u64);

/// What there is to do about the worst segment.
#[derive(Debug)]
pub(super) enum Worst {
    /// Nothing in it is worth anything.
    Void(Arc<Segment>),
    /// Copy what is worth it.
    Compact(Arc<Segment>),
}

// === impl Segments ===

impl Segments {
    /// A new segment: the tail, or a compacted one.
    pub(super) fn add(&mut self, segment: Arc<Segment>) {
        let worth = Worth { sealed: false, cost: 0, live: 0, facts: 0, touches: 0, segment };
        self.all.insert(worth.segment.number, worth);
    }

    /// A file that can't be read.
    pub(super) fn add_unreadable(&mut self, number: u32) {
        self.unreadable.push(number);
    }

    pub(super) fn seal(&mut self, number: u32, sealed: bool) {
        if let Some(worth) = self.all.get_mut(&number) {
            worth.sealed = sealed;
        }
    }

    /// A record was appended to `holder`.
    pub(super) fn wrote(&mut self, row: &Row, holder: u32) {
        let about = row.segment;
        let fact = about != 0 && about != holder && self.exists(about);
        let Some(worth) = self.all.get_mut(&holder) else { return };
        worth.cost += match row.what {
            What::Deleted => FACT_COST,
            What::Put | What::Queue | What::Done | What::Touched => u64::from(row.length) + ROW_LEN as u64,
        };
        if fact {
            worth.facts += FACT_COST;
            *self.facts.entry((about, holder)).or_default() += FACT_COST;
        }
    }

    /// Touches were appended to `holder`.
    pub(super) fn wrote_touches(&mut self, count: usize, holder: u32) {
        if let Some(worth) = self.all.get_mut(&holder) {
            worth.cost += count as u64 * TOUCH_COST;
            worth.touches += count as u64 * TOUCH_COST;
        }
    }

    /// All that a segment holds.
    pub(super) fn wrote_all(&mut self, rows: &Rows, holder: u32) {
        rows.rows.iter().for_each(|row| self.wrote(row, holder));
        self.wrote_touches(rows.touches.len(), holder);
    }

    /// A record at `place` came to life, or died.
    pub(super) fn live(&mut self, place: Place, alive: bool) {
        if let Some(worth) = self.all.get_mut(&place.segment) {
            worth.live = if alive { worth.live + place.cost() } else { worth.live - place.cost() };
        }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Arc<Segment>> {
        self.all.get(&number).map(|worth| &worth.segment)
    }

    /// Whether there may still be bytes of this segment.
    pub(super) fn exists(&self, number: u32) -> bool {
        self.all.contains_key(&number) || self.unreadable.contains(&number)
    }

    /// The segment is gone, and with it the worth of what was about it.
    pub(super) fn remove(&mut self, number: u32) {
        self.all.remove(&number);
        let about = self.facts.range((number, 0)..=(number, u32::MAX));
        for ((_, holder), cost) in about.map(|(key, cost)| (*key, *cost)).collect::<Vec<_>>() {
            self.facts.remove(&(number, holder));
            if let Some(worth) = self.all.get_mut(&holder) {
                worth.facts -= cost;
            }
        }
        self.facts.retain(|(_, holder), _| *holder != number);
    }

    /// The sealed segment with the largest share of dead bytes, if that is over `percent`.
    pub(super) fn worst(&self, percent: u64) -> Option<Worst> {
        let sealed = self.all.values().filter(|worth| worth.sealed);
        if let Some(void) = sealed.clone().find(|worth| worth.live + worth.facts + worth.touches == 0) {
            return Some(Worst::Void(Arc::clone(&void.segment)));
        }
        let over = sealed.filter(|worth| worth.dead() * 100 > worth.cost * percent);
        // In permille, so that the order is total.
        let worst = over.max_by_key(|worth| (worth.dead() * 1000 / worth.cost, worth.segment.number))?;
        Some(Worst::Compact(Arc::clone(&worst.segment)))
    }

    /// Number of segments, their bytes, and the dead ones of these in sealed segments.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        let cost = self.all.values().map(|worth| worth.cost).sum();
        let dead = self.all.values().filter(|worth| worth.sealed).map(Worth::dead).sum();
        (self.all.len() as u64, cost, dead)
    }

    /// All segments, the first that was begun first.
    pub(super) fn by_number(&self) -> Vec<Arc<Segment>> {
        let mut all: Vec<_> = self.all.values().map(|worth| Arc::clone(&worth.segment)).collect();
        all.sort_unstable_by_key(|segment| segment.number);
        all
    }

    /// Any segment, to ask whether the folder is still there.
    pub(super) fn any(&self) -> Option<&Arc<Segment>> {
        self.all.values().next().map(|worth| &worth.segment)
    }
}

impl Worth {
    /// Touches of a compacted segment are worth keeping until it is compacted again: they were all needed when it was
    /// written, and counting them as dead would have it compacted over and over.
    fn dead(&self) -> u64 {
        let touches = if self.segment.from.is_empty() { 0 } else { self.touches };
        self.cost.saturating_sub(self.live + self.facts + touches)
    }
}

// === impl NumberHasher ===

impl Hasher for NumberHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u32(u32::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        // Odd, so no two numbers meet; spread over the high bits, which the table looks at too.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
