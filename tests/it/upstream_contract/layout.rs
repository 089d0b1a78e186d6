//! What entries of each kind are called upstream, and what of them is metadata: frozen, for other machines and other
//! tools find them by it.
//!
//! A daemon is given one entry of each kind; `tests/golden/layout/{store}.txt` has the names that appear.

use larder::upstream::{Credentials, Looked, Remote};
use tempfile::TempDir;

use super::{World, file, name};
use crate::support::azurite::{self, Azurite};
use crate::support::gcs::{self, Gcs, Role, key_file};
use crate::support::http::Request;
use crate::support::setup::{KeyFile as _, Setup};
use crate::support::weed::{self, Keys, Weed};
use crate::support::{sha256, write_secret};

/// One entry of each kind, through a daemon whose upstream is `url`, with the keys in `text`; another reads them.
fn fill(url: &str, text: &str) {
    let machine = || {
        let setup = Setup::new().upstream(url);
        write_secret(&setup.keys_path(), text);
        setup.start()
    };
    let entries: [(String, &[u8]); 4] = [
        (format!("/web/cas/{}", sha256(b"larder")), b"larder"),
        // No action result begins so: opaque, without links.
        (format!("/web/ac/{}", sha256(b"action")), &[0xff, 1, 2]),
        ("/v8/artifacts/0123456789abcdef?slug=web".into(), b"artifact"),
        ("/blob/web/some/name.tar".into(), b"blob"),
    ];
    let desk = machine();
    for (target, body) in &entries {
        let put = Request::put(target.clone(), *body)
            .header("authorization", "Bearer any")
            .header("x-artifact-duration", "42")
            .header("x-artifact-tag", "signed");
        let answer = desk.send(put);
        assert!((200..300).contains(&answer.status()), "{target}: {}", answer.text());
    }
    desk.flush();
    let laptop = machine();
    for (target, body) in &entries {
        let answer = laptop.send(Request::get(target.clone()).header("authorization", "Bearer any"));
        assert_eq!((answer.status(), answer.whole()), (200, Some(*body)), "{target}");
    }
}

/// Every object with the names of its metadata, one a line.
async fn named(remote: &Remote) -> String {
    let mut lines = String::new();
    for row in remote.list("", None, 100).await.unwrap() {
        let Ok(Looked::Found(meta)) = remote.head(&name(row.name.as_str())).await else {
            panic!("{} is listed", row.name);
        };
        let mut attrs: Vec<&str> = meta.attrs.iter().map(|(name, _)| name).collect();
        attrs.sort_unstable();
        let attrs = if attrs.is_empty() { "-".into() } else { attrs.join(",") };
        lines.push_str(&format!("{} {} {attrs}\n", row.name, row.len));
    }
    lines
}

#[test]
fn names_on_s3() {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keys");
    keys.write(&path);
    fill(&weed::url(weed.addr(), "team"), &std::fs::read_to_string(&path).unwrap());
    let world = World::new();
    let remote = world.remote(&weed::url(weed.addr(), ""), file(&path));
    assert_eq!(world.run(named(&remote)), include_str!("../../golden/layout/s3.txt"));
}

#[test]
fn names_on_azure() {
    let azurite = Azurite::start(&["one"]);
    fill(&azurite::url(azurite.addr(), "team"), &azurite::key("one"));
    let world = World::new();
    let remote =
        world.remote(&azurite::url(azurite.addr(), ""), Credentials::AccountKey(azurite::key("one")));
    assert_eq!(world.run(named(&remote)), include_str!("../../golden/layout/azure.txt"));
}

#[test]
fn names_on_google() {
    let gcs = Gcs::start(&[("ci@team", Role::Writer)]);
    let key = key_file("ci@team");
    fill(&gcs::url(gcs.addr(), "team"), &key);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key.json");
    write_secret(&path, &key);
    let world = World::new();
    let remote = world.remote(&gcs::url(gcs.addr(), ""), file(&path));
    assert_eq!(world.run(named(&remote)), include_str!("../../golden/layout/google.txt"));
}
