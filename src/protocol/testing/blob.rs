//! The generic blob route.

use super::*;

const PATH: &str = "/blob/ns/a/b.txt";

#[tokio::test]
async fn a_blob_is_put_got_overwritten_and_deleted() {
    let desk = Desk::new();
    assert_eq!(desk.get(PATH).await.status, 404);
    for (method, body) in [("PUT", "one"), ("POST", "two"), ("PATCH", "three")] {
        let put = desk.send(method, PATH, &[("content-type", "text/css")], body.as_bytes()).await;
        assert_eq!((put.status, put.body.len()), (200, 0));
        let hit = desk.get(PATH).await;
        assert_eq!((hit.status, hit.text()), (200, body));
        assert_eq!(hit.header("content-type"), Some("text/css"));
        assert_eq!(hit.header("etag"), put.header("etag"));
        assert_eq!(hit.header("accept-ranges"), Some("bytes"));
        assert!(hit.header("last-modified").is_some());
        let head = desk.send("HEAD", PATH, &[], b"").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(body.len().to_string().as_str()));
        assert_eq!(head.header("etag"), put.header("etag"));
    }
    assert_eq!(desk.get("/blob/other/a/b.txt").await.status, 404);
    assert_eq!(desk.send("DELETE", PATH, &[], b"").await.status, 204);
    assert_eq!(desk.send("DELETE", PATH, &[], b"").await.status, 404);
    assert_eq!(desk.get(PATH).await.status, 404);
}

#[tokio::test]
async fn bodies_without_a_length_are_taken_whole_or_not_at_all() {
    let desk = Desk::new();
    assert_eq!(desk.send_body("PUT", PATH, &[], chunked(&[b"tar", b".gz"])).await.status, 200);
    assert_eq!(desk.get(PATH).await.text(), "tar.gz");
    assert_eq!(desk.send_body("PUT", PATH, &[], broken(&[b"half"])).await.status, 400);
    assert_eq!(desk.get(PATH).await.text(), "tar.gz");
    assert_eq!(desk.put(PATH, b"").await.status, 200);
    let hit = desk.get(PATH).await;
    assert_eq!((hit.status, hit.text()), (200, ""));
}

