//! Streams: one body, in order, over as many connections as it takes.
//!
//! A stream is a put that outlives its connection. While somebody writes it costs what a put costs; broken off, it
//! gives back its room in the queue, its descriptor and its buffers, and keeps its bytes and the state of its hash.
//! What a broken connection has handed over is kept, a write that was under way included.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::uploads::Flow;
use super::{Hold, PartialUpload};
use crate::cache::put::{Committed, Put, Taken};
use crate::cache::{Asked, Cache};
use crate::entry::{Attrs, Claim, Precondition};
use crate::error::{Error, Kind, Result};
use crate::key::{EntryId, Key};

/// A body on its way in. Dropped, what was received stays for the next writer.
pub struct Stream {
    cache: Cache,
    /// Taken when dropped.
    hold: Option<Hold>,
    received: Arc<AtomicU64>,
    put: Option<Box<Put>>,
    /// A write that has not ended; it has the put. It goes on though nobody waits for it any more.
    writing: Option<BoxFuture<'static, (Box<Put>, Result<()>)>>,
}

/// What became of the wish to write on.
#[derive(Debug)]
pub enum Resumed {
    /// Write on.
    Here(Stream),
    /// Somebody else is writing.
    Busy,
    /// So many bytes were received, and that is not where the caller wants to go on; 0 if there is nothing.
    At(u64),
}

/// What is found under the lock.
enum Found {
    Fresh(Hold, Flow),
    Resting(Hold, Box<Put>),
    Settling,
    Busy,
    At(u64),
    Other,
}

impl PartialUpload {
    /// Writes the stream: from its start (whatever there was is dropped), or on from `offset` if that is how much was
    /// received. Then it is the put that it was begun as, and `claim`, `attrs` and `condition` say nothing.
    ///
    /// # Errors
    /// As [`Cache::put`]; `Invalid` when the stream is of another entry, `Unsupported` for action results.
    pub async fn resume(
        &self,
        offset: u64,
        key: Key,
        claim: Claim,
        attrs: Attrs,
        condition: Precondition,
    ) -> Result<Resumed> {
        let asked = Asked::new(&self.scope, &key);
        if asked.is_linked() {
            return Err(Error::new(Kind::Unsupported, "an action result is not uploaded in pieces"));
        }
        let partials = &self.cache.inner.partials;
        let mut changes = partials.changes.subscribe();
        loop {
            match self.find(asked.id, offset) {
                Found::Fresh(hold, old) => {
                    if let Flow::Rests(old) = old {
                        partials.drop_behind(vec![old]);
                    }
                    // From here on dropping it sets the upload free.
                    let mut stream = Stream::new(&self.cache, hold, None);
                    let put = self.cache.put(&self.scope, key, claim, attrs, condition).await?;
                    stream.put = Some(Box::new(put));
                    return Ok(Resumed::Here(stream));
                }
                Found::Resting(hold, mut put) => {
                    put.wake();
                    return Ok(Resumed::Here(Stream::new(&self.cache, hold, Some(put))));
                }
                Found::Settling => {
                    let _ = changes.changed().await;
                }
                Found::Busy => return Ok(Resumed::Busy),
                Found::At(received) => return Ok(Resumed::At(received)),
                Found::Other => return Err(Error::invalid("the upload of this name is of another entry")),
            }
        }
    }

    /// How much of the stream was received; `None` when there is none.
    pub async fn received(&self) -> Option<u64> {
        let partials = &self.cache.inner.partials;
        let mut changes = partials.changes.subscribe();
        loop {
            match &partials.uploads.lock().get(&self.ident)?.flow {
                Flow::None => return None,
                Flow::Live(received) => return Some(received.load(Ordering::Acquire)),
                Flow::Rests(put) => return Some(put.len),
                Flow::Settling => {}
            }
            let _ = changes.changed().await;
        }
    }

