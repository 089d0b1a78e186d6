//! A keeper renews before the end, goes on with what it has, and says what helps.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::super::super::{Secret, Watched as _};
use super::super::document::Document;
use super::super::keeper::{Keeper, Source};
use super::super::place::{Missing, Stamp};
use super::super::provide::{Issued, Material};
use crate::error::Kind;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is stored, who gives keys, and both clocks, as a test has them.
struct Script {
    begun: Instant,
    told: Mutex<Told>,
    /// One for each question that may be answered.
    answers: Semaphore,
}

struct Told {
    version: u64,
    stored: Result<Document, Missing>,
    /// The life of what is given; or why nothing is.
    gives: Result<Option<Duration>, String>,
    given: u32,
    /// How often somebody was asked.
    asked: u32,
    /// How far the wall clock was set.
    set: Duration,
    slept: Duration,
}

/// A keeper and what it asks.
struct Kept {
    keeper: Arc<Keeper>,
    script: Arc<Script>,
    surroundings: watch::Sender<u64>,
}

fn document(token: &str) -> Document {
    Document::parse(&format!(r#"{{"kind":"token","token":"{token}"}}"#)).expect("a document")
}

impl Source for Script {
    fn stamp(&self) -> BoxFuture<'_, Stamp> {
        let version = self.told.lock().version;
        async move { [Some((version, 0, 0, 0, 0)), None, None] }.boxed()
    }

    fn read(&self) -> BoxFuture<'_, Result<Document, Missing>> {
        let stored = self.told.lock().stored.clone();
        async move { stored }.boxed()
    }

    fn provide<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<Issued, String>> {
        async move {
            self.answers.acquire().await.expect("never closed").forget();
            let (wall, _) = self.clocks();
            let mut told = self.told.lock();
            told.asked += 1;
            let life = told.gives.clone()?;
            told.given += 1;
            let token = Secret::new(format!("{}-{}", document.needed("token"), told.given));
            Ok(Issued {
                material: Material::Bearer(token),
                until: life.map(|life| wall + life),
                renews: true,
            })
        }
        .boxed()
    }

    fn clocks(&self) -> (SystemTime, Duration) {
        let told = self.told.lock();
        let since = self.begun.elapsed() + told.slept;
        (SystemTime::UNIX_EPOCH + 10 * DAY + since + told.set, DAY + since)
    }
}

impl Kept {
    fn new(stored: Result<Document, Missing>, life: Option<Duration>) -> Self {
        let told = Told {
            version: 1,
            stored,
            gives: Ok(life),
            given: 0,
            asked: 0,
            set: Duration::ZERO,
            slept: Duration::ZERO,
        };
        let script = Script { begun: Instant::now(), told: Mutex::new(told), answers: Semaphore::new(1000) };
        let script = Arc::new(script);
        let (surroundings, watched) = watch::channel(0);
        let spawn = |task: BoxFuture<'static, ()>| AbortOnDropHandle::new(tokio::spawn(task.map(Some)));
        let source: Arc<dyn Source> = script.clone();
        let keeper = Keeper::new("work", source, watched, spawn);
        Self { keeper, script, surroundings }
    }

    /// What is stored from now on.
    fn store(&self, stored: Result<Document, Missing>) {
        let mut told = self.script.told.lock();
        (told.stored, told.version) = (stored, told.version + 1);
    }

    fn gives(&self, gives: Result<Option<Duration>, &str>) {
        self.script.told.lock().gives = gives.map_err(str::to_owned);
    }

    /// Sets the wall clock, and has it noticed.
    fn set(&self, ahead: Duration) {
        self.script.told.lock().set = ahead;
        self.surroundings.send_modify(|count| *count += 1);
    }

    async fn token(&self) -> Result<String, String> {
        match self.keeper.now().await {
            Ok((material, _)) => match &*material {
                Material::Bearer(token) => Ok(token.expose().to_owned()),
                other => panic!("{other:?}"),
            },
            Err(error) => {
                assert_eq!(error.kind(), Kind::Denied);
                Err(error.message().to_owned())
            }
        }
    }

    /// Lets this much time pass, and all that is due in it happen.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep_until(Instant::now() + time).await;
    }

    /// What a request meets after another was stored.
    async fn settled(&self) -> Result<String, String> {
        // The first has it looked at, behind itself.
        self.pass(Duration::from_secs(2)).await;
        let _ = self.token().await;
        self.pass(Duration::from_millis(10)).await;
        self.token().await
    }
}

fn denied(words: &str) -> Result<String, String> {
    Err(format!("the credential `work`: {words}"))
}

fn good(token: &str) -> Result<String, String> {
    Ok(token.to_owned())
}

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
