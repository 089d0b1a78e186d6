//! Who is connected, and the three clocks that end a connection which waits for nothing.
//!
//! - `head`: from the first byte of a request to the end of its head.
//! - `body_stall`: no byte moved, while a body (either way) waits for the peer.
//! - `idle`: no request under way.
//!
//! No connection has a timer of its own: each stamps its [`Activity`] with a coarse clock when something happens, and
//! one [`Registry::sweep`] a tick looks at all of them. So a request costs two stores, and ten thousand idle
//! connections cost one walk a second. The registry also holds the bound on connections: at it, the one that has been
//! idle longest is closed; while none is idle, newcomers wait in the listener's backlog.
//!
//! hyper's own header timer stays off: it would also end idle keep-alive connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The bounds on connections; names are the configuration keys.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At most this many connections.
    pub connections: usize,
    /// From the first byte of a request to the end of its head.
    pub head: Duration,
    /// Without a byte moved in a body.
    pub body_stall: Duration,
    /// Without a request.
    pub idle: Duration,
}

/// What a connection is told to do; each word includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    /// Serve.
    Run,
    /// The daemon stops: HTTP/2 says GOAWAY, HTTP/1 closes with its next answer.
    Finish,
    /// End when the running request is answered; at once when there is none.
    Close,
    /// End now.
    Cut,
}

/// What one connection does right now.
#[derive(Debug)]
pub(super) struct Activity {
    id: u64,
    registry: Arc<Registry>,
    /// Requests between their head and the end of their answer.
    running: AtomicU32,
    /// Some, but not all, of a request's head is here.
    in_head: AtomicBool,
    /// Requests whose body is awaited.
    uploads: AtomicU32,
    /// Several requests share it, so that one's answer may wait for the peer without a write being blocked.
    multiplexed: AtomicBool,
    /// The peer does not take what we have for it.
    blocked: AtomicBool,
    /// When the state began, or the last byte moved in a body: ticks of the registry's clock.
    since_ms: AtomicU64,
    order: AtomicU8,
    waker: AtomicWaker,
}

/// All connections of a daemon.
#[derive(Debug)]
pub(super) struct Registry {
    /// A leaf mutex.
    limits: Mutex<Limits>,
    begun: Instant,
    /// Milliseconds since `begun`, as of the last tick.
    now_ms: AtomicU64,
    next_id: AtomicU64,
    /// The last order that all were told: newcomers are under it, too.
    told: AtomicU8,
    /// Leaf mutex.
    open: Mutex<HashMap<u64, Arc<Activity>>>,
    /// Told of each connection that ends.
    ended: Notify,
}

/// A place among the connections; dropped, it is free again.
#[derive(Debug)]
pub(super) struct Admitted(pub(super) Arc<Activity>);

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head: Duration::from_secs(10),
            body_stall: Duration::from_secs(60),
            idle: Duration::from_secs(15 * 60),
        }
    }
}

// === impl Activity ===

impl Activity {
    /// Bytes came from the peer.
    pub(super) fn read(&self) {
        if self.running.load(Ordering::Relaxed) > 0 {
            self.stamp();
        } else if !self.in_head.load(Ordering::Relaxed) && !self.multiplexed.load(Ordering::Relaxed) {
            // Only the first bytes of a head start its clock: a head that trickles has no more time than another.
            self.in_head.store(true, Ordering::Relaxed);
            self.stamp();
        }
    }

    /// The peer took bytes.
    pub(super) fn wrote(&self) {
        if self.blocked.load(Ordering::Relaxed) {
            self.blocked.store(false, Ordering::Relaxed);
        }
        if !self.in_head.load(Ordering::Relaxed) && self.running.load(Ordering::Relaxed) > 0 {
            self.stamp();
        }
    }

    /// The peer takes no more for now.
    pub(super) fn write_blocked(&self) {
        self.blocked.store(true, Ordering::Relaxed);
    }

    /// Whether a request body is being waited for.
    pub(super) fn uploading(&self) -> bool {
        self.uploads.load(Ordering::Relaxed) > 0
    }

    /// It turned out to be HTTP/2.
    pub(super) fn is_multiplexed(&self) {
        self.multiplexed.store(true, Ordering::Relaxed);
        // What follows the preface need not be a request.
        self.in_head.store(false, Ordering::Relaxed);
        self.stamp();
    }

    /// TLS is agreed on: a request is yet to begin.
    pub(super) fn shook_hands(&self) {
        self.in_head.store(false, Ordering::Relaxed);
        self.stamp();
    }

    /// A request's head is here.
    pub(super) fn request_began(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.in_head.store(false, Ordering::Relaxed);
        self.stamp();
    }

    /// More of a request is to come.
    pub(super) fn upload_began(&self) {
        self.uploads.fetch_add(1, Ordering::Relaxed);
    }

    /// A request is here as a whole, or nobody wants the rest.
    pub(super) fn upload_ended(&self) {
        self.uploads.fetch_sub(1, Ordering::Relaxed);
        self.stamp();
    }

    /// An answer has been handed over to its last byte, or was given up.
    pub(super) fn request_ended(&self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
        self.stamp();
    }

