//! Fills: bringing an entry from upstream, once for all who ask.
//!
//! A fill is a task of the daemon, not of the client who asked first. N concurrent misses are one upstream request;
//! who hangs up or is slow touches nobody. This file has what readers do: join or begin a fill, wait for its first
//! word until their own deadline, and read along. What the task does is in [`super::receive`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::get::Local;
use super::permits::Permits;
use super::tail::{End, Progress, Tailing};
use super::verify::{Verifier, verified};
use super::{Asked, Cache};
use crate::body::Body;
use crate::entry::{ByteRange, Hit, Meta, Tier};
use crate::error::{Error, Kind, Result};
use crate::key::{EntryId, ObjectName, UpstreamId};
use crate::links::Links;
use crate::store::{Stored, Tail};
use crate::upstream::{Failure, GetOptions, Got, Remote};

/// The fills under way, and their bounds.
#[derive(Debug)]
pub(super) struct Fills {
    /// A leaf mutex.
    active: Mutex<HashMap<(EntryId, UpstreamId), Arc<Fill>>>,
    /// `fills`; waited for in order.
    pub(super) slots: Arc<Permits>,
    /// `fill_bytes`, in KiB: a body takes at most all of it, so that one fill is always admitted.
    pub(super) kib: Arc<Permits>,
}

/// One entry on its way here.
#[derive(Debug)]
pub(super) struct Fill {
    pub(super) phase: watch::Sender<Phase>,
    /// Who reads along, or waits for the first word.
    readers: AtomicUsize,
    /// Somebody's deadline passed: it goes on for next time, whatever its size.
    pub(super) keep: AtomicBool,
}

/// How far a fill is, as its readers see it.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// No answer yet.
    Asking,
    /// The upstream has it not.
    Absent,
    /// No answer, or not one that can be used.
    Failed,
    /// It has come here since it was looked for: another fill ended, or somebody put it.
    Here,
    /// It can't be kept here (no room, over `entry_max`): each reader has a request of its own.
    Through,
    /// A small body, whole and checked.
    Whole(Arc<Whole>),
    /// A large body that is being written, and read along.
    Growing(Arc<Growing>),
}

#[derive(Debug)]
pub(super) struct Whole {
    pub(super) meta: Arc<Meta>,
    pub(super) links: Option<Links>,
    pub(super) body: bytes::Bytes,
}

#[derive(Debug)]
pub(super) struct Growing {
    pub(super) meta: Arc<Meta>,
    pub(super) tail: Tail,
    pub(super) progress: watch::Receiver<Progress>,
}

/// A reader of a fill, as long as it lives.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) fill: Arc<Fill>,
}

// === impl Fills ===

impl Fills {
    pub(super) fn new(fills: usize, fill_bytes: u64) -> Self {
        Self { active: Mutex::default(), slots: Permits::new(fills), kib: Permits::new(kib(fill_bytes)) }
    }

    /// Other bounds. Those under way go on.
    pub(super) fn bound(&self, fills: usize, fill_bytes: u64) {
        self.slots.resize(fills);
        self.kib.resize(kib(fill_bytes));
    }

    /// Fills under way.
    pub(super) fn len(&self) -> usize {
        self.active.lock().len()
    }

    /// Whether work that nobody waits for should stay out of the way.
    fn is_busy(&self) -> bool {
        self.slots.is_busy()
    }

    /// A put or a delete of this key: whoever asks from now on must not have what a fill that began before brings.
    pub(super) fn part(&self, id: EntryId, upstream: Option<UpstreamId>) {
        if let Some(upstream) = upstream {
            self.active.lock().remove(&(id, upstream));
        }
    }

    /// A fill is about to say its last word: whoever asks from now on asks anew.
    pub(super) fn end(&self, id: EntryId, upstream: UpstreamId, fill: &Arc<Fill>) {
        let mut active = self.active.lock();
        if active.get(&(id, upstream)).is_some_and(|known| Arc::ptr_eq(known, fill)) {
            active.remove(&(id, upstream));
        }
    }
}

// === impl Fill ===

impl Fill {
    fn new() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Asking),
            readers: AtomicUsize::new(0),
            keep: AtomicBool::new(false),
        }
    }

    pub(super) fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    fn read(self: &Arc<Self>) -> Reader {
        self.readers.fetch_add(1, Ordering::AcqRel);
        Reader { fill: Arc::clone(self) }
    }
}

