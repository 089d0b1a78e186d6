//! Start and stop, in order, and the one place where [`Config`] is taken apart.
//!
//! ```text
//! start: lock and VERSION of both folders -> sockets -> cache (replays behind) -> serve         no network
//! run:   a changed configuration is applied                                       (files, SIGHUP: reload.rs)
//! stop:  accept no more -> answer what runs -> cache                              (SIGTERM, SIGINT)
//! ```
//! Killed at any point, nothing that was queued is lost; so no step here saves anything that the stores have not.

mod doctor;
mod folder;
mod parts;
mod reload;
mod service;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use crate::config::{Config, Environment, Flags, PORT};
use crate::error::{Error, Kind, Result};
use crate::key::UpstreamId;
use crate::keyring::Keyring;
use crate::logging;
use crate::protocol::{self, Context};
use crate::server::{self, Bound, Endpoint, Limits, LogSwitch, Notices, Server, Wanted};
pub(crate) use doctor::{canaries, keep_free};
use folder::Locked;
pub(crate) use folder::VERSION;
use service::Service;

/// What upstream work may take to end once it is cancelled. Who connects meanwhile waits for the next process, and
/// uploads are begun again after its start: nothing is gained by more.
const UPSTREAM_GRACE: Duration = Duration::from_millis(50);

/// The same for calls of the disk, on which nothing depends any more.
const DISK_GRACE: Duration = Duration::from_millis(50);

/// Serves until told to stop. `flags` and `environment` are what `config` was read from, and is read from again.
///
/// # Errors
/// What kept it from starting, in words for who started it.
pub fn run(config: Config, flags: Flags, environment: Environment) -> Result<()> {
    logging::begin(config.log_format, &config.log_filter)?;
    let descriptors = raise_descriptors();
    let _state = Locked::take(&config.folders.state)?;
    let _cache = Locked::take(&config.folders.cache)?;
    if let Some(around) = config.folders.socket.parent() {
        folder::make(around)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("larder")
        .enable_all()
        .build()
        .map_err(|error| Error::new(Kind::Internal, "start the threads").because(error))?;
    let served = runtime.block_on(serve(config, (flags, environment), descriptors));
    runtime.shutdown_timeout(DISK_GRACE);
    served
}

async fn serve(config: Config, read_from: (Flags, Environment), descriptors: u64) -> Result<()> {
    let watch =
        |kind| signal(kind).map_err(|error| Error::new(Kind::Internal, "watch for signals").because(error));
    let mut terminate = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    // Before the manager hears that it may send one: it would end who doesn't watch for it.
    let hangup = watch(SignalKind::hangup())?;

    let defaults = default_endpoints();
    let defaults = if config.listen_default { &defaults[..] } else { &[] };
    let names = config.manager.socket_names.as_deref();
    let bound = Bound::bind(&config.listen, defaults, &config.folders.socket, names)?;
    for endpoint in bound.endpoints() {
        tracing::info!("listening on {endpoint}");
    }
    warn_of_idle(&config);
    let (cache, upstream_threads) = parts::open(&config)?;
    let context = Context::new(cache.clone(), protocol::Settings::default());
    let notices = Notices::default();
    notices.applied(config.file.as_ref().map(|file| file.display().to_string()), Vec::new());
    for (number, words) in bound.remarks().iter().enumerate() {
        tracing::warn!("{words}");
        notices.warn(&format!("socket {number}"), Some(words.clone()));
    }
    let log =
        LogSwitch { set: logging::set_for_now, revert: logging::revert, configured: logging::configured };
    let keyring = Keyring::open(&config.folders.state);
    let ids: Vec<UpstreamId> = (0..=u16::MAX).map(UpstreamId).take(config.routes.places.len()).collect();
    let settings = server::Settings {
        notices: notices.clone(),
        keyring,
        log: Some(log),
        ..server_settings(&config, descriptors, &ids)
    };
    let server = Server::start(settings, bound, context);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        cache = %config.folders.cache.display(),
        state = %config.folders.state.display(),
        upstream = default_upstream(&config),
        "serving"
    );
    let service = Service::of(&config.manager);
    service.ready();
    let keeping = AbortOnDropHandle::new(tokio::spawn(service.clone().keep(cache.clone())));
    let upstream_threads = Arc::new(upstream_threads);
    let (flags, environment) = read_from;
    let reload = reload::Parts {
        flags,
        environment,
        config,
        cache: cache.clone(),
        upstream: Arc::clone(&upstream_threads),
        server: server.control(),
        notices,
        descriptors,
    };
    let told = service.clone();
    let reload = reload::begin(reload, hangup, move |moment| match moment {
        reload::Moment::Begun => told.reloading(),
        reload::Moment::Ended => told.reloaded(),
    })?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("stopping: SIGTERM"),
        _ = interrupt.recv() => tracing::info!("stopping: SIGINT"),
    }
    let _stopping = service.stopping();
    drop(reload);
    tokio::select! {
        () = server.stop() => {}
        _ = terminate.recv() => tracing::warn!("told again: not waiting for what still runs"),
        _ = interrupt.recv() => tracing::warn!("told again: not waiting for what still runs"),
    }
    cache.close().await;
    upstream_threads.stop(UPSTREAM_GRACE).await;
    drop(keeping);
    tracing::info!("stopped");
    Ok(())
}

