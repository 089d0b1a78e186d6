//! What is asked of a store, and so paid for: the table of docs/upstreams.md, counted at a proxy before each kind.

use crate::support::Rng;
use crate::support::bucket::{Bucket, Kind};
use crate::support::daemon::Daemon;
use crate::support::proxy::FaultProxy;
use crate::support::routes::Route;
use crate::support::setup::Setup;

/// Counts what goes upstream while `act` runs, as `GET 1, PUT 2`.
fn asked(way: &FaultProxy, daemon: &Daemon, act: impl FnOnce()) -> String {
    let before = way.seen().len();
    act();
    daemon.flush();
    let since = &way.seen()[before..];
    let count = |method: &str| since.iter().filter(|seen| seen.method == method).count();
    let said = ["GET", "HEAD", "PUT", "POST", "DELETE"].map(|method| (method, count(method)));
    let said = said.iter().filter(|(_, count)| *count > 0).map(|(method, count)| format!("{method} {count}"));
    said.collect::<Vec<_>>().join(", ")
}

/// What each act asks of a bucket of `kind`.
fn requests_of(kind: Kind) -> [(&'static str, String); 9] {
    let keys = kind.keys("one");
    let bucket = Bucket::start(kind, &[&keys]);
    let mut rng = Rng::new(21);
    let desk = Setup::new().upstream(bucket.url(bucket.addr(), "team")).keys(&keys).start();
    let known = Route::Blob.entry(&mut rng, 1000);
    assert_eq!(desk.send(known.put()).status(), 200);
    desk.flush();

    let way = FaultProxy::to(bucket.addr());
    // A loaded machine may miss a deadline, which the tests of faults are about.
    let config = "first_byte = \"20 s\"";
    let laptop = Setup::new().config(config).upstream(bucket.url(way.addr(), "team")).keys(&keys).start();
    let put = |target: &str, body: Vec<u8>| assert_eq!(laptop.put(target, body).status(), 200, "{target}");
    let get = |target: &str, status| assert_eq!(laptop.get(target).status(), status, "{target}");
    let (absent, new) = (Route::Blob.entry(&mut rng, 8), Route::Blob.entry(&mut rng, 8));
    let (large, content) = (rng.bytes(20 << 20), Route::Cas.entry(&mut rng, 1000));
    let count = |act: &dyn Fn()| asked(&way, &laptop, act);
    [
        ("a hit there", count(&|| get(&known.target, 200))),
        ("a hit here", count(&|| get(&known.target, 200))),
        ("a miss", count(&|| get(&absent.target, 404))),
        ("a new name", count(&|| put(&new.target, b"one".to_vec()))),
        ("a known name", count(&|| put(&new.target, b"two".to_vec()))),
        ("20 MiB", count(&|| put("/blob/ns/large", large.clone()))),
        ("content", count(&|| put(&content.target, content.body.clone()))),
        ("known content", count(&|| put(&content.target, content.body.clone()))),
        ("a DELETE", count(&|| assert_eq!(laptop.send(new.ask("DELETE")).status(), 204))),
    ]
}

#[test]
fn requests_are_those_that_the_page_says() {
    for kind in Kind::ALL {
        let (known_name, large) = match kind {
            Kind::S3 => ("PUT 1", "PUT 3, POST 2"),
            Kind::Azure => ("PUT 1", "PUT 4"),
            Kind::Google => ("HEAD 1, PUT 1", "PUT 3, POST 2"),
        };
        let wanted = [
            ("a hit there", "GET 1"),
            ("a hit here", ""),
            ("a miss", "GET 1"),
            ("a new name", "PUT 1"),
            ("a known name", known_name),
            ("20 MiB", large),
            ("content", "PUT 1"),
            ("known content", ""),
            ("a DELETE", "DELETE 1"),
        ];
        assert_eq!(requests_of(kind).each_ref().map(|(act, asked)| (*act, &**asked)), wanted, "{kind:?}");
    }
}
