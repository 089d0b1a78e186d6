//! ccache, by the requests of 4.7.5 and 4.14.2.

use super::*;
use crate::error::Kind;
use crate::key::{Names, ObjectName};
use crate::protocol::Intent;
use crate::protocol::http::Target;
use crate::stats::SHEDS;

/// A key of 4.7.5: two bytes in hex, the others in base 32.
const OLD: &str = "c0dev0123456789abcdefghijklmnopqr";
/// A key of 4.14.2.
const NEW: &str = "0123456789abcdef0123456789abcdef01234567";
const PATH: &str = "/ccache/01/23456789abcdef0123456789abcdef01234567";

/// A key in 4.14.2's bazel layout.
fn bazel(key: &str) -> String {
    format!("ac/{key}{}", &key[..24])
}

fn subdirs(key: &str) -> String {
    format!("{}/{}", &key[..2], &key[2..])
}

#[tokio::test]
async fn a_compile_without_the_entry_stores_it_and_the_next_one_has_it() {
    for layout in [subdirs(OLD), OLD.into(), subdirs(NEW), NEW.into(), bazel(NEW)] {
        for base in ["/ccache", "/ccache/team/web"] {
            let (desk, path) = (Desk::new(), format!("{base}/{layout}"));
            let headers = [("user-agent", "ccache/4.7.5"), ("content-type", "application/octet-stream")];
            assert_eq!(desk.send("GET", &path, &headers[..1], b"").await.status, 404);
            assert_eq!(desk.send("HEAD", &path, &headers[..1], b"").await.status, 404);
            let put = desk.send("PUT", &path, &headers, b"\xcc\xac entry").await;
            assert_eq!((put.status, put.body.len()), (200, 0), "{path}");
            let hit = desk.send("GET", &path, &headers[..1], b"").await;
            assert_eq!((hit.status, &hit.body[..]), (200, &b"\xcc\xac entry"[..]));
            assert_eq!(hit.header("content-type"), Some("application/octet-stream"));
            let head = desk.send("HEAD", &path, &headers[..1], b"").await;
            assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("8"), 0));
            // A manifest grows.
            assert_eq!(desk.put(&path, b"a longer entry").await.status, 200);
            assert_eq!(desk.get(&path).await.text(), "a longer entry");
            for _ in 0..2 {
                let removed = desk.send("DELETE", &path, &headers[..1], b"").await;
                assert_eq!((removed.status, removed.body.len()), (204, 0), "an error would end the backend");
            }
            assert_eq!(desk.get(&path).await.status, 404);
        }
    }
}

#[tokio::test]
async fn layouts_of_one_key_share_an_entry_and_namespaces_do_not() {
    let desk = Desk::new();
    desk.put(PATH, b"new").await;
    desk.put(&format!("/ccache/ns/{OLD}"), b"old").await;
    desk.put(&format!("/ccache/{}", bazel(NEW)), b"bazel").await;
    for (path, body) in [
        (format!("/ccache/{NEW}"), Some("new")),
        (format!("/ccache//{}", subdirs(NEW)), Some("new")),
        (format!("/ccache/ns/{}", subdirs(OLD)), Some("old")),
        (format!("/{}", bazel(NEW)), Some("bazel")),
        (format!("/ccache/ns/{NEW}"), None),
        (format!("/ccache/{OLD}"), None),
        (format!("/ns/{}", bazel(NEW)), None),
        // No SHA-256 repeats its beginning: what does not is Bazel's.
        (format!("/ac/{NEW}{}", &NEW[1..25]), None),
    ] {
        let seen = desk.get(&path).await;
        assert_eq!((seen.status == 200).then(|| seen.text()), body, "{path}");
    }
}

#[test]
fn a_path_is_parsed_from_its_right_end() {
    for (path, expected) in [
        (format!("ccache/{}", subdirs(NEW)), Some((1..1, subdirs(NEW)))),
        (format!("ccache/{NEW}"), Some((1..1, subdirs(NEW)))),
        (format!("ccache/a/b/{OLD}"), Some((1..3, subdirs(OLD)))),
        (format!("ccache/ab/{}", subdirs(OLD)), Some((1..2, subdirs(OLD)))),
        (format!("ccache/ab/{NEW}"), Some((1..2, subdirs(NEW)))),
        (format!("ccache/{}", bazel(NEW)), Some((1..1, bazel(NEW)))),
        (format!("ccache/ns/ac/{}", "5".repeat(64)), Some((1..2, format!("ac/{}", "5".repeat(64))))),
        (format!("a/b/{}", bazel(NEW)), Some((0..2, bazel(NEW)))),
        (bazel(NEW), Some((0..0, bazel(NEW)))),
        (format!("ac/{NEW}{}", &NEW[1..25]), None),
        (format!("cas/{NEW}{}", &NEW[..24]), None),
        (NEW.to_owned(), None),
    ] {
        let segments: Vec<&str> = path.split('/').collect();
        let parsed = ccaches::parse(&segments).map(|(namespace, target)| match target {
            Target::Entry(name) => (namespace, name.as_str().to_owned()),
            Target::Refused(error) => panic!("{path}: {error}"),
        });
        assert_eq!(parsed, expected, "{path}");
    }
}

