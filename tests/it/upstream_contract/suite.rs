//! What every upstream does alike.

use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use larder::upstream::{Credentials, Failure, GetOptions, Got, Looked, PutIf, PutOptions, Remote, Word};
use tempfile::TempDir;

use super::{
    Bytewise, World, attrs, bytes, credentials, file, get, is_absent, is_not_found, name, put, put_if,
    put_with, there,
};
use crate::support::azurite::{self, Azurite};
use crate::support::gcs::{self, Gcs, Role};
use crate::support::weed::{self, Keys, Weed};
use crate::support::{Rng, write_secret};

#[test]
fn a_folder_keeps_the_contract() {
    let folder = TempDir::new().unwrap();
    let world = World::new();
    let url = format!("file://{}", folder.path().display());
    let remote = world.remote(&url, Credentials::Anonymous);
    world.run(keeps_the_contract(&remote));
    assert!(
        std::fs::read_dir(folder.path().join(".larder/tmp")).unwrap().next().is_none(),
        "no draft is left"
    );
}

#[test]
fn s3_keeps_the_contract() {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let world = World::new();
    // With a prefix and without: names begin at another place.
    for prefix in ["", "some/where"] {
        let remote = world.remote(&weed::url(weed.addr(), prefix), credentials(&keys));
        world.run(keeps_the_contract(&remote));
    }
}

#[test]
fn azure_keeps_the_contract() {
    let azurite = Azurite::start(&["one"]);
    let world = World::new();
    for (prefix, keys) in [
        ("", Credentials::AccountKey(azurite::key("one"))),
        ("some/where", Credentials::Sas(azurite::sas("one", "rwdlac", "2099-01-01T00:00:00Z"))),
    ] {
        let remote = world.remote(&azurite::url(azurite.addr(), prefix), keys);
        world.run(keeps_the_contract(&remote));
    }
}

#[test]
fn google_keeps_the_contract() {
    let gcs = Gcs::start(&[("ci@team", Role::Writer)]);
    let folder = TempDir::new().unwrap();
    let keys = folder.path().join("key.json");
    write_secret(&keys, &gcs::key_file("ci@team"));
    let world = World::new();
    for prefix in ["", "some/where"] {
        let remote = world.remote(&gcs::url(gcs.addr(), prefix), file(&keys));
        world.run(keeps_the_contract(&remote));
        assert_eq!(gcs.uploads(), 0, "what failed was aborted");
    }
}

async fn keeps_the_contract(remote: &Remote) {
    attributes_survive(remote).await;
    ranges_are_cut_and_refused(remote).await;
    overwriting_replaces_bytes_and_attributes(remote).await;
    writes_take_conditions(remote).await;
    reads_take_conditions(remote).await;
    absent_is_an_answer(remote).await;
    names_survive(remote).await;
    listing_is_in_order(remote).await;
    large_objects_survive(remote).await;
    a_broken_source_leaves_what_was_there(remote).await;
    one_of_many_creates(remote).await;
    assert!(remote.readable() && remote.writable());
    assert_eq!(remote.states().read.word, Word::Up);
}

async fn attributes_survive(remote: &Remote) {
    let given = PutOptions {
        attrs: attrs(&[
            ("larderdigest", "blake3:00"),
            ("artifacttag", "a b; c=\"d\""),
            ("artifactduration", "12"),
        ]),
        content_type: Some("application/x-larder".into()),
        condition: PutIf::Always,
    };
    let done = put_with(remote, "attrs/x", "larder", given.clone()).await.unwrap();
    let Looked::Found(looked) = remote.head(&name("attrs/x")).await.unwrap() else {
        panic!("it was put");
    };
    let object = there(get(remote, "attrs/x").await);
    for meta in [&looked, &object.meta] {
        assert_eq!(meta.len, 6);
        assert_eq!(meta.attrs, given.attrs);
        assert_eq!(meta.content_type, given.content_type);
        assert!(meta.etag.is_some() && meta.etag == done.etag, "{:?} {:?}", meta.etag, done.etag);
        assert!(!meta.etag.as_deref().unwrap_or("\"").contains('"'));
        let (written, now) = (meta.last_modified.unwrap(), meta.server_date.unwrap());
        assert!(now + Duration::from_secs(2) > written && SystemTime::now() + Duration::from_secs(60) > now);
        // The MD5 and the CRC32C of "larder": what is stated, is right.
        let md5 = 0x000f_9153_a448_879c_e03f_7b8d_28a1_5cc0_u128.to_be_bytes();
        assert!(meta.stated.etag_md5.is_none_or(|stated| stated == md5), "{meta:?}");
        assert!(meta.stated.md5.is_none_or(|stated| stated == md5), "{meta:?}");
        assert!(meta.stated.crc32c.is_none_or(|stated| stated == crc32c(b"larder")), "{meta:?}");
        assert!(meta.stated != larder::upstream::Stated::default(), "something to check by");
    }
    assert_eq!(object.range, 0..6);
    assert_eq!(&object.body.collect(6).await.unwrap()[..], b"larder");
}

