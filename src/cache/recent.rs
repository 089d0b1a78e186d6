//! Bounded memories of what was learnt lately: facts, absences, freshness.
//!
//! A memory forgets by age, and at its bound forgets the oldest. It is never the only place where something is
//! known, so forgetting costs a question to the upstream and nothing else.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;

/// Keys that were noted less than `age` ago, at most `entries` of them.
#[derive(Debug)]
pub(crate) struct Recent<K> {
    entries: usize,
    age: Duration,
    /// A leaf mutex.
    notes: Mutex<Notes<K>>,
}

/// A moment: time since boot. See [`super::clock::since_boot`].
type Moment = Duration;

#[derive(Debug)]
struct Notes<K> {
    at: HashMap<K, Moment>,
    /// In order of noting. A key that was noted again has a later twin; the earlier one no longer matches `at`.
    order: VecDeque<(Moment, K)>,
}

// === impl Recent ===

impl<K: Copy + Eq + Hash> Recent<K> {
    /// An empty memory.
    pub(crate) fn new(entries: usize, age: Duration) -> Self {
        Self { entries, age, notes: Mutex::new(Notes { at: HashMap::new(), order: VecDeque::new() }) }
    }

    /// Notes `key` as of `now`.
    pub(crate) fn note(&self, key: K, now: Moment) {
        if self.entries == 0 {
            return;
        }
        let mut notes = self.notes.lock();
        if notes.at.insert(key, now) != Some(now) {
            notes.order.push_back((now, key));
        }
        notes.trim(now, self.entries, self.age);
    }

    /// Whether `key` was noted lately.
    pub(crate) fn knows(&self, key: K, now: Moment) -> bool {
        let notes = self.notes.lock();
        notes.at.get(&key).is_some_and(|at| now.saturating_sub(*at) < self.age)
    }

    /// Forgets `key`.
    pub(crate) fn forget(&self, key: K) {
        self.notes.lock().at.remove(&key);
    }

    /// How many keys are remembered.
    pub(crate) fn len(&self) -> usize {
        self.notes.lock().at.len()
    }
}

// === impl Notes ===

impl<K: Copy + Eq + Hash> Notes<K> {
    fn trim(&mut self, now: Moment, entries: usize, age: Duration) {
        while let Some(&(at, key)) = self.order.front() {
            let stale = self.at.get(&key) != Some(&at);
            // Twins of keys noted over and over must not outgrow the memory itself.
            let crowded = self.at.len() > entries || self.order.len() > entries.saturating_mul(2);
            if !stale && !crowded && now.saturating_sub(at) < age {
                break;
            }
            self.order.pop_front();
            if !stale {
                self.at.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_older_than_the_age_is_forgotten() {
        let recent = Recent::new(10, s(2));
        recent.note(1, s(10));
        assert!(recent.knows(1, s(11)));
        assert!(!recent.knows(1, s(12)));
        recent.note(2, s(12));
        assert_eq!(recent.len(), 1, "the aged one was dropped");
    }

    #[test]
    fn at_the_bound_the_oldest_goes() {
        let recent = Recent::new(3, s(60));
        for key in 0..4 {
            recent.note(key, s(key));
        }
        assert!(!recent.knows(0, s(4)));
        assert!((1..4).all(|key| recent.knows(key, s(4))));
    }

    #[test]
    fn noting_again_renews_and_does_not_grow() {
        let recent = Recent::new(3, s(60));
        for now in 0..1000 {
            recent.note(1, s(now));
        }
        assert!(recent.knows(1, s(1000)));
        assert!(recent.notes.lock().order.len() <= 6);
    }
}
