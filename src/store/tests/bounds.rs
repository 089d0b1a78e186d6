//! Each bound, driven past.

use super::*;
use crate::error::Kind;
use crate::store::Room;
use crate::store::disk::fault::Fault;

#[tokio::test]
async fn the_least_recently_used_go_and_across_a_restart_too() {
    let mut bench = Bench::new(settings()).await;
    for number in 0..10 {
        bench.put(&number.to_string(), &bytes(900, number)).await;
    }
    bench.find("0").await.expect("found");
    bench.store.touch(&[id("2")]);
    bench = bench.restart().await;
    let charge = bench.store.usage().bytes / 10;
    bench.settings.disk = charge * 7;
    bench = bench.restart().await;
    assert_eq!(bench.store.evict_once(), 4, "three over the bound, and a little more");
    for (number, here) in [(0, true), (1, false), (2, true), (3, false), (4, false), (5, false), (6, true)] {
        assert_eq!(bench.store.contains(id(&number.to_string())).is_some(), here, "{number}");
    }
    bench = bench.kill().await;
    assert_eq!(bench.store.usage().entries, 6, "what was evicted stays away");
}

#[tokio::test]
async fn disk_bounds_charges_and_reservations() {
    let bench = Bench::new(Settings { disk: 100 << 10, ..settings() }).await;
    for number in 0..300 {
        if number % 3 == 0 {
            bench.put_large(&number.to_string(), &bytes(3000, number)).await;
        } else {
            bench.put(&number.to_string(), &bytes(500, number)).await;
        }
        assert!(bench.store.usage().bytes <= 100 << 10);
    }
    assert!(bench.store.usage().evictions > 200);
    let large = bench.files().len() as u64;
    assert!(large > 0 && large * 4096 <= 100 << 10);

    let draft = bench.store.draft(Some(90 << 10)).await.expect("draft");
    assert!(bench.store.usage().bytes <= 10 << 10, "evicted for the reservation");
    let error = bench.store.draft(Some(20 << 10)).await.expect_err("no room beside it");
    assert_eq!(error.kind(), Kind::NoSpace);
    assert_eq!(bench.store.usage().draft_bytes, 90 << 10);
    drop(draft);
    let error = bench.store.draft(Some(101 << 10)).await.expect_err("more than all");
    assert_eq!(error.kind(), Kind::NoSpace);
    assert_eq!(bench.store.usage().draft_bytes, 0);
}

#[tokio::test]
async fn other_bounds_count_while_it_is_open() {
    let bench = Bench::new(settings()).await;
    for number in 0..100 {
        bench.put(&number.to_string(), &bytes(900, number)).await;
    }
    let all = bench.store.usage().bytes;
    let half = Settings { disk: all / 2, ..bench.settings.clone() };
    bench.store.apply(&half);
    assert!(bench.store.evict_once() >= 50);
    assert!(bench.store.usage().bytes <= all / 2);
    bench.store.apply(&Settings { disk_floor: u64::MAX, ..half.clone() });
    assert_eq!(bench.store.room(), Room::Floor);
    bench.store.apply(&Settings { disk_keep_free: u64::MAX, ..half });
    assert!(
        bench.store.evict_once() > 0 && bench.store.usage().entries == 0,
        "to leave that much free, all goes"
    );
}

#[tokio::test]
async fn a_bound_that_became_much_smaller_is_reached_behind() {
    let bench = Bench::new(Settings { background: true, disk: 1 << 30, ..settings() }).await;
    for number in 0..400 {
        bench.put(&number.to_string(), &bytes(900, number)).await;
    }
    let wanted = bench.store.usage().bytes / 4;
    bench.store.apply(&Settings { disk: wanted, ..bench.settings.clone() });
    let begun = std::time::Instant::now();
    while bench.store.usage().bytes > wanted {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", bench.store.usage());
        tokio::task::yield_now().await;
    }
    assert!(bench.store.usage().entries > 50, "and no further");
}

#[tokio::test]
async fn an_outbox_never_evicts() {
    let bench =
        Bench::with_role(Role::Outbox, Settings { disk: 1, disk_keep_free: u64::MAX, ..settings() }).await;
    bench.put("x", b"1").await;
    bench.put_large("y", &bytes(5000, 1)).await;
    assert_eq!((bench.store.evict_once(), bench.store.usage().entries), (0, 2));
}

