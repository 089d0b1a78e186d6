//! What an S3 upstream makes of a bucket that breaks: each fault, each call, and the way back.

use std::fs;
use std::time::{Duration, Instant};

use larder::upstream::{Failure, GetOptions, Got, Looked, Remote, Word};
use tempfile::TempDir;

use super::{World, becomes, bytes, credentials, file, get, is_absent, name, put, there, words};
use crate::support::fault::{Fault, Plan};
use crate::support::proxy::FaultProxy;
use crate::support::setup::KeyFile as _;
use crate::support::weed::{self, Keys, Weed};

/// A bucket behind a proxy that breaks.
struct Broken {
    world: World,
    proxy: FaultProxy,
    weed: Weed,
    keys: Keys,
}

impl Broken {
    fn new() -> Self {
        let keys = Keys::new("one");
        let weed = Weed::start(&[&keys]);
        Self { world: World::new(), proxy: FaultProxy::to(weed.addr()), weed, keys }
    }

    fn url(&self) -> String {
        weed::url(self.proxy.addr(), "p")
    }

    /// A remote that knows nothing yet, with the shortest deadlines that a noisy machine keeps.
    fn remote(&self) -> Remote {
        self.world.remote_with(&self.url(), credentials(&self.keys), |settings| {
            settings.first_byte = Duration::from_millis(1500);
            settings.stall = Duration::from_secs(2);
        })
    }
}

/// `remote` is refused in both directions within three calls of each, and comes back by itself.
async fn goes_down_and_comes_back(broken: &Broken, fault: Fault, says: &str) {
    let remote = broken.remote();
    put(&remote, "x", "1").await.unwrap();
    broken.proxy.set(fault);
    for _ in 0..3 {
        let began = Instant::now();
        assert!(words(get(&remote, "x").await).contains(says), "{fault:?}: {:?}", remote.states());
        assert!(words(put(&remote, "x", "2").await).contains(says), "{fault:?}: {:?}", remote.states());
        assert!(began.elapsed() < Duration::from_secs(6), "{fault:?}: {:?}", began.elapsed());
    }
    assert!(!remote.readable() && !remote.writable(), "{fault:?}: {:?}", remote.states());
    let states = remote.states();
    assert!(states.read.words.starts_with("read down since "), "{states:?}");
    assert_eq!(states.write.word, Word::Down);

    let connections = broken.proxy.connections();
    let began = Instant::now();
    for _ in 0..1000 {
        words(get(&remote, "x").await);
        words(remote.head(&name("x")).await);
        words(put(&remote, "x", "2").await);
    }
    let each = began.elapsed() / 3000;
    assert!(each < Duration::from_millis(1), "a refused call took {each:?}");
    assert!(broken.proxy.connections() <= connections + 4, "only probes connect");

    broken.proxy.set(Fault::None);
    remote.nudge();
    becomes(&remote, "both ways are up", |remote| remote.readable() && remote.writable()).await;
    assert_eq!(&bytes(get(&remote, "x").await).await[..], b"1");
    put(&remote, "x", "3").await.unwrap();
}

#[test]
fn an_upstream_that_is_gone_is_refused_here_and_found_again() {
    let broken = Broken::new();
    broken.world.run(async {
        goes_down_and_comes_back(&broken, Fault::Refuse, " 127.0.0.1:").await;
        // Open connections fall silent, new ones are not made.
        goes_down_and_comes_back(&broken, Fault::BlackHole, "").await;
        goes_down_and_comes_back(&broken, Fault::Silent, "no answer").await;
        goes_down_and_comes_back(&broken, Fault::Portal, "captive portal").await;
        let code = |code, word| Fault::Status { code, word };
        goes_down_and_comes_back(&broken, code(500, "InternalError"), "InternalError").await;
        goes_down_and_comes_back(&broken, code(503, "ServiceUnavailable"), "ServiceUnavailable").await;
    });
}

#[test]
fn throttling_is_not_an_outage() {
    let broken = Broken::new();
    broken.world.run(async {
        let remote = broken.remote();
        put(&remote, "x", "1").await.unwrap();
        for fault in [Fault::TOO_MANY, Fault::SLOW_DOWN] {
            broken.proxy.set(fault);
            for _ in 0..4 {
                let got = get(&remote, "x").await;
                assert!(matches!(got, Err(Failure::Throttled { .. })), "{fault:?}: {got:?}");
            }
            let done = put(&remote, "x", "2").await;
            assert!(matches!(done, Err(Failure::Throttled { .. })), "{fault:?}: {done:?}");
            assert!(remote.readable() && remote.writable());
        }
    });
}

