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
    /// A leaf mutex.
    notes: Mutex<Notes<K>>,
}

/// A moment: time since boot. See [`super::clock::since_boot`].
type Moment = Duration;

#[derive(Debug)]
struct Notes<K> {
    entries: usize,
    age: Duration,
    at: HashMap<K, Moment>,
    /// In order of noting. A key that was noted again has a later twin; the earlier one no longer matches `at`.
    order: VecDeque<(Moment, K)>,
}

/// So many are forgotten under one lock.
const TRIMMED_AT_ONCE: usize = 1024;

// === impl Recent ===

impl<K: Copy + Eq + Hash> Recent<K> {
    /// An empty memory.
    pub(crate) fn new(entries: usize, age: Duration) -> Self {
        Self { notes: Mutex::new(Notes { entries, age, at: HashMap::new(), order: VecDeque::new() }) }
    }

    /// Other bounds, as of `now`. What is over them is forgotten bit by bit, so that nobody waits long for the lock.
    pub(crate) fn bound(&self, entries: usize, age: Duration, now: Moment) {
        {
            let mut notes = self.notes.lock();
            (notes.entries, notes.age) = (entries, age);
        }
        while !self.notes.lock().trim(now) {
            std::thread::yield_now();
        }
    }

    /// Notes `key` as of `now`.
    pub(crate) fn note(&self, key: K, now: Moment) {
        let mut notes = self.notes.lock();
        if notes.entries == 0 {
            return;
        }
        if notes.at.insert(key, now) != Some(now) {
            notes.order.push_back((now, key));
        }
        notes.trim(now);
    }

    /// Whether `key` was noted lately.
    pub(crate) fn knows(&self, key: K, now: Moment) -> bool {
        let notes = self.notes.lock();
        notes.at.get(&key).is_some_and(|at| now.saturating_sub(*at) < notes.age)
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
    /// Forgets some of what is over the bounds; whether that was all of it.
    fn trim(&mut self, now: Moment) -> bool {
        for _ in 0..TRIMMED_AT_ONCE {
            let Some(&(at, key)) = self.order.front() else { return true };
            let stale = self.at.get(&key) != Some(&at);
            // Twins of keys noted over and over must not outgrow the memory itself.
            let crowded = self.at.len() > self.entries || self.order.len() > self.entries.saturating_mul(2);
            if !stale && !crowded && now.saturating_sub(at) < self.age {
                return true;
            }
            self.order.pop_front();
            if !stale {
                self.at.remove(&key);
            }
        }
        false
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
    fn a_lower_bound_forgets_the_oldest_and_a_higher_one_none() {
        let recent = Recent::new(5000, s(60));
        for key in 0..5000 {
            recent.note(key, s(10));
        }
        recent.bound(3, s(60), s(11));
        assert_eq!(recent.len(), 3);
        assert!((4997..5000).all(|key| recent.knows(key, s(11))));
        recent.bound(10, s(1), s(11));
        assert_eq!(recent.len(), 0, "they are as old as the new age");
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
