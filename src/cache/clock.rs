//! The two clocks of the policy.
//!
//! Ages are told by time since boot: a wall clock that is set forward or back by a day makes nothing old that isn't and
//! nothing young for a day. Only what was written down by an earlier process has no other time than the wall clock's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, by the wall clock: what is written down.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Time since boot, sleep included: what ages are told by. A laptop that slept for a night has old facts.
pub(super) fn since_boot() -> Duration {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = rustix::time::ClockId::Boottime;
    // Elsewhere this clock goes on during sleep.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = rustix::time::ClockId::Monotonic;
    let now = rustix::time::clock_gettime(clock);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Now, as [`moment_of`] has it.
pub(super) fn now_moment() -> i64 {
    i64::try_from(since_boot().as_millis()).unwrap_or(i64::MAX)
}

/// The moment, in milliseconds since boot, of what was written down at `stored_ms` by the wall clock: before boot it is
/// below 0. What is from the wall clock's future was written by another clock, so that it may be of any age.
pub(super) fn moment_of(stored_ms: u64) -> i64 {
    moment_at(stored_ms, now_ms(), now_moment())
}

fn moment_at(stored_ms: u64, now_ms: u64, now_moment: i64) -> i64 {
    match now_ms.checked_sub(stored_ms) {
        Some(age) => now_moment.saturating_sub_unsigned(age),
        None => i64::MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3600 * 1000;

    #[test]
    fn a_clock_that_jumps_makes_nothing_young_for_long() {
        let (stored, boot) = (20_000 * DAY_MS, 60_000);
        assert_eq!(moment_at(stored, stored + 5_000, boot), 55_000);
        assert_eq!(moment_at(stored, stored + DAY_MS, boot), 60_000 - DAY_MS as i64, "before boot");
        // Set back by a day: it is from the future, and so old rather than young until the day is over.
        assert_eq!(moment_at(stored, stored - DAY_MS, boot), i64::MIN);
        assert_eq!(boot.saturating_sub(i64::MIN), i64::MAX);
    }
}
