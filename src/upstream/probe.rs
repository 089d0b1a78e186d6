//! The prober: while a breaker is open, asks its upstream whether it is there again.
//!
//! After 1 s, doubling to 60 s, jittered; at once when something says that the world has changed: the machine slept,
//! moved or got another clock ([`super::surroundings`]), the store's credentials file is another, or somebody nudges.
//! Then it asks with a closed breaker too, over new connections: whether the upstream is still there is seen before the
//! next request waits for it. One task for each direction, asleep without a timer while the breaker is closed.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::breaker::{Breaker, FAULTS_IN_A_ROW};
use super::{Direction, Fault, Signal, Upstream};

/// The first probe goes this long after the breaker opened.
const FIRST: Duration = Duration::from_secs(1);

/// No two probes are further apart.
const LONGEST: Duration = Duration::from_secs(60);

/// How often a waiting prober looks whether its store has other keys.
const LOOK: Duration = Duration::from_secs(5);

/// Probes `store` whenever `breaker` is open, and whenever `surroundings` change, for ever.
pub(super) async fn run(
    store: Arc<dyn Upstream>,
    breaker: Arc<Breaker>,
    direction: Direction,
    deadline: Duration,
    mut surroundings: watch::Receiver<u64>,
) {
    let mut nudges = breaker.nudges();
    loop {
        tokio::select! {
            () = breaker.until_open(true) => {}
            () = next(&mut surroundings) => {
                store.disconnect();
                confirm(&*store, &breaker, direction, deadline).await;
            }
            () = next(&mut nudges) => confirm(&*store, &breaker, direction, deadline).await,
        }
        let mut wait = FIRST;
        while breaker.is_open() {
            let changed = tokio::select! {
                () = breaker.until_open(false) => break,
                () = next(&mut surroundings) => {
                    store.disconnect();
                    true
                }
                () = has_other_keys(&*store) => {
                    store.disconnect();
                    true
                }
                () = next(&mut nudges) => true,
                () = tokio::time::sleep(jittered(wait)) => false,
            };
            probe(&*store, &breaker, direction, deadline).await;
            wait = if changed { FIRST } else { (wait * 2).min(LONGEST) };
        }
    }
}

/// Asks a store that is up, until it says that it still is or the breaker opens.
async fn confirm(store: &dyn Upstream, breaker: &Breaker, direction: Direction, deadline: Duration) {
    for _ in 0..FAULTS_IN_A_ROW {
        if probe(store, breaker, direction, deadline).await || breaker.is_open() {
            return;
        }
        tokio::time::sleep(jittered(FIRST)).await;
    }
}

/// Whether the store answered as one that is up.
async fn probe(store: &dyn Upstream, breaker: &Breaker, direction: Direction, deadline: Duration) -> bool {
    let near = breaker.near();
    let answer = tokio::time::timeout(deadline, store.probe(direction, near.as_ref())).await;
    match answer.unwrap_or_else(|_| Err(Fault::state(Signal::Deadline, "no answer to a probe in time"))) {
        Ok(()) => {
            breaker.success();
            true
        }
        Err(fault) => {
            breaker.failed(&fault, near.as_ref());
            if fault.signal == Signal::Deadline {
                store.disconnect();
            }
            false
        }
    }
}

/// Waits for the next change; for ever when nobody is left to tell of one.
async fn next(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Waits until the store has other keys.
async fn has_other_keys(store: &dyn Upstream) {
    loop {
        tokio::time::sleep(LOOK).await;
        if store.has_other_keys() {
            return;
        }
    }
}

/// Four fifths to six fifths of `wait`: machines that lost an upstream together don't come back to it together.
fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() % 401;
    wait * (800 + random as u32) / 1000
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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
        disconnects: AtomicUsize,
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
        fn disconnect(&self) {
            self.disconnects.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Probing {
        breaker: Arc<Breaker>,
        store: Arc<Scripted>,
        probes: mpsc::Receiver<Instant>,
        moves: watch::Sender<u64>,
        _task: tokio_util::task::AbortOnDropHandle<()>,
    }

    fn probing(answer: Result<(), Fault>) -> Probing {
        let (sender, probes) = mpsc::channel(PROBES_MAX);
        let store = Arc::new(Scripted {
            probes: sender,
            answer: parking_lot::Mutex::new(answer),
            disconnects: AtomicUsize::new(0),
        });
        let (moves, moved) = watch::channel(0);
        let breaker = Arc::new(Breaker::new(Direction::Read, "test".into(), watch::Sender::new(0)));
        let task = run(
            Arc::clone(&store) as Arc<dyn Upstream>,
            Arc::clone(&breaker),
            Direction::Read,
            Duration::from_secs(2),
            moved,
        );
        let _task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(task));
        Probing { breaker, store, probes, moves, _task }
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

    #[tokio::test(start_paused = true)]
    async fn what_is_up_is_asked_at_once_over_new_connections_when_the_machine_moved() {
        let mut t = probing(Ok(()));
        // Let it begin.
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
        for moves in 1..=2 {
            let before = Instant::now();
            t.moves.send_modify(|count| *count += 1);
            assert_eq!(t.probes.recv().await.unwrap(), before, "at once");
            assert_eq!(t.store.disconnects.load(Ordering::Relaxed), moves);
        }
        tokio::time::advance(Duration::from_secs(600)).await;
        tokio::task::yield_now().await;
        assert!(t.probes.try_recv().is_err() && !t.breaker.is_open(), "it is up, so once is enough");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_gone_where_the_machine_moved_to_is_known_before_a_request_asks() {
        let mut t = probing(Err(Fault::state(Signal::Fault, "no route to host")));
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
        t.moves.send_modify(|count| *count += 1);
        t.breaker.until_open(true).await;
        for _ in 0..FAULTS_IN_A_ROW {
            t.probes.recv().await.unwrap();
        }
        // Back home: it is asked at once, and up.
        *t.store.answer.lock() = Ok(());
        let before = Instant::now();
        t.moves.send_modify(|count| *count += 1);
        t.breaker.until_open(false).await;
        assert_eq!(before, Instant::now());
    }
}
