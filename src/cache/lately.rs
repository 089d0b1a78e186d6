//! What happened lately: how fast the queue empties, what was shed, what was found damaged.
//!
//! The counters only grow. A task reads them every few seconds and keeps what they were for some minutes, so that who
//! asks once is told a rate.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Cache, now_ms};
use crate::stats::{SHEDS, Shed};

/// What happened lately.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lately {
    /// Bytes that went upstream in a second: over the last minute, or since the queue was last empty.
    pub bytes_per_s: f64,
    /// Entries, likewise.
    pub entries_per_s: f64,
    /// What was shed in the last [`SHEDS_WINDOW`], by reason; nothing is left out.
    pub sheds: Vec<(Shed, u64)>,
    /// When damage was last found in the stores, in milliseconds since the epoch, as far as a few seconds matter.
    pub damaged_ms: Option<u64>,
    /// When an upstream last sent what it can't have been asked for, likewise.
    pub wrong_ms: Option<u64>,
}

/// What was shed is remembered for this long.
pub const SHEDS_WINDOW: Duration = Duration::from_secs(600);

const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// A rate is over no less: of one moment it would be any number.
const RATE_WINDOW_MIN: Duration = Duration::from_secs(1);

/// What the counters were. One more lies before each window, for what is in it is told by a difference.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// A leaf mutex.
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    samples: VecDeque<Sample>,
    damaged_ms: Option<u64>,
    wrong_ms: Option<u64>,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Instant,
    uploads: u64,
    uploaded_bytes: u64,
    sheds: [u64; SHEDS.len()],
    damaged: u64,
    wrong: u64,
    is_queue_empty: bool,
}

/// Reads the counters, again and again. Ends with the daemon.
pub(super) async fn watch(cache: Cache) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        cache.inner.samples.inner.lock().add(cache.sample(), now_ms());
    }
}

impl Cache {
    /// What happened lately.
    pub fn lately(&self) -> Lately {
        self.inner.samples.inner.lock().lately(&self.sample(), now_ms())
    }

    fn sample(&self) -> Sample {
        let inner = &self.inner;
        Sample {
            at: Instant::now(),
            uploads: inner.stats.uploads.read(),
            uploaded_bytes: inner.stats.uploaded_bytes.read(),
            sheds: SHEDS.map(|reason| inner.stats.shed(reason).read()),
            damaged: inner.cache.usage().corrupt + inner.outbox.usage().corrupt,
            wrong: inner.stats.corrupt.read(),
            is_queue_empty: inner.queue.len().0 == 0,
        }
    }
}

// === impl Inner ===

impl Inner {
    fn add(&mut self, sample: Sample, now_ms: u64) {
        let before = self.samples.back().map_or((0, 0), |last| (last.damaged, last.wrong));
        if sample.damaged > before.0 {
            self.damaged_ms = Some(now_ms);
        }
        if sample.wrong > before.1 {
            self.wrong_ms = Some(now_ms);
        }
        self.samples.push_back(sample);
        while self.samples.get(1).is_some_and(|second| sample.at - second.at >= SHEDS_WINDOW) {
            self.samples.pop_front();
        }
    }

    fn lately(&self, now: &Sample, now_ms: u64) -> Lately {
        let last = self.samples.back();
        let since = |found: u64, before: Option<u64>, known: Option<u64>| match before {
            Some(before) if found <= before => known,
            None if found == 0 => known,
            _ => Some(now_ms),
        };
        let (bytes_per_s, entries_per_s) = self.rates(now);
        let before = self.samples.front().map_or([0; SHEDS.len()], |oldest| {
            // The daemon began within the window: all there is lies in it.
            if now.at - oldest.at < SHEDS_WINDOW { [0; SHEDS.len()] } else { oldest.sheds }
        });
        let sheds = SHEDS.into_iter().zip(now.sheds.iter().zip(before));
        Lately {
            bytes_per_s,
            entries_per_s,
            sheds: sheds.map(|(reason, (now, before))| (reason, now.saturating_sub(before))).collect(),
            damaged_ms: since(now.damaged, last.map(|last| last.damaged), self.damaged_ms),
            wrong_ms: since(now.wrong, last.map(|last| last.wrong), self.wrong_ms),
        }
    }

