//! What a fill's task does: ask, receive, check, publish.
//!
//! Small bodies are collected, checked and shown whole. Large ones grow in a draft that readers follow; all but the
//! last 64 KiB may be read before the digest agrees. A reset is resumed twice, under If-Match. A disk that fails
//! ends the fill and not its readers ([`super::tail`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::check::meta_of;
use super::clock::now_moment;
use super::fill::{Fill, Growing, Phase, Whole, kib};
use super::resume::Resuming;
use super::tail::{End, FIRST_BYTES, Progress};
use super::verify::Verifier;
use super::{Asked, Cache};
use crate::body::Body;
use crate::digest::Digest;
use crate::entry::Meta;
use crate::error::{Error, Kind, Result};
use crate::key::{ObjectName, UpstreamId};
use crate::links::{self, Links};
use crate::memory::Held;
use crate::store::{Draft, Generation, Guard, Stored, Ticket};
use crate::upstream::{GetOptions, Got, Object, ObjectMeta, Remote};

/// Progress is told every so many bytes, or when the upstream pauses this long.
const TELL_EVERY_BYTES: u64 = 256 << 10;
const TELL_EVERY: Duration = Duration::from_millis(1);

/// A sibling object holds one attribute.
const SIBLING_BYTES_MAX: u64 = 2048;

/// What a running fill needs in every step.
struct Receiving {
    cache: Cache,
    asked: Asked,
    remote: Remote,
    name: ObjectName,
    fill: Arc<Fill>,
    ticket: Ticket,
}

/// An entry with links is collected whole; a larger one is refused.
pub(super) const LINKED_BYTES_MAX: u64 = 16 << 20;

/// Why a growing body ended before its end.
enum Broken {
    Upstream(Error),
    Disk(Error),
    /// Nobody reads it and too much is to come.
    Abandoned,
}

impl Cache {
    /// The task of a fill. With `old`, only what has changed since.
    pub(super) async fn receive(
        self,
        asked: Asked,
        upstream: UpstreamId,
        fill: Arc<Fill>,
        old: Option<Stored>,
    ) {
        let (cache, key) = (self.clone(), asked.id);
        if let Some((remote, name)) = self.readable(&asked) {
            let (remote, ticket) = (remote.clone(), self.inner.cache.begin(asked.id));
            // The ticket sees every commit from here on; one that came between the look-up that found nothing and
            // the ticket is seen by looking again.
            let unchanged = self.current(asked.id) == old.as_ref().map(|old| old.generation);
            let receiving =
                Receiving { cache: self.clone(), asked, remote, name, fill: Arc::clone(&fill), ticket };
            if unchanged {
                receiving.run(old).await;
            } else {
                receiving.tell(Phase::Here);
            }
        }
        cache.inner.fills.end(key, upstream, &fill);
        fill.phase.send_if_modified(|phase| {
            let unanswered = matches!(phase, Phase::Asking);
            if unanswered {
                *phase = Phase::Failed;
            }
            unanswered
        });
    }
}

impl Receiving {
    async fn run(self, old: Option<Stored>) {
        let fills = &self.cache.inner.fills;
        let _slot = fills.slots.take(1).await;
        if !self.fill.has_readers() && !self.fill.keep.load(Ordering::Acquire) {
            // Everybody who waited for a slot has had a miss by now.
            return;
        }
        let known = old.as_ref().and_then(|old| old.record.meta.origin_etag.clone());
        let options = GetOptions { if_none_match: known.clone(), ..GetOptions::default() };
        let got = match self.remote.get(&self.name, options).await {
            Ok(got) => got,
            Err(failure) => {
                tracing::debug!(upstream = self.remote.name(), object = %self.name, %failure, "a fill failed");
                return;
            }
        };
        match got {
            Got::Object(object) => self.object(object).await,
            Got::NotModified => self.cache.inner.facts.note_checked(self.asked.id, self.remote.id()),
            Got::Absent { denied } => self.absent(denied, old.filter(|_| known.is_some())).await,
            Got::Changed | Got::Unsatisfiable(_) => {}
        }
    }

    async fn absent(&self, denied: bool, old: Option<Stored>) {
        self.cache.note_absent(&self.asked, self.remote.id(), denied);
        if let Some(old) = old.filter(|_| !denied) {
            // It came from there and was deleted there.
            let removed = self.cache.inner.cache.remove(self.asked.id, Some(old.generation)).await;
            if matches!(removed, Ok(true)) {
                self.cache.inner.memory.forget(self.asked.id);
            }
        }
        self.tell(Phase::Absent);
    }

