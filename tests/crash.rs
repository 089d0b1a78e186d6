//! Rounds of `kill -9` at random moments under mixed load. After each: no wrong byte is served, every PUT that was
//! acknowledged is upstream, queued or evictable but never another's bytes, and the drafts that lie about are no more
//! than what was in flight.
//!
//! `LARDER_CRASH_ROUNDS` says how many (10 by default), `LARDER_CRASH_SEED` repeats a run; the seed is printed.

#[expect(dead_code, reason = "shared with the other test binary, which uses all of it")]
#[path = "it/support/mod.rs"]
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use support::daemon::drafts;
use support::fault::Fault;
use support::http::Request;
use support::proxy::FaultProxy;
use support::routes::{Entry, Route};
use support::setup::Setup;
use support::weed::{self, Keys, Weed};
use support::wire::Addr;
use support::{PATIENCE, Rng, random, say, until};

/// What the clients know to be true, whatever the daemon goes through.
#[derive(Default)]
struct Known {
    /// PUTs that were answered with 200. Each name has one body for ever.
    acknowledged: Mutex<HashMap<String, Entry>>,
    /// PUTs that were sent; they may be there or not.
    sent: Mutex<HashMap<String, Entry>>,
    in_flight_bytes: AtomicU64,
    stop: AtomicBool,
}

const WRITERS: u64 = 3;
const READERS: u64 = 2;
/// In the log, and as files: what a draft is made for.
const LENGTHS: [usize; 5] = [0, 300, 20_000, 150_000, 2_000_000];
/// Between two checks the disk does not fill, so that nothing acknowledged is evicted.
const CONFIG: &str = "memory = \"2 MiB\"\nfirst_byte = \"1 s\"";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// A number below `end`.
fn below(rng: &mut Rng, end: u64) -> u64 {
    (rng.next() >> 16) % end
}

#[test]
fn killed_at_any_moment_it_loses_nothing_and_serves_nothing_wrong() {
    let rounds = number("LARDER_CRASH_ROUNDS").unwrap_or(10);
    let seed = number("LARDER_CRASH_SEED").unwrap_or_else(random);
    say(&format!("crash test: {rounds} rounds, LARDER_CRASH_SEED={seed}"));
    let mut rng = Rng::new(seed);
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let way = FaultProxy::to(weed.addr());
    let known = Arc::new(Known::default());
    let setup = Setup::new().config(CONFIG).upstream(weed::url(way.addr(), "")).keys(&keys);
    let mut daemon = setup.start();
    for round in 0..rounds {
        let context = format!("round {round} of LARDER_CRASH_SEED={seed}");
        // Some rounds with an upstream, some without: uploads, fills and queued entries all get their turn.
        way.set(match below(&mut rng, 4) {
            0 => Fault::Refuse,
            1 => Fault::Reset { after: 50_000 },
            _ => Fault::None,
        });
        let load = load(&known, &daemon.addr(), &mut rng);
        let moment = Duration::from_millis(20 + below(&mut rng, 1_500));
        let began = Instant::now();
        until("the moment to kill has come", PATIENCE, || began.elapsed() >= moment);
        let in_flight = known.in_flight_bytes.load(Ordering::SeqCst);
        daemon.kill();
        known.stop.store(true, Ordering::SeqCst);
        for thread in load {
            thread.join().unwrap_or_else(|_| panic!("a client saw what must not be, in {context}"));
        }
        drafts_are_what_was_in_flight(&setup, in_flight, &context);

        daemon = setup.start();
        known.stop.store(false, Ordering::SeqCst);
        nothing_is_lost_or_wrong(&known, &daemon.addr(), &mut rng, &context);
    }

    // In the end all that was acknowledged is in the bucket: a machine that never saw it has it.
    way.set(Fault::None);
    until("the queue drains by itself", Duration::from_secs(150), || daemon.queued() == 0);
    let other = Setup::new().upstream(weed::url(weed.addr(), "")).keys(&keys).start();
    for entry in known.acknowledged.lock().values() {
        until("what was acknowledged is upstream", PATIENCE, || {
            let answer = other.send(entry.get());
            answer.status() == 200 && answer.whole() == Some(&entry.body)
        });
    }
    say(&format!("crash test: {} entries acknowledged, none lost", known.acknowledged.lock().len()));
}

