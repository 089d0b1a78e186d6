//! Flipped, cut, missing, foreign.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use futures_util::StreamExt as _;

use super::*;
use crate::error::Kind;
use crate::store::file::list;

/// Changes one byte of a file.
fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("read");
    file.write_all_at(&[!byte[0]], offset).expect("write");
}

fn find(path: &Path, needle: &[u8]) -> u64 {
    let bytes = std::fs::read(path).expect("read");
    bytes.windows(needle.len()).position(|window| window == needle).expect("it is there") as u64
}

#[tokio::test]
async fn a_flipped_record_is_a_miss_set_aside_and_can_be_put_again() {
    let mut bench = Bench::new(settings()).await;
    bench.put("a", b"first entry").await;
    bench.put("b", b"second entry").await;
    let segment = &bench.segments()[0];
    flip(segment, find(segment, b"first entry"));
    assert!(bench.find("a").await.is_none());
    let usage = bench.store.usage();
    assert_eq!((usage.corrupt, usage.quarantined, usage.entries), (1, 1, 1));
    assert_eq!(bench.store.generation(id("a")), None);
    assert_eq!(bench.body("b").await.as_deref(), Some(&b"second entry"[..]));
    bench = bench.kill().await;
    assert!(bench.find("a").await.is_none());
    bench.put("a", b"first entry").await;
    assert_eq!(bench.body("a").await.as_deref(), Some(&b"first entry"[..]));
}

#[tokio::test]
async fn a_flipped_record_in_the_middle_costs_itself_only() {
    let mut bench = Bench::new(settings()).await;
    for name in ["a", "b", "c"] {
        bench.put(name, format!("the body of {name}").as_bytes()).await;
    }
    let segment = bench.segments()[0].clone();
    let at = find(&segment, b"the body of b");
    drop(std::mem::replace(&mut bench.store, Bench::new(settings()).await.store));
    flip(&segment, at);
    bench = bench.kill().await;
    let here = ["a", "b", "c"].map(|name| bench.store.contains(id(name)).is_some());
    assert_eq!(here, [true, false, true]);
}

#[tokio::test]
async fn no_byte_of_a_damaged_block_is_handed_out() {
    let bench = Bench::new(settings()).await;
    let body = bytes(700_000, 1);
    bench.put_large("x", &body).await;
    let stored = bench.find("x").await.expect("found");
    flip(&bench.files()[0], 300_000);
    let mut stream = bench.store.body(&stored, 0..stored.len()).expect("in range");
    let first = stream.next().await.expect("a block").expect("the first is whole");
    assert_eq!(first, body[..262_144]);
    let error = stream.next().await.expect("an end").expect_err("damaged");
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(bench.find("x").await.is_none());
    let usage = bench.store.usage();
    assert_eq!((usage.corrupt, usage.quarantined, usage.entries, bench.files().len()), (1, 1, 0, 0));
    assert_eq!(list(&bench.path().join("quarantine")).count(), 1);
}

#[tokio::test]
async fn a_cut_file_is_a_miss_before_its_first_byte() {
    let bench = Bench::new(settings()).await;
    bench.put_large("x", &bytes(700_000, 1)).await;
    OpenOptions::new().write(true).open(&bench.files()[0]).expect("open").set_len(500_000).expect("cut");
    assert!(bench.find("x").await.is_none());
    assert_eq!(bench.store.usage().corrupt, 1);
}

#[tokio::test]
async fn a_record_without_a_file_is_dropped() {
    let mut bench = Bench::new(settings()).await;
    bench.put_large("x", &bytes(7000, 1)).await;
    std::fs::remove_file(&bench.files()[0]).expect("remove");
    assert!(bench.find("x").await.is_none());
    let usage = bench.store.usage();
    assert_eq!((usage.corrupt, usage.entries), (0, 0));
    bench = bench.kill().await;
    assert_eq!(bench.store.usage().entries, 0);
}

#[tokio::test]
async fn quarantine_has_a_bound() {
    let bench = Bench::new(settings()).await;
    for number in 0..105 {
        bench.put(&number.to_string(), b"some body").await;
    }
    let segment = &bench.segments()[0];
    let written = std::fs::read(segment).expect("read");
    for (at, _) in written.windows(9).enumerate().filter(|(_, window)| *window == b"some body") {
        flip(segment, at as u64);
    }
    for number in 0..105 {
        assert!(bench.find(&number.to_string()).await.is_none());
    }
    let usage = bench.store.usage();
    assert_eq!((usage.corrupt, usage.quarantined), (105, 100));
    assert_eq!(list(&bench.path().join("quarantine")).count(), 100);
}

#[tokio::test]
async fn a_deleted_folder_is_made_again() {
    for background in [false, true] {
        let mut bench = Bench::new(Settings { background, ..settings() }).await;
        bench.put("a", b"1").await;
        bench.put_large("b", &bytes(7000, 1)).await;
        std::fs::remove_dir_all(bench.path()).expect("delete");
        assert!(bench.find("b").await.is_none());
        bench.put("c", b"3").await;
        assert!(bench.find("a").await.is_none());
        assert_eq!(bench.body("c").await.as_deref(), Some(&b"3"[..]));
        bench.put_large("d", &bytes(7000, 2)).await;
        assert!(bench.path().join("CACHEDIR.TAG").exists());
        std::fs::remove_dir_all(bench.path()).expect("delete");
        bench.put_large("e", &bytes(7000, 3)).await;
        bench = bench.kill().await;
        assert_eq!(bench.store.usage().entries, 1);
        assert_eq!(bench.body("e").await, Some(bytes(7000, 3)));
    }
}

#[tokio::test]
async fn a_draft_goes_on_in_a_deleted_folder_or_fails() {
    let bench = Bench::new(settings()).await;
    let mut draft = bench.store.draft(None).await.expect("draft");
    draft.write(Bytes::from_static(b"1")).await.expect("write");
    draft.flush().await.expect("flush");
    std::fs::remove_dir_all(bench.path()).expect("delete");
    draft.write(Bytes::from_static(b"2")).await.expect("write");
    let published = draft.publish(record("x", 2), Guard::Always).await;
    assert!(published.is_err(), "its file is gone");
    assert!(bench.find("x").await.is_none());
    bench.put_large("x", &bytes(7000, 3)).await;
    assert!(bench.find("x").await.is_some());
}

#[tokio::test]
async fn files_without_a_record_and_drafts_of_the_dead_are_swept_and_nothing_else() {
    let bench = Bench::new(settings()).await;
    bench.put_large("x", &bytes(7000, 1)).await;
    let shard = bench.files()[0].parent().expect("a folder").to_owned();
    std::fs::write(shard.join(format!("{}-7", id("y"))), b"no record").expect("write");
    std::fs::write(shard.join("README"), b"not ours").expect("write");
    let dead = bench.path().join("tmp/4711-0");
    std::fs::create_dir_all(&dead).expect("make");
    std::fs::write(dead.join("0"), b"a draft of the dead").expect("write");
    let mut draft = bench.store.draft(None).await.expect("draft");
    draft.write(Bytes::from_static(b"12")).await.expect("write");
    draft.flush().await.expect("flush");
    // Another process on the same folder.
    let other = open(bench.path(), Role::Cache, &bench.settings, &Generations::default()).await;
    other.sweep_once();
    assert!(!dead.exists());
    assert_eq!(bench.drafts(), 1, "ours is alive");
    draft.publish(record("z", 2), Guard::Always).await.expect("publish");
    bench.store.sweep_once();
    let mut names: Vec<_> =
        bench.files().iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"README".to_owned()));
}
