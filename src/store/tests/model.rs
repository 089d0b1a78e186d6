//! The store against a model: puts, fills, drafts, adoption, deletes, the queue, eviction, compaction, close and
//! kill, in random order.
//!
//! The model is a map with the order of last use. What it knows exactly: which entries there are, their generation
//! and bytes, the rows of the queue, and *which* entries eviction takes. A kill takes back the uses that were not
//! written yet, and nothing else; it may leave torn bytes behind the last record.

use std::collections::BTreeMap;
use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::store::{Queued, Ticket};

const KEYS: usize = 6;

#[derive(Debug, Clone)]
enum Op {
    Put { key: usize, len: usize, tag: Option<u64> },
    PutLarge { key: usize, len: usize, tag: Option<u64> },
    DropDraft { len: usize },
    Begin { key: usize },
    Fill { len: usize, large: bool },
    Adopt { key: usize, len: usize, large: bool, overtaken: bool },
    PutDeleted { key: usize },
    Get { key: usize },
    Touch { key: usize },
    Remove { key: usize, only: bool },
    Supersede { key: usize, newer: bool },
    Queue { key: usize, tag: u64 },
    Done { key: usize, tag: u64 },
    FlushTouches,
    Compact,
    Sweep,
    Restart,
    Kill { torn: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..KEYS;
    let len = 0_usize..1000;
    let tag = prop_oneof![Just(None), (1_u64..3).prop_map(Some)];
    prop_oneof![
        8 => (key.clone(), len.clone(), tag.clone()).prop_map(|(key, len, tag)| Op::Put { key, len, tag }),
        4 => (key.clone(), 0_usize..6000, tag).prop_map(|(key, len, tag)| Op::PutLarge { key, len, tag }),
        1 => len.clone().prop_map(|len| Op::DropDraft { len }),
        3 => key.clone().prop_map(|key| Op::Begin { key }),
        3 => (len.clone(), any::<bool>()).prop_map(|(len, large)| Op::Fill { len, large }),
        2 => (key.clone(), len, any::<bool>(), any::<bool>())
            .prop_map(|(key, len, large, overtaken)| Op::Adopt { key, len, large, overtaken }),
        1 => key.clone().prop_map(|key| Op::PutDeleted { key }),
        4 => key.clone().prop_map(|key| Op::Get { key }),
        2 => key.clone().prop_map(|key| Op::Touch { key }),
        3 => (key.clone(), any::<bool>()).prop_map(|(key, only)| Op::Remove { key, only }),
        2 => (key.clone(), any::<bool>()).prop_map(|(key, newer)| Op::Supersede { key, newer }),
        3 => (key.clone(), 1_u64..3).prop_map(|(key, tag)| Op::Queue { key, tag }),
        3 => (key, 1_u64..3).prop_map(|(key, tag)| Op::Done { key, tag }),
        1 => Just(Op::FlushTouches),
        5 => Just(Op::Compact),
        1 => Just(Op::Sweep),
        1 => Just(Op::Restart),
        3 => (0_usize..600).prop_map(|torn| Op::Kill { torn }),
    ]
}

#[derive(Debug, Clone)]
struct Entry {
    generation: Generation,
    body: Vec<u8>,
    deleted: bool,
    rows: Vec<u64>,
    used: u64,
    used_on_disk: u64,
}

struct World {
    bench: Option<Bench>,
    /// What is adopted comes from here.
    outbox: Bench,
    model: BTreeMap<usize, Entry>,
    ticket: Option<(usize, Ticket, bool)>,
    clock: u64,
    evictions: u64,
    seed: u64,
}

impl World {
    async fn new(disk: u64) -> Self {
        let settings = Settings { segment_bytes: 6 << 10, disk, ..settings() };
        let bench = Bench::within(folder(), Role::Cache, settings.clone()).await;
        let mut outbox = Bench::within(folder(), Role::Outbox, settings).await;
        outbox.store = open(outbox.path(), Role::Outbox, &outbox.settings, &bench.generations).await;
        Self {
            bench: Some(bench),
            outbox,
            model: BTreeMap::new(),
            ticket: None,
            clock: 0,
            evictions: 0,
            seed: 0,
        }
    }

    fn bench(&self) -> &Bench {
        self.bench.as_ref().expect("alive")
    }

    fn body(&mut self, len: usize) -> Vec<u8> {
        self.seed += 1;
        bytes(len, self.seed)
    }

    fn used(&mut self, key: usize) {
        self.clock += 1;
        if let Some(entry) = self.model.get_mut(&key) {
            entry.used = self.clock;
        }
    }

    fn committed(&mut self, key: usize, generation: Generation, body: Vec<u8>, tag: Option<u64>) {
        self.clock += 1;
        let rows = tag.into_iter().collect();
        let (used, used_on_disk) = (self.clock, self.clock);
        self.model.insert(key, Entry { generation, body, deleted: false, rows, used, used_on_disk });
        self.changed(key);
        self.evicted();
    }

    fn changed(&mut self, key: usize) {
        if let Some((_, _, unchanged)) = self.ticket.as_mut().filter(|ticket| ticket.0 == key) {
            *unchanged = false;
        }
    }

