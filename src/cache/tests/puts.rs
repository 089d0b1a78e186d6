//! Puts, the queue, what names what.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::fake::{AC, BLOB, TURBO, Weather};
use super::*;
use crate::entry::Tier;
use crate::stats::Shed;

/// An ActionResult with these output files, in the wire format.
pub(super) fn action(outputs: &[&[u8]]) -> Vec<u8> {
    let mut action = Vec::new();
    for (number, output) in outputs.iter().enumerate() {
        let hex = Digest::of(Function::Sha256, output).hex();
        let mut digest = vec![0x0a, 64];
        digest.extend_from_slice(hex.as_bytes());
        digest.push(0x10);
        let mut size = output.len();
        while size >= 0x80 {
            digest.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        digest.push(size as u8);
        let path = format!("out/{number}");
        let mut file = vec![0x0a, path.len() as u8];
        file.extend_from_slice(path.as_bytes());
        file.extend_from_slice(&[0x12, digest.len() as u8]);
        file.extend_from_slice(&digest);
        action.extend_from_slice(&[0x12, file.len() as u8]);
        action.extend_from_slice(&file);
    }
    action
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_read_back_and_goes_upstream() {
    let bench = Bench::new(|_| {});
    for (key, len) in [(named(BLOB, "small"), 10), (named(BLOB, "large"), 300_000)] {
        let body = noise(len);
        assert_eq!(bench.put(&key, &body).await.outcome, Outcome::Queued);
        assert_eq!(bench.get(&key).await, Some(body.clone()));
        bench.drained().await;
        assert_eq!(bench.get(&key).await, Some(body));
    }
    assert_eq!(bench.fake.body("blob/large"), Some(noise(300_000)));
    let other = bench.beside();
    let hit = other.hit(&named(BLOB, "large")).await.expect("a remote hit");
    assert_eq!(hit.from, Tier::Upstream);
    assert_eq!(hit.meta.etag, bench.hit(&named(BLOB, "large")).await.expect("a hit").meta.etag);
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_and_siblings_survive_upstream() {
    let bench = Bench::new(|_| {});
    let attrs = Attrs::new([("artifacttag".into(), "sig".into()), ("artifactduration".into(), "7".into())]);
    bench.put_with(&named(TURBO, "team/0123"), b"body", attrs.expect("valid")).await;
    bench.drained().await;
    assert_eq!(bench.fake.body("team/0123.tag"), Some(Bytes::from_static(b"sig")));
    let hit = bench.beside().hit(&named(TURBO, "team/0123")).await.expect("a hit");
    assert_eq!(hit.meta.attrs.get("artifactduration"), Some("7"));
    assert_eq!(hit.meta.attrs.get("artifacttag"), Some("sig"));
    bench.fake.set("team/4567", "theirs");
    bench.fake.set("team/4567.tag", "their sig");
    let hit = bench.hit(&named(TURBO, "team/4567")).await.expect("a hit");
    assert_eq!(hit.meta.attrs.get("artifacttag"), Some("their sig"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_was_claimed_is_refused_and_nothing_is_left() {
    let bench = Bench::new(|_| {});
    for len in [10, 200_000] {
        let body = noise(len);
        let key = content(b"something else");
        let claim = Claim { len: Some(len as u64), digest: None };
        let put = bench.cache.put(bench.scope(), key.clone(), claim, Attrs::default(), Precondition::None);
        let mut put = put.await.expect("let in");
        put.write(body.clone()).await.expect("taken");
        assert_eq!(put.commit().await.expect_err("refused").kind(), Kind::Mismatch);
        assert_eq!(bench.get(&key).await, None);
        let put = bench.cache.put(bench.scope(), content(&body), claim, Attrs::default(), Precondition::None);
        let mut put = put.await.expect("let in");
        put.write(body.slice(1..)).await.expect("taken");
        assert_eq!(put.commit().await.expect_err("refused").kind(), Kind::Mismatch);
    }
    assert_eq!(bench.cache.queue_summary().await.entries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_result_is_a_hit_only_while_its_blobs_can_be_served() {
    let bench = Bench::new(|_| {});
    let (blob, entry) = (noise(100), action(&[&noise(100)]));
    assert_eq!(bench.put(&content(&blob), &blob).await.outcome, Outcome::Queued);
    assert_eq!(bench.put(&named(AC, "aa"), &entry).await.outcome, Outcome::Queued);
    bench.drained().await;
    let puts = bench.fake.puts.lock().clone();
    assert!(puts[0].starts_with("cas/") && puts[1].starts_with("ac/"), "{puts:?}");
    let other = bench.beside();
    assert!(other.hit(&named(AC, "aa")).await.is_some());
    bench.fake.objects.lock().retain(|name, _| !name.starts_with("cas/"));
    let third = bench.beside();
    assert!(third.hit(&named(AC, "aa")).await.is_none(), "its blob is nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_result_whose_blob_is_nowhere_is_kept_and_not_queued() {
    let bench = Bench::new(|_| {});
    let outcome = bench.put(&named(AC, "aa"), &action(&[b"never put"])).await.outcome;
    assert_eq!(outcome, Outcome::Shed(Shed::Incomplete));
    assert_eq!(bench.cache.stats().shed(Shed::Incomplete).read(), 1);
    assert_eq!(bench.cache.queue_summary().await.entries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_sheds_and_keeps_locally() {
    let bench = Bench::new(|settings| settings.queue_entries = 1);
    bench.fake.hold_answers();
    assert_eq!(bench.put(&named(BLOB, "one"), b"1").await.outcome, Outcome::Queued);
    assert_eq!(bench.put(&named(BLOB, "two"), b"2").await.outcome, Outcome::Shed(Shed::QueueEntries));
    assert_eq!(bench.get(&named(BLOB, "two")).await, Some(Bytes::from_static(b"2")));
    bench.fake.answers.add_permits(100);
    bench.drained().await;
    assert_eq!(bench.fake.body("blob/two"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_entry_max_is_too_large_announced_or_not() {
    let bench = Bench::new(|settings| settings.entry_max = 100);
    let claim = Claim { len: Some(101), digest: None };
    let put =
        bench.cache.put(bench.scope(), named(BLOB, "x"), claim, Attrs::default(), Precondition::None).await;
    assert_eq!(put.expect_err("refused").kind(), Kind::TooLarge);
    let put = bench.cache.put(
        bench.scope(),
        named(BLOB, "x"),
        Claim::default(),
        Attrs::default(),
        Precondition::None,
    );
    let mut put = put.await.expect("let in");
    assert_eq!(put.write(noise(101)).await.expect_err("refused").kind(), Kind::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_queued_survives_a_kill_and_drains() {
    let bench = Bench::new(|settings| settings.uploads = 0);
    for number in 0..20 {
        bench.put(&named(BLOB, &format!("n{number}")), &noise(number * 10_000)).await;
    }
    let bench = bench.killed(|_| {}).await;
    assert_eq!(bench.get(&named(BLOB, "n7")).await, Some(noise(70_000)));
    bench.cache.ready().await.expect("replayed");
    let mut changes = bench.cache.queue_changes();
    while bench.fake.puts.lock().len() < 20 {
        changes.changed().await.expect("the cache lives");
    }
    bench.drained().await;
    assert_eq!(bench.fake.body("blob/n19"), Some(noise(190_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_object_itself_can_be_refused_for_good() {
    let bench = Bench::new(|_| {});
    *bench.fake.weather.lock() = Weather::Refuses;
    bench.put(&named(BLOB, "refused"), b"x").await;
    bench.drained().await;
    assert_eq!(bench.cache.stats().uploads_ended.read(), 1);
    assert_eq!(bench.get(&named(BLOB, "refused")).await, Some(Bytes::from_static(b"x")), "kept here");
    *bench.fake.weather.lock() = Weather::Denies;
    bench.put(&named(BLOB, "denied"), b"y").await;
    *bench.fake.weather.lock() = Weather::Fine;
    bench.drained().await;
    assert_eq!(bench.fake.body("blob/denied"), Some(Bytes::from_static(b"y")));
}

/// What names it waits for it once, and ends with it: it doesn't send it again and again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_not_queued_again_by_what_names_it() {
    let bench = Bench::new(|_| {});
    let (blob, entry) = (noise(100), named(AC, "aa"));
    *bench.fake.weather.lock() = Weather::Refuses;
    bench.put(&content(&blob), &blob).await;
    bench.put(&entry, &action(&[&blob])).await;
    let drained = tokio::time::timeout(Duration::from_secs(60), bench.drained()).await;
    let ended = bench.cache.stats().uploads_ended.read();
    assert!(drained.is_ok(), "the queue goes round: {ended} uploads were given up");
    // The blob by its own put, perhaps by that of the entry, and the entry.
    assert!((2..=3).contains(&ended), "{ended} uploads were given up");
    assert_eq!(bench.get(&content(&blob)).await, Some(blob.clone()), "kept here");
    assert!(bench.get(&entry).await.is_some(), "kept here");
    // Who puts it once more tries once more.
    *bench.fake.weather.lock() = Weather::Fine;
    bench.put(&content(&blob), &blob).await;
    bench.put(&entry, &action(&[&blob])).await;
    bench.drained().await;
    assert_eq!(bench.cache.stats().uploads_ended.read(), ended);
    assert_eq!(bench.fake.puts.lock().len(), 2, "the blob and the entry are upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_of_two_puts_is_what_goes_upstream() {
    let bench = Bench::new(|_| {});
    bench.fake.hold_answers();
    for body in [b"one", b"two", b"new"] {
        bench.put(&named(BLOB, "x"), body).await;
    }
    assert_eq!(bench.get(&named(BLOB, "x")).await, Some(Bytes::from_static(b"new")));
    bench.fake.answers.add_permits(100);
    bench.drained().await;
    assert_eq!(bench.fake.body("blob/x"), Some(Bytes::from_static(b"new")));
    assert_eq!(bench.get(&named(BLOB, "x")).await, Some(Bytes::from_static(b"new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_is_seen_at_once_and_goes_upstream() {
    let bench = Bench::new(|_| {});
    bench.put(&named(BLOB, "x"), b"x").await;
    bench.drained().await;
    bench.fake.hold_answers();
    assert!(bench.cache.delete(bench.scope(), &named(BLOB, "x"), Precondition::None).await.expect("deleted"));
    assert_eq!(bench.get(&named(BLOB, "x")).await, None, "although the upstream still has it");
    bench.fake.answers.add_permits(100);
    bench.drained().await;
    assert_eq!(bench.fake.body("blob/x"), None);
    assert_eq!(bench.get(&named(BLOB, "x")).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_while_it_was_uploaded_does_not_come_back() {
    let bench = Bench::new(|_| {});
    for (before, body) in [Bytes::from_static(b"x"), noise(300_000)].iter().enumerate() {
        bench.fake.hold_answers();
        bench.put(&named(BLOB, "x"), body).await;
        while bench.fake.begun.load(Ordering::Relaxed) == before as u64 {
            tokio::task::yield_now().await;
        }
        assert!(
            bench.cache.delete(bench.scope(), &named(BLOB, "x"), Precondition::None).await.expect("deleted")
        );
        bench.fake.answers.add_permits(1 << 30);
        bench.drained().await;
        assert_eq!(bench.fake.body("blob/x"), None, "the delete goes after the upload");
        assert_eq!(bench.get(&named(BLOB, "x")).await, None);
        assert_eq!(bench.fake.puts.lock().pop().as_deref(), Some("blob/x"), "it was uploaded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_known_is_not_uploaded_again() {
    let bench = Bench::new(|_| {});
    let body = noise(1000);
    bench.put(&content(&body), &body).await;
    bench.drained().await;
    assert_eq!(bench.put(&content(&body), &body).await.outcome, Outcome::Known);
    bench.drained().await;
    assert_eq!(bench.fake.puts.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn preconditions_hold_against_what_is_upstream_too() {
    let bench = Bench::new(|_| {});
    bench.fake.set("blob/x", "theirs");
    let claim = Claim::default();
    let put =
        |condition| bench.cache.put(bench.scope(), named(BLOB, "x"), claim, Attrs::default(), condition);
    assert_eq!(put(Precondition::Absent).await.expect_err("it is there").kind(), Kind::Precondition);
    assert!(put(Precondition::Exists).await.is_ok());
    let wrong = Precondition::Matches(vec!["nope".into()]);
    assert_eq!(put(wrong).await.expect_err("another").kind(), Kind::Precondition);
}
