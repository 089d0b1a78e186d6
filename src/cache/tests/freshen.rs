//! Copies under names that may change, when they are old.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fake::Weather;
use super::*;
use crate::cache::clock::now_moment;
use crate::entry::Tier;
use crate::key::{Layout, Naming};

/// Every copy is old at once.
const NOW: Space = Space::new("now", Naming::Mutable { max_age: Duration::ZERO }, Layout::Namespaced);
/// The same, compared before it is answered.
const FIRST: Space = NOW.asking_first();

/// Copies are as old as both clocks' milliseconds say, whose ticks don't fall together.
async fn a_millisecond() {
    let begun = (now_ms(), now_moment());
    while now_ms() <= begun.0 || now_moment() <= begun.1 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_a_mutable_name_is_revalidated_behind() {
    let bench = Bench::new(|_| {});
    bench.fake.set("now/x", "old");
    assert_eq!(bench.get(&named(NOW, "x")).await, Some(Bytes::from_static(b"old")));
    bench.fake.set("now/x", "new");
    let mut tries = 0;
    while bench.get(&named(NOW, "x")).await != Some(Bytes::from_static(b"new")) {
        tries += 1;
        assert!(tries < 100_000, "it is never seen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_upstream_is_asked_first_its_news_are_answered() {
    let bench = Bench::new(|_| {});
    let key = named(FIRST, "x");
    bench.fake.set("now/x", "old");
    assert_eq!(bench.get(&key).await, Some(Bytes::from_static(b"old")));
    a_millisecond().await;
    bench.fake.set("now/x", "new");
    assert_eq!(bench.get(&key).await, Some(Bytes::from_static(b"new")));
    a_millisecond().await;
    let asked = bench.fake.gets.load(Ordering::Relaxed);
    let same = bench.hit(&key).await.expect("a hit");
    assert!(matches!(same.from, Tier::Memory | Tier::Disk), "not modified, but from {:?}", same.from);
    assert!(bench.fake.gets.load(Ordering::Relaxed) > asked);
    a_millisecond().await;
    let large = noise(3 << 20);
    bench.fake.set("now/x", large.clone());
    let (meta, _) = bench.cache.head(bench.scope(), &key).await.expect("no error").expect("there");
    assert_eq!(meta.len, 3 << 20, "a look is as good as a read");
    assert!(bench.get(&key).await == Some(large));
    bench.filled().await;
    a_millisecond().await;
    bench.fake.objects.lock().remove("now/x");
    assert!(bench.hit(&key).await.is_none(), "deleted there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_silent_does_not_keep_what_is_here() {
    let bench = Bench::new(|settings| settings.first_byte = Duration::from_millis(50));
    let key = named(FIRST, "x");
    bench.fake.set("now/x", "old");
    assert_eq!(bench.get(&key).await, Some(Bytes::from_static(b"old")));
    a_millisecond().await;
    bench.fake.set("now/x", "new");
    bench.fake.hold_answers();
    assert_eq!(bench.get(&key).await, Some(Bytes::from_static(b"old")), "it takes too long");
    bench.fake.answers.add_permits(100);
    let mut tries = 0;
    while bench.get(&key).await != Some(Bytes::from_static(b"new")) {
        tries += 1;
        assert!(tries < 100_000, "it is never seen");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_here_and_waits_is_not_compared() {
    let bench = Bench::new(|_| {});
    let key = named(FIRST, "x");
    *bench.fake.weather.lock() = Weather::Denies;
    bench.put(&key, b"ours").await;
    bench.fake.hold_answers();
    a_millisecond().await;
    let hit = bench.hit(&key).await.expect("a hit");
    assert!(matches!(hit.from, Tier::Outbox | Tier::Memory), "{:?}", hit.from);
}
