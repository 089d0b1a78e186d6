//! What the doors show of a place upstream: many names, with what is queued and deleted here on top, and nothing of
//! another namespace's place that lies inside.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::support::daemon::Daemon;
use crate::support::http::{Payload, Request};
use crate::support::setup::Setup;

/// All names of a bucket or container, as a query wants them.
type List = fn(&Daemon, &str, &str) -> Vec<String>;

/// Names upstream that nobody put through Larder.
fn fill(folder: &Path, names: impl IntoIterator<Item = String>) {
    for name in names {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("made");
        fs::write(path, "theirs").expect("written");
    }
}

/// The texts of all elements of a name.
fn between(text: &str, tag: &str) -> Vec<String> {
    let parts = text.split(&format!("<{tag}>")).skip(1).map(str::to_owned).collect::<Vec<_>>();
    parts.iter().filter_map(|rest| rest.split("</").next().map(str::to_owned)).collect()
}

/// All names of a list, page by page.
fn all(daemon: &Daemon, path: &str, names: &str, parameter: &str, next: &str) -> Vec<String> {
    let (mut found, mut marker) = (Vec::new(), String::new());
    loop {
        let page = daemon.get(format!("{path}{marker}"));
        assert_eq!(page.status(), 200, "{}", page.text());
        let text = page.text();
        found.extend(between(&text, names));
        match between(&text, next).pop().filter(|next| !next.is_empty()) {
            Some(next) => marker = format!("&{parameter}={next}"),
            None => return found,
        }
    }
}

fn s3(daemon: &Daemon, bucket: &str, query: &str) -> Vec<String> {
    let path = format!("/s3/{bucket}?list-type=2{query}");
    all(daemon, &path, "Key", "continuation-token", "NextContinuationToken")
}

fn azure(daemon: &Daemon, container: &str, query: &str) -> Vec<String> {
    let path = format!("/larder/{container}?restype=container&comp=list{query}");
    all(daemon, &path, "Name", "marker", "NextMarker")
}

#[test]
fn ten_thousand_names_upstream_are_listed_with_what_was_put_and_deleted_here() {
    const COUNT: usize = 10_050;
    let folder = TempDir::new().expect("a temporary folder");
    let name = |number: usize| format!("n{:02}/{number:05}", number % 7);
    fill(folder.path(), (0..COUNT).map(name));
    let daemon = Setup::new().upstream(format!("file://{}", folder.path().display())).start();
    let doors: [(&str, List, &str); 2] = [("/s3/cache", s3, "s3"), ("/larder/cache", azure, "azure")];
    for (door, list, own) in doors {
        let before: BTreeSet<String> = list(&daemon, "cache", "").into_iter().collect();
        assert!(before.len() >= COUNT - 70, "{door}: {}", before.len());
        let mut expected = before;
        // Between theirs, over theirs, and away with theirs: some of it may be upstream by now, the rest is queued.
        for number in 0..60 {
            let (new, old, gone) =
                (format!("{}-{own}", name(number)), name(number + 100), name(number * 150));
            for name in [&new, &old] {
                let put =
                    Request::put(format!("{door}/{name}"), "mine").header("x-ms-blob-type", "BlockBlob");
                assert!(matches!(daemon.send(put).status(), 200 | 201), "{name}");
            }
            let deleted = daemon.send(Request::new("DELETE", format!("{door}/{gone}")));
            assert!(matches!(deleted.status(), 202 | 204 | 404), "{gone}: {}", deleted.status());
            expected.extend([new, old]);
            expected.remove(&gone);
        }
        let expected: Vec<String> = expected.into_iter().collect();
        assert_eq!(list(&daemon, "cache", ""), expected, "{door}: at once");
        daemon.flush();
        assert_eq!(list(&daemon, "cache", ""), expected, "{door}: when all of it is upstream");
        let part: Vec<String> = expected.into_iter().filter(|name| name.starts_with("n03/")).collect();
        assert_eq!(list(&daemon, "cache", "&prefix=n03%2F&delimiter=%2F"), part, "{door}: a folder");
    }
}

