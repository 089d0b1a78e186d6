//! Bazel, Mill and moon over HTTP.

use super::*;
use crate::digest::{Digest, Function};
use crate::links::PARSED_BYTES_MAX;

const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn cas(body: &[u8]) -> String {
    format!("/cas/{}", Digest::of(Function::Sha256, body).hex())
}

fn ac(name: &str) -> String {
    format!("/ac/{}", Digest::of(Function::Sha256, name.as_bytes()).hex())
}

/// `exit_code: 1`, and a field that no version of the API has.
const ACTION: &[u8] = b"\x20\x01\xa2\x38\x01x";

#[tokio::test]
async fn content_is_put_and_got_by_every_namespace() {
    let desk = Desk::new();
    let path = cas(b"larder");
    assert_eq!(desk.get(&path).await.status, 404);
    let put = desk.put(&format!("/team/web{path}"), b"larder").await;
    assert_eq!((put.status, put.body.len()), (200, 0));
    for path in [path.clone(), format!("/other{path}"), format!("//{path}")] {
        let hit = desk.get(&path).await;
        assert_eq!((hit.status, &hit.body[..]), (200, &b"larder"[..]), "{path}");
        let head = desk.send("HEAD", &path, &[], b"").await;
        assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("6"), 0));
    }
}

/// What the server does for a namespace with `digest = "blake3"`.
#[tokio::test]
async fn in_a_namespace_of_blake3_content_and_what_an_action_names_are_checked_by_it() {
    let desk = Desk::new();
    let policy = Policy { digest: Function::Blake3, ..Policy::default() };
    let scope =
        Scope { owner: Owner(0), namespace: Namespace::parse("b").expect("one"), upstream: None, policy };
    let send = async |method: &str, path: &str, body: &[u8]| {
        let segments: Vec<&str> = path[1..].split('/').collect();
        let (_, route) = bazel_http::Route::parse(&segments).expect("a path of Bazel's");
        let body = Full::new(Bytes::copy_from_slice(body));
        let request = Request::builder().method(method).uri(path).body(body).expect("a request");
        desk.bazel.answer(&scope, route, request).await.status().as_u16()
    };
    let blake3 = Digest::of(Function::Blake3, b"out").hex();
    assert_eq!(send("PUT", &cas(b"out"), b"out").await, 400, "that is its SHA-256");
    assert_eq!(send("PUT", &format!("/cas/{blake3}"), b"out").await, 200);
    assert_eq!(send("GET", &format!("/cas/{blake3}"), b"").await, 200);
    assert_eq!(desk.get(&format!("/cas/{blake3}")).await.status, 404, "elsewhere that is a hash of SHA-256");
    let empty = Digest::of(Function::Blake3, b"").hex();
    assert_eq!(send("GET", &format!("/cas/{empty}"), b"").await, 200);
    // ActionResult { stdout_digest { hash, size_bytes: 3 } }
    let naming = |hash: &str| [&[0x32, 68, 0x0a, 64], hash.as_bytes(), &[0x10, 3]].concat();
    for (hash, found) in [(&blake3, 200), (&Digest::of(Function::Blake3, b"oth").hex(), 404)] {
        assert_eq!(send("PUT", &ac(hash), &naming(hash)).await, 200);
        assert_eq!(send("GET", &ac(hash), b"").await, found, "{hash}");
    }
}

#[tokio::test]
async fn a_miss_has_a_length_in_every_method() {
    let desk = Desk::new();
    for path in [cas(b"nothing"), ac("nothing")] {
        let miss = desk.get(&path).await;
        assert_eq!((miss.status, miss.text()), (404, "not in the cache\n"));
        let head = desk.send("HEAD", &path, &[], b"").await;
        assert_eq!((head.status, head.body.len(), head.header("content-length")), (404, 0, None));
    }
}

#[tokio::test]
async fn the_empty_blob_is_there_without_having_been_put() {
    let desk = Desk::new();
    let path = format!("/cas/{EMPTY}");
    let hit = desk.get(&path).await;
    assert_eq!((hit.status, hit.body.len()), (200, 0));
    let head = desk.send("HEAD", &path, &[], b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("0")));
    assert_eq!(desk.put(&path, b"").await.status, 200, "moon puts it, without a length");
    assert_eq!(desk.send_body("PUT", &path, &[], chunked(&[])).await.status, 200);
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_not_kept() {
    let desk = Desk::new();
    let path = cas(b"right");
    desk.put(&path, b"wrong").await.assert_refused(StatusCode::BAD_REQUEST, "digest");
    assert_eq!(desk.get(&path).await.status, 404);
    let short = desk.send_body("PUT", &path, &[], broken(&[b"ri"])).await;
    assert_eq!((short.status, short.header("connection")), (400, Some("close")));
    assert_eq!(desk.get(&path).await.status, 404);
    assert_eq!(desk.send_body("PUT", &path, &[], chunked(&[b"ri", b"", b"ght"])).await.status, 200);
    assert_eq!(desk.get(&path).await.body, "right");
}

#[tokio::test]
async fn over_entry_max_is_413_announced_or_not() {
    let desk = Desk::with(cache::Settings { entry_max: 10, ..cache::Settings::default() });
    let body = b"eleven byte";
    desk.put(&cas(body), body).await.assert_refused(StatusCode::PAYLOAD_TOO_LARGE, "entry_max");
    let body = chunked(&[b"eleven", b" byte"]);
    let refused = desk.send_body("PUT", &cas(b"eleven byte"), &[], body).await;
    refused.assert_refused(StatusCode::PAYLOAD_TOO_LARGE, "entry_max");
    assert_eq!(refused.header("connection"), None, "it was read to its end");
    assert_eq!(desk.get(&cas(b"eleven byte")).await.status, 404);
}