#[test]
fn names_upstream_are_frozen() {
    let scope = |ns| Scope {
        owner: Owner(0),
        namespace: Namespace::parse(ns).expect("a namespace"),
        upstream: None,
        policy: Policy::default(),
    };
    for (ns, path, object) in [
        ("", format!("ccache/{NEW}"), format!("ccache/{}", subdirs(NEW))),
        ("team/web", format!("ccache/{}", subdirs(OLD)), format!("ccache/team/web/{}", subdirs(OLD))),
        ("ns", format!("ccache/{}", bazel(NEW)), format!("ccache/ns/{}", bazel(NEW))),
    ] {
        let segments: Vec<&str> = path.split('/').collect();
        let Some((_, Target::Entry(name))) = ccaches::parse(&segments) else { panic!("{path}") };
        let key = crate::key::Key::Named { space: ccaches::CCACHE, name };
        for names in [Names::Sharded, Names::Flat, Names::Paths] {
            let name = key.object_name(&scope(ns), names);
            assert_eq!(name.as_ref().map(ObjectName::as_str), Some(object.as_str()), "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_leaves_nothing() {
    let desk = Desk::new();
    for (path, words) in [
        ("/ccache".to_owned(), "layout=subdirs"),
        ("/ccache/ns".into(), "layout=subdirs"),
        (format!("/ccache/{}", &NEW[1..]), "layout=subdirs"),
        (format!("/ccache/{}", NEW.to_uppercase().replace('0', "G")), "layout=subdirs"),
        (format!("/ccache/abc/{}", &NEW[2..]), "layout=subdirs"),
        (format!("/ccache/AB/{}", &NEW[2..]), "layout=subdirs"),
        (format!("/ccache/ac/{NEW}"), "reserved word `ac`"),
        (format!("/ccache/cas/{NEW}{}", &NEW[..24]), "layout=subdirs"),
        (format!("/ccache/blob/{NEW}"), "reserved word `blob`"),
        (format!("/ccache/ac/{}g", &NEW.repeat(2)[..63]), "layout=subdirs"),
        (format!("/maven/{}", bazel(NEW)), "v1.2"),
        (format!("/-/{}", bazel(NEW)), "reserved word `-`"),
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            desk.send(method, &path, &[], b"body").await.assert_refused(StatusCode::BAD_REQUEST, words);
        }
    }
    assert_eq!(desk.context.cache.status().await.disk.entries, 0);
}

#[tokio::test]
async fn an_empty_body_is_no_entry() {
    let desk = Desk::new();
    desk.put(PATH, b"").await.assert_refused(StatusCode::BAD_REQUEST, "never empty");
    let chunked = desk.send_body("PUT", PATH, &[], chunked(&[])).await;
    chunked.assert_refused(StatusCode::BAD_REQUEST, "never empty");
    assert_eq!(desk.get(PATH).await.status, 404);
    // Nor is one that another put into the bucket.
    let key = crate::key::Key::Named {
        space: ccaches::CCACHE,
        name: crate::key::Name::parse(&subdirs(NEW)).expect("a name"),
    };
    let scope =
        Scope { owner: Owner(0), namespace: Namespace::none(), upstream: None, policy: Policy::default() };
    let put = desk.context.cache.put(&scope, key, Default::default(), Default::default(), Default::default());
    put.await.expect("begun").commit().await.expect("there");
    for (method, range) in [("GET", "lines=1"), ("HEAD", "lines=1"), ("GET", "bytes=0-1")] {
        assert_eq!(desk.send(method, PATH, &[("range", range)], b"").await.status, 404, "{method} {range}");
    }
    assert_eq!(desk.get(PATH).await.status, 404);
}

/// What ccache makes of an answer (contract, section 2): of a GET anything but 2xx is a miss, but only of 404 nobody
/// says more; a PUT or DELETE that isn't 2xx ends the backend for the process; a body that ends short does too.
#[tokio::test]
async fn whatever_fails_is_what_ccache_takes_calmly() {
    let desk = Desk::with(cache::Settings { entry_max: 10, ..cache::Settings::default() });
    for (kind, read, write) in [
        (Kind::Unavailable, 404, 200),
        (Kind::Corrupt, 404, 200),
        (Kind::NoSpace, 404, 200),
        (Kind::Internal, 404, 200),
        (Kind::Invalid, 400, 400),
        (Kind::Mismatch, 400, 400),
        (Kind::Denied, 403, 403),
        (Kind::Precondition, 412, 412),
        (Kind::Unsupported, 415, 415),
        (Kind::TooLarge, 413, 413),
    ] {
        for entries in [&desk.ccache, &desk.blob, &desk.maven] {
            for (intent, status) in [(Intent::Read, read), (Intent::Write, write)] {
                let answer = entries.refuse(&Error::new(kind, "words"), intent);
                assert_eq!(answer.status().as_u16(), status, "{kind:?} {intent:?} {}", entries.protocol());
            }
        }
    }
    let lost: u64 = SHEDS.into_iter().map(|reason| desk.shed(reason)).sum();
    assert_eq!(lost, 4 * 3, "what is acknowledged and not kept is counted");
    // Over `entry_max` nothing is refused: the manifest that follows the result would not be sent.
    let shed = desk.put(PATH, b"eleven byte").await;
    assert_eq!((shed.status, shed.header("connection"), desk.shed(Shed::EntryMax)), (200, None, 1));
    assert_eq!(desk.get(PATH).await.status, 404);
    assert_eq!(desk.send_body("PUT", PATH, &[], broken(&[b"half"])).await.status, 400);
    assert_eq!(desk.get(PATH).await.status, 404, "never the half of an entry");
    let other = desk.send("POST", PATH, &[], b"x").await;
    other.assert_refused(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD, PUT, DELETE");
}
