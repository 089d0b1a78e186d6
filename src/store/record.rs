//! The bytes of one record: what a segment of the log is made of.
//!
//! ```text
//! record   mark u32 | len u32 | crc u32 | kind u8 | flags u8 | 0 u16 | payload[len] | zeros to a multiple of 8
//! payload  head..                      put, queue, done: one, in a stem; deleted: as many as fit in len
//!          touch..                     touched
//! head     id u128 | generation u64 | tick u64 | segment u32 | 0 u32
//! stem     head | body len u64 | tag u64
//! touch    id u128 | tick u64
//! put      stem | stored ms u64 | key | digest | etag | origin etag | attrs | links | queue |
//!          block CRCs | body (small entries: the rest of the payload)
//! queue    stem | object name                 done     stem
//! ```
//! All little-endian. `mark` and `crc` (CRC32C of salt, offset, len, kind, flags and payload) are seeded by the
//! segment's random salt and the record's offset. So the bytes of a body, which clients choose, never parse as a
//! record, and a scan of a damaged segment can look for the next record behind the damage.
//!
//! `segment` in a head names the segment that holds the bytes this record makes dead (0: none). It is why the record
//! must outlive that segment, and no longer.
//!
//! Changing any of this is a new [`FORMAT`]; the golden test says so.

use crc_fast::{CrcAlgorithm, Digest as Crc};

use super::parse::Reader;
use super::{Generation, QueueTag, Record};
use crate::digest::Function;
use crate::error::{Error, Kind, Result};
use crate::key::EntryId;
use crate::links::Links;

/// The version of everything in this file and in `segment.rs`.
pub(super) const FORMAT: u32 = 1;

/// Bytes before the payload.
pub(super) const HEADER_LEN: usize = 16;
/// Bytes of a head.
pub(super) const HEAD_LEN: usize = 40;
/// Bytes of a stem.
pub(super) const STEM_LEN: usize = HEAD_LEN + 16;
/// Bytes of a touch.
pub(super) const TOUCH_LEN: usize = 24;
/// A record is never longer: bounds what a damaged length can make us read. An action result with 400,000 links fits.
pub(super) const RECORD_BYTES_MAX: u64 = 16 << 20;
/// A body is checksummed in blocks of this many bytes.
pub(super) const BLOCK_LEN: u64 = 256 << 10;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// An entry.
    Put,
    /// Entries that are gone.
    Deleted,
    /// An entry is queued for a further upstream.
    Queue,
    /// A row of the queue has ended.
    Done,
    /// Entries were used.
    Touched,
}

/// The body is a file of its own.
pub(super) const LARGE: u8 = 1;
/// A queued delete.
pub(super) const DELETED: u8 = 2;
/// The put's own row of the queue has not ended.
pub(super) const QUEUED: u8 = 4;

/// What every record but `touched` begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) id: EntryId,
    pub(super) generation: Generation,
    /// When it was last used, in the store's own count of uses.
    pub(super) tick: u64,
    /// The segment with the bytes that this makes dead, 0 for none.
    pub(super) segment: u32,
}

// === impl What ===

impl What {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Put => 1,
            Self::Deleted => 2,
            Self::Queue => 3,
            Self::Done => 4,
            Self::Touched => 5,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        [Self::Put, Self::Deleted, Self::Queue, Self::Done, Self::Touched]
            .into_iter()
            .find(|what| what.code() == code)
    }
}

// === impl Head ===

impl Head {
    pub(super) fn write(&self, to: &mut [u8]) {
        to[..16].copy_from_slice(&self.id.0.to_le_bytes());
        to[16..24].copy_from_slice(&self.generation.0.to_le_bytes());
        to[24..32].copy_from_slice(&self.tick.to_le_bytes());
        to[32..36].copy_from_slice(&self.segment.to_le_bytes());
        to[36..HEAD_LEN].fill(0);
    }

    pub(super) fn read(from: &[u8]) -> Option<Self> {
        let mut reader = Reader(from);
        Some(Self {
            id: EntryId(u128::from_le_bytes(reader.array()?)),
            generation: Generation(reader.u64()?),
            tick: reader.u64()?,
            segment: reader.u32()?,
        })
    }
}

// === encode ===

