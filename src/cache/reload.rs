//! Other bounds and other upstreams while the daemon runs.

use super::{Cache, Settings};
use crate::store;
use crate::upstream::Remote;

impl Cache {
    /// Puts these in the place of what is in force. Requests that run go on with what they began with. `remotes` each
    /// have the id of their slot: see [`Cache::slot`]. Takes its time where there is something to be forgotten or moved,
    /// so it is not for a thread that answers requests; only one caller at a time.
    pub fn apply(&self, settings: Settings, stores: [&store::Settings; 2], remotes: Vec<Remote>) {
        let inner = &self.inner;
        inner.remotes.set(remotes);
        inner.queue.bound(settings.queue_bytes, settings.queue_entries);
        inner.fills.bound(settings.fills, settings.fill_bytes);
        let memory = settings.memory.clone();
        let replaced = inner.settings.replace(settings.clone());
        drop(replaced);
        inner.partials.bound(&settings);
        let [cache, outbox] = stores;
        inner.cache.apply(cache);
        inner.outbox.apply(outbox);
        inner.memory.apply(&memory);
        inner.facts.bound(&settings);
    }
}
