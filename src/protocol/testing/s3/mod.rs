//! The S3 door, by the requests of its clients. Signatures are tested where they are verified.

mod buckets;

use super::*;
use crate::key::Owner;
use crate::keyring::Keyring;
use crate::protocol::{Admission, Places, Routes, s3};

const AGES_AGO: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const OBJECT: &str = "/bucket/a/key";

/// The door of a daemon's owner.
struct Door {
    desk: Desk,
    s3: s3::Frontend,
}

impl Door {
    fn new() -> Self {
        Self::with(cache::Settings::default())
    }

    fn with(settings: cache::Settings) -> Self {
        let desk = Desk::with(settings);
        let places = Arc::new(Places::new(Owner(0), Routes::default()));
        let s3 = s3::Frontend::new(Arc::clone(&desk.context), places, Keyring::none());
        Self { desk, s3 }
    }

    async fn send_body<B: Incoming>(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: B,
    ) -> Seen {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        let route = s3::Route::parse(request.uri().path(), None);
        let answer = match self.s3.answer_now(Admission::Owner, &route, &request) {
            Some(answer) => answer,
            None => self.s3.answer(Admission::Owner, route, request).await,
        };
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let seen = Seen { status: head.status.as_u16(), headers: head.headers, body };
        assert!(seen.header("x-amz-request-id").is_some(), "{seen:?}");
        seen
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Seen {
        self.send_body(method, path, headers, Full::new(body.into())).await
    }

    async fn get(&self, path: &str) -> Seen {
        self.send("GET", path, &[], "").await
    }

    async fn put(&self, path: &str, body: impl Into<Bytes>) -> Seen {
        self.send("PUT", path, &[], body).await
    }

    async fn begin(&self, path: &str) -> String {
        let begun = self.send("POST", &format!("{path}?uploads"), &[("x-amz-meta-a-b", "1")], "").await;
        assert_eq!(begun.status, 200, "{begun:?}");
        between(&begun, "UploadId").pop().expect("an id")
    }

    async fn part(&self, path: &str, id: &str, number: u32, body: impl Into<Bytes>) -> String {
        let part = self.put(&format!("{path}?partNumber={number}&uploadId={id}"), body).await;
        assert_eq!(part.status, 200, "{part:?}");
        part.header("etag").expect("an ETag").to_owned()
    }

    async fn complete(&self, path: &str, id: &str, parts: &[(u32, &str)]) -> Seen {
        let part = |(number, etag): &(u32, &str)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        };
        let parts: String = parts.iter().map(part).collect();
        let body = format!(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
        );
        self.send("POST", &format!("{path}?uploadId={id}"), &[], body).await
    }
}

/// The texts of all elements of a name.
fn between(seen: &Seen, tag: &str) -> Vec<String> {
    let begin = format!("<{tag}>");
    let parts = seen.text().split(&begin).skip(1);
    parts.filter_map(|rest| rest.split("</").next().map(str::to_owned)).collect()
}

/// It is refused, with this code.
#[track_caller]
fn refused(seen: &Seen, status: u16, code: &str) {
    assert_eq!(seen.status, status, "{seen:?}");
    assert!(seen.text().contains(&format!("<Error><Code>{code}</Code><Message>")), "{code}: {seen:?}");
    assert_eq!(seen.header("content-type"), Some("application/xml"));
}

fn md5(bytes: &[u8]) -> String {
    format!("\"{}\"", crate::protocol::objects::md5::Sum::of(bytes).hex())
}

#[tokio::test]
async fn an_object_comes_back_with_what_sdks_look_for() {
    let door = Door::new();
    refused(&door.get(OBJECT).await, 404, "NoSuchKey");
    let miss = door.send("HEAD", OBJECT, &[], "").await;
    assert_eq!((miss.status, miss.body.len()), (404, 0));
    let headers = [
        ("content-type", "text/plain"),
        ("content-encoding", "gzip"),
        ("x-amz-meta-outputid", "1"),
        ("x-amz-meta-with-dashes", "2"),
    ];
    let put = door.send("PUT", OBJECT, &headers, "larder").await;
    assert_eq!((put.status, put.header("etag")), (200, Some(&*md5(b"larder"))), "{put:?}");
    for method in ["GET", "HEAD", "GET"] {
        let hit = door.send(method, OBJECT, &[], "").await;
        assert_eq!((hit.status, hit.text()), (200, if method == "GET" { "larder" } else { "" }), "{hit:?}");
        for (name, value) in
            headers.into_iter().chain([("etag", &*md5(b"larder")), ("accept-ranges", "bytes")])
        {
            assert_eq!(hit.header(name), Some(value), "{method} {name}");
        }
        assert!(hit.header("last-modified").is_some());
    }
    assert_eq!(door.send("HEAD", OBJECT, &[], "").await.header("content-length"), Some("6"));
    for _ in 0..2 {
        assert_eq!(door.send("DELETE", OBJECT, &[], "").await.status, 204);
    }
    refused(&door.get(OBJECT).await, 404, "NoSuchKey");
}

