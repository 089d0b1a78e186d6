//! A breaker: whether calls of one direction go to an upstream now.
//!
//! ```text
//!          3 faults in a row, or one deadline without a success in 10 s
//!   Up ─────────────────────────────────────────────────────────────────▶ Down      refused here, at once;
//!    ▲ ╲──────────────── the store says that we may not ────────────────▶ Denied    probed (see `probe`)
//!    └──────────── an answer of the store's own, below 500, not denied ◀────┘
//! ```
//!
//! Denied shuts one direction only: keys that may not write still read. A closed breaker costs a call one atomic
//! load; an open one that, a leaf mutex, and a copy of its words.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Direction, Failure, Fault, Signal};
use crate::key::ObjectName;

/// Faults in a row that open it.
pub(super) const FAULTS_IN_A_ROW: u32 = 3;

/// With a success this recent, one deadline alone is taken for a slow object, not for a dead upstream.
const RECENT_SUCCESS: Duration = Duration::from_secs(10);

/// A direction in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// Calls go there.
    Up,
    /// It doesn't answer: calls are refused here, it is probed.
    Down,
    /// It answers that we may not: calls are refused here, it is probed.
    Denied,
}

/// The state of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// In one word.
    pub word: Word,
    /// Since when.
    pub since: SystemTime,
    /// In words for a person: `write denied since 14:02: AccessDenied: …`; `read up` when it is.
    pub words: String,
}

/// The breaker of one direction of one upstream.
#[derive(Debug)]
pub(super) struct Breaker {
    direction: Direction,
    upstream: Arc<str>,
    open: AtomicBool,
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
    opened: watch::Sender<bool>,
    nudges: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    word: Word,
    since: SystemTime,
    /// Shared, for it is what every refused call is answered with.
    words: Arc<str>,
    faults: u32,
    success: Option<Instant>,
    near: Option<ObjectName>,
}

// === impl Word ===

impl Word {
    /// The word in states, stats and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Denied => "denied",
        }
    }
}

// === impl Breaker ===

impl Breaker {
    /// A closed one. Every change of its state goes to `changes`.
    pub(super) fn new(direction: Direction, upstream: Arc<str>, changes: watch::Sender<u64>) -> Self {
        let words = format!("{} up", direction.name()).into();
        let (word, since) = (Word::Up, SystemTime::now());
        Self {
            direction,
            upstream,
            open: AtomicBool::new(false),
            inner: Mutex::new(Inner { word, since, words, faults: 0, success: None, near: None }),
            changes,
            opened: watch::Sender::new(false),
            nudges: watch::Sender::new(0),
        }
    }

    /// Whether calls are refused.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire)
    }

    /// Lets a call through, or refuses it in the words of the state.
    pub(super) fn admit(&self) -> Result<(), Failure> {
        if self.is_open() { Err(Failure::State(Arc::clone(&self.inner.lock().words))) } else { Ok(()) }
    }

    pub(super) fn state(&self) -> State {
        let inner = self.inner.lock();
        State { word: inner.word, since: inner.since, words: inner.words.to_string() }
    }

    /// The object whose call was denied: what a probe asks near to.
    pub(super) fn near(&self) -> Option<ObjectName> {
        self.inner.lock().near.clone()
    }

    /// Waits until calls are refused, or are not.
    pub(super) async fn until_open(&self, open: bool) {
        let mut opened = self.opened.subscribe();
        // An error would mean that the sender, which is ours, is gone.
        let _ = opened.wait_for(|now| *now == open).await;
    }

    /// Changes with every [`nudge`](Self::nudge): one that comes during a probe is not lost.
    pub(super) fn nudges(&self) -> watch::Receiver<u64> {
        self.nudges.subscribe()
    }

    /// The next probe goes at once.
    pub(super) fn nudge(&self) {
        self.nudges.send_modify(|count| *count += 1);
    }

    /// The head of an answer of the store's own came: a deadline now is not the upstream's death. It ends a row of
    /// faults only with [`success`](Self::success): an upstream that resets every body is not up.
    pub(super) fn answered(&self) {
        if self.is_open() {
            self.success();
        } else {
            self.inner.lock().success = Some(Instant::now());
        }
    }

    /// A call ended well.
    pub(super) fn success(&self) {
        let mut inner = self.inner.lock();
        inner.faults = 0;
        inner.success = Some(Instant::now());
        inner.near = None;
        if inner.word != Word::Up {
            let words = format!("{} up", self.direction.name());
            self.change(&mut inner, Word::Up, words.into());
        }
    }

    /// A call failed.
    pub(super) fn failed(&self, fault: &Fault, near: Option<&ObjectName>) {
        let Failure::State(reason) = &fault.failure else {
            if fault.signal == Signal::Success {
                self.success();
            }
            return;
        };
        match fault.signal {
            Signal::Success => self.success(),
            Signal::Neutral => {}
            Signal::Denied => {
                let mut inner = self.inner.lock();
                inner.near = near.cloned().or(inner.near.take());
                self.open(&mut inner, Word::Denied, reason);
            }
            Signal::Fault => self.count(reason, |_| false),
            Signal::Deadline => self
                .count(reason, |success| success.is_none_or(|success| success.elapsed() >= RECENT_SUCCESS)),
        }
    }

    fn count(&self, reason: &str, fatal: impl Fn(Option<Instant>) -> bool) {
        let mut inner = self.inner.lock();
        inner.faults = inner.faults.saturating_add(1);
        if inner.word != Word::Up || inner.faults >= FAULTS_IN_A_ROW || fatal(inner.success) {
            self.open(&mut inner, Word::Down, reason);
        }
    }

    /// Opens it, or says why it is open now.
    fn open(&self, inner: &mut Inner, word: Word, reason: &str) {
        let same = inner.word == word;
        let since = if same { inner.since } else { SystemTime::now() };
        let words: Arc<str> =
            format!("{} {} since {}: {reason}", self.direction.name(), word.name(), local_time(since)).into();
        if !same {
            self.change(inner, word, words);
        } else if inner.words != words {
            tracing::info!(upstream = &*self.upstream, "{words}");
            inner.words = words;
            self.changes.send_modify(|count| *count += 1);
        }
    }

    fn change(&self, inner: &mut Inner, word: Word, words: Arc<str>) {
        match word {
            Word::Up => tracing::info!(upstream = &*self.upstream, "{words}"),
            Word::Down => tracing::warn!(upstream = &*self.upstream, "{words}"),
            Word::Denied => tracing::error!(upstream = &*self.upstream, "{words}"),
        }
        (inner.word, inner.since, inner.words) = (word, SystemTime::now(), words);
        inner.faults = 0;
        self.open.store(word != Word::Up, Ordering::Release);
        self.opened.send_replace(word != Word::Up);
        self.changes.send_modify(|count| *count += 1);
    }
}

