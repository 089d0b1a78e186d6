//! Several writers at once, and writers of what is here already.

use super::*;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn an_upload_has_one_writer_at_a_time() {
    let api = Api::new();
    let data = noise("one at a time", 300_000);
    let name = upload("u", &data);
    let messages = framed(&pieces(&name, &data, 0, 100_000));
    let mut first = api.hold_write();
    assert!(first.send(messages.slice(..150_000)).await);
    let (came, _) = api.status_of(&name).await;
    for offset in [0, came as usize, 200_000] {
        let second = api.write(&pieces(&name, &data, offset, 100_000)).await;
        second.assert_refused(Code::Aborted, "another call writes this upload");
    }
    assert!(!first.send(messages.slice(150_000..)).await, "it was the last message");
    assert_eq!(first.ended().await.committed(), 300_000);
    api.nothing_left("it is whole").await;
    assert!(api.read(&resource(&data), 0, 0).await.data() == data);
}

/// moon has one UUID for all of a run.
#[tokio::test]
async fn uploads_of_one_id_and_several_blobs_dont_meet() {
    let api = Api::new();
    let blobs: Vec<_> = (0..4).map(|at| noise(&format!("blob {at}"), 200_000 + at)).collect();
    let mut calls: Vec<_> = blobs.iter().map(|_| api.hold_write()).collect();
    let bodies: Vec<_> =
        blobs.iter().map(|data| framed(&pieces(&upload("run", data), data, 0, 70_000))).collect();
    for range in [0..90_000, 90_000..140_000] {
        for (call, body) in calls.iter_mut().zip(&bodies) {
            assert!(call.send(body.slice(range.clone())).await);
        }
    }
    for ((mut call, body), data) in calls.into_iter().zip(bodies).zip(&blobs) {
        assert!(!call.send(body.slice(140_000..)).await);
        assert_eq!(call.ended().await.committed(), data.len() as i64);
        assert!(api.read(&resource(data), 0, 0).await.data() == *data);
    }
    api.nothing_left("all are whole").await;
}

#[tokio::test]
async fn the_slower_writer_of_a_blob_ends_early_and_leaves_nothing() {
    let api = Api::new();
    let data = noise("slower", 5 * MIB);
    for compressed in [false, true] {
        let data = [&data[..], &[u8::from(compressed)]].concat();
        let (name, sent) = match compressed {
            false => (upload("slow", &data), data.clone()),
            true => (zstd_upload("slow", &data), compress(&data)),
        };
        let messages = pieces(&name, &sent, 0, MIB);
        let mut slow = api.hold_write();
        assert!(slow.send(framed(&messages[..1])).await);
        let fast = api.write(&pieces(&upload("fast", &data), &data, 0, MIB)).await;
        assert_eq!(fast.committed(), data.len() as i64);
        // It looks whether it is alone every mebibyte, by what was decoded.
        let mut needed = 1;
        for message in messages[1..].chunks(1) {
            needed += 1;
            if !slow.send(framed(message)).await {
                break;
            }
        }
        assert!(needed < messages.len(), "it was read to its end");
        let committed = if compressed { -1 } else { data.len() as i64 };
        assert_eq!(slow.ended().await.committed(), committed);
        assert_eq!(api.status_of(&name).await, (committed, true));
        api.nothing_left("somebody else was faster").await;
    }
}

#[tokio::test]
async fn writers_of_one_blob_who_finish_together_all_succeed() {
    let api = Api::new();
    let data = noise("together", 300_000);
    let mut calls = Vec::new();
    for at in 0..4 {
        let body = framed(&pieces(&upload(&format!("u{at}"), &data), &data, 0, 100_000));
        let mut call = api.hold_write();
        assert!(call.send(body.slice(..body.len() - 1)).await);
        calls.push((call, body.slice(body.len() - 1..)));
    }
    for (mut call, last) in calls {
        assert!(!call.send(last).await);
        assert_eq!(call.ended().await.committed(), 300_000);
    }
    api.nothing_left("all are whole").await;
    assert!(api.read(&resource(&data), 0, 0).await.data() == data);
}

#[tokio::test]
async fn a_blob_that_is_here_is_not_waited_for() {
    let api = Api::new();
    for len in [100, 300_000] {
        let data = noise("here", len);
        api.store(&data).await;
        for (name, committed) in [(upload("u", &data), len as i64), (zstd_upload("u", &data), -1)] {
            let body = framed(&[piece(&name, 0, &data, false)]);
            let mut call = api.hold_write();
            assert!(!call.send(body.slice(..body.len() - len)).await, "no byte of it is asked for");
            assert_eq!(call.ended().await.committed(), committed);
        }
        api.nothing_left("it was here").await;
    }
}

#[tokio::test]
async fn a_blob_that_is_here_with_another_length_is_refused() {
    let api = Api::new();
    let data = noise("length", 1000);
    api.store(&data).await;
    let name = upload("u", &data).replace("/1000", "/999");
    let called = api.write(&[piece(&name, 0, &data[..999], true)]).await;
    called.assert_refused(Code::InvalidArgument, "has 1000 bytes, not 999");
    let read = api.read(&resource(&data).replace("/1000", "/999"), 0, 0).await;
    read.assert_refused(Code::NotFound, "not in the cache");
    assert_eq!(api.read(&resource(&data), 0, 0).await.data(), data);
    api.nothing_left("it was refused").await;
}

/// Of a call that stops between messages the bytes are kept, and the answer says how many.
#[tokio::test]
async fn a_client_that_stops_between_messages_is_told_how_far_it_came() {
    let api = Api::new();
    let data = noise("stops", 300_000);
    let name = upload("u", &data);
    let messages = pieces(&name, &data, 0, 100_000);
    let mut call = api.hold_write();
    assert!(call.send(framed(&messages[..2])).await);
    assert_eq!(call.end().await.committed(), 200_000);
    api.rests(200_000).await;
    assert!(!api.has(&data).await);
    assert_eq!(api.write(&pieces(&name, &data, 200_000, 100_000)).await.committed(), 300_000);
    api.nothing_left("it is whole").await;
}