#[tokio::test]
async fn ranges_and_conditions() {
    let door = Door::new();
    let etag = door.put(OBJECT, "0123456789").await.header("etag").expect("an ETag").to_owned();
    for (range, body, part) in [("bytes=2-4", "234", "bytes 2-4/10"), ("bytes=-2", "89", "bytes 8-9/10")] {
        let hit = door.send("GET", OBJECT, &[("range", range)], "").await;
        assert_eq!((hit.status, hit.text(), hit.header("content-range")), (206, body, Some(part)));
        let head = door.send("HEAD", OBJECT, &[("range", range)], "").await;
        assert_eq!((head.status, head.header("content-range")), (206, Some(part)));
    }
    let outside = door.send("GET", OBJECT, &[("range", "bytes=10-")], "").await;
    refused(&outside, 416, "InvalidRange");
    assert_eq!(outside.header("content-range"), Some("bytes */10"));
    assert_eq!(door.send("HEAD", OBJECT, &[("if-match", &etag)], "").await.status, 200, "go-cache-plugin");
    let bare = etag.trim_matches('"').to_owned();
    assert_eq!(door.send("HEAD", OBJECT, &[("if-match", &bare)], "").await.status, 200, "as it passes it on");
    assert_eq!(door.send("HEAD", OBJECT, &[("if-match", "\"x\"")], "").await.status, 412);
    assert_eq!(door.send("GET", OBJECT, &[("if-none-match", &etag)], "").await.status, 304);
    for (condition, status) in
        [(("if-none-match", "*"), 412), (("if-match", "\"x\""), 412), (("if-match", &*etag), 200)]
    {
        assert_eq!(door.send("PUT", OBJECT, &[condition], "new").await.status, status, "{condition:?}");
    }
    refused(&door.send("DELETE", OBJECT, &[("if-match", "\"x\"")], "").await, 412, "PreconditionFailed");
}

