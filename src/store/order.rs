//! Slots by id, in order of use: a table of 8-byte cells, and nodes in chunks that are linked into one list.
//!
//! It is here in place of the `lru` crate because of what a million entries cost at start and at rest. There, each
//! entry is an allocation of its own and is looked for twice when it is put: 118 bytes and half a microsecond. Here
//! it is 64 bytes in a chunk and about 16 in the table, 80 all in all, and a cell decides without looking at the node.
//! Growing moves cells, never nodes.
//!
//! Ids are hashes, so their own bits say where in the table they belong.

use super::index::Slot;
use crate::key::EntryId;

/// Nodes of one chunk.
const CHUNK: usize = 4096;
/// No node.
const NONE: u32 = u32::MAX;
/// The smallest table.
const CELLS_MIN: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Slots {
    /// 0, or the low half of the id above the number of the node plus one. Linear probing; a power of two.
    cells: Vec<u64>,
    chunks: Vec<Vec<Node>>,
    len: usize,
    newest: u32,
    oldest: u32,
    /// Nodes that are not used, linked by `older`.
    free: u32,
}

/// 64 bytes: the id in two halves, which need less alignment than it does as one.
#[derive(Debug, Clone, Copy)]
struct Node {
    id: [u64; 2],
    slot: Slot,
    newer: u32,
    older: u32,
}

// === impl Slots ===

