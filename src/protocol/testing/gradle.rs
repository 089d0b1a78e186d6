//! Gradle, by the requests of Gradle 4.4.1.

use super::*;
use crate::error::Kind;
use crate::key::Key;
use crate::protocol::Intent;
use crate::protocol::http::Target;

const PATH: &str = "/gradle/0123456789abcdef0123456789abcdef";
const HEADERS: [(&str, &str); 4] = [
    ("content-type", "application/vnd.gradle.build-cache-artifact.v1"),
    ("x-gradle-version", "4.4.1"),
    ("accept-encoding", "gzip,deflate"),
    ("authorization", "Basic dXNlcjpwYXNz"),
];

#[tokio::test]
async fn an_entry_comes_back_as_it_was_stored() {
    let desk = Desk::new();
    let miss = desk.get(PATH).await;
    assert_eq!((miss.status, miss.text()), (404, "not in the cache\n"));
    assert_eq!(desk.send("HEAD", PATH, &[], b"").await.status, 404);
    let put = desk.send("PUT", PATH, &HEADERS, b"\x1f\x8b tar").await;
    assert_eq!((put.status, put.body.len()), (200, 0));
    for (method, body) in [("GET", &b"\x1f\x8b tar"[..]), ("HEAD", b"")] {
        let accept = ("accept", "application/vnd.gradle.build-cache-artifact.v2, */*");
        let hit = desk.send(method, PATH, &[accept], b"").await;
        assert_eq!((hit.status, &hit.body[..]), (200, body));
        assert_eq!(hit.header("content-type"), Some("application/vnd.gradle.build-cache-artifact.v1"));
    }
    assert_eq!(desk.send("HEAD", PATH, &[], b"").await.header("content-length"), Some("6"));
    assert_eq!(desk.put(PATH, b"rebuilt").await.status, 200, "an entry is replaced");
    let hit = desk.get(PATH).await;
    let own = Some("application/vnd.gradle.build-cache-artifact.v2");
    assert_eq!((hit.text(), hit.header("content-type")), ("rebuilt", own), "nobody said what it is");
}

#[tokio::test]
async fn a_namespace_lies_between_the_route_and_the_key() {
    let desk = Desk::new();
    let in_team = PATH.replace("/gradle/", "/gradle/team/app/");
    desk.put(&in_team, b"x").await;
    assert_eq!(desk.get(&in_team).await.text(), "x");
    assert_eq!(desk.get(&in_team.replace("/team/", "//team//")).await.text(), "x");
    for other in [PATH.to_owned(), in_team.replace("app", "web")] {
        assert_eq!(desk.get(&other).await.status, 404, "{other}");
    }
}

#[tokio::test]
async fn keys_that_are_none_are_refused_in_words() {
    let desk = Desk::new();
    let key = &PATH["/gradle/".len()..];
    for (path, words) in [
        ("/gradle", "32 lower-case hex"),
        ("/gradle/team", "32 lower-case hex"),
        (&PATH[..PATH.len() - 1], "32 lower-case hex"),
        (&format!("{PATH}0"), "32 lower-case hex"),
        (&format!("/gradle/{}", key.replace('a', "A")), "32 lower-case hex"),
        (&format!("/gradle/{}", key.replace('a', "g")), "32 lower-case hex"),
        (&format!("{PATH}/more"), "32 lower-case hex"),
        (&format!("/gradle/cas/{key}"), "reserved word `cas`"),
        (&format!("/gradle/gradle/{key}"), "reserved word `gradle`"),
    ] {
        for method in ["GET", "PUT"] {
            desk.send(method, path, &[], b"x").await.assert_refused(StatusCode::BAD_REQUEST, words);
        }
    }
    for method in ["POST", "DELETE", "BREW"] {
        let refused = desk.send(method, PATH, &[], b"x").await;
        refused.assert_refused(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD, PUT");
        assert_eq!(refused.header("allow"), Some("GET, HEAD, PUT"));
    }
    let refused = desk.send("PUT", PATH, &[("content-encoding", "gzip")], b"x").await;
    refused.assert_refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Encoding `gzip`");
    assert_eq!(desk.get(PATH).await.status, 404);
}

/// What switches Gradle's remote cache off for the rest of a build (401, 403, 413, 5xx, a closed connection) is never
/// an answer to trouble of ours.
#[tokio::test]
async fn nothing_that_is_ours_switches_the_remote_cache_off() {
    let desk = Desk::new();
    for kind in [Kind::NoSpace, Kind::Unavailable, Kind::Corrupt, Kind::Internal] {
        let error = Error::new(kind, "trouble");
        for (intent, owed) in [(Intent::Read, 404), (Intent::Write, 200)] {
            assert_eq!(desk.gradle.refuse(&error, intent).status(), owed, "{kind:?} {intent:?}");
        }
    }
    assert_eq!((desk.shed(Shed::DiskFloor), desk.shed(Shed::DiskError)), (1, 3));
}

#[tokio::test]
async fn over_entry_max_is_read_acknowledged_and_not_kept() {
    let desk = Desk::with(cache::Settings { entry_max: 10, ..cache::Settings::default() });
    let shed = desk.put(PATH, b"eleven byte").await;
    assert_eq!((shed.status, shed.header("connection"), shed.body.len()), (200, None, 0));
    let shed = desk.send_body("PUT", PATH, &[], chunked(&[b"eleven", b" byte"])).await;
    assert_eq!((shed.status, shed.header("connection")), (200, None));
    assert_eq!(desk.shed(Shed::EntryMax), 2);
    assert_eq!(desk.get(PATH).await.status, 404);
}

#[tokio::test]
async fn a_short_body_stores_nothing() {
    let desk = Desk::new();
    let short = desk.send_body("PUT", PATH, &[], broken(&[b"half"])).await;
    assert_eq!((short.status, short.header("connection")), (400, Some("close")));
    assert_eq!(desk.get(PATH).await.status, 404);
    assert_eq!(desk.send_body("PUT", PATH, &[], chunked(&[b"ta", b"r"])).await.status, 200);
    assert_eq!(desk.get(PATH).await.text(), "tar");
}

#[tokio::test]
async fn what_happened_is_counted() {
    let desk = Desk::new();
    desk.get(PATH).await;
    desk.put(PATH, b"tar").await;
    desk.get(PATH).await;
    desk.put("/gradle/none", b"x").await;
    let stats = desk.context.cache.stats().protocol("gradle");
    assert_eq!((stats.misses.read(), stats.puts.read(), stats.refused.read()), (1, 1, 1));
    assert_eq!((stats.bytes_in.read(), stats.bytes_out.read()), (3, 3));
    assert_eq!(stats.hits.iter().map(|hits| hits.read()).sum::<u64>(), 1);
}

#[test]
fn the_name_upstream_is_frozen() {
    for (path, object) in [
        (PATH.to_owned(), PATH[1..].to_owned()),
        (PATH.replace("/gradle", "/gradle/team/app"), PATH.replace("/gradle", "gradle/team/app")),
    ] {
        let segments: Vec<&str> = path[1..].split('/').collect();
        let (namespace, target) = gradles::parse(&segments).expect("Gradle's");
        let Target::Entry(name) = target else { panic!("{target:?}") };
        let key = Key::Named { space: gradles::GRADLE, name };
        let namespace = Namespace::parse(&segments[namespace].join("/")).expect("a namespace");
        let scope = Scope { owner: Owner(0), namespace, upstream: None, policy: Policy::default() };
        assert_eq!(key.object_name(&scope, crate::key::Names::Paths).expect("portable").as_str(), object);
    }
}
