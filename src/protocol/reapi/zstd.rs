//! zstd on the wire. Entries rest as they are: what comes compressed is decoded and verified as it comes.
//!
//! What memory may hold is compressed once, and that form kept there beside it. Longer bodies are not compressed but put
//! into frames as they are ("raw blocks"), which every decoder reads: compressed anew for each reader they would cost
//! more than loopback can gain, and each would hold a compressor for as long as its client takes.

use bytes::{BufMut as _, Bytes, BytesMut};
use tonic::Status;
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

use super::room::Decoding;

/// The form's name among those of content.
pub(super) const FORM: &str = "zstd";

/// No frame may ask for a larger window: 8 MiB, what every decoder must have.
const WINDOW_LOG_MAX: u32 = 23;

/// The fastest of the levels that compress well.
const LEVEL: i32 = 1;

/// A step of decoding makes as much as one block does, at most.
const STEP_BYTES: usize = 128 << 10;

/// The format's bound on a block.
const BLOCK_BYTES_MAX: usize = 128 << 10;

/// A body on its way in: frames, one or several.
pub(super) struct Decoder {
    context: DCtx<'static>,
    share: Decoding,
    /// Inside a frame.
    is_open: bool,
    made: u64,
    declared: u64,
}

/// A body on its way out in a frame of raw blocks.
#[derive(Debug)]
pub(super) struct Framer {
    left: u64,
    is_begun: bool,
}

// === impl Decoder ===

impl Decoder {
    /// A decoder of a body that is said to have `declared` bytes from here on.
    pub(super) fn new(declared: u64, share: Decoding) -> Result<Self, Status> {
        let mut context =
            DCtx::try_create().ok_or_else(|| Status::resource_exhausted("no memory for a decoder"))?;
        context
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .map_err(|_| Status::internal("zstd knows no windows"))?;
        Ok(Self { context, share, is_open: false, made: 0, declared })
    }

    /// Decodes some of `input` and takes that away. What it made is empty only if all of the input was taken and made
    /// nothing.
    pub(super) fn step(&mut self, input: &mut Bytes) -> Result<Bytes, Status> {
        if input.is_empty() && !self.is_open {
            return Ok(Bytes::new()); // asked once more, the decoder would wait for another frame
        }
        let mut made = BytesMut::zeroed(STEP_BYTES);
        loop {
            let (hint, taken, len) = {
                let mut from = InBuffer::around(input);
                let mut to = OutBuffer::around(&mut made[..]);
                let hint = self.context.decompress_stream(&mut to, &mut from).map_err(|code| {
                    Status::invalid_argument(format!("not zstd: {}", zstd_safe::get_error_name(code)))
                })?;
                (hint, from.pos(), to.pos())
            };
            if taken == 0 && len == 0 && !input.is_empty() {
                return Err(Status::invalid_argument("not zstd: the decoder can't go on"));
            }
            self.is_open = hint != 0;
            drop(input.split_to(taken));
            self.share.grow(self.context.sizeof() as u64)?;
            self.made += len as u64;
            if self.made > self.declared {
                let words =
                    format!("more comes out of the zstd than the {} bytes that were named", self.declared);
                return Err(Status::invalid_argument(words));
            }
            if len > 0 || input.is_empty() {
                made.truncate(len);
                return Ok(made.freeze());
            }
        }
    }

    /// The body is over.
    pub(super) fn finish(&self) -> Result<(), Status> {
        if self.is_open {
            return Err(Status::invalid_argument("the zstd ends in the middle of a frame"));
        }
        Ok(())
    }
}

// === forms ===

/// Bytes that are all here, compressed.
pub(super) fn compress(bytes: &[u8]) -> Option<Bytes> {
    let mut context = CCtx::try_create()?;
    context.set_parameter(CParameter::CompressionLevel(LEVEL)).ok()?;
    let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(bytes.len()));
    context.compress2(&mut compressed, bytes).ok()?;
    // A quarter of it is often room that was not needed, and this stays.
    compressed.shrink_to_fit();
    Some(compressed.into())
}

// === impl Framer ===

impl Framer {
    /// A frame for so many bytes.
    pub(super) fn new(len: u64) -> Self {
        Self { left: len, is_begun: false }
    }

