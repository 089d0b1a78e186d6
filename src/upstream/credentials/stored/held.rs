//! A value that was given, and when it is to be renewed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::provide::{Issued, Material};

/// What renews without saying when it ends is renewed after this.
const RENEW: Duration = Duration::from_secs(30 * 60);

/// Nothing is renewed sooner than this after it was given.
pub(super) const RENEW_SOONEST: Duration = Duration::from_secs(1);

/// Whatever is said of its end, it is looked at again after this; an issuer may say any number.
const RENEW_LATEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A value that is this old, and that a store denies, is asked for again.
const SUSPECT: Duration = Duration::from_secs(5 * 60);

/// A value.
pub(super) struct Held {
    pub(super) material: Arc<Material>,
    /// Since boot.
    given: Duration,
    /// The end of its life, since boot.
    ends: Option<Duration>,
    /// When it is to be renewed, by either clock.
    due: Option<(SystemTime, Duration)>,
    /// The end of its life as it was said.
    until: Option<SystemTime>,
    renews: bool,
}

/// What is known of the time that keys have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outlook {
    /// When they end, where whoever gave them said so.
    pub ends: Option<SystemTime>,
    /// When others are asked for at the latest, if anybody can be asked.
    pub renews: Option<SystemTime>,
}

// === impl Held ===

impl Held {
    /// Of what was given just now.
    pub(super) fn new(issued: Issued, wall: SystemTime, boot: Duration) -> Self {
        let life = issued.until.map(|until| until.duration_since(wall).unwrap_or_default());
        let due = match (life, issued.renews) {
            (Some(life), true) => Some(jittered(life.min(RENEW_LATEST) * 3 / 4)),
            // Then it is said that it is over.
            (Some(life), false) => Some(life.min(RENEW_LATEST)),
            (None, true) => Some(jittered(RENEW)),
            (None, false) => None,
        };
        let due = due.map(|due| due.max(RENEW_SOONEST));
        Self {
            material: Arc::new(issued.material),
            given: boot,
            ends: life.map(|life| boot.saturating_add(life)),
            due: due.and_then(|due| Some((wall.checked_add(due)?, boot.saturating_add(due)))),
            until: issued.until,
            renews: issued.renews,
        }
    }

    /// Whether its life is not over.
    pub(super) fn lives(&self, boot: Duration) -> bool {
        self.ends.is_none_or(|ends| boot < ends)
    }

    /// Whether it is to be renewed.
    pub(super) fn is_due(&self, wall: SystemTime, boot: Duration) -> bool {
        self.left(wall, boot).is_some_and(|left| left.is_zero()) || !self.lives(boot)
    }

    /// How long until then. `None`: nothing renews it.
    pub(super) fn left(&self, wall: SystemTime, boot: Duration) -> Option<Duration> {
        let (by_wall, by_boot) = self.due?;
        let wall = by_wall.duration_since(wall).unwrap_or_default();
        Some(wall.min(by_boot.saturating_sub(boot)))
    }

    /// What is known of the time that it has left.
    pub(super) fn outlook(&self) -> Outlook {
        let renews = self.due.map(|(by_wall, _)| by_wall).filter(|_| self.renews);
        Outlook { ends: self.until, renews }
    }

    /// A store denies it: if it is not young any more, it is due.
    pub(super) fn suspect(&mut self, boot: Duration) {
        if self.renews && boot.saturating_sub(self.given) >= SUSPECT {
            self.due = Some((SystemTime::UNIX_EPOCH, Duration::ZERO));
        }
    }
}

/// Up to a fifteenth more or less: who got keys together doesn't ask together.
pub(super) fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 133;
    // A wait that is longer than time is as good as that.
    (wait / 1000).saturating_mul(934 + random as u32)
}
