//! `:authority` as gRPC libraries send it over a unix socket: the socket's path, which is none.
//!
//! C++, Python and Java put the path there, as it is or percent-encoded; hyper's HTTP/2 takes neither for an authority
//! and resets the stream. What it says matters to nobody on a unix socket, so bytes that an authority can't have become
//! `-` as they come in. In place and with the length kept, so that neither frames nor the compression's table, which both
//! ends keep alike, know of it. Values in Huffman's code are left alone: no library writes this one so.

/// Follows the bytes of one HTTP/2 connection, from its preface on.
#[derive(Debug)]
pub(super) struct Authority {
    at: At,
    /// Where in a block of headers it is; a block can go on in a later frame.
    field: Field,
}

/// Where in the frames.
#[derive(Debug, Clone, Copy)]
enum At {
    /// In the preface, or a payload that has no headers: so many bytes on is the head of a frame.
    Passing(u32),
    /// In the head of a frame.
    Head { filled: usize, head: [u8; FRAME_HEAD_BYTES] },
    /// At the byte that says how much of the payload is padding.
    Padding { left: u32, priority: u32 },
    /// In the headers of a payload, after the priority; `padding` follows them.
    Headers { priority: u32, left: u32, padding: u32 },
    /// Lost: what comes is passed on, and judged by whoever reads it.
    Lost,
}

/// Where in the fields of a block (RFC 7541, section 6).
#[derive(Debug, Clone, Copy)]
enum Field {
    Start,
    /// In the rest of a number after which comes a field, or a field's value.
    Number {
        then_value: bool,
    },
    /// At the length of a field's name.
    NameLen,
    /// At the length of a value.
    ValueLen {
        ours: bool,
    },
    /// In the rest of a length.
    Len {
        of: Text,
        len: u32,
        shift: u32,
    },
    /// In a name or a value.
    Text {
        of: Text,
        left: u32,
    },
}

#[derive(Debug, Clone, Copy)]
enum Text {
    /// So many of its bytes were those of [`NAME`]; `None`: it is another.
    Name {
        matched: Option<usize>,
    },
    Value {
        ours: bool,
    },
}

const PREFACE_BYTES: u32 = 24;
const FRAME_HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: u32 = 5;

const NAME: &[u8] = b":authority";

/// The place of [`NAME`] in the static table.
const NAME_INDEX: u8 = 1;

// === impl Authority ===

impl Authority {
    pub(super) fn new() -> Self {
        Self { at: At::Passing(PREFACE_BYTES), field: Field::Start }
    }

    /// Mends what was read next.
    pub(super) fn mend(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match self.at {
                At::Passing(left) => {
                    let taken = (left as usize).min(bytes.len());
                    self.passed(left - taken as u32);
                    taken
                }
                At::Lost => bytes.len(),
                _ => {
                    self.byte(&mut bytes[0]);
                    1
                }
            };
            bytes = &mut bytes[taken..];
        }
    }

    fn passed(&mut self, left: u32) {
        self.at = if left == 0 { At::Head { filled: 0, head: [0; _] } } else { At::Passing(left) };
    }

    fn byte(&mut self, byte: &mut u8) {
        match self.at {
            At::Lost | At::Passing(_) => {}
            At::Head { filled, mut head } => {
                head[filled] = *byte;
                self.at = At::Head { filled: filled + 1, head };
                if filled + 1 == head.len() {
                    self.payload(head);
                }
            }
            At::Padding { left, priority } => {
                let padding = u32::from(*byte);
                match left.checked_sub(padding + priority) {
                    Some(left) => self.headers(priority, left, padding),
                    None => self.at = At::Lost,
                }
            }
            At::Headers { priority, left, padding } if priority > 0 => {
                self.headers(priority - 1, left, padding);
            }
            At::Headers { left, padding, .. } => {
                self.headers(0, left - 1, padding);
                match self.field.next(byte) {
                    Some(field) => self.field = field,
                    None => self.at = At::Lost,
                }
            }
        }
    }

    fn payload(&mut self, head: [u8; FRAME_HEAD_BYTES]) {
        let [a, b, c, kind, flags, ..] = head;
        let len = u32::from_be_bytes([0, a, b, c]);
        let has = |flag| kind == HEADERS && flags & flag != 0;
        let priority = if has(PRIORITY) { PRIORITY_BYTES } else { 0 };
        if kind == HEADERS {
            self.field = Field::Start;
        }
        match kind {
            HEADERS if has(PADDED) && len > 0 => self.at = At::Padding { left: len - 1, priority },
            HEADERS | CONTINUATION => match len.checked_sub(priority) {
                Some(left) => self.headers(priority, left, 0),
                None => self.at = At::Lost,
            },
            _ => self.passed(len),
        }
    }

    fn headers(&mut self, priority: u32, left: u32, padding: u32) {
        if priority + left > 0 {
            self.at = At::Headers { priority, left, padding };
        } else {
            self.passed(padding);
        }
    }
}

