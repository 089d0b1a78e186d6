//! Uploads that are cut into frames anywhere, and broken off anywhere.

use super::*;

const MIB: usize = 1 << 20;

/// How much of the data is in the first `len` bytes of these messages, framed: it is what each of them ends with.
fn data_within(messages: &[bytes_wire::WriteRequest], len: usize) -> usize {
    let (mut data, mut start) = (0, 0);
    for message in messages {
        let end = start + 5 + message.encoded_len();
        data += len.min(end).saturating_sub(end - message.data.len());
        start = end;
    }
    data
}

#[tokio::test]
async fn an_upload_is_the_same_however_it_is_cut() {
    let api = Api::new();
    for (len, message, cuts) in
        [(100, 33, &[1, 2, 3, 5, 7, 50, 100, 1000][..]), (300_000, 100_000, &[977, 65_536, MIB])]
    {
        for cut_len in cuts {
            let data = noise(&format!("cut {cut_len}"), len);
            let zipped = noise(&format!("cut {cut_len}, compressed"), len);
            let compressed = compress(&zipped);
            let plain = pieces(&upload("u", &data), &data, 0, message);
            let zstd = pieces(&zstd_upload("u", &zipped), &compressed, 0, message);
            for (messages, data, committed) in [(plain, data, len as i64), (zstd, zipped, -1)] {
                let body = cut(framed(&messages), *cut_len);
                let called = api.call(&format!("{STREAM}/Write"), body).await;
                assert_eq!(called.committed(), committed, "{len} bytes cut by {cut_len}");
                assert!(
                    api.read(&resource(&data), 0, 0).await.data() == data,
                    "{len} bytes cut by {cut_len}"
                );
            }
        }
    }
    api.nothing_left("all of it came").await;
}

#[tokio::test]
async fn an_upload_broken_off_at_any_byte_goes_on_from_the_byte_that_was_reached() {
    let api = Api::new();
    let whole = framed(&pieces(&upload("at 000", &noise("at 000", 100)), &noise("at 000", 100), 0, 33)).len();
    for at in 0..whole {
        let id = format!("at {at:03}");
        let data = noise(&id, 100);
        let name = upload(&id, &data);
        let messages = pieces(&name, &data, 0, 33);
        let mut held = api.hold_write();
        if at > 0 {
            assert!(held.send(framed(&messages).slice(..at)).await, "it waits for the rest");
        }
        held.break_off().await.assert_refused(Code::Cancelled, "broke off");
        let came = data_within(&messages, at);
        assert_eq!(api.status_of(&name).await, (came as i64, false), "broken off at byte {at}");
        assert!(!api.has(&data).await);
        let rest = api.write(&pieces(&name, &data, came, 20)).await;
        assert_eq!(rest.committed(), 100, "broken off at byte {at}");
        assert_eq!(api.read(&resource(&data), 0, 0).await.data(), data);
        assert_eq!(api.status_of(&name).await, (100, true));
        api.nothing_left(&id).await;
    }
}

#[tokio::test]
async fn an_upload_that_ends_within_a_message_is_wrong_and_nothing_is_kept_of_it() {
    let api = Api::new();
    let data = noise("ends", 100);
    let name = upload("u", &data);
    let messages = pieces(&name, &data, 0, 33);
    let whole = framed(&messages);
    let ends: Vec<usize> = (1..=messages.len()).map(|count| framed(&messages[..count]).len()).collect();
    for at in 1..whole.len() {
        let called = api.call(&format!("{STREAM}/Write"), Full::new(whole.slice(..at))).await;
        if ends.contains(&at) {
            // Between messages a client may stop, and come back.
            let came = data_within(&messages, at);
            assert_eq!(called.committed(), came as i64);
            api.rests(came as u64).await;
            continue;
        }
        called.assert_refused(Code::InvalidArgument, "in the middle of a message");
        assert_eq!(api.status_of(&name).await, (0, false), "ended at byte {at}");
        api.nothing_stored("half a message").await;
    }
}