pub(super) async fn ranges_are_cut_and_refused(remote: &Remote) {
    put(remote, "range/x", "0123456789").await.unwrap();
    put(remote, "range/empty", "").await.unwrap();
    let range = async |object: &str, range| {
        remote.get(&name(object), GetOptions { range: Some(range), ..GetOptions::default() }).await
    };
    for (asked, given) in [
        (0..1, 0..1),
        (3..7, 3..7),
        (8..100, 8..10),
        (0..10, 0..10),
        (0..u64::MAX, 0..10),
        (4..u64::MAX, 4..10),
    ] {
        let object = there(range("range/x", asked).await);
        assert_eq!((object.range.clone(), object.meta.len), (given.clone(), 10));
        let expected = &b"0123456789"[given.start as usize..given.end as usize];
        assert_eq!(&object.body.collect(10).await.unwrap()[..], expected);
    }
    for (object, asked) in [("range/x", 10..11), ("range/x", 100..200), ("range/empty", 0..1)] {
        let got = range(object, asked).await;
        assert!(matches!(got, Ok(Got::Unsatisfiable(_))), "{got:?}");
    }
    let empty = there(get(remote, "range/empty").await);
    assert_eq!((empty.meta.len, empty.body.len()), (0, 0));
    assert!(matches!(range("range/absent", 0..1).await, Ok(Got::Absent { denied: false })));
}

async fn overwriting_replaces_bytes_and_attributes(remote: &Remote) {
    let with = |value| PutOptions { attrs: attrs(&[("a", value)]), ..PutOptions::default() };
    let first = put_with(remote, "over/x", "first", with("1")).await.unwrap();
    let second = put_with(remote, "over/x", "second", with("2")).await.unwrap();
    assert_ne!(first.etag, second.etag);
    let object = there(get(remote, "over/x").await);
    assert_eq!((object.meta.attrs.get("a"), object.meta.etag), (Some("2"), second.etag));
    assert_eq!(&object.body.collect(9).await.unwrap()[..], b"second");
}

async fn writes_take_conditions(remote: &Remote) {
    let matches = |etag: &str| PutIf::Matches(etag.into());
    let conflicts = |done: Result<_, Failure>| matches!(done, Err(Failure::Conflict));
    let done = put_if(remote, "if/x", "one", PutIf::Absent).await.unwrap();
    let etag = done.etag.unwrap();
    assert!(conflicts(put_if(remote, "if/x", "two", PutIf::Absent).await));
    assert!(conflicts(put_if(remote, "if/x", "two", matches("00000000000000000000000000000000")).await));
    assert!(conflicts(put_if(remote, "if/none", "two", matches(&etag)).await));
    assert!(is_absent(&get(remote, "if/none").await));
    assert_eq!(&bytes(get(remote, "if/x").await).await[..], b"one");
    put_if(remote, "if/x", "two", matches(&etag)).await.unwrap();
    assert_eq!(&bytes(get(remote, "if/x").await).await[..], b"two");
    assert!(conflicts(put_if(remote, "if/x", "three", matches(&etag)).await));
}

async fn reads_take_conditions(remote: &Remote) {
    let etag = put(remote, "match/x", "one").await.unwrap().etag;
    let other = put(remote, "match/y", "other").await.unwrap().etag;
    let read = async |if_match: Option<_>, if_none_match: Option<_>| {
        let options = GetOptions { range: None, if_match, if_none_match };
        remote.get(&name("match/x"), options).await
    };
    assert!(matches!(read(None, etag.clone()).await, Ok(Got::NotModified)));
    assert!(matches!(read(other.clone(), None).await, Ok(Got::Changed)));
    assert_eq!(&bytes(read(etag, None).await).await[..], b"one");
    assert_eq!(&bytes(read(None, other).await).await[..], b"one");
}

pub(super) async fn absent_is_an_answer(remote: &Remote) {
    for object in ["absent", "absent/deeper", "attrs/x/below", "attrs"] {
        assert!(is_absent(&get(remote, object).await), "{object}");
        assert!(is_not_found(&remote.head(&name(object)).await), "{object}");
    }
    remote.delete(&name("absent/x")).await.unwrap();
    put(remote, "delete/x", "one").await.unwrap();
    remote.delete(&name("delete/x")).await.unwrap();
    assert!(is_absent(&get(remote, "delete/x").await));
    assert!(is_not_found(&remote.head(&name("delete/x")).await));
}

async fn names_survive(remote: &Remote) {
    let long = "l".repeat(200);
    let odd = [
        "a b",
        "a+b",
        "a%2Fb",
        "a%20b",
        "100%",
        "Grüße/日本語",
        "e\u{301}",
        "a#b?c&d=e",
        // No backslash: SeaweedFS makes a slash of it.
        "q'\"`|",
        "{[<(~)>]}^",
        "*",
        "a:b@c,d;e!f$g",
        ".hidden/..x/x.",
        &long,
    ];
    for (number, odd) in odd.iter().enumerate() {
        put(remote, &format!("names/{odd}"), format!("{number}"))
            .await
            .unwrap_or_else(|e| panic!("{odd}: {e}"));
    }
    let mut expected: Vec<String> = odd.iter().map(|odd| format!("names/{odd}")).collect();
    for (number, object) in expected.iter().enumerate() {
        assert_eq!(bytes(get(remote, object).await).await, format!("{number}"), "{object}");
    }
    expected.sort_unstable();
    let listed = remote.list("names/", None, 100).await.unwrap();
    let listed: Vec<String> = listed.into_iter().map(|listed| listed.name.to_string()).collect();
    assert_eq!(listed, expected);
    for object in &expected {
        remote.delete(&name(object)).await.unwrap();
        assert!(is_absent(&get(remote, object).await), "{object}");
    }
}

