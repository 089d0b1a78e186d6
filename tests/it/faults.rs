//! The one table of upstream faults: what a client of each frontend must see while the way to an upstream of each kind,
//! or the upstream itself, is broken. Never a 5xx, never later than the first-byte deadline, never wrong bytes; and all is
//! well again when the fault is gone.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::support::bucket::{Bucket, Keys, Kind};
use crate::support::fault::Fault;
use crate::support::http::{Answer, Request};
use crate::support::proxy::FaultProxy;
use crate::support::routes::{Entry, Route};
use crate::support::setup::Setup;
use crate::support::{PATIENCE, Rng, say, until};

/// What an entry that is upstream looks like to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Must {
    /// 404 in the frontend's words.
    Miss,
    /// 200 and every byte.
    Right,
    /// Any of: a miss; every byte, right; a body that breaks before its announced end. Never a clean wrong one.
    NotWrong,
}

/// One fault, and what GET (of 1,000 bytes and of a megabyte) and HEAD must see. A PUT is always taken with 200.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    pub(crate) small: Must,
    pub(crate) large: Must,
    pub(crate) head: Must,
}

const fn row(fault: Fault, small: Must, large: Must, head: Must) -> Row {
    Row { fault, small, large, head }
}

use Must::{Miss, NotWrong, Right};

pub(crate) const SMALL: usize = 1_000;
pub(crate) const LARGE: usize = 1 << 20;

/// What is owed under each fault of the way. A body that never begins, or not in time, is a miss; one that breaks
/// before the client saw a byte may be one too; HEAD has no body to break.
const TABLE: [Row; 9] = [
    row(Fault::Refuse, Miss, Miss, Miss),
    row(Fault::BlackHole, Miss, Miss, Miss),
    row(Fault::Silent, Miss, Miss, Miss),
    row(Fault::Portal, Miss, Miss, Miss),
    row(Fault::Stall { after: 400 }, Miss, NotWrong, Right),
    row(Fault::Reset { after: 300 }, NotWrong, NotWrong, Right),
    row(Fault::Flip { at: 77 }, Miss, NotWrong, Right),
    row(Fault::Cut { after: 300 }, NotWrong, NotWrong, Right),
    row(Fault::Shorten { by: 10 }, Miss, NotWrong, NotWrong),
];

/// The table, and every refusal in the store's own words.
pub(crate) fn table(kind: Kind) -> Vec<Row> {
    let refusals = kind.refusals().into_iter().map(|fault| row(fault, Miss, Miss, Miss));
    TABLE.into_iter().chain(refusals).collect()
}

pub(crate) const FIRST_BYTE: Duration = Duration::from_millis(400);
/// What a loaded machine may add to a deadline.
pub(crate) const NOISE: Duration = Duration::from_millis(600);
pub(crate) const CONFIG: &str = "connect = \"200 ms\"\nfirst_byte = \"400 ms\"\nstall = \"1 s\"";

/// One entry of each size, upstream since before the fault, and one that is asked for before it.
struct Known {
    first: Entry,
    small: Entry,
    large: Entry,
    second: Entry,
}

impl Known {
    fn of(route: Route, rng: &mut Rng) -> Self {
        Self {
            first: route.entry(rng, SMALL),
            small: route.entry(rng, SMALL),
            large: route.entry(rng, LARGE),
            second: route.entry(rng, SMALL),
        }
    }

    fn all(&self) -> [&Entry; 4] {
        [&self.first, &self.small, &self.large, &self.second]
    }
}

/// Fills the bucket by a daemon of its own.
fn seed(bucket: &Bucket, keys: &Keys, rng: &mut Rng) -> Vec<Known> {
    let desk = Setup::new().upstream(bucket.url(bucket.addr(), "")).keys(keys).start();
    let known: Vec<Known> = Route::ALL.into_iter().map(|route| Known::of(route, rng)).collect();
    for entry in known.iter().flat_map(Known::all) {
        assert_eq!(desk.send(entry.put()).status(), entry.route.taken(), "{entry:?}");
    }
    desk.flush();
    known
}

