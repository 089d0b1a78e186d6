//! The upstreams, each in a slot of its own for as long as the daemon lives.
//!
//! Facts, fills and rows of the queue hang on a place upstream, not on how it is reached. So a place that gets other
//! keys or another deadline keeps its slot, one that is configured no more leaves its slot empty, and finds it again
//! should it come back. A request that runs goes on with the [`Remote`] that it has.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use super::Cache;
use crate::key::UpstreamId;
use crate::stats::Counter;
use crate::store::QueueTag;
use crate::swap::{Read, Swap};
use crate::upstream::Remote;

/// All slots.
#[derive(Debug)]
pub(super) struct Remotes {
    slots: Swap<Vec<Slot>>,
    /// Wakes the uploaders when a slot has changed.
    changes: watch::Sender<()>,
}

/// A place upstream.
#[derive(Debug, Clone)]
struct Slot {
    tag: QueueTag,
    /// `None`: it is not configured any more.
    remote: Option<Remote>,
    /// Hits that it gave.
    hits: Arc<Counter>,
}

/// An upstream that is configured. Short-lived; a clone of what it points to is not.
pub(super) struct Known {
    slots: Read<Vec<Slot>>,
    at: usize,
}

// === impl Remotes ===

impl Remotes {
    pub(super) fn new(remotes: Vec<Remote>) -> Self {
        let slots = Self { slots: Swap::new(Vec::new()), changes: watch::Sender::new(()) };
        slots.set(remotes);
        slots
    }

    /// From now on it is these, each in the slot of its id; all other slots are empty. Only one caller at a time.
    pub(super) fn set(&self, remotes: Vec<Remote>) {
        let mut slots: Vec<Slot> = self.slots.read().clone();
        slots.iter_mut().for_each(|slot| slot.remote = None);
        for remote in remotes {
            let tag = QueueTag(remote.tag());
            match slots.get_mut(usize::from(remote.id().0)) {
                Some(slot) => slot.remote = Some(remote),
                None => slots.push(Slot { tag, remote: Some(remote), hits: Arc::default() }),
            }
        }
        self.slots.replace(slots);
        self.changes.send_replace(());
    }

    pub(super) fn find(&self, id: UpstreamId) -> Option<Known> {
        let (slots, at) = (self.slots.read(), usize::from(id.0));
        slots.get(at)?.remote.as_ref()?;
        Some(Known { slots, at })
    }

    /// All that are configured, each with the hits that it gave.
    pub(super) fn all(&self) -> Vec<(Remote, u64)> {
        let slots = self.slots.read();
        slots.iter().filter_map(|slot| Some((slot.remote.clone()?, slot.hits.read()))).collect()
    }

    /// All that are written to.
    pub(super) fn written(&self) -> Vec<Remote> {
        self.all().into_iter().map(|(remote, _)| remote).filter(|remote| !remote.read_only()).collect()
    }

    /// That of this tag, if it is written to.
    pub(super) fn written_as(&self, tag: QueueTag) -> Option<Remote> {
        let slots = self.slots.read();
        let slot = slots.iter().find(|slot| slot.tag == tag)?;
        slot.remote.clone().filter(|remote| !remote.read_only())
    }

    /// It gave a hit.
    pub(super) fn count_hit(&self, id: UpstreamId) {
        if let Some(slot) = self.slots.read().get(usize::from(id.0)) {
            slot.hits.one();
        }
    }

    /// Wakes at every change.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}

// === impl Known ===

impl Deref for Known {
    type Target = Remote;

    fn deref(&self) -> &Remote {
        self.slots[self.at].remote.as_ref().expect("looked at when it was found")
    }
}

impl Cache {
    /// The slot of the place with this tag, and the upstream in it; `None` when there was never such a place. What is
    /// to take its place has that id.
    pub fn slot(&self, tag: u64) -> Option<(UpstreamId, Option<Remote>)> {
        let slots = self.inner.remotes.slots.read();
        let at = slots.iter().position(|slot| slot.tag == QueueTag(tag))?;
        Some((UpstreamId(u16::try_from(at).ok()?), slots[at].remote.clone()))
    }

    /// How many slots there are; a new place has the next.
    pub fn slots(&self) -> usize {
        self.inner.remotes.slots.read().len()
    }
}