#[tokio::test]
async fn ranges() {
    let desk = Desk::new();
    desk.put(PATH, b"0123456789").await;
    for (range, status, body, content_range) in [
        ("bytes=0-3", 206, "0123", Some("bytes 0-3/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-2", 206, "89", Some("bytes 8-9/10")),
        ("bytes=0-", 206, "0123456789", Some("bytes 0-9/10")),
        ("bytes=9-99999999999999999999", 206, "9", Some("bytes 9-9/10")),
        ("bytes=0-1,3-4", 200, "0123456789", None),
        ("bytes=3-1", 200, "0123456789", None),
        ("bytes=x", 200, "0123456789", None),
        ("lines=1-2", 200, "0123456789", None),
        ("bytes=10-", 416, "the range is outside the body of 10 bytes\n", Some("bytes */10")),
        ("bytes=-0", 416, "the range is outside the body of 10 bytes\n", Some("bytes */10")),
    ] {
        let seen = desk.send("GET", PATH, &[("range", range)], b"").await;
        assert_eq!(
            (seen.status, seen.text(), seen.header("content-range")),
            (status, body, content_range),
            "{range}"
        );
    }
    assert_eq!(desk.send("GET", "/blob/ns/none", &[("range", "bytes=0-1")], b"").await.status, 404);
    let head = desk.send("HEAD", PATH, &[("range", "bytes=0-3")], b"").await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
}

#[tokio::test]
async fn conditions_of_reads() {
    let desk = Desk::new();
    let etag = desk.put(PATH, b"0123456789").await.header("etag").expect("an etag").to_owned();
    for (headers, status, len) in [
        (&[("if-none-match", etag.as_str())][..], 304, 0),
        (&[("if-none-match", "\"other\"")], 200, 10),
        (&[("if-match", "\"other\"")], 412, 67),
        (&[("if-match", &etag)], 200, 10),
        (&[("range", "bytes=0-1"), ("if-range", &etag)], 206, 2),
        (&[("range", "bytes=0-1"), ("if-range", "\"other\"")], 200, 10),
        (&[("range", "bytes=99-"), ("if-range", "\"other\"")], 200, 10),
        (&[("range", "bytes=99-"), ("if-none-match", &etag)], 304, 0),
        (&[("range", "bytes=0-1"), ("if-none-match", &etag)], 304, 0),
    ] {
        let seen = desk.send("GET", PATH, headers, b"").await;
        assert_eq!((seen.status, seen.body.len()), (status, len), "{headers:?}");
        if status == 304 {
            assert_eq!(seen.header("etag"), Some(etag.as_str()));
            let head = desk.send("HEAD", PATH, headers, b"").await;
            assert_eq!((head.status, head.body.len()), (304, 0));
        }
    }
    let modified = desk.get(PATH).await.header("last-modified").expect("a date").to_owned();
    assert_eq!(desk.send("GET", PATH, &[("if-modified-since", &modified)], b"").await.status, 304);
}

#[tokio::test]
async fn conditions_of_writes() {
    let desk = Desk::new();
    let put = async |headers: &[(&str, &str)]| desk.send("PUT", PATH, headers, b"body").await;
    assert_eq!(put(&[("if-match", "*")]).await.status, 412);
    let etag = put(&[("if-none-match", "*")]).await.header("etag").expect("an etag").to_owned();
    put(&[("if-none-match", "*")]).await.assert_refused(StatusCode::PRECONDITION_FAILED, "condition");
    assert_eq!(put(&[("if-match", "\"other\"")]).await.status, 412);
    assert_eq!(put(&[("if-match", &etag)]).await.status, 200);
    assert_eq!(put(&[("if-match", "unquoted")]).await.status, 400);
    assert_eq!(put(&[("if-match", &etag), ("if-none-match", "*")]).await.status, 400);
    let delete = async |headers: &[(&str, &str)]| desk.send("DELETE", PATH, headers, b"").await;
    assert_eq!(delete(&[("if-match", "\"other\"")]).await.status, 412);
    assert_eq!(delete(&[("if-match", &etag)]).await.status, 204);
}

#[tokio::test]
async fn over_entry_max_is_read_acknowledged_and_not_kept() {
    let desk = Desk::with(cache::Settings { entry_max: 10, ..cache::Settings::default() });
    desk.put(PATH, b"small").await;
    let shed = desk.put(PATH, b"eleven byte").await;
    assert_eq!((shed.status, shed.header("connection"), shed.body.len()), (200, None, 0));
    let shed = desk.send_body("PUT", PATH, &[], chunked(&[b"eleven", b" byte"])).await;
    assert_eq!((shed.status, shed.header("connection")), (200, None));
    assert_eq!(desk.shed(Shed::EntryMax), 2);
    let broken = desk.send_body("PUT", PATH, &[], broken(&[b"eleven", b" bytes"])).await;
    assert_eq!(broken.header("connection"), Some("close"));
}

#[tokio::test]
async fn bad_names_and_bodies_are_refused_with_the_remedy() {
    let desk = Desk::new();
    let long = format!("/blob/ns/{}", "x".repeat(1025));
    for (path, words) in [
        ("/blob", "namespace"),
        ("/blob/ns", "needs a name"),
        ("/blob/ns/a/%2e%2e/b", "segment"),
        ("/blob/ns/../b", "segment"),
        ("/blob/ns/a/./b", "segment"),
        ("/blob/ns/a%00b", "NUL"),
        ("/blob/ns/a%0ab", "control byte"),
        (&long, "1024"),
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            let seen = desk.send(method, path, &[], b"body").await;
            seen.assert_refused(StatusCode::BAD_REQUEST, words);
        }
    }
    for (headers, status, words) in [
        (("content-encoding", "gzip"), StatusCode::UNSUPPORTED_MEDIA_TYPE, "gzip"),
        (("content-range", "bytes 0-3/10"), StatusCode::BAD_REQUEST, "Content-Range"),
    ] {
        desk.send("PUT", PATH, &[headers], b"body").await.assert_refused(status, words);
    }
    let other = desk.send("MKCOL", PATH, &[], b"").await;
    other.assert_refused(StatusCode::METHOD_NOT_ALLOWED, "MKCOL is not served here");
    assert_eq!(desk.get(PATH).await.status, 404);
}
