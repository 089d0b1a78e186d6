//! How much of memory calls may take together: whole messages, and what decoders of zstd hold.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

/// Both are counted in KiB.
const KIB: u64 = 1 << 10;

/// Messages that are collected whole. Who comes when it is full waits; nobody who has room waits for more of it.
const MESSAGES_KIB: usize = 512 << 10;

/// What is being decoded.
const DECODED_KIB: usize = 1 << 20;

/// Smaller messages are not counted: HTTP/2's own windows bound them.
const SMALL_BYTES: u64 = 64 << 10;

/// The room.
#[derive(Debug)]
pub(super) struct Room {
    messages: Arc<Semaphore>,
    decoded: Arc<Semaphore>,
}

/// A part of it; dropped, it is free again.
#[derive(Debug, Default)]
pub(super) struct Share {
    _permit: Option<OwnedSemaphorePermit>,
}

// === impl Room ===

impl Default for Room {
    fn default() -> Self {
        Self {
            messages: Arc::new(Semaphore::new(MESSAGES_KIB)),
            decoded: Arc::new(Semaphore::new(DECODED_KIB)),
        }
    }
}

impl Room {
    /// Waits for room for a message of so many bytes.
    pub(super) async fn for_message(&self, bytes: u64) -> Share {
        if bytes <= SMALL_BYTES {
            return Share::default();
        }
        let kib = bytes.div_ceil(KIB).min(MESSAGES_KIB as u64) as u32;
        // Closed never: it has no end of its own.
        Share { _permit: Arc::clone(&self.messages).acquire_many_owned(kib).await.ok() }
    }

    /// A decoder that holds nothing yet.
    pub(super) fn for_decoder(&self) -> Decoding {
        Decoding { room: Arc::clone(&self.decoded), held: None, bytes: 0 }
    }
}

/// The room of one decoder.
#[derive(Debug)]
pub(super) struct Decoding {
    room: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
    bytes: u64,
}

// === impl Decoding ===

impl Decoding {
    /// It holds so many bytes now. Doesn't wait: who would wait has a connection whose other calls wait behind it.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`: in a moment there is room again.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Status> {
        if bytes <= self.bytes {
            return Ok(());
        }
        let kib = (bytes - self.bytes).div_ceil(KIB) as u32;
        let more = Arc::clone(&self.room).try_acquire_many_owned(kib).map_err(|_| {
            Status::resource_exhausted("1 GiB of zstd is being decoded already; try again in a moment")
        })?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        self.bytes = bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn decoders_are_refused_at_the_bound_and_free_it_when_they_end() {
        let room = Room::default();
        let mut first = room.for_decoder();
        first.grow(1 << 30).expect("all of it");
        first.grow(1 << 20).expect("less is no more");
        let mut second = room.for_decoder();
        assert_eq!(second.grow(1).expect_err("full").code(), tonic::Code::ResourceExhausted);
        drop(first);
        second.grow(8 << 20).expect("room again");
    }

    #[tokio::test]
    async fn messages_wait_for_room() {
        let room = Room::default();
        let all = room.for_message(u64::MAX).await;
        let small = tokio::time::timeout(std::time::Duration::ZERO, room.for_message(SMALL_BYTES)).await;
        assert!(small.is_ok(), "small ones never wait");
        let mut waits = Box::pin(room.for_message(4 << 20));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(all);
        waits.await;
    }
}
