//! Keys that end while they are used, before a store that refuses those that are over: replaced in the background, and
//! what becomes of entries when they are replaced no more.
//!
//! Six seconds stand for an hour, so that ten minutes are one: the keys say so themselves, the store agrees, and when
//! the daemon renews is a share of a key's life. Lives of 3,600 s are in its unit tests, whose clocks are their own.

use std::time::Duration;

use crate::credentials::{all_of, laptop_at, login};
use crate::support::daemon::Daemon;
use crate::support::proxy::FaultProxy;
use crate::support::rotation::{self, Rotation};
use crate::support::routes::{Entry, Route};
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::{PATIENCE, Rng, until};

/// What stands for an hour.
const HOUR: Duration = Duration::from_secs(6);

/// How often the credential is replaced under load.
const REPLACED: usize = 5;

/// As many are put, and as many are got from upstream.
const ARTIFACTS: usize = 1_000;

/// More keys than hours that the test can last.
const KEYS: usize = 60;

/// A prober looks for other keys every few seconds, and probes every 60 s at worst.
const DRAIN: Duration = Duration::from_secs(150);

fn some(seed: u64, count: usize) -> Vec<Entry> {
    let mut rng = Rng::new(seed);
    let entry = |at: usize| Route::ALL[at % Route::ALL.len()].entry(&mut rng, 300);
    (0..count).map(entry).collect()
}

#[track_caller]
fn put(daemon: &Daemon, entry: &Entry) {
    let answer = daemon.send(entry.put());
    assert_eq!(answer.status(), entry.route.taken(), "{entry:?}: {}", answer.text());
}

#[track_caller]
fn has(daemon: &Daemon, entry: &Entry) {
    let answer = daemon.send(entry.get());
    assert_eq!(answer.status(), 200, "{entry:?}: {}", answer.text());
    assert!(answer.whole() == Some(&entry.body[..]), "{entry:?}");
}

/// Another machine of the team, whose keys don't end.
fn desk(weed: &Weed, keys: &Keys) -> Daemon {
    Setup::new().upstream(weed::url(weed.addr(), "team")).keys(keys).start()
}

#[test]
fn two_thousand_artifacts_while_the_credential_is_replaced_and_then_no_more() {
    let keys = Rotation::keys("hour", KEYS);
    let of_desk = Keys::new("desk");
    let weed = Weed::start(&keys.iter().chain([&of_desk]).collect::<Vec<_>>());
    let desk = desk(&weed, &of_desk);
    let (built, to_build) = (some(71, ARTIFACTS), some(73, ARTIFACTS));
    std::thread::scope(|scope| {
        for part in built.chunks(ARTIFACTS / 4) {
            scope.spawn(|| part.iter().for_each(|entry| put(&desk, entry)));
        }
    });
    desk.flush();

    let way = FaultProxy::to(weed.addr());
    way.plan(rotation::ENFORCED);
    let setup = laptop_at(way.addr());
    let rotation = Rotation::new(&setup, "hour", HOUR);
    login(&setup, &rotation.document());
    let laptop = setup.start();
    let mut pairs = built.iter().zip(&to_build);
    let (mut done, mut rng) = (0, Rng::new(75));
    while done < 2 * ARTIFACTS || rotation.used().len() <= REPLACED {
        match pairs.next() {
            Some((upstream, new)) => {
                has(&laptop, upstream);
                put(&laptop, new);
                has(&laptop, new);
                done += 2;
            }
            None => put(&laptop, &Route::Cas.entry(&mut rng, 300)),
        }
        // The load lasts as long as the hours.
        std::thread::park_timeout(Duration::from_millis(5));
    }
    laptop.flush();
    assert_eq!(rotation.struck(), 0, "no request with a key that was over");
    assert!(!laptop.log().contains("denied since"), "the upstream was never denied");
    assert_eq!(laptop.stat("/totals/uploads_ended"), 0, "nothing is given up");

    // The renewal is broken: traffic goes on as when offline, and it is said what helps.
    rotation.break_it();
    until("the last key is over", PATIENCE, || rotation.last_is_over());
    let waiting = some(77, 50);
    for entry in &waiting {
        put(&laptop, entry);
        has(&laptop, entry);
    }
    let words = laptop.until_upstream("write", &["denied"]);
    let remedy = "the credential `work`: `sh` ended with 1: no session: run corp-login; token=…";
    assert!(words.contains(remedy), "{words}");
    let unknown = some(79, 20);
    until("reads are denied", PATIENCE, || {
        assert_eq!(laptop.send(unknown[0].get()).status(), 404);
        laptop.upstream("read").0 == "denied"
    });
    let asked = way.seen().len();
    for entry in &unknown {
        assert_eq!(laptop.send(entry.get()).status(), 404, "a miss is a miss");
    }
    built.iter().chain(&to_build).step_by(20).for_each(|entry| has(&laptop, entry));
    assert_eq!(way.seen().len(), asked, "nobody upstream is asked: misses wait for nobody");
    assert_eq!(laptop.queued(), waiting.len() as u64);
    let status = laptop.cli(&["status"]);
    assert!(status.status.code() == Some(1) && all_of(&status).contains(remedy), "{status:?}");
    let doctor = laptop.setup().told("doctor").output().expect("the binary starts");
    assert!(!doctor.status.success() && all_of(&doctor).contains("run corp-login"), "{doctor:?}");

    rotation.mend_it();
    login(laptop.setup(), &rotation.document());
    until("all of it goes upstream", DRAIN, || laptop.queued() == 0);
    let all: Vec<&Entry> = to_build.iter().chain(&waiting).collect();
    std::thread::scope(|scope| {
        for part in all.chunks(all.len().div_ceil(4)) {
            let desk = &desk;
            scope.spawn(move || part.iter().for_each(|entry| has(desk, entry)));
        }
    });
    assert_eq!(laptop.stat("/totals/uploads_ended"), 0, "nothing is given up");
    let log = laptop.log();
    assert!(!log.contains("secret-of-hour"), "no secret is said");
    let failed = laptop.access().into_iter().find(|line| line.status >= 500);
    assert!(failed.is_none(), "{failed:?}");
}
