//! Which entries go, which go last, and who is told that one has changed: the parts of the index that are not
//! look-ups. Pure like the rest of it.

use std::collections::{HashMap, VecDeque};

use super::index::{Index, Slot};
use super::record::LARGE;
use crate::key::EntryId;

/// How much must go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Goal {
    /// In charges.
    pub(super) bytes: u64,
    /// Large entries: those that have an inode.
    pub(super) files: u64,
}

/// Entries that go last for a while.
#[derive(Debug, Default)]
pub(super) struct Protected {
    /// By end.
    ends: VecDeque<(u32, EntryId)>,
    count: usize,
    bytes: u64,
}

/// Ids for which tickets are out.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    watched: HashMap<u128, Watched>,
    /// Names states; never gives a name twice, so that a ticket that is long gone matches nothing.
    states: u64,
}

#[derive(Debug)]
struct Watched {
    tickets: usize,
    state: u64,
}

// === impl Index ===

impl Index {
    /// How far the entries and `more` bytes are over the bound.
    pub(super) fn over(&self, more: u64) -> u64 {
        (self.charged + self.reserved).saturating_add(more).saturating_sub(self.disk)
    }

    /// How much fits below the bound.
    pub(super) fn room(&self) -> u64 {
        self.disk.saturating_sub(self.charged + self.reserved)
    }

    /// Takes out the least recently used until `goal` is met or `max` are out. A protected one on the way is used
    /// again instead, as long as there are others.
    pub(super) fn victims(&mut self, goal: &mut Goal, now: u32, max: usize) -> Vec<(EntryId, Slot)> {
        self.expire(now);
        let mut victims = Vec::new();
        while (goal.bytes > 0 || goal.files > 0) && victims.len() < max {
            let Some((id, slot)) = self.oldest() else { break };
            if slot.until > now && self.protected.count < self.len() {
                self.touch(id);
                continue;
            }
            self.remove(id);
            goal.bytes = goal.bytes.saturating_sub(slot.charge());
            goal.files = goal.files.saturating_sub(u64::from(slot.is(LARGE)));
            victims.push((id, slot));
        }
        victims
    }

    /// Has entries go last until then, as long as all of those are at most half of the bound.
    pub(super) fn protect(&mut self, ids: &[EntryId], now: u32, until: u32) {
        self.expire(now);
        for id in ids {
            let room = (self.disk / 2).saturating_sub(self.protected.bytes);
            let Some((charge, end)) = self.until(*id) else { continue };
            // Protected for nine tenths of the time already: not worth another place in the line.
            if *end > 0 && until.saturating_sub(*end) <= (until - now) / 10 {
                continue;
            }
            if *end == 0 {
                if charge > room {
                    continue;
                }
                *end = until;
                self.protected.count += 1;
                self.protected.bytes += charge;
            } else {
                *end = until;
            }
            self.protected.ends.push_back((until, *id));
        }
    }

    fn expire(&mut self, now: u32) {
        while let Some((end, id)) = self.protected.ends.front().copied().filter(|(end, _)| *end <= now) {
            self.protected.ends.pop_front();
            // An entry that was protected again, or put again, has another end.
            if let Some((charge, until)) = self.until(id).filter(|(_, until)| **until == end) {
                *until = 0;
                self.protected.count -= 1;
                self.protected.bytes -= charge;
            }
        }
    }
}

// === impl Protected ===

impl Protected {
    /// A protected entry is gone.
    pub(super) fn lose(&mut self, slot: &Slot) {
        self.count -= 1;
        self.bytes -= slot.charge();
    }
}

// === impl Tickets ===

impl Tickets {
    /// A ticket is taken: says what the state is called now.
    pub(super) fn begin(&mut self, id: EntryId) -> u64 {
        self.states += 1;
        let watched = self.watched.entry(id.0).or_insert(Watched { tickets: 0, state: self.states });
        watched.tickets += 1;
        watched.state
    }

    /// A ticket is given back.
    pub(super) fn end(&mut self, id: EntryId) {
        if let Some(watched) = self.watched.get_mut(&id.0) {
            watched.tickets -= 1;
            if watched.tickets == 0 {
                self.watched.remove(&id.0);
            }
        }
    }

    /// The entry was committed, deleted or superseded.
    pub(super) fn change(&mut self, id: EntryId) {
        if let Some(watched) = self.watched.get_mut(&id.0) {
            self.states += 1;
            watched.state = self.states;
        }
    }

    /// All of them are gone.
    pub(super) fn change_all(&mut self) {
        self.states += 1;
        self.watched.values_mut().for_each(|watched| watched.state = self.states);
    }

    /// Whether nothing happened since the ticket was taken.
    pub(super) fn unchanged(&self, id: EntryId, state: u64) -> bool {
        self.watched.get(&id.0).is_some_and(|watched| watched.state == state)
    }

    /// How many ids are watched.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.watched.len()
    }
}