    /// The store says how many it evicted: they must be those that were not used for the longest time.
    fn evicted(&mut self) {
        let evictions = self.bench().store.usage().evictions;
        for _ in self.evictions..evictions {
            let oldest = self.model.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
            self.model.remove(&oldest.expect("something to evict"));
        }
        self.evictions = evictions;
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::Put { key, len, tag } => self.put(key, len, tag).await,
            Op::PutLarge { key, len, tag } => self.put_large(key, len, tag, None).await,
            Op::DropDraft { len } => {
                let mut draft = self.bench().store.draft(None).await.expect("draft");
                draft.write(bytes(len, 1).into()).await.expect("write");
                self.evicted();
            }
            Op::Begin { key } => {
                self.ticket = Some((key, self.bench().store.begin(id(&key.to_string())), true))
            }
            Op::Fill { len, large } => self.fill(len, large).await,
            Op::Adopt { key, len, large, overtaken } => self.adopt(key, len, large, overtaken).await,
            Op::PutDeleted { key } => {
                let put = self.bench().store.put_deleted(queued(&key.to_string(), 0, QueueTag(1))).await;
                self.committed(key, put.expect("put"), Vec::new(), Some(1));
                if let Some(entry) = self.model.get_mut(&key) {
                    entry.deleted = true;
                }
            }
            Op::Get { key } => self.check(key).await,
            Op::Touch { key } => {
                self.bench().store.touch(&[id(&key.to_string())]);
                self.used(key);
            }
            Op::Remove { key, only } => {
                let generation = self.model.get(&key).map_or(Generation(1), |entry| entry.generation);
                let removed =
                    self.bench().store.remove(id(&key.to_string()), only.then_some(generation)).await;
                let known = self.model.remove(&key).is_some();
                assert_eq!(removed.expect("remove"), known);
                if known || !only {
                    self.changed(key);
                }
            }
            Op::Supersede { key, newer } => {
                let next = self.bench().generations.next();
                let generation = if newer { next } else { Generation(1) };
                self.bench().store.supersede(id(&key.to_string()), generation);
                if self.model.get(&key).is_some_and(|entry| entry.generation < generation) {
                    self.model.remove(&key);
                }
                self.changed(key);
            }
            Op::Queue { key, tag } => {
                let generation = self.model.get(&key).map_or(Generation(1), |entry| entry.generation);
                let queued =
                    self.bench().store.queue(id(&key.to_string()), generation, QueueTag(tag), "o").await;
                assert_eq!(queued.expect("queue"), self.model.contains_key(&key));
                if let Some(entry) = self.model.get_mut(&key).filter(|entry| !entry.rows.contains(&tag)) {
                    entry.rows.push(tag);
                }
            }
            Op::Done { key, tag } => {
                let generation = self.model.get(&key).map_or(Generation(1), |entry| entry.generation);
                let done = self.bench().store.done(id(&key.to_string()), generation, QueueTag(tag)).await;
                let rows = self.model.get_mut(&key).map(|entry| &mut entry.rows);
                let known = rows.is_some_and(|rows| {
                    let before = rows.len();
                    rows.retain(|row| *row != tag);
                    rows.len() < before
                });
                assert_eq!(done.expect("done"), known);
            }
            Op::FlushTouches => self.flush(),
            Op::Compact => {
                // A copy carries the use of its entry: flushed, so that the model knows what a kill forgets.
                self.flush();
                self.bench().store.compact_once();
            }
            Op::Sweep => self.bench().store.sweep_once(),
            Op::Restart => {
                self.flush();
                self.again(None).await;
            }
            Op::Kill { torn } => {
                for entry in self.model.values_mut() {
                    entry.used = entry.used_on_disk;
                }
                self.again(Some(torn)).await;
            }
        }
        self.evicted();
        self.look();
    }

    async fn put(&mut self, key: usize, len: usize, tag: Option<u64>) {
        let (name, body) = (key.to_string(), self.body(len));
        let record = tag.map_or_else(|| record(&name, len), |tag| queued(&name, len, QueueTag(tag)));
        let put = self.bench().store.put(record, body.clone().into(), Guard::Always).await;
        self.committed(key, put.expect("put").expect("not refused"), body, tag);
    }

    async fn put_large(&mut self, key: usize, len: usize, tag: Option<u64>, ticket: Option<&Ticket>) {
        let (name, body) = (key.to_string(), self.body(len));
        let record = tag.map_or_else(|| record(&name, len), |tag| queued(&name, len, QueueTag(tag)));
        let mut draft = self.bench().store.draft(Some(len as u64)).await.expect("draft");
        self.evicted();
        for piece in body.chunks(700) {
            draft.write(Bytes::copy_from_slice(piece)).await.expect("write");
        }
        let published = draft.publish(record, ticket.map_or(Guard::Always, Guard::Unchanged)).await;
        self.committed(key, published.expect("publish").expect("not refused"), body, tag);
    }

