//! Sockets, who is calling, which frontend answers.
//!
//! Guarantees: by loopback and unix sockets, a caller is the daemon's user, root or somebody named; by any other
//! address, each request has a token; no web page gets past the guard; every connection has a clock, and their number a bound; a stop loses no answer
//! that can be given within its grace. What a request means is left to the protocols.

mod access;
mod admin;
mod authority;
mod clocks;
mod connection;
mod control;
mod dispatch;
mod doors;
mod frontends;
mod guard;
mod identity;
mod listen;
mod notices;
mod path;
mod tokens;
mod virtual_host;
mod visit;
mod wire;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use clocks::Limits;
pub use control::Control;
pub use frontends::{Named, Protocol};
pub use listen::{Bound, Endpoint, Wanted};
pub use notices::{Configuration, Notices, Warning};
pub use tokens::Tokens;

use admin::Admin;
use clocks::{Order, Registry};
use dispatch::Door;
use frontends::Frontends;
use listen::Listener;

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
    /// What lets in off loopback.
    pub tokens: Tokens,
    /// What was issued.
    pub keyring: Keyring,
    /// Where namespaces read from and write to.
    pub routes: Routes,
    /// What the daemon has to say of itself.
    pub notices: Notices,
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
            tokens: Tokens::default(),
            keyring: Keyring::none(),
            routes: Routes::default(),
            notices: Notices::default(),
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
        let admin =
            Arc::new(Admin::new(context.cache.clone(), Arc::clone(&registry), settings.notices.clone()));
        let ready = announce_ready(context.cache.clone(), Arc::clone(&admin));
        let door = Arc::new(Door {
            policy: Swap::new(policy),
            keyring: settings.keyring.clone(),
            admin,
            frontends: Arc::new(Frontends::new(context, places, &settings.keyring)),
        });
        let server = Self {
            registry: Arc::clone(&registry),
            tasks: TaskTracker::new(),
            accepting: CancellationToken::new(),
            sweeping: CancellationToken::new(),
            control: Control::new(Arc::clone(&registry), Arc::clone(&door)),
            settings,
        };
        let stopping = server.sweeping.clone();
        server.tasks.spawn(async move { stopping.run_until_cancelled(ready).await });
        for listener in bound.listeners {
            server.tasks.spawn(accept(
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
    /// after `grace` is cut.
    pub async fn stop(self) {
        self.accepting.cancel();
        self.tasks.close();
        self.registry.tell_all(Order::Finish);
        let begun = tokio::time::Instant::now();
        let ended = async |registry: &Registry, until| {
            tokio::time::timeout_at(begun + until, registry.all_ended()).await.is_ok()
        };
        if !ended(&self.registry, self.settings.linger).await {
            self.registry.tell_all(Order::Close);
        }
        if !ended(&self.registry, self.settings.grace).await {
            tracing::warn!("cut {} connections whose requests still ran", self.registry.count());
            self.registry.tell_all(Order::Cut);
        }
        self.sweeping.cancel();
        self.tasks.wait().await;
    }
}

/// Accepts on one socket until told to stop; then the socket is closed.
async fn accept(
    listener: Listener,
    registry: Arc<Registry>,
    door: Arc<Door>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    /// Out of descriptors, or the like: trying again at once would only spin.
    const PAUSE: Duration = Duration::from_millis(50);
    let accepting = async {
        let mut quiet_until = Instant::now();
        loop {
            match listener.accept().await {
                Ok(socket) => {
                    let admitted = registry.admit().await;
                    let serving = connection::serve(
                        socket,
                        admitted,
                        listener.gate(),
                        listener.only,
                        Arc::clone(&door),
                        tasks.clone(),
                    );
                    tasks.spawn(serving);
                }
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
    };
    stop.run_until_cancelled(accepting).await;
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
