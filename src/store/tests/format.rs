//! The bytes on disk. **If a test here fails, the format has changed: [`FORMAT`] must be raised, and the daemon's
//! `VERSION` with it.**

use super::*;
use crate::store::parse;
use crate::store::record::{self, FORMAT, HEADER_LEN, Head, QUEUED, What};
use crate::store::segment::Segment;

const CHANGED: &str = "the disk format appears to have changed: raise FORMAT (and the daemon's VERSION), \
                       then write down the new bytes here";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_bytes_of_a_put() {
    let head = Head { id: EntryId(0x0102_0304), generation: Generation(5), tick: 6, segment: 7 };
    let mut buffer = record::put(&full_record(), &[0xdead_beef]).expect("fits");
    head.write(&mut buffer[HEADER_LEN..]);
    record::finish(&mut buffer, What::Put, QUEUED, b"larder", 0x1122_3344_5566_7788, 64);
    buffer.extend_from_slice(b"larder");
    assert_eq!((FORMAT, hex(&buffer).as_str()), (1, include_str!("put.hex").trim()), "{CHANGED}");

    let bytes = Bytes::from(buffer);
    let put =
        parse::check(&bytes, 0x1122_3344_5566_7788, 64).and_then(|checked| checked.put()).expect("parses");
    assert_eq!((put.head, &put.body[..], &put.crcs[..]), (head, &b"larder"[..], &[0xdead_beef][..]));
    let expected = Record { id: head.id, ..full_record() };
    assert_eq!(format!("{:?}", put.record), format!("{expected:?}"));
    // In another place, or another segment, the same bytes are nothing.
    assert!(parse::check(&bytes, 0x1122_3344_5566_7788, 72).is_none());
    assert!(parse::check(&bytes, 0x1122_3344_5566_7789, 64).is_none());
}

#[test]
fn the_bytes_of_the_other_records() {
    let head = Head { id: EntryId(1), generation: Generation(2), tick: 3, segment: 4 };
    let cases = [
        (What::Deleted, record::deleted(&[head, head]), include_str!("deleted.hex")),
        (What::Queue, record::queue(QueueTag(9), "an/object").expect("fits"), include_str!("queue.hex")),
        (What::Done, record::done(QueueTag(9)), include_str!("done.hex")),
        (What::Touched, record::touched(&[(EntryId(1), 2), (EntryId(3), 4)]), include_str!("touched.hex")),
    ];
    for (what, mut buffer, golden) in cases {
        if matches!(what, What::Queue | What::Done) {
            head.write(&mut buffer[HEADER_LEN..]);
        }
        record::finish(&mut buffer, what, 0, b"", 11, 32);
        assert_eq!(hex(&buffer), golden.trim(), "{what:?}: {CHANGED}");
    }
}

#[test]
fn the_bytes_of_a_segment() {
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    let path = dir.path().join("golden.seg");
    let golden = include_str!("segment.hex").trim();
    let bytes: Vec<u8> = (0..golden.len() / 2)
        .filter_map(|at| u8::from_str_radix(&golden[at * 2..at * 2 + 2], 16).ok())
        .collect();
    std::fs::write(&path, &bytes).expect("write");
    let (segment, start) = Segment::open(path.clone(), 3).expect(CHANGED);
    let loaded = segment.load(start).expect("load");
    assert!(loaded.sealed, "{CHANGED}");
    assert_eq!((loaded.segment.from.as_slice(), start), (&[1, 2][..], 40), "{CHANGED}");
    let all = loaded.footer.unpack();
    let rows = &all.rows;
    assert_eq!((rows.len(), all.touches.len()), (4, 2), "{CHANGED}");
    assert_eq!(
        (rows[0].what, rows[0].generation, rows[0].body, rows[0].tag),
        (What::Put, Generation(2), 6, QueueTag(7))
    );

    // The same rows from the records as from the footer, and the same footer again.
    std::fs::write(&path, &bytes[..loaded.end as usize]).expect("write");
    let (segment, start) = Segment::open(path.clone(), 3).expect("open");
    let scanned = segment.load(start).expect("load");
    assert!(!scanned.sealed);
    assert_eq!(scanned.footer.unpack(), all, "{CHANGED}");
    scanned.segment.seal(&all, scanned.end).expect("seal");
    assert_eq!(hex(&std::fs::read(&path).expect("read")), golden, "{CHANGED}");
}

/// Prints what the test above compares with. Kept so that a new format is written down in a minute.
#[test]
fn a_segment_of_all_records_can_be_written_down() {
    let dir = tempfile::TempDir::new().expect("a temporary folder");
    let (segment, mut end) = Segment::create(dir.path().join("new.seg"), 3, vec![1, 2]).expect("create");
    let head = Head { id: EntryId(1), generation: Generation(2), tick: 3, segment: 4 };
    let mut rows = crate::store::footer::Rows::default();
    let full = full_record();
    for (what, flags, mut buffer, body) in [
        (What::Put, QUEUED, record::put(&full, &[]).expect("fits"), &b"larder"[..]),
        (What::Queue, 0, record::queue(QueueTag(9), "an/object").expect("fits"), b""),
        (What::Done, 0, record::done(QueueTag(9)), b""),
        (What::Deleted, 0, record::deleted(&[head]), b""),
        (What::Touched, 0, record::touched(&[(EntryId(1), 5), (EntryId(3), 4)]), b""),
    ] {
        if matches!(what, What::Put | What::Queue | What::Done) {
            head.write(&mut buffer[HEADER_LEN..]);
        }
        record::finish(&mut buffer, what, flags, body, segment.salt, end);
        let length = record::length(buffer.len() - HEADER_LEN + body.len());
        rows.add(what, flags, &buffer[HEADER_LEN..], end, length);
        buffer.extend_from_slice(body);
        buffer.resize(length as usize, 0);
        crate::store::disk::write_all(&segment.file, &[&buffer], end).expect("write");
        end += length;
    }
    segment.seal(&rows, end).expect("seal");
    println_hex(&std::fs::read(&segment.path).expect("read"));
    let (again, start) = Segment::open(segment.path.clone(), 3).expect("open");
    assert_eq!(again.load(start).expect("load").footer.unpack(), rows);
}

#[expect(clippy::print_stdout, reason = "for whoever writes a new format down")]
fn println_hex(bytes: &[u8]) {
    println!("{}", hex(bytes));
}
