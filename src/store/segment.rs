//! A segment: one append-only file of the log.
//!
//! ```text
//! segment  header | from u32.. | zeros to 8 | record.. | footer
//! header   "LARDERSG" | format u32 | number u32 | salt u64 | froms u32 | crc u32
//! footer   row.. | touch.. | trailer
//! row      id u128 | generation u64 | tick u64 | body u64 | tag u64 | segment u32 | offset u32 | length u32 |
//!          kind u8 | flags u8 | 0 u16
//! trailer  "LARDEREN" | rows u32 | touches u32 | start u64 | crc u32 | 0 u32
//! ```
//! A sealed segment ends in a footer: all that start-up has to know of it, so that bodies are not read. Without a
//! valid footer (killed while it was the tail, or damaged) its records are scanned, each by its checksum.
//!
//! A compacted segment names the segments it was made `from`: where it exists they are void, which makes the swap of
//! many segments for one a single rename.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::record::{self, FORMAT, HEAD_LEN, HEADER_LEN, Head, Reader, TOUCH_LEN, What, crc32c};
use super::{Generation, QueueTag, disk};
use crate::error::{Error, Kind, Result};
use crate::key::EntryId;

const MAGIC: &[u8; 8] = b"LARDERSG";
const END_MAGIC: &[u8; 8] = b"LARDEREN";
const SEGMENT_HEADER_LEN: usize = 32;
/// Bytes of a row.
pub(super) const ROW_LEN: usize = 64;
const TRAILER_LEN: usize = 32;

/// A segment is sealed at this many rows, whatever its size: bounds the memory that the tail's rows take (8 MiB) and
/// what a scan after a kill has to apply.
pub(super) const ROWS_MAX: usize = 128 << 10;

/// An open segment. Readers keep it while it is unlinked.
#[derive(Debug)]
pub(super) struct Segment {
    /// Its number: from 1, in order of creation.
    pub(super) number: u32,
    pub(super) salt: u64,
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// What it was compacted from.
    pub(super) from: Vec<u32>,
}

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
    bytes: Vec<u8>,
    rows: usize,
    touches: usize,
}

/// A segment with its rows, as found at start.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) segment: Arc<Segment>,
    pub(super) footer: Footer,
    /// Where its records end.
    pub(super) end: u64,
    /// Whether a valid footer follows.
    pub(super) sealed: bool,
}

// === impl Segment ===

impl Segment {
    /// Creates the file of a new segment at `path` and writes its header; also says where its records begin.
    pub(super) fn create(path: PathBuf, number: u32, from: Vec<u32>) -> Result<(Self, u64)> {
        // Random keys of the process, seeded by the system: unpredictable to whoever chooses the bytes of bodies.
        let salt = RandomState::new().hash_one((number, &path));
        let header = header(number, salt, &from);
        let file = disk::create(&path)?;
        if let Err(error) = disk::write_all(&file, &[&header], 0) {
            let _ = std::fs::remove_file(&path);
            return Err(Error::io("write to", &path, error));
        }
        let start = header.len() as u64;
        Ok((Self { number, salt, file, path, from }, start))
    }

