//! One model of what a cache holds, driven against the real one: put, get, fill, delete, evict, upload, somebody
//! else's writes upstream, close, crash and reopen.
//!
//! The model keeps, for each key, what is here (and which upstream version it came from), what is queued, and what is
//! upstream. After every step the cache must say what the model says. A fill can't be observed apart from the get
//! that leads it; that a put wins over a fill under way is in [`super::fills`].

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proptest::prelude::*;

use super::fake::{Bench, Fake};
use super::*;
use crate::cache::upload::Ending;
use crate::key::{Layout, Naming};
use crate::store::QueueTag;

const SPACE: Space = Space::new("model", Naming::Immutable, Layout::Namespaced);
const KEYS: u8 = 4;

#[derive(Debug, Clone)]
enum Op {
    Put(u8, Value),
    Get(u8),
    Head(u8),
    Delete(u8),
    Evict(u8),
    /// Somebody else writes upstream.
    Elsewhere(u8, Value),
    /// Somebody else deletes upstream.
    Vanish(u8),
    Upload,
    Close,
    Crash,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Value {
    seed: u8,
    len: u32,
}

#[derive(Debug, Clone, Default)]
struct Cell {
    /// What a look-up finds here.
    here: Option<Value>,
    /// The upstream version that `here` replaced or is.
    origin: Option<Arc<str>>,
    queued: Option<Queued>,
    upstream: Option<(Value, Arc<str>)>,
    /// Whether what is upstream was written after the queued put was acknowledged.
    is_later: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queued {
    Put,
    Delete,
}

// === impl Value ===

impl Value {
    fn bytes(self) -> Bytes {
        let mut bytes = vec![0; self.len as usize];
        blake3::Hasher::new().update(&[self.seed]).finalize_xof().fill(&mut bytes);
        bytes.into()
    }
}

fn value() -> impl Strategy<Value = Value> {
    let len = prop_oneof![6 => 0_u32..2000, 1 => 60_000_u32..70_000, 1 => 250_000_u32..600_000];
    (any::<u8>(), len).prop_map(|(seed, len)| Value { seed, len })
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| Op::Put(key, value)),
        6 => key().prop_map(Op::Get),
        2 => key().prop_map(Op::Head),
        2 => key().prop_map(Op::Delete),
        2 => key().prop_map(Op::Evict),
        3 => (key(), value()).prop_map(|(key, value)| Op::Elsewhere(key, value)),
        1 => key().prop_map(Op::Vanish),
        3 => Just(Op::Upload),
        1 => Just(Op::Close),
        1 => Just(Op::Crash),
    ]
}

fn name(key: u8) -> String {
    format!("model/k{key}")
}

fn key(number: u8) -> Key {
    named(SPACE, &format!("k{number}"))
}

fn steppable(settings: &mut Settings) {
    settings.uploads = 0;
    settings.absent_entries = 0;
}

/// Puts an object's last write before or after everything that is acknowledged now.
fn date(bench: &Bench, key: u8, later: bool) {
    let second = Duration::from_secs(1);
    if let Some(object) = bench.fake.objects.lock().get_mut(&name(key)) {
        object.modified = if later { SystemTime::now() + second } else { SystemTime::now() - second };
    }
}

// === impl Cell ===

impl Cell {
    fn seen(&mut self) -> Option<Value> {
        if self.queued == Some(Queued::Delete) {
            return None;
        }
        if self.here.is_none()
            && let Some((value, version)) = &self.upstream
        {
            self.here = Some(*value);
            self.origin = Some(Arc::clone(version));
        }
        self.here
    }

    fn uploaded(&mut self, fake: &Fake, name: &str) {
        match self.queued.take() {
            None => {}
            Some(Queued::Delete) => {
                self.upstream = None;
                self.here = None;
            }
            Some(Queued::Put) => {
                let conflicts = self.origin.is_some()
                    && self.origin.as_ref() != self.upstream.as_ref().map(|(_, version)| version);
                if conflicts && self.is_later && self.upstream.is_some() {
                    // Theirs is later: ours is dropped, and theirs is what the next look-up brings.
                    self.here = None;
                    self.origin = None;
                } else if let Some(value) = self.here {
                    let version = fake.objects.lock().get(name).map(|object| Arc::clone(&object.etag));
                    let version = version.expect("it was written");
                    self.origin = Some(Arc::clone(&version));
                    self.upstream = Some((value, version));
                }
            }
        }
    }
}

