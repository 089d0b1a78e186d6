//! Every method by calls that no client should make, and what the server says of itself.

use super::*;

const METHODS: [&str; 10] = [
    "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities",
    "/build.bazel.remote.execution.v2.ActionCache/GetActionResult",
    "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs",
    "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree",
    "/google.bytestream.ByteStream/Read",
    "/google.bytestream.ByteStream/QueryWriteStatus",
    "/grpc.health.v1.Health/Check",
];

#[tokio::test]
async fn calls_that_are_none_are_refused_by_every_method() {
    let api = Api::new();
    for method in METHODS {
        for (what, body, code) in [
            ("no message", &b""[..], Code::InvalidArgument),
            ("half a prefix", b"\0\0\0", Code::InvalidArgument),
            ("half a message", b"\0\0\0\0\x05\x0a", Code::InvalidArgument),
            ("garbage", b"\0\0\0\0\x01\xff", Code::InvalidArgument),
            ("a field longer than its message", b"\0\0\0\0\x02\x0a\x05", Code::InvalidArgument),
            ("two messages", b"\0\0\0\0\0\0\0\0\0\0", Code::InvalidArgument),
            ("a message of 4 GiB", b"\0\xff\xff\xff\xff", Code::InvalidArgument),
            ("a compressed message", b"\x01\0\0\0\x01x", Code::Unimplemented),
        ] {
            let called = api.call(method, Full::new(Bytes::from_static(body))).await;
            assert_eq!(called.status.code(), code, "{method}, {what}: {:?}", called.status);
            assert!(!called.status.message().is_empty(), "{method}, {what}: without words");
        }
        let reset =
            [Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0"))), Err(io::ErrorKind::ConnectionReset.into())];
        let called =
            api.call(method, StreamBody::new(futures_util::stream::iter::<[Result<_, io::Error>; 2]>(reset)));
        called.await.assert_refused(Code::Cancelled, "broke off");
    }
    api.nothing_stored("no call was one").await;
}

#[tokio::test]
async fn http_1_is_refused_in_words_that_a_person_reads() {
    let api = Api::new();
    let request =
        Request::post(METHODS[0]).body(Full::new(framed(&[wire::GetCapabilitiesRequest::default()])));
    let answer = api.frontend.answer(Route::GetCapabilities, request.expect("a request")).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("gRPC needs HTTP/2"), "{body:?}");
}

#[tokio::test]
async fn what_is_not_served_is_unimplemented_by_name() {
    let api = Api::new();
    for path in [
        "/build.bazel.remote.execution.v2.Execution/Execute",
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/SplitBlob",
        "/build.bazel.remote.asset.v1.Fetch/FetchBlob",
        "/grpc.health.v1.Health/Watch",
        "/",
    ] {
        api.call(path, Full::new(Bytes::new())).await.assert_refused(Code::Unimplemented, path);
    }
}

#[tokio::test]
async fn a_reader_is_told_that_its_results_are_not_taken() {
    let api = Api::new();
    for (route, expected) in [(Route::GetCapabilities, true), (Route::GetCapabilities.for_reader(), false)] {
        let mut request = Request::post(METHODS[0]);
        request = request.version(hyper::Version::HTTP_2);
        let body = Full::new(framed(&[wire::GetCapabilitiesRequest::default()]));
        let answer = api.frontend.answer(route, request.body(body).expect("a request")).await;
        let body = answer.into_body().collect().await.expect("a whole body").to_bytes();
        let got = wire::ServerCapabilities::decode(&body[5..]).expect("a message");
        let may = got.cache_capabilities.and_then(|cache| cache.action_cache_update_capabilities);
        assert_eq!(may.map(|may| may.update_enabled), Some(expected), "{route:?}");
    }
    assert_eq!(Route::GetActionResult.for_reader(), Route::GetActionResult);
}

#[tokio::test]
async fn capabilities_are_the_contracts_for_any_instance() {
    let settings = cache::Settings { entry_max: 1 << 30, ..cache::Settings::default() };
    let api = Api::over(Desk::with(settings), None);
    for (instance, functions) in
        [("", [1, 9]), ("a/b", [1, 9]), ("a/blobs/b", [1, 9]), ("../..", [1, 9]), ("blake3", [9, 1])]
    {
        let request = wire::GetCapabilitiesRequest { instance_name: instance.to_owned() };
        let got: wire::ServerCapabilities = api.send(METHODS[0], &[request]).await.one();
        let cache = got.cache_capabilities.expect("a cache");
        assert_eq!(cache.digest_functions, functions, "{instance}");
        assert!(cache.action_cache_update_capabilities.expect("said").update_enabled);
        assert_eq!((cache.max_batch_total_size_bytes, cache.max_cas_blob_size_bytes), (4 << 20, 1 << 30));
        assert_eq!(
            (cache.supported_compressors, cache.supported_batch_update_compressors),
            (vec![1], vec![1])
        );
        assert!(got.execution_capabilities.is_none());
    }
}

#[tokio::test]
async fn reads_that_cant_be_are_refused() {
    let api = Api::new();
    let data = noise("read", 300_000);
    api.store(&data).await;
    let name = resource(&data);
    let zstd = format!("compressed-{}", name.replacen("blobs/", "blobs/zstd/", 1));
    for (name, offset, limit, code, words) in [
        (&name, -1, 0, Code::InvalidArgument, "read_offset -1 is negative"),
        (&name, 0, -1, Code::InvalidArgument, "read_limit -1 is negative"),
        (&name, 300_001, 0, Code::OutOfRange, "past the 300000 bytes"),
        (&name, i64::MAX, i64::MAX, Code::OutOfRange, "past the 300000 bytes"),
        (&zstd, 0, 1, Code::InvalidArgument, "read_limit"),
        (&zstd, 300_001, 0, Code::OutOfRange, "past the 300000 bytes"),
        (&resource(b"absent"), 0, 0, Code::NotFound, "not in the cache"),
        (&resource(b"absent"), 6, 0, Code::NotFound, "not in the cache"),
        (&upload("u", &data), 0, 0, Code::InvalidArgument, "instance name"),
    ] {
        api.read(name, offset, limit).await.assert_refused(code, words);
    }
    for (offset, limit) in
        [(0, 0), (0, 1), (0, i64::MAX), (1, 0), (70_000, 100_000), (299_999, 9), (300_000, 5)]
    {
        let called = api.read(&name, offset, limit).await;
        let end = if limit == 0 {
            data.len()
        } else {
            data.len().min((offset as usize).saturating_add(limit as usize))
        };
        assert_eq!(called.status.code(), Code::Ok);
        assert!(called.data() == data[offset as usize..end], "{limit} from {offset}");
    }
    for offset in [0, 1, 131_072, 299_999, 300_000] {
        let compressed = api.read(&zstd, offset, 0).await.data();
        let mut decoded = Vec::with_capacity(data.len());
        zstd_safe::decompress(&mut decoded, &compressed).expect("zstd");
        assert!(decoded == data[offset as usize..], "from {offset}");
    }
}
