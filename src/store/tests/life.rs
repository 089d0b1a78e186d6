//! Commits, look-ups, drafts, tickets, the queue, moving between stores.

use futures_util::StreamExt as _;

use super::*;
use crate::error::Kind;

const A: QueueTag = QueueTag(1);
const B: QueueTag = QueueTag(2);

#[tokio::test]
async fn what_is_put_is_found_whole_before_and_after_any_end() {
    let mut bench = Bench::new(settings()).await;
    let full = full_record();
    let generation =
        bench.store.put(full.clone(), Bytes::from_static(b"larder"), Guard::Always).await.expect("put");
    let large = bytes(700_000, 1);
    bench.put_large("large", &large).await;
    bench.put("empty", b"").await;
    for end in 0..3 {
        let stored = bench.find("full").await.expect("found");
        assert_eq!(Some(stored.generation), generation);
        assert_eq!(format!("{:?}", *stored.record), format!("{full:?}"));
        assert_eq!(stored.inline(), Some(&Bytes::from_static(b"larder")));
        assert_eq!(bench.body("large").await, Some(large.clone()));
        assert_eq!(bench.body("empty").await, Some(Vec::new()));
        assert!(bench.find("absent").await.is_none());
        bench = if end == 0 { bench.kill().await } else { bench.restart().await };
    }
}

#[tokio::test]
async fn another_key_with_the_same_id_is_absent() {
    let bench = Bench::new(settings()).await;
    bench.put("x", b"1").await;
    assert!(bench.store.get(id("x"), b"y").await.expect("get").is_none());
}

#[tokio::test]
async fn ranges_of_a_large_body_cross_its_blocks() {
    let bench = Bench::new(settings()).await;
    let body = bytes(900_001, 3);
    bench.put_large("x", &body).await;
    let stored = bench.find("x").await.expect("found");
    for range in [0..0, 0..1, 262_143..262_145, 262_144..524_288, 5..900_001, 900_001..900_001] {
        let read =
            bench.store.body(&stored, range.start..range.end).expect("in range").collect(u64::MAX).await;
        assert_eq!(read.expect("whole"), body[range.start as usize..range.end as usize], "{range:?}");
    }
    assert_eq!(bench.store.body(&stored, 0..900_002).expect_err("past the end").kind(), Kind::Invalid);
}

#[tokio::test]
async fn an_open_entry_is_read_to_its_end_though_it_is_removed() {
    let bench = Bench::new(settings()).await;
    let body = bytes(600_000, 4);
    bench.put_large("x", &body).await;
    let stored = bench.find("x").await.expect("found");
    assert!(bench.store.remove(id("x"), None).await.expect("remove"));
    assert!(bench.files().is_empty());
    let read = bench.store.body(&stored, 0..stored.len()).expect("in range").collect(u64::MAX).await;
    assert_eq!(read.expect("whole"), body);
}

#[tokio::test]
async fn tails_follow_a_draft_and_outlive_it() {
    let bench = Bench::new(settings()).await;
    let body = bytes(300_000, 5);
    let mut draft = bench.store.draft(None).await.expect("draft");
    let tail = draft.tail();
    draft.write(Bytes::copy_from_slice(&body[..1000])).await.expect("write");
    assert!(tail.read_at(0, 10).await.expect("read").is_empty(), "not flushed yet");
    draft.flush().await.expect("flush");
    assert_eq!(tail.read_at(990, 100).await.expect("read"), body[990..1000]);
    draft.write(Bytes::copy_from_slice(&body[1000..])).await.expect("write");
    assert_eq!(draft.written(), 300_000);
    draft.publish(record("x", body.len()), Guard::Always).await.expect("publish");
    bench.store.remove(id("x"), None).await.expect("remove");
    let mut read = Vec::new();
    while read.len() < body.len() {
        read.extend_from_slice(&tail.read_at(read.len() as u64, 1 << 20).await.expect("read"));
    }
    assert_eq!(read, body);
}

#[tokio::test]
async fn a_dropped_draft_never_happened() {
    let bench = Bench::new(settings()).await;
    let mut draft = bench.store.draft(Some(3 << 20)).await.expect("draft");
    assert_eq!(bench.store.usage().draft_bytes, 3 << 20);
    draft.write(bytes(2 << 20, 6).into()).await.expect("write");
    draft.flush().await.expect("flush");
    assert_eq!(bench.drafts(), 1);
    drop(draft);
    assert_eq!((bench.drafts(), bench.store.usage().draft_bytes), (0, 0));
    let mut short = bench.store.draft(Some(10)).await.expect("draft");
    short.write(Bytes::from_static(b"12345")).await.expect("write");
    let error = short.publish(record("x", 10), Guard::Always).await.expect_err("5 bytes of 10");
    assert_eq!(error.kind(), Kind::Mismatch);
    assert_eq!((bench.drafts(), bench.store.usage().draft_bytes, bench.files().len()), (0, 0, 0));
}

