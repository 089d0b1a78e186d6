//! The keeper of one credential: has its keys ready, and renews them before they end.
//!
//! ```text
//! another document stored ─┐
//! 4/5 of the life over ────┼─> read what is stored ─> ask for keys ─> the value that requests take
//! slept, or another clock ─┘        └── it fails: the last value goes on while it lives; asked again, 1 s … 60 s
//! ```
//! A request takes the last value and waits for nobody; only the very first ones wait a moment. How long a value lives is
//! told by the time since boot, so that a wall clock that is set by a day ends nothing; it is renewed when either clock
//! says so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::super::Watched;
use super::document::Document;
use super::held::{Held, Outlook, RENEW_SOONEST, jittered};
use super::place::{Missing, Stamp};
use super::provide::{Issued, Material};
use crate::error::{Error, Kind, Result};

/// Where there is no value, requests wait for one until it has been asked for this long; after that none waits.
const FIRST: Duration = Duration::from_secs(1);

/// All of a question: what it asks may hang in ways that have no deadline of their own, as a file of a server that is
/// gone. Longer than each of those that have one.
const QUESTION: Duration = Duration::from_secs(90);

/// What is stored is looked at again, at most so often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// After a failure it is tried again after this, doubling.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

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

/// What the task knows besides.
struct Task {
    shared: Arc<Shared>,
    surroundings: watch::Receiver<u64>,
    /// As it was when what is stored was read last.
    stamp: Option<Stamp>,
    document: Option<Document>,
    /// The keychain has not given what is stored: `document` is what it gave before.
    withheld: bool,
    /// What is held was given for another document.
    replaced: bool,
    /// It was stored again, which asks for keys anew.
    again: bool,
    retry: Duration,
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
        let task = Task {
            shared: Arc::clone(&shared),
            surroundings,
            stamp: None,
            document: None,
            withheld: false,
            replaced: false,
            again: false,
            retry: RETRY,
        };
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

// === impl Task ===

impl Task {
    async fn run(mut self) {
        loop {
            self.shared.asks(true);
            self.read().await;
            if self.is_due() {
                self.renew().await;
            }
            self.shared.asks(false);
            self.wait().await;
        }
    }

    /// Reads what is stored, if that is another, or could not be had.
    async fn read(&mut self) {
        let source = Arc::clone(&self.shared.source);
        let stamp = source.stamp().await;
        if self.stamp == Some(stamp) && !self.withheld {
            return;
        }
        if self.stamp != Some(stamp) {
            self.retry = RETRY;
        }
        self.stamp = Some(stamp);
        let read = source.read().await;
        self.withheld = matches!(read, Err(Missing::Withheld(_)));
        match read {
            Ok(document) => {
                self.replaced |= self.document.as_ref().is_some_and(|known| *known != document);
                self.again = true;
                self.document = Some(document);
            }
            Err(Missing::Nowhere) => {
                self.document = None;
                self.shared.failed(format!("is not stored: run `larder login {}`", self.shared.name), true);
            }
            Err(Missing::Refused(words)) => {
                self.document = None;
                self.shared.failed(words, true);
            }
            // The document that was read before goes on; it is looked for again.
            Err(Missing::Withheld(words)) => self.shared.failed(words, false),
        }
    }

    /// Whether keys are to be asked for.
    fn is_due(&self) -> bool {
        let (wall, boot) = self.shared.source.clocks();
        let state = self.shared.state.borrow();
        let is_due = || state.held.as_ref().is_none_or(|held| held.is_due(wall, boot));
        self.document.is_some() && (self.again || is_due())
    }

    /// Asks for keys; given up if something else is stored meanwhile.
    async fn renew(&mut self) {
        let Some(document) = self.document.clone() else { return };
        let source = Arc::clone(&self.shared.source);
        let issued = tokio::select! {
            issued = tokio::time::timeout(QUESTION, source.provide(&document)) => issued.unwrap_or_else(|_| {
                Err(format!("gave no keys within {} s: see to what it asks", QUESTION.as_secs()))
            }),
            () = self.other_stored() => return,
        };
        self.again = false;
        match issued {
            Ok(issued) => {
                (self.retry, self.replaced) = (RETRY, false);
                self.shared.given(issued);
            }
            Err(words) => self.shared.failed(words, self.replaced),
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) {
        let pause = self.pause();
        if pause.is_some() && self.has_failed() {
            self.retry = (self.retry * 2).min(RETRY_LONGEST);
        }
        let due = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let mut surroundings = self.surroundings.clone();
        let moved = async {
            if surroundings.changed().await.is_err() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = due => {}
            () = self.stirred() => {}
            () = moved => {}
        }
        self.surroundings.mark_unchanged();
    }

    fn has_failed(&self) -> bool {
        self.shared.state.borrow().fault.is_some()
    }

    /// `None`: nothing has to be done by itself.
    fn pause(&self) -> Option<Duration> {
        if self.document.is_none() && !self.withheld {
            // It is not stored, or refused: only another file changes that.
            return None;
        }
        if self.has_failed() {
            return Some(jittered(self.retry));
        }
        let (wall, boot) = self.shared.source.clocks();
        let state = self.shared.state.borrow();
        Some(state.held.as_ref()?.left(wall, boot)?.max(RENEW_SOONEST))
    }

    /// Waits until something else is stored, which somebody has to ask about.
    async fn other_stored(&self) {
        while !self.is_other_stored().await {}
    }

    /// The same, or until what is held is suspected.
    async fn stirred(&self) {
        while !self.is_other_stored().await && (self.has_failed() || !self.is_due()) {}
    }

    async fn is_other_stored(&self) -> bool {
        self.shared.asked.notified().await;
        self.stamp != Some(self.shared.source.stamp().await)
    }
}