    async fn object(&self, object: Object) {
        let inner = &self.cache.inner;
        let len = object.meta.len;
        inner.facts.note_present(self.asked.id, self.remote.id());
        if self.asked.is_linked() && len > LINKED_BYTES_MAX {
            // What it names must be known before it is answered, and it is too large to be looked at.
            return self.tell(Phase::Absent);
        }
        if len > inner.settings.read().entry_max {
            return self.tell(Phase::Through);
        }
        let _kib = inner.fills.kib.take(kib(len)).await;
        let Object { meta: object, body, .. } = object;
        let verifier = Verifier::new(&self.asked, &object);
        let mut meta = meta_of(&self.asked, &object);
        self.add_sibling(&mut meta, &object).await;
        let outcome = if len <= inner.settings.read().inline_max || self.asked.is_linked() {
            self.whole(meta, body, verifier).await
        } else {
            self.growing(meta, body, verifier).await
        };
        if let Err(error) = outcome {
            tracing::debug!(upstream = self.remote.name(), object = %self.name, %error, "a fill failed");
        }
    }

    /// An attribute that another server keeps in an object beside the entry.
    async fn add_sibling(&self, meta: &mut Meta, object: &ObjectMeta) {
        let Some(sibling) = self.asked.space().and_then(|space| space.sibling) else { return };
        if meta.attrs.get(sibling.attr).is_some() || object.attrs.get(super::verify::ETAG_ATTR).is_some() {
            return;
        }
        let beside = self.name.sibling(sibling.suffix);
        let Some(name) = beside.filter(|name| self.remote.carries(name)) else { return };
        let Ok(Got::Object(found)) = self.remote.get(&name, GetOptions::default()).await else { return };
        let Ok(bytes) = found.body.collect(SIBLING_BYTES_MAX).await else { return };
        let Ok(value) = String::from_utf8(bytes.to_vec()) else { return };
        if let Ok(attrs) = meta.attrs.and([(sibling.attr.to_owned(), value)]) {
            meta.attrs = attrs;
        }
    }

    /// A small body: collected, checked, shown whole. A disk that can't take it is no reason not to show it.
    async fn whole(&self, mut meta: Meta, body: Body, mut verifier: Verifier) -> Result<()> {
        let mut bytes = Vec::with_capacity(body.len() as usize);
        let mut stream = Resuming::new(&self.remote, &self.name, &meta, body);
        while let Some(piece) = stream.next().await? {
            verifier.update(&piece);
            bytes.extend_from_slice(&piece);
        }
        meta.digest = self.verdict(verifier)?.or(meta.digest);
        let body = Bytes::from(bytes);
        let links = self.links(&body);
        let record = self.asked.record(meta.clone(), links.clone());
        let meta = Arc::new(meta);
        let guard = Guard::Unchanged(&self.ticket);
        let published = self.cache.write_whole(&self.cache.inner.cache, record, body.clone(), guard).await;
        self.published(published, Some((&meta, links.clone(), &body)));
        self.tell(Phase::Whole(Arc::new(Whole { meta, links, body })));
        Ok(())
    }

    async fn growing(&self, mut meta: Meta, body: Body, mut verifier: Verifier) -> Result<()> {
        let mut draft = match self.cache.inner.cache.draft(Some(meta.len)).await {
            Ok(draft) => draft,
            Err(error) => {
                tracing::debug!(object = %self.name, %error, "no room for a fill; its readers stream through");
                self.tell(Phase::Through);
                return Ok(());
            }
        };
        let (tell, progress) = watch::channel(Progress::default());
        let shown = Arc::new(meta.clone());
        self.tell(Phase::Growing(Arc::new(Growing { meta: shown, tail: draft.tail(), progress })));
        let received = self.write(&mut draft, &meta, body, &mut verifier, &tell).await;
        let end = match received {
            Ok(()) => match self.verdict(verifier) {
                Ok(digest) => {
                    meta.digest = digest.or(meta.digest);
                    tell.send_modify(|progress| progress.readable = meta.len);
                    self.publish(draft, meta).await;
                    End::Done
                }
                Err(error) => End::Broken(error),
            },
            Err(Broken::Upstream(error)) => End::Broken(error),
            Err(Broken::Abandoned) => End::Broken(Error::new(Kind::Unavailable, "the fill was abandoned")),
            Err(Broken::Disk(error)) => {
                tracing::warn!(object = %self.name, %error, "the disk failed a fill; its readers go on without it");
                End::Disk
            }
        };
        let failed = match &end {
            End::Broken(error) => Err(error.clone()),
            End::Done | End::Disk => Ok(()),
        };
        self.leave();
        tell.send_modify(|progress| progress.end = Some(end));
        failed
    }

