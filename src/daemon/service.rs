//! The service manager: what it is told, and what it may conclude. systemd's protocol (`sd_notify(3)`): datagrams of
//! `NAME=value` lines to the socket of `NOTIFY_SOCKET`, a path or an abstract name. Without one, nothing is said.
//!
//! ```text
//! READY=1                            sockets adopted or bound, and accepting; look-ups wait until the index is read
//! STATUS=serving; 12 queued; team: up      at a change, every 2 s at most
//! RELOADING=1 MONOTONIC_USEC=…  READY=1    around a reload that was asked for (SIGHUP)
//! STOPPING=1  EXTEND_TIMEOUT_USEC=…        from the signal to the end
//! WATCHDOG=1                         every 2 s, at half of WATCHDOG_USEC at the latest, while the daemon makes progress
//! ```
//!
//! # The watchdog
//! It is fed by a task of the runtime that serves, and only after a thread of the pool that does all disk work has run
//! and has taken the locks that every look-up and every PUT takes. So it ends a process whose runtime is stuck, whose
//! locks are never given back, or whose disk threads all hang.
//!
//! It does not prove that a connection is accepted, that the disk can be read or written, that an upstream answers, or
//! that one single request isn't stuck: a restart mends none of these, and `/-/readyz`, `larder status` and the
//! deadlines of each request are for them.

use std::fmt::Write as _;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::cache::{Cache, CacheStatus};
use crate::config::Manager;

/// The service manager. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Service(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    line: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
    /// The text that was said last. A leaf mutex.
    said: Mutex<String>,
    /// It could not be told something, and that has been logged.
    deaf: AtomicBool,
    stopping: AtomicBool,
}

/// How often the status is looked at.
const STATUS_EVERY: Duration = Duration::from_secs(2);

/// While the daemon stops, the manager is asked for so much more time, so often. A stop ends within seconds; where
/// sealing the log takes longer, the disk is slow, and a kill would only make the next start read more.
const EXTEND_BY: Duration = Duration::from_secs(30);
const EXTEND_EVERY: Duration = Duration::from_secs(5);

// === impl Service ===

impl Service {
    pub(super) fn of(manager: &Manager) -> Self {
        let line = manager.notify_socket.as_deref().and_then(|name| match line_to(name.as_bytes()) {
            Ok(line) => Some(line),
            Err(error) => {
                tracing::warn!("the service manager can't be told anything by {}: {error}", name.display());
                None
            }
        });
        Self(Arc::new(Inner {
            line,
            watchdog: manager.watchdog,
            said: Mutex::default(),
            deaf: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }))
    }

    /// The daemon serves.
    pub(super) fn ready(&self) {
        self.tell("READY=1\n");
    }

