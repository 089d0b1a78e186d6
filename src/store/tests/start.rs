//! Starting again: whatever the log went through.

use std::fs::OpenOptions;

use super::*;
use crate::store::file::list;

/// A log of several segments with everything in it; says what must be found.
async fn varied(bench: &Bench) -> Vec<(String, Option<Vec<u8>>)> {
    for number in 0..400 {
        bench.put(&(number % 250).to_string(), &bytes(900, number)).await;
    }
    for number in 200..225 {
        bench.store.remove(id(&number.to_string()), None).await.expect("remove");
    }
    bench.put_large("large", &bytes(7000, 1)).await;
    let expected = |number: u64| match number {
        0..150 => Some(bytes(900, number + 250)),
        200..225 => None,
        _ => Some(bytes(900, number)),
    };
    (0..250)
        .map(|number| (number.to_string(), expected(number)))
        .chain([("large".to_owned(), Some(bytes(7000, 1)))])
        .collect()
}

async fn check(bench: &Bench, expected: &[(String, Option<Vec<u8>>)]) {
    for (name, body) in expected {
        assert_eq!(&bench.body(name).await, body, "{name}");
    }
}

#[tokio::test]
async fn footers_and_scans_say_the_same() {
    let mut bench = Bench::new(settings()).await;
    let expected = varied(&bench).await;
    bench = bench.restart().await;
    check(&bench, &expected).await;
    let usage = |bench: &Bench| {
        let usage = bench.store.usage();
        (usage.entries, usage.bytes, usage.dead_bytes, usage.log_bytes, usage.segments)
    };
    let before = usage(&bench);
    let Bench { dir, settings, role, store, .. } = bench;
    drop(store);
    // Without their trailers, the footers are noise behind the last record.
    for segment in list(&dir.path().join("log")) {
        let file = OpenOptions::new().write(true).open(&segment).expect("open");
        file.set_len(file.metadata().expect("there").len() - 1).expect("cut");
    }
    let generations = Generations::default();
    let store = open(dir.path(), role, &settings, &generations).await;
    let bench = Bench { dir, settings, role, generations, store };
    assert_eq!(usage(&bench), before);
    check(&bench, &expected).await;
    assert!(bench.generations.current() > Generation(400));
}

#[tokio::test]
async fn the_last_segment_is_appended_to_again() {
    let mut bench = Bench::new(settings()).await;
    for number in 0..20 {
        bench.put(&number.to_string(), b"x").await;
        bench = if number % 2 == 0 { bench.restart().await } else { bench.kill().await };
    }
    assert_eq!(bench.segments().len(), 1);
    assert_eq!(bench.store.usage().entries, 20);
    assert!(bench.body("7").await.is_some());
}

#[tokio::test]
async fn a_segment_without_a_header_is_set_aside_and_the_rest_is_found() {
    let mut bench = Bench::new(settings()).await;
    varied(&bench).await;
    bench.store.close().await;
    std::fs::write(&bench.segments()[1], vec![7; 70_000]).expect("write");
    std::fs::write(bench.path().join("log/00000000000000ff.seg"), b"").expect("write");
    std::fs::write(bench.path().join("log/notes.txt"), b"foreign").expect("write");
    bench = bench.kill().await;
    let usage = bench.store.usage();
    assert_eq!((usage.corrupt, usage.quarantined), (1, 1));
    assert!(usage.entries > 100, "{usage:?}");
    bench.put("new", b"1").await;
    assert!(bench.path().join("log/notes.txt").exists());
}

#[tokio::test]
async fn what_is_gone_stays_gone_when_its_tombstone_is_compacted() {
    let mut bench = Bench::new(settings()).await;
    // The put in a segment that stays alive, the tombstone in one that dies.
    bench.put("victim", b"1").await;
    bench.put("replaced", b"old").await;
    for number in 0..60 {
        bench.put(&format!("stays {number}"), &bytes(1000, number)).await;
    }
    bench.store.remove(id("victim"), None).await.expect("remove");
    bench.put("replaced", b"new").await;
    for round in 0..5 {
        for number in 0..60 {
            bench.put(&format!("comes and goes {number}"), &bytes(1000, round)).await;
        }
    }
    bench.store.remove(id("replaced"), None).await.expect("remove");
    for round in 0..5 {
        for number in 0..60 {
            bench.put(&format!("comes and goes {number}"), &bytes(1000, round)).await;
        }
        while bench.store.compact_once() {}
        bench = bench.kill().await;
        assert_eq!(bench.store.contains(id("victim")), None);
        assert_eq!(bench.store.contains(id("replaced")), None);
    }
    assert!(bench.store.usage().compactions == 0 && bench.store.usage().entries == 120);
    for number in 0..60 {
        bench.store.remove(id(&format!("stays {number}")), None).await.expect("remove");
        bench.store.remove(id(&format!("comes and goes {number}")), None).await.expect("remove");
    }
    for round in 0..200 {
        bench.put("filler", &bytes(1000, round)).await;
    }
    while bench.store.compact_once() {}
    bench = bench.kill().await;
    assert_eq!(bench.store.usage().entries, 1);
    assert!(bench.segments().len() <= 2, "tombstones are not kept for ever");
}

#[tokio::test]
async fn a_kill_between_copy_and_source_leaves_one_of_them() {
    let mut bench = Bench::new(settings()).await;
    let expected = varied(&bench).await;
    let before: Vec<_> =
        bench.segments().iter().map(|path| (path.clone(), std::fs::read(path).expect("read"))).collect();
    while bench.store.compact_once() {}
    let Bench { dir, settings, role, store, .. } = bench;
    drop(store);
    // As if the sources had not been unlinked yet.
    for (path, bytes) in before {
        if !path.exists() {
            std::fs::write(path, bytes).expect("write");
        }
    }
    let generations = Generations::default();
    let store = open(dir.path(), role, &settings, &generations).await;
    bench = Bench { dir, settings, role, generations, store };
    check(&bench, &expected).await;
    assert_eq!(bench.store.usage().entries, 226);
}

#[tokio::test]
async fn look_ups_wait_for_the_end_of_replay() {
    let bench = Bench::new(settings()).await;
    for number in 0..300 {
        bench.put(&number.to_string(), &bytes(900, number)).await;
    }
    let Bench { dir, settings, role, store, .. } = bench;
    drop(store);
    let store = Store::open(dir.path(), role, settings, Generations::default()).expect("open");
    assert!(store.contains(id("299")).is_some());
    assert!(store.get(id("0"), b"0").await.expect("get").is_some());
}
