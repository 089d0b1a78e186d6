//! Keys of Azure and Google that stop working, and what their refusals are called.

use std::time::Instant;

use larder::upstream::{Credentials, Failure, Got, Looked, Remote, Word};
use tempfile::TempDir;

use super::{World, becomes, bytes, file, get, is_absent, name, put, words};
use crate::support::azurite::{self, Azurite, sas};
use crate::support::fault::Fault;
use crate::support::gcs::{self, Gcs, Role, key_file};
use crate::support::proxy::FaultProxy;
use crate::support::{PATIENCE, write_secret};

/// An end that no test sees.
const LATER: &str = "2099-01-01T00:00:00Z";

#[test]
fn a_connection_string_a_sas_and_a_key_can_replace_one_another_in_the_file() {
    let azurite = Azurite::start(&["one"]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("azure");
    let world = World::new();
    let url = azurite::url(azurite.addr(), "p");
    let wrong = format!("AccountName={};AccountKey={}", azurite::ACCOUNT, azurite::key("wrong"));
    write_secret(&path, &wrong);
    let remote = world.remote(&url, file(&path));
    world.run(async {
        let said = words(put(&remote, "x", "1").await);
        assert!(said.contains("correct the account key or the SAS"), "{said}");
        assert!(!said.contains(&azurite::key("wrong")) && !said.contains("SharedKey"), "{said}");
        let said = words(get(&remote, "x").await);
        assert!(said.starts_with("Auth") || said.contains(": Auth"), "{said}");
        let states = remote.states();
        assert_eq!((states.read.word, states.write.word), (Word::Denied, Word::Denied));

        let connection = format!("AccountName={};AccountKey={}", azurite::ACCOUNT, azurite::key("one"));
        for good in [connection, sas("one", "rwdlac", LATER), azurite::key("one")] {
            write_secret(&path, &good);
            becomes(&remote, "the new keys are read", |remote| remote.readable() && remote.writable()).await;
            put(&remote, "x", "1").await.unwrap();
            assert_eq!(&bytes(get(&remote, "x").await).await[..], b"1");
            write_secret(&path, &wrong);
            until_refused(&remote).await;
        }
    });
}

/// Reads until a read is refused: a replaced file is looked at within a second.
async fn until_refused(remote: &Remote) {
    let began = Instant::now();
    while get(remote, "x").await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for a refusal");
    }
    assert_eq!(remote.states().read.word, Word::Denied, "{:?}", remote.states());
}

#[test]
fn a_sas_says_what_it_is_for_and_when_it_is_over() {
    let azurite = Azurite::start(&["one"]);
    let world = World::new();
    let url = azurite::url(azurite.addr(), "p");
    let with = |rights: &str, end: &str| world.remote(&url, Credentials::Sas(sas("one", rights, end)));
    world.run(async {
        put(&with("rwdlac", LATER), "x", "1").await.unwrap();

        let reader = with("rl", LATER);
        assert_eq!(&bytes(get(&reader, "x").await).await[..], b"1");
        assert!(is_absent(&get(&reader, "y").await));
        let said = words(put(&reader, "x", "2").await);
        assert!(said.contains("AuthorizationPermissionMismatch"), "{said}");
        assert_eq!(reader.states().write.word, Word::Denied);
        assert!(reader.readable(), "one direction is shut");

        let writer = with("cw", LATER);
        put(&writer, "x", "2").await.unwrap();
        // It may not delete, which says nothing of its writes.
        words(writer.delete(&name("x")).await);
        assert!(writer.writable(), "{:?}", writer.states());
        words(get(&writer, "x").await);
        assert_eq!(writer.states().read.word, Word::Denied);

        let over = with("rwdlac", "2020-01-01T00:00:00Z");
        let said = words(get(&over, "x").await);
        assert!(said.contains("renew"), "{said}");
        assert!(!format!("{said} {over:?}").contains("sig="), "no secret in words");
        assert_eq!(over.states().read.word, Word::Denied);
    });
}

#[test]
fn a_missing_container_is_a_state_and_never_absence() {
    let azurite = Azurite::start(&["one"]);
    let world = World::new();
    let url = azurite::url(azurite.addr(), "").replace(azurite::CONTAINER, "none-such");
    let fresh = || world.remote(&url, Credentials::AccountKey(azurite::key("one")));
    world.run(async {
        assert!(words(fresh().head(&name("x")).await).contains("ContainerNotFound"));
        let remote = fresh();
        assert!(words(get(&remote, "x").await).contains("ContainerNotFound"));
        assert!(remote.states().read.words.contains("make the bucket"), "{:?}", remote.states());
        assert!(words(put(&fresh(), "x", "1").await).contains("ContainerNotFound"));
        let large = put(&fresh(), "x", vec![1; 9 << 20]).await;
        assert!(words(large).contains("ContainerNotFound"));
    });
}

