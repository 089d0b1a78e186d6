//! What an upstream's keys may do, and what a machine with them then does: the least rights of docs/upstreams.md, and
//! what is missed without each.

use crate::support::azurite::{self, Azurite, sas};
use crate::support::eventually;
use crate::support::fault::Fault;
use crate::support::gcs::{self, Gcs, Role, key_file};
use crate::support::proxy::FaultProxy;
use crate::support::routes::{Entry, Route};
use crate::support::setup::{KeyFile, Setup};
use crate::support::weed::{self, Keys, Weed};
use crate::support::{PATIENCE, Rng, until};

/// What a machine makes of its keys, in words that a table can hold.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// `hit` or `miss`, of an entry that is upstream.
    there: &'static str,
    /// The state of reads, after one of what is there and one of what is not.
    reads: String,
    /// The state of writes, after one of a new name and one of a known one.
    new: String,
    again: String,
}

/// A store's way in, and an entry that it has.
struct Store {
    way: FaultProxy,
    url: String,
    known: Entry,
}

// === impl Store ===

impl Store {
    /// The store behind a proxy; `url` is the one of an upstream there, and `keys` may do all.
    fn new(
        addr: std::net::SocketAddr,
        url: impl Fn(std::net::SocketAddr) -> String,
        keys: &impl KeyFile,
    ) -> Self {
        let way = FaultProxy::to(addr);
        let known = Route::Blob.entry(&mut Rng::new(1), 100);
        let desk = Setup::new().upstream(url(addr)).keys(keys).start();
        assert_eq!(desk.send(known.put()).status(), 200);
        desk.flush();
        let url = url(way.addr());
        Self { way, url, known }
    }

    fn seen_with(&self, keys: &impl KeyFile) -> Seen {
        let daemon = Setup::new().upstream(&self.url).keys(keys).start();
        let mut rng = Rng::new(crate::support::random());
        let (absent, new) = (Route::Blob.entry(&mut rng, 8), Route::Blob.entry(&mut rng, 8));
        let hit = || daemon.send(self.known.get()).status() == 200;
        // A loaded machine may miss a deadline once; keys that may not read miss always.
        let there = if (0..3).any(|_| hit()) { "hit" } else { "miss" };
        assert_eq!(daemon.send(absent.get()).status(), 404, "{absent:?}");
        let state = |direction: &str| {
            let (word, words) = daemon.upstream(direction);
            let code = words.split(": ").nth(1).unwrap_or_default();
            if word == "up" { word } else { format!("{word} {code}") }
        };
        let put = |body: &str| {
            assert_eq!(daemon.put(&new.target, body).status(), 200, "a PUT is always taken");
            eventually("the write is told", PATIENCE, || {
                let told = state("write");
                (daemon.queued() == 0 || told != "up").then_some(told)
            })
        };
        let (reads, new, again) = (state("read"), put("one"), put("two"));
        Seen { there, reads, new, again }
    }

    /// Goes away and comes back: probes with `keys` see both.
    fn is_found_again_with(&self, keys: &impl KeyFile) {
        let daemon = Setup::new().upstream(&self.url).keys(keys).start();
        let mut rng = Rng::new(crate::support::random());
        self.way.set(Fault::Refuse);
        until("both ways are down", PATIENCE, || {
            let entry = Route::Blob.entry(&mut rng, 8);
            daemon.send(entry.get());
            daemon.send(entry.put());
            daemon.upstream("read").0 == "down" && daemon.upstream("write").0 == "down"
        });
        self.way.set(Fault::None);
        daemon.until_upstream("read", &["up"]);
        daemon.flush();
        daemon.until_upstream("write", &["up"]);
    }
}

/// Rights, what an entry there is, the states of reads, of a new name, of a known one.
type Row<K> = (K, &'static str, &'static str, &'static str, &'static str);

/// All rows are as they are said to be.
fn are<K: KeyFile>(store: &Store, rows: &[Row<K>]) {
    let mut wrong = Vec::new();
    for (keys, there, reads, new, again) in rows {
        let seen = store.seen_with(keys);
        let wanted = Seen { there, reads: (*reads).into(), new: (*new).into(), again: (*again).into() };
        if seen != wanted {
            wrong.push(format!("{}: {seen:?}", keys.text().replace('\n', " ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rights_of_s3() {
    let keys = |name: &str, rights| Keys { rights, ..Keys::new(name) };
    let all = Keys::new("all");
    let rows = [
        (keys("r", &["Read"]), "hit", "up", "denied AccessDenied", "denied AccessDenied"),
        (keys("rl", &["Read", "List"]), "hit", "up", "denied AccessDenied", "denied AccessDenied"),
        (keys("rw", &["Read", "Write"]), "hit", "up", "up", "up"),
        (keys("rlw", &["Read", "List", "Write"]), "hit", "up", "up", "up"),
        (keys("w", &["Write"]), "miss", "up", "up", "up"),
        (keys("l", &["List"]), "miss", "up", "denied AccessDenied", "denied AccessDenied"),
    ];
    let known: Vec<&Keys> = rows.iter().map(|row| &row.0).chain([&all]).collect();
    let weed = Weed::start(&known);
    let store = Store::new(weed.addr(), |addr| weed::url(addr, "team"), &all);
    are(&store, &rows);
    store.is_found_again_with(&rows[2].0);
}

#[test]
fn rights_of_azure() {
    let azurite = Azurite::start(&["one"]);
    let with = |rights| sas("one", rights, "2099-01-01T00:00:00Z");
    let store = Store::new(azurite.addr(), |addr| azurite::url(addr, "team"), &with("rwdlac"));
    let mismatch = "denied AuthorizationPermissionMismatch";
    are(
        &store,
        &[
            (with("r"), "hit", "up", mismatch, mismatch),
            (with("rl"), "hit", "up", mismatch, mismatch),
            (with("rc"), "hit", "up", "up", mismatch),
            (with("rw"), "hit", "up", "up", "up"),
            (with("rcw"), "hit", "up", "up", "up"),
            (with("cw"), "miss", mismatch, "up", "up"),
            (with("l"), "miss", mismatch, mismatch, mismatch),
        ],
    );
    store.is_found_again_with(&with("rw"));
}

#[test]
fn roles_of_google() {
    let roles = [("viewer@team", Role::Reader), ("creator@team", Role::Creator), ("user@team", Role::Writer)];
    let gcs = Gcs::start(&roles);
    let [viewer, creator, user] = roles.map(|(who, _)| key_file(who));
    let store = Store::new(gcs.addr(), |addr| gcs::url(addr, "team"), &user);
    are(
        &store,
        &[
            (viewer, "hit", "up", "denied AccessDenied", "denied AccessDenied"),
            (creator, "hit", "up", "up", "denied AccessDenied"),
            (user.clone(), "hit", "up", "up", "up"),
        ],
    );
    store.is_found_again_with(&user);
}
