//! What happens to the machine that connections don't survive: it slept, its addresses or routes are others; or its
//! clock was set, by which requests are signed.
//!
//! One task watches for all upstreams, asleep until the kernel says that something stirred: a route socket tells of
//! addresses and routes, a timer that is cancelled when the clock is set tells of that and of the end of a sleep. Neither takes
//! a privilege. Where one can't be had (another system, a sandbox), it looks every 5 s instead.

use std::future::Future;
use std::hash::Hasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

/// How often it is looked where nothing tells.
const LOOK: Duration = Duration::from_secs(5);

/// An interface that comes up is many changes; they are told together.
const TOGETHER: Duration = Duration::from_millis(250);

/// Two clocks are read one after the other: less is noise.
const SLEEP_MIN: Duration = Duration::from_secs(1);

/// Less is how clocks are kept right; signatures are good for minutes.
const JUMP_MIN: Duration = Duration::from_secs(5);

/// Sees a sleep of the machine.
#[derive(Debug)]
pub(super) struct Wake {
    slept_ms: AtomicU64,
}

/// What is looked at, of which tests have their own.
pub(super) trait Senses: Send {
    /// Waits until something may have happened.
    fn stirred(&mut self) -> impl Future<Output = ()> + Send;
    /// What is seen now.
    fn look(&self) -> Sight;
}

/// The machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    /// Asleep since boot.
    pub(super) asleep: Duration,
    /// The wall clock's time at boot: another when the clock was set.
    pub(super) booted: Duration,
    /// A hash of addresses and routes.
    pub(super) network: u64,
}

/// The machine's own.
pub(super) struct Machine {
    stirs: kernel::Stirs,
}

/// Adds one to `changes` whenever the machine slept, moved, or got another clock. For ever.
pub(super) async fn watch(mut senses: impl Senses, changes: watch::Sender<u64>) {
    let mut known = senses.look();
    loop {
        senses.stirred().await;
        let now = senses.look();
        if let Some(what) = known.became(now) {
            tracing::info!("{what}: idle connections to upstreams are dropped, and each is asked");
            changes.send_modify(|count| *count += 1);
        }
        known = now;
        tokio::time::sleep(TOGETHER).await;
    }
}

// === impl Sight ===

impl Sight {
    /// What happened between this and `now`, in words, if connections or signatures are touched by it.
    fn became(self, now: Self) -> Option<String> {
        let slept = now.asleep.saturating_sub(self.asleep);
        let jumped = now.booted.abs_diff(self.booted);
        if slept >= SLEEP_MIN {
            Some(format!("the machine slept for {} s", slept.as_secs()))
        } else if now.network != self.network {
            Some("addresses or routes of the machine changed".into())
        } else if jumped >= JUMP_MIN {
            let way = if now.booted > self.booted { "forward" } else { "back" };
            Some(format!("the clock was set {way} by {} s", jumped.as_secs()))
        } else {
            None
        }
    }
}

// === impl Machine ===

impl Machine {
    /// To be made on the runtime that watches.
    pub(super) fn new() -> Self {
        Self { stirs: kernel::Stirs::new() }
    }
}

impl Senses for Machine {
    async fn stirred(&mut self) {
        self.stirs.next().await;
    }

    fn look(&self) -> Sight {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (awake, since_boot) = kernel::clocks();
        Sight {
            asleep: since_boot.saturating_sub(awake),
            booted: wall.saturating_sub(since_boot),
            network: network(),
        }
    }
}

/// A hash of the machine's addresses and routes, always the same where they can't be read.
fn network() -> u64 {
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
        self.slept_at(asleep_ms())
    }

    fn slept_at(&self, asleep_ms: u64) -> bool {
        let known = self.slept_ms.swap(asleep_ms, Ordering::Relaxed);
        asleep_ms >= known + SLEEP_MIN.as_millis() as u64
    }
}

/// Time since boot, sleep included: what ages are told by.
pub(super) fn since_boot() -> Duration {
    kernel::clocks().1
}