    async fn write(
        &self,
        draft: &mut Draft,
        meta: &Meta,
        body: Body,
        verifier: &mut Verifier,
        tell: &watch::Sender<Progress>,
    ) -> Result<(), Broken> {
        let inner = &self.cache.inner;
        let shown_max = if verifier.withholds() {
            meta.len.saturating_sub(inner.settings.read().withheld)
        } else {
            meta.len
        };
        let mut stream = Resuming::new(&self.remote, &self.name, meta, body);
        let (mut taken, mut told) = (0, 0);
        loop {
            // Not dropped by a pause: it may be about to resume, and half an answer would be thrown away.
            let mut next = std::pin::pin!(stream.next());
            // With nothing untold there is nothing to hurry for.
            let patience = if taken == told { Duration::MAX } else { TELL_EVERY };
            let piece = match tokio::time::timeout(patience, next.as_mut()).await {
                Ok(piece) => piece,
                Err(_) => {
                    show(draft, tell, taken.min(shown_max)).await?;
                    told = taken;
                    if self.is_abandoned(taken, meta.len) {
                        return Err(Broken::Abandoned);
                    }
                    next.await
                }
            };
            let mut ended = false;
            match piece.map_err(Broken::Upstream)? {
                Some(piece) => {
                    verifier.update(&piece);
                    if taken == 0 {
                        let first = &piece[..piece.len().min(FIRST_BYTES).min(shown_max as usize)];
                        told = first.len() as u64;
                        let first = Bytes::copy_from_slice(first);
                        tell.send_modify(|progress| (progress.readable, progress.first) = (told, first));
                    }
                    taken += piece.len() as u64;
                    draft.write(piece).await.map_err(Broken::Disk)?;
                }
                None => ended = true,
            }
            if ended || taken - told >= TELL_EVERY_BYTES {
                show(draft, tell, taken.min(shown_max)).await?;
                told = taken;
            }
            if ended {
                return Ok(());
            }
            if self.is_abandoned(taken, meta.len) {
                return Err(Broken::Abandoned);
            }
        }
    }

    /// With no reader left, a body is brought to its end if half is done or little is to come.
    fn is_abandoned(&self, taken: u64, len: u64) -> bool {
        !self.fill.has_readers()
            && !self.fill.keep.load(Ordering::Acquire)
            && len - taken > self.cache.inner.settings.read().finish_below
            && taken < len / 2
    }

    async fn publish(&self, draft: Draft, meta: Meta) {
        let record = self.asked.record(meta, None);
        let published = draft.publish(record, Guard::Unchanged(&self.ticket)).await;
        self.published(published, None);
    }

    fn published(
        &self,
        published: Result<Option<Generation>>,
        held: Option<(&Arc<Meta>, Option<Links>, &Bytes)>,
    ) {
        let (inner, id) = (&self.cache.inner, self.asked.id);
        match published {
            Ok(Some(generation)) => {
                inner.facts.note_checked(id, self.remote.id());
                match held {
                    Some((meta, links, body)) => {
                        let held =
                            Held::new(generation.0, Arc::clone(meta), links, body.clone(), now_moment());
                        inner.memory.put(id, held, || self.cache.current(id).map(|current| current.0));
                    }
                    None => inner.memory.forget(id),
                }
                // Last, so that who sees the count finds the entry as it will be found from here on.
                inner.stats.fills.one();
            }
            Ok(None) => tracing::debug!(object = %self.name, "a fill gave way to a newer commit"),
            Err(error) => {
                tracing::warn!(object = %self.name, %error, "what came from upstream can't be kept")
            }
        }
    }

    fn verdict(&self, verifier: Verifier) -> Result<Option<Digest>> {
        verifier.finish().inspect_err(|error| {
            self.cache.inner.stats.corrupt.one();
            tracing::warn!(upstream = self.remote.name(), object = %self.name, %error, "wrong bytes from upstream");
        })
    }

    fn links(&self, body: &[u8]) -> Option<Links> {
        let function = self.asked.scope.policy.digest;
        self.asked.is_linked().then(|| links::action_result(function, body))
    }

    fn leave(&self) {
        self.cache.inner.fills.end(self.asked.id, self.remote.id(), &self.fill);
    }

    fn tell(&self, phase: Phase) {
        if !matches!(phase, Phase::Growing(_)) {
            self.leave();
        }
        self.fill.phase.send_replace(phase);
    }
}

/// Lets readers have what was written.
async fn show(draft: &mut Draft, tell: &watch::Sender<Progress>, readable: u64) -> Result<(), Broken> {
    draft.flush().await.map_err(Broken::Disk)?;
    tell.send_modify(|progress| progress.readable = readable);
    Ok(())
}
