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

use super::disk;
use super::footer::{Footer, ROW_LEN, Rows, TRAILER_LEN, parse_trailer};
use super::parse::{self, Reader};
use super::record::{FORMAT, HEADER_LEN, TOUCH_LEN, crc32c};
use crate::error::{Error, Kind, Result};

const MAGIC: &[u8; 8] = b"LARDERSG";
const SEGMENT_HEADER_LEN: usize = 32;

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
            let length = parse::begins(header, self.salt, offset).unwrap_or(0);
            let found = match window.at(offset, length as usize)? {
                Some(bytes) if length > 0 => parse::check_slice(bytes, self.salt, offset)
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
    pub(super) fn read(&self, offset: u32, length: u32) -> std::io::Result<Option<parse::Checked>> {
        let mut bytes = vec![0; length as usize];
        if !disk::read_full(&self.file, &mut bytes, offset.into())? {
            return Ok(None);
        }
        Ok(parse::check(&Bytes::from(bytes), self.salt, offset.into()))
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
