//! Drafts that rest.

use super::*;
use crate::error::Kind;

#[tokio::test]
async fn a_draft_that_rested_is_read_back_goes_on_and_becomes_an_entry() {
    let bench = Bench::new(settings()).await;
    let body = bytes(700_000, 3);
    let mut draft = bench.store.draft(None).await.expect("a draft");
    draft.rest().await.expect("before anything is written");
    assert_eq!(draft.body().collect(u64::MAX).await.expect("no bytes").len(), 0);
    for (start, end) in [(0, 10), (10, 300_000), (300_000, 700_000)] {
        draft.write(Bytes::copy_from_slice(&body[start..end])).await.expect("taken");
        draft.rest().await.expect("rests");
        assert_eq!(draft.written(), end as u64);
        assert_eq!(draft.body().collect(u64::MAX).await.expect("whole"), body[..end]);
    }
    let published = draft.publish(record("rested", body.len()), Guard::Always).await;
    published.expect("published").expect("not refused");
    assert_eq!(bench.body("rested").await, Some(body));
    assert_eq!(bench.drafts(), 0);
}

#[tokio::test]
async fn a_draft_that_rests_leaves_nothing_behind_and_its_readers_read_on() {
    let bench = Bench::new(settings()).await;
    let body = bytes(600_000, 5);
    let mut draft = bench.store.draft(None).await.expect("a draft");
    draft.write(Bytes::copy_from_slice(&body)).await.expect("taken");
    draft.rest().await.expect("rests");
    let read = draft.body();
    assert_eq!(bench.drafts(), 1);
    drop(draft);
    assert_eq!(read.collect(u64::MAX).await.expect("whole"), body);
    assert_eq!(bench.drafts(), 0);
    assert_eq!(bench.store.usage().draft_bytes, 0);
}

#[tokio::test]
async fn a_damaged_draft_is_not_handed_out() {
    let bench = Bench::new(settings()).await;
    let mut draft = bench.store.draft(None).await.expect("a draft");
    draft.write(bytes(600_000, 7).into()).await.expect("taken");
    draft.rest().await.expect("rests");
    let own = super::super::file::list(&bench.path().join("tmp")).next().expect("a folder of ours");
    let path = super::super::file::list(&own).next().expect("the draft");
    let file = std::fs::File::options().write(true).open(path).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&file, b"damaged", 500_000).expect("inside the file");
    assert_eq!(draft.body().collect(u64::MAX).await.expect_err("damaged").kind(), Kind::Corrupt);
}
