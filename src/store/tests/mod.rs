//! What the store promises, one by one. The model drives the same in random order.

mod bounds;
mod damage;
mod format;
mod life;
mod model;
mod rest;
mod scan;
mod start;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tempfile::TempDir;

use super::{Generation, Generations, Guard, QueueTag, Record, Role, Settings, Store, Stored};
use crate::digest::{Digest, Function};
use crate::entry::{Attrs, Meta};
use crate::key::EntryId;
use crate::links::{Link, Links};

/// A store on a folder of its own, that can be closed, killed and opened again.
struct Bench {
    dir: TempDir,
    settings: Settings,
    role: Role,
    generations: Generations,
    store: Store,
}

/// Without bounds, and nothing runs by itself.
fn settings() -> Settings {
    Settings {
        disk: 1 << 40,
        disk_keep_free: 0,
        inodes_keep_free: 0,
        disk_floor: 0,
        sync: false,
        inline_max: 1 << 10,
        segment_bytes: 64 << 10,
        background: false,
        ..Settings::default()
    }
}

impl Bench {
    async fn new(settings: Settings) -> Self {
        Self::with_role(Role::Cache, settings).await
    }

    async fn with_role(role: Role, settings: Settings) -> Self {
        Self::within(TempDir::new().expect("a temporary folder"), role, settings).await
    }

    async fn within(dir: TempDir, role: Role, settings: Settings) -> Self {
        let generations = Generations::default();
        let store = open(dir.path(), role, &settings, &generations).await;
        Self { dir, settings, role, generations, store }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Ends it as `kill -9` would, and opens it again.
    async fn kill(self) -> Self {
        let Self { dir, settings, role, generations, store } = self;
        drop(store);
        drop(generations);
        // Another process counts from what it finds.
        let generations = Generations::default();
        let store = open(dir.path(), role, &settings, &generations).await;
        Self { dir, settings, role, generations, store }
    }

    /// Ends it in good order, and opens it again.
    async fn restart(self) -> Self {
        self.store.close().await;
        self.kill().await
    }

    async fn put(&self, name: &str, body: &[u8]) -> Generation {
        let put = self.store.put(record(name, body.len()), Bytes::copy_from_slice(body), Guard::Always).await;
        put.expect("put").expect("not refused")
    }

    async fn put_large(&self, name: &str, body: &[u8]) -> Generation {
        let mut draft = self.store.draft(Some(body.len() as u64)).await.expect("draft");
        draft.write(Bytes::copy_from_slice(body)).await.expect("write");
        draft.publish(record(name, body.len()), Guard::Always).await.expect("publish").expect("not refused")
    }

    async fn find(&self, name: &str) -> Option<Stored> {
        self.store.get(id(name), name.as_bytes()).await.expect("get")
    }

    /// The bytes of an entry, if it is here and whole.
    async fn body(&self, name: &str) -> Option<Vec<u8>> {
        let stored = self.find(name).await?;
        let body = self.store.body(&stored, 0..stored.len()).expect("in range");
        Some(body.collect(u64::MAX).await.ok()?.to_vec())
    }

    /// The files of large bodies.
    fn files(&self) -> Vec<std::path::PathBuf> {
        super::file::list(&self.path().join("files")).flat_map(|shard| super::file::list(&shard)).collect()
    }

    /// Files of drafts, of all processes.
    fn drafts(&self) -> usize {
        super::file::list(&self.path().join("tmp")).map(|own| super::file::list(&own).count()).sum()
    }

    fn segments(&self) -> Vec<std::path::PathBuf> {
        let mut segments: Vec<_> = super::file::list(&self.path().join("log")).collect();
        segments.sort();
        segments
    }
}

async fn open(dir: &Path, role: Role, settings: &Settings, generations: &Generations) -> Store {
    let store = Store::open(dir, role, settings.clone(), generations.clone()).expect("open");
    store.ready().await.expect("replay");
    store
}

fn id(name: &str) -> EntryId {
    EntryId::of(name.as_bytes())
}

fn record(name: &str, len: usize) -> Record {
    let meta = Meta {
        len: len as u64,
        digest: None,
        etag: name.into(),
        attrs: Attrs::default(),
        stored_ms: 1,
        origin_etag: None,
    };
    Record { id: id(name), key: name.as_bytes().into(), meta, links: None, queue: None }
}

fn queued(name: &str, len: usize, tag: QueueTag) -> Record {
    Record { queue: Some((tag, format!("object/{name}").into())), ..record(name, len) }
}

/// A record with something in every field.
fn full_record() -> Record {
    let digest = Digest::of(Function::Blake3, b"larder");
    let link = Link { digest: Digest::of(Function::Sha256, b"a link"), size: 7, tree: true };
    let attrs = Attrs::new([("artifacttag".into(), "t".into()), ("contenttype".into(), "text/plain".into())]);
    Record {
        links: Some(Links::Known(Arc::from([link]))),
        meta: Meta {
            digest: Some(digest),
            attrs: attrs.expect("valid"),
            origin_etag: Some("origin".into()),
            ..record("full", 6).meta
        },
        ..queued("full", 6, QueueTag(7))
    }
}

/// Bytes that are different in every place, and don't compress to a pattern of blocks.
fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..len).map(|_| next()).collect()
}
