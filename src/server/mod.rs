//! Sockets, who is calling, which frontend answers.
//!
//! Guarantees: by loopback and unix sockets, a caller is the daemon's user, root or somebody named; by any other
//! address, each request has a token, or its client a certificate; no web page gets past the guard; every connection has a clock, and their number a bound; a stop loses no answer
//! that can be given within its grace. What a request means is left to the protocols.

mod access;
mod accounts;
mod admin;
mod authority;
mod bound;
mod clocks;
mod connection;
mod control;
mod dispatch;
mod doors;
mod endpoint;
mod frontends;
mod guard;
mod handed;
mod identity;
mod listen;
mod log;
mod metrics;
mod notices;
mod path;
mod tls;
mod tokens;
mod virtual_host;
mod visit;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use accounts::{group_id, user_id};
pub use admin::VERSION_HEADER;
pub use bound::Bound;
pub use clocks::Limits;
pub use control::Control;
pub use endpoint::Endpoint;
pub(crate) use endpoint::check_path;
pub use frontends::{Named, Protocol};
pub use identity::{listener_of, user_name};
pub use listen::Wanted;
pub use log::LogSwitch;
pub use notices::{Configuration, Notices, Warning};
pub use tls::{
    Clients, Files as TlsFiles, Material, Remark as TlsRemark, Tls, Wrong as TlsWrong, certificate_day,
    certificate_end, certificate_names,
};
pub use tokens::Tokens;

use admin::{Admin, ListenerStatus};
use clocks::{Order, Registry};
use dispatch::Door;
use frontends::Frontends;
use listen::Listener;
use tls::{Served, keep_looking};

use crate::cache::Cache;
use crate::key::Owner;
use crate::keyring::Keyring;
use crate::protocol::{Context, Places, Routes};
use crate::swap::Swap;

/// What the server is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bounds on connections.
    pub limits: Limits,
    /// `allow_hosts`: names besides loopback that a `Host` may have.
    pub allow_hosts: Vec<String>,
    /// `access.users`: uids let in besides root and the daemon's own.
    pub users: Vec<u32>,
    /// `access.users`: groups whose members are let in as well.
    pub groups: Vec<u32>,
    /// What lets in off loopback.
    pub tokens: Tokens,
    /// The TLS of listeners, each as the configuration calls it: what of it was replaced.
    pub tls: Vec<(Endpoint, Tls)>,
    /// What was issued.
    pub keyring: Keyring,
    /// Where namespaces read from and write to.
    pub routes: Routes,
    /// What the daemon has to say of itself.
    pub notices: Notices,
    /// How what is logged is changed while it runs; `None`: not at all.
    pub log: Option<LogSwitch>,
    /// How long HTTP/1 connections without a request stay readable when the daemon stops.
    pub linger: Duration,
    /// How long requests may run on when the daemon stops.
    pub grace: Duration,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    registry: Arc<Registry>,
    tasks: TaskTracker,
    /// Those that accept: they end first.
    acceptors: TaskTracker,
    accepting: CancellationToken,
    sweeping: CancellationToken,
    control: Control,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            allow_hosts: Vec::new(),
            users: Vec::new(),
            groups: Vec::new(),
            tokens: Tokens::default(),
            tls: Vec::new(),
            keyring: Keyring::none(),
            routes: Routes::default(),
            notices: Notices::default(),
            log: None,
            linger: Duration::from_secs(1),
            grace: Duration::from_secs(5),
        }
    }
}

// === impl Server ===

