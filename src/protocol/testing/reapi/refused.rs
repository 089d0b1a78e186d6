//! What is refused: with which status, and that nothing of it stays.

use wire::batch_update_blobs_request::Request as Update;

use super::*;

#[tokio::test]
async fn wrong_writes_are_refused_and_nothing_is_kept_of_them() {
    for len in [100, 300_000] {
        let api = Api::new();
        let data = noise("right", len);
        let other = noise("wrong", len);
        let name = upload("u", &data);
        let third = len / 3 + 1;
        let good = pieces(&name, &data, 0, third);
        let changed = |at: usize, change: fn(&mut bytes_wire::WriteRequest)| {
            let mut messages = good.clone();
            change(&mut messages[at]);
            framed(&messages)
        };
        let long = [&data[..], b"x"].concat();
        let renamed =
            [framed(&good[..1]), framed(&[piece(&upload("v", &data), third, &data[third..], true)])];
        let compressed = [framed(&good[..1]), raw(1, &[field(10, &data[third..])])];
        let then_garbage = [framed(&good[..1]), raw(0, &[vec![0x0b, 1, 2, 3]])];
        let cases: [(&str, Bytes, Code, &str); 16] = [
            (
                "another blob at once",
                framed(&[piece(&name, 0, &other, true)]),
                Code::InvalidArgument,
                "digest",
            ),
            ("another blob", framed(&pieces(&name, &other, 0, third)), Code::InvalidArgument, "digest"),
            ("short at once", framed(&[piece(&name, 0, &data[1..], true)]), Code::InvalidArgument, "bytes"),
            ("short", framed(&pieces(&name, &data[1..], 0, third)), Code::InvalidArgument, "bytes"),
            ("long at once", framed(&[piece(&name, 0, &long, true)]), Code::InvalidArgument, "bytes"),
            ("long", framed(&pieces(&name, &long, 0, third)), Code::InvalidArgument, "bytes"),
            ("ahead", changed(1, |message| message.write_offset += 1), Code::InvalidArgument, "write_offset"),
            ("back", changed(1, |message| message.write_offset = 0), Code::InvalidArgument, "write_offset"),
            ("negative", changed(1, |message| message.write_offset = -1), Code::InvalidArgument, "negative"),
            ("early", changed(1, |message| message.finish_write = true), Code::InvalidArgument, "bytes"),
            ("nameless", changed(0, |message| message.resource_name.clear()), Code::InvalidArgument, "name"),
            ("renamed", renamed.concat().into(), Code::InvalidArgument, "changes"),
            ("compressed", compressed.concat().into(), Code::Unimplemented, "compressed"),
            ("garbage", then_garbage.concat().into(), Code::InvalidArgument, "protobuf"),
            (
                "data before its name",
                raw(0, &[field(10, &data), field(1, name.as_bytes())]),
                Code::InvalidArgument,
                "before its data",
            ),
            ("nothing", Bytes::new(), Code::InvalidArgument, "no message"),
        ];
        for (what, body, code, words) in cases {
            for frame in [usize::MAX, 1009] {
                let called = api
                    .call(&format!("{STREAM}/Write"), cut(body.clone(), frame.min(body.len().max(1))))
                    .await;
                assert_eq!(called.status.code(), code, "{what} of {len}: {:?}", called.status);
                called.assert_refused(code, words);
                api.nothing_stored(what).await;
                assert_eq!(api.status_of(&name).await, (0, false), "{what} of {len}");
            }
        }
        let elsewhere = api.write(&pieces(&name, &data, third, third)).await;
        elsewhere.assert_refused(Code::Aborted, "0 bytes of this upload are here");
        api.nothing_stored("it was never begun").await;
        // None of it stands in the way of what is right.
        assert_eq!(api.write(&good).await.committed(), len as i64);
        assert!(api.read(&resource(&data), 0, 0).await.data() == data);
        api.nothing_left("it is whole").await;
    }
}