async fn listing_is_in_order(remote: &Remote) {
    // Neither `a` beside `a/x`, which no folder holds, nor `a.b`, which sorts before `a/x`, but not on SeaweedFS.
    let kept = ["list/a/x", "list/a/y/z", "list/a0", "list/b/x", "lister"];
    for object in kept {
        put(remote, object, object).await.unwrap();
    }
    let list = async |prefix: &str, after: Option<&str>, limit| {
        let listed = remote.list(prefix, after, limit).await.unwrap();
        for row in &listed {
            assert_eq!(row.len, row.name.as_str().len() as u64);
            assert!(row.etag.is_some() && row.last_modified.is_some());
        }
        listed.into_iter().map(|row| row.name.to_string()).collect::<Vec<_>>()
    };
    let all = &kept[..4];
    assert_eq!(list("list/", None, 100).await, all);
    assert_eq!(list("list", None, 100).await, kept);
    assert_eq!(list("list/", None, 2).await, &all[..2]);
    assert_eq!(list("list/", Some(all[0]), 2).await, &all[1..3]);
    assert_eq!(list("list/a", None, 100).await, &all[..3]);
    assert_eq!(list("list/a0", None, 100).await, &all[2..3], "a whole name is a prefix too");
    assert_eq!(list("list/a0", Some("list/a0"), 100).await, Vec::<String>::new());
    assert_eq!(list("list/none", None, 100).await, Vec::<String>::new());
    assert_eq!(list("list/", Some("list/zz"), 100).await, Vec::<String>::new());
}

async fn large_objects_survive(remote: &Remote) {
    let mut rng = Rng::new(20);
    let piece = rng.bytes(1 << 20);
    let mut large = piece.repeat(20);
    large.extend_from_slice(b"and a little");
    let len = large.len() as u64;
    let given = PutOptions { attrs: attrs(&[("larderlen", "x")]), ..PutOptions::default() };
    let done = put_with(remote, "large/x", large.clone(), given.clone()).await.unwrap();
    let object = there(get(remote, "large/x").await);
    assert_eq!((object.meta.len, &object.meta.attrs), (len, &given.attrs));
    assert_eq!(object.meta.etag, done.etag);
    assert!(object.meta.stated.etag_md5.is_none(), "it was put in parts");
    assert!(object.body.collect(len).await.unwrap() == large, "20 MiB, byte for byte");

    let across = (8 << 20) - 5..(8 << 20) + 5;
    let options =
        GetOptions { range: Some(across.clone()), if_match: done.etag.clone(), if_none_match: None };
    let object = there(remote.get(&name("large/x"), options).await);
    assert_eq!(object.body.collect(10).await.unwrap(), &large[across.start as usize..across.end as usize]);

    let absent = PutOptions { condition: PutIf::Absent, ..given.clone() };
    let again = put_with(remote, "large/x", large.clone(), absent).await;
    assert!(matches!(again, Err(Failure::Conflict)), "{again:?}");
    let matches = PutOptions { condition: PutIf::Matches(done.etag.unwrap()), ..given };
    put_with(remote, "large/x", large, matches).await.unwrap();

    // Who stops reading ends the transfer; the next read is not its victim.
    drop(there(get(remote, "large/x").await));
    assert_eq!(there(get(remote, "large/x").await).body.collect(len).await.unwrap().len() as u64, len);
    remote.delete(&name("large/x")).await.unwrap();
}

pub(super) async fn a_broken_source_leaves_what_was_there(remote: &Remote) {
    put(remote, "source/x", "before").await.unwrap();
    for (len, breaks_at) in [(1 << 20, 512 << 10), (20 << 20, 12 << 20)] {
        let source = Bytewise { bytes: vec![1; len].into(), breaks_at: Some(breaks_at) };
        let done = remote.put(&name("source/x"), std::sync::Arc::new(source), PutOptions::default()).await;
        assert!(matches!(done, Err(Failure::Source(_))), "{done:?}");
        assert_eq!(&bytes(get(remote, "source/x").await).await[..], b"before");
    }
    assert!(remote.writable(), "a broken source is not the upstream's fault");
}

async fn one_of_many_creates(remote: &Remote) {
    let writers = (0..16).map(|number| put_if(remote, "race/x", format!("writer {number:2}"), PutIf::Absent));
    let done = join_all(writers).await;
    let created: Vec<usize> = (0..16).filter(|number| done[*number].is_ok()).collect();
    assert_eq!(created.len(), 1, "{done:?}");
    assert_eq!(bytes(get(remote, "race/x").await).await, format!("writer {:2}", created[0]));
}

fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
