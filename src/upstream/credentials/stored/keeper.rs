//! The keeper of one credential: has its keys ready, and renews them before they end.
//!
//! ```text
//! another document stored ─┐
//! 3/4 of the life over ────┼─> read what is stored ─> ask for keys ─> the value that requests take
//! slept, or another clock ─┘        └── it fails: the last value goes on while it lives; asked again, 1 s … 60 s
//! ```
//! A request takes the last value and waits for nobody; only the very first ones wait a moment. How long a value lives is
//! told by the time since boot, so that a wall clock that is set by a day ends nothing; it is renewed when either clock
//! says so.

mod task;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use self::task::Task;
use super::super::Watched;
use super::document::Document;
use super::held::{Held, Outlook};
use super::place::{Missing, Stamp};
use super::provide::{Issued, Material};
use crate::error::{Error, Kind, Result};

/// Where there is no value, requests wait for one until it has been asked for this long; after that none waits.
const FIRST: Duration = Duration::from_secs(1);

/// What is stored is looked at again, at most so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// For this long after a change who waits for other keys is told so: somewhat longer than a prober's pause between two
/// looks, so that each of several sees it.
const CHANGED: Duration = Duration::from_secs(6);

/// What a keeper asks: stored documents, and who gives keys for them.
pub(super) trait Source: Send + Sync + 'static {
    /// What differs when another is stored.
    fn stamp(&self) -> BoxFuture<'_, Stamp>;
    /// What is stored.
    fn read(&self) -> BoxFuture<'_, Result<Document, Missing>>;
    /// The keys; words that complete "the credential …: …".
    fn provide<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<Issued, String>>;
    /// The wall clock, and the time since boot.
    fn clocks(&self) -> (SystemTime, Duration);
}

/// Has the keys of one credential ready.
pub(in super::super::super) struct Keeper {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<Option<()>>,
}

struct Shared {
    name: Arc<str>,
    source: Arc<dyn Source>,
    state: watch::Sender<State>,
    /// Somebody asks whether something else is stored.
    asked: Notify,
    begun: Instant,
    /// Milliseconds from `begun` to the last time somebody asked, plus one; 0 for never.
    asked_ms: AtomicU64,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// Why there is no newer value.
    fault: Option<Arc<str>>,
    /// Grows with every value.
    serial: u64,
    changed: Option<Instant>,
    /// Since when a value is asked for, if one is just now.
    asking: Option<Instant>,
}

// === impl Keeper ===

impl Keeper {
    /// Of the credential `name`; `spawn` starts its task, which ends with it.
    pub(super) fn new(
        name: &str,
        source: Arc<dyn Source>,
        surroundings: watch::Receiver<u64>,
        spawn: impl FnOnce(BoxFuture<'static, ()>) -> AbortOnDropHandle<Option<()>>,
    ) -> Arc<Self> {
        let shared = Arc::new(Shared {
            name: name.into(),
            source,
            state: watch::Sender::new(State::default()),
            asked: Notify::new(),
            begun: Instant::now(),
            asked_ms: AtomicU64::new(0),
        });
        let task = Task::new(Arc::clone(&shared), surroundings);
        Arc::new(Self { shared, _task: spawn(Box::pin(task.run())) })
    }

    /// What it is called.
    pub(in super::super::super) fn name(&self) -> &str {
        &self.shared.name
    }

    /// The keys as they are now, and a number that is another when they are.
    ///
    /// # Errors
    /// `Denied`, with the remedy: it isn't stored, can't be had, is over.
    pub(in super::super::super) async fn now(&self) -> Result<(Arc<Material>, u64)> {
        self.shared.look_again();
        if let Some(answer) = self.shared.answer(&self.shared.state.borrow()) {
            return answer;
        }
        let mut state = self.shared.state.subscribe();
        let asked = state.borrow().asking.unwrap_or_else(Instant::now);
        let answered = state.wait_for(|state| self.shared.answer(state).is_some());
        let answer = match tokio::time::timeout_at(asked + FIRST, answered).await {
            Ok(Ok(state)) => self.shared.answer(&state),
            _ => None,
        };
        answer.unwrap_or_else(|| Err(self.shared.not_yet()))
    }

    /// What is known of the keys as they are now; `None`: there are none that live.
    pub(in super::super::super) fn outlook(&self) -> Option<Outlook> {
        let (_, boot) = self.shared.source.clocks();
        let state = self.shared.state.borrow();
        state.held.as_ref().filter(|held| held.lives(boot)).map(Held::outlook)
    }
}

impl Watched for Keeper {
    fn has_changed(&self) -> bool {
        self.shared.suspect();
        self.shared.look_again();
        self.shared.state.borrow().changed.is_some_and(|changed| changed.elapsed() < CHANGED)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keeper({})", self.shared.name)
    }
}

// === impl Shared ===

impl Shared {
    /// `None`: that has to be waited for.
    fn answer(&self, state: &State) -> Option<Result<(Arc<Material>, u64)>> {
        let (_, boot) = self.source.clocks();
        if let Some(held) = state.held.as_ref().filter(|held| held.lives(boot)) {
            return Some(Ok((Arc::clone(&held.material), state.serial)));
        }
        if let Some(words) = &state.fault {
            return Some(Err(self.denied(words)));
        }
        let is_late = state.asking.is_some_and(|asked| asked.elapsed() >= FIRST);
        is_late.then(|| Err(self.not_yet()))
    }

