//! Fills: coalescing, deadlines, checking, resuming.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::fake::{AC, BLOB, Weather};
use super::*;
use crate::entry::Tier;
use crate::key::{Layout, Naming};

const LARGE: usize = 40 << 20;

/// The object's name of a content key on the fake.
fn object(bytes: &[u8]) -> String {
    let hex = Digest::of(Function::Sha256, bytes).hex();
    format!("cas/{}/{hex}", &hex[..2])
}

#[tokio::test(flavor = "multi_thread")]
async fn n_concurrent_misses_are_one_upstream_request() {
    let bench = Bench::new(|_| {});
    let body = noise(1 << 20);
    bench.fake.set(&object(&body), body.clone());
    bench.fake.hold_answers();
    let key = content(&body);
    let gets = (0..50).map(|_| bench.get(&key));
    let answered = futures_util::future::join_all(gets);
    let released = async {
        while bench.fake.gets.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        bench.fake.answers.add_permits(100);
    };
    let (bodies, ()) = tokio::join!(answered, released);
    assert!(bodies.iter().all(|got| got.as_ref() == Some(&body)));
    assert_eq!(bench.fake.gets.load(Ordering::Relaxed), 1);
    assert_eq!(bench.hit(&key).await.map(|hit| hit.from), Some(Tier::Disk));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_does_not_wait_for_the_last() {
    let bench = Bench::new(|_| {});
    let body = noise(LARGE);
    bench.fake.set(&object(&body), body.clone());
    bench.fake.hold_pieces();
    bench.fake.pieces.add_permits(8);
    let mut hit = bench.hit(&content(&body)).await.expect("a hit");
    let first = hit.body.next().await.expect("bytes").expect("no error");
    assert_eq!(first, body.slice(..first.len()));
    bench.fake.pieces.add_permits(1 << 20);
    let mut whole = first.to_vec();
    while let Some(piece) = hit.body.next().await {
        whole.extend_from_slice(&piece.expect("no error"));
    }
    assert!(whole == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_does_not_cancel_what_is_nearly_done() {
    let bench = Bench::new(|_| {});
    let body = noise(10 << 20);
    bench.fake.set(&object(&body), body.clone());
    bench.fake.hold_pieces();
    bench.fake.pieces.add_permits(8);
    let hit = bench.hit(&content(&body)).await.expect("a hit");
    drop(hit);
    bench.fake.pieces.add_permits(1 << 20);
    while bench.cache.stats().fills.read() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.get(&content(&body)).await, Some(body));
    assert_eq!(bench.fake.gets.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn past_the_deadline_it_is_a_miss_and_the_fill_goes_on() {
    let bench = Bench::new(|settings| settings.first_byte = Duration::from_millis(50));
    let body = noise(LARGE);
    bench.fake.set(&object(&body), body.clone());
    bench.fake.hold_answers();
    assert_eq!(bench.get(&content(&body)).await, None);
    assert_eq!(bench.cache.stats().deadline_misses.read(), 1);
    bench.fake.answers.add_permits(100);
    while bench.cache.stats().fills.read() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.hit(&content(&body)).await.map(|hit| hit.from), Some(Tier::Disk));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_from_upstream_are_never_shown_whole() {
    for len in [100, 1 << 20] {
        let bench = Bench::new(|_| {});
        let body = noise(len);
        bench.fake.set(&object(&body), body.clone());
        *bench.fake.weather.lock() = Weather::Lies;
        match bench.hit(&content(&body)).await {
            None => assert!(len <= 64 << 10),
            Some(mut hit) => {
                let mut shown = 0;
                let error = loop {
                    match hit.body.next().await {
                        Some(Ok(piece)) => shown += piece.len(),
                        Some(Err(error)) => break error,
                        None => panic!("a clean end"),
                    }
                };
                assert_eq!(error.kind(), Kind::Corrupt);
                assert!(shown <= len - (64 << 10), "{shown} of {len} shown");
            }
        }
        assert_eq!(bench.cache.stats().corrupt.read(), 1);
        *bench.fake.weather.lock() = Weather::Fine;
        assert_eq!(bench.get(&content(&body)).await, Some(body), "it heals");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_is_resumed_twice() {
    for (times, whole) in [(2, true), (3, false)] {
        let bench = Bench::new(|_| {});
        let body = noise(1 << 20);
        bench.fake.set(&object(&body), body.clone());
        *bench.fake.weather.lock() = Weather::Resets { after: 200_000, times };
        let hit = bench.hit(&content(&body)).await.expect("it begins");
        let got = hit.body.collect(u64::MAX).await;
        assert_eq!(got.ok(), whole.then_some(body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_wins_over_a_fill_that_began_before() {
    let bench = Bench::new(|_| {});
    bench.fake.set("blob/x", noise(300_000));
    bench.fake.hold_pieces();
    bench.fake.pieces.add_permits(4);
    let hit = bench.hit(&named(BLOB, "x")).await.expect("a hit");
    bench.put(&named(BLOB, "x"), b"ours").await;
    bench.fake.pieces.add_permits(1 << 20);
    assert!(hit.body.collect(u64::MAX).await.is_ok(), "whoever asked before has what was there before");
    assert_eq!(bench.get(&named(BLOB, "x")).await, Some(Bytes::from_static(b"ours")));
    bench.drained().await;
    assert_eq!(bench.get(&named(BLOB, "x")).await, Some(Bytes::from_static(b"ours")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_is_remembered_for_a_moment_and_forgotten_by_a_put() {
    let bench = Bench::new(|_| {});
    let body = noise(100);
    assert_eq!(bench.get(&content(&body)).await, None);
    assert_eq!(bench.get(&content(&body)).await, None);
    assert_eq!(bench.fake.gets.load(Ordering::Relaxed), 1);
    bench.put(&content(&body), &body).await;
    assert_eq!(bench.get(&content(&body)).await, Some(body));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_far_ahead_of_a_fill_is_a_request_of_its_own() {
    let bench = Bench::new(|_| {});
    let body = noise(LARGE);
    bench.fake.set(&object(&body), body.clone());
    bench.fake.hold_pieces();
    bench.fake.pieces.add_permits(4);
    let _first = bench.hit(&content(&body)).await.expect("a hit");
    let range = ByteRange::Last(1000);
    let far = bench.cache.get(bench.scope(), &content(&body), range).await.expect("fine").expect("a hit");
    // Before the pieces go on: where they have paused for long the fill itself asks again.
    assert_eq!(bench.fake.gets.load(Ordering::Relaxed), 2);
    bench.fake.pieces.add_permits(1 << 20);
    assert_eq!(far.body.collect(1000).await.ok(), Some(body.slice(LARGE - 1000..)));
}

/// Clients that can't go on after a body that breaks off.
const FRAGILE: Space =
    Space::new("fragile", Naming::Immutable, Layout::Namespaced).whole_up_to(LARGE as u64 - 1);

#[tokio::test(flavor = "multi_thread")]
async fn to_who_can_not_go_on_after_a_broken_body_it_is_a_miss() {
    let key = named(FRAGILE, "x");
    let resets = |times| Weather::Resets { after: 200_000, times };
    for (weather, is_hit) in [(Weather::Fine, true), (resets(2), true), (resets(3), false)] {
        let bench = Bench::new(|_| {});
        let body = noise(1 << 20);
        bench.fake.set("fragile/x", body.clone());
        *bench.fake.weather.lock() = weather.clone();
        assert_eq!(bench.get(&key).await, is_hit.then_some(body), "{weather:?}");
    }
}

/// Else a full disk and a slow line together would make it a miss for ever, and memory would have to hold it.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_kept_here_is_read_along_by_everybody() {
    let bench = Bench::new(|settings| settings.entry_max = 1000);
    let body = noise(1 << 20);
    bench.fake.set("fragile/x", body.clone());
    bench.fake.hold_pieces();
    bench.fake.pieces.add_permits(8);
    let hit = bench.hit(&named(FRAGILE, "x")).await.expect("a hit before its end is here");
    bench.fake.pieces.add_permits(1 << 20);
    assert_eq!(hit.body.collect(u64::MAX).await.ok(), Some(body));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_or_too_late_to_be_whole_first_is_read_along() {
    for (len, first_byte) in [(LARGE, Duration::from_secs(60)), (1 << 20, Duration::from_millis(50))] {
        let bench = Bench::new(|settings| settings.first_byte = first_byte);
        let body = noise(len);
        bench.fake.set("fragile/x", body.clone());
        bench.fake.hold_pieces();
        bench.fake.pieces.add_permits(8);
        let hit = loop {
            // A machine that is busy may be too late for the first word.
            if let Some(hit) = bench.hit(&named(FRAGILE, "x")).await {
                break hit;
            }
        };
        bench.fake.pieces.add_permits(1 << 20);
        assert_eq!(hit.body.collect(u64::MAX).await.ok(), Some(body), "{len}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_outside_the_body_is_the_callers_error() {
    let bench = Bench::new(|_| {});
    bench.put(&named(BLOB, "x"), b"four").await;
    let get = bench.cache.get(bench.scope(), &named(BLOB, "x"), ByteRange::From(4)).await;
    assert_eq!(get.expect_err("416").kind(), Kind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_over_entry_max_streams_through() {
    let bench = Bench::new(|settings| settings.entry_max = 1000);
    let body = noise(100_000);
    bench.fake.set(&object(&body), body.clone());
    assert_eq!(bench.get(&content(&body)).await, Some(body.clone()));
    assert_eq!(bench.cache.stats().fills.read(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answered_action_result_names_comes_behind() {
    let bench = Bench::new(|_| {});
    let blob = noise(5000);
    bench.put(&content(&blob), &blob).await;
    bench.put(&named(AC, "aa"), &super::puts::action(&[&blob])).await;
    bench.drained().await;
    let other = bench.beside();
    assert!(other.hit(&named(AC, "aa")).await.is_some());
    while other.cache.stats().fills.read() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(other.hit(&content(&blob)).await.map(|hit| hit.from), Some(Tier::Memory));
}

/// What an entry names is on its way while it is still asked whether it is there: not one round trip later.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_entry_names_comes_while_it_is_looked_for() {
    let bench = Bench::new(|_| {});
    let blob = noise(1000);
    bench.fake.set(&object(&blob), blob.clone());
    bench.fake.set("ac/aa/aa", super::puts::action(&[&blob]));
    bench.fake.hold_answers();
    let (cache, scope) = (bench.cache.clone(), bench.scope().clone());
    let asking = tokio::spawn(async move { cache.get(&scope, &named(AC, "aa"), ByteRange::Full).await });
    // The entry's own answer, and none yet to what it leads to.
    bench.fake.answers.add_permits(1);
    while bench.fake.gets.load(Ordering::Relaxed) < 2 || bench.fake.heads.load(Ordering::Relaxed) < 1 {
        tokio::task::yield_now().await;
    }
    assert!(!asking.is_finished(), "it is not known to be there");
    bench.fake.answers.add_permits(100);
    assert!(asking.await.expect("no panic").expect("no range").is_some());
    assert_eq!(bench.get(&content(&blob)).await, Some(blob));
    assert_eq!(bench.fake.gets.load(Ordering::Relaxed), 2, "nothing is read twice");
}
