//! The Azure Blob door, by the requests of lage and the SDKs. Signatures are tested where they are verified.

mod lists;

use super::*;
use crate::key::Owner;
use crate::keyring::Keyring;
use crate::protocol::{Admission, Places, Routes, azure};

const BLOB: &str = "/larder/cache/0123456789abcdef0123456789abcdef01234567";
const BLOCK_BLOB: (&str, &str) = ("x-ms-blob-type", "BlockBlob");

/// The door of a daemon's owner.
struct Door {
    desk: Desk,
    azure: azure::Frontend,
}

impl Door {
    fn new() -> Self {
        Self::with(cache::Settings::default())
    }

    fn with(settings: cache::Settings) -> Self {
        let desk = Desk::with(settings);
        let places = Arc::new(Places::new(Owner(0), Routes::default()));
        let azure = azure::Frontend::new(Arc::clone(&desk.context), places, Keyring::none());
        Self { desk, azure }
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
        let rest = request.uri().path().strip_prefix("/larder").expect("the account").to_owned();
        let route = azure::Route::parse(&rest);
        let answer = match self.azure.answer_now(Admission::Owner, &route, &request) {
            Some(answer) => answer,
            None => self.azure.answer(Admission::Owner, route, request).await,
        };
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let seen = Seen { status: head.status.as_u16(), headers: head.headers, body };
        assert!(
            seen.header("x-ms-request-id").is_some() && seen.header("x-ms-version").is_some(),
            "{seen:?}"
        );
        seen
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Seen {
        self.send_body(method, path, headers, Full::new(body.into())).await
    }

    async fn get(&self, path: &str) -> Seen {
        self.send("GET", path, &[], "").await
    }

    async fn put(&self, path: &str, body: impl Into<Bytes>) -> Seen {
        self.send("PUT", path, &[BLOCK_BLOB], body).await
    }

    async fn block(&self, path: &str, id: &str, body: impl Into<Bytes>) -> Seen {
        self.send("PUT", &format!("{path}?comp=block&blockid={}", escaped(id)), &[], body).await
    }

    async fn commit(&self, path: &str, list: &[(&str, &str)], headers: &[(&str, &str)]) -> Seen {
        let entries: String = list.iter().map(|(from, id)| format!("<{from}>{id}</{from}>")).collect();
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><BlockList>{entries}</BlockList>");
        self.send("PUT", &format!("{path}?comp=blocklist"), headers, body).await
    }
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// It is refused, with this code where the SDKs look for it.
#[track_caller]
fn refused(seen: &Seen, status: u16, code: &str) {
    assert_eq!((seen.status, seen.header("x-ms-error-code")), (status, Some(code)), "{seen:?}");
    if !seen.body.is_empty() {
        assert!(seen.text().contains(&format!("<Code>{code}</Code><Message>")), "{seen:?}");
        assert_eq!(seen.header("content-type"), Some("application/xml"));
    }
}

#[tokio::test]
async fn a_blob_comes_back_with_what_sdks_look_for() {
    let door = Door::new();
    refused(&door.get(BLOB).await, 404, "BlobNotFound");
    let miss = door.send("HEAD", BLOB, &[], "").await;
    refused(&miss, 404, "BlobNotFound");
    assert!(miss.body.is_empty());
    let headers = [
        BLOCK_BLOB,
        ("x-ms-version", "2026-02-06"),
        ("x-ms-client-request-id", "mine"),
        ("x-ms-blob-content-type", "application/gzip"),
        ("x-ms-meta-some_name", "value"),
    ];
    let put = door.send("PUT", BLOB, &headers, "a tar").await;
    assert_eq!((put.status, put.body.len()), (201, 0), "{put:?}");
    assert_eq!(
        (put.header("x-ms-version"), put.header("x-ms-client-request-id")),
        (Some("2026-02-06"), Some("mine"))
    );
    let etag = put.header("etag").expect("an ETag").to_owned();
    for method in ["GET", "HEAD", "GET"] {
        let hit = door.send(method, BLOB, &[], "").await;
        assert_eq!((hit.status, hit.text()), (200, if method == "GET" { "a tar" } else { "" }), "{hit:?}");
        for (name, value) in [
            ("etag", etag.as_str()),
            ("content-type", "application/gzip"),
            ("x-ms-meta-some_name", "value"),
            ("x-ms-blob-type", "BlockBlob"),
            ("x-ms-lease-status", "unlocked"),
            ("accept-ranges", "bytes"),
        ] {
            assert_eq!(hit.header(name), Some(value), "{method}");
        }
        assert!(hit.header("last-modified").is_some() && hit.header("x-ms-creation-time").is_some());
    }
    assert_eq!(door.send("HEAD", BLOB, &[], "").await.header("content-length"), Some("5"));
    assert_eq!(door.put(BLOB, "another").await.status, 201, "the last writer wins");
    assert_eq!(door.get(BLOB).await.text(), "another");
    assert_eq!(door.send("DELETE", BLOB, &[], "").await.status, 202);
    refused(&door.send("DELETE", BLOB, &[], "").await, 404, "BlobNotFound");
    refused(&door.get(BLOB).await, 404, "BlobNotFound");
}

#[tokio::test]
async fn ranges_are_as_the_service_has_them() {
    let door = Door::new();
    door.put(BLOB, "0123456789").await;
    for (name, value, expected, part) in [
        ("range", "bytes=2-4", "234", "bytes 2-4/10"),
        ("x-ms-range", "bytes=2-4", "234", "bytes 2-4/10"),
        ("x-ms-range", "bytes=8-", "89", "bytes 8-9/10"),
        ("x-ms-range", "bytes=0-99", "0123456789", "bytes 0-9/10"),
    ] {
        let hit = door.send("GET", BLOB, &[(name, value)], "").await;
        assert_eq!(
            (hit.status, hit.text(), hit.header("content-range")),
            (206, expected, Some(part)),
            "{value}"
        );
    }
    let both = door.send("GET", BLOB, &[("range", "bytes=0-0"), ("x-ms-range", "bytes=1-1")], "").await;
    assert_eq!(both.text(), "1", "x-ms-range comes first");
    let with_md5 = [("x-ms-range", "bytes=0-1"), ("x-ms-range-get-content-md5", "true")];
    let hit = door.send("GET", BLOB, &with_md5, "").await;
    let md5 = crate::protocol::objects::md5::Sum::of(b"01").base64();
    assert_eq!((hit.text(), hit.header("content-md5")), ("01", Some(&*md5)));
    refused(&door.send("GET", BLOB, &with_md5[1..], "").await, 400, "InvalidHeaderValue");
    let outside = door.send("GET", BLOB, &[("x-ms-range", "bytes=10-")], "").await;
    refused(&outside, 416, "InvalidRange");
    assert_eq!(outside.header("content-range"), Some("bytes */10"));
    refused(&door.send("GET", "/larder/cache/none", &[("range", "bytes=1-")], "").await, 404, "BlobNotFound");
}

#[tokio::test]
async fn conditions_have_codes_of_their_own() {
    let door = Door::new();
    let etag = door.put(BLOB, "one").await.header("etag").expect("an ETag").to_owned();
    let get = async |headers: &[(&str, &str)]| door.send("GET", BLOB, headers, "").await;
    assert_eq!(get(&[("if-none-match", &etag)]).await.status, 304);
    refused(&get(&[("if-match", "\"x\"")]).await, 412, "ConditionNotMet");
    assert_eq!(get(&[("if-match", &etag)]).await.status, 200);
    assert_eq!(get(&[("if-match", etag.trim_matches('"'))]).await.status, 200, "as SDKs pass it on");
    let put = async |condition: (&str, &str)| door.send("PUT", BLOB, &[BLOCK_BLOB, condition], "two").await;
    refused(&put(("if-none-match", "*")).await, 409, "BlobAlreadyExists");
    refused(&put(("if-match", "\"x\"")).await, 412, "ConditionNotMet");
    assert_eq!(put(("if-match", &etag)).await.status, 201);
    door.block(BLOB, "YQ==", "x").await;
    refused(
        &door.commit(BLOB, &[("Latest", "YQ==")], &[("if-none-match", "*")]).await,
        409,
        "BlobAlreadyExists",
    );
    refused(&door.send("DELETE", BLOB, &[("if-match", "\"x\"")], "").await, 412, "ConditionNotMet");
    assert_eq!(door.get(BLOB).await.text(), "two");
}

#[tokio::test]
async fn blocks_are_put_together_in_the_order_of_the_list() {
    let door = Door::new();
    for (id, body) in [("Yg==", "b"), ("YQ==", "a"), ("Yw==", "never"), ("YQ==", "A")] {
        assert_eq!(door.block(BLOB, id, body).await.status, 201);
    }
    refused(&door.get(BLOB).await, 404, "BlobNotFound");
    let list = door.get(&format!("{BLOB}?comp=blocklist&blocklisttype=uncommitted")).await;
    assert!(
        list.text().contains("<UncommittedBlocks><Block><Name>YQ==</Name><Size>1</Size></Block>"),
        "{list:?}"
    );
    let missing = door.commit(BLOB, &[("Latest", "YQ=="), ("Latest", "ZA==")], &[]).await;
    refused(&missing, 400, "InvalidBlockList");
    refused(&door.commit(BLOB, &[("Committed", "YQ==")], &[]).await, 400, "InvalidBlockList");
    let list = [("Latest", "YQ=="), ("Uncommitted", "Yg==")];
    let committed =
        door.commit(BLOB, &list, &[("x-ms-meta-a", "1"), ("content-type", "application/xml")]).await;
    assert_eq!(committed.status, 201, "{committed:?}");
    let hit = door.get(BLOB).await;
    assert_eq!((hit.text(), hit.header("x-ms-meta-a")), ("Ab", Some("1")));
    assert_eq!(hit.header("content-type"), Some("application/octet-stream"), "the list's is not the blob's");
    let blocks = door.get(&format!("{BLOB}?comp=blocklist&blocklisttype=all")).await;
    assert!(
        blocks.text().contains(
            "<CommittedBlocks><Block><Name>YQ==</Name><Size>1</Size></Block><Block><Name>Yg==</Name>"
        ),
        "{blocks:?}"
    );
    assert!(
        blocks.text().contains("<UncommittedBlocks><Block><Name>Yw==</Name>"),
        "others' blocks stay: {blocks:?}"
    );
    assert_eq!(door.commit(BLOB, &[], &[]).await.status, 201);
    assert_eq!(door.get(BLOB).await.text(), "");
}

#[tokio::test]
async fn a_list_that_is_sent_again_succeeds() {
    let door = Door::new();
    door.block(BLOB, "YQ==", "a").await;
    door.block(BLOB, "Yg==", "b").await;
    let list = [("Latest", "YQ=="), ("Latest", "Yg==")];
    let first = door.commit(BLOB, &list, &[]).await;
    let again = door.commit(BLOB, &list, &[]).await;
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.header("etag"), again.header("etag"), "it is the same blob");
    refused(&door.commit(BLOB, &[("Uncommitted", "YQ==")], &[]).await, 400, "InvalidBlockList");
    // What is there goes on: two of its blocks turned round, and a new one between them.
    door.block(BLOB, "Yw==", "c").await;
    let mixed = [("Committed", "Yg=="), ("Latest", "Yw=="), ("Latest", "YQ==")];
    assert_eq!(door.commit(BLOB, &mixed, &[]).await.status, 201);
    assert_eq!(door.get(BLOB).await.text(), "bca");
    assert_eq!(door.commit(BLOB, &[("Committed", "Yw==")], &[]).await.status, 201);
    assert_eq!(door.get(BLOB).await.text(), "c");
    door.put(BLOB, "whole").await;
    refused(&door.commit(BLOB, &[("Latest", "Yw==")], &[]).await, 400, "InvalidBlockList");
}

/// With its environment's way of configuration lage uploads each output twice at once.
#[tokio::test(flavor = "multi_thread")]
async fn two_uploads_of_one_blob_at_once_both_succeed() {
    let door = Door::new();
    let ids = |writer: u8| [0, 1, 2].map(|block| base64_of(&[writer; 47], block));
    let upload = async |writer: u8| {
        let ids = ids(writer);
        for id in &ids {
            assert_eq!(door.block(BLOB, id, vec![writer; 70_000]).await.status, 201);
        }
        tokio::task::yield_now().await;
        let list = ids.each_ref().map(|id| ("Latest", id.as_str()));
        door.commit(BLOB, &list, &[]).await
    };
    let (one, two) = tokio::join!(upload(b'1'), upload(b'2'));
    assert_eq!((one.status, two.status), (201, 201), "{one:?} {two:?}");
    let hit = door.get(BLOB).await;
    assert!(
        hit.body.len() == 210_000
            && (hit.body.iter().all(|byte| *byte == b'1') || hit.body.iter().all(|byte| *byte == b'2'))
    );
}

fn base64_of(bytes: &[u8], block: u8) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode([bytes, &[block]].concat())
}

