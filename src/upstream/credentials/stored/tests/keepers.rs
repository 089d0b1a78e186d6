//! A keeper renews before the end, goes on with what it has, and says what helps.

use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::super::super::Watched as _;
use super::super::keeper::Source as _;
use super::super::place::Missing;
use super::script::{DAY, HOUR, Kept, denied, document, good};

#[tokio::test(start_paused = true)]
async fn it_is_renewed_before_its_end_and_no_request_waits() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    assert_eq!(kept.token().await, good("a-1"));
    kept.pass(HOUR * 69 / 100).await;
    assert_eq!(kept.token().await, good("a-1"));
    kept.pass(HOUR * 12 / 100).await;
    assert_eq!(kept.token().now_or_never(), Some(good("a-2")), "after four fifths");
    // Nobody asks for days: it is renewed all the same.
    kept.pass(DAY).await;
    assert!(kept.script.told.lock().given > 24);
    assert!(kept.token().now_or_never().is_some_and(|token| token.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn the_first_requests_wait_a_moment_and_then_say_so() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    kept.script.answers.forget_permits(1000);
    let begun = Instant::now();
    assert_eq!(kept.token().await, denied("its keys are being asked for, and have not come yet"));
    assert_eq!(begun.elapsed(), Duration::from_secs(1));
    let late = denied("its keys are being asked for, and have not come yet");
    assert_eq!(kept.token().now_or_never(), Some(late), "none waits a second time");
    kept.script.answers.add_permits(10);
    kept.pass(Duration::from_millis(1)).await;
    assert_eq!(kept.token().now_or_never(), Some(good("a-1")));
    assert!(kept.keeper.has_changed(), "who was refused hears of it");
    kept.pass(Duration::from_secs(7)).await;
    assert!(!kept.keeper.has_changed());
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_ends_nothing_until_the_end_and_then_says_what_helps() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    assert_eq!(kept.token().await, good("a-1"));
    kept.gives(Err("run `aws sso login`"));
    kept.pass(HOUR * 99 / 100).await;
    assert_eq!(kept.token().await, good("a-1"), "it lives");
    kept.pass(HOUR / 100 + Duration::from_secs(1)).await;
    assert_eq!(kept.token().now_or_never(), Some(denied("run `aws sso login`")));
    kept.pass(HOUR).await;
    assert!(!kept.keeper.has_changed());
    kept.gives(Ok(Some(HOUR)));
    // It is tried again at least once a minute.
    kept.pass(Duration::from_secs(65)).await;
    assert_eq!(kept.token().now_or_never(), Some(good("a-2")));
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_and_removed_is_seen_by_the_next_requests() {
    let kept = Kept::new(Err(Missing::Nowhere), Some(HOUR));
    let not_stored = denied("is not stored: run `larder login work`");
    assert_eq!(kept.token().await, not_stored);
    kept.store(Ok(document("a")));
    assert_eq!(kept.settled().await, good("a-1"));
    assert!(kept.keeper.has_changed());
    kept.store(Ok(document("b")));
    assert_eq!(kept.settled().await, good("b-2"));
    kept.store(Err(Missing::Nowhere));
    assert_eq!(kept.settled().await, not_stored);
    kept.store(Err(Missing::Refused("chmod 600 it".into())));
    assert_eq!(kept.settled().await, denied("chmod 600 it"));
    kept.store(Ok(document("c")));
    assert_eq!(kept.settled().await, good("c-3"));
    // Others that don't work take the place of those that did.
    kept.gives(Err("no such profile"));
    kept.store(Ok(document("d")));
    assert_eq!(kept.settled().await, denied("no such profile"));
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_while_nobody_asks_is_there_for_the_first_who_does() {
    let kept = Kept::new(Err(Missing::Nowhere), Some(HOUR));
    assert!(kept.token().await.is_err());
    kept.pass(HOUR).await;
    kept.store(Ok(document("a")));
    kept.pass(Duration::from_secs(3)).await;
    assert_eq!(kept.token().now_or_never(), Some(good("a-1")));
    // The same where what was stored gives no keys any more.
    kept.gives(Err("run `aws sso login`"));
    kept.pass(2 * HOUR).await;
    assert_eq!(kept.token().now_or_never(), Some(denied("run `aws sso login`")));
    // Right after a try: the next one by itself is most of a minute away.
    let asked = || kept.script.told.lock().asked;
    let before = asked();
    while asked() == before {
        kept.pass(Duration::from_secs(1)).await;
    }
    kept.gives(Ok(Some(HOUR)));
    kept.store(Ok(document("b")));
    kept.pass(Duration::from_secs(3)).await;
    assert_eq!(kept.token().now_or_never(), Some(good("b-2")));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_stored_while_another_hangs_is_not_waited_for() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    kept.script.answers.forget_permits(1000);
    assert!(kept.token().await.is_err());
    kept.store(Ok(document("b")));
    kept.pass(Duration::from_secs(2)).await;
    kept.script.answers.add_permits(1);
    kept.script.told.lock().given = 7;
    let token = kept.settled().await;
    assert!(token == good("a-8") || token == good("b-8"), "{token:?}");
    kept.script.answers.add_permits(10);
    assert!(kept.settled().await.is_ok_and(|token| token.starts_with("b-")));
}

#[tokio::test(start_paused = true)]
async fn a_keychain_that_gives_nothing_takes_nothing_away() {
    let withheld = || Err(Missing::Withheld("the keychain is locked".into()));
    let kept = Kept::new(withheld(), Some(HOUR));
    assert_eq!(kept.token().await, denied("the keychain is locked"));
    kept.script.told.lock().stored = Ok(document("a"));
    kept.pass(Duration::from_secs(65)).await;
    assert_eq!(kept.token().await, good("a-1"), "it was unlocked, and nothing stored");
    kept.store(withheld());
    assert_eq!(kept.settled().await, good("a-1"));
    // The document that was read last goes on, for as long as it takes.
    kept.pass(3 * HOUR).await;
    assert!(kept.token().await.is_ok_and(|token| token.starts_with("a-") && token != "a-1"));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_half_written_takes_nothing_away_until_it_is_plain_that_it_is_broken() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    assert_eq!(kept.token().await, good("a-1"));
    kept.store(Err(Missing::Withheld("is not JSON".into())));
    assert_eq!(kept.settled().await, good("a-1"));
    // Nobody writes on: by itself, no other version being stored.
    kept.script.told.lock().stored = Err(Missing::Refused("is not JSON".into()));
    kept.pass(Duration::from_secs(10)).await;
    assert_eq!(kept.token().await, denied("is not JSON"));
    kept.store(Ok(document("b")));
    assert_eq!(kept.settled().await, good("b-2"));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_hangs_over_the_end_of_the_keys_is_waited_for_by_nobody() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    assert_eq!(kept.token().await, good("a-1"));
    kept.script.answers.forget_permits(1000);
    // Each of them is given up, and asked again.
    kept.pass(HOUR * 99 / 100).await;
    assert_eq!(kept.token().now_or_never(), Some(good("a-1")), "they live");
    kept.pass(HOUR / 100 + Duration::from_secs(1)).await;
    let words = kept.token().now_or_never().expect("nobody waits").expect_err("they are over");
    assert!(words.contains("gave no keys within 90 s"), "{words}");
    kept.script.answers.add_permits(10);
    kept.pass(Duration::from_secs(65)).await;
    assert!(kept.token().now_or_never().is_some_and(|token| token.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn who_shows_a_refusal_hears_of_one_in_other_words() {
    let kept = Kept::new(Ok(document("a")), None);
    kept.gives(Err("no"));
    assert_eq!(kept.token().await, denied("no"));
    kept.pass(HOUR).await;
    assert!(!kept.keeper.has_changed(), "it says the same");
    kept.gives(Err("not to you"));
    while kept.token().await == denied("no") {
        kept.pass(Duration::from_secs(1)).await;
    }
    assert_eq!(kept.token().await, denied("not to you"));
    assert!(kept.keeper.has_changed());
}

#[tokio::test(start_paused = true)]
async fn what_is_known_of_the_time_that_keys_have_left() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    assert_eq!(kept.keeper.outlook(), None);
    assert_eq!(kept.token().await, good("a-1"));
    let (now, _) = kept.script.clocks();
    let outlook = kept.keeper.outlook().expect("keys");
    let left = |time: Option<SystemTime>| time.and_then(|time| time.duration_since(now).ok());
    assert_eq!(left(outlook.ends), Some(HOUR));
    assert!(left(outlook.renews).is_some_and(|left| left > HOUR * 69 / 100 && left < HOUR * 81 / 100));
    kept.gives(Err("no"));
    kept.pass(HOUR).await;
    assert_eq!(kept.keeper.outlook(), None, "they are over");
}

#[tokio::test(start_paused = true)]
async fn one_that_a_store_denies_is_asked_for_again_but_not_at_once() {
    let kept = Kept::new(Ok(document("a")), Some(HOUR));
    assert_eq!(kept.token().await, good("a-1"));
    for _ in 0..20 {
        kept.pass(Duration::from_secs(5)).await;
        kept.keeper.has_changed();
    }
    assert_eq!(kept.token().await, good("a-1"), "100 s old");
    for _ in 0..42 {
        kept.pass(Duration::from_secs(5)).await;
        kept.keeper.has_changed();
    }
    assert_eq!(kept.token().await, good("a-2"), "310 s old");
}