impl Server {
    /// Begins to accept on what was bound.
    pub fn start(settings: Settings, bound: Bound, context: Context) -> Self {
        let registry = Registry::new(settings.limits);
        let policy = control::policy(&settings);
        let places = Places::new(Owner(policy.access.own_uid()), settings.routes.clone());
        let admin = Arc::new(Admin::new(
            context.cache.clone(),
            Arc::clone(&registry),
            settings.notices.clone(),
            log::Log::new(settings.log, settings.notices.clone()),
            bound.listeners.iter().map(ListenerStatus::of).collect(),
        ));
        let ready = announce_ready(context.cache.clone(), Arc::clone(&admin));
        let door = Arc::new(Door {
            policy: Swap::new(policy),
            keyring: settings.keyring.clone(),
            admin,
            frontends: Arc::new(Frontends::new(context, places, &settings.keyring)),
        });
        let tls: Arc<[Arc<Served>]> =
            bound.listeners.iter().filter_map(|listener| listener.tls.clone()).collect();
        let server = Self {
            registry: Arc::clone(&registry),
            tasks: TaskTracker::new(),
            acceptors: TaskTracker::new(),
            accepting: CancellationToken::new(),
            sweeping: CancellationToken::new(),
            control: Control::new(Arc::clone(&registry), Arc::clone(&door), Arc::clone(&tls)),
            settings,
        };
        let stopping = server.sweeping.clone();
        server.tasks.spawn(async move { stopping.run_until_cancelled(ready).await });
        let (stopping, notices) = (server.sweeping.clone(), server.settings.notices.clone());
        let looking = keep_looking(tls.to_vec(), notices);
        server.tasks.spawn(async move { stopping.run_until_cancelled(looking).await });
        for listener in bound.listeners {
            server.acceptors.spawn(accept(
                listener,
                Arc::clone(&registry),
                Arc::clone(&door),
                server.tasks.clone(),
                server.accepting.clone(),
            ));
        }
        server.tasks.spawn(sweep(registry, server.sweeping.clone()));
        server
    }

    /// What changes it while it runs.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.registry.count()
    }

    /// Stops in order: accepts no more; what runs is answered and told that its connection ends; idle HTTP/1
    /// connections stay readable for `linger`, so that a request already on its way is answered; what still runs
    /// after `grace` is cut. A request of which a byte was read is never dropped before that.
    pub async fn stop(self) {
        self.accepting.cancel();
        self.acceptors.close();
        self.registry.tell_all(Order::Finish);
        let begun = tokio::time::Instant::now();
        // Who was accepted in the last moment is among the connections once the acceptors have ended.
        let all_ended = async || {
            self.acceptors.wait().await;
            self.registry.all_ended().await;
        };
        let ended = async |until| tokio::time::timeout_at(begun + until, all_ended()).await.is_ok();
        if !ended(self.settings.linger).await {
            self.registry.tell_all(Order::Close);
        }
        if !ended(self.settings.grace).await {
            tracing::warn!("cut {} connections whose requests still ran", self.registry.count());
            self.registry.tell_all(Order::Cut);
        }
        self.sweeping.cancel();
        self.acceptors.wait().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Accepts on one socket until told to stop; then the socket is closed. Who has connected by then is served, unless the
/// socket outlives this process: its next owner serves them.
async fn accept(
    listener: Listener,
    registry: Arc<Registry>,
    door: Arc<Door>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    /// Out of descriptors, or the like: trying again at once would only spin.
    const PAUSE: Duration = Duration::from_millis(50);
    // Not to be cancelled: whoever was accepted would be dropped with it.
    let admit = async |socket| {
        let admitted = registry.admit().await;
        let (gate, tls, door) = (listener.gate(), listener.tls.clone(), Arc::clone(&door));
        tasks.spawn(connection::serve(socket, admitted, gate, listener.only, tls, door, tasks.clone()));
    };
    let mut quiet_until = Instant::now();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok(socket) => admit(socket).await,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if Instant::now() >= quiet_until {
                    tracing::warn!("accept on {}: {error}", listener.endpoint);
                    quiet_until = Instant::now() + Duration::from_secs(60);
                }
                registry.close_longest_idle();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    while let Some(Ok(socket)) = listener.accept_last() {
        admit(socket).await;
    }
}

/// Says so when look-ups don't wait any more.
async fn announce_ready(cache: Cache, admin: Arc<Admin>) {
    match cache.ready().await {
        Ok(()) => {
            admin.now_ready();
            tracing::info!("ready: the index is read");
        }
        Err(error) => tracing::error!("the index can't be read, so that nothing is found: {error}"),
    }
}

/// Keeps the connections' clocks.
async fn sweep(registry: Arc<Registry>, stop: CancellationToken) {
    let sweeping = async {
        loop {
            registry.sweep();
            tokio::time::sleep(registry.tick()).await;
        }
    };
    stop.run_until_cancelled(sweeping).await;
}

#[cfg(test)]
mod tests;
