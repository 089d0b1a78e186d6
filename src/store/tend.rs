//! The store's own thread: replay, then whatever keeps the store in shape, at its own pace.
//!
//! It is woken by the [`Bell`] or comes by once a second, and ends with the last handle of the store.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::inner::Inner;
use crate::error::{Error, Result};

/// How often it comes by when nobody rings.
const ROUND: Duration = Duration::from_secs(1);
/// How often recency is written: what a kill makes forget.
const TOUCHES: Duration = Duration::from_secs(10);
/// How often old quarantine is looked for, unless it gets old sooner.
const QUARANTINE: Duration = Duration::from_secs(3600);

/// Wakes the thread.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

// === impl Bell ===

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock() = true;
        self.wake.notify_one();
    }

    fn wait(&self, at_most: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.wake.wait_for(&mut rung, at_most);
        }
        *rung = false;
    }
}

/// Starts the thread.
pub(super) fn start(inner: &Arc<Inner>) -> Result<()> {
    let (bell, replaying) = (Arc::clone(&inner.bell), Arc::clone(inner));
    let thread = move || {
        let background = replaying.settings.background;
        let weak = Arc::downgrade(&replaying);
        replaying.replay();
        drop(replaying);
        if background {
            run(&weak, &bell);
        }
    };
    let spawned = std::thread::Builder::new().name("larder-store".into()).spawn(thread);
    spawned.map(drop).map_err(|error| Error::io("start a thread for", inner.folders.root(), error))
}

fn run(store: &Weak<Inner>, bell: &Bell) {
    let now = Instant::now();
    let (mut touches, mut quarantine, mut compact) = (now, now, now);
    let mut swept = false;
    loop {
        {
            let Some(inner) = store.upgrade().filter(|inner| !inner.tail.lock().is_closed()) else { return };
            if !swept {
                swept = true;
                inner.sweep();
                inner.trim_quarantine();
            }
            inner.graves.fill();
            inner.look();
            let arrived = inner.approach();
            inner.evict();
            if !arrived {
                bell.ring();
            }
            let now = Instant::now();
            if now.duration_since(touches) >= TOUCHES {
                touches = now;
                inner.flush_touches();
            }
            let pressed = inner.is_pressed();
            if (now >= compact || pressed)
                && let Some(copied) = inner.compact(pressed)
            {
                let rate = inner.settings.compact_bytes_per_s.max(1);
                compact = now + Duration::from_secs_f64(copied as f64 / rate as f64);
                if copied == 0 || pressed {
                    bell.ring();
                }
            }
            if now.duration_since(quarantine) >= QUARANTINE.min(inner.keep.lock().quarantine.age) {
                quarantine = now;
                inner.trim_quarantine();
            }
        }
        bell.wait(ROUND);
    }
}