#[test]
fn a_service_account_is_refused_renewed_and_read_only() {
    let gcs = Gcs::start(&[("ci@team", Role::Writer)]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key.json");
    let world = World::new();
    let remote = world.remote(&gcs::url(gcs.addr(), "p"), file(&path));
    world.run(async {
        assert!(words(get(&remote, "x").await).contains("key.json"), "it isn't there yet");
        write_secret(&path, &key_file("ci@team"));
        becomes(&remote, "the file is read", Remote::readable).await;
        put(&remote, "x", "1").await.unwrap();

        write_secret(&path, &key_file("stranger@team"));
        until_refused(&remote).await;
        assert!(remote.states().read.words.contains("AuthenticationRequired"), "{:?}", remote.states());
        gcs.allow(&[("stranger@team", Role::Reader)]);
        becomes(&remote, "it is let in", Remote::readable).await;
        let said = words(put(&remote, "x", "2").await);
        assert!(said.contains("AccessDenied"), "{said}");
        assert_eq!(&bytes(get(&remote, "x").await).await[..], b"1");
        assert!(remote.readable() && !remote.writable(), "one direction is shut");
        gcs.allow(&[("stranger@team", Role::Writer)]);
        becomes(&remote, "writes are allowed", Remote::writable).await;
        put(&remote, "x", "2").await.unwrap();
        assert_eq!(gcs.names(), ["p/x"], "probes leave nothing behind");

        write_secret(&path, "{\"type\":\"service_account\"}");
        let broken = world.remote(&gcs::url(gcs.addr(), "p"), file(&path));
        assert!(words(get(&broken, "x").await).contains("has no client_email"));
        let unsigned = key_file("ci@team").replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN NOTHING-----");
        write_secret(&path, &unsigned);
        let broken = world.remote(&gcs::url(gcs.addr(), "p"), file(&path));
        assert!(words(get(&broken, "x").await).contains("download it again"));
    });
}

#[test]
fn a_missing_bucket_of_googles_is_a_state() {
    let gcs = Gcs::start(&[("ci@team", Role::Writer)]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key.json");
    write_secret(&path, &key_file("ci@team"));
    let world = World::new();
    let url = gcs::url(gcs.addr(), "").replace(gcs::BUCKET, "none-such");
    world.run(async {
        assert!(words(get(&world.remote(&url, file(&path)), "x").await).contains("NoSuchBucket"));
        assert!(words(world.remote(&url, file(&path)).head(&name("x")).await).contains("NoSuchBucket"));
        assert!(words(put(&world.remote(&url, file(&path)), "x", "1").await).contains("NoSuchBucket"));
    });
}

#[test]
fn both_go_down_are_throttled_and_come_back() {
    let azurite = Azurite::start(&["one"]);
    let gcs = Gcs::start(&[("ci@team", Role::Writer)]);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key.json");
    write_secret(&path, &key_file("ci@team"));
    let world = World::new();
    let (to_azure, to_google) = (FaultProxy::to(azurite.addr()), FaultProxy::to(gcs.addr()));
    let azure =
        world.remote(&azurite::url(to_azure.addr(), ""), Credentials::Sas(sas("one", "rwdlac", LATER)));
    let google = world.remote(&gcs::url(to_google.addr(), ""), file(&path));
    for (proxy, remote, busy) in [(&to_azure, &azure, "ServerBusy"), (&to_google, &google, "SlowDown")] {
        world.run(async {
            put(remote, "x", "1").await.unwrap();
            for fault in [Fault::Status { code: 503, word: busy }, Fault::TOO_MANY] {
                proxy.set(fault);
                for _ in 0..4 {
                    let got = get(remote, "x").await;
                    assert!(matches!(got, Err(Failure::Throttled { .. })), "{got:?}");
                }
                let done = put(remote, "x", "2").await;
                assert!(matches!(done, Err(Failure::Throttled { .. })), "{done:?}");
            }
            assert!(remote.readable() && remote.writable());
            for fault in [Fault::Refuse, Fault::Portal, Fault::Status { code: 500, word: "InternalError" }] {
                proxy.set(fault);
                for _ in 0..3 {
                    words(get(remote, "x").await);
                    words(put(remote, "x", "2").await);
                }
                assert!(!remote.readable() && !remote.writable(), "{fault:?}: {:?}", remote.states());
                proxy.set(Fault::None);
                remote.nudge();
                becomes(remote, "up", |remote| remote.readable() && remote.writable()).await;
                assert_eq!(&bytes(get(remote, "x").await).await[..], b"1", "{fault:?}");
            }
        });
    }
}

#[test]
fn keys_of_another_cloud_are_refused_before_any_request() {
    let world = World::new();
    for (url, keys, word) in [
        ("s3://team", Credentials::AccountKey("a2V5".into()), "access key"),
        (
            "azure://team?account=acme",
            super::credentials(&crate::support::weed::Keys::new("one")),
            "account key",
        ),
        ("gs://team", Credentials::Sas("sig=x".into()), "credentials file"),
        ("azure://team?account=acme", Credentials::AccountKey("not base64".into()), "base64"),
    ] {
        let error = world.refused(url, keys);
        assert!(error.contains(word), "{url}: {error}");
    }
}

#[test]
fn an_object_that_is_there_is_found_without_a_right_to_list() {
    let azurite = Azurite::start(&["one"]);
    let world = World::new();
    let url = azurite::url(azurite.addr(), "p");
    let remote = world.remote(&url, Credentials::Sas(sas("one", "rcw", LATER)));
    world.run(async {
        put(&remote, "x", "1").await.unwrap();
        assert!(matches!(remote.head(&name("x")).await, Ok(Looked::Found(_))));
        assert!(matches!(get(&remote, "y").await, Ok(Got::Absent { denied: false })));
        words(remote.list("", None, 10).await);
        assert!(remote.readable(), "a denied listing says nothing of reads: {:?}", remote.states());
    });
}
