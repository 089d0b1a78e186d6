//! The Maven build cache extension, by its source and as 1.2.0 was seen.

use super::*;
use crate::key::{Key, ObjectName};
use crate::protocol::http::Target;

const BASE: &str = "/maven/v1.2/org.example.shop/shop-web/8f1c0a7be93d4e52";

#[tokio::test]
async fn a_build_is_saved_and_restored() {
    let desk = Desk::new();
    for base in [BASE.to_owned(), BASE.replace("/maven/", "/maven/team/mvn/")] {
        let info = format!("{base}/buildinfo.xml");
        assert_eq!(desk.get(&info).await.status, 404);
        // The transport asks whether this is WebDAV before its first PUT.
        let options = desk.send("OPTIONS", &info, &[], b"").await;
        assert_eq!((options.status, options.header("dav")), (200, None));
        assert_eq!(options.header("allow"), Some("GET, HEAD, PUT, DELETE"));
        let auth = ("authorization", "Basic dXNlcjpwYXNz");
        for (file, body) in [
            ("shop-web.jar", "PK"),
            ("shop-web-sources.jar", "PK2"),
            ("mvn-cache-ext-extra-output-x.zip", ""),
            ("buildinfo.xml", "<build/>"),
        ] {
            let path = format!("{base}/{file}");
            assert_eq!(desk.send("PUT", &path, &[auth], body.as_bytes()).await.status, 200, "{path}");
            let hit = desk.send("GET", &path, &[auth], b"").await;
            assert_eq!((hit.status, hit.text()), (200, body));
            assert_eq!(desk.send("HEAD", &path, &[auth], b"").await.status, 200);
        }
        // Not final: saved again.
        assert_eq!(desk.put(&info, b"<build><dto/></build>").await.status, 200);
        assert_eq!(desk.get(&info).await.text(), "<build><dto/></build>");
        let report = base.replace("8f1c0a7be93d4e52", "0b7e4c1e-6a2f-4d93-9a55-0f3f9b6f2d11");
        let report = format!("{report}/build-cache-report.xml");
        assert_eq!(desk.put(&report, b"<cache-report/>").await.status, 200);
        assert_eq!(desk.get(&report).await.status, 200);
    }
}

#[test]
fn a_path_is_parsed_from_its_right_end_and_names_upstream_are_frozen() {
    for (path, ns, object) in [
        ("maven/v1.2/g.h/a/c/f.jar", "", "maven/v1.2/g.h/a/c/f.jar"),
        ("maven/v1/g/a/c/f", "", "maven/v1/g/a/c/f"),
        (
            "maven/web/v1.1/org.example/app/de3735b835c897da/app.jar",
            "web",
            "maven/web/v1.1/org.example/app/de3735b835c897da/app.jar",
        ),
        ("maven/team/v1.2/g/a/c/buildinfo.xml", "team", "maven/team/v1.2/g/a/c/buildinfo.xml"),
        ("maven/a/b/v1.2/g/a/c/f", "a/b", "maven/a/b/v1.2/g/a/c/f"),
        ("maven/v1.2/v1.2/g/a/c/f", "v1.2", "maven/v1.2/v1.2/g/a/c/f"),
        ("maven/v1.2/g/a/c/f and ü+~.jar", "", "maven/v1.2/g/a/c/f and ü+~.jar"),
    ] {
        let segments: Vec<&str> = path.split('/').collect();
        let Some((namespace, Target::Entry(name))) = mavens::parse(&segments) else { panic!("{path}") };
        assert_eq!(segments[namespace].join("/"), ns, "{path}");
        let namespace = Namespace::parse(ns).expect("a namespace");
        let scope = Scope { owner: Owner(0), namespace, upstream: None, policy: Policy::default() };
        let named = Key::Named { space: mavens::MAVEN, name }.object_name(&scope, crate::key::Names::Sharded);
        assert_eq!(named.as_ref().map(ObjectName::as_str), Some(object), "{path}");
    }
}

#[tokio::test]
async fn what_is_no_file_of_the_layout_is_refused_and_leaves_nothing() {
    let desk = Desk::new();
    for path in [
        "/maven",
        "/maven/v1.2",
        "/maven/v1.2/g/a/c",
        "/maven/g/a/c/f.jar/x",
        "/maven/v1.2/g/a/c/d/f.jar",
        "/maven/v/g/a/c/f",
        "/maven/v1.x/g/a/c/f",
        "/maven/org/example/app/1.0/app-1.0.jar.sha1",
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            desk.send(method, path, &[], b"x").await.assert_refused(StatusCode::BAD_REQUEST, "v1.2");
        }
    }
    for (path, words) in [
        ("/maven/v1.2/g/a/c/%2e%2e", "segment"),
        ("/maven/v1.2/g/a/c/f%0a", "control byte"),
        ("/maven/ac/v1.2/g/a/c/f", "reserved word `ac`"),
        ("/maven/s3/v1.2/g/a/c/f", "reserved word `s3`"),
    ] {
        desk.put(path, b"x").await.assert_refused(StatusCode::BAD_REQUEST, words);
    }
    for method in ["MKCOL", "PROPFIND", "POST"] {
        let other = desk.send(method, &format!("{BASE}/f"), &[], b"").await;
        other.assert_refused(StatusCode::METHOD_NOT_ALLOWED, "is not served here");
    }
    assert_eq!(desk.context.cache.status().await.disk.entries, 0);
}

/// The extension takes any failure for a miss, or an upload that didn't happen; a half file it would take for a whole.
#[tokio::test]
async fn an_upload_that_breaks_off_or_is_too_large_leaves_nothing() {
    let desk = Desk::with(cache::Settings { entry_max: 10, ..cache::Settings::default() });
    let path = format!("{BASE}/shop-web.jar");
    assert_eq!(desk.send_body("PUT", &path, &[], broken(&[b"half"])).await.status, 400);
    assert_eq!(desk.get(&path).await.status, 404);
    assert_eq!((desk.put(&path, b"eleven byte").await.status, desk.shed(Shed::EntryMax)), (200, 1));
    assert_eq!(desk.get(&path).await.status, 404);
}