/// A bucket, and a namespace whose place is a folder of it.
fn nested() -> (TempDir, Daemon) {
    let home = TempDir::new().expect("a temporary folder");
    let names = ["a", "web/secret", "web/x/y", "web/z", "website/b", "x"];
    fill(home.path(), names.map(str::to_owned));
    let config = format!(
        "upstream = \"main\"\n[upstreams.main]\nurl = \"file://{}\"\n\
         [namespaces.web]\nupstream = \"main\"\nprefix = \"web\"\n",
        home.path().display()
    );
    (home, Setup::new().config(&config).start())
}

#[test]
fn a_place_inside_another_is_not_shown_and_not_reached_from_outside() {
    let (home, daemon) = nested();
    assert_eq!(s3(&daemon, "cache", ""), ["a", "website/b", "x"]);
    assert_eq!(s3(&daemon, "cache", "&max-keys=1"), ["a", "website/b", "x"], "in pages");
    assert_eq!(s3(&daemon, "cache", "&prefix=web"), ["website/b"]);
    assert_eq!(s3(&daemon, "cache", "&prefix=web%2F"), [""; 0]);
    let folders = daemon.get("/s3/cache?list-type=2&delimiter=%2F").text();
    assert!(folders.contains("<CommonPrefixes><Prefix>website/</Prefix>") && !folders.contains(">web/<"));
    assert_eq!(azure(&daemon, "cache", ""), ["a", "website/b", "x"]);
    assert_eq!(azure(&daemon, "cache", "&delimiter=%2F&maxresults=1"), ["a", "website/", "x"]);
    for inside in [s3(&daemon, "web", ""), azure(&daemon, "web", "")] {
        assert_eq!(inside, ["secret", "x/y", "z"], "it is where it belongs");
    }

    let refused = |request: Request, code: &str| {
        let answer = daemon.send(request);
        assert_eq!(answer.status(), 403, "{}", answer.text());
        assert!(answer.text().contains(code) && answer.text().contains("`web/`"), "{}", answer.text());
    };
    for method in ["GET", "PUT", "DELETE", "POST"] {
        let query = if method == "POST" { "?uploads" } else { "" };
        refused(Request::new(method, format!("/s3/cache/web/secret{query}")), "AccessDenied");
    }
    let copy = Request::put("/s3/cache/copy", "").header("x-amz-copy-source", "/cache/web/secret");
    refused(copy, "AccessDenied");
    let denied = "AuthorizationPermissionMismatch";
    for method in ["GET", "PUT", "DELETE"] {
        let request = Request::new(method, "/larder/cache/web/secret").header("x-ms-blob-type", "BlockBlob");
        refused(request, denied);
    }
    let source = format!("{}/larder/cache/web/secret", daemon.url());
    refused(Request::put("/larder/cache/copy", "").header("x-ms-copy-source", source), denied);
    let body = "<Delete><Object><Key>web/secret</Key></Object><Object><Key>x</Key></Object></Delete>";
    let several = Request::new("POST", "/s3/cache?delete").payload(Payload::Sized(body.into()));
    let deleted = daemon.send(several).text();
    assert!(deleted.contains("<Deleted><Key>x</Key></Deleted>"), "{deleted}");
    assert!(deleted.contains("<Error><Key>web/secret</Key><Code>AccessDenied</Code>"), "{deleted}");

    assert_eq!(daemon.put("/s3/web/secret", "ours").status(), 200);
    daemon.flush();
    let secret = fs::read_to_string(home.path().join("web/secret")).expect("it is there");
    assert_eq!(secret, "ours", "who names it by its own namespace");
    assert!(!home.path().join("x").exists() && home.path().join("web/z").exists());
}
