//! What wakes a reload: events of the filesystem, a signal, the end. And how long to wait until a file is settled.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventHandler, EventKind};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// A file is read this long after the last event: what is written in two steps is read once.
const SETTLE: Duration = Duration::from_millis(100);

/// But this long after the first at the latest: also who writes for longer, or never closes the file.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Rung by all who know of a change.
#[derive(Debug, Default)]
pub(super) struct Bell {
    /// Leaf mutexes.
    rung: Mutex<Rung>,
    /// The names whose events count: what else happens beside them is nobody's business here.
    names: Mutex<HashSet<PathBuf>>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    /// When the first and the last event was.
    touched: Option<(Instant, Instant)>,
    /// Somebody writes, and has not closed the file.
    writing: bool,
    asked: bool,
    ended: bool,
}

/// Why the bell's owner is awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// There were events, and none lately.
    Touched,
    /// Somebody wants the files to be read, whether they have changed or not.
    Asked,
    /// Nothing happened.
    Nothing,
    /// The daemon stops.
    End,
}

// === impl Bell ===

impl Bell {
    /// Waits for a call, `at_most` so long.
    pub(super) fn wait(&self, at_most: Duration) -> Call {
        let begun = Instant::now();
        let mut rung = self.rung.lock();
        loop {
            if rung.ended {
                return Call::End;
            }
            if std::mem::take(&mut rung.asked) {
                rung.touched = None;
                return Call::Asked;
            }
            let now = Instant::now();
            let (until, call) = match rung.touched {
                Some((first, last)) => {
                    let settled = last + if rung.writing { SETTLE_MAX } else { SETTLE };
                    (settled.min(first + SETTLE_MAX), Call::Touched)
                }
                None => (begun + at_most, Call::Nothing),
            };
            if now >= until {
                (rung.touched, rung.writing) = (None, false);
                return call;
            }
            self.wake.wait_until(&mut rung, until);
        }
    }

    pub(super) fn ask(&self) {
        self.rung.lock().asked = true;
        self.wake.notify_one();
    }

    pub(super) fn end(&self) {
        self.rung.lock().ended = true;
        self.wake.notify_one();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.rung.lock().ended
    }

    pub(super) fn set_names(&self, names: HashSet<PathBuf>) {
        *self.names.lock() = names;
    }

    fn touch(&self, writing: Option<bool>) {
        let now = Instant::now();
        {
            let mut rung = self.rung.lock();
            let first = rung.touched.map_or(now, |(first, _)| first);
            rung.touched = Some((first, now));
            rung.writing = writing.unwrap_or(rung.writing);
        }
        self.wake.notify_one();
    }

    fn concerns(&self, event: &Event) -> bool {
        let names = self.names.lock();
        event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(|path| names.contains(path))
    }
}

/// What the filesystem's watcher calls.
pub(super) struct Ear(pub(super) Arc<Bell>);

impl EventHandler for Ear {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        // Only there is told when a file is closed.
        const CLOSES: bool = cfg!(target_os = "linux");
        let event = match event {
            Ok(event) => event,
            // Something was missed.
            Err(_) => return self.0.touch(None),
        };
        let writing = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(false),
            // Reading is no change; we do it ourselves.
            EventKind::Access(_) => return,
            EventKind::Modify(ModifyKind::Data(_)) => Some(CLOSES),
            EventKind::Modify(ModifyKind::Name(_)) => Some(false),
            _ => None,
        };
        if self.0.concerns(&event) {
            self.0.touch(writing);
        }
    }
}