    /// Bytes and entries a second. While something waits, the time in which nothing did doesn't count.
    fn rates(&self, now: &Sample) -> (f64, f64) {
        let mut base = None;
        for sample in self.samples.iter().rev() {
            let age = now.at - sample.at;
            if age > RATE_WINDOW && base.is_some() {
                break;
            }
            base = Some(sample);
            if sample.is_queue_empty && !now.is_queue_empty && age >= RATE_WINDOW_MIN {
                break;
            }
        }
        let Some(base) = base.filter(|base| now.at > base.at) else { return (0.0, 0.0) };
        let seconds = (now.at - base.at).max(RATE_WINDOW_MIN).as_secs_f64();
        let rate = |now: u64, base: u64| now.saturating_sub(base) as f64 / seconds;
        (rate(now.uploaded_bytes, base.uploaded_bytes), rate(now.uploads, base.uploads))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Second 0 of a test, and what was counted at others.
    struct Story {
        begin: Instant,
        inner: Inner,
    }

    impl Story {
        fn new() -> Self {
            Self { begin: Instant::now(), inner: Inner::default() }
        }

        fn at(&self, second: u64, uploads: u64, is_queue_empty: bool) -> Sample {
            Sample {
                at: self.begin + Duration::from_secs(second),
                uploads,
                uploaded_bytes: 100 * uploads,
                sheds: [uploads; SHEDS.len()],
                damaged: 0,
                wrong: 0,
                is_queue_empty,
            }
        }

        fn add(&mut self, second: u64, uploads: u64, is_queue_empty: bool) {
            self.inner.add(self.at(second, uploads, is_queue_empty), second * 1000);
        }

        fn lately(&self, second: u64, uploads: u64, is_queue_empty: bool) -> Lately {
            self.inner.lately(&self.at(second, uploads, is_queue_empty), second * 1000)
        }
    }

    #[test]
    fn a_rate_is_that_of_the_last_minute_or_since_the_queue_was_empty() {
        let mut story = Story::new();
        assert_eq!(story.lately(0, 0, false).entries_per_s, 0.0, "nothing is known yet");
        story.add(0, 0, true);
        (1..=20).for_each(|tick| story.add(tick * 5, tick * 50, false));
        let lately = story.lately(103, 1030, false);
        assert_eq!((lately.entries_per_s, lately.bytes_per_s), (10.0, 1000.0));
        // Nothing for a while, then a burst: its own rate, not the minute's.
        (21..=34).for_each(|tick| story.add(tick * 5, 1030, true));
        let lately = story.lately(174, 1070, false);
        assert_eq!(lately.entries_per_s, 10.0);
        // The same, done with: over the minute.
        assert!(story.lately(174, 1070, true).entries_per_s < 2.0);
    }

    #[test]
    fn what_was_shed_is_forgotten_in_time() {
        let mut story = Story::new();
        story.add(0, 0, true);
        story.add(5, 3, true);
        let shed = |lately: Lately| lately.sheds[0].1;
        assert_eq!(shed(story.lately(7, 4, true)), 4);
        (2..=200).for_each(|tick| story.add(tick * 5, 4, true));
        assert_eq!(shed(story.lately(1001, 4, true)), 0);
        assert_eq!(shed(story.lately(1001, 6, true)), 2);
        assert!(story.inner.samples.len() < 125, "{}", story.inner.samples.len());
    }

    #[test]
    fn damage_is_known_from_the_moment_that_it_is_found() {
        let mut story = Story::new();
        let damaged = |story: &Story, second, damaged| {
            let now = Sample { damaged, ..story.at(second, 0, true) };
            story.inner.lately(&now, second * 1000).damaged_ms
        };
        assert_eq!(damaged(&story, 0, 0), None);
        assert_eq!(damaged(&story, 1, 1), Some(1000), "at start, before the first look");
        story.inner.add(Sample { damaged: 1, ..story.at(5, 0, true) }, 5000);
        assert_eq!(damaged(&story, 9, 1), Some(5000));
        assert_eq!(damaged(&story, 9, 2), Some(9000));
    }
}
