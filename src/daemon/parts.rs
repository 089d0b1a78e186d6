//! The cache's parts, each from its own settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::{self, Cache, Parts};
use crate::config::{Bounds, Config, Durability, Place};
use crate::digest::hex;
use crate::error::{Error, Result};
use crate::key::UpstreamId;
use crate::memory;
use crate::protocol::turborepo;
use crate::stats::Stats;
use crate::store::{self, Generations, Quarantine, Role, Store};
use crate::upstream::{Location, Remote, RemoteSettings, Runtime};

/// Opens stores and upstream. Replays go on behind; no network is needed.
pub(super) fn open(config: &Config) -> Result<(Cache, Runtime)> {
    let (settings, [of_cache, of_outbox]) = bounds(config);
    let generations = Generations::default();
    let runtime = Runtime::with(config.credentials.clone())?;
    let remotes = remotes(config, None, &runtime)?;
    let parts = Parts {
        cache: Store::open(&config.folders.cache, Role::Cache, of_cache, generations.clone())?,
        outbox: Store::open(&config.folders.state, Role::Outbox, of_outbox, generations)?,
        remotes,
        siblings: vec![turborepo::ARTIFACTS],
        stats: Arc::new(Stats::default()),
    };
    Ok((Cache::new(settings, parts), runtime))
}

/// Those of the cache, and of its two stores: the cache's and the outbox.
pub(super) fn bounds(config: &Config) -> (cache::Settings, [store::Settings; 2]) {
    let settings = cache_settings(config);
    let store = |folder: &Path| store_settings(config, folder, settings.inline_max);
    let stores = [store(&config.folders.cache), store(&config.folders.state)];
    (settings, stores)
}

/// The configured upstreams, in the order of the places. One that `running` has, and that would be the same, is that
/// very one; one at a place that it has, or had, has the id of that place.
///
/// # Errors
/// `Invalid` when one can't be opened; nothing was changed.
pub(super) fn remotes(config: &Config, running: Option<&Cache>, runtime: &Runtime) -> Result<Vec<Remote>> {
    let mut next = running.map_or(0, Cache::slots);
    let mut remotes = Vec::new();
    for place in &config.routes.places {
        let mut settings = remote_settings(UpstreamId(0), place, config)?;
        let slot = running.and_then(|cache| cache.slot(settings.location.tag_below(&place.prefix)));
        settings.id = match &slot {
            Some((id, _)) => *id,
            None => UpstreamId(u16::try_from(next).map_err(|_| {
                Error::invalid("use more than 65,536 places upstream in one life of the daemon; restart it")
            })?),
        };
        next += usize::from(slot.is_none());
        let old = slot.and_then(|(_, remote)| remote);
        if let Some(same) = old.as_ref().filter(|old| old.is_as(&settings, &place.prefix)) {
            remotes.push(same.clone());
            continue;
        }
        let remote = Remote::open_below(settings, &place.prefix, runtime)?;
        if let Some(old) = old {
            remote.succeed(&old);
        }
        remotes.push(remote);
    }
    Ok(remotes)
}

fn cache_settings(config: &Config) -> cache::Settings {
    let bounds = &config.bounds;
    cache::Settings {
        entry_max: config.entry_max,
        disk: bounds.disk,
        memory: memory::Settings { memory: bounds.memory, memory_entry_max: bounds.memory_entry_max },
        queue_bytes: bounds.queue_bytes,
        queue_entries: bounds.queue_entries,
        fills: bounds.fills,
        fill_bytes: bounds.fill_bytes,
        first_byte: bounds.first_byte,
        absent_entries: bounds.absent_memory_entries,
        absent_age: bounds.absent_memory_age,
        fact_entries: bounds.fact_memory_entries,
        fact_age: bounds.fact_memory_age,
        partial_uploads: bounds.partial_uploads_count,
        partial_bytes: bounds.partial_uploads_bytes.unwrap_or(bounds.disk / 2),
        partial_age: bounds.partial_uploads_age,
        ..cache::Settings::default()
    }
}

fn store_settings(config: &Config, folder: &Path, inline_max: u64) -> store::Settings {
    let bounds = &config.bounds;
    store::Settings {
        disk: bounds.disk,
        disk_keep_free: bounds.disk_keep_free.unwrap_or_else(|| keep_free(folder)),
        inodes_keep_free: bounds.inodes_keep_free,
        disk_floor: bounds.disk_floor,
        sync: config.durability == Durability::Power,
        inline_max,
        segment_bytes: (bounds.disk / 128).clamp(64 << 20, 1 << 30),
        quarantine: Quarantine {
            entries: bounds.quarantine_entries,
            bytes: bounds.quarantine_bytes,
            age: bounds.quarantine_age,
        },
        ..store::Settings::default()
    }
}

/// 5 % of the filesystem, at most 5 GiB.
pub(super) fn keep_free(folder: &Path) -> u64 {
    const MAX: u64 = 5 << 30;
    // What can't be asked has all the more reason to be left some room.
    rustix::fs::statvfs(folder)
        .map_or(MAX, |found| (found.f_blocks.saturating_mul(found.f_frsize) / 20).min(MAX))
}

/// Where begun multipart uploads of a place are noted. Each has a folder of its own, named by what doesn't change when
/// another is added.
fn uploads(config: &Config, place: &Place) -> PathBuf {
    let state = &config.folders.state;
    if place.name.contains("://") {
        // What is called by its URL is the one of the key `upstream`.
        return state.join("uploads");
    }
    let hash = blake3::hash(format!("{} {}", place.upstream.url, place.prefix).as_bytes());
    state.join(format!("uploads-{}", hex(&hash.as_bytes()[..8])))
}

fn remote_settings(id: UpstreamId, place: &Place, config: &Config) -> Result<RemoteSettings> {
    let upstream = &place.upstream;
    let Bounds { connect, first_byte, stall, .. } = config.bounds;
    let location = Location::parse(&upstream.url).map_err(|error| {
        // A URL that can't be may hold keys, before `@` or behind `?`.
        let shown = upstream.url.split('?').next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
        Error::new(error.kind(), format!("use the upstream {shown}: {}", error.message()))
    })?;
    Ok(RemoteSettings {
        id,
        name: place.name.clone(),
        location,
        credentials: upstream.credentials.clone(),
        read_only: upstream.read_only,
        connect,
        first_byte,
        stall,
        uploads: Some(uploads(config, place)),
    })
}
