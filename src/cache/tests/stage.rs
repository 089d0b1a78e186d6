//! Uploads in parts, and the bounds of all partial uploads.

use std::time::Duration;

use super::fake::{AC, BLOB};
use super::*;
use crate::cache::{PartialUpload, PartialUploads, Settings};
use crate::stats::Shed;

impl Bench {
    pub(super) fn upload(&self, id: &str) -> PartialUpload {
        self.cache.stage(self.scope(), id).expect("a short id")
    }

    pub(super) async fn part(&self, id: &str, name: &str, body: &[u8]) {
        let mut part = self.upload(id).part(name, Some(body.len() as u64)).await.expect("let in");
        for piece in body.chunks(100_000) {
            part.write(Bytes::copy_from_slice(piece)).await.expect("taken");
        }
        part.finish(None).await.expect("whole").expect("the upload is there");
    }

    async fn assemble(&self, id: &str, parts: &[&str], key: &Key) -> Option<Committed> {
        let upload = self.upload(id);
        let put =
            upload.assemble(parts, key.clone(), Claim::default(), Attrs::default(), Precondition::None, None);
        put.await.expect("committed")
    }

    fn parts_of(&self, id: &str) -> Option<Vec<(String, u64)>> {
        let staged = self.upload(id).staged()?;
        Some(staged.parts.iter().map(|part| (part.name.to_string(), part.len)).collect())
    }

    pub(super) fn partials(&self) -> PartialUploads {
        self.cache.inner.partials.usage()
    }

    /// Files of drafts in both stores.
    pub(super) fn drafts(&self) -> usize {
        let files = |store: &str| {
            let folders = std::fs::read_dir(self.dir.path().join(store).join("tmp")).expect("a folder");
            let folders = folders.map(|folder| folder.expect("readable").path());
            folders
                .filter(|path| path.is_dir())
                .map(|path| std::fs::read_dir(path).expect("a folder").count())
                .sum::<usize>()
        };
        files("cache") + files("outbox")
    }

    /// Nothing is left of any partial upload; what is dropped behind is waited for.
    pub(super) async fn nothing_left(&self) {
        eventually("no partial uploads and no drafts", || {
            let reserved =
                self.cache.inner.cache.usage().draft_bytes + self.cache.inner.outbox.usage().draft_bytes;
            self.partials() == PartialUploads::default() && self.drafts() == 0 && reserved == 0
        })
        .await;
    }
}