/// Whether `answer` to a request for `entry` is what it must be.
fn check(answer: &Answer, entry: &Entry, must: Must) -> Result<(), String> {
    let right = answer.status() == 200 && answer.whole() == Some(&entry.body);
    let held = match must {
        Must::Miss => answer.status() == 404,
        Must::Right => right,
        Must::NotWrong => answer.status() == 404 || right || answer.broken.is_some(),
    };
    let len = answer.body.len();
    let words =
        || format!("must be {must:?}: {} with {len} bytes, broken: {:?}", answer.head.line, answer.broken);
    if held { Ok(()) } else { Err(words()) }
}

/// [`check`] for HEAD: the length stands for the body.
fn check_head(answer: &Answer, entry: &Entry, must: Must) -> Result<(), String> {
    let right = answer.status() == 200
        && answer.header("content-length") == Some(entry.body.len().to_string().as_str())
        && answer.body.is_empty();
    let held = match must {
        Must::Miss => answer.status() == 404,
        Must::Right => right,
        Must::NotWrong => answer.status() == 404 || right,
    };
    let words = || format!("must be {must:?}: {:?}", answer.head);
    if held { Ok(()) } else { Err(words()) }
}

/// One cell of the table and its aftermath; returns what was wrong.
fn cell(row: Row, route: Route, known: &Known, bucket: &Bucket, keys: &Keys, seed: u64) -> Vec<String> {
    let way = FaultProxy::to(bucket.addr());
    let daemon = Setup::new().config(CONFIG).upstream(bucket.url(way.addr(), "")).keys(keys).start();
    let new = route.entry(&mut Rng::new(seed), SMALL);
    let mut wrong = Vec::new();
    let mut note = |what: &str, found: Result<(), String>| {
        if let Err(words) = found {
            wrong.push(format!("{:?} × {what} × {route:?}: {words}", row.fault));
        }
    };

    if bucket.kind() == Kind::Google {
        // Its first request waits for a token to be signed, which a build for tests takes its time for.
        let first = || check(&daemon.send(known.first.get()), &known.first, Right);
        until("the upstream is used to", PATIENCE, || first().is_ok());
    }
    way.set(row.fault);
    // An action result is a hit only with what it names, so its bytes are read for a HEAD as well.
    let head = if (route, row.head) == (Route::Ac, Right) { NotWrong } else { row.head };
    note("HEAD", check_head(&daemon.send(known.second.ask("HEAD")), &known.second, head));
    note("GET", check(&daemon.send(known.small.get()), &known.small, row.small));
    note("GET large", check(&daemon.send(known.large.get()), &known.large, row.large));
    let put = daemon.send(new.put());
    note("PUT", if put.status() == route.taken() { Ok(()) } else { Err(put.head.line.clone()) });
    note("GET of what was put", check(&daemon.send(new.get()), &new, Must::Right));

    way.set(Fault::None);
    until("all is well again", PATIENCE, || {
        known.all().iter().all(|entry| check(&daemon.send(entry.get()), entry, Must::Right).is_ok())
    });
    until("what was put during the fault goes upstream", PATIENCE, || daemon.queued() == 0);
    for line in daemon.access() {
        if line.status >= 500 || line.first_byte.is_none_or(|time| time > FIRST_BYTE + NOISE) {
            note("log", Err(format!("{line:?}")));
        }
    }
    wrong
}