    /// What the connection is to do.
    pub(super) fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Run,
            1 => Order::Finish,
            2 => Order::Close,
            _ => Order::Cut,
        }
    }

    /// Whether a request has begun to come whose head is not whole yet: it is owed an answer.
    pub(super) fn in_head(&self) -> bool {
        self.in_head.load(Ordering::Relaxed)
    }

    /// Whether the daemon is stopping: answers then end their connection.
    pub(super) fn stopping(&self) -> bool {
        self.order.load(Ordering::Relaxed) != Order::Run as u8
    }

    /// Wakes this task when an order comes.
    pub(super) fn listen(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    fn tell(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    fn stamp(&self) {
        self.since_ms.store(self.registry.now_ms.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Milliseconds without a request, if there is none.
    fn idle_ms(&self, now_ms: u64) -> Option<u64> {
        let idle = self.running.load(Ordering::Relaxed) == 0 && !self.in_head.load(Ordering::Relaxed);
        idle.then(|| now_ms.saturating_sub(self.since_ms.load(Ordering::Relaxed)))
    }

    fn is_overdue(&self, now_ms: u64, limits: &Limits) -> bool {
        let waits_for_peer = self.uploading() || self.blocked.load(Ordering::Relaxed);
        let limit = if self.running.load(Ordering::Relaxed) > 0 {
            if !waits_for_peer && !self.multiplexed.load(Ordering::Relaxed) {
                return false; // we are at work: the cache has deadlines of its own
            }
            limits.body_stall
        } else if self.in_head.load(Ordering::Relaxed) {
            limits.head
        } else if waits_for_peer {
            limits.body_stall // the end of an answer is still on its way
        } else {
            limits.idle
        };
        u128::from(now_ms.saturating_sub(self.since_ms.load(Ordering::Relaxed))) >= limit.as_millis()
    }
}

// === impl Registry ===

impl Registry {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits: Mutex::new(limits),
            begun: Instant::now(),
            now_ms: AtomicU64::new(0),
            next_id: AtomicU64::new(0),
            told: AtomicU8::new(Order::Run as u8),
            open: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// A place for a new connection. At the bound the longest idle connection is closed for it; while none is idle,
    /// this waits.
    pub(super) async fn admit(self: &Arc<Self>) -> Admitted {
        loop {
            let ended = self.ended.notified();
            if let Some(admitted) = self.try_admit() {
                return admitted;
            }
            // A tick later one may be idle, without any having ended.
            let _ = tokio::time::timeout(self.tick(), ended).await;
        }
    }

    fn try_admit(self: &Arc<Self>) -> Option<Admitted> {
        let connections = self.limits().connections;
        let mut open = self.open.lock();
        if open.len() >= connections {
            let now_ms = self.now_ms.load(Ordering::Relaxed);
            let idlest = open
                .values()
                .filter_map(|activity| Some((activity.idle_ms(now_ms)?, u64::MAX - activity.id)))
                .max()?;
            // Taken out here, so that the next newcomer finds another one.
            open.remove(&(u64::MAX - idlest.1))?.tell(Order::Cut);
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let activity = Arc::new(Activity {
            id,
            registry: Arc::clone(self),
            running: AtomicU32::new(0),
            in_head: AtomicBool::new(false),
            uploads: AtomicU32::new(0),
            multiplexed: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            since_ms: AtomicU64::new(self.now_ms.load(Ordering::Relaxed)),
            order: AtomicU8::new(self.told.load(Ordering::Acquire)),
            waker: AtomicWaker::new(),
        });
        open.insert(id, Arc::clone(&activity));
        Some(Admitted(activity))
    }

    /// How often [`Registry::sweep`] is owed.
    pub(super) fn tick(&self) -> Duration {
        let limits = self.limits();
        let shortest = limits.head.min(limits.body_stall).min(limits.idle);
        (shortest / 8).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }

    /// The bounds in force.
    fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    /// Other bounds. Those who are over them are cut by the next sweep.
    pub(super) fn bound(&self, limits: Limits) {
        *self.limits.lock() = limits;
    }

    /// Sets the coarse clock, cuts who is overdue, and the longest idle ones while there are more than the bound.
    pub(super) fn sweep(&self) {
        let now_ms = self.begun.elapsed().as_millis() as u64;
        self.now_ms.store(now_ms, Ordering::Relaxed);
        let limits = self.limits();
        let open = self.open.lock();
        for activity in open.values().filter(|open| open.is_overdue(now_ms, &limits)) {
            activity.tell(Order::Cut);
        }
        let over = open.len().saturating_sub(limits.connections);
        if over > 0 {
            let mut idle: Vec<_> =
                open.values().filter_map(|open| Some((open.idle_ms(now_ms)?, u64::MAX - open.id))).collect();
            idle.sort_unstable();
            for (_, id) in idle.into_iter().rev().take(over) {
                open[&(u64::MAX - id)].tell(Order::Cut);
            }
        }
    }

    /// Closes the longest idle connection, if any is idle: the machine is out of descriptors.
    pub(super) fn close_longest_idle(&self) {
        let now_ms = self.now_ms.load(Ordering::Relaxed);
        let open = self.open.lock();
        if let Some((_, idlest)) = open
            .values()
            .filter_map(|activity| Some((activity.idle_ms(now_ms)?, activity)))
            .max_by_key(|(idle_ms, _)| *idle_ms)
        {
            idlest.tell(Order::Cut);
        }
    }

    /// Tells all connections, present and future.
    pub(super) fn tell_all(&self, order: Order) {
        // Under the lock, as newcomers read it: none is missed.
        let open = self.open.lock();
        self.told.fetch_max(order as u8, Ordering::AcqRel);
        for activity in open.values() {
            activity.tell(order);
        }
    }

    /// Connections that are open.
    pub(super) fn count(&self) -> usize {
        self.open.lock().len()
    }

    /// Returns when no connection is open.
    pub(super) async fn all_ended(&self) {
        loop {
            let ended = self.ended.notified();
            if self.count() == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let registry = &self.0.registry;
        registry.open.lock().remove(&self.0.id);
        registry.ended.notify_one();
        if registry.told.load(Ordering::Acquire) != Order::Run as u8 {
            registry.ended.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