impl Growing {
    /// Waits for its end, but not past `deadline`; whether it ended in wrong bytes or an upstream that failed.
    async fn is_broken_before(&self, deadline: Instant) -> bool {
        let mut progress = self.progress.clone();
        let ended = tokio::time::timeout_at(deadline, progress.wait_for(|progress| progress.end.is_some()));
        match ended.await {
            Ok(Ok(progress)) => matches!(progress.end, Some(End::Broken(_))),
            // It stopped with the daemon.
            Ok(Err(_)) => true,
            Err(_) => false,
        }
    }
}

impl Reader {
    /// How far it is once it is further than asking; `None` when that takes longer than until `deadline`: then it goes
    /// on for next time.
    pub(super) async fn first_word(&self, deadline: Instant) -> Option<Phase> {
        let mut phase = self.fill.phase.subscribe();
        let spoken = phase.wait_for(|phase| !matches!(phase, Phase::Asking));
        match tokio::time::timeout_at(deadline, spoken).await {
            Ok(Ok(phase)) => Some(phase.clone()),
            Ok(Err(_)) => Some(Phase::Failed),
            Err(_) => {
                self.fill.keep.store(true, Ordering::Release);
                None
            }
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.fill.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Cache {
    /// Joins the entry's fill, or begins it: with `old`, for what has changed since.
    pub(super) fn join(&self, asked: &Asked, upstream: UpstreamId, old: Option<&Stored>) -> Reader {
        let (reader, begun) = match self.inner.fills.active.lock().entry((asked.id, upstream)) {
            Entry::Occupied(known) => (known.get().read(), false),
            Entry::Vacant(slot) => (slot.insert(Arc::new(Fill::new())).read(), true),
        };
        if begun {
            let (cache, asked, fill) = (self.clone(), asked.clone(), Arc::clone(&reader.fill));
            let old = old.cloned();
            self.spawn(async move { cache.receive(asked, upstream, fill, old).await });
        } else {
            self.inner.stats.fills_joined.one();
        }
        reader
    }

    /// Begins a fill that nobody waits for. `false` when fills that somebody waits for need the room.
    pub(super) fn begin_behind(&self, asked: &Asked) -> bool {
        if self.inner.fills.is_busy() {
            return false;
        }
        let Some(upstream) = asked.scope.upstream else { return true };
        if let Some(known) = self.inner.fills.active.lock().get(&(asked.id, upstream)) {
            known.keep.store(true, Ordering::Release);
            return true;
        }
        self.join(asked, upstream, None).fill.keep.store(true, Ordering::Release);
        true
    }

    /// An entry that is not here.
    pub(super) async fn ask_upstream(
        &self,
        asked: &Asked,
        range: ByteRange,
        deadline: Instant,
    ) -> Result<Option<Hit>> {
        let Some((remote, name)) = self.readable(asked) else { return Ok(None) };
        if self.inner.facts.absent(asked.id, remote.id()) {
            return Ok(None);
        }
        let reader = self.join(asked, remote.id(), None);
        let Some(phase) = reader.first_word(deadline).await else {
            self.inner.stats.deadline_misses.one();
            return Ok(None);
        };
        self.answered(asked, (&remote, name), reader, phase, range, deadline).await
    }

    /// What a fill brings to one who asked for it, once it has said its first word.
    pub(super) async fn answered(
        &self,
        asked: &Asked,
        (remote, name): (&Remote, ObjectName),
        reader: Reader,
        phase: Phase,
        range: ByteRange,
        deadline: Instant,
    ) -> Result<Option<Hit>> {
        match phase {
            Phase::Asking | Phase::Absent | Phase::Failed => Ok(None),
            Phase::Whole(whole) => {
                self.prefetch_links(asked, whole.links.as_ref());
                if !self.are_servable(asked, whole.links.as_ref(), deadline).await {
                    return Ok(None);
                }
                self.used(asked, whole.links.as_ref());
                let range = range.resolve(whole.meta.len)?;
                let body = Body::bytes(whole.body.slice(range.start as usize..range.end as usize));
                Ok(Some(Hit { meta: Arc::clone(&whole.meta), range, body, from: Tier::Upstream }))
            }
            Phase::Here => match Box::pin(self.local(asked, range, deadline)).await? {
                Local::Hit(hit) => Ok(Some(hit)),
                Local::Gone | Local::Absent => Ok(None),
            },
            Phase::Through => self.through(asked, remote, &name, range, deadline).await,
            Phase::Growing(growing) => {
                if asked.is_whole_first(growing.meta.len) && growing.is_broken_before(deadline).await {
                    return Ok(None);
                }
                let range = range.resolve(growing.meta.len)?;
                let ahead = range.start.saturating_sub(growing.progress.borrow().readable);
                if ahead > self.inner.settings.read().range_ahead {
                    return self
                        .through(asked, remote, &name, ByteRange::Span(range.start, range.end - 1), deadline)
                        .await;
                }
                let meta = Arc::clone(&growing.meta);
                let tailing = Tailing {
                    cache: self.clone(),
                    asked: asked.clone(),
                    remote: remote.clone(),
                    name,
                    growing,
                    begun: false,
                    _reader: reader,
                };
                Ok(Some(Hit { meta, range: range.clone(), body: tailing.body(range), from: Tier::Upstream }))
            }
        }
    }

    /// A request of this reader's own that leaves nothing here. Whole bodies are checked as they pass, and pass as they
    /// come for every space: there is no draft that could hold one until it is whole, and memory is no place for it.
    async fn through(
        &self,
        asked: &Asked,
        remote: &Remote,
        name: &ObjectName,
        range: ByteRange,
        deadline: Instant,
    ) -> Result<Option<Hit>> {
        let wanted = match range {
            ByteRange::Full => None,
            ByteRange::From(first) => Some(first..u64::MAX),
            ByteRange::Span(first, last) => Some(first..last.saturating_add(1)),
            ByteRange::Last(_) => match tokio::time::timeout_at(deadline, remote.head(name)).await {
                Ok(Ok(crate::upstream::Looked::Found(object))) => Some(range.resolve(object.len)?),
                _ => return Ok(None),
            },
        };
        let options = GetOptions { range: wanted.clone(), ..GetOptions::default() };
        let object = match tokio::time::timeout_at(deadline, remote.get(name, options)).await {
            Ok(Ok(Got::Object(object))) => object,
            Ok(Ok(Got::Unsatisfiable(_))) => {
                return Err(Error::new(Kind::Invalid, "the range is outside the body"));
            }
            Ok(Ok(Got::Absent { .. } | Got::NotModified | Got::Changed) | Err(_)) => return Ok(None),
            Err(_) => {
                self.inner.stats.deadline_misses.one();
                return Ok(None);
            }
        };
        let meta = Arc::new(super::check::meta_of(asked, &object.meta));
        let body = match wanted {
            None => verified(
                object.body,
                Verifier::new(asked, &object.meta),
                self.inner.settings.read().withheld,
                0,
            ),
            Some(_) => object.body,
        };
        Ok(Some(Hit { meta, range: object.range, body, from: Tier::Upstream }))
    }

    /// The rest of a body whose fill lost its disk, from `range.start`: read again and checked where it can be.
    pub(super) async fn rest(
        &self,
        asked: &Asked,
        remote: &Remote,
        name: &ObjectName,
        meta: &Meta,
        range: Range<u64>,
    ) -> Result<Body> {
        let options = GetOptions { if_match: meta.origin_etag.clone(), ..GetOptions::default() };
        let gone = |failure: Option<Failure>| {
            let why = failure.map_or_else(|| "it changed".to_owned(), |failure| failure.to_string());
            Error::new(Kind::Unavailable, format!("go on with a body whose disk failed: {why}"))
        };
        let object = match remote.get(name, options).await {
            Ok(Got::Object(object)) if object.meta.len == meta.len => object,
            Ok(_) => return Err(gone(None)),
            Err(failure) => return Err(gone(Some(failure))),
        };
        let verifier = Verifier::new(asked, &object.meta);
        let body = verified(object.body, verifier, self.inner.settings.read().withheld, range.start);
        let len = range.end - range.start;
        Ok(if len == body.len() { body } else { Body::stream(len, take(body, len)) })
    }
}

/// What a body of `len` bytes takes of `fill_bytes`. A semaphore takes no more at once than a `u32`.
pub(super) fn kib(len: u64) -> usize {
    u32::try_from(len.div_ceil(1024)).unwrap_or(u32::MAX) as usize
}

/// The first `len` bytes of a body.
fn take(body: Body, len: u64) -> impl futures_util::Stream<Item = Result<bytes::Bytes>> + Send {
    use futures_util::StreamExt as _;
    futures_util::stream::unfold((body, len), |(mut body, left)| async move {
        if left == 0 {
            return None;
        }
        match body.next().await? {
            Ok(mut piece) => {
                piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
                let left = left - piece.len() as u64;
                Some((Ok(piece), (body, left)))
            }
            Err(error) => Some((Err(error), (body, 0))),
        }
    })
}
