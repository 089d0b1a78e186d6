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
    let settings = cache_settings(config);
    let generations = Generations::default();
    let store = |role, folder: &Path| {
        let settings = store_settings(config, folder, settings.inline_max);
        Store::open(folder, role, settings, generations.clone())
    };
    let runtime = Runtime::new()?;
    let remotes = remotes(config, &runtime)?;
    let parts = Parts {
        cache: store(Role::Cache, &config.folders.cache)?,
        outbox: store(Role::Outbox, &config.folders.state)?,
        remotes,
        siblings: vec![turborepo::ARTIFACTS],
        stats: Arc::new(Stats::default()),
    };
    Ok((Cache::new(settings, parts), runtime))
}

/// Every place of the routes, by [`UpstreamId`].
pub(super) fn remotes(config: &Config, runtime: &Runtime) -> Result<Vec<Remote>> {
    let mut remotes = Vec::new();
    for (number, place) in config.routes.places.iter().enumerate() {
        let id = UpstreamId(u16::try_from(number).unwrap_or(u16::MAX));
        remotes.push(Remote::open_below(remote_settings(id, place, config)?, &place.prefix, runtime)?);
    }
    Ok(remotes)
}

fn cache_settings(config: &Config) -> cache::Settings {
    let bounds = &config.bounds;
    cache::Settings {
        entry_max: config.entry_max,
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