#[tokio::test]
async fn wrong_zstd_is_refused_and_nothing_is_kept_of_it() {
    let api = Api::new();
    for len in [100, 300_000] {
        let data = noise("right", len);
        let name = zstd_upload("u", &data);
        let good = compress(&data);
        let bomb = compress(&vec![0; 64 << 20]);
        for (what, body) in [
            ("no zstd", noise("no zstd", len)),
            ("half a frame", good[..good.len() - 1].to_vec()),
            ("half a frame behind one", [&good[..], &compress(b"more")[..5]].concat()),
            ("garbage behind it", [&good[..], b"garbage"].concat()),
            ("another blob", compress(&noise("wrong", len))),
            ("short", compress(&data[1..])),
            ("long", compress(&[&data[..], b"x"].concat())),
            ("a bomb", bomb),
            ("not compressed", data.clone()),
            ("nothing", Vec::new()),
        ] {
            for message in [body.len().max(1), body.len() / 3 + 1] {
                let messages = match body.len() {
                    0 => vec![piece(&name, 0, b"", true)],
                    _ => pieces(&name, &body, 0, message),
                };
                let called = api.write(&messages).await;
                assert_eq!(called.status.code(), Code::InvalidArgument, "{what}: {:?}", called.status);
                api.nothing_stored(what).await;
                assert_eq!(api.status_of(&name).await, (0, false), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_batch_that_is_no_batch_stores_nothing_of_what_is_right_in_it() {
    let api = Api::new();
    let method = format!("{CAS}/BatchUpdateBlobs");
    let update =
        |data: &[u8], compressor| Update { digest: Some(digest(data)), data: data.to_vec(), compressor };
    let of = |requests, instance: &str, digest_function| {
        let instance_name = instance.to_owned();
        framed(&[wire::BatchUpdateBlobsRequest { instance_name, requests, digest_function }])
    };
    let good = update(b"good", 0);
    let half = noise("half a batch", 2 << 20);
    let whole = of(vec![good.clone()], "", 0);
    let bare = Update { digest: None, ..good.clone() };
    let upper = wire::Digest { hash: digest(b"good").hash.to_uppercase(), size_bytes: 4 };
    let upper = Update { digest: Some(upper), ..good.clone() };
    for (what, body, code, words) in [
        (
            "too large",
            of(vec![good.clone(), update(&half, 0), update(&half, 0)], "", 0),
            Code::InvalidArgument,
            "4194304",
        ),
        (
            "a compressor of others",
            of(vec![good.clone(), update(b"x", 2)], "", 0),
            Code::InvalidArgument,
            "compressor 2",
        ),
        ("a blob without a name", of(vec![good.clone(), bare], "", 0), Code::InvalidArgument, "no digest"),
        ("no hash", of(vec![good.clone(), upper], "", 0), Code::InvalidArgument, "digest"),
        ("MD5", of(vec![good.clone()], "", 3), Code::InvalidArgument, "function 3"),
        (
            "a reserved instance",
            of(vec![good.clone()], "a/blobs/b", 0),
            Code::InvalidArgument,
            "instance name",
        ),
        ("a cut message", whole.slice(..whole.len() - 1), Code::InvalidArgument, "middle"),
        ("two messages", [&whole[..], &whole[..]].concat().into(), Code::InvalidArgument, "more than one"),
        ("one and a half", [&whole[..], &whole[..7]].concat().into(), Code::InvalidArgument, "one"),
        ("compressed", [&[1], &whole[1..]].concat().into(), Code::Unimplemented, "compressed"),
        ("garbage", raw(0, &[whole[5..].to_vec(), vec![0x12, 0x7f]]), Code::InvalidArgument, "protobuf"),
    ] {
        let called = api.call(&method, cut(body, 64 << 10)).await;
        assert_eq!(called.status.code(), code, "{what}: {:?}", called.status);
        called.assert_refused(code, words);
        api.nothing_stored(what).await;
    }
    for at in 0..=whole.len() {
        let begun = whole.slice(..at);
        let reset = futures_util::stream::iter([
            Ok(Frame::data(begun)),
            Err(io::Error::from(io::ErrorKind::ConnectionReset)),
        ]);
        api.call(&method, StreamBody::new(reset)).await.assert_refused(Code::Cancelled, "broke off");
    }
    api.nothing_stored("it broke off").await;
    for len in 1..whole.len() {
        let called = api.call(&method, cut(whole.clone(), len)).await;
        let answer: wire::BatchUpdateBlobsResponse = called.one();
        assert_eq!(answer.responses[0].status.as_ref().expect("always there").code, 0, "cut by {len}");
    }
    assert!(api.has(b"good").await);
}

#[tokio::test]
async fn a_blob_that_is_wrong_is_refused_by_itself() {
    let api = Api::new();
    let data = noise("blob", 1000);
    let update = |data: Vec<u8>, of: &[u8], compressor| Update { digest: Some(digest(of)), data, compressor };
    let mut sized = update(data.clone(), &data, 0);
    sized.digest.as_mut().expect("set").size_bytes = 999;
    let requests = vec![
        sized,
        update(noise("another", 1000), &data, 0),
        update(data[1..].to_vec(), &data, 0),
        update(noise("no zstd", 100), &data, 1),
        update(compress(&vec![0; 64 << 20]), &data, 1),
        update(compress(&data)[..900].to_vec(), &data, 1),
        update(Vec::new(), &data, 0),
        update(b"good".to_vec(), b"good", 0),
        update(compress(b"zipped"), b"zipped", 1),
        update(Vec::new(), b"", 0),
    ];
    let request = wire::BatchUpdateBlobsRequest { requests, ..wire::BatchUpdateBlobsRequest::default() };
    let called = api.send(&format!("{CAS}/BatchUpdateBlobs"), &[request]).await;
    let answer: wire::BatchUpdateBlobsResponse = called.one();
    let codes = answer.responses.iter().map(|one| one.status.as_ref().expect("always there").code);
    assert_eq!(codes.collect::<Vec<_>>(), [3, 3, 3, 3, 3, 3, 3, 0, 0, 0]);
    assert!(!api.has(&data).await);
    assert!(api.has(b"good").await && api.has(b"zipped").await && api.has(b"").await);
    api.nothing_left("a batch has no drafts").await;
}