#[tokio::test]
async fn more_drafts_than_buffers_all_get_on() {
    let bench = Bench::new(settings()).await;
    let mut drafts = Vec::new();
    for _ in 0..40 {
        let mut draft = bench.store.draft(None).await.expect("draft");
        draft.write(Bytes::from_static(b"held back by a slow client")).await.expect("write");
        drafts.push(draft);
    }
    assert_eq!(bench.store.0.draft_buffers.available_permits(), 0);
    for (number, draft) in drafts.into_iter().enumerate() {
        draft.publish(record(&number.to_string(), 26), Guard::Always).await.expect("publish");
    }
    assert_eq!(bench.store.0.draft_buffers.available_permits(), 32);
    assert_eq!(bench.body("39").await.as_deref(), Some(&b"held back by a slow client"[..]));
}

#[tokio::test]
async fn a_fill_that_was_overtaken_is_refused() {
    let bench = Bench::new(settings()).await;
    let first = bench.store.begin(id("x"));
    bench.put("x", b"newer").await;
    let small = bench.store.put(record("x", 1), Bytes::from_static(b"f"), Guard::Unchanged(&first)).await;
    assert_eq!(small.expect("put"), None);
    let mut draft = bench.store.draft(None).await.expect("draft");
    draft.write(Bytes::from_static(b"large")).await.expect("write");
    let large = draft.publish(record("x", 5), Guard::Unchanged(&first)).await;
    assert_eq!(large.expect("publish"), None);

    // Its own second commit is overtaken by its first.
    let ticket = bench.store.begin(id("x"));
    let small = bench.store.put(record("x", 1), Bytes::from_static(b"f"), Guard::Unchanged(&ticket)).await;
    assert!(small.expect("put").is_some());
    let small = bench.store.put(record("x", 1), Bytes::from_static(b"f"), Guard::Unchanged(&ticket)).await;
    assert!(small.expect("put").is_none());

    for change in 0..4 {
        let ticket = bench.store.begin(id("x"));
        match change {
            0 => assert!(bench.store.remove(id("x"), None).await.expect("remove")),
            1 => {
                assert!(!bench.store.remove(id("x"), None).await.expect("absent, and a change all the same"))
            }
            2 => bench.store.supersede(id("x"), bench.generations.next()),
            _ => drop(bench.store.put_deleted(queued("x", 0, A)).await.expect("put deleted")),
        }
        let put = bench.store.put(record("x", 1), Bytes::from_static(b"f"), Guard::Unchanged(&ticket)).await;
        assert_eq!(put.expect("put"), None, "change {change}");
    }
    drop((first, ticket));
    assert_eq!(bench.store.0.index.lock().tickets.len(), 0);
    assert_eq!((bench.drafts(), bench.store.usage().draft_bytes), (0, 0));
}

#[tokio::test]
async fn a_queued_delete_is_found_as_one_and_contained_no_more() {
    let mut bench = Bench::with_role(Role::Outbox, settings()).await;
    bench.put("x", b"1").await;
    let generation = bench.store.put_deleted(queued("x", 9, A)).await.expect("put deleted");
    for _ in 0..2 {
        assert_eq!(bench.store.contains(id("x")), None);
        assert_eq!(bench.store.generation(id("x")), Some(generation));
        let stored = bench.find("x").await.expect("found");
        assert!(stored.deleted && stored.is_empty());
        assert_eq!(bench.store.queued().len(), 1);
        bench = bench.kill().await;
    }
}

#[tokio::test]
async fn rows_of_the_queue_end_one_by_one_and_with_their_entry() {
    let mut bench = Bench::with_role(Role::Outbox, settings()).await;
    let put = bench.store.put(queued("x", 1, A), Bytes::from_static(b"1"), Guard::Always).await;
    let generation = put.expect("put").expect("not refused");
    assert!(bench.store.queue(id("x"), generation, B, "other/x").await.expect("queue"));
    assert!(!bench.store.queue(id("x"), Generation(99), B, "other/x").await.expect("queue"));
    bench = bench.kill().await;
    let rows: Vec<_> = bench.store.queued().iter().map(|row| (row.generation, row.tag, row.bytes)).collect();
    assert_eq!(rows, [(generation, A, 1), (generation, B, 1)]);
    let object = bench.store.object(id("x"), generation, A).await.expect("object");
    assert_eq!(object.as_deref(), Some("object/x"));
    let object = bench.store.object(id("x"), generation, B).await.expect("object");
    assert_eq!(object.as_deref(), Some("other/x"));

    assert!(bench.store.done(id("x"), generation, A).await.expect("done"));
    assert!(!bench.store.done(id("x"), generation, A).await.expect("done before"));
    bench = bench.kill().await;
    assert_eq!(bench.store.queued().iter().map(|row| row.tag).collect::<Vec<_>>(), [B]);
    assert_eq!(bench.store.object(id("x"), generation, A).await.expect("object"), None);

    let newer = bench.store.put(queued("x", 2, A), Bytes::from_static(b"22"), Guard::Always).await;
    let newer = newer.expect("put").expect("not refused");
    assert!(!bench.store.done(id("x"), generation, B).await.expect("ended with its generation"));
    bench = bench.kill().await;
    assert_eq!(
        bench.store.queued().iter().map(|row| (row.generation, row.tag)).collect::<Vec<_>>(),
        [(newer, A)]
    );
    bench.store.remove(id("x"), Some(newer)).await.expect("remove");
    bench = bench.kill().await;
    assert_eq!((bench.store.queued(), bench.store.usage().queue_rows), (vec![], 0));
}

