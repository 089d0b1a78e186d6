//! Bounded memories of what was learnt lately: facts, absences, freshness.
//!
//! A memory forgets by age, and at its bound forgets the oldest. It is never the only place where something is
//! known, so forgetting costs a question to the upstream and nothing else.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Keys that were noted less than `age` ago, at most `entries` of them.
#[derive(Debug)]
pub(crate) struct Recent<K> {
    entries: usize,
    age: Duration,
    /// A leaf mutex.
    notes: Mutex<Notes<K>>,
}

#[derive(Debug)]
struct Notes<K> {
    at: HashMap<K, Instant>,
    /// In order of noting. A key that was noted again has a later twin; the earlier one no longer matches `at`.
    order: VecDeque<(Instant, K)>,
}

// === impl Recent ===

impl<K: Copy + Eq + Hash> Recent<K> {
    /// An empty memory.
    pub(crate) fn new(entries: usize, age: Duration) -> Self {
        Self { entries, age, notes: Mutex::new(Notes { at: HashMap::new(), order: VecDeque::new() }) }
    }

    /// Notes `key` as of now.
    pub(crate) fn note(&self, key: K) {
        if self.entries == 0 {
            return;
        }
        let now = Instant::now();
        let mut notes = self.notes.lock();
        notes.at.insert(key, now);
        notes.order.push_back((now, key));
        notes.trim(now, self.entries, self.age);
    }

    /// Whether `key` was noted lately.
    pub(crate) fn knows(&self, key: K) -> bool {
        let notes = self.notes.lock();
        notes.at.get(&key).is_some_and(|at| at.elapsed() < self.age)
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
    fn trim(&mut self, now: Instant, entries: usize, age: Duration) {
        while let Some(&(at, key)) = self.order.front() {
            let stale = self.at.get(&key) != Some(&at);
            // Twins of keys noted over and over must not outgrow the memory itself.
            let crowded = self.at.len() > entries || self.order.len() > entries.saturating_mul(2);
            if !stale && !crowded && now.duration_since(at) < age {
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

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_the_age_is_forgotten() {
        let recent = Recent::new(10, Duration::from_secs(2));
        recent.note(1);
        tokio::time::advance(Duration::from_millis(1999)).await;
        assert!(recent.knows(1));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!recent.knows(1));
        recent.note(2);
        assert_eq!(recent.len(), 1, "the aged one was dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_the_oldest_goes() {
        let recent = Recent::new(3, Duration::from_secs(60));
        for key in 0..4 {
            recent.note(key);
        }
        assert!(!recent.knows(0));
        assert!((1..4).all(|key| recent.knows(key)));
    }

    #[tokio::test(start_paused = true)]
    async fn noting_again_renews_and_does_not_grow() {
        let recent = Recent::new(3, Duration::from_secs(60));
        for _ in 0..1000 {
            recent.note(1);
        }
        assert!(recent.knows(1));
        assert!(recent.notes.lock().order.len() <= 6);
    }
}
