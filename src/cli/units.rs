//! Sizes, times and shares as people read them.

use std::time::Duration;

use chrono::{DateTime, Local};

/// `512 B`, `1.5 KiB`, `3.0 GiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `90 ms`, `61 s`, `5 min`, `3 h`, `2 d`.
pub(super) fn age(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        s @ 1..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s @ 7200..172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

/// `1 entry`, `2 entries`.
pub(super) fn entries(count: u64) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// A share in percent. What is not all is never shown as 100, what is not nothing never as 0.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match part.saturating_mul(100).checked_div(whole) {
        None => "-".to_owned(),
        Some(0) if part > 0 => "<1 %".to_owned(),
        Some(percent) => format!("{percent} %"),
    }
}

/// A moment on this machine's clock: of the last day its time, else its date, too.
pub(super) fn moment(ms: u64, now_ms: u64) -> String {
    const DAY_MS: u64 = 86_400_000;
    let Some(time) = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis) else {
        return format!("{ms} ms");
    };
    let format = if now_ms.abs_diff(ms) < DAY_MS { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    time.with_timezone(&Local).format(format).to_string()
}

/// The milliseconds of a duration.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_have_units() {
        assert_eq!(
            [0, 1023, 1024, 1536, 5 << 30].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]
        );
        let ages = [0, 999, 61_000, 120_000, 7_200_000, 172_800_000].map(age);
        assert_eq!(ages, ["0 ms", "999 ms", "61 s", "2 min", "2 h", "2 d"]);
        assert_eq!([0, 1, 2].map(entries), ["0 entries", "1 entry", "2 entries"]);
    }

    #[test]
    fn shares_are_exact_at_their_ends() {
        let shares =
            [(0, 0), (0, 9), (1, 1000), (999, 1000), (5, 5)].map(|(part, whole)| percent(part, whole));
        assert_eq!(shares, ["-", "0 %", "<1 %", "99 %", "100 %"]);
    }

    #[test]
    fn a_moment_long_ago_has_its_date() {
        let now = 1_767_225_600_000;
        assert_eq!(moment(now - 1000, now).len(), "14:02".len());
        assert_eq!(moment(now - 100_000_000, now).len(), "2026-01-01 14:02".len());
        assert_eq!(moment(u64::MAX, now), format!("{} ms", u64::MAX));
    }
}
