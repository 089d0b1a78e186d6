//! What is used, and so goes last.

use super::{Store, record};
use crate::key::EntryId;

impl Store {
    /// Marks entries as just used. Blocks while replay runs.
    pub fn touch(&self, ids: &[EntryId]) {
        self.0.replayed.wait();
        let mut index = self.0.index.lock();
        for id in ids {
            index.touch(*id);
        }
    }

    /// Which of these are here and no queued deletes; those count as used, in this order. No I/O; blocks while replay
    /// runs.
    pub fn used(&self, ids: &[EntryId]) -> Vec<bool> {
        self.0.replayed.wait();
        let mut index = self.0.index.lock();
        let mut is_here = |id: &EntryId| {
            let is_here = index.peek(*id).is_some_and(|slot| !slot.is(record::DELETED));
            if is_here {
                index.touch(*id);
            }
            is_here
        };
        ids.iter().map(&mut is_here).collect()
    }

    /// Entries that go last for the time that [`super::Settings::protect`] says; at most half of `disk`. Blocks while replay
    /// runs.
    pub fn protect(&self, ids: &[EntryId]) {
        self.0.replayed.wait();
        let now = self.0.now();
        let until = now.saturating_add(self.0.settings.protect.as_secs() as u32);
        self.0.index.lock().protect(ids, now, until);
    }
}