/// Clients that put, get what they know of, and ask for what is not there, until the daemon is gone.
fn load(known: &Arc<Known>, addr: &Addr, rng: &mut Rng) -> Vec<std::thread::JoinHandle<()>> {
    (0..WRITERS + READERS)
        .map(|number| {
            let (known, addr) = (Arc::clone(known), addr.clone());
            let mut rng = Rng::new(rng.next());
            std::thread::spawn(move || {
                while !known.stop.load(Ordering::SeqCst) {
                    if number < WRITERS { known.write(&addr, &mut rng) } else { known.read(&addr, &mut rng) }
                }
            })
        })
        .collect()
}

impl Known {
    fn write(&self, addr: &Addr, rng: &mut Rng) {
        let route = Route::ALL[usize::try_from(below(rng, Route::ALL.len() as u64)).expect("a small number")];
        let len = LENGTHS[usize::try_from(below(rng, LENGTHS.len() as u64)).expect("a small number")];
        // An action result without bytes is refused by none, and named by none: leave it out.
        let entry = route.entry(rng, if route == Route::Ac { len.max(1) } else { len });
        self.sent.lock().insert(entry.target.clone(), entry.clone());
        self.in_flight_bytes.fetch_add(entry.body.len() as u64, Ordering::SeqCst);
        let answer = entry.put().send(addr);
        if let Ok(answer) = &answer {
            assert_eq!(answer.status(), route.taken(), "{entry:?}");
            self.acknowledged.lock().insert(entry.target.clone(), entry.clone());
        }
        self.in_flight_bytes.fetch_sub(entry.body.len() as u64, Ordering::SeqCst);
    }

    fn read(&self, addr: &Addr, rng: &mut Rng) {
        let entry = match self.some(rng) {
            Some(entry) if below(rng, 4) > 0 => entry,
            _ => Route::Blob.entry(rng, 10),
        };
        let Ok(answer) = entry.get().send(addr) else { return };
        // Cut off by the kill, or whole; never a clean wrong end.
        let right = answer.status() == 404 || answer.whole().is_none_or(|body| body == entry.body);
        assert!(right, "{entry:?}: {:?}", answer.head);
    }

    fn some(&self, rng: &mut Rng) -> Option<Entry> {
        let sent = self.sent.lock();
        let place = usize::try_from(below(rng, sent.len().max(1) as u64)).expect("a small number");
        sent.values().nth(place).cloned()
    }
}

/// Before the sweep: what lies in `tmp` is at most what clients were sending, and what fills were bringing.
fn drafts_are_what_was_in_flight(setup: &Setup, in_flight: u64, context: &str) {
    let fills = READERS * LENGTHS[4] as u64;
    let drafts = drafts(&setup.dir());
    let drafts: u64 = drafts.iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum();
    // A writer may have begun its next one between our look and the kill.
    let most = in_flight + WRITERS * LENGTHS[4] as u64 + fills;
    assert!(drafts <= most, "{drafts} draft bytes with {in_flight} in flight, in {context}");
}

fn nothing_is_lost_or_wrong(known: &Known, addr: &Addr, rng: &mut Rng, context: &str) {
    let acknowledged: Vec<Entry> = known.acknowledged.lock().values().cloned().collect();
    // All of the newest rounds' and a sample of the older: the whole is looked at in the end.
    let share = (acknowledged.len() as u64 / 400).max(1);
    for entry in acknowledged.iter().filter(|_| below(rng, share) == 0) {
        let answer = entry.get().send(addr).expect("the daemon answers");
        assert_eq!(answer.status(), 200, "lost: {entry:?}, in {context}");
        assert_eq!(answer.whole(), Some(&entry.body[..]), "{entry:?}, in {context}");
    }
    let sent: Vec<Entry> = known.sent.lock().values().cloned().collect();
    for entry in sent.iter().filter(|entry| !known.acknowledged.lock().contains_key(&entry.target)) {
        let answer = Request::clone(&entry.get()).send(addr).expect("the daemon answers");
        let right = answer.status() == 404 || answer.whole() == Some(&entry.body);
        assert!(right, "half there: {entry:?}: {:?}, in {context}", answer.head);
    }
}
