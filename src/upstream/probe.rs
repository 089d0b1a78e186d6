//! The prober: while a breaker is open, asks its upstream whether it is there again.
//!
//! After 1 s, doubling to 60 s, jittered; at once when something says that the world has changed: the machine
//! slept ([`Wake`]), its addresses or routes are others, its credentials file is another, or somebody nudges. One task for each direction,
//! asleep without a timer while the breaker is closed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::breaker::Breaker;
use super::{Direction, Fault, Signal, Upstream};

/// The first probe goes this long after the breaker opened.
const FIRST: Duration = Duration::from_secs(1);

/// No two probes are further apart.
const LONGEST: Duration = Duration::from_secs(60);

/// How often a waiting prober looks whether the machine slept or moved.
const LOOK: Duration = Duration::from_secs(5);

/// Sees a sleep of the machine.
#[derive(Debug)]
pub(super) struct Wake {
    slept_ms: AtomicU64,
}

/// Probes `store` whenever `breaker` is open, for ever.
pub(super) async fn run(
    store: Arc<dyn Upstream>,
    breaker: Arc<Breaker>,
    direction: Direction,
    deadline: Duration,
) {
    loop {
        breaker.until_open(true).await;
        let mut wait = FIRST;
        let mut nudges = breaker.nudges();
        while breaker.is_open() {
            let changed = tokio::select! {
                () = breaker.until_open(false) => break,
                () = changed(&*store) => {
                    store.disconnect();
                    true
                }
                // An error would mean that the sender, which is the breaker's, is gone.
                _ = nudges.changed() => true,
                () = tokio::time::sleep(jittered(wait)) => false,
            };
            probe(&*store, &breaker, direction, deadline).await;
            wait = if changed { FIRST } else { (wait * 2).min(LONGEST) };
        }
    }
}

async fn probe(store: &dyn Upstream, breaker: &Breaker, direction: Direction, deadline: Duration) {
    let near = breaker.near();
    let answer = tokio::time::timeout(deadline, store.probe(direction, near.as_ref())).await;
    match answer.unwrap_or_else(|_| Err(Fault::state(Signal::Deadline, "no answer to a probe in time"))) {
        Ok(()) => breaker.success(),
        Err(fault) => {
            breaker.failed(&fault, near.as_ref());
            if fault.signal == Signal::Deadline {
                store.disconnect();
            }
        }
    }
}

/// Waits until the machine has slept, its addresses or routes are others, or the store has other keys.
async fn changed(store: &dyn Upstream) {
    let wake = Wake::new();
    let before = routes();
    loop {
        tokio::time::sleep(LOOK).await;
        if wake.slept() || routes() != before || store.has_other_keys() {
            return;
        }
    }
}

/// Four fifths to six fifths of `wait`: machines that lost an upstream together don't come back to it together.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 401;
    wait * (800 + random as u32) / 1000
}

/// A hash of the machine's addresses and routes, always 0 where they can't be read.
fn routes() -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for file in ["/proc/net/route", "/proc/net/if_inet6", "/proc/net/fib_trie"] {
        // Pseudo files: the kernel writes them into memory, no disk is asked.
        hasher.write(&std::fs::read(file).unwrap_or_default());
    }
    hasher.finish()
}

// === impl Wake ===

impl Wake {
    pub(super) fn new() -> Self {
        Self { slept_ms: AtomicU64::new(asleep_ms()) }
    }

    /// Whether the machine slept since this was last asked.
    pub(super) fn slept(&self) -> bool {
        let now = asleep_ms();
        // Two clocks are read one after the other: less than a second is noise.
        now > self.slept_ms.swap(now, Ordering::Relaxed) + 1000
    }
}

/// Milliseconds asleep since boot: the clock that counts sleep less the clock that doesn't.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn asleep_ms() -> u64 {
    use rustix::time::{ClockId, clock_gettime};
    let ms = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
    };
    let awake = ms(ClockId::Monotonic);
    ms(ClockId::Boottime).saturating_sub(awake)
}