async fn upload_all(bench: &Bench) {
    let remote = bench.cache.inner.remotes.all().remove(0).0;
    let tag = QueueTag(remote.tag());
    while let Some(row) = bench.cache.inner.queue.next(tag, &HashSet::new()) {
        match bench.cache.upload(&remote, row).await {
            Ending::Done | Ending::Ended => bench.cache.inner.queue.end(row),
            other => panic!("{other:?} on a fine day"),
        }
    }
}

async fn step(bench: Bench, cells: &mut BTreeMap<u8, Cell>, op: Op) -> Bench {
    match op {
        Op::Put(number, value) => {
            let cell = cells.entry(number).or_default();
            let known = cell.queued != Some(Queued::Delete) && cell.here.is_some();
            date(&bench, number, false);
            bench.put(&key(number), &value.bytes()).await;
            cell.origin = cell.origin.take().filter(|_| known);
            cell.here = Some(value);
            cell.queued = Some(Queued::Put);
            cell.is_later = false;
        }
        Op::Get(number) => {
            let expected = cells.entry(number).or_default().seen();
            let got = bench.get(&key(number)).await;
            assert_eq!(got.map(|bytes| bytes.len()), expected.map(|value| value.len as usize), "k{number}");
            if let Some(value) = expected {
                assert!(bench.get(&key(number)).await == Some(value.bytes()), "k{number}");
            }
            // A reader may have its last byte before the fill has published: the model knows of no such moment.
            bench.filled().await;
        }
        Op::Head(number) => {
            let cell = cells.entry(number).or_default();
            let there =
                cell.queued != Some(Queued::Delete) && (cell.here.is_some() || cell.upstream.is_some());
            let got = bench.cache.head(bench.scope(), &key(number)).await.expect("no error");
            assert_eq!(got.is_some(), there, "k{number}");
        }
        Op::Delete(number) => {
            let cell = cells.entry(number).or_default();
            bench.cache.delete(bench.scope(), &key(number), Precondition::None).await.expect("deleted");
            *cell = Cell { upstream: cell.upstream.take(), queued: Some(Queued::Delete), ..Cell::default() };
        }
        Op::Evict(number) => {
            let cell = cells.entry(number).or_default();
            let asked = Asked::new(bench.scope(), &key(number));
            bench.cache.inner.cache.remove(asked.id, None).await.expect("removed");
            bench.cache.inner.memory.forget(asked.id);
            if cell.queued.is_none() {
                cell.here = None;
                cell.origin = None;
            }
        }
        Op::Elsewhere(number, value) => {
            let cell = cells.entry(number).or_default();
            let version = bench.fake.set(&name(number), value.bytes());
            cell.upstream = Some((value, version));
            cell.is_later = true;
            date(&bench, number, true);
        }
        Op::Vanish(number) => {
            bench.fake.objects.lock().remove(&name(number));
            cells.entry(number).or_default().upstream = None;
        }
        Op::Upload => {
            upload_all(&bench).await;
            for (number, cell) in cells.iter_mut() {
                cell.uploaded(&bench.fake, &name(*number));
            }
        }
        Op::Close => {
            bench.cache.close().await;
            return bench.killed(steppable).await;
        }
        Op::Crash => return bench.killed(steppable).await,
    }
    bench
}

async fn run(ops: Vec<Op>) {
    let mut bench = Bench::new(steppable);
    bench.cache.ready().await.expect("replayed");
    let mut cells = BTreeMap::new();
    for op in ops {
        bench = step(bench, &mut cells, op).await;
        bench.cache.ready().await.expect("replayed");
        bench.replayed().await;
    }
    // Whatever happened: what was queued is upstream in the end, and everything says the same.
    bench = step(bench, &mut cells, Op::Upload).await;
    for number in 0..KEYS {
        bench = step(bench, &mut cells, Op::Get(number)).await;
    }
    assert_eq!(bench.cache.queue_summary().await.entries, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, max_shrink_iters: 500, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_is_what_the_model_says(ops in prop::collection::vec(op(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(run(ops));
    }
}