// === impl Field ===

impl Field {
    /// After `byte`, which is changed if it is one of those that this is about. `None` for what no encoder writes.
    fn next(self, byte: &mut u8) -> Option<Self> {
        let goes_on = *byte & 0x80 != 0;
        Some(match self {
            Self::Start if goes_on => number(*byte, 0x7f, Self::Start, false),
            Self::Start => match *byte {
                first if first & 0x40 != 0 => literal(first, 0x3f),
                first if first & 0x20 != 0 => number(first, 0x1f, Self::Start, false),
                first => literal(first, 0x0f),
            },
            Self::Number { .. } if goes_on => self,
            Self::Number { then_value: true } => Self::ValueLen { ours: false },
            Self::Number { then_value: false } => Self::Start,
            Self::NameLen => len(*byte, Text::Name { matched: (!goes_on).then_some(0) }),
            Self::ValueLen { ours } => len(*byte, Text::Value { ours: ours && !goes_on }),
            Self::Len { of, len, shift } => {
                let more = u32::from(*byte & 0x7f).checked_shl(shift).filter(|_| shift <= 14)?;
                let len = len + more;
                if goes_on { Self::Len { of, len, shift: shift + 7 } } else { of.begin(len) }
            }
            Self::Text { of, left } => of.byte(byte).begin(left - 1),
        })
    }
}

/// A literal field, whose name is an index or follows.
fn literal(first: u8, prefix: u8) -> Field {
    match first & prefix {
        0 => Field::NameLen,
        index => number(first, prefix, Field::ValueLen { ours: index == NAME_INDEX }, true),
    }
}

/// `next`, or the rest of the number that began with `first`.
fn number(first: u8, prefix: u8, next: Field, then_value: bool) -> Field {
    if first & prefix == prefix { Field::Number { then_value } } else { next }
}

fn len(first: u8, of: Text) -> Field {
    match first & 0x7f {
        0x7f => Field::Len { of, len: 0x7f, shift: 0 },
        len => of.begin(u32::from(len)),
    }
}

// === impl Text ===

impl Text {
    /// With so many bytes to come.
    fn begin(self, left: u32) -> Field {
        match self {
            of if left > 0 => Field::Text { of, left },
            Self::Name { matched } => Field::ValueLen { ours: matched == Some(NAME.len()) },
            Self::Value { .. } => Field::Start,
        }
    }