#[tokio::test]
async fn protected_entries_go_last_but_only_half_of_the_disk() {
    let bench = Bench::new(Settings { disk: 10_000, ..settings() }).await;
    bench.put("old", &bytes(900, 1)).await;
    bench.store.protect(&[id("old")]);
    for number in 0..50 {
        bench.put(&number.to_string(), &bytes(900, number)).await;
        assert!(bench.store.contains(id("old")).is_some());
    }
    let names: Vec<_> = (0..50).map(|number| id(&number.to_string())).collect();
    bench.store.protect(&names);
    for number in 100..110 {
        bench.put(&number.to_string(), &bytes(900, number)).await;
    }
    let kept = names.iter().filter(|name| bench.store.contains(**name).is_some()).count();
    assert!((1..=3).contains(&kept), "{kept} of half of the disk, less the first");
    // Nothing but protected ones: then they go, too.
    let bench = Bench { settings: Settings { disk: 1, ..settings() }, ..bench };
    bench.store.0.index.lock().disk = 1;
    bench.store.evict_once();
    assert_eq!(bench.store.usage().entries, 0);
}

#[tokio::test]
async fn protection_ends() {
    let bench = Bench::new(settings()).await;
    bench.put("a", b"1").await;
    bench.put("b", b"1").await;
    let mut index = bench.store.0.index.lock();
    index.protect(&[id("a")], 1, 11);
    let mut goal = super::super::evict::Goal { bytes: 1, files: 0 };
    let victims = index.victims(&mut goal, 5, 1);
    assert_eq!(victims[0].0, id("b"));
    index.insert(
        &super::super::footer::Row::new(victims[0].1.head(id("b"), 100), super::super::record::What::Put, 0),
        0,
    );
    let mut goal = super::super::evict::Goal { bytes: 1, files: 0 };
    assert_eq!(index.victims(&mut goal, 11, 1)[0].0, id("a"));
}

#[tokio::test]
async fn what_must_stay_free_evicts_down_to_nothing() {
    for (keep_free, inodes) in [(u64::MAX, 0), (0, 200)] {
        let bench =
            Bench::new(Settings { disk_keep_free: keep_free, inodes_keep_free: inodes, ..settings() }).await;
        for number in 0..5 {
            bench.put_large(&number.to_string(), &bytes(3000, number)).await;
        }
        assert_eq!(bench.store.evict_once(), 5);
        assert_eq!((bench.store.usage().entries, bench.files().len()), (0, 0));
    }
}

#[tokio::test]
async fn below_the_floor_nothing_more_is_written() {
    let bench = Bench::new(Settings { disk_floor: u64::MAX, ..settings() }).await;
    assert_eq!(bench.store.room(), Room::Floor);
    let error =
        bench.store.put(record("x", 1), Bytes::from_static(b"x"), Guard::Always).await.expect_err("floor");
    assert_eq!(error.kind(), Kind::NoSpace);
    let error = bench.store.draft(Some(1)).await.expect_err("floor");
    assert_eq!(error.kind(), Kind::NoSpace);
    let error = bench.store.draft(None).await.expect_err("floor");
    assert_eq!(error.kind(), Kind::NoSpace);
    assert_eq!(bench.store.usage().draft_bytes, 0);
}

#[tokio::test]
async fn a_body_over_inline_max_is_refused_by_put() {
    let bench = Bench::new(settings()).await;
    let put = bench.store.put(record("x", 1025), bytes(1025, 1).into(), Guard::Always).await;
    assert_eq!(put.expect_err("too large").kind(), Kind::TooLarge);
    let put = bench.store.put(record("x", 2), bytes(3, 1).into(), Guard::Always).await;
    assert_eq!(put.expect_err("not what the record says").kind(), Kind::Mismatch);
}

