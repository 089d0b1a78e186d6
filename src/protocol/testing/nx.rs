//! Nx, by the requests of Nx 24.0.6.

use super::*;
use crate::entry::{Attrs, Claim, Precondition};
use crate::error::Kind;
use crate::key::{Key, Name};
use crate::protocol::Intent;

const PATH: &str = "/v1/cache/12345678901234567890";
/// What every request of Nx says, a GET's too.
const HEADERS: [(&str, &str); 2] =
    [("content-type", "application/octet-stream"), ("authorization", "Bearer any")];
/// A whole gzip file, of nothing.
const ARCHIVE: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x03\0\0\0\0\0\0\0\0\0";

#[tokio::test]
async fn an_archive_comes_back_and_a_later_one_replaces_it() {
    let desk = Desk::new();
    let miss = desk.send("GET", PATH, &HEADERS, b"").await;
    assert_eq!((miss.status, miss.header("content-type")), (404, Some("text/plain")));
    let longer = [ARCHIVE, b"more"].concat();
    for archive in [ARCHIVE, ARCHIVE, &longer] {
        let put = desk.send("PUT", PATH, &HEADERS, archive).await;
        assert_eq!((put.status, put.body.len()), (200, 0), "never 409: what is damaged would stay");
        let hit = desk.send("GET", PATH, &HEADERS, b"").await;
        assert_eq!((hit.status, &hit.body[..]), (200, archive));
        assert_eq!(hit.header("content-type"), Some("application/octet-stream"));
    }
    let head = desk.send("HEAD", PATH, &[], b"").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("24"), 0));
    assert_eq!(
        desk.send_body("PUT", PATH, &[], chunked(&[b"\x1f", b"", b"\x8b\x08", &[0; 20]])).await.status,
        200
    );
    assert_eq!(desk.get(PATH).await.body.len(), 23);
}

#[tokio::test]
async fn the_base_of_the_url_is_the_namespace() {
    let desk = Desk::new();
    desk.put(&format!("/team/web{PATH}"), ARCHIVE).await;
    for (namespace, status) in [("/team/web", 200), ("//team//web/", 200), ("/team", 404), ("", 404)] {
        assert_eq!(desk.get(&format!("{namespace}{PATH}")).await.status, status, "{namespace}");
    }
}

#[tokio::test]
async fn what_is_no_archive_is_not_stored_and_not_given() {
    let desk = Desk::new();
    let refused = "no gzip archive";
    for body in [&b""[..], b"\x1f", b"\x1f\x8b\x08", b"<!DOCTYPE html>, at some length", &ARCHIVE[..17]] {
        desk.send("PUT", PATH, &HEADERS, body).await.assert_refused(StatusCode::FORBIDDEN, refused);
        assert_eq!(desk.get(PATH).await.status, 404);
    }
    let body = chunked(&[b"\x1f\x8b", b"\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"]);
    desk.send_body("PUT", PATH, &[], body).await.assert_refused(StatusCode::FORBIDDEN, refused);
    // A bucket may have such a thing under such a name.
    let name = PATH.replace("/v1/cache/", "");
    let key = Key::Named { space: nx_http::ARCHIVES, name: Name::parse(&name).expect("a name") };
    let scope =
        Scope { owner: Owner(0), namespace: Namespace::none(), upstream: None, policy: Policy::default() };
    for (len, hit) in [(40, false), (2 << 20, false), (40, true), (2 << 20, true)] {
        let mut body = vec![7; len];
        if hit {
            body[..10].copy_from_slice(&ARCHIVE[..10]);
        }
        let cache = &desk.context.cache;
        let put = cache.put(&scope, key.clone(), Claim::default(), Attrs::default(), Precondition::None);
        let mut put = put.await.expect("a put");
        put.write(body.into()).await.expect("room");
        put.commit().await.expect("stored");
        for _ in 0..2 {
            let seen = desk.get(PATH).await;
            assert_eq!((seen.status, seen.body.len() == len), if hit { (200, true) } else { (404, false) });
        }
    }
}