    /// A reload begins. The manager waits for [`Service::reloaded`].
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={usec}\n"));
    }

    /// A reload has ended, well or not: what is in force is served.
    pub(super) fn reloaded(&self) {
        self.ready();
    }

    /// The daemon stops; more time is asked for until the value is dropped.
    pub(super) fn stopping(&self) -> impl Drop {
        self.0.stopping.store(true, Ordering::Relaxed);
        self.tell("STOPPING=1\nSTATUS=stopping: what runs is answered\n");
        let service = self.clone();
        let extending = async move {
            let mut ticks = interval(EXTEND_EVERY);
            ticks.tick().await; // the first is at once, and the unit's own time has only begun
            loop {
                ticks.tick().await;
                service.tell(&format!("EXTEND_TIMEOUT_USEC={}\n", EXTEND_BY.as_micros()));
            }
        };
        tokio_util::task::AbortOnDropHandle::new(tokio::spawn(extending))
    }

    /// Keeps the status fresh and the watchdog fed, for as long as it is polled. Ends at once where nobody listens.
    pub(super) async fn keep(self, cache: Cache) {
        if self.0.line.is_none() {
            return;
        }
        let every = self.0.watchdog.map_or(STATUS_EVERY, |watchdog| (watchdog / 2).min(STATUS_EVERY));
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said_at: Option<Instant> = None;
        // One at a time: while it hangs, others would hang behind it.
        let mut looking = None;
        let mut hangs = false;
        loop {
            ticks.tick().await;
            let look = looking.get_or_insert_with(|| look(cache.clone()));
            let seen = match timeout(every, look).await {
                Err(_) if hangs => continue,
                Err(_) => {
                    hangs = true;
                    tracing::warn!("the disk's threads are all busy for {every:?}: the watchdog is not fed");
                    self.say("serving; the disk's threads are all busy");
                    continue;
                }
                Ok(seen) => seen,
            };
            (looking, hangs) = (None, false);
            // A look that panicked has met a lock that a panic left in pieces, or the like.
            let Ok(status) = seen else { continue };
            if self.0.watchdog.is_some() {
                self.tell("WATCHDOG=1\n");
            }
            if said_at.is_none_or(|at| at.elapsed() >= STATUS_EVERY - every / 2) {
                self.say(&words(status.as_ref()));
                said_at = Some(Instant::now());
            }
        }
    }

    /// Tells the status, unless it is what was told last.
    fn say(&self, words: &str) {
        if self.0.stopping.load(Ordering::Relaxed) {
            return;
        }
        let mut said = self.0.said.lock();
        if *said != words {
            self.tell(&format!("STATUS={}\n", words.replace('\n', " ")));
            words.clone_into(&mut said);
        }
    }

    fn tell(&self, lines: &str) {
        let Some((socket, manager)) = &self.0.line else { return };
        if let Err(error) = socket.send_to_addr(lines.as_bytes(), manager)
            && !self.0.deaf.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("the service manager doesn't hear (said once): {error}");
        }
    }
}

