//! Uploads that go on after a broken connection.

use futures_util::FutureExt as _;

use super::fake::{AC, BLOB};
use super::stage::eventually;
use super::*;
use crate::cache::{PartialUploads, Resumed, Stream};
use crate::error::Kind;

impl Bench {
    async fn resume(&self, id: &str, offset: u64, key: &Key) -> Resumed {
        let claim = Claim::default();
        let upload = self.upload(id);
        let resumed = upload.resume(offset, key.clone(), claim, Attrs::default(), Precondition::None);
        resumed.await.expect("let in")
    }

    async fn stream(&self, id: &str, offset: u64, key: &Key) -> Stream {
        match self.resume(id, offset, key).await {
            Resumed::Here(stream) => stream,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_where_it_was_broken_off() {
    let bench = Bench::new(|_| {});
    for len in [1000, 100_000, 5_000_000] {
        let body = noise(len);
        for key in [content(&body), named(BLOB, &len.to_string())] {
            let mut sent = 0;
            for end in [len / 3, len / 2, len] {
                let mut stream = bench.stream("id", sent as u64, &key).await;
                assert!(matches!(bench.resume("id", 0, &key).await, Resumed::Busy), "one writer at a time");
                for piece in body[sent..end].chunks(70_000) {
                    stream.write(Bytes::copy_from_slice(piece)).await.expect("taken");
                }
                sent = end;
                assert_eq!(bench.upload("id").received().await, Some(end as u64));
                assert_eq!(stream.received(), end as u64);
                if end == len {
                    assert_eq!(stream.commit().await.expect("committed").outcome, Outcome::Queued);
                    break;
                }
                drop(stream);
                assert_eq!(bench.upload("id").received().await, Some(end as u64));
                let at_rest = PartialUploads { count: 1, bytes: end as u64, live: 0 };
                eventually("nobody writes", || bench.partials() == at_rest).await;
                assert_eq!(bench.cache.inner.queue.len().0, 0, "it holds no room in the queue");
                let elsewhere = bench.resume("id", 1, &key).await;
                assert!(
                    matches!(elsewhere, Resumed::At(received) if received == end as u64),
                    "{elsewhere:?}"
                );
            }
            assert_eq!(bench.get(&key).await, Some(body.clone()));
            assert_eq!(bench.upload("id").received().await, None);
            bench.drained().await;
            bench.nothing_left().await;
        }
        assert_eq!(bench.fake.body(&format!("blob/{len}")), Some(body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_begun_again_is_another_one() {
    let bench = Bench::new(|_| {});
    let (key, body) = (named(BLOB, "x"), noise(200_000));
    assert!(matches!(bench.resume("id", 7, &key).await, Resumed::At(0)), "there is nothing to go on with");
    bench.stream("id", 0, &key).await.write(noise(300_000)).await.expect("taken");
    let mut stream = bench.stream("id", 0, &key).await;
    assert_eq!(bench.upload("id").received().await, Some(0));
    stream.write(body.clone()).await.expect("taken");
    drop(stream);
    let upload = bench.upload("id");
    let other =
        upload.resume(200_000, named(BLOB, "y"), Claim::default(), Attrs::default(), Precondition::None);
    assert_eq!(other.await.expect_err("of another entry").kind(), Kind::Invalid);
    bench.stream("id", 200_000, &key).await.commit().await.expect("committed");
    assert_eq!(bench.get(&key).await, Some(body));
    let action = named(AC, &"a".repeat(64));
    let action = upload.resume(0, action, Claim::default(), Attrs::default(), Precondition::None);
    assert_eq!(action.await.expect_err("not in pieces").kind(), Kind::Unsupported);
    bench.nothing_left().await;
}

#[test]
fn a_write_that_nobody_waits_for_any_more_is_received() {
    let runtime = tokio::runtime::Builder::new_multi_thread().max_blocking_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let bench = Bench::new(|_| {});
        let (key, body) = (named(BLOB, "x"), noise(8 << 20));
        let mut stream = bench.stream("id", 0, &key).await;
        // Nothing gets to the disk until this is released.
        let (release, held) = std::sync::mpsc::sync_channel(1);
        tokio::task::spawn_blocking(move || held.recv());
        let mut sent = 0;
        let cut = body.chunks(400_000).any(|piece| {
            sent += piece.len();
            stream.write(Bytes::copy_from_slice(piece)).now_or_never().is_none()
        });
        assert!(cut, "or it tests nothing");
        drop(stream);
        let upload = bench.upload("id");
        let mut received = Box::pin(upload.received());
        assert!((&mut received).now_or_never().is_none(), "what will be received is not known yet");
        release.send(()).expect("it waits");
        assert_eq!(received.await, Some(sent as u64));
        let mut stream = bench.stream("id", sent as u64, &key).await;
        stream.write(body.slice(sent..)).await.expect("taken");
        stream.commit().await.expect("committed");
        assert_eq!(bench.get(&key).await, Some(body));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_end_a_stream_and_leave_nothing() {
    let bench = Bench::new(|_| {});
    let key = content(b"something else");
    let mut stream = bench.stream("id", 0, &key).await;
    stream.write(noise(200_000)).await.expect("taken");
    assert_eq!(stream.commit().await.expect_err("refused").kind(), Kind::Mismatch);
    bench.nothing_left().await;
    let claim = Claim { len: Some(10), digest: None };
    let resumed = bench.upload("id").resume(0, key, claim, Attrs::default(), Precondition::None).await;
    let Ok(Resumed::Here(mut stream)) = resumed else { panic!("{resumed:?}") };
    assert_eq!(stream.write(noise(11)).await.expect_err("too long").kind(), Kind::Mismatch);
    assert_eq!(stream.write(noise(1)).await.expect_err("over").kind(), Kind::Internal);
    drop(stream);
    bench.nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_bounds_the_stream_at_rest_longest_goes() {
    let bench = Bench::new(|settings| (settings.partial_uploads, settings.partial_bytes) = (2, 1_000_000));
    let key = named(BLOB, "x");
    for (id, len) in [("a", 10), ("b", 10), ("c", 600_000), ("d", 500_000)] {
        bench.stream(id, 0, &key).await.write(noise(len)).await.expect("taken");
        bench.upload(id).received().await;
    }
    eventually("only the last is left", || bench.partials().count == 1).await;
    assert_eq!(bench.upload("d").received().await, Some(500_000));
    assert!(matches!(bench.resume("a", 10, &key).await, Resumed::At(0)));
    bench.upload("d").end();
    bench.nothing_left().await;
}

/// Every order of events that a seed can think of.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_nothing_is_left_behind() {
    for seed in 0..20_u64 {
        let bench = Bench::new(|settings| (settings.partial_uploads, settings.partial_bytes) = (2, 900_000));
        let mut state = seed;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut parts, mut streams) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            let id = ["a", "b", "c"][random(3) as usize];
            let upload = bench.upload(id);
            let key = named(BLOB, id);
            let piece = noise(random(3) as usize * 150_000 + 1);
            match random(10) {
                0 => parts.push(upload.part(["1", "2"][random(2) as usize], None).await.expect("let in")),
                1 => drop(parts.pop()),
                2 | 3 => {
                    if let Some(mut part) = parts.pop() {
                        part.write(piece).await.expect("taken");
                        // Over a bound or of an upload that has ended, it is gone.
                        let _ = part.finish(None).await;
                    }
                }
                4 => drop(
                    bench
                        .upload(id)
                        .assemble(&["1"], key, Claim::default(), Attrs::default(), Precondition::None, None)
                        .await,
                ),
                5 => drop(upload.end()),
                6 | 7 => {
                    let offset = if random(2) == 0 { 0 } else { upload.received().await.unwrap_or(0) };
                    if let Resumed::Here(mut stream) = bench.resume(id, offset, &key).await {
                        // Whether it is waited for or not.
                        let _ = stream.write(piece).now_or_never();
                        streams.push(stream);
                    }
                }
                8 => drop(streams.pop()),
                _ => {
                    if let Some(stream) = streams.pop() {
                        stream.commit().await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                    }
                }
            }
        }
        drop((parts, streams));
        eventually("all have come to rest", || bench.partials().live == 0).await;
        assert!(bench.partials().count <= 2, "seed {seed}");
        for id in ["a", "b", "c"] {
            bench.upload(id).end();
        }
        bench.nothing_left().await;
        bench.drained().await;
        assert_eq!(bench.cache.inner.queue.len(), (0, 0), "seed {seed}");
    }
}
