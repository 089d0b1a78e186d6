//! Keys stop working, in each way in which a kind of bucket lets them: what was built meanwhile waits, and goes
//! upstream by itself when the keys are good again.

use std::time::Duration;

use crate::support::azurite::{self, Azurite, sas};
use crate::support::bucket::{Bucket, Kind};
use crate::support::daemon::Daemon;
use crate::support::fault::{Fault, Plan};
use crate::support::gcs::{self, Gcs, Role, key_file};
use crate::support::http::Request;
use crate::support::proxy::FaultProxy;
use crate::support::routes::{Entry, Route};
use crate::support::setup::{KeyFile, Setup};
use crate::support::weed::{self, Weed};
use crate::support::{PATIENCE, Rng, until};

/// How long a queue may take to drain by itself: a probe goes every 60 s at worst.
const DRAIN: Duration = Duration::from_secs(150);

/// A machine whose keys have worked.
fn laptop(url: &str, keys: &impl KeyFile) -> Daemon {
    let laptop = Setup::new().upstream(url).keys(keys).start();
    assert_eq!(laptop.put("/blob/ns/first", "with good keys").status(), 200);
    laptop.flush();
    laptop
}

/// Puts 500 entries into a machine whose keys are no longer good, and gives them back with the words that its state
/// has.
fn queue_500(laptop: &Daemon) -> (Vec<Entry>, String) {
    let (mut rng, before) = (Rng::new(500), laptop.queued());
    let entries: Vec<Entry> =
        (0..500).map(|n| Route::ALL[n % Route::ALL.len()].entry(&mut rng, 100 + n)).collect();
    for entry in &entries {
        assert_eq!(laptop.send(entry.put()).status(), entry.route.taken(), "{entry:?}");
    }
    let words = laptop.until_upstream("write", &["denied"]);
    // What was in flight before the keys were refused may have arrived.
    let queued = laptop.queued();
    assert!((500..=before + 500).contains(&queued), "keys that don't work end nothing: {queued}");
    assert_eq!(laptop.get(&entries[0].target).status(), 200, "what is queued is served");
    (entries, words)
}

/// The queue drains by itself, and a machine that never saw the entries has them all.
fn all_arrive(laptop: &Daemon, entries: &[Entry], url: &str, keys: &impl KeyFile) {
    until("all arrive by themselves", DRAIN, || laptop.queued() == 0);
    let desk = Setup::new().upstream(url).keys(keys).start();
    for entry in entries {
        // A loaded machine may miss a deadline; the fill goes on behind.
        until("the entry is a hit", PATIENCE, || {
            let answer = desk.send(Request::clone(&entry.get()));
            answer.status() == 200 && answer.whole() == Some(&entry.body)
        });
    }
}

/// The bucket lets other keys in and no longer those that the laptop has, until its file is replaced.
fn a_bucket_of_other_keys_loses_none_of_500(kind: Kind) {
    let (old, new) = (kind.keys("old"), kind.keys("new"));
    let mut bucket = Bucket::start(kind, &[&old]);
    let url = bucket.url(bucket.addr(), "team");
    let laptop = laptop(&url, &old);
    bucket.admit(&[&new]);
    let (entries, _) = queue_500(&laptop);
    new.write(&laptop.setup().keys_path());
    all_arrive(&laptop, &entries, &url, &new);
}

#[test]
fn an_s3_with_other_keys_loses_none_of_500() {
    a_bucket_of_other_keys_loses_none_of_500(Kind::S3);
}

#[test]
fn an_azure_with_other_keys_loses_none_of_500() {
    a_bucket_of_other_keys_loses_none_of_500(Kind::Azure);
}

#[test]
fn a_google_with_other_keys_loses_none_of_500() {
    a_bucket_of_other_keys_loses_none_of_500(Kind::Google);
}

#[test]
fn an_expired_token_loses_none_of_500() {
    let (old, new) = (weed::Keys::new("old"), weed::Keys::new("new"));
    let weed = Weed::start(&[&old, &new]);
    let way = FaultProxy::to(weed.addr());
    let laptop = laptop(&weed::url(way.addr(), "team"), &old);
    way.plan(Plan {
        fault: Fault::EXPIRED_TOKEN,
        strikes: |head| head.header("authorization").is_some_and(|value| value.contains("AKold")),
    });
    let (entries, words) = queue_500(&laptop);
    assert!(words.contains("ExpiredToken") && words.contains("renew the keys"), "{words}");

    let laptop = laptop.kill().start();
    assert_eq!(laptop.queued(), 500, "nor does kill -9");
    new.write(&laptop.setup().keys_path());
    all_arrive(&laptop, &entries, &weed::url(weed.addr(), "team"), &new);
}

#[test]
fn a_sas_that_is_over_loses_none_of_500() {
    let azurite = Azurite::start(&["one"]);
    let url = azurite::url(azurite.addr(), "team");
    let ends = |end: &str| sas("one", "rcw", end);
    let good = ends("2099-01-01T00:00:00Z");
    let laptop = laptop(&url, &good);
    ends("2020-01-01T00:00:00Z").write(&laptop.setup().keys_path());
    // For up to a second the file is not looked at again.
    let mut rng = Rng::new(7);
    until("the SAS that is over is read", PATIENCE, || {
        assert_eq!(laptop.send(Route::Blob.entry(&mut rng, 8).put()).status(), 200);
        laptop.upstream("write").0 == "denied"
    });
    let (entries, words) = queue_500(&laptop);
    let queued = laptop.queued();
    assert!(words.contains("renew it if it is over") && !words.contains("sig="), "{words}");

    let laptop = laptop.kill().start();
    assert_eq!(laptop.queued(), queued, "nor does kill -9");
    good.write(&laptop.setup().keys_path());
    all_arrive(&laptop, &entries, &url, &good);
}

#[test]
fn a_service_account_that_may_no_longer_write_loses_none_of_500() {
    let gcs = Gcs::start(&[("ci@team", Role::Writer)]);
    let url = gcs::url(gcs.addr(), "team");
    let keys = key_file("ci@team");
    let laptop = laptop(&url, &keys);
    gcs.allow(&[("ci@team", Role::Reader)]);
    let (entries, words) = queue_500(&laptop);
    assert!(words.contains("AccessDenied") && words.contains("give the keys the right"), "{words}");

    let laptop = laptop.kill().start();
    assert_eq!(laptop.queued(), 500, "nor does kill -9");
    gcs.allow(&[("ci@team", Role::Writer)]);
    all_arrive(&laptop, &entries, &url, &keys);
}