/// Polls until it is so.
pub(super) async fn eventually(what: &str, so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(10), "never came to be: {what}");
        tokio::task::spawn_blocking(std::thread::yield_now).await.expect("no panic");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_come_in_any_order_and_at_once_and_are_put_together_as_told() {
    let bench = Bench::new(|_| {});
    let body = noise(1_000_000);
    let part = |name: &'static str, range: std::ops::Range<usize>| {
        let body = body.slice(range);
        let bench = &bench;
        async move { bench.part("upload", name, &body).await }
    };
    tokio::join!(
        part("3", 700_000..1_000_000),
        part("1", 0..10),
        part("2", 0..300),
        part("unused", 5..6),
        async { bench.part("other", "1", b"another upload's").await }
    );
    part("2", 10..700_000).await;
    let staged =
        [("1", 10), ("2", 699_990), ("3", 300_000), ("unused", 1)].map(|(name, len)| (name.to_owned(), len));
    assert_eq!(bench.parts_of("upload").as_deref(), Some(&staged[..]));
    let key = named(BLOB, "whole");
    assert!(bench.assemble("upload", &["1", "2", "4"], &key).await.is_none(), "there is no 4");
    let committed = bench.assemble("upload", &["1", "2", "3"], &key).await.expect("all are here");
    assert_eq!((committed.outcome, committed.created), (Outcome::Queued, true));
    assert_eq!(bench.get(&key).await, Some(body.clone()));
    assert_eq!(bench.parts_of("upload").as_deref(), Some(&staged[3..]), "others stay");
    assert_eq!(bench.parts_of("other"), Some(vec![("1".to_owned(), 16)]));
    assert!(bench.assemble("upload", &["1", "2", "3"], &key).await.is_none(), "they went into the entry");
    bench.drained().await;
    assert_eq!(bench.fake.body("blob/whole"), Some(body.clone()));
    assert_eq!(committed.etag, bench.put(&named(BLOB, "at once"), &body).await.etag);
    assert!(bench.upload("upload").end() && bench.upload("other").end() && !bench.upload("other").end());
    bench.nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_part_alone_becomes_the_entry_and_few_bytes_go_into_the_log() {
    let bench = Bench::new(|_| {});
    for (name, len, copied) in [("large", 300_000, false), ("small", 300, true)] {
        let body = noise(len);
        bench.part("upload", "only", &body).await;
        let large = bench.cache.inner.outbox.usage().log_bytes;
        let key = named(BLOB, name);
        assert_eq!(bench.assemble("upload", &["only"], &key).await.expect("here").outcome, Outcome::Queued);
        let grown = bench.cache.inner.outbox.usage().log_bytes - large;
        assert_eq!(grown > len as u64, copied, "{name} grew the log by {grown}");
        assert_eq!(bench.get(&key).await, Some(body.clone()));
        bench.drained().await;
        assert_eq!(bench.fake.body(&format!("blob/{name}")), Some(body));
        bench.nothing_left().await;
    }
    let empty = bench.assemble("never begun", &[], &named(BLOB, "empty")).await;
    assert_eq!(empty.expect("no parts are all here").outcome, Outcome::Queued);
    assert_eq!(bench.get(&named(BLOB, "empty")).await, Some(Bytes::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_can_not_be_put_together_is_as_it_was() {
    let bench = Bench::new(|_| {});
    let body = noise(200_000);
    bench.put(&named(BLOB, "there"), b"x").await;
    bench.part("upload", "1", &body).await;
    bench.part("upload", "2", b"y").await;
    let wrong = Claim { len: None, digest: Some(Digest::of(Function::Blake3, b"z")) };
    let long = Claim { len: Some(7), digest: None };
    for parts in [&["1"][..], &["1", "2"], &["2"]] {
        for (name, claim, condition, kind) in [
            ("new", wrong, Precondition::None, crate::error::Kind::Mismatch),
            ("new", long, Precondition::None, crate::error::Kind::Mismatch),
            ("there", Claim::default(), Precondition::Absent, crate::error::Kind::Precondition),
        ] {
            let upload = bench.upload("upload");
            let put = upload.assemble(parts, named(BLOB, name), claim, Attrs::default(), condition, None);
            assert_eq!(put.await.expect_err("refused").kind(), kind);
        }
    }
    assert_eq!(bench.get(&named(BLOB, "new")).await, None);
    assert!(bench.assemble("upload", &["1"], &named(BLOB, "new")).await.is_some());
    assert_eq!(bench.parts_of("upload"), Some(vec![("2".to_owned(), 1)]));
    let short = bench.upload("upload").part("3", Some(5)).await.expect("let in").finish(None).await;
    assert_eq!(short.expect_err("short").kind(), crate::error::Kind::Mismatch);
    assert_eq!(bench.get(&named(BLOB, "new")).await, Some(body));
    let key = content(&noise(100_000));
    bench.part("upload", "content", &noise(100_000)).await;
    assert_eq!(bench.assemble("upload", &["content"], &key).await.expect("here").outcome, Outcome::Queued);
    assert_eq!(bench.get(&key).await, Some(noise(100_000)));
    let action = bench.assemble("upload", &["2"], &named(AC, &"a".repeat(64))).await;
    assert_eq!(action.expect("here").outcome, Outcome::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_begun_is_there_until_its_end() {
    let bench = Bench::new(|_| {});
    assert!(bench.upload("upload").staged().is_none());
    let attrs = Attrs::new([("contenttype".into(), "text/plain".into())]).expect("valid");
    bench.upload("upload").begin(attrs.clone());
    let staged = bench.upload("upload").staged().expect("begun");
    assert_eq!((staged.attrs, staged.parts.len()), (attrs, 0));
    assert_eq!(bench.partials().count, 1);
    bench.part("upload", "1", b"1").await;
    bench.part("upload", "2", b"2").await;
    bench.assemble("upload", &["2"], &named(BLOB, "x")).await.expect("here");
    assert!(bench.upload("upload").staged().is_none(), "ended, with what did not go into it");
    let late = bench.upload("late").part("1", None).await.expect("let in");
    assert!(bench.upload("late").end());
    assert_eq!(late.finish(None).await.expect("no error"), None, "the upload has ended");
    let ids = |prefix| bench.cache.staged_ids(bench.scope(), prefix);
    bench.upload("a/1").begin(Attrs::default());
    bench.part("a/2", "1", b"1").await;
    assert_eq!(ids("a/").iter().map(|id| &**id).collect::<Vec<_>>(), ["a/1", "a/2"]);
    assert!(ids("b").is_empty());
    assert!(bench.upload("a/1").end() && bench.upload("a/2").end());
    drop(bench.upload("dropped").part("1", None).await.expect("let in"));
    bench.nothing_left().await;
    let other = Scope { owner: crate::key::Owner(7), ..bench.scope().clone() };
    bench.part("upload", "1", b"1").await;
    assert!(bench.cache.stage(&other, "upload").expect("short").staged().is_none(), "another owner's");
    assert!(bench.cache.stage(&other, &"x".repeat(2049)).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_can_not_be_kept_are_taken_and_the_upload_is_shed() {
    let bench = Bench::new(|_| {});
    bench.part("upload", "1", b"kept").await;
    let tmp = bench.dir.path().join("outbox/tmp");
    std::fs::rename(&tmp, bench.dir.path().join("away")).expect("moved");
    std::fs::write(&tmp, "not a folder").expect("written");
    bench.part("upload", "2", &noise(3_000_000)).await;
    let committed = bench.assemble("upload", &["2"], &named(BLOB, "x")).await.expect("here");
    assert_eq!(committed.outcome, Outcome::Shed(Shed::DiskError));
    let committed = bench.assemble("upload", &["1"], &named(BLOB, "y")).await.expect("here");
    assert_eq!(committed.outcome, Outcome::Shed(Shed::DiskError), "it can't be read back");
    assert_eq!(bench.cache.stats().shed(Shed::DiskError).read(), 2);
    assert_eq!(bench.partials(), PartialUploads::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_count_the_oldest_idle_upload_goes() {
    let bench = Bench::new(|settings| settings.partial_uploads = 3);
    let live = bench.upload("0").part("live", None).await.expect("let in");
    for number in 0..7 {
        bench.part(&number.to_string(), "1", b"x").await;
    }
    bench.part("4", "2", b"younger now").await;
    bench.upload("7").begin(Attrs::default());
    let left = || (0..8).filter(|id| bench.upload(&id.to_string()).staged().is_some()).collect::<Vec<_>>();
    assert_eq!(left(), [0, 4, 6, 7], "one is written to, and not counted");
    assert_eq!(bench.partials(), PartialUploads { count: 3, bytes: 13, live: 1 });
    let status = serde_json::to_value(bench.cache.status().await).expect("JSON");
    assert_eq!(status["partial_uploads"], serde_json::json!({ "count": 3, "bytes": 13, "live": 1 }));
    drop(live);
    assert_eq!(left(), [4, 6, 7], "its last byte was the first");
    for id in left() {
        bench.upload(&id.to_string()).end();
    }
    bench.nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_bytes_the_oldest_idle_upload_goes_and_one_alone_takes_no_more() {
    let bench = Bench::new(|settings| settings.partial_bytes = 100_000);
    bench.part("a", "1", &noise(50_000)).await;
    bench.part("b", "1", &noise(40_000)).await;
    bench.part("c", "1", &noise(30_000)).await;
    assert!(bench.upload("a").staged().is_none());
    assert_eq!(bench.partials().bytes, 70_000);
    bench.part("b", "2", &noise(60_000)).await;
    assert!(bench.upload("c").staged().is_none());
    let mut part = bench.upload("b").part("3", None).await.expect("let in");
    part.write(noise(1)).await.expect("taken");
    assert_eq!(part.finish(None).await.expect_err("full").kind(), crate::error::Kind::TooLarge);
    bench.part("b", "2", &noise(59_000)).await;
    assert_eq!(bench.parts_of("b"), Some(vec![("1".to_owned(), 40_000), ("2".to_owned(), 59_000)]));
    let announced = bench.upload("d").part("1", Some(100_001)).await;
    assert_eq!(announced.expect_err("over").kind(), crate::error::Kind::TooLarge);
    let mut grows = bench.upload("d").part("1", None).await.expect("let in");
    assert_eq!(grows.write(noise(100_001)).await.expect_err("over").kind(), crate::error::Kind::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiny_parts_are_bounded_by_their_number() {
    let bench = Bench::new(|settings| settings.partial_parts = 3);
    for (id, name) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2")] {
        bench.part(id, name, b"").await;
    }
    assert!(bench.upload("a").staged().is_none());
    bench.part("b", "3", b"").await;
    let fourth = bench.upload("b").part("4", None).await.expect("let in");
    assert_eq!(fourth.finish(None).await.expect_err("too many").kind(), crate::error::Kind::TooLarge);
    assert_eq!(bench.parts_of("b").map(|parts| parts.len()), Some(3));
}

#[tokio::test]
async fn an_upload_without_a_byte_for_its_age_goes() {
    let bench = Bench::new(|_| {});
    bench.cache.ready().await.expect("replayed");
    bench.part("old", "1", &noise(100_000)).await;
    let mut live = bench.upload("live").part("1", None).await.expect("let in");
    tokio::time::pause();
    let minutes = |minutes: u64| tokio::time::advance(Duration::from_secs(60 * minutes));
    minutes(40).await;
    live.write(noise(10)).await.expect("taken");
    bench.upload("young").begin(Attrs::default());
    let left = || ["old", "live", "young"].map(|id| bench.upload(id).staged().is_some());
    minutes(19).await;
    tokio::task::yield_now().await;
    assert_eq!(left(), [true, true, true]);
    minutes(2).await;
    eventually("the old one goes", || left() == [false, true, true]).await;
    minutes(60).await;
    eventually("the young one goes", || left() == [false, true, false]).await;
    drop(live);
    bench.nothing_left().await;
}

#[test]
fn the_defaults_are_those_of_the_readme() {
    let Settings { partial_uploads, partial_bytes, partial_age, .. } = Settings::default();
    assert_eq!((partial_uploads, partial_bytes, partial_age), (1000, 5 << 30, Duration::from_secs(3600)));
}
