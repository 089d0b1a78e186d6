//! The way back from the bytes of a record: nothing is believed before its checksum was right.

use std::sync::Arc;

use bytes::Bytes;

use super::record::{
    HEAD_LEN, HEADER_LEN, Head, RECORD_BYTES_MAX, STEM_LEN, TOUCH_LEN, What, checksum, length, mark,
};
use super::{QueueTag, Record};
use crate::digest::{Digest, Function};
use crate::entry::{Attrs, Meta};
use crate::key::EntryId;
use crate::links::{Link, Links};

/// A record whose checksum was right.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) what: What,
    pub(super) flags: u8,
    pub(super) payload: Bytes,
}

/// A put, taken apart.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) head: Head,
    pub(super) record: Record,
    pub(super) crcs: Arc<[u32]>,
    pub(super) body: Bytes,
}

/// The length of the record that begins with `header`, if one can begin so at `offset`.
pub(super) fn begins(header: &[u8], salt: u64, offset: u64) -> Option<u64> {
    let mut reader = Reader(header);
    if reader.u32()? != mark(salt, offset) {
        return None;
    }
    let length = length(reader.u32()? as usize);
    (length <= RECORD_BYTES_MAX).then_some(length)
}

/// The canonical key in the first bytes of a put. Unchecked: the caller knows the id, which is a hash of the key.
pub(super) fn key(record: &[u8]) -> Option<&[u8]> {
    Reader(record.get(HEADER_LEN + STEM_LEN + 8..)?).text()
}

/// Checks the record that lies at `offset` of its segment.
pub(super) fn check(bytes: &Bytes, salt: u64, offset: u64) -> Option<Checked> {
    let (what, flags, end) = check_slice(bytes, salt, offset)?;
    Some(Checked { what, flags, payload: bytes.slice(HEADER_LEN..end) })
}

/// The same without a copy of the payload: what it is, its flags, and where the payload ends.
pub(super) fn check_slice(bytes: &[u8], salt: u64, offset: u64) -> Option<(What, u8, usize)> {
    let mut reader = Reader(bytes);
    let (read_mark, len, crc) = (reader.u32()?, reader.u32()? as usize, reader.u32()?);
    let [code, flags, _, _] = reader.array()?;
    let end = HEADER_LEN.checked_add(len)?;
    let right = read_mark == mark(salt, offset)
        && end <= bytes.len()
        && crc == checksum(&bytes[..end], b"", salt, offset);
    Some((What::from_code(code).filter(|_| right)?, flags, end))
}

impl Checked {
    /// Takes a put apart. `None` is a defect: the checksum was right.
    pub(super) fn put(&self) -> Option<Put> {
        let mut reader = Reader(&self.payload);
        let head = Head::read(reader.take(HEAD_LEN)?)?;
        let (len, tag, stored_ms) = (reader.u64()?, QueueTag(reader.u64()?), reader.u64()?);
        let key = reader.text()?.into();
        let digest = match reader.u8()? {
            0 => None,
            code => Some(Digest::new(function(code)?, reader.array()?)),
        };
        let etag = reader.string()?;
        let has_origin = reader.u8()? == 1;
        let origin_etag = Some(reader.string()?).filter(|_| has_origin);
        let attrs = reader.attrs()?;
        let links = reader.links()?;
        let queue = match reader.u8()? {
            0 => None,
            _ => Some((tag, reader.string()?)),
        };
        let crcs_len = reader.u32()? as usize;
        let crcs = reader.take(crcs_len.checked_mul(4)?)?;
        let crcs =
            crcs.chunks_exact(4).map(|crc| u32::from_le_bytes([crc[0], crc[1], crc[2], crc[3]])).collect();
        let body = self.payload.slice(self.payload.len() - reader.0.len()..);
        let meta = Meta { len, digest, etag, attrs, stored_ms, origin_etag };
        Some(Put { head, record: Record { id: head.id, key, meta, links, queue }, crcs, body })
    }

    /// The object name of a queue row.
    pub(super) fn object(&self) -> Option<Arc<str>> {
        Reader(self.payload.get(STEM_LEN..)?).string()
    }
}

/// The touches of a payload.
pub(super) fn touches(payload: &[u8]) -> impl Iterator<Item = (EntryId, u64)> {
    payload.chunks_exact(TOUCH_LEN).filter_map(|touch| {
        let mut reader = Reader(touch);
        Some((EntryId(u128::from_le_bytes(reader.array()?)), reader.u64()?))
    })
}

// === helpers ===

fn function(code: u8) -> Option<Function> {
    match code {
        1 => Some(Function::Sha256),
        2 => Some(Function::Blake3),
        _ => None,
    }
}

/// Takes little-endian values off the front; `None` once the bytes are used up.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }

    fn string(&mut self) -> Option<Arc<str>> {
        std::str::from_utf8(self.text()?).ok().map(Arc::from)
    }

    fn attrs(&mut self) -> Option<Attrs> {
        let count = self.u16()?;
        let mut pairs = Vec::with_capacity(count.min(64).into());
        for _ in 0..count {
            pairs.push((self.string()?.to_string(), self.string()?.to_string()));
        }
        Attrs::new(pairs).ok()
    }

    fn links(&mut self) -> Option<Option<Links>> {
        Some(match self.u8()? {
            0 => None,
            1 => Some(Links::Opaque),
            _ => {
                let count = self.u32()?;
                let mut links = Vec::with_capacity(count.min(4096) as usize);
                for _ in 0..count {
                    let code = self.u8()?;
                    let digest = Digest::new(function(code & 0x7f)?, self.array()?);
                    links.push(Link { digest, size: self.u64()?, tree: code & 0x80 != 0 });
                }
                Some(Links::Known(links.into()))
            }
        })
    }
}