#[tokio::test]
async fn names_that_are_no_digest_are_refused_in_words() {
    let desk = Desk::new();
    let upper = cas(b"x").to_uppercase().replace("/CAS/", "/cas/");
    for path in
        ["/cas/abc", "/ac/xyz", &upper, &format!("/ns/cas/{}", "g".repeat(64)), &format!("/cas/{EMPTY}0")]
    {
        for method in ["GET", "PUT"] {
            desk.send(method, path, &[], b"body").await.assert_refused(StatusCode::BAD_REQUEST, "digest");
        }
        let head = desk.send("HEAD", path, &[], b"").await;
        assert_eq!((head.status, head.body.len()), (400, 0));
    }
}

#[tokio::test]
async fn other_methods_and_encodings_are_refused_in_words() {
    let desk = Desk::new();
    for method in ["POST", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let refused = desk.send(method, &cas(b"x"), &[], b"x").await;
        refused.assert_refused(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD, PUT");
        assert_eq!(refused.header("allow"), Some("GET, HEAD, PUT"));
    }
    let refused = desk.send("PUT", &cas(b"x"), &[("content-encoding", "zstd")], b"x").await;
    refused.assert_refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Encoding `zstd`");
    assert_eq!(desk.get(&cas(b"x")).await.status, 404);
}

#[tokio::test]
async fn action_results_come_back_as_they_were_put_and_opaque_ones_too() {
    let desk = Desk::new();
    for (name, body) in [("action", ACTION), ("ccache", b"cCrS and so on"), ("empty", b"")] {
        assert_eq!(desk.put(&ac(name), body).await.status, 200, "{name}");
        assert_eq!(desk.get(&ac(name)).await.body, body, "{name}");
        assert_eq!(desk.get(&format!("/ns{}", ac(name))).await.status, 404, "another namespace");
    }
}

#[tokio::test]
async fn an_action_result_whose_blobs_are_gone_is_a_miss() {
    let desk = Desk::new();
    let blob = Digest::of(Function::Sha256, b"out").hex();
    // stdout_digest { hash, size_bytes: 3 }
    let result = [b"\x32\x44\x0a\x40", blob.as_bytes(), b"\x10\x03"].concat();
    assert_eq!(desk.put(&ac("a"), &result).await.status, 200);
    assert_eq!(desk.get(&ac("a")).await.status, 404);
    assert_eq!(desk.send("HEAD", &ac("a"), &[], b"").await.status, 404);
    desk.put(&cas(b"out"), b"out").await;
    assert_eq!(desk.get(&ac("a")).await.body, result);
}

#[tokio::test]
async fn moon_speaks_json_and_bazel_reads_it() {
    let desk = Desk::new();
    let json = [("accept", "application/json"), ("content-type", "application/json")];
    let put = desk.send("PUT", &ac("a"), &json, br#"{"exitCode": 1}"#).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(desk.get(&ac("a")).await.body, b"\x20\x01"[..]);
    assert_eq!(desk.send("GET", &ac("a"), &json, b"").await.json(), serde_json::json!({"exitCode": 1}));
    let head = desk.send("HEAD", &ac("a"), &json, b"").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("14"), 0));

    desk.put(&ac("b"), ACTION).await;
    assert_eq!(desk.send("GET", &ac("b"), &json, b"").await.json(), serde_json::json!({"exitCode": 1}));
    desk.put(&ac("c"), b"cCrS and so on").await;
    assert_eq!(desk.send("GET", &ac("c"), &json, b"").await.status, 404, "opaque");
    for bad in ["", "{", r#"{"exitcode": 1}"#, r#"{"outputFiles": [{"path": "/a"}]}"#] {
        desk.send("PUT", &ac("d"), &json, bad.as_bytes())
            .await
            .assert_refused(StatusCode::BAD_REQUEST, "ActionResult");
    }
    assert_eq!(desk.get(&ac("d")).await.status, 404);
    let long = vec![b' '; 2 * PARSED_BYTES_MAX + 1];
    desk.send("PUT", &ac("d"), &json, &long).await.assert_refused(StatusCode::PAYLOAD_TOO_LARGE, "bytes");
    // Content is bytes, whatever it is called.
    desk.send("PUT", &cas(b"{}"), &json, b"{}").await;
    assert_eq!(desk.send("GET", &cas(b"{}"), &json, b"").await.body, "{}");
}

#[tokio::test]
async fn status_has_bazel_remotes_keys() {
    let desk = Desk::new();
    for path in ["/status", "/team/status"] {
        let status = desk.get(path).await;
        assert_eq!(status.status, 200);
        let status = status.json();
        for key in ["CurrSize", "MaxSize", "NumFiles", "ServerTime", "ReservedSize", "UncompressedSize"] {
            assert!(status[key].is_u64(), "{key}");
        }
    }
    let head = desk.send("HEAD", "/status", &[], b"").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(desk.put("/status", b"x").await.status, 405);
}

#[tokio::test]
async fn what_happened_is_counted() {
    let desk = Desk::new();
    desk.get(&cas(b"x")).await;
    desk.put(&cas(b"x"), b"x").await;
    desk.put(&cas(b"x"), b"wrong").await;
    desk.get(&cas(b"x")).await;
    let stats = desk.context.cache.stats().protocol("bazel");
    assert_eq!((stats.misses.read(), stats.puts.read(), stats.refused.read()), (1, 1, 1));
    assert_eq!((stats.bytes_in.read(), stats.bytes_out.read()), (6, 1));
    assert_eq!(stats.hits.iter().map(|hits| hits.read()).sum::<u64>(), 1);
}