#[test]
fn a_denied_read_is_a_miss_and_a_denied_write_a_state() {
    let broken = Broken::new();
    broken.world.run(async {
        let remote = broken.remote();
        put(&remote, "cas/x", "1").await.unwrap();
        broken.proxy.set(Fault::ACCESS_DENIED);
        for _ in 0..4 {
            assert!(matches!(get(&remote, "cas/x").await, Ok(Got::Absent { denied: true })));
            let looked = remote.head(&name("cas/x")).await;
            assert!(matches!(looked, Ok(Looked::Absent { denied: true })), "{looked:?}");
        }
        assert!(remote.readable());

        assert!(words(put(&remote, "cas/x", "2").await).starts_with("AccessDenied: "));
        let state = remote.states().write;
        assert!(state.word == Word::Denied && state.words.starts_with("write denied since "), "{state:?}");
        assert!(state.words.contains(": AccessDenied: "), "{state:?}");
        assert!(remote.readable() && !remote.writable(), "one direction is shut");
        broken.proxy.set(Fault::None);
        becomes(&remote, "writes are allowed", Remote::writable).await;
        assert!(broken.proxy.count("PUT", "cas/larder-probe") > 0, "asked near to what was denied");
        assert!(is_absent(&get(&remote, "cas/larder-probe").await), "and left nothing there");
    });
}

#[test]
fn keys_that_stop_working_are_named_and_a_new_file_is_enough() {
    let mut broken = Broken::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("credentials");
    broken.keys.write(&path);
    let remote = broken.world.remote(&broken.url(), file(&path));
    broken.world.run(async {
        put(&remote, "x", "1").await.unwrap();
        broken.proxy.set(Fault::EXPIRED_TOKEN);
        assert!(words(get(&remote, "x").await).contains("ExpiredToken"));
        assert!(words(put(&remote, "x", "2").await).contains("renew the keys"));
        let state = remote.states().read;
        assert!(state.word == Word::Denied && state.words.contains("ExpiredToken: "), "{state:?}");
        broken.proxy.set(Fault::None);
        becomes(&remote, "the token is good", |remote| remote.readable() && remote.writable()).await;
    });

    // The store knows other keys now; the file has the old ones, then one that everybody can read, then good ones.
    let renewed = Keys::new("new");
    broken.weed.restart(&[&renewed]);
    broken.world.run(async {
        // Lets go of connections to the store that was.
        remote.nudge();
        let said = words(put(&remote, "x", "2").await);
        assert!(said.contains("InvalidAccessKeyId"), "{said} {:?}", broken.proxy.seen());
        let wrong = Keys { secret: "wrong".into(), ..renewed.clone() };
        wrong.write(&path);
        becomes_worded(&remote, "SignatureDoesNotMatch").await;
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        becomes_worded(&remote, "chmod 600").await;
        assert!(!remote.states().write.words.contains("wrong"), "no secret in words");
        renewed.write(&path);
        becomes(&remote, "the new keys are read", |remote| remote.readable() && remote.writable()).await;
        put(&remote, "x", "2").await.unwrap();
        assert_eq!(&bytes(get(&remote, "x").await).await[..], b"2");
    });
}

/// Waits until writes are refused in these words, by the probes that go by themselves.
async fn becomes_worded(remote: &Remote, part: &str) {
    becomes(remote, part, |remote| remote.states().write.words.contains(part)).await;
}

#[test]
fn a_missing_bucket_is_a_state_and_never_absence() {
    let broken = Broken::new();
    let url = broken.url().replace(weed::BUCKET, "nobucket");
    broken.world.run(async {
        let remote = broken.world.remote(&url, credentials(&broken.keys));
        assert!(words(remote.head(&name("x")).await).contains("NoSuchBucket"));
        let remote = broken.world.remote(&url, credentials(&broken.keys));
        assert!(words(get(&remote, "x").await).contains("NoSuchBucket"));
        assert!(remote.states().read.words.contains("make the bucket"), "{:?}", remote.states());
    });
}

#[test]
fn a_read_only_upstream_is_never_written_to() {
    let broken = Broken::new();
    broken.world.run(async {
        // SeaweedFS makes its bucket a little after it begins to answer.
        put(&broken.remote(), "y", "1").await.unwrap();
        let writes = broken.proxy.count("PUT", "");
        let remote = broken
            .world
            .remote_with(&broken.url(), credentials(&broken.keys), |settings| settings.read_only = true);
        assert!(words(put(&remote, "x", "1").await).contains("read only"));
        assert!(words(remote.delete(&name("x")).await).contains("read only"));
        assert!(remote.read_only() && !remote.writable() && remote.readable());
        let got = get(&remote, "x").await;
        assert!(is_absent(&got), "{got:?}");
        assert_eq!(broken.proxy.count("PUT", "") + broken.proxy.count("DELETE", ""), writes);
    });
}

