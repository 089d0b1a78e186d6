//! What a run has seen, shared by the tasks that make its requests.

use std::cell::{Cell, RefCell};
use std::time::Instant;

#[derive(Default)]
pub(crate) struct Tally {
    begun: Cell<u64>,
    errors: Cell<u64>,
    words: RefCell<Option<String>>,
    took_us: RefCell<Vec<u32>>,
    first_bytes_ns: RefCell<Vec<u64>>,
}

impl Tally {
    /// The number of the next request, until there are `count`.
    pub(crate) fn next(&self, count: u64) -> Option<u64> {
        let index = self.begun.get();
        (index < count).then(|| self.begun.replace(index + 1))
    }

    /// Counts a request that was answered.
    pub(crate) fn took(&self, begin: Instant) {
        let micros = u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.took_us.borrow_mut().push(micros);
    }

    pub(crate) fn first_byte(&self, at_ns: u64) {
        self.first_bytes_ns.borrow_mut().push(at_ns);
    }

    /// Counts an error and keeps the words of the first.
    pub(crate) fn fail(&self, words: String) {
        self.errors.set(self.errors.get() + 1);
        self.words.borrow_mut().get_or_insert(words);
    }

    pub(crate) fn report(&self, begin: Instant) -> serde_json::Value {
        let seconds = begin.elapsed().as_secs_f64();
        let mut took_us = self.took_us.take();
        took_us.sort_unstable();
        serde_json::json!({
            "requests": took_us.len(),
            "seconds": seconds,
            "errors": self.errors.get(),
            "words": self.words.take(),
            "p50_us": percentile(&took_us, 0.50),
            "p99_us": percentile(&took_us, 0.99),
            "p999_us": percentile(&took_us, 0.999),
            "max_us": took_us.last(),
            "first_bytes_ns": self.first_bytes_ns.take(),
        })
    }
}

fn percentile(sorted: &[u32], part: f64) -> Option<u32> {
    sorted.get(((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1))).copied()
}