/// Runs the table over a bucket of `kind`: all cells of one fault at the same time.
fn faults_are_misses_in_time(kind: Kind) {
    let keys = kind.keys("one");
    let bucket = Bucket::start(kind, &[&keys]);
    let known = seed(&bucket, &keys, &mut Rng::new(11));
    let mut wrong = Vec::new();
    for (number, row) in table(kind).into_iter().enumerate() {
        let cells = std::thread::scope(|scope| {
            let cells: Vec<_> = Route::ALL
                .into_iter()
                .zip(&known)
                .enumerate()
                .map(|(place, (route, known))| {
                    let seed = 1_000 + 2 * (number * Route::ALL.len() + place) as u64;
                    let (bucket, keys) = (&bucket, &keys);
                    scope.spawn(move || cell(row, route, known, bucket, keys, seed))
                })
                .collect();
            cells
                .into_iter()
                .map(|cell| cell.join().unwrap_or_else(|_| vec![panicked(row)]))
                .collect::<Vec<_>>()
        });
        wrong.extend(cells.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn panicked(row: Row) -> String {
    format!("{:?}: a cell panicked, see above", row.fault)
}

#[test]
fn faults_of_s3_are_misses_in_time() {
    faults_are_misses_in_time(Kind::S3);
}

#[test]
fn faults_of_azure_are_misses_in_time() {
    faults_are_misses_in_time(Kind::Azure);
}

#[test]
fn faults_of_google_are_misses_in_time() {
    faults_are_misses_in_time(Kind::Google);
}

/// A resolver that takes questions and never answers: the daemon's name space has it as its only one.
#[test]
fn a_resolver_that_never_answers_delays_nothing() {
    let id = std::process::id().to_be_bytes();
    let resolver = Ipv4Addr::new(127, 73, id[2], id[3]);
    let Ok(silent) = UdpSocket::bind(SocketAddr::from((resolver, 53))) else {
        say("skipped: only root can be a resolver, on port 53");
        return;
    };
    let setup = Setup::new().config(CONFIG);
    fs::write(setup.dir().with_file_name("resolv.conf"), format!("nameserver {resolver}\n"))
        .expect("a temporary file");
    let daemon = setup
        .mounts("mount --bind \"$DIR/../resolv.conf\" /etc/resolv.conf")
        .upstream("s3://bkt?endpoint=http://never.answers.test:1&allow_http=true")
        .keys(&Kind::S3.keys("one"))
        .start();
    let mut rng = Rng::new(12);
    for _ in 0..3 {
        for route in Route::ALL {
            let (absent, new) = (route.entry(&mut rng, SMALL), route.entry(&mut rng, SMALL));
            assert_eq!(daemon.send(absent.ask("HEAD")).status(), 404, "{absent:?}");
            assert_eq!(daemon.send(absent.get()).status(), 404, "{absent:?}");
            assert_eq!(daemon.send(new.put()).status(), new.route.taken(), "{new:?}");
            assert_eq!(check(&daemon.send(new.get()), &new, Must::Right), Ok(()), "{new:?}");
        }
    }
    silent.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    assert!(silent.recv(&mut [0; 512]).is_ok_and(|count| count > 0), "the resolver was asked");
    assert_eq!(daemon.queued(), 3 * Route::ALL.len() as u64, "every PUT waits");
    for line in daemon.access() {
        assert!(line.first_byte.is_some_and(|time| time <= FIRST_BYTE + NOISE), "{line:?}");
    }
    let began = std::time::Instant::now();
    let (_, status) = daemon.stop();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(10), "a resolver that hangs does not hold up the stop");
}

/// A request that was answered from upstream once is answered from disk when the upstream is gone, at once.
#[test]
fn hits_go_on_from_disk_whatever_the_upstream_does() {
    for kind in Kind::ALL {
        let keys = kind.keys("one");
        let bucket = Bucket::start(kind, &[&keys]);
        let known = seed(&bucket, &keys, &mut Rng::new(13));
        let way = FaultProxy::to(bucket.addr());
        // A blob is checked against the upstream when older than its max age; offline it is served all the same.
        let daemon = Setup::new().config(CONFIG).upstream(bucket.url(way.addr(), "")).keys(&keys).start();
        for entry in known.iter().flat_map(Known::all) {
            until("a fill", PATIENCE, || check(&daemon.send(entry.get()), entry, Must::Right).is_ok());
        }
        for fault in [Fault::BlackHole, Fault::Silent, Fault::Portal].into_iter().chain(kind.refusals()) {
            way.set(fault);
            for entry in known.iter().flat_map(Known::all) {
                let answer = daemon.send(Request::clone(&entry.get()));
                assert_eq!(check(&answer, entry, Must::Right), Ok(()), "{kind:?} {fault:?} {entry:?}");
            }
        }
    }
}