    /// Whether there are no keys that live.
    fn has_none(&self) -> bool {
        let (_, boot) = self.source.clocks();
        !self.state.borrow().held.as_ref().is_some_and(|held| held.lives(boot))
    }

    fn not_yet(&self) -> Error {
        self.denied("its keys are being asked for, and have not come yet")
    }

    fn denied(&self, words: &str) -> Error {
        Error::new(Kind::Denied, format!("the credential `{}`: {words}", self.name))
    }

    /// Has the task look at what is stored, behind whoever calls.
    fn look_again(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.asked_ms.load(Ordering::Relaxed);
        let is_due = last == 0 || now + 1 >= last.saturating_add(LOOK_AGAIN.as_millis() as u64);
        if is_due
            && self.asked_ms.compare_exchange(last, now + 1, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.asked.notify_one();
        }
    }

    /// Whoever asks for other keys has met a refusal: a store may know better than the clock when a value ended.
    fn suspect(&self) {
        let (_, boot) = self.source.clocks();
        self.state.send_if_modified(|state| {
            if let Some(held) = &mut state.held {
                held.suspect(boot);
            }
            // Nobody has to hear of it who waits for a value.
            false
        });
    }

    /// Whether a value is asked for from now on.
    fn asks(&self, asks: bool) {
        // Nobody has to hear of it who waits for a value.
        self.state.send_if_modified(|state| {
            state.asking = asks.then(Instant::now);
            false
        });
    }

    /// There is none, or none that may be used: for good if what was read before is not used any more, either.
    fn failed(&self, words: String, for_good: bool) {
        let (_, boot) = self.source.clocks();
        self.state.send_modify(|state| {
            if for_good {
                state.changed = state.held.take().map(|_| Instant::now()).or(state.changed);
            }
            let goes_on = state.held.as_ref().is_some_and(|held| held.lives(boot));
            if state.fault.as_deref() != Some(&*words) {
                let until = if goes_on { "; the last keys go on for now" } else { "" };
                tracing::warn!(credential = &*self.name, "{words}{until}");
                if !goes_on && state.fault.is_some() {
                    // Whoever shows the words of an earlier refusal is to show these.
                    state.changed = Some(Instant::now());
                }
            }
            state.fault = Some(words.into());
        });
    }

    fn given(&self, issued: Issued) {
        let (wall, boot) = self.source.clocks();
        let held = Held::new(issued, wall, boot);
        self.state.send_modify(|state| {
            if state.fault.take().is_some() {
                tracing::info!(credential = &*self.name, "it works");
            }
            state.serial += 1;
            state.changed = Some(Instant::now());
            state.held = Some(held);
        });
    }
}
