//! Bytes on their way: the messages of a call and the frames of zstd, which mean the same however they are cut.

use bytes::{Buf as _, Bytes};
use futures_util::{FutureExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::encoding::{WireType, decode_key, decode_varint};
use tonic::{Code, Status};

use crate::links::fields::Fields;
use crate::protocol::http::Incoming;
use crate::protocol::reapi::grpc::{Field, Messages};
use crate::protocol::reapi::room::Room;
use crate::protocol::reapi::zstd::{Decoder, Framer, compress};

/// As much as any message of these may have where it is taken whole.
const WHOLE_BYTES_MAX: usize = 1 << 20;

/// What a reader of a call sees.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message,
    Field(u32, Field),
    Bytes(Vec<u8>),
    End,
    Broken(Code),
}

// === messages ===

/// The first byte says how the others are cut. Read as they come, messages are what the library's reader makes of them.
///
/// # Panics
/// If that is not so.
pub fn grpc(bytes: &[u8]) {
    let Some((&cut, call)) = bytes.split_first() else { return };
    let cut = usize::from(cut) + 1;
    let seen = seen(body(call, cut));
    assert_eq!(seen, self::seen(body(call, usize::MAX)));
    as_the_library_reads(call, &seen);
    let whole = whole(body(call, cut));
    assert_eq!(whole, self::whole(body(call, usize::MAX)));
    if let Ok(message) = whole {
        assert_eq!(call, [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat());
    }
}

fn body(call: &[u8], cut: usize) -> impl Incoming {
    let pieces: Vec<std::io::Result<Frame<Bytes>>> =
        call.chunks(cut).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    StreamBody::new(stream::iter(pieces))
}

fn whole(body: impl Incoming) -> Result<Bytes, Code> {
    let only = async {
        let mut messages = Messages::of(body);
        let len = messages.first(WHOLE_BYTES_MAX).await?;
        messages.last(len).await
    };
    only.now_or_never().expect("all of it is here").map_err(|status: Status| status.code())
}

fn seen(body: impl Incoming) -> Vec<Seen> {
    let mut seen = Vec::new();
    let read = read(Messages::of(body), &mut seen).now_or_never().expect("all of it is here");
    seen.push(read.map_or_else(|status| Seen::Broken(status.code()), |()| Seen::End));
    seen
}

async fn read<B: Incoming>(mut messages: Messages<B>, seen: &mut Vec<Seen>) -> Result<(), Status> {
    while messages.next().await? {
        seen.push(Seen::Message);
        while let Some((number, field)) = messages.field().await? {
            seen.push(Seen::Field(number, field));
            let Field::Bytes(len) = field else { continue };
            let mut bytes = Vec::new();
            while bytes.len() < len {
                let piece = messages.some(len - bytes.len()).await?;
                assert!(!piece.is_empty());
                bytes.extend_from_slice(&piece);
            }
            seen.push(Seen::Bytes(bytes));
        }
    }
    Ok(())
}

fn as_the_library_reads(mut call: &[u8], seen: &[Seen]) {
    let mut expected = Vec::new();
    while let Some((prefix, rest)) = call.split_at_checked(5) {
        if prefix[0] != 0 {
            expected.push(Seen::Broken(Code::Unimplemented));
            return assert_eq!(seen, expected);
        }
        expected.push(Seen::Message);
        let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let Some((message, rest)) = rest.split_at_checked(len) else {
            // Of a message that breaks off as much is seen as has come.
            assert_eq!(seen[..expected.len()], expected);
            return assert_eq!(seen.last(), Some(&Seen::Broken(Code::InvalidArgument)));
        };
        let is_message = fields(message, &mut expected).is_some();
        let mut ours = Fields::of(message).expect("short");
        let is_ours = std::iter::from_fn(|| ours.next().transpose()).all(|field| field.is_ok());
        assert_eq!(is_message, is_ours, "{message:?}");
        if !is_message {
            expected.push(Seen::Broken(Code::InvalidArgument));
            return assert_eq!(seen, expected);
        }
        call = rest;
    }
    expected.push(if call.is_empty() { Seen::End } else { Seen::Broken(Code::InvalidArgument) });
    assert_eq!(seen, expected);
}

/// `None` where the message is not one, after what there was of it.
fn fields(mut message: &[u8], seen: &mut Vec<Seen>) -> Option<()> {
    while message.has_remaining() {
        let (number, kind) = decode_key(&mut message).ok()?;
        let len = match kind {
            WireType::Varint => {
                seen.push(Seen::Field(number, Field::Varint(decode_varint(&mut message).ok()?)));
                continue;
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut message).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (bytes, rest) = message.split_at_checked(len)?;
        seen.push(Seen::Field(number, Field::Bytes(len)));
        seen.push(Seen::Bytes(bytes.to_vec()));
        message = rest;
    }
    Some(())
}

// === zstd ===

/// The first three bytes say how many are to come out and how the others are cut. As frames of zstd those make what the
/// library makes of them at once, and never more than was said; made into frames they come back.
///
/// # Panics
/// If that is not so.
pub fn zstd(bytes: &[u8]) {
    let Some((&[low, high, cut], input)) = bytes.split_first_chunk() else { return };
    let (declared, cut) = (u16::from_le_bytes([low, high]), usize::from(cut) + 1);
    let input = Bytes::copy_from_slice(input);
    let decoded = decoded(&input, cut, declared.into());
    assert_eq!(decoded, self::decoded(&input, usize::MAX, declared.into()));
    if let Some(decoded) = decoded {
        let mut at_once = Vec::with_capacity(declared.into());
        match zstd_safe::decompress(&mut at_once, &input).map_err(zstd_safe::get_error_name) {
            Ok(made) => assert_eq!((made, &at_once), (decoded.len(), &decoded)),
            // At once, it also holds the length in a frame's head against what an empty last block ends.
            Err(words) => assert_eq!(words, "Data corruption detected"),
        }
    }
    let compressed = compress(&input).expect("memory");
    let len = input.len() as u64;
    assert_eq!(self::decoded(&compressed, cut, len).as_deref(), Some(&input[..]));
    let framed = framed(&input, usize::from(declared) + 1);
    assert_eq!(self::decoded(&framed, cut, len).as_deref(), Some(&input[..]));
    if let Some(less) = len.checked_sub(1) {
        assert_eq!(self::decoded(&compressed, cut, less), None);
        assert_eq!(self::decoded(&framed.slice(..framed.len() - 1), cut, len), None);
    }
}

/// `None` where it is not zstd, or more than was said.
fn decoded(input: &Bytes, cut: usize, declared: u64) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(declared, Room::default().for_decoder()).expect("memory");
    let mut made = Vec::new();
    let mut rest = input.clone();
    while !rest.is_empty() {
        let mut piece = rest.split_to(cut.min(rest.len()));
        loop {
            let step = decoder.step(&mut piece).inspect_err(super::is_calm).ok()?;
            if step.is_empty() {
                assert!(piece.is_empty(), "some of the input was not taken");
                break;
            }
            made.extend_from_slice(&step);
            assert!(made.len() as u64 <= declared);
        }
    }
    decoder.finish().inspect_err(super::is_calm).ok()?;
    Some(made)
}

fn framed(bytes: &Bytes, cut: usize) -> Bytes {
    let mut framer = Framer::new(bytes.len() as u64);
    let mut rest = bytes.clone();
    let mut framed = Vec::new();
    loop {
        let piece = rest.split_to(cut.min(rest.len()));
        framer.frame(piece).iter().for_each(|piece| framed.extend_from_slice(piece));
        if rest.is_empty() {
            return framed.into();
        }
    }
}