/// What ends a run of Nx or fails a task: each answer that isn't 200 or 404 to a GET, 200 or 403 to a PUT. The one
/// exception is the 401 that says who isn't let in.
#[tokio::test]
async fn nothing_ends_a_run() {
    use Kind::*;
    let desk = Desk::new();
    for (kind, read, write) in [
        (Invalid, 404, 403),
        (Mismatch, 404, 403),
        (TooLarge, 404, 403),
        (NoSpace, 404, 200),
        (Denied, 401, 403),
        (Precondition, 404, 403),
        (Unsupported, 404, 403),
        (Unavailable, 404, 200),
        (Corrupt, 404, 200),
        (Internal, 404, 200),
    ] {
        let error = Error::new(kind, "the words");
        for (intent, owed) in [(Intent::Read, read), (Intent::Write, write)] {
            let answer = desk.nx.refuse(&error, intent);
            assert_eq!(answer.status(), owed, "{kind:?} {intent:?}");
            let content_type = answer.headers().get("content-type");
            assert_eq!(content_type.is_some(), owed != 200);
            assert!(content_type.is_none_or(|is| is == "text/plain"), "Nx compares the whole value");
        }
    }
    assert_eq!((desk.shed(Shed::DiskFloor), desk.shed(Shed::DiskError)), (1, 3));
}

#[tokio::test]
async fn over_entry_max_is_read_acknowledged_and_not_kept() {
    let desk = Desk::with(cache::Settings { entry_max: 19, ..cache::Settings::default() });
    let shed = desk.put(PATH, ARCHIVE).await;
    assert_eq!((shed.status, shed.header("connection"), shed.body.len()), (200, None, 0));
    let shed = desk.send_body("PUT", PATH, &[], chunked(&[b"\x1f\x8b\x08", &[0; 17]])).await;
    assert_eq!((shed.status, shed.header("connection")), (200, None));
    assert_eq!(desk.shed(Shed::EntryMax), 2);
    assert_eq!(desk.get(PATH).await.status, 404);
}

#[tokio::test]
async fn a_short_upload_is_dropped_with_its_connection() {
    let desk = Desk::new();
    let short = desk.send_body("PUT", PATH, &[], broken(&[ARCHIVE])).await;
    assert_eq!((short.status, short.header("connection")), (403, Some("close")));
    assert_eq!(desk.get(PATH).await.status, 404);
}

#[tokio::test]
async fn hashes_that_are_none_are_misses_and_not_stored() {
    let desk = Desk::new();
    for path in [
        "/v1/cache/abc",
        "/v1/cache/-1",
        "/v1/cache/123456789012345678901",
        "/cas/v1/cache/1",
        "/ns/v1/cache/1.tar",
    ] {
        let miss = desk.get(path).await;
        assert_eq!((miss.status, miss.header("content-type")), (404, Some("text/plain")), "{path}");
        assert_eq!(desk.put(path, ARCHIVE).await.status, 403, "{path}");
    }
    let refused = desk.send("PUT", PATH, &[("content-encoding", "gzip")], ARCHIVE).await;
    refused.assert_refused(StatusCode::FORBIDDEN, "Content-Encoding `gzip`");
    let refused = desk.send("DELETE", PATH, &[], b"").await;
    refused.assert_refused(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD, PUT");
    assert_eq!(refused.header("allow"), Some("GET, HEAD, PUT"));
    let stats = desk.context.cache.stats().protocol("nx");
    assert_eq!((stats.refused.read(), stats.puts.read(), stats.misses.read()), (12, 0, 0));
}

#[test]
fn the_name_upstream_is_frozen() {
    let (namespace, route) =
        nx_http::Route::parse(&["team", "v1", "cache", "12345678901234567890"]).expect("Nx's");
    assert_eq!(namespace, 0..1);
    let nx_http::Route::Archive(name) = route else { panic!("{route:?}") };
    let key = Key::Named { space: nx_http::ARCHIVES, name };
    let scope = Scope {
        owner: Owner(0),
        namespace: Namespace::parse("team").expect("a namespace"),
        upstream: None,
        policy: Policy::default(),
    };
    let object = key.object_name(&scope, crate::key::Names::Sharded).expect("portable");
    assert_eq!(object.as_str(), "12345678901234567890");
}