/// Milliseconds asleep since boot: the clock that counts sleep less the clock that doesn't.
fn asleep_ms() -> u64 {
    let (awake, since_boot) = kernel::clocks();
    since_boot.saturating_sub(awake).as_millis() as u64
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod kernel {
    //! What tells on Linux.

    use std::io::ErrorKind;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::io::Errno;
    use rustix::net::netlink::SocketAddrNetlink;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
    use rustix::time::{
        ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
        timerfd_create, timerfd_settime,
    };
    use tokio::net::unix::pipe::Receiver;

    /// Changes of addresses and of routes, of both families: `RTMGRP_…` of rtnetlink(7).
    const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;

    /// What can tell that something stirred. Neither is a pipe: that is the type that only waits and reads.
    pub(super) struct Stirs {
        network: Option<Receiver>,
        clock: Option<Receiver>,
    }

    /// The clock that stands still in sleep, and the one that doesn't.
    pub(super) fn clocks() -> (Duration, Duration) {
        let read = |clock| {
            let now = clock_gettime(clock);
            Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
        };
        let awake = read(ClockId::Monotonic);
        (awake, read(ClockId::Boottime))
    }

    impl Stirs {
        pub(super) fn new() -> Self {
            let watched = |made: Result<OwnedFd, Errno>, what| {
                let made = made.map_err(std::io::Error::from).and_then(Receiver::from_owned_fd_unchecked);
                made.inspect_err(
                    |error| tracing::debug!(%error, "{what} can't be watched; they are looked at"),
                )
                .ok()
            };
            Self {
                network: watched(route_socket(), "addresses and routes"),
                clock: watched(clock_timer(), "sleep and the clock"),
            }
        }

        /// Waits for the next.
        pub(super) async fn next(&self) {
            let is_whole = self.network.is_some() && self.clock.is_some();
            tokio::select! {
                () = readable(self.network.as_ref()) => {}
                () = readable(self.clock.as_ref()) => {}
                () = tokio::time::sleep(super::LOOK), if !is_whole => {}
            }
        }
    }

    fn route_socket() -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        Ok(socket)
    }

    /// Never due; cancelled whenever the wall clock is not what its running on makes it.
    fn clock_timer() -> Result<OwnedFd, Errno> {
        const NEVER: i64 = i64::MAX / 2_000_000_000;
        let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let time = |tv_sec| Timespec { tv_sec, tv_nsec: 0 };
        let due = Itimerspec { it_interval: time(0), it_value: time(NEVER) };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &due)?;
        Ok(timer)
    }

    /// Waits until there is something to read, and reads it away.
    async fn readable(watched: Option<&Receiver>) {
        /// A kernel that tells more than this at once tells the rest the next time.
        const MESSAGES_MAX: usize = 1000;
        let Some(watched) = watched else { return std::future::pending().await };
        if watched.readable().await.is_err() {
            // The runtime is ending.
            return std::future::pending().await;
        }
        let mut message = [0; 256];
        for _ in 0..MESSAGES_MAX {
            // What it says doesn't matter, and failing (cancelled, messages lost) is news too.
            let read = watched.try_read(&mut message);
            if read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
                break;
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod kernel {
    //! Elsewhere nothing tells, and a sleep is seen by its dead connections.

    use std::time::Duration;

    pub(super) struct Stirs;

    pub(super) fn clocks() -> (Duration, Duration) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now =
            Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        (now, now)
    }

    impl Stirs {
        pub(super) fn new() -> Self {
            Self
        }

        pub(super) async fn next(&self) {
            tokio::time::sleep(super::LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::sync::mpsc;

    use super::*;

    /// A machine that does what the test says.
    struct Told {
        sight: Arc<Mutex<Sight>>,
        stirs: mpsc::Receiver<()>,
    }

    impl Senses for Told {
        async fn stirred(&mut self) {
            if self.stirs.recv().await.is_none() {
                std::future::pending().await
            }
        }

        fn look(&self) -> Sight {
            *self.sight.lock()
        }
    }

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[tokio::test(start_paused = true)]
    async fn sleep_other_addresses_and_a_set_clock_are_told_and_nothing_else() {
        let first = Sight { asleep: Duration::ZERO, booted: 20_000 * DAY, network: 7 };
        let sight = Arc::new(Mutex::new(first));
        let (stir, stirs) = mpsc::channel(1);
        let (changes, mut told) = watch::channel(0);
        let senses = Told { sight: Arc::clone(&sight), stirs };
        let watching = tokio::spawn(watch(senses, changes));
        tokio::task::yield_now().await;
        type Change = (&'static str, fn(&mut Sight), bool);
        let changes: [Change; 7] = [
            ("nothing", |_| {}, false),
            ("a night's sleep", |sight| sight.asleep += DAY / 3, true),
            ("noise between two clocks", |sight| sight.asleep += Duration::from_millis(900), false),
            ("another network", |sight| sight.network = 8, true),
            ("the clock a day forward", |sight| sight.booted += DAY, true),
            ("the clock a day back", |sight| sight.booted -= DAY, true),
            ("the clock kept right", |sight| sight.booted += Duration::from_secs(1), false),
        ];
        let mut count = 0;
        for (what, change, is_told) in changes {
            change(&mut sight.lock());
            stir.send(()).await.expect("it watches");
            // The next one is taken only when this one has been looked at.
            stir.send(()).await.expect("it watches");
            tokio::time::advance(2 * TOGETHER).await;
            let reserved = stir.reserve().await.expect("it watches");
            drop(reserved);
            count += u64::from(is_told);
            assert_eq!(*told.borrow_and_update(), count, "{what}");
        }
        watching.abort();
    }

    #[test]
    fn a_machine_that_is_awake_did_not_sleep() {
        let wake = Wake::new();
        assert!(!wake.slept() && !wake.slept());
        let slept = asleep_ms();
        assert!(wake.slept_at(slept + 8 * 3600 * 1000), "it woke");
        assert!(!wake.slept_at(slept + 8 * 3600 * 1000 + 500), "and is awake since");
    }

    #[tokio::test]
    async fn the_machine_itself_is_at_rest() {
        let machine = Machine::new();
        let (one, other) = (machine.look(), machine.look());
        assert_eq!(one.asleep.as_secs(), other.asleep.as_secs());
        assert!(one.booted.abs_diff(other.booted) < SLEEP_MIN);
    }
}
