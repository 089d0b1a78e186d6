//! Names whose bytes may change: how old a copy may be, and what is done about an older one.
//!
//! A copy that is younger than its `max_age` is answered. An older one is answered too, and compared with the
//! upstream's behind, so that the next one who asks has the news; in spaces that ask first (S3, Azure: their clients
//! expect to read what was written last) it is compared before, as far as the request's deadline leaves time. While
//! the upstream is in trouble, what is here is answered as it is.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::clock::now_moment;
use super::fill::Phase;
use super::get::Local;
use super::{Asked, Cache};
use crate::entry::{ByteRange, Tier};
use crate::error::Result;
use crate::key::{Key, Naming, Scope};
use crate::store::Stored;

impl Cache {
    /// Compares an old copy with the upstream's. What is to be answered instead of it; `None`: it is.
    ///
    /// # Errors
    /// `Invalid` when no byte of the newer one is in `range`.
    pub(super) async fn freshen(
        &self,
        asked: &Asked,
        stored: &Stored,
        from: Tier,
        range: ByteRange,
        deadline: Instant,
    ) -> Result<Option<Local>> {
        let checked = self.inner.facts.checked(asked, stored.record.meta.stored_ms);
        if from == Tier::Outbox || is_fresh(&asked.scope, &asked.key, checked) {
            return Ok(None);
        }
        if !asked.space().is_some_and(|space| space.asks_first) {
            self.revalidate(asked, stored);
            return Ok(None);
        }
        // Boxed, so that hits are not answered from a future with room for a fill.
        Box::pin(self.ask_first(asked, stored, range, deadline)).await
    }

    async fn ask_first(
        &self,
        asked: &Asked,
        stored: &Stored,
        range: ByteRange,
        deadline: Instant,
    ) -> Result<Option<Local>> {
        let Some((remote, name)) = self.readable(asked) else { return Ok(None) };
        let reader = self.join(asked, remote.id(), Some(stored));
        // Who only wants to know whether it is current, or hangs up, doesn't end what others will want.
        reader.fill.keep.store(true, Ordering::Release);
        match reader.first_word(deadline).await {
            // Not in time, no answer, or not modified.
            None | Some(Phase::Asking | Phase::Failed) => Ok(None),
            // Deleted there; unless it never came from there, and is kept.
            Some(Phase::Absent) => {
                let kept = self.current(asked.id) == Some(stored.generation);
                Ok((!kept).then_some(Local::Gone))
            }
            Some(phase) => {
                let hit = self.answered(asked, (&remote, name), reader, phase, range, deadline).await?;
                Ok(hit.map(Local::Hit))
            }
        }
    }

    /// Asks the upstream whether an old copy is still current, and replaces it if not. Behind.
    fn revalidate(&self, asked: &Asked, stored: &Stored) {
        if let Some((remote, _)) = self.readable(asked) {
            self.join(asked, remote.id(), Some(stored)).fill.keep.store(true, Ordering::Release);
        }
    }
}

/// Whether a copy that was current at the moment `checked` (milliseconds since boot) may be answered without a thought.
pub(super) fn is_fresh(scope: &Scope, key: &Key, checked: i64) -> bool {
    match key.naming() {
        Naming::Immutable => true,
        Naming::Mutable { max_age } => {
            let max_age = scope.policy.max_age.unwrap_or(max_age);
            scope.upstream.is_none() || is_younger(now_moment(), checked, max_age)
        }
    }
}

fn is_younger(now: i64, checked: i64, max_age: Duration) -> bool {
    u128::try_from(now.saturating_sub(checked)).unwrap_or(0) <= max_age.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_unknown_age_is_never_young() {
        let max_age = Duration::from_secs(5);
        assert!(is_younger(60_000, 55_000, max_age));
        assert!(!is_younger(60_000, 54_999, max_age));
        assert!(!is_younger(60_000, i64::MIN, max_age));
        assert!(!is_younger(1_000, -4_001, max_age), "written before boot");
    }
}