#[tokio::test]
async fn what_is_wrong_with_a_request_has_its_code() {
    let door = Door::new();
    let wrong_md5 = ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
    let list = format!("{BLOB}?comp=blocklist");
    let bomb = "<!DOCTYPE l [<!ENTITY a \"aa\">]><BlockList><Latest>&a;</Latest></BlockList>";
    let block = format!("{BLOB}?comp=block&blockid=YQ%3D%3D");
    for (method, path, headers, body, status, code) in [
        ("PUT", BLOB, &[][..], "x", 400, "MissingRequiredHeader"),
        ("PUT", BLOB, &[("x-ms-blob-type", "PageBlob")], "x", 400, "InvalidHeaderValue"),
        ("PUT", BLOB, &[BLOCK_BLOB, wrong_md5], "x", 400, "Md5Mismatch"),
        ("PUT", BLOB, &[BLOCK_BLOB, ("content-md5", "x")], "x", 400, "InvalidMd5"),
        ("PUT", &block, &[wrong_md5], "x", 400, "Md5Mismatch"),
        ("PUT", &list, &[wrong_md5], "<BlockList/>", 400, "Md5Mismatch"),
        ("PUT", &format!("{BLOB}?comp=block"), &[], "x", 400, "InvalidQueryParameterValue"),
        ("PUT", &format!("{BLOB}?comp=block&blockid=!"), &[], "x", 400, "InvalidQueryParameterValue"),
        ("PUT", &list, &[], "<BlockList>", 400, "InvalidXmlDocument"),
        ("PUT", &list, &[], "<List/>", 400, "InvalidXmlDocument"),
        ("PUT", &list, &[], "<BlockList><Last>YQ==</Last></BlockList>", 400, "InvalidXmlDocument"),
        ("PUT", &list, &[], "<BlockList><Latest>!</Latest></BlockList>", 400, "InvalidBlockId"),
        ("PUT", &list, &[], bomb, 400, "InvalidXmlDocument"),
        ("PUT", &format!("{BLOB}?comp=page"), &[], "x", 400, "UnsupportedQueryParameter"),
        ("GET", &format!("{BLOB}?comp=tags"), &[], "", 400, "UnsupportedQueryParameter"),
        (
            "GET",
            &format!("{BLOB}?comp=blocklist&blocklisttype=x"),
            &[],
            "",
            400,
            "InvalidQueryParameterValue",
        ),
        ("GET", &format!("{BLOB}?comp=blocklist"), &[], "", 404, "BlobNotFound"),
        ("BREW", BLOB, &[], "", 405, "UnsupportedHttpVerb"),
        ("GET", "/larder/cache", &[], "", 400, "InvalidQueryParameterValue"),
        ("GET", "/larder/?comp=list", &[], "", 400, "InvalidUri"),
        ("GET", "/larder/?comp=list", &[("authorization", "SharedKey larder:AAAA")], "", 400, "InvalidUri"),
        ("GET", "/larder/UPPER/x", &[], "", 400, "InvalidResourceName"),
        ("GET", "/larder/cache/%00", &[], "", 400, "InvalidResourceName"),
        ("GET", "/larder/blobs/x", &[], "", 400, "InvalidResourceName"),
        ("PUT", BLOB, &[BLOCK_BLOB, ("if-match", "\"x")], "x", 400, "InvalidHeaderValue"),
    ] {
        let seen = door.send(method, path, headers, body).await;
        assert_eq!(
            (seen.status, seen.header("x-ms-error-code")),
            (status, Some(code)),
            "{method} {path} {body}"
        );
    }
    let long = "v".repeat(2000);
    refused(
        &door.send("PUT", BLOB, &[BLOCK_BLOB, ("x-ms-meta-a", &long)], "x").await,
        400,
        "MetadataTooLarge",
    );
    refused(&door.get(BLOB).await, 404, "BlobNotFound");
    let broken = door.send_body("PUT", BLOB, &[BLOCK_BLOB], broken(&[b"half"])).await;
    assert_eq!(broken.status, 400);
    refused(&door.get(BLOB).await, 404, "BlobNotFound");
    let unsized_one = door.send_body("PUT", BLOB, &[BLOCK_BLOB], chunked(&[b"wh", b"ole"])).await;
    assert_eq!((unsized_one.status, door.get(BLOB).await.text()), (201, "whole"));
}

#[tokio::test]
async fn a_body_over_entry_max_is_acknowledged_and_shed() {
    let door = Door::with(cache::Settings { entry_max: 10, ..cache::Settings::default() });
    assert_eq!(door.put(BLOB, vec![0; 11]).await.status, 201);
    door.block(BLOB, "YQ==", vec![0; 6]).await;
    door.block(BLOB, "Yg==", vec![0; 6]).await;
    assert_eq!(door.commit(BLOB, &[("Latest", "YQ=="), ("Latest", "Yg==")], &[]).await.status, 201);
    refused(&door.get(BLOB).await, 404, "BlobNotFound");
    assert_eq!(door.desk.shed(Shed::EntryMax), 2);
}