/// The record of a put but for its body: header and head are zeros that [`finish`] fills in.
///
/// # Errors
/// `TooLarge` when key, attributes and links don't fit.
pub(super) fn put(record: &Record, crcs: &[u32]) -> Result<Vec<u8>> {
    let meta = &record.meta;
    let mut buffer = Vec::with_capacity(256 + 4 * crcs.len());
    buffer.resize(HEADER_LEN + HEAD_LEN, 0);
    buffer.extend_from_slice(&meta.len.to_le_bytes());
    buffer.extend_from_slice(&record.queue.as_ref().map_or(0, |(tag, _)| tag.0).to_le_bytes());
    buffer.extend_from_slice(&meta.stored_ms.to_le_bytes());
    text(&mut buffer, &record.key)?;
    match &meta.digest {
        None => buffer.push(0),
        Some(digest) => {
            buffer.push(function_code(digest.function()));
            buffer.extend_from_slice(digest.hash());
        }
    }
    text(&mut buffer, meta.etag.as_bytes())?;
    buffer.push(u8::from(meta.origin_etag.is_some()));
    text(&mut buffer, meta.origin_etag.as_deref().unwrap_or("").as_bytes())?;
    let attrs: Vec<_> = meta.attrs.iter().collect();
    buffer.extend_from_slice(&(attrs.len() as u16).to_le_bytes());
    for (name, value) in attrs {
        text(&mut buffer, name.as_bytes())?;
        text(&mut buffer, value.as_bytes())?;
    }
    match &record.links {
        None => buffer.push(0),
        Some(Links::Opaque) => buffer.push(1),
        Some(Links::Known(links)) => {
            buffer.push(2);
            buffer.extend_from_slice(&(links.len() as u32).to_le_bytes());
            for link in links.iter() {
                buffer.push(function_code(link.digest.function()) | u8::from(link.tree) << 7);
                buffer.extend_from_slice(link.digest.hash());
                buffer.extend_from_slice(&link.size.to_le_bytes());
            }
        }
    }
    buffer.push(u8::from(record.queue.is_some()));
    if let Some((_, object)) = &record.queue {
        text(&mut buffer, object.as_bytes())?;
    }
    buffer.extend_from_slice(&(crcs.len() as u32).to_le_bytes());
    for crc in crcs {
        buffer.extend_from_slice(&crc.to_le_bytes());
    }
    Ok(buffer)
}

/// The record of a further row of the queue.
pub(super) fn queue(tag: QueueTag, object: &str) -> Result<Vec<u8>> {
    let mut buffer = done(tag);
    text(&mut buffer, object.as_bytes())?;
    Ok(buffer)
}

/// The record of a row's end.
pub(super) fn done(tag: QueueTag) -> Vec<u8> {
    let mut buffer = vec![0; HEADER_LEN + HEAD_LEN + 8];
    buffer.extend_from_slice(&tag.0.to_le_bytes());
    buffer
}

/// The record of entries that are gone.
pub(super) fn deleted(heads: &[Head]) -> Vec<u8> {
    let mut buffer = vec![0; HEADER_LEN + HEAD_LEN * heads.len()];
    for (head, to) in heads.iter().zip(buffer[HEADER_LEN..].chunks_exact_mut(HEAD_LEN)) {
        head.write(to);
    }
    buffer
}

/// The record of entries that were used.
pub(super) fn touched(touches: &[(EntryId, u64)]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(HEADER_LEN + TOUCH_LEN * touches.len());
    buffer.resize(HEADER_LEN, 0);
    for (id, tick) in touches {
        buffer.extend_from_slice(&id.0.to_le_bytes());
        buffer.extend_from_slice(&tick.to_le_bytes());
    }
    buffer
}

/// Fills in the header of a record that will lie at `offset`.
pub(super) fn finish(buffer: &mut [u8], what: What, flags: u8, body: &[u8], salt: u64, offset: u64) {
    let len = (buffer.len() - HEADER_LEN + body.len()) as u32;
    buffer[..4].copy_from_slice(&mark(salt, offset).to_le_bytes());
    buffer[4..8].copy_from_slice(&len.to_le_bytes());
    buffer[12..HEADER_LEN].copy_from_slice(&[what.code(), flags, 0, 0]);
    let crc = checksum(buffer, body, salt, offset);
    buffer[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// Bytes that a record with this much payload takes up in its segment.
pub(super) fn length(payload: usize) -> u64 {
    (HEADER_LEN + payload).next_multiple_of(8) as u64
}

// === helpers ===

/// CRC32C over several pieces.
pub(super) fn crc32c(pieces: &[&[u8]]) -> u32 {
    let mut crc = Crc::new(CrcAlgorithm::Crc32Iscsi);
    for piece in pieces {
        crc.update(piece);
    }
    crc.finalize() as u32
}

pub(super) fn checksum(record: &[u8], body: &[u8], salt: u64, offset: u64) -> u32 {
    let mut fixed = [0; 24];
    fixed[..8].copy_from_slice(&salt.to_le_bytes());
    fixed[8..16].copy_from_slice(&offset.to_le_bytes());
    fixed[16..20].copy_from_slice(&record[4..8]);
    fixed[20..].copy_from_slice(&record[12..HEADER_LEN]);
    crc32c(&[&fixed, &record[HEADER_LEN..], body])
}

/// Unguessable without the salt, which never leaves the machine.
pub(super) fn mark(salt: u64, offset: u64) -> u32 {
    ((salt ^ offset).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}

fn function_code(function: Function) -> u8 {
    match function {
        Function::Sha256 => 1,
        Function::Blake3 => 2,
    }
}

fn text(buffer: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    let Ok(len) = u16::try_from(bytes.len()) else {
        return Err(Error::new(
            Kind::TooLarge,
            format!("a name or attribute has {} bytes, at most 65535 are kept", bytes.len()),
        ));
    };
    buffer.extend_from_slice(&len.to_le_bytes());
    buffer.extend_from_slice(bytes);
    Ok(())
}