#[test]
fn a_broken_body_is_an_error_and_can_be_resumed() {
    let broken = Broken::new();
    broken.world.run(async {
        let body: Vec<u8> = (0..3 << 20).map(|at: u32| (at / 251) as u8).collect();
        let etag = put(&broken.remote(), "x", body.clone()).await.unwrap().etag;
        let after = 1 << 20;
        for fault in [Fault::Reset { after }, Fault::Cut { after }, Fault::Stall { after }] {
            let remote = broken.remote();
            broken.proxy.set(fault);
            let began = Instant::now();
            let object = there(get(&remote, "x").await);
            let error = object.body.collect(3 << 20).await.expect_err("the body is broken");
            assert!(began.elapsed() < Duration::from_secs(6), "{fault:?}: {:?} {error}", began.elapsed());
            broken.proxy.set(Fault::None);
            let rest =
                GetOptions { range: Some(after..3 << 20), if_match: etag.clone(), if_none_match: None };
            let object = there(remote.get(&name("x"), rest).await);
            assert_eq!(object.body.collect(3 << 20).await.unwrap(), &body[after as usize..], "{fault:?}");
        }
        // A consistent lie about the length is for the caller's checksums; the length is told.
        broken.proxy.set(Fault::Shorten { by: 1 });
        assert_eq!(there(get(&broken.remote(), "x").await).meta.len, (3 << 20) - 1);
    });
}

#[test]
fn bodies_that_always_break_take_the_upstream_down() {
    let broken = Broken::new();
    broken.world.run(async {
        let remote = broken.remote();
        put(&remote, "x", vec![1; 1 << 20]).await.unwrap();
        broken.proxy.plan(Plan {
            fault: Fault::Reset { after: 4096 },
            strikes: |request| request.words().0 == "GET" && !request.words().1.contains("larder-probe"),
        });
        for _ in 0..3 {
            there(get(&remote, "x").await).body.collect(1 << 20).await.expect_err("broken");
        }
        assert_eq!(remote.states().read.word, Word::Down);
        assert!(remote.writable(), "writes have a breaker of their own");
        becomes(&remote, "a probe is answered", Remote::readable).await;
    });
}

#[test]
fn an_upload_in_parts_survives_a_retry_and_leaves_none_when_it_fails() {
    let broken = Broken::new();
    let folder = TempDir::new().unwrap();
    let notes = folder.path().join("uploads");
    let count = || fs::read_dir(&notes).map_or(0, Iterator::count);
    let remote = || {
        broken.world.remote_with(&broken.url(), credentials(&broken.keys), |settings| {
            settings.uploads = Some(notes.clone());
            settings.stall = Duration::from_secs(2);
        })
    };
    let body = vec![3; 20 << 20];
    broken.world.run(async {
        let first = remote();
        put(&first, "x", body.clone()).await.unwrap();
        assert_eq!(
            (count(), broken.proxy.count("PUT", "partNumber=2")),
            (0, 1),
            "completed uploads leave no note"
        );

        // The second part never gets through: the upload is aborted.
        broken.proxy.plan(Plan {
            fault: Fault::Status { code: 500, word: "InternalError" },
            strikes: |request| request.words().1.contains("partNumber=2"),
        });
        assert!(words(put(&first, "y", body.clone()).await).contains("InternalError"));
        assert_eq!(broken.proxy.count("PUT", "partNumber=2"), 1 + 3, "a write is tried three times");
        assert_eq!(broken.proxy.count("DELETE", "uploadId="), 1);
        assert_eq!(count(), 0, "aborted uploads leave no note");

        // Nor does the abort: the note stays, and the next process aborts with its first write.
        broken.proxy.plan(Plan {
            fault: Fault::Status { code: 500, word: "InternalError" },
            strikes: |request| request.words().1.contains("uploadId="),
        });
        words(put(&remote(), "z", body.clone()).await);
        assert_eq!(count(), 1);
        broken.proxy.set(Fault::None);
        let next = remote();
        put(&next, "small", "1").await.unwrap();
        crate::support::until("the upload is aborted", crate::support::PATIENCE, || count() == 0);
        assert!(is_absent(&get(&next, "y").await) && is_absent(&get(&next, "z").await));
    });
}

#[test]
fn a_caller_that_goes_away_ends_its_upload() {
    let broken = Broken::new();
    broken.world.run(async {
        let remote = broken.remote();
        broken.proxy.plan(Plan {
            fault: Fault::Silent,
            strikes: |request| request.words().1.contains("partNumber=1"),
        });
        let put = put(&remote, "x", vec![3; 20 << 20]);
        let put = tokio::time::timeout(Duration::from_millis(1500), put).await;
        assert!(put.is_err(), "it waits for its part");
        crate::support::until("the upload is aborted", crate::support::PATIENCE, || {
            broken.proxy.count("DELETE", "uploadId=") == 1
        });
    });
}