/// A socket to speak by, and where to. It never blocks: a manager that doesn't read is not waited for.
fn line_to(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix(b"@") {
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
        #[cfg(target_os = "linux")]
        Some(name) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)?,
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(io::Error::new(io::ErrorKind::Unsupported, "abstract names are Linux's")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Looks at the cache from a thread of the disk's pool, by the locks that requests take. `None`: the index is still
/// being read, and that there is such a thread has to do.
fn look(cache: Cache) -> JoinHandle<Option<CacheStatus>> {
    let here = Handle::current();
    tokio::task::spawn_blocking(move || {
        cache.ready().now_or_never()?.ok()?;
        Some(here.block_on(cache.status()))
    })
}

/// `serving; 12 queued; team: up`.
fn words(status: Option<&CacheStatus>) -> String {
    let Some(status) = status else { return "serving; the index is being read, look-ups wait".into() };
    let mut words = format!("serving; {} queued", status.queue.entries);
    for upstream in &status.upstreams {
        let (read, write) = (&upstream.read.state, &upstream.write.state);
        // Writing to a text can't fail.
        let _ = match (read == write || upstream.read_only, upstream.read_only) {
            (true, false) => write!(words, "; {}: {read}", upstream.name),
            (true, true) => write!(words, "; {} (read-only): {read}", upstream.name),
            (false, _) => write!(words, "; {}: reads {read}, writes {write}", upstream.name),
        };
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Flags};

    /// What a manager is told.
    struct Ear(UnixDatagram);

    impl Ear {
        fn at(address: &SocketAddr) -> Self {
            let socket = UnixDatagram::bind_addr(address).expect("binds");
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            Self(socket)
        }

        fn hears(&self) -> String {
            self.next().expect("something is said")
        }

        fn next(&self) -> Option<String> {
            let mut bytes = [0; 1024];
            let count = self.0.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
        }
    }

    fn service(name: impl Into<std::ffi::OsString>) -> Service {
        Service::of(&Manager { notify_socket: Some(name.into()), ..Manager::default() })
    }

    #[test]
    fn it_is_told_by_a_path_and_a_reload_has_its_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let ear = Ear::at(&SocketAddr::from_pathname(&path).expect("short"));
        let service = service(path);
        service.ready();
        assert_eq!(ear.hears(), "READY=1\n");
        service.reloading();
        let heard = ear.hears();
        let usec = heard.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("its time is said");
        assert!(usec.trim_end().parse::<u64>().is_ok_and(|usec| usec > 0), "{heard}");
        service.reloaded();
        assert_eq!(ear.hears(), "READY=1\n");
        for words in ["a", "a", "b\nREADY=1"] {
            service.say(words);
        }
        assert_eq!(
            [ear.hears(), ear.hears()],
            ["STATUS=a\n", "STATUS=b READY=1\n"],
            "once each, one line each"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_that_takes_long_asks_for_more_time_until_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let ear = Ear::at(&SocketAddr::from_pathname(&path).expect("short"));
        let service = service(path);
        let stopping = service.stopping();
        assert_eq!(ear.hears(), "STOPPING=1\nSTATUS=stopping: what runs is answered\n");
        for _ in 0..2 {
            // One tick more than the period: the paused clock goes on once everybody waits.
            timeout(EXTEND_EVERY + EXTEND_EVERY / 10, std::future::pending::<()>())
                .await
                .expect_err("a while");
            assert_eq!(ear.hears(), "EXTEND_TIMEOUT_USEC=30000000\n");
        }
        drop(stopping);
        service.say("serving");
        service.ready();
        assert_eq!(ear.hears(), "READY=1\n", "no status of one that serves, and no more time");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn it_is_told_by_an_abstract_name() {
        let name = format!("larder-test-{}", std::process::id());
        let address = <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(&name);
        let ear = Ear::at(&address.expect("short"));
        service(format!("@{name}")).ready();
        assert_eq!(ear.hears(), "READY=1\n");
    }

    #[test]
    fn a_manager_that_is_gone_or_that_there_never_was_stops_nothing() {
        for name in ["/nonexistent/notify", "@nobody-of-that-name"] {
            service(name).ready();
        }
        service("x".repeat(300)).ready();
        Service::of(&Manager::default()).ready();
    }

    /// A runtime whose disk pool has one thread, and a cache on it.
    fn with_one_disk_thread<F: Future>(test: impl FnOnce(Cache) -> F) -> F::Output {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["cache", "state"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        let flags = Flags { dir: Some(folder.path().into()), ..Flags::default() };
        let config = Config::load(&flags, &Environment::default()).expect("right");
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime =
            runtime.worker_threads(2).max_blocking_threads(1).enable_all().build().expect("threads");
        runtime.block_on(async {
            let (cache, _upstream) = super::super::parts::open(&config).expect("opens");
            cache.ready().await.expect("replays");
            let result = test(cache.clone()).await;
            cache.close().await;
            result
        })
    }

    #[test]
    fn the_watchdog_is_not_fed_while_the_disks_threads_hang() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let ear = Arc::new(Ear::at(&SocketAddr::from_pathname(&path).expect("short")));
        let watchdog = Some(Duration::from_millis(100));
        let service =
            Service::of(&Manager { notify_socket: Some(path.into()), watchdog, ..Manager::default() });
        with_one_disk_thread(async |cache| {
            // A thread of its own to hear by: the pool's only one is what hangs.
            let (heard, mut hears) = tokio::sync::mpsc::channel(64);
            let ear = Arc::clone(&ear);
            std::thread::spawn(
                move || while ear.next().is_some_and(|words| heard.blocking_send(words).is_ok()) {},
            );
            let _keeping =
                tokio_util::task::AbortOnDropHandle::new(tokio::spawn(service.clone().keep(cache.clone())));
            let mut until = async |line: &str| {
                let mut before = Vec::new();
                loop {
                    let next = hears.recv().await.expect("the ear lives");
                    if next.contains(line) {
                        return before;
                    }
                    before.push(next);
                }
            };
            until("STATUS=serving; 0 queued\n").await;
            until("WATCHDOG=1").await;
            let (release, hangs) = std::sync::mpsc::channel::<()>();
            let hanging = tokio::task::spawn_blocking(move || hangs.recv());
            until("STATUS=serving; the disk's threads are all busy").await;
            let began = Instant::now();
            drop(release);
            let before = until("WATCHDOG=1").await;
            assert!(before.is_empty(), "nothing was said while it hung: {before:?} ({:?})", began.elapsed());
            assert!(hanging.await.expect("no panic").is_err(), "it was let go, not sent anything");
            until("STATUS=serving; 0 queued\n").await;
        });
    }
}