#[tokio::test]
async fn an_entry_moves_from_the_outbox_to_the_cache() {
    let outbox = Bench::with_role(Role::Outbox, settings()).await;
    let mut cache = Bench::new(settings()).await;
    cache.generations = outbox.generations.clone();
    cache.store = open(cache.path(), Role::Cache, &cache.settings, &cache.generations).await;
    let large = bytes(300_000, 7);
    outbox.put("small", b"1").await;
    let generation = outbox.put_large("large", &large).await;
    for name in ["small", "large"] {
        let stored = outbox.find(name).await.expect("found");
        let record = Record { queue: None, ..(*stored.record).clone() };
        let adopted = cache.store.adopt(&outbox.store, &stored, record, Guard::Always).await.expect("adopt");
        assert_eq!(adopted, Some(stored.generation));
        assert!(outbox.find(name).await.is_none(), "{name}");
        // It was open there, and still reads.
        let read = outbox.store.body(&stored, 0..stored.len()).expect("in range").collect(u64::MAX).await;
        assert_eq!(read.expect("whole").len() as u64, stored.len());
    }
    assert_eq!(cache.store.contains(id("large")), Some(generation));
    assert_eq!((outbox.files().len(), cache.files().len(), cache.drafts()), (0, 1, 0));
    let cache = cache.kill().await;
    assert_eq!(cache.body("large").await, Some(large));
    assert_eq!(cache.body("small").await.as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn an_older_entry_is_not_adopted() {
    let outbox = Bench::with_role(Role::Outbox, settings()).await;
    let cache = Bench::new(settings()).await;
    outbox.put_large("x", &bytes(5000, 8)).await;
    for _ in 0..3 {
        cache.put("x", b"newer").await;
    }
    let stored = outbox.find("x").await.expect("found");
    let record = (*stored.record).clone();
    assert_eq!(cache.store.adopt(&outbox.store, &stored, record, Guard::Always).await.expect("adopt"), None);
    assert_eq!(cache.body("x").await.as_deref(), Some(&b"newer"[..]));
    assert!(outbox.find("x").await.is_some());
    assert_eq!(cache.drafts(), 0);
}

#[tokio::test]
async fn an_entry_that_was_overtaken_is_not_adopted() {
    let outbox = Bench::with_role(Role::Outbox, settings()).await;
    let cache = Bench::new(settings()).await;
    outbox.put("small", b"1").await;
    outbox.put_large("large", &bytes(300_000, 7)).await;
    for name in ["small", "large"] {
        let stored = outbox.find(name).await.expect("found");
        let record = (*stored.record).clone();
        let ticket = cache.store.begin(id(name));
        cache.store.supersede(id(name), Generation(u64::MAX));
        let guard = Guard::Unchanged(&ticket);
        assert_eq!(cache.store.adopt(&outbox.store, &stored, record, guard).await.expect("adopt"), None);
        assert!(cache.find(name).await.is_none() && outbox.find(name).await.is_some(), "{name}");
    }
    assert_eq!((cache.files().len(), cache.drafts()), (0, 0));
}

#[tokio::test]
async fn power_durability_acknowledges_what_is_synced() {
    let bench = Bench::new(Settings { sync: true, ..settings() }).await;
    bench.put_large("large", &bytes(300_000, 9)).await;
    let puts = (0..50).map(|number| {
        let (store, name) = (bench.store.clone(), number.to_string());
        async move { store.put(record(&name, 1), Bytes::from_static(b"x"), Guard::Always).await }
    });
    let done: Vec<_> = futures_util::stream::iter(puts).buffer_unordered(50).collect().await;
    assert!(done.into_iter().all(|put| put.is_ok_and(|put| put.is_some())));
    bench.store.close().await;
    let error = bench.store.put(record("x", 0), Bytes::new(), Guard::Always).await.expect_err("closed");
    assert_eq!(error.kind(), Kind::Internal);
}