#[tokio::test]
async fn a_disk_that_fails_leaves_nothing_half_visible() {
    for (errno, kind) in [
        (rustix::io::Errno::NOSPC, Kind::NoSpace),
        (rustix::io::Errno::ROFS, Kind::Internal),
        (rustix::io::Errno::IO, Kind::Internal),
    ] {
        let mut bench = Bench::new(settings()).await;
        bench.put("before", b"1").await;
        bench.put_large("large before", &bytes(5000, 1)).await;
        let mut draft = bench.store.draft(Some(3 << 20)).await.expect("draft");
        draft.write(bytes(1 << 20, 1).into()).await.expect("write");
        draft.flush().await.expect("flush");
        let fault = Fault::new(bench.path(), errno);
        let put = bench.store.put(record("before", 1), Bytes::from_static(b"2"), Guard::Always).await;
        assert_eq!(put.expect_err("fails").kind(), kind);
        let removed = bench.store.remove(id("before"), None).await;
        assert_eq!(removed.expect_err("fails").kind(), kind);
        draft.write(bytes(1 << 20, 1).into()).await.expect("it is only sent");
        assert_eq!(draft.flush().await.expect_err("fails").kind(), kind);
        assert_eq!(draft.write(bytes(1, 1).into()).await.expect_err("goes on failing").kind(), kind);
        drop(draft);
        let mut draft = bench.store.draft(Some(1)).await.expect("it is only reserved");
        draft.write(bytes(1, 1).into()).await.expect("it is only gathered");
        let published = draft.publish(record("new", 1), Guard::Always).await;
        assert_eq!(published.expect_err("fails").kind(), kind);
        // Reads go on, and eviction does.
        assert_eq!(bench.body("before").await.as_deref(), Some(&b"1"[..]));
        bench.store.0.index.lock().disk = 5000;
        assert_eq!(bench.store.evict_once(), 1, "the large one is the older one now");
        bench.store.supersede(id("before"), Generation(99));
        assert_eq!(bench.store.contains(id("before")), None);
        bench.store.flush_touches();
        assert!(!bench.store.compact_once());
        drop(fault);
        bench.store.0.index.lock().disk = 1 << 40;

        assert_eq!((bench.drafts(), bench.files().len(), bench.store.usage().draft_bytes), (0, 0, 0));
        bench.put("after", b"3").await;
        bench.store.evict_once();
        bench.store.supersede(id("nothing"), Generation(99));
        bench.put_large("large after", &bytes(5000, 1)).await;
        // What could not be written when it was due was written later.
        bench.store.0.tail.lock().bury(&bench.store.0.folders, &bench.store.0.index, Vec::new());
        bench = bench.kill().await;
        assert_eq!(bench.store.usage().entries, 2);
        assert_eq!(bench.body("after").await.as_deref(), Some(&b"3"[..]));
        assert_eq!(bench.body("large after").await, Some(bytes(5000, 1)));
    }
}

#[tokio::test]
async fn with_too_many_blocks_out_streams_are_held_short() {
    let bench = Bench::new(settings()).await;
    let body = bytes(600_000, 1);
    bench.put_large("x", &body).await;
    let held: Vec<_> = (0..300).map(|_| bench.store.0.pool.take()).collect();
    let stored = bench.find("x").await.expect("found");
    let mut stream = bench.store.body(&stored, 0..stored.len()).expect("in range");
    let mut read = Vec::new();
    while let Some(piece) = futures_util::StreamExt::next(&mut stream).await {
        let piece = piece.expect("whole");
        assert!(piece.len() <= 32 << 10);
        read.extend_from_slice(&piece);
    }
    assert_eq!(read, body);
    drop(held);
}

#[tokio::test]
async fn the_log_stays_within_its_share_of_dead_bytes() {
    let mut bench = Bench::new(settings()).await;
    for round in 0..20 {
        for number in 0..100 {
            bench.put(&number.to_string(), &bytes(900, round * 100 + number)).await;
        }
    }
    for number in 0..50 {
        bench.store.remove(id(&number.to_string()), None).await.expect("remove");
    }
    let before = bench.store.usage();
    assert!(before.dead_bytes > 1_000_000, "{before:?}");
    while bench.store.compact_once() {}
    let after = bench.store.usage();
    assert!(after.dead_bytes * 100 <= after.log_bytes * 25, "{after:?}");
    assert!(after.log_bytes < 300_000, "{after:?}");
    let on_disk: u64 = bench.segments().iter().map(|path| path.metadata().expect("there").len()).sum();
    assert!(on_disk < 300_000, "{on_disk}");
    for _ in 0..2 {
        for number in 0..100 {
            let expected = (number >= 50).then(|| bytes(900, 1900 + number));
            assert_eq!(bench.body(&number.to_string()).await, expected);
        }
        bench = bench.kill().await;
        assert!(!bench.store.compact_once(), "it is not done again and again");
    }
}

#[tokio::test]
async fn the_store_keeps_itself_in_shape() {
    let bench = Bench::new(Settings { background: true, disk: 200 << 10, ..settings() }).await;
    for number in 0..2000 {
        bench.put(&(number % 500).to_string(), &bytes(900, number)).await;
        if number % 50 == 0 {
            bench.put_large("large", &bytes(9000, number)).await;
        }
    }
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let in_shape = || {
        let usage = bench.store.usage();
        usage.bytes <= 200 << 10 && usage.dead_bytes * 4 <= usage.log_bytes && bench.files().len() <= 1
    };
    while !in_shape() {
        assert!(std::time::Instant::now() < deadline, "{:?}", bench.store.usage());
        tokio::task::yield_now().await;
    }
    let weak = Arc::downgrade(&bench.store.0);
    drop(bench);
    while weak.upgrade().is_some() {
        assert!(std::time::Instant::now() < deadline, "the thread ends with the last handle");
        tokio::task::yield_now().await;
    }
}
