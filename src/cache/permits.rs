//! A number of places that can be changed while they are taken.
//!
//! A semaphore forgets only what is free; what is taken is forgotten here as it comes back. Who waits for more than
//! there is now asks again, for less.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

/// Places, first come first served.
#[derive(Debug)]
pub(super) struct Permits {
    free: Semaphore,
    /// Told of every change of the number of places.
    max: watch::Sender<usize>,
    /// Places that are taken and too many: forgotten when they come back. A leaf mutex.
    owed: Mutex<usize>,
}

/// Places that are taken; dropped, they are free again.
#[derive(Debug)]
pub(super) struct Permit {
    of: Arc<Permits>,
    count: usize,
}

// === impl Permits ===

impl Permits {
    pub(super) fn new(max: usize) -> Arc<Self> {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self { free: Semaphore::new(max), max: watch::Sender::new(max), owed: Mutex::new(0) })
    }

    /// Takes `count` places, or all that there are if that is fewer.
    pub(super) async fn take(self: &Arc<Self>, count: usize) -> Permit {
        let mut max = self.max.subscribe();
        loop {
            let wanted = count.min(*max.borrow_and_update());
            tokio::select! {
                biased;
                taken = self.free.acquire_many(u32::try_from(wanted).unwrap_or(u32::MAX)) => {
                    taken.expect("it is never closed").forget();
                    return Permit { of: Arc::clone(self), count: wanted };
                }
                // The sender is ours.
                _ = max.changed() => self.settle(),
            }
        }
    }

    /// Changes the number of places.
    pub(super) fn resize(&self, max: usize) {
        let max = max.clamp(1, Semaphore::MAX_PERMITS);
        {
            let mut owed = self.owed.lock();
            let old = self.max.send_replace(max);
            if max >= old {
                let paid = (max - old).min(*owed);
                *owed -= paid;
                self.free.add_permits(max - old - paid);
            } else {
                *owed += old - max;
            }
        }
        self.settle();
    }

    /// Whether at least half of the places are taken.
    pub(super) fn is_busy(&self) -> bool {
        self.free.available_permits() <= *self.max.borrow() / 2
    }

    /// Forgets what is free and too much: what a waiter had gathered and gave up comes back as free.
    fn settle(&self) {
        let mut owed = self.owed.lock();
        *owed -= self.free.forget_permits(*owed);
    }
}

// === impl Permit ===

impl Drop for Permit {
    fn drop(&mut self) {
        let mut owed = self.of.owed.lock();
        let forgotten = self.count.min(*owed);
        *owed -= forgotten;
        self.of.free.add_permits(self.count - forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn takes_now(permits: &Arc<Permits>, count: usize) -> Option<Permit> {
        let taking = permits.take(count);
        tokio::select! {
            biased;
            taken = taking => Some(taken),
            () = tokio::task::yield_now() => None,
        }
    }

    #[tokio::test]
    async fn fewer_places_count_as_those_taken_come_back() {
        let permits = Permits::new(3);
        let mut taken = Vec::new();
        for _ in 0..3 {
            taken.push(takes_now(&permits, 1).await.expect("there is a place"));
        }
        permits.resize(1);
        taken.pop();
        taken.pop();
        assert!(takes_now(&permits, 1).await.is_none(), "one is there, and taken");
        taken.pop();
        let one = takes_now(&permits, 1).await.expect("the one");
        assert!(takes_now(&permits, 1).await.is_none());
        permits.resize(2);
        let two = takes_now(&permits, 1).await.expect("a second");
        drop((one, two));
        assert_eq!(permits.free.available_permits(), 2);
    }

    #[tokio::test]
    async fn growing_pays_what_was_owed_first() {
        let permits = Permits::new(4);
        let taken = takes_now(&permits, 4).await.expect("all");
        permits.resize(1);
        permits.resize(3);
        drop(taken);
        assert_eq!(permits.free.available_permits(), 3);
        assert!(!permits.is_busy());
    }

    #[tokio::test]
    async fn who_waits_for_more_than_there_is_now_has_all_of_it() {
        let permits = Permits::new(10);
        let taken = takes_now(&permits, 6).await.expect("six");
        let waiting = tokio::spawn({
            let permits = Arc::clone(&permits);
            async move { permits.take(10).await.count }
        });
        while permits.free.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        permits.resize(2);
        drop(taken);
        assert_eq!(waiting.await.ok(), Some(2));
        assert_eq!(permits.free.available_permits(), 2);
    }
}