impl Slots {
    /// With a table for so many.
    pub(super) fn with_capacity(entries: usize) -> Self {
        let cells = (entries * 3 / 2).next_power_of_two().max(CELLS_MIN);
        Self { cells: vec![0; cells], chunks: Vec::new(), len: 0, newest: NONE, oldest: NONE, free: NONE }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn peek(&self, id: EntryId) -> Option<&Slot> {
        self.find(halves(id)).map(|(_, node)| &self.node(node).slot)
    }

    pub(super) fn peek_mut(&mut self, id: EntryId) -> Option<&mut Slot> {
        self.find(halves(id)).map(|(_, node)| &mut self.node_mut(node).slot)
    }

    /// The slot, as the one used last.
    pub(super) fn touch(&mut self, id: EntryId) -> Option<&mut Slot> {
        let (_, node) = self.find(halves(id))?;
        if self.newest != node {
            self.unlink(node);
            self.link(node);
        }
        Some(&mut self.node_mut(node).slot)
    }

    /// Puts a slot as the one used last. Returns what it replaces.
    pub(super) fn insert(&mut self, id: EntryId, slot: Slot) -> Option<Slot> {
        if let Some(old) = self.touch(id) {
            return Some(std::mem::replace(old, slot));
        }
        // At most two thirds full: probes stay short.
        if (self.len + 1) * 3 > self.cells.len() * 2 {
            self.grow();
        }
        let id = halves(id);
        let node = self.take_node(Node { id, slot, newer: NONE, older: NONE });
        self.link(node);
        place(&mut self.cells, cell(id, node));
        self.len += 1;
        None
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Option<Slot> {
        let (at, node) = self.find(halves(id))?;
        self.clear_cell(at);
        self.unlink(node);
        let free = self.free;
        let freed = self.node_mut(node);
        freed.older = free;
        let slot = freed.slot;
        self.free = node;
        self.len -= 1;
        Some(slot)
    }

    /// The one not used for the longest time.
    pub(super) fn oldest(&self) -> Option<(EntryId, Slot)> {
        (self.oldest != NONE).then(|| {
            let node = self.node(self.oldest);
            (whole(node.id), node.slot)
        })
    }

    /// All of them, the one used last first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EntryId, &Slot)> {
        let mut next = self.newest;
        std::iter::from_fn(move || {
            (next != NONE).then(|| {
                let node = self.node(next);
                next = node.older;
                (whole(node.id), &node.slot)
            })
        })
    }

    /// Brings the cells of ids that are about to be looked for into the processor's cache: all at once, where one
    /// look-up after the other would wait for memory each time. Replay is three times as fast for it.
    pub(super) fn warm(&self, ids: impl Iterator<Item = EntryId>) {
        let mask = self.cells.len() - 1;
        let sum = ids.fold(0_u64, |sum, id| sum.wrapping_add(self.cells[halves(id)[0] as usize & mask]));
        std::hint::black_box(sum);
    }

    // === table ===

    fn find(&self, id: [u64; 2]) -> Option<(usize, u32)> {
        let mask = self.cells.len() - 1;
        let mut at = id[0] as usize & mask;
        loop {
            let cell = self.cells[at];
            if cell == 0 {
                return None;
            }
            let node = (cell as u32).wrapping_sub(1);
            if cell >> 32 == u64::from(id[0] as u32) && self.node(node).id == id {
                return Some((at, node));
            }
            at = (at + 1) & mask;
        }
    }

    /// Empties a cell, and moves up those behind it that would not be found any more.
    fn clear_cell(&mut self, at: usize) {
        let mask = self.cells.len() - 1;
        let (mut hole, mut next) = (at, (at + 1) & mask);
        while self.cells[next] != 0 {
            let home = (self.cells[next] >> 32) as usize & mask;
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.cells[hole] = self.cells[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.cells[hole] = 0;
    }

    fn grow(&mut self) {
        let mut cells = vec![0; self.cells.len() * 2];
        self.cells.iter().filter(|cell| **cell != 0).for_each(|cell| place(&mut cells, *cell));
        self.cells = cells;
    }

    // === nodes ===

    fn node(&self, node: u32) -> &Node {
        &self.chunks[node as usize / CHUNK][node as usize % CHUNK]
    }

    fn node_mut(&mut self, node: u32) -> &mut Node {
        &mut self.chunks[node as usize / CHUNK][node as usize % CHUNK]
    }

    fn take_node(&mut self, new: Node) -> u32 {
        if self.free != NONE {
            let number = self.free;
            let node = self.node_mut(number);
            let next = node.older;
            *node = new;
            self.free = next;
            return number;
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut().expect("one was pushed if there was none");
        chunk.push(new);
        (before + chunk.len() - 1) as u32
    }

    fn link(&mut self, node: u32) {
        let newest = self.newest;
        let linked = self.node_mut(node);
        (linked.newer, linked.older) = (NONE, newest);
        match newest {
            NONE => self.oldest = node,
            newest => self.node_mut(newest).newer = node,
        }
        self.newest = node;
    }

    fn unlink(&mut self, node: u32) {
        let Node { newer, older, .. } = *self.node(node);
        match newer {
            NONE => self.newest = older,
            newer => self.node_mut(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.node_mut(older).newer = newer,
        }
    }
}

// === helpers ===

/// Puts a cell into the first empty place from where it belongs.
fn place(cells: &mut [u64], cell: u64) {
    let mask = cells.len() - 1;
    let mut at = (cell >> 32) as usize & mask;
    while cells[at] != 0 {
        at = (at + 1) & mask;
    }
    cells[at] = cell;
}

fn cell(id: [u64; 2], node: u32) -> u64 {
    u64::from(id[0] as u32) << 32 | u64::from(node + 1)
}

fn halves(id: EntryId) -> [u64; 2] {
    [id.0 as u64, (id.0 >> 64) as u64]
}

fn whole(id: [u64; 2]) -> EntryId {
    EntryId(u128::from(id[0]) | u128::from(id[1]) << 64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slot(tick: u64) -> Slot {
        Slot::with_tick(tick)
    }

    #[test]
    fn a_node_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Node>(), 64);
    }

    proptest! {
        /// Ids that crowd in few places of the table, against a list that is searched from the front.
        #[test]
        fn it_is_a_map_in_order_of_use(ops in prop::collection::vec((0_u8..4, 0_u128..150), 1..600)) {
            let mut slots = Slots::with_capacity(0);
            let mut model: Vec<(EntryId, u64)> = Vec::new();
            for (tick, (op, id)) in (0..).zip(ops) {
                // A run of ids shares its home: the last before the end of the table, so that they wrap around.
                let id = EntryId(if id % 2 == 0 { id << 64 | 63 } else { id });
                let known = model.iter().position(|(known, _)| *known == id);
                match op {
                    0 | 1 => {
                        let old = slots.insert(id, slot(tick)).map(|slot| slot.tick);
                        prop_assert_eq!(old, known.map(|at| model.remove(at).1));
                        model.push((id, tick));
                    }
                    2 => {
                        let found = slots.touch(id).map(|slot| slot.tick);
                        prop_assert_eq!(found, known.map(|at| model[at].1));
                        if let Some(at) = known {
                            let used = model.remove(at);
                            model.push(used);
                        }
                    }
                    _ => {
                        let removed = slots.remove(id).map(|slot| slot.tick);
                        prop_assert_eq!(removed, known.map(|at| model.remove(at).1));
                    }
                }
                prop_assert_eq!(slots.len(), model.len());
                let oldest = slots.oldest().map(|(id, slot)| (id, slot.tick));
                prop_assert_eq!(oldest, model.first().copied());
            }
            let all: Vec<_> = slots.iter().map(|(id, slot)| (id, slot.tick)).collect();
            prop_assert_eq!(all, model.iter().rev().copied().collect::<Vec<_>>());
            for (id, tick) in &model {
                prop_assert_eq!(slots.peek(*id).map(|slot| slot.tick), Some(*tick));
            }
        }
    }
}
