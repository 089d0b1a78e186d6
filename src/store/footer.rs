//! The footer of a sealed segment: all that start-up has to know of its records.

use super::parse::{self, Reader};
use super::record::{HEAD_LEN, Head, TOUCH_LEN, What, crc32c};
use super::{Generation, QueueTag};
use crate::key::EntryId;

const END_MAGIC: &[u8; 8] = b"LARDEREN";
/// Bytes of a row.
pub(super) const ROW_LEN: usize = 64;
/// Bytes of what ends the footer.
pub(super) const TRAILER_LEN: usize = 32;

/// What a footer says of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: EntryId,
    pub(super) generation: Generation,
    pub(super) tick: u64,
    /// Length of the body.
    pub(super) body: u64,
    /// Of the queue.
    pub(super) tag: QueueTag,
    /// The segment with the bytes that this makes dead, 0 for none.
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) length: u32,
    pub(super) what: What,
    pub(super) flags: u8,
}

/// All that a footer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    pub(super) touches: Vec<(EntryId, u64)>,
}

/// Rows and touches as their bytes. A million of them are unpacked one by one: as structs they would take as much
/// memory again.
#[derive(Debug, Default)]
pub(super) struct Footer {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: usize,
    pub(super) touches: usize,
}

// === impl Row ===

impl Row {
    /// The row of a record of one head.
    pub(super) fn new(head: Head, what: What, flags: u8) -> Self {
        Self {
            id: head.id,
            generation: head.generation,
            tick: head.tick,
            body: 0,
            tag: QueueTag(0),
            segment: head.segment,
            offset: 0,
            length: 0,
            what,
            flags,
        }
    }

    pub(super) fn head(&self) -> Head {
        Head { id: self.id, generation: self.generation, tick: self.tick, segment: self.segment }
    }

    fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.id.0.to_le_bytes());
        for long in [self.generation.0, self.tick, self.body, self.tag.0] {
            to.extend_from_slice(&long.to_le_bytes());
        }
        for short in [self.segment, self.offset, self.length] {
            to.extend_from_slice(&short.to_le_bytes());
        }
        to.extend_from_slice(&[self.what.code(), self.flags, 0, 0]);
    }

    fn read(from: &[u8]) -> Option<Self> {
        let mut reader = Reader(from);
        Some(Self {
            id: EntryId(u128::from_le_bytes(reader.array()?)),
            generation: Generation(reader.u64()?),
            tick: reader.u64()?,
            body: reader.u64()?,
            tag: QueueTag(reader.u64()?),
            segment: reader.u32()?,
            offset: reader.u32()?,
            length: reader.u32()?,
            what: What::from_code(reader.u8()?)?,
            flags: reader.u8()?,
        })
    }
}

// === impl Rows ===

impl Rows {
    /// Adds what a record at `offset` says. Its checksum was right: what doesn't parse all the same adds nothing.
    pub(super) fn add(&mut self, what: What, flags: u8, payload: &[u8], offset: u64, length: u64) {
        let place = |row: Row| Row { offset: offset as u32, length: length as u32, ..row };
        match what {
            What::Touched => self.touches.extend(parse::touches(payload)),
            What::Deleted => {
                let heads = payload.chunks_exact(HEAD_LEN).filter_map(Head::read);
                self.rows.extend(heads.map(|head| place(Row::new(head, what, flags))));
            }
            What::Put | What::Queue | What::Done => {
                let mut reader = Reader(payload.get(HEAD_LEN..).unwrap_or_default());
                if let (Some(head), Some(body), Some(tag)) = (Head::read(payload), reader.u64(), reader.u64())
                {
                    self.rows.push(place(Row { body, tag: QueueTag(tag), ..Row::new(head, what, flags) }));
                }
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len() + self.touches.len()
    }
}

// === impl Footer ===

impl Footer {
    pub(super) fn pack(rows: &Rows) -> Self {
        let len = rows.rows.len() * ROW_LEN + rows.touches.len() * TOUCH_LEN;
        let mut bytes = Vec::with_capacity(len + TRAILER_LEN);
        rows.rows.iter().for_each(|row| row.write(&mut bytes));
        for (id, tick) in &rows.touches {
            bytes.extend_from_slice(&id.0.to_le_bytes());
            bytes.extend_from_slice(&tick.to_le_bytes());
        }
        Self { bytes, rows: rows.rows.len(), touches: rows.touches.len() }
    }

    pub(super) fn unpack(&self) -> Rows {
        Rows { rows: self.rows().collect(), touches: self.touches().collect() }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row> {
        self.bytes[..self.rows * ROW_LEN].chunks_exact(ROW_LEN).filter_map(Row::read)
    }

    pub(super) fn touches(&self) -> impl Iterator<Item = (EntryId, u64)> {
        parse::touches(&self.bytes[self.rows * ROW_LEN..])
    }

    pub(super) fn row(&self, position: usize) -> Option<Row> {
        Row::read(self.bytes[..self.rows * ROW_LEN].get(position * ROW_LEN..(position + 1) * ROW_LEN)?)
    }

    pub(super) fn touch(&self, position: usize) -> Option<(EntryId, u64)> {
        parse::touches(self.bytes.get(self.rows * ROW_LEN + position * TOUCH_LEN..)?).next()
    }

    /// How many rows there are, and how many touches.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.rows, self.touches)
    }

    /// The bytes with their trailer, as they are written behind the last record.
    pub(super) fn seal(self, salt: u64, end: u64) -> Vec<u8> {
        let Self { mut bytes, rows, touches } = self;
        bytes.extend_from_slice(END_MAGIC);
        bytes.extend_from_slice(&(rows as u32).to_le_bytes());
        bytes.extend_from_slice(&(touches as u32).to_le_bytes());
        bytes.extend_from_slice(&end.to_le_bytes());
        let crc = crc32c(&[&salt.to_le_bytes(), &bytes]);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes
    }
}

// === helpers ===

pub(super) fn parse_trailer(trailer: &[u8]) -> Option<(usize, usize, u64, u32)> {
    let mut reader = Reader(trailer);
    if reader.take(8)? != END_MAGIC {
        return None;
    }
    Some((reader.u32()? as usize, reader.u32()? as usize, reader.u64()?, reader.u32()?))
}