#[tokio::test]
async fn a_large_upload_goes_on_after_a_reset_within_a_message() {
    let api = Api::new();
    let data = noise("reset", 5 * MIB);
    let name = upload("u", &data);
    let mut came = 0;
    for (sent, message) in [(MIB + 1000, 700_000), (2 * MIB + 17, 4 * MIB)] {
        let messages = pieces(&name, &data, came, message);
        let mut held = api.hold_write();
        assert!(held.send(framed(&messages).slice(..sent)).await);
        came += data_within(&messages, sent);
        assert_eq!(api.status_of(&name).await, (came as i64, false), "while it is written");
        held.reset().await;
        assert_eq!(api.status_of(&name).await, (came as i64, false), "after the reset");
        api.rests(came as u64).await;
    }
    for offset in [0, 1, came - 1, came + 1] {
        if offset > 0 {
            let elsewhere = api.write(&pieces(&name, &data, offset, MIB)).await;
            elsewhere.assert_refused(Code::Aborted, &format!("{came} bytes of this upload are here"));
        }
    }
    assert_eq!(api.status_of(&name).await, (came as i64, false), "nobody took it away");
    assert_eq!(api.write(&pieces(&name, &data, came, MIB)).await.committed(), data.len() as i64);
    assert!(api.read(&resource(&data), 0, 0).await.data() == data);
    api.nothing_left("it is whole").await;
}

#[tokio::test]
async fn an_upload_that_was_begun_again_forgets_what_came_before() {
    let api = Api::new();
    let data = noise("again", 300_000);
    let name = upload("u", &data);
    let mut held = api.hold_write();
    // What came first is not even of this blob.
    assert!(held.send(framed(&[piece(&name, 0, &noise("other", 200_000), false)])).await);
    held.reset().await;
    assert_eq!(api.status_of(&name).await, (200_000, false));
    assert_eq!(api.write(&pieces(&name, &data, 0, 100_000)).await.committed(), 300_000);
    api.nothing_left("it is whole").await;
    assert!(api.has(&data).await);
}

#[tokio::test]
async fn a_resumed_upload_that_turns_out_wrong_is_refused_and_forgotten() {
    let api = Api::new();
    let data = noise("turns", 300_000);
    let name = upload("u", &data);
    let mut held = api.hold_write();
    assert!(held.send(framed(&[piece(&name, 0, &noise("other", 200_000), false)])).await);
    held.reset().await;
    let rest = api.write(&pieces(&name, &data, 200_000, 50_000)).await;
    rest.assert_refused(Code::InvalidArgument, "digest");
    assert_eq!(api.status_of(&name).await, (0, false));
    api.nothing_stored("it was another blob").await;
}

#[tokio::test]
async fn an_upload_broken_off_behind_its_last_byte_needs_only_to_be_finished() {
    let api = Api::new();
    for len in [100, 300_000] {
        let data = noise("finish", len);
        let name = upload("u", &data);
        let mut held = api.hold_write();
        assert!(held.send(framed(&[piece(&name, 0, &data, false)])).await);
        held.break_off().await.assert_refused(Code::Cancelled, "broke off");
        assert!(!api.has(&data).await, "nobody said that it was all");
        assert_eq!(api.status_of(&name).await, (len as i64, false));
        assert_eq!(api.write(&[piece(&name, len, b"", true)]).await.committed(), len as i64);
        assert!(api.read(&resource(&data), 0, 0).await.data() == data);
        api.nothing_left("it is whole").await;
    }
}

#[tokio::test]
async fn an_upload_that_is_all_here_needs_not_be_finished_if_its_call_ends_well() {
    let api = Api::new();
    let data = noise("forgetful", 300_000);
    let mut messages = pieces(&upload("u", &data), &data, 0, 100_000);
    messages[2].finish_write = false;
    assert_eq!(api.write(&messages).await.committed(), 300_000);
    assert!(api.has(&data).await);
    let nothing = upload("u", b"");
    assert_eq!(api.write(&[piece(&nothing, 0, b"", false)]).await.committed(), 0);
    api.nothing_left("it is whole").await;
}

/// The offset of the first message counts bytes of the blob; what each later one adds to it is compressed.
#[tokio::test]
async fn a_compressed_upload_goes_on_by_what_was_decoded_in_a_frame_of_its_own() {
    let api = Api::new();
    let data = noise("zstd", 3 * MIB);
    let name = zstd_upload("u", &data);
    let mut held = api.hold_write();
    let compressed = compress(&data);
    let first = framed(&pieces(&name, &compressed, 0, MIB));
    assert!(held.send(first.slice(..2 * MIB)).await);
    held.reset().await;
    let (came, is_complete) = api.status_of(&name).await;
    assert!(came > MIB as i64 && came < 2 * MIB as i64 && !is_complete, "{came} bytes, decoded");
    let mut rest = pieces("", &compress(&data[came as usize..]), 0, MIB);
    name.clone_into(&mut rest[0].resource_name);
    for message in &mut rest {
        message.write_offset += came;
    }
    assert_eq!(api.write(&rest).await.committed(), -1);
    assert!(api.read(&resource(&data), 0, 0).await.data() == data);
    api.nothing_left("it is whole").await;
}