#[tokio::test]
async fn what_is_said_of_a_body_is_checked() {
    let door = Door::new();
    let sha256 = "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225";
    for (name, value) in [
        ("x-amz-content-sha256", sha256),
        ("content-md5", "JfnnlDI7RTiF9RgfG2JNCw=="),
        ("x-amz-checksum-crc32", "y/Q5Jg=="),
        ("x-amz-checksum-crc32c", "4waSgw=="),
    ] {
        let put = door.send("PUT", OBJECT, &[(name, value)], "123456789").await;
        assert_eq!(put.status, 200, "{name}: {put:?}");
    }
    let put = door.send("PUT", OBJECT, &[("x-amz-checksum-crc32", "y/Q5Jg==")], "123456789").await;
    assert_eq!(put.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let hit = door.send("GET", OBJECT, &[("x-amz-checksum-mode", "ENABLED")], "").await;
    assert_eq!(hit.header("x-amz-checksum-crc32"), Some("y/Q5Jg=="));
    let part = [("x-amz-checksum-mode", "ENABLED"), ("range", "bytes=0-1")];
    assert_eq!(
        door.send("GET", OBJECT, &part, "").await.header("x-amz-checksum-crc32"),
        None,
        "of the whole only"
    );
    assert_eq!(door.get(OBJECT).await.header("x-amz-checksum-crc32"), None, "not asked for");

    let new = "/bucket/new";
    let long = "v".repeat(2000);
    for (name, value, code) in [
        ("x-amz-content-sha256", sha256, "XAmzContentSHA256Mismatch"),
        ("x-amz-content-sha256", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "InvalidRequest"),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest"),
        ("content-md5", "x", "InvalidDigest"),
        ("x-amz-checksum-crc32", "y/Q5Jg==", "BadDigest"),
        ("x-amz-checksum-sha1", "y/Q5Jg==", "InvalidRequest"),
        ("x-amz-meta-a", &long, "MetadataTooLarge"),
        ("if-match", "\"x", "InvalidArgument"),
    ] {
        refused(&door.send("PUT", new, &[(name, value)], "other").await, 400, code);
        refused(&door.get(new).await, 404, "NoSuchKey");
    }
    assert_eq!(door.send_body("PUT", new, &[], broken(&[b"half"])).await.status, 400);
    refused(&door.get(new).await, 404, "NoSuchKey");
    assert_eq!(door.send_body("PUT", new, &[], chunked(&[b"wh", b"ole"])).await.status, 200);
    assert_eq!(door.get(new).await.text(), "whole");
}

#[tokio::test]
async fn chunked_bodies_are_stored_without_their_chunks() {
    let door = Door::new();
    let trailer = [
        ("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
        ("x-amz-decoded-content-length", "9"),
    ];
    let body = "5\r\n12345\r\n4\r\n6789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n";
    let put = door.send("PUT", OBJECT, &trailer, body).await;
    assert_eq!((put.status, put.header("etag")), (200, Some(&*md5(b"123456789"))), "{put:?}");
    let hit = door.get(OBJECT).await;
    assert_eq!((hit.text(), hit.header("content-encoding")), ("123456789", None));
    let plain = [("content-encoding", "aws-chunked,gzip")];
    assert_eq!(door.send("PUT", OBJECT, &plain, "1\r\nx\r\n0\r\n\r\n").await.status, 200);
    let hit = door.get(OBJECT).await;
    assert_eq!((hit.text(), hit.header("content-encoding")), ("x", Some("gzip")));
    let new = "/bucket/new";
    for (bad, code) in [
        (body.replace("y/Q5", "y/Q6"), "BadDigest"),
        (body.replace("crc32:", "crc32c:"), "InvalidRequest"),
        (body.replace("6789", "678"), "InvalidRequest"),
        (body.replace("4\r\n6789\r\n", ""), "IncompleteBody"),
        (body.replace("5\r\n12345", "x\r\n12345"), "InvalidRequest"),
        (format!("{body}more"), "InvalidRequest"),
    ] {
        refused(&door.send("PUT", new, &trailer, bad).await, 400, code);
    }
    for end in 0..body.len() {
        assert_eq!(door.send("PUT", new, &trailer, &body[..end]).await.status, 400, "{end}");
    }
    refused(&door.get(new).await, 404, "NoSuchKey");
}

#[tokio::test]
async fn parts_come_in_any_order_and_from_any_number() {
    let door = Door::new();
    let id = door.begin(OBJECT).await;
    let three = door.part(OBJECT, &id, 3, "three").await;
    let replaced = door.part(OBJECT, &id, 2, "never").await;
    let two = door.part(OBJECT, &id, 2, "two").await;
    refused(&door.get(OBJECT).await, 404, "NoSuchKey");
    let listed = door.get(&format!("{OBJECT}?uploadId={id}")).await;
    assert_eq!(between(&listed, "PartNumber"), ["2", "3"]);
    let uploads = door.get("/bucket?uploads&prefix=a/").await;
    assert_eq!(
        (between(&uploads, "Key"), between(&uploads, "UploadId")),
        (vec!["a/key".to_owned()], vec![id.clone()])
    );
    refused(&door.complete(OBJECT, &id, &[(3, &three), (2, &two)]).await, 400, "InvalidPartOrder");
    refused(&door.complete(OBJECT, &id, &[(2, &replaced), (3, &three)]).await, 400, "InvalidPart");
    refused(&door.complete(OBJECT, &id, &[(1, &two)]).await, 400, "InvalidPart");
    refused(&door.complete(OBJECT, &id, &[]).await, 400, "MalformedXML");
    let done = door.complete(OBJECT, &id, &[(2, &two), (3, &three)]).await;
    assert_eq!(done.status, 200, "{done:?}");
    let etag = between(&done, "ETag").pop().expect("an ETag").replace("&quot;", "\"");
    assert!(etag.ends_with("-2\""), "{etag}");
    let hit = door.get(OBJECT).await;
    assert_eq!(
        (hit.text(), hit.header("etag"), hit.header("x-amz-meta-a-b")),
        ("twothree", Some(&*etag), Some("1"))
    );
    let again = door.complete(OBJECT, &id, &[(2, &two), (3, &three)]).await;
    assert_eq!(again.status, 200, "its answer was lost");
    assert!(between(&door.get("/bucket?uploads").await, "Key").is_empty());
    let other = door.begin(OBJECT).await;
    door.part(OBJECT, &other, 1, "x").await;
    let path = format!("{OBJECT}?uploadId={other}");
    assert_eq!(door.send("DELETE", &path, &[], "").await.status, 204);
    refused(&door.send("DELETE", &path, &[], "").await, 404, "NoSuchUpload");
    refused(&door.put(&format!("{path}&partNumber=1"), "x").await, 404, "NoSuchUpload");
    refused(&door.complete(OBJECT, &other, &[(1, "x")]).await, 404, "NoSuchUpload");
    refused(&door.put(&format!("{OBJECT}?uploadId=..&partNumber=1"), "x").await, 404, "NoSuchUpload");
    for bad in ["0", "10001", "x", ""] {
        refused(&door.put(&format!("{path}&partNumber={bad}"), "x").await, 400, "InvalidArgument");
    }
}

#[tokio::test]
async fn copies_keep_or_replace_what_an_object_is() {
    let door = Door::new();
    door.send("PUT", OBJECT, &[("x-amz-meta-a", "1")], "bytes").await;
    let source = ("x-amz-copy-source", "/bucket/a%2Fkey");
    let copied = door.send("PUT", "/bucket/copy", &[source], "").await;
    assert_eq!(copied.status, 200, "{copied:?}");
    let hit = door.get("/bucket/copy").await;
    assert_eq!((hit.text(), hit.header("x-amz-meta-a")), ("bytes", Some("1")));
    refused(&door.send("PUT", OBJECT, &[source], "").await, 400, "InvalidRequest");
    let touch = [source, ("x-amz-metadata-directive", "REPLACE"), ("x-amz-meta-a", "2")];
    assert_eq!(door.send("PUT", OBJECT, &touch, "").await.status, 200, "as BuildKit touches");
    let hit = door.get(OBJECT).await;
    assert_eq!(
        (hit.text(), hit.header("x-amz-meta-a"), hit.header("etag")),
        ("bytes", Some("2"), Some(&*md5(b"bytes")))
    );
    let id = door.begin("/bucket/parts").await;
    let part = [source, ("x-amz-copy-source-range", "bytes=1-3")];
    let copied = door.send("PUT", &format!("/bucket/parts?partNumber=1&uploadId={id}"), &part, "").await;
    let etag = between(&copied, "ETag").pop().expect("an ETag").replace("&quot;", "\"");
    assert_eq!(door.complete("/bucket/parts", &id, &[(1, &etag)]).await.status, 200);
    assert_eq!(door.get("/bucket/parts").await.text(), "yte");
    for (unmet, value) in [("if-match", "0"), ("if-none-match", "*"), ("if-unmodified-since", AGES_AGO)] {
        let unmet = (&*format!("x-amz-copy-source-{unmet}"), value);
        refused(&door.send("PUT", "/bucket/x", &[source, unmet], "").await, 412, "PreconditionFailed");
    }
    let far = [source, ("x-amz-copy-source-range", "bytes=10-12")];
    let far = door
        .send(
            "PUT",
            &format!("/bucket/parts?partNumber=1&uploadId={}", door.begin("/bucket/parts").await),
            &far,
            "",
        )
        .await;
    refused(&far, 416, "InvalidRange");
    let absent = ("x-amz-copy-source", "bucket/none");
    refused(&door.send("PUT", "/bucket/x", &[absent], "").await, 404, "NoSuchKey");
    refused(
        &door.send("PUT", "/bucket/x", &[("x-amz-copy-source", "nothing")], "").await,
        400,
        "InvalidArgument",
    );
}

#[tokio::test]
async fn a_body_over_entry_max_is_acknowledged_and_shed() {
    let door = Door::with(cache::Settings { entry_max: 10, ..cache::Settings::default() });
    let put = door.put(OBJECT, vec![0; 11]).await;
    assert_eq!((put.status, put.header("etag")), (200, Some(&*md5(&[0; 11]))));
    assert_eq!(door.send_body("PUT", OBJECT, &[], chunked(&[b"123456", b"789012"])).await.status, 200);
    let id = door.begin(OBJECT).await;
    let one = door.part(OBJECT, &id, 1, "123456").await;
    let two = door.part(OBJECT, &id, 2, "123456").await;
    assert_eq!(door.complete(OBJECT, &id, &[(1, &one), (2, &two)]).await.status, 200);
    refused(&door.get(OBJECT).await, 404, "NoSuchKey");
    assert_eq!(door.desk.shed(Shed::EntryMax), 3);
}