    async fn fill(&mut self, len: usize, large: bool) {
        let Some((key, ticket, unchanged)) = self.ticket.take() else { return };
        if large && unchanged {
            return self.put_large(key, len, None, Some(&ticket)).await;
        }
        let body = self.body(len);
        let record = record(&key.to_string(), len);
        let put = self.bench().store.put(record, body.clone().into(), Guard::Unchanged(&ticket)).await;
        let put = put.expect("put");
        assert_eq!(put.is_some(), unchanged);
        if let Some(generation) = put {
            self.committed(key, generation, body, None);
        }
    }

    async fn adopt(&mut self, key: usize, len: usize, large: bool, overtaken: bool) {
        let (name, body) = (key.to_string(), self.body(len));
        let generation = match large {
            true => self.outbox.put_large(&name, &body).await,
            false => self.outbox.put(&name, &body).await,
        };
        if overtaken {
            self.put(key, 3, None).await;
        }
        let still_newer = self.model.get(&key).is_some_and(|entry| entry.generation > generation);
        let stored = self.outbox.find(&name).await.expect("found");
        let record = (*stored.record).clone();
        let adopted = self
            .bench()
            .store
            .adopt(&self.outbox.store, &stored, record, Guard::Always)
            .await
            .expect("adopt");
        assert_eq!(adopted, (!still_newer).then_some(generation));
        if adopted.is_some() {
            self.committed(key, generation, body, None);
        }
    }

    fn flush(&mut self) {
        self.bench().store.flush_touches();
        for entry in self.model.values_mut() {
            entry.used_on_disk = entry.used;
        }
    }

    async fn again(&mut self, torn: Option<usize>) {
        self.ticket = None;
        self.evictions = 0;
        let bench = self.bench.take().expect("between two lives");
        let Bench { dir, settings, role, store, generations } = bench;
        if torn.is_none() {
            store.close().await;
        }
        drop(store);
        let segments = super::super::file::list(&dir.path().join("log"));
        if let (Some(torn), Some(last)) = (torn.filter(|torn| *torn > 0), segments.max()) {
            // The beginning of a record that was being appended: of one that was right in another place.
            let whole = std::fs::read(&last).expect("read");
            let from = 32.min(whole.len());
            let torn = &whole[from..(from + torn).min(whole.len())];
            let mut file = std::fs::File::options().append(true).open(&last).expect("open");
            file.write_all(torn).expect("write");
        }
        let store = open(dir.path(), role, &settings, &generations).await;
        self.bench = Some(Bench { dir, settings, role, store, generations });
        for key in 0..KEYS {
            self.check(key).await;
        }
        // The look itself is a use, in the order of keys, for both.
    }

    /// What the index says.
    fn look(&self) {
        for key in 0..KEYS {
            let entry = self.model.get(&key);
            let generation = self.bench().store.generation(id(&key.to_string()));
            assert_eq!(generation, entry.map(|entry| entry.generation), "key {key}");
        }
        let mut rows: Vec<_> = self
            .model
            .iter()
            .flat_map(|(key, entry)| entry.rows.iter().map(move |tag| (key, entry, *tag)))
            .map(|(key, entry, tag)| Queued {
                id: id(&key.to_string()),
                generation: entry.generation,
                tag: QueueTag(tag),
                bytes: entry.body.len() as u64,
            })
            .collect();
        rows.sort_by_key(|row| (row.generation, row.tag));
        assert_eq!(self.bench().store.queued(), rows);
        let usage = self.bench().store.usage();
        let bodies: usize = self.model.values().map(|entry| entry.body.len()).sum();
        assert_eq!(
            (usage.entries, usage.live_bytes, usage.draft_bytes, usage.queue_rows, usage.corrupt),
            (self.model.len() as u64, bodies as u64, 0, rows.len() as u64, 0)
        );
        assert!(usage.bytes <= self.bench().settings.disk);
    }

    /// What a look-up says.
    async fn check(&mut self, key: usize) {
        let stored = self.bench().find(&key.to_string()).await;
        self.used(key);
        let entry = self.model.get(&key);
        assert_eq!(stored.is_some(), entry.is_some(), "key {key}");
        let (Some(stored), Some(entry)) = (stored, entry) else { return };
        assert_eq!((stored.generation, stored.deleted), (entry.generation, entry.deleted));
        let body =
            self.bench().store.body(&stored, 0..stored.len()).expect("in range").collect(u64::MAX).await;
        assert_eq!(body.expect("whole"), entry.body);
    }
}

/// In memory where there is such a place: syncs are free there, and thousands of cases make many.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
    made.expect("a temporary folder")
}

#[test]
fn the_store_does_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let config = ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() };
    let disk = prop_oneof![2 => Just(1_u64 << 40), 1 => 12_000_u64..30_000];
    proptest!(config, |(disk in disk, ops in prop::collection::vec(op(), 1..40))| {
        runtime.block_on(async {
            let mut world = World::new(disk).await;
            for op in ops {
                world.step(op).await;
            }
            world.step(Op::Kill { torn: 0 }).await;
            world.step(Op::Restart).await;
        });
    });
}