    /// Opens a segment and reads its header; also says where its records begin. `Corrupt` when it has none.
    pub(super) fn open(path: PathBuf, number: u32) -> Result<(Self, u64)> {
        let io = |error| Error::io("open", &path, error);
        let file = File::options().read(true).write(true).open(&path).map_err(io)?;
        let mut bytes = vec![0; SEGMENT_HEADER_LEN];
        let parsed = disk::read_full(&file, &mut bytes, 0).map_err(io)? && {
            let froms = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]) as usize;
            let len = (SEGMENT_HEADER_LEN + froms.min(1 << 20) * 4).next_multiple_of(8);
            bytes.resize(len, 0);
            disk::read_full(&file, &mut bytes[SEGMENT_HEADER_LEN..], SEGMENT_HEADER_LEN as u64).map_err(io)?
        };
        let parsed = Some(&bytes[..]).filter(|_| parsed).and_then(parse_header);
        match parsed {
            Some((found, salt, from)) if found == number => {
                Ok((Self { number, salt, file, path, from }, bytes.len() as u64))
            }
            _ => Err(Error::new(Kind::Corrupt, format!("{} has no valid header", path.display()))),
        }
    }

    /// The same under another name. Nobody else may have it yet.
    pub(super) fn renamed(self: Arc<Self>, path: PathBuf) -> Arc<Self> {
        let mut segment = self;
        if let Some(segment) = Arc::get_mut(&mut segment) {
            segment.path = path;
        }
        segment
    }

    /// Appends the footer at `end`.
    pub(super) fn seal(&self, rows: &Rows, end: u64) -> std::io::Result<u64> {
        let footer = Footer::pack(rows).seal(self.salt, end);
        disk::write_all(&self.file, &[&footer], end)?;
        Ok(end + footer.len() as u64)
    }

    /// Reads the footer, or scans.
    pub(super) fn load(self, start: u64) -> Result<Loaded> {
        let io = |error| Error::io("read", &self.path, error);
        let len = self.file.metadata().map_err(io)?.len();
        if let Some((footer, end)) = self.read_footer(start, len).map_err(io)? {
            return Ok(Loaded { segment: Arc::new(self), footer, end, sealed: true });
        }
        let (rows, end) = self.scan(start, len).map_err(io)?;
        Ok(Loaded { segment: Arc::new(self), footer: Footer::pack(&rows), end, sealed: false })
    }

    fn read_footer(&self, start: u64, len: u64) -> std::io::Result<Option<(Footer, u64)>> {
        let Some(trailer_at) = len.checked_sub(TRAILER_LEN as u64).filter(|at| *at >= start) else {
            return Ok(None);
        };
        let mut trailer = [0; TRAILER_LEN];
        if !disk::read_full(&self.file, &mut trailer, trailer_at)? {
            return Ok(None);
        }
        let Some((row_count, touch_count, end, crc)) = parse_trailer(&trailer) else { return Ok(None) };
        let expected = row_count as u64 * ROW_LEN as u64 + touch_count as u64 * TOUCH_LEN as u64;
        if end < start || end.checked_add(expected) != Some(trailer_at) {
            return Ok(None);
        }
        let mut bytes = vec![0; expected as usize];
        if !disk::read_full(&self.file, &mut bytes, end)? {
            return Ok(None);
        }
        if crc != crc32c(&[&self.salt.to_le_bytes(), &bytes, &trailer[..24]]) {
            return Ok(None);
        }
        Ok(Some((Footer { bytes, rows: row_count, touches: touch_count }, end)))
    }

    /// The rows of all records whose checksum is right, and where the last of them ends. What is damaged is stepped
    /// over: the marks make the next record findable.
    fn scan(&self, start: u64, len: u64) -> std::io::Result<(Rows, u64)> {
        let mut rows = Rows::default();
        let mut window = Window { file: &self.file, len, start: 0, bytes: Vec::new() };
        let (mut offset, mut end) = (start, start);
        while let Some(header) = window.at(offset, HEADER_LEN)? {
            let length = record::begins(header, self.salt, offset).unwrap_or(0);
            let found = match window.at(offset, length as usize)? {
                Some(bytes) if length > 0 => record::check_slice(bytes, self.salt, offset)
                    .map(|(what, flags, end)| rows.add(what, flags, &bytes[HEADER_LEN..end], offset, length)),
                _ => None,
            };
            match found {
                Some(()) => {
                    offset += length;
                    end = offset;
                }
                None => offset += 8,
            }
        }
        Ok((rows, end))
    }

    /// Reads and checks the record at `offset`; `None` when it is damaged. For compaction and tests: it blocks.
    pub(super) fn read(&self, offset: u32, length: u32) -> std::io::Result<Option<record::Checked>> {
        let mut bytes = vec![0; length as usize];
        if !disk::read_full(&self.file, &mut bytes, offset.into())? {
            return Ok(None);
        }
        Ok(record::check(&Bytes::from(bytes), self.salt, offset.into()))
    }

    /// Whether the file is still in its folder.
    pub(super) fn is_linked(&self) -> bool {
        rustix::fs::fstat(&self.file).is_ok_and(|stat| stat.st_nlink > 0)
    }
}