/// `HH:MM` on this machine's clock.
fn local_time(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Local>::from(time).format("%H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(direction: Direction) -> (Breaker, watch::Receiver<u64>) {
        let (sender, receiver) = watch::channel(0);
        (Breaker::new(direction, "test".into(), sender), receiver)
    }

    fn fail(breaker: &Breaker, signal: Signal) {
        breaker.failed(&Fault::state(signal, "why"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn three_faults_in_a_row_open_it_and_a_success_between_does_not() {
        let (breaker, changes) = breaker(Direction::Read);
        for _ in 0..2 {
            fail(&breaker, Signal::Fault);
            fail(&breaker, Signal::Fault);
            assert!(breaker.admit().is_ok());
            breaker.success();
        }
        assert!(!changes.has_changed().unwrap());
        for _ in 0..3 {
            fail(&breaker, Signal::Fault);
        }
        assert!(breaker.is_open() && changes.has_changed().unwrap());
        let state = breaker.state();
        assert_eq!(state.word, Word::Down);
        assert!(state.words.starts_with("read down since ") && state.words.ends_with(": why"), "{state:?}");
        assert!(matches!(breaker.admit(), Err(Failure::State(words)) if *words == *state.words));
    }

    #[tokio::test(start_paused = true)]
    async fn one_deadline_opens_it_unless_there_was_a_success_within_ten_seconds() {
        let (breaker, _changes) = breaker(Direction::Read);
        breaker.answered();
        tokio::time::advance(Duration::from_secs(9)).await;
        fail(&breaker, Signal::Deadline);
        assert!(!breaker.is_open(), "a success 9 s ago");
        tokio::time::advance(Duration::from_secs(1)).await;
        fail(&breaker, Signal::Deadline);
        assert!(breaker.is_open(), "the last success was 10 s ago");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_deadline_of_all_opens_it() {
        let (breaker, _changes) = breaker(Direction::Write);
        fail(&breaker, Signal::Deadline);
        assert!(breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_always_break_open_it_although_every_head_arrives() {
        let (breaker, _changes) = breaker(Direction::Read);
        for _ in 0..3 {
            breaker.answered();
            fail(&breaker, Signal::Fault);
        }
        assert!(breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn denied_opens_at_once_names_its_object_and_says_so() {
        let (breaker, _changes) = breaker(Direction::Write);
        let name = ObjectName::parse("cas/ab/x").unwrap();
        breaker.failed(&Fault::state(Signal::Denied, "AccessDenied: no"), Some(&name));
        assert_eq!(breaker.state().word, Word::Denied);
        assert_eq!(breaker.near(), Some(name));
        let words = breaker.state().words;
        let (before, after) = words.split_once(" since ").unwrap();
        assert_eq!(before, "write denied");
        assert_eq!(&after[2..3], ":");
        assert_eq!(&after[5..], ": AccessDenied: no");
        fail(&breaker, Signal::Neutral);
        assert!(breaker.is_open(), "throttling closes nothing");
        breaker.success();
        assert!(!breaker.is_open());
        assert_eq!(breaker.state().words, "write up");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_about_one_object_are_successes() {
        let (breaker, _changes) = breaker(Direction::Write);
        fail(&breaker, Signal::Fault);
        fail(&breaker, Signal::Fault);
        breaker.failed(&Failure::Refused("too large".into()).into(), None);
        fail(&breaker, Signal::Fault);
        assert!(!breaker.is_open());
    }
}
