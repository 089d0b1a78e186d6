//! How long keys live by clocks that are set, and that stand still in a night of sleep.

use std::time::Duration;

use futures_util::FutureExt as _;

use super::script::{DAY, HOUR, Kept, denied, document, good};

#[tokio::test(start_paused = true)]
async fn a_life_that_is_longer_than_time_is_one() {
    let kept = Kept::new(Ok(document("a")), Some(Duration::from_secs(9_000_000_000_000_000_000)));
    assert_eq!(kept.token().await, good("a-1"));
    kept.pass(DAY).await;
    assert_eq!(kept.token().await, good("a-1"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_by_a_day_ends_nothing() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    assert_eq!(kept.token().await, good("a-1"));
    kept.gives(Err("the clock is wrong"));
    kept.script.told.lock().set = DAY;
    kept.surroundings.send_modify(|count| *count += 1);
    kept.pass(Duration::from_secs(1)).await;
    assert_eq!(kept.token().await, good("a-1"), "it lives by the time since boot");
    kept.gives(Ok(Some(HOUR)));
    kept.pass(Duration::from_secs(65)).await;
    assert_eq!(kept.token().await, good("a-2"), "and is renewed, as it may be the clock that is right");
    kept.script.told.lock().set = Duration::ZERO;
    kept.surroundings.send_modify(|count| *count += 1);
    kept.pass(HOUR * 82 / 100).await;
    assert_eq!(kept.token().await, good("a-3"), "not a day late");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ahead_asks_once_and_one_that_stays_wrong_asks_no_storm() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    assert_eq!(kept.token().await, good("a-1"));
    kept.set(DAY);
    kept.pass(Duration::from_secs(1)).await;
    assert_eq!(kept.token().now_or_never(), Some(good("a-2")), "at once");
    kept.pass(HOUR / 2).await;
    assert_eq!(kept.script.told.lock().asked, 2, "and not again");
    // It is this clock that is wrong: what is given is over by it, and so refused.
    kept.gives(Err("what was given expired: see to this machine's clock"));
    kept.set(3 * DAY);
    let before = kept.script.told.lock().asked;
    for _ in 0..600 {
        kept.pass(Duration::from_secs(1)).await;
        assert!(kept.token().await.is_ok_and(|token| token == "a-2"), "it lives by the time since boot");
    }
    let asked = kept.script.told.lock().asked - before;
    assert!(
        (8..=20).contains(&asked),
        "after 1 s, doubling to 60 s, though requests come: {asked} in 10 min"
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_by_a_day_lengthens_no_life() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    kept.set(2 * DAY);
    assert_eq!(kept.token().await, good("a-1"));
    kept.set(DAY);
    kept.pass(HOUR * 82 / 100).await;
    assert_eq!(kept.token().now_or_never(), Some(good("a-2")), "renewed when it would have been");
    kept.gives(Err("the issuer is away"));
    kept.set(Duration::ZERO);
    // It was given after 0.70 h to 0.80 h.
    kept.pass(HOUR * 87 / 100).await;
    assert_eq!(kept.token().now_or_never(), Some(good("a-2")), "it lives");
    kept.pass(HOUR * 12 / 100).await;
    assert_eq!(kept.token().now_or_never(), Some(denied("the issuer is away")), "an hour, not a day and one");
}

#[tokio::test(start_paused = true)]
async fn an_end_in_billions_of_years_is_one() {
    let kept = Kept::new(Ok(document("a")), Some(Duration::from_secs(1 << 62)));
    assert_eq!(kept.token().await, good("a-1"));
    kept.store(Ok(document("b")));
    assert_eq!(kept.settled().await, good("b-2"), "and others are taken after it");
}

#[tokio::test(start_paused = true)]
async fn a_night_of_sleep_counts() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    assert_eq!(kept.token().await, good("a-1"));
    // The clock of timers stood still.
    kept.script.told.lock().slept = 8 * HOUR;
    assert!(kept.token().now_or_never().is_none(), "over: it is waited for the next");
    kept.surroundings.send_modify(|count| *count += 1);
    assert_eq!(kept.token().await, good("a-2"));
}