impl AsRef<File> for Segment {
    fn as_ref(&self) -> &File {
        &self.file
    }
}

/// The number in a segment's file name.
pub(super) fn number_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_suffix(".seg")?;
    u32::try_from(u64::from_str_radix(name, 16).ok()?).ok().filter(|number| *number > 0)
}

/// The file name of a segment.
pub(super) fn file_name(number: u32) -> String {
    format!("{number:016x}.seg")
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
            What::Touched => self.touches.extend(record::touches(payload)),
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
    fn pack(rows: &Rows) -> Self {
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
        record::touches(&self.bytes[self.rows * ROW_LEN..])
    }

    pub(super) fn row(&self, position: usize) -> Option<Row> {
        Row::read(self.bytes[..self.rows * ROW_LEN].get(position * ROW_LEN..(position + 1) * ROW_LEN)?)
    }

    pub(super) fn touch(&self, position: usize) -> Option<(EntryId, u64)> {
        record::touches(self.bytes.get(self.rows * ROW_LEN + position * TOUCH_LEN..)?).next()
    }

    /// How many rows there are, and how many touches.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.rows, self.touches)
    }

    /// The bytes with their trailer, as they are written behind the last record.
    fn seal(self, salt: u64, end: u64) -> Vec<u8> {
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

/// A sliding view of a file, so that a scan reads it once and in large pieces.
struct Window<'a> {
    file: &'a File,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    const STEP: u64 = 1 << 20;

    fn at(&mut self, offset: u64, need: usize) -> std::io::Result<Option<&[u8]>> {
        let need = need as u64;
        if offset + need > self.len {
            return Ok(None);
        }
        if offset < self.start || offset + need > self.start + self.bytes.len() as u64 {
            self.bytes.resize(need.max(Self::STEP).min(self.len - offset) as usize, 0);
            self.start = offset;
            if !disk::read_full(self.file, &mut self.bytes, offset)? {
                return Ok(None);
            }
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.bytes[from..from + need as usize]))
    }
}

fn header(number: u32, salt: u64, from: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SEGMENT_HEADER_LEN + 4 * from.len() + 8);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&salt.to_le_bytes());
    bytes.extend_from_slice(&(from.len() as u32).to_le_bytes());
    let mut list: Vec<u8> = from.iter().flat_map(|number| number.to_le_bytes()).collect();
    list.resize(list.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(&crc32c(&[&bytes, &list]).to_le_bytes());
    bytes.extend_from_slice(&list);
    bytes
}

fn parse_header(bytes: &[u8]) -> Option<(u32, u64, Vec<u32>)> {
    let mut reader = Reader(bytes);
    let magic = reader.take(8)?;
    let (format, number, salt) = (reader.u32()?, reader.u32()?, reader.u64()?);
    let (count, crc) = (reader.u32()? as usize, reader.u32()?);
    let list = reader.0;
    let valid = magic == MAGIC && format == FORMAT && crc == crc32c(&[&bytes[..28], list]);
    let from = (0..count).map_while(|_| reader.u32()).collect();
    valid.then_some((number, salt, from))
}

fn parse_trailer(trailer: &[u8]) -> Option<(usize, usize, u64, u32)> {
    let mut reader = Reader(trailer);
    if reader.take(8)? != END_MAGIC {
        return None;
    }
    Some((reader.u32()? as usize, reader.u32()? as usize, reader.u64()?, reader.u32()?))
}
