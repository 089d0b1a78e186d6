//! The task of a keeper: reads what is stored, asks for keys, and waits until there is something to do.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::document::Document;
use super::super::held::{RENEW_SOONEST, jittered};
use super::super::place::{Missing, Stamp};
use super::Shared;

/// All of a question: what it asks may hang in ways that have no deadline of their own, as a file of a server that is
/// gone. Longer than each of those that have one.
const QUESTION: Duration = Duration::from_secs(90);

/// After a failure it is tried again after this, doubling.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);

/// As long as there are no keys, what is stored is looked at so often even if nobody asks.
const LOOK_UNASKED: Duration = Duration::from_secs(2);

/// What a keeper's task knows besides.
pub(super) struct Task {
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

// === impl Task ===

impl Task {
    pub(super) fn new(shared: Arc<Shared>, surroundings: watch::Receiver<u64>) -> Self {
        Self {
            shared,
            surroundings,
            stamp: None,
            document: None,
            withheld: false,
            replaced: false,
            again: false,
            retry: RETRY,
        }
    }

    pub(super) async fn run(mut self) {
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

    /// Waits until something else is stored. While there are keys somebody has to ask about it.
    async fn other_stored(&self) {
        while !self.is_other_stored().await {}
    }

    /// The same, or until what is held is suspected.
    async fn stirred(&self) {
        while !self.is_other_stored().await && (self.has_failed() || !self.is_due()) {}
    }

    async fn is_other_stored(&self) -> bool {
        let asked = self.shared.asked.notified();
        if self.shared.has_none() {
            // Over or not, it is looked at: whoever asks first is to find what was stored before.
            let _ = tokio::time::timeout(LOOK_UNASKED, asked).await;
        } else {
            asked.await;
        }
        self.stamp != Some(self.shared.source.stamp().await)
    }
}