    fn byte(self, byte: &mut u8) -> Self {
        match self {
            Self::Name { matched } => {
                Self::Name { matched: matched.filter(|at| NAME.get(*at) == Some(byte)).map(|at| at + 1) }
            }
            Self::Value { ours } => {
                let is_kept = byte.is_ascii_alphanumeric() || b".-_:[]".contains(byte);
                if ours && !is_kept {
                    *byte = b'-';
                }
                self
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&len[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn text(text: &[u8]) -> Vec<u8> {
        let len = u8::try_from(text.len()).expect("short");
        if len < 0x7f { [&[len], text].concat() } else { [&[0x7f, len - 0x7f], text].concat() }
    }

    /// What is before and after the value of `:authority` in each of these, of what the libraries send.
    fn connections() -> Vec<[Vec<u8>; 2]> {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let settings = frame(4, 0, &[0, 3, 0, 0, 0, 100]);
        let start = [preface, settings].concat();
        let by_index = vec![0x83, 0x86, 0x41];
        let by_name = [vec![0x83, 0x40], text(NAME)].concat();
        let never_indexed = [vec![0x3f, 0x61, 0x83, 0x10], text(NAME)].concat();
        let after_a_long_index = [vec![0x7f, 0x20], text(b"x/y"), vec![0xff, 0x10, 0x01]].concat();
        let rest = [vec![0x44], text(b"/a/path"), vec![0x00], text(b"name"), text(b"a/b%c")].concat();
        let mut all = Vec::new();
        for block in [by_index, by_name, never_indexed, after_a_long_index] {
            for (flags, lead, trail) in [
                (4, vec![], vec![]),
                (4 | PADDED, vec![3], vec![0, 0, 0]),
                (4 | PRIORITY, vec![0, 0, 0, 0, 16], vec![]),
                (4 | PADDED | PRIORITY, vec![3, 0, 0, 0, 0, 16], vec![0, 0, 0]),
            ] {
                all.push([
                    [start.clone(), vec![flags], lead, block.clone()].concat(),
                    [rest.clone(), trail].concat(),
                ]);
            }
        }
        all
    }

    /// A connection whose one HEADERS has this value.
    fn with(value: &[u8], [before, after]: &[Vec<u8>; 2]) -> Vec<u8> {
        // The flags stand where the frame begins.
        let at = 24 + 15;
        let payload = [&before[at + 1..], &text(value), after].concat();
        let data = frame(0, 0, b"\x41\x03a/b :authority /x/y");
        [before[..at].to_vec(), frame(HEADERS, before[at], &payload), data].concat()
    }

    #[test]
    fn only_the_bytes_of_a_path_change_and_no_length() {
        let long = format!("/{}.sock", "d%2F".repeat(40));
        let long_mended = format!("-{}.sock", "d-2F".repeat(40));
        for (sent, mended) in [
            ("/tmp/larder.sock", "-tmp-larder.sock"),
            ("%2Ftmp%2Flarder.sock", "-2Ftmp-2Flarder.sock"),
            ("localhost", "localhost"),
            ("127.0.0.1:5273", "127.0.0.1:5273"),
            ("[::1]:5273", "[::1]:5273"),
            (&long, &long_mended),
        ] {
            for connection in connections() {
                let mut bytes = with(sent.as_bytes(), &connection);
                Authority::new().mend(&mut bytes);
                assert_eq!(
                    bytes.escape_ascii().to_string(),
                    with(mended.as_bytes(), &connection).escape_ascii().to_string()
                );
                mended.parse::<hyper::http::uri::Authority>().expect("one that hyper takes");
            }
        }
    }

    #[test]
    fn a_block_goes_on_in_the_next_frame() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let block = |value: &[u8]| [vec![0x83, 0x41], text(value), vec![0x84]].concat();
        let (sent, mended) = (block(b"/a/b"), block(b"-a-b"));
        for cut in 0..=sent.len() {
            let bytes = |block: &[u8]| {
                let (one, two) = block.split_at(cut);
                [preface.clone(), frame(HEADERS, 0, one), frame(CONTINUATION, 4, two)].concat()
            };
            let mut found = bytes(&sent);
            Authority::new().mend(&mut found);
            assert_eq!(found, bytes(&mended), "{cut}");
        }
    }

    /// Encoded values and what is no header block stay as they are.
    #[test]
    fn what_it_does_not_know_passes() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for payload in [
            &[0x41, 0x84, b'/', b'/', b'/', b'/'][..],
            &[0x41, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, b'/'],
            &[0x41, 0xff, 0xff, 0xff],
        ] {
            let bytes = [preface.clone(), frame(HEADERS, 4, payload), frame(0, 0, b"a/b")].concat();
            let mut found = bytes.clone();
            Authority::new().mend(&mut found);
            assert_eq!(found, bytes);
        }
    }

    proptest! {
        /// However it arrives, and whatever it is: cut anywhere it comes to the same, and no more than bytes change.
        #[test]
        fn pieces_come_to_the_same(
            which in 0..16_usize,
            value in "[/%a-z0-9.]{0,200}",
            noise in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let sent = [with(value.as_bytes(), &connections()[which]), noise].concat();
            let mut whole = sent.clone();
            Authority::new().mend(&mut whole);
            let mut pieces = sent.clone();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(sent.len() + 1)).collect();
            cuts.extend([0, sent.len()]);
            cuts.sort_unstable();
            let mut authority = Authority::new();
            for cut in cuts.windows(2) {
                authority.mend(&mut pieces[cut[0]..cut[1]]);
            }
            prop_assert_eq!(&pieces, &whole);
            for (sent, found) in sent.iter().zip(&whole) {
                prop_assert!(sent == found || *found == b'-');
            }
        }
    }
}