/// Loopback of both families. Machines without IPv6 do without the second.
pub fn default_endpoints() -> [Wanted; 2] {
    let tcp = |address: SocketAddr, optional| Wanted {
        endpoint: Endpoint::Tcp(address),
        optional,
        only: None,
        tls: None,
    };
    [tcp((Ipv4Addr::LOCALHOST, PORT).into(), false), tcp((Ipv6Addr::LOCALHOST, PORT).into(), true)]
}

/// Where names go that have no namespace of their own.
fn default_upstream(config: &Config) -> &str {
    let place = config.routes.default.and_then(|id| config.routes.places.get(usize::from(id.0)));
    place.map_or("none", |place| place.upstream.url.as_str())
}

fn warn_of_idle(config: &Config) {
    for words in config.routes.idle.values() {
        tracing::warn!("{words}");
    }
}

/// `ids`: those of the configuration's places, in their order.
fn server_settings(config: &Config, descriptors: u64, ids: &[UpstreamId]) -> server::Settings {
    let routed = |route: protocol::Route| {
        let upstream = route.upstream.and_then(|place| ids.get(usize::from(place.0)).copied());
        protocol::Route { upstream, ..route }
    };
    let bounds = &config.bounds;
    server::Settings {
        limits: Limits {
            connections: bounds.connections.unwrap_or((descriptors / 2) as usize).max(1),
            head: bounds.head,
            body_stall: bounds.body_stall,
            idle: bounds.idle,
        },
        allow_hosts: config.allow_hosts.clone(),
        users: config.users.clone(),
        groups: config.groups.clone(),
        tokens: config.tokens.clone(),
        tls: config.tls().map(|(endpoint, tls)| (endpoint.clone(), tls.clone())).collect(),
        routes: protocol::Routes::new(
            routed(protocol::Route { upstream: config.routes.default, ..Default::default() }),
            config.routes.namespaces.iter().map(|(namespace, route)| (namespace.clone(), routed(*route))),
        )
        .with_inner(inner(config, ids)),
        ..server::Settings::default()
    }
}

/// By id, what names upstream begin with that lie in a place and are another's.
fn inner(config: &Config, ids: &[UpstreamId]) -> Vec<Vec<String>> {
    let mut inner = Vec::new();
    for (id, prefixes) in ids.iter().zip(config.routes.inner()) {
        let at = usize::from(id.0);
        if inner.len() <= at {
            inner.resize(at + 1, Vec::new());
        }
        inner[at] = prefixes;
    }
    inner
}

/// Takes as many descriptors as the machine lets us; how many that are.
fn raise_descriptors() -> u64 {
    /// More than any machine has tools; walks over the connections stay short.
    const ENOUGH: u64 = 1 << 17;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(ENOUGH).min(ENOUGH);
    let current = limit.current.unwrap_or(ENOUGH);
    if current >= wanted {
        return current;
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    if rustix::process::setrlimit(Resource::Nofile, raised).is_ok() { wanted } else { current }
}