    /// Looks, and takes what is to be gone on with.
    fn find(&self, id: EntryId, offset: u64) -> Found {
        if offset > 0 && self.cache.inner.partials.uploads.lock().get(&self.ident).is_none() {
            return Found::At(0);
        }
        let hold = self.hold();
        let found = hold.with(|upload| match &upload.flow {
            Flow::Live(_) => Err(Found::Busy),
            Flow::Settling => Err(Found::Settling),
            Flow::None if offset > 0 => Err(Found::At(0)),
            Flow::Rests(put) if offset > 0 && put.asked.id != id => Err(Found::Other),
            Flow::Rests(put) if offset > 0 && put.len != offset => Err(Found::At(put.len)),
            Flow::None | Flow::Rests(_) => Ok(upload.set_flow(Flow::Live(Arc::default()))),
        });
        match found {
            Some(Ok(Flow::Rests(put))) if offset > 0 => Found::Resting(hold, put),
            Some(Ok(old)) => Found::Fresh(hold, old),
            Some(Err(found)) => found,
            // Ended since it was held; begun again next time.
            None => Found::At(0),
        }
    }
}

// === impl Stream ===

impl Stream {
    fn new(cache: &Cache, hold: Hold, put: Option<Box<Put>>) -> Self {
        let received = Arc::new(AtomicU64::new(put.as_ref().map_or(0, |put| put.len)));
        hold.with(|upload| upload.set_flow(Flow::Live(Arc::clone(&received))));
        Self { cache: cache.clone(), hold: Some(hold), received, put, writing: None }
    }

    /// Takes the next bytes. May be dropped: they are taken all the same.
    ///
    /// # Errors
    /// As [`Put::write`]; the stream is over then.
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        self.settle().await?;
        let mut put = self.put.take().ok_or_else(over)?;
        if let Some(hold) = &mut self.hold {
            hold.touch();
        }
        self.writing = Some(Box::pin(async move {
            let result = put.write(piece).await;
            (put, result)
        }));
        self.settle().await
    }

    /// Bytes received, by all connections.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// Publishes it. Whatever becomes of that, the stream is over.
    ///
    /// # Errors
    /// As [`Put::commit`].
    pub async fn commit(mut self) -> Result<Committed> {
        self.settle().await?;
        self.put.take().ok_or_else(over)?.commit().await
    }

    /// Waits for the write that has not ended.
    async fn settle(&mut self) -> Result<()> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        let (put, result) = writing.await;
        self.writing = None;
        result?;
        self.received.store(put.len, Ordering::Release);
        self.put = Some(put);
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let (put, writing) = (self.put.take(), self.writing.take());
        if writing.is_none() && put.as_ref().is_none_or(|put| !put.is_drafted()) {
            return come_to_rest(&hold, put);
        }
        hold.with(|upload| upload.set_flow(Flow::Settling));
        let inner = &self.cache.inner;
        let stop = inner.stop.clone();
        let settling = async move {
            let put = match writing {
                Some(writing) => Some(writing.await).filter(|(_, result)| result.is_ok()).map(|(put, _)| put),
                None => put,
            };
            let put = match put {
                Some(mut put) => put.rest().await.then_some(put),
                None => None,
            };
            come_to_rest(&hold, put);
        };
        let until_stop = async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = settling => {}
            }
        };
        inner.tasks.spawn_on(until_stop, &inner.partials.runtime);
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("received", &self.received).finish_non_exhaustive()
    }
}

/// What is not kept anywhere, known content and what was shed, can't be gone on with.
fn come_to_rest(hold: &Hold, put: Option<Box<Put>>) {
    let flow = match put {
        Some(mut put) if put.len > 0 && !matches!(put.taken, Taken::Dropped) => {
            put.route = None;
            Flow::Rests(put)
        }
        _ => Flow::None,
    };
    hold.with(|upload| upload.set_flow(flow));
    hold.partials.changes.send_replace(());
}

fn over() -> Error {
    Error::new(Kind::Internal, "the stream has failed before")
}

// === impl Put ===

impl Put {
    fn is_drafted(&self) -> bool {
        matches!(self.taken, Taken::Drafted(..))
    }

    /// Writes down what was taken, and lets go of the file. `false`: that failed.
    async fn rest(&mut self) -> bool {
        match &mut self.taken {
            Taken::Drafted(draft, _) => draft.rest().await.is_ok(),
            Taken::Collected(_) | Taken::Dropped => true,
        }
    }

    /// Asks for room in the queue again.
    fn wake(&mut self) {
        if self.shed.is_none() {
            match self.cache.route(&self.asked, self.claim.len.unwrap_or(self.len)) {
                Ok(route) => self.route = route,
                Err(reason) => self.shed = Some(reason),
            }
        }
    }
}