    /// The next bytes in blocks; also what must come before them and, with the last of them, after.
    pub(super) fn frame(&mut self, mut piece: Bytes) -> Vec<Bytes> {
        const MAGIC: u32 = 0xfd2f_b528;
        /// The length in 8 bytes, no checksum, no dictionary.
        const DESCRIPTOR: u8 = 0b1100_0000;
        /// 2^17 bytes: raw blocks look back at nothing.
        const WINDOW: u8 = 7 << 3;
        let mut pieces = Vec::with_capacity(2 * piece.len() / BLOCK_BYTES_MAX + 3);
        let mut head = BytesMut::with_capacity(20);
        if !self.is_begun {
            self.is_begun = true;
            head.put_u32_le(MAGIC);
            head.put_u8(DESCRIPTOR);
            head.put_u8(WINDOW);
            head.put_u64_le(self.left);
        }
        loop {
            let block = piece.split_to(piece.len().min(BLOCK_BYTES_MAX));
            self.left -= block.len() as u64;
            let is_last = u64::from(self.left == 0);
            head.put_uint_le((block.len() as u64) << 3 | is_last, 3);
            pieces.push(std::mem::take(&mut head).freeze());
            if !block.is_empty() {
                pieces.push(block);
            }
            if piece.is_empty() {
                return pieces;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::reapi::room::Room;
    use tonic::Code;

    fn decode(mut input: Bytes, cut: usize, declared: u64) -> Result<Vec<u8>, Status> {
        let mut decoder = Decoder::new(declared, Room::default().for_decoder())?;
        let mut made = Vec::new();
        while !input.is_empty() {
            let mut piece = input.split_to(cut.min(input.len()));
            loop {
                let step = decoder.step(&mut piece)?;
                if step.is_empty() {
                    break;
                }
                made.extend_from_slice(&step);
            }
        }
        decoder.finish()?;
        Ok(made)
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 1u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        })
        .take(len)
        .collect()
    }

    #[test]
    fn what_is_compressed_comes_out_again_however_it_is_cut() {
        for bytes in [b"larder ".repeat(100_000), noise(300_000), Vec::new()] {
            let compressed = compress(&bytes).expect("memory");
            for cut in [1 << 20, 1000, 7] {
                let decoded = decode(compressed.clone(), cut, bytes.len() as u64).expect("zstd");
                assert!(decoded == bytes, "{} bytes cut by {cut}", bytes.len());
            }
        }
    }

    #[test]
    fn raw_frames_are_zstd_to_everybody() {
        for len in [0, 1, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX + 1, 700_000] {
            let bytes = Bytes::from(noise(len));
            let mut framer = Framer::new(len as u64);
            let mut framed = Vec::new();
            let mut rest = bytes.clone();
            loop {
                let piece = rest.split_to(rest.len().min(300_000));
                framer.frame(piece).iter().for_each(|piece| framed.extend_from_slice(piece));
                if rest.is_empty() {
                    break;
                }
            }
            assert!(decode(framed.into(), 10_000, len as u64).expect("zstd") == bytes, "{len}");
        }
    }

    #[test]
    fn several_frames_are_one_body() {
        let two = [compress(b"lar").expect("memory"), compress(b"der").expect("memory")].concat();
        assert_eq!(decode(two.into(), 3, 6).expect("zstd"), b"larder");
    }

    #[test]
    fn what_is_no_zstd_or_too_much_of_it_is_refused() {
        let bomb = compress(&vec![0; 50 << 20]).expect("memory");
        let whole = compress(&noise(1000)).expect("memory");
        let mut flipped = whole.to_vec();
        flipped[0] ^= 1;
        // A window of 2^27 bytes.
        let wide = [0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0];
        for (name, input, declared, words) in [
            ("bomb", bomb, 1000, "more comes out"),
            ("garbage", Bytes::from_static(b"not zstd at all"), 1000, "not zstd"),
            ("flipped", flipped.into(), 1000, "not zstd"),
            ("cut", whole.slice(..whole.len() - 1), 1000, "middle of a frame"),
            ("wide", Bytes::copy_from_slice(&wide), 1000, "not zstd"),
        ] {
            let status = decode(input, 1 << 20, declared).expect_err(name);
            assert_eq!(status.code(), Code::InvalidArgument, "{name}");
            assert!(status.message().contains(words), "{name}: {status}");
        }
    }
}