/// Not to be had here: a sleep is seen by its dead connections.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn asleep_ms() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use tokio::sync::{mpsc, watch};
    use tokio::time::Instant;

    use super::super::*;
    use super::*;

    /// Probes that a test has not looked at yet.
    const PROBES_MAX: usize = 16;

    /// Answers probes with what the test says, and tells when they came.
    #[derive(Debug)]
    struct Scripted {
        probes: mpsc::Sender<Instant>,
        answer: parking_lot::Mutex<Result<(), Fault>>,
    }

    impl Upstream for Scripted {
        fn get<'a>(&'a self, _: &'a ObjectName, _: &'a GetOptions) -> BoxFuture<'a, Result<Got, Fault>> {
            unreachable!("a prober only probes")
        }
        fn head<'a>(&'a self, _: &'a ObjectName) -> BoxFuture<'a, Result<Looked, Fault>> {
            unreachable!("a prober only probes")
        }
        fn put<'a>(
            &'a self,
            _: &'a ObjectName,
            _: &'a dyn Source,
            _: &'a PutOptions,
        ) -> BoxFuture<'a, Result<PutDone, Fault>> {
            unreachable!("a prober only probes")
        }
        fn delete<'a>(&'a self, _: &'a ObjectName) -> BoxFuture<'a, Result<(), Fault>> {
            unreachable!("a prober only probes")
        }
        fn list<'a>(
            &'a self,
            _: &'a str,
            _: Option<&'a str>,
            _: usize,
        ) -> BoxFuture<'a, Result<Vec<Listed>, Fault>> {
            unreachable!("a prober only probes")
        }
        fn probe<'a>(&'a self, _: Direction, _: Option<&'a ObjectName>) -> BoxFuture<'a, Result<(), Fault>> {
            // A test takes each as it comes, so one that has no room is one too many.
            self.probes.try_send(Instant::now()).expect("the test takes its probes");
            let answer = self.answer.lock().clone();
            Box::pin(async move { answer })
        }
    }

    struct Probing {
        breaker: Arc<Breaker>,
        store: Arc<Scripted>,
        probes: mpsc::Receiver<Instant>,
        _task: tokio_util::task::AbortOnDropHandle<()>,
    }

    fn probing(answer: Result<(), Fault>) -> Probing {
        let (sender, probes) = mpsc::channel(PROBES_MAX);
        let store = Arc::new(Scripted { probes: sender, answer: parking_lot::Mutex::new(answer) });
        let breaker = Arc::new(Breaker::new(Direction::Read, "test".into(), watch::Sender::new(0)));
        let task = run(
            Arc::clone(&store) as Arc<dyn Upstream>,
            Arc::clone(&breaker),
            Direction::Read,
            Duration::from_secs(2),
        );
        let _task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(task));
        Probing { breaker, store, probes, _task }
    }

    fn down() -> Fault {
        Fault::state(Signal::Deadline, "no answer")
    }

    #[tokio::test(start_paused = true)]
    async fn probes_go_after_a_second_then_double_to_a_minute() {
        let mut t = probing(Err(down()));
        let opened = Instant::now();
        t.breaker.failed(&down(), None);
        let mut last = opened;
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let at = t.probes.recv().await.unwrap();
            let waited = (at - last).as_millis();
            assert!((expected * 800..=expected * 1201).contains(&waited), "{waited} for {expected} s");
            last = at;
        }
        assert!(t.breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_closes_it_and_probing_ends() {
        let mut t = probing(Ok(()));
        t.breaker.failed(&down(), None);
        t.probes.recv().await.unwrap();
        t.breaker.until_open(false).await;
        tokio::time::advance(Duration::from_secs(600)).await;
        tokio::task::yield_now().await;
        assert!(t.probes.try_recv().is_err(), "no probe of what is up");
    }

    #[tokio::test(start_paused = true)]
    async fn denied_is_probed_and_stays_until_the_store_allows() {
        let mut t = probing(Err(Fault::state(Signal::Denied, "ExpiredToken")));
        t.breaker.failed(&Fault::state(Signal::Denied, "ExpiredToken"), None);
        t.probes.recv().await.unwrap();
        t.probes.recv().await.unwrap();
        assert!(t.breaker.is_open());
        *t.store.answer.lock() = Ok(());
        t.breaker.until_open(false).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_nudge_probes_at_once() {
        let mut t = probing(Err(down()));
        t.breaker.failed(&down(), None);
        for _ in 0..6 {
            t.probes.recv().await.unwrap();
        }
        // The prober is now in a wait of a minute; let it begin.
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
        let before = Instant::now();
        t.breaker.nudge();
        assert_eq!(t.probes.recv().await.unwrap(), before);
    }

    #[test]
    fn a_machine_that_is_awake_did_not_sleep() {
        let wake = Wake::new();
        assert!(!wake.slept() && !wake.slept());
        wake.slept_ms.store(0, Ordering::Relaxed);
        assert_eq!(wake.slept(), asleep_ms() > 1000, "this machine's own sleep, if any");
        assert_eq!(routes(), routes());
    }
}
