//! zstd on the way to a cache and back.

use bytes::{Bytes, BytesMut};
use zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer};

/// The fastest of the levels that compress well.
const LEVEL: i32 = 1;

/// No frame may ask for a larger window: 8 MiB, what every decoder must have.
const WINDOW_LOG_MAX: u32 = 23;

/// What one step makes at most.
const STEP_BYTES: usize = 128 << 10;

/// Bytes on their way here: frames, one or several.
pub(super) struct Decompressor {
    context: DCtx<'static>,
    input: Bytes,
    /// The last step filled its buffer: more may be inside.
    is_full: bool,
}

/// Bytes on their way there: one frame.
pub(super) struct Compressor(CCtx<'static>);

/// The whole of something small as one frame; nothing where that isn't smaller.
pub(super) fn packed(bytes: &[u8]) -> Option<Bytes> {
    // A frame that didn't fit would not be smaller.
    let mut made = Vec::with_capacity(bytes.len());
    let len = CCtx::try_create()?.compress(&mut made, bytes, LEVEL).ok()?;
    (len < bytes.len()).then(|| made.into())
}

/// The whole of what is in these frames, which must be at most `len` bytes: no more than that is made of them.
pub(super) fn unpacked(frames: &[u8], len: u64) -> Result<Bytes, &'static str> {
    let mut made = Vec::with_capacity(usize::try_from(len).map_err(|_| "longer than memory")?);
    let mut context = DCtx::try_create().ok_or("no memory for zstd")?;
    context.decompress(&mut made, frames).map_err(zstd_safe::get_error_name)?;
    Ok(made.into())
}

// === impl Decompressor ===

impl Decompressor {
    pub(super) fn new() -> Result<Self, &'static str> {
        let mut context = DCtx::try_create().ok_or("no memory for zstd")?;
        context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)).map_err(zstd_safe::get_error_name)?;
        Ok(Self { context, input: Bytes::new(), is_full: false })
    }

    /// The next bytes that came. What came before must have been taken.
    pub(super) fn feed(&mut self, input: Bytes) {
        self.input = input;
    }

    /// Some of what is in them; empty when more must come.
    pub(super) fn step(&mut self) -> Result<Bytes, &'static str> {
        while !self.input.is_empty() || self.is_full {
            let mut made = BytesMut::zeroed(STEP_BYTES);
            let mut from = InBuffer::around(&self.input);
            let mut to = OutBuffer::around(&mut made[..]);
            self.context.decompress_stream(&mut to, &mut from).map_err(zstd_safe::get_error_name)?;
            let (taken, len) = (from.pos(), to.pos());
            if taken == 0 && len == 0 && !self.input.is_empty() {
                return Err("not zstd: the decoder can't go on");
            }
            self.is_full = len == STEP_BYTES;
            drop(self.input.split_to(taken));
            if len > 0 {
                made.truncate(len);
                return Ok(made.freeze());
            }
        }
        Ok(Bytes::new())
    }
}

// === impl Compressor ===

impl Compressor {
    pub(super) fn new() -> Result<Self, &'static str> {
        let mut context = CCtx::try_create().ok_or("no memory for zstd")?;
        context.set_parameter(CParameter::CompressionLevel(LEVEL)).map_err(zstd_safe::get_error_name)?;
        Ok(Self(context))
    }

    /// Takes all of `input`; what is ready of the frame, which may be nothing.
    pub(super) fn step(&mut self, input: &[u8]) -> Result<Bytes, &'static str> {
        let (mut made, mut block) = (BytesMut::new(), vec![0; STEP_BYTES]);
        let mut from = InBuffer::around(input);
        while from.pos() < input.len() {
            let mut to = OutBuffer::around(&mut block[..]);
            self.0.compress_stream(&mut to, &mut from).map_err(zstd_safe::get_error_name)?;
            let len = to.pos();
            made.extend_from_slice(&block[..len]);
        }
        Ok(made.freeze())
    }

    /// The rest of the frame.
    pub(super) fn finish(mut self) -> Result<Bytes, &'static str> {
        let (mut made, mut block) = (BytesMut::new(), vec![0; STEP_BYTES]);
        loop {
            let mut to = OutBuffer::around(&mut block[..]);
            let left = self.0.end_stream(&mut to).map_err(zstd_safe::get_error_name)?;
            let len = to.pos();
            made.extend_from_slice(&block[..len]);
            if left == 0 {
                return Ok(made.freeze());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_comes_out_again_however_it_is_cut() {
        let bytes: Vec<u8> =
            (0..700_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8 / 3).collect();
        let mut compressor = Compressor::new().expect("memory");
        let mut packed = Vec::new();
        for piece in bytes.chunks(100_000) {
            packed.extend_from_slice(&compressor.step(piece).expect("packs"));
        }
        packed.extend_from_slice(&compressor.finish().expect("packs"));
        for cut in [packed.len(), 1000, 7] {
            let mut decompressor = Decompressor::new().expect("memory");
            let mut made = Vec::new();
            for piece in packed.chunks(cut) {
                decompressor.feed(Bytes::copy_from_slice(piece));
                loop {
                    let step = decompressor.step().expect("unpacks");
                    if step.is_empty() {
                        break;
                    }
                    made.extend_from_slice(&step);
                }
            }
            assert!(made == bytes, "cut by {cut}");
        }
    }

    #[test]
    fn what_is_no_zstd_is_an_error() {
        let mut decompressor = Decompressor::new().expect("memory");
        decompressor.feed(Bytes::from_static(b"not zstd at all"));
        assert!(decompressor.step().is_err());
    }

    #[test]
    fn small_things_are_packed_whole_or_left_as_they_are() {
        let words = b"larder ".repeat(100);
        let packed = packed(&words).expect("it gets smaller");
        assert_eq!(unpacked(&packed, 700).expect("unpacks"), words);
        let mut noise = vec![0; 5000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for bytes in [&noise[..], b"x", b""] {
            assert_eq!(super::packed(bytes), None);
        }
    }

    #[test]
    fn no_more_is_made_than_was_said() {
        let bomb = packed(&vec![0; 64 << 20]).expect("it gets smaller");
        assert!(bomb.len() < 10_000);
        assert!(unpacked(&bomb, 1000).is_err());
        assert!(unpacked(b"not zstd at all", 1000).is_err());
    }
}
