//! `aws-chunked` bodies: chunks with their lengths, perhaps signed, perhaps with a trailer.
//!
//! ```text
//! {hex}[;chunk-signature={hex}]\r\n {bytes} \r\n … 0[;chunk-signature={hex}]\r\n [{name}:{value}\r\n …] \r\n
//! ```
//! Each signature is made of the one before it. They are checked where the request was signed with a key of ours; who
//! may come in without one has nothing to check them with. Bytes are passed on as they come: what turns out wrong at a
//! chunk's end is refused before anything is stored.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::refusal::Refusal;
use super::sigv4::{EMPTY_SHA256, Seed, is_signed};
use crate::digest::hex;

/// Takes such a body apart.
#[derive(Debug)]
pub(super) struct Decoder {
    at: At,
    /// The line that is being read.
    line: Vec<u8>,
    signer: Option<Signer>,
    /// Names in lower case.
    trailers: Vec<(String, String)>,
    trailer_bytes: usize,
    decoded: u64,
}

/// Where in a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    /// So many bytes are left of the chunk.
    Data(u64),
    /// The line break behind a chunk.
    Break,
    Trailer,
    End,
}

#[derive(Debug)]
struct Signer {
    seed: Seed,
    hasher: Sha256,
    /// Of the chunk that is being read.
    announced: String,
}

/// A head of a chunk is shorter: 16 digits and a signature.
const LINE_BYTES_MAX: usize = 256;
const TRAILER_BYTES_MAX: usize = 4096;

// === impl Decoder ===

impl Decoder {
    /// `seed`: chunks are signed, and that is what the first signature goes on from.
    pub(super) fn new(seed: Option<Seed>) -> Self {
        let signer = seed.map(|seed| Signer { seed, hasher: Sha256::new(), announced: String::new() });
        Self { at: At::Head, line: Vec::new(), signer, trailers: Vec::new(), trailer_bytes: 0, decoded: 0 }
    }

    /// Takes the next bytes of a body; the bytes of its chunks go to `out`.
    pub(super) fn feed(&mut self, mut piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), Refusal> {
        while !piece.is_empty() {
            if let At::Data(left) = self.at {
                let taken = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let data = piece.split_to(taken);
                if let Some(signer) = &mut self.signer {
                    signer.hasher.update(&data);
                }
                self.decoded += taken as u64;
                let left = left - taken as u64;
                self.at = if left == 0 { At::Break } else { At::Data(left) };
                out.push(data);
                if left == 0 {
                    self.end_chunk()?;
                }
                continue;
            }
            if self.at == At::End {
                return Err(malformed("there are bytes behind its last chunk"));
            }
            match piece.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.line.extend_from_slice(&piece.split_to(end + 1)[..end]);
                    let is_whole = self.line.last() == Some(&b'\r');
                    if is_whole {
                        self.line.pop();
                    } else if self.at == At::Break {
                        // The `\r` of one that is a byte too short would be taken for its last byte.
                        return Err(malformed("a chunk is not as long as its head says"));
                    }
                    let line = String::from_utf8(std::mem::take(&mut self.line));
                    self.line(&line.map_err(|_| malformed("a line of it is not text"))?)?;
                }
                None => self.line.extend_from_slice(&std::mem::take(&mut piece)),
            }
            if self.line.len() > LINE_BYTES_MAX + TRAILER_BYTES_MAX {
                return Err(malformed("a line of it has no end"));
            }
        }
        Ok(())
    }

    /// The end of the body: how many bytes the chunks had, and the trailer.
    pub(super) fn finish(self) -> Result<(u64, Vec<(String, String)>), Refusal> {
        if self.at != At::End {
            return Err(Refusal::bad("IncompleteBody", "the aws-chunked body ends before its last chunk"));
        }
        Ok((self.decoded, self.trailers))
    }

    fn line(&mut self, line: &str) -> Result<(), Refusal> {
        match self.at {
            At::Head => self.head(line),
            At::Break if line.is_empty() => {
                self.at = At::Head;
                Ok(())
            }
            At::Break => Err(malformed("a chunk is longer than its head says")),
            At::Trailer if line.is_empty() => {
                self.at = At::End;
                self.end_trailer()
            }
            At::Trailer => self.trailer(line),
            At::Data(_) | At::End => Ok(()),
        }
    }

    fn head(&mut self, line: &str) -> Result<(), Refusal> {
        if line.len() > LINE_BYTES_MAX {
            return Err(malformed("the head of a chunk has no end"));
        }
        let (size, extension) = line.split_once(';').unwrap_or((line, ""));
        let digits = size.trim();
        let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(digits, 16).ok().filter(|_| is_hex);
        let size = size.ok_or_else(|| malformed("the head of a chunk is no length in hex"))?;
        if let Some(signer) = &mut self.signer {
            let signature = extension.trim().strip_prefix("chunk-signature=");
            signer.announced = signature
                .ok_or_else(|| Refusal::denied("SignatureDoesNotMatch", "a chunk of the body is not signed"))?
                .to_owned();
        }
        if size > 0 {
            self.at = At::Data(size);
            return Ok(());
        }
        self.end_chunk()?;
        self.at = At::Trailer;
        Ok(())
    }

    /// Checks the signature of the chunk that has ended.
    fn end_chunk(&mut self) -> Result<(), Refusal> {
        let Some(signer) = &mut self.signer else { return Ok(()) };
        let hash = hex(&std::mem::take(&mut signer.hasher).finalize());
        let Seed { key, date, scope, signature } = &mut signer.seed;
        let text = format!("AWS4-HMAC-SHA256-PAYLOAD\n{date}\n{scope}\n{signature}\n{EMPTY_SHA256}\n{hash}");
        if !is_signed(&key[..], &text, &signer.announced) {
            let words = "the signature of a chunk is not the one that the secret access key makes of it";
            return Err(Refusal::denied("SignatureDoesNotMatch", words));
        }
        *signature = std::mem::take(&mut signer.announced);
        Ok(())
    }

    fn trailer(&mut self, line: &str) -> Result<(), Refusal> {
        self.trailer_bytes += line.len();
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(malformed("its trailer is over 4 KiB"));
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| malformed("its trailer has a line that is no header"))?;
        self.trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        Ok(())
    }

    /// A trailer of a signed body is signed, too.
    fn end_trailer(&mut self) -> Result<(), Refusal> {
        let at = self.trailers.iter().position(|(name, _)| name == "x-amz-trailer-signature");
        let signed = at.map(|at| self.trailers.remove(at).1);
        let Some(signer) = &self.signer else { return Ok(()) };
        if self.trailers.is_empty() {
            return Ok(());
        }
        let lines: String = self.trailers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let hash = hex(&Sha256::digest(lines.as_bytes()));
        let Seed { key, date, scope, signature } = &signer.seed;
        let text = format!("AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{signature}\n{hash}");
        if !signed.is_some_and(|signed| is_signed(&key[..], &text, &signed)) {
            let words = "the signature of the trailer is not the one that the secret access key makes of it";
            return Err(Refusal::denied("SignatureDoesNotMatch", words));
        }
        Ok(())
    }
}

fn malformed(words: &str) -> Refusal {
    Refusal::bad("InvalidRequest", format!("the aws-chunked body can't be read: {words}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: &[u8] = b"3\r\nlar\r\n3;x=y\r\nder\r\n0\r\nX-Amz-Checksum-Crc32: AAAA\r\n\r\n";

    type Decoded = Result<(Vec<u8>, u64, Vec<(String, String)>), &'static str>;

    fn decode(body: &[u8], cuts: &[usize]) -> Decoded {
        let (mut decoder, mut out) = (Decoder::new(None), Vec::new());
        let mut start = 0;
        for end in cuts.iter().copied().chain([body.len()]) {
            let piece = Bytes::copy_from_slice(&body[start..end]);
            decoder.feed(piece, &mut out).map_err(|refusal| refusal.code)?;
            start = end;
        }
        let (decoded, trailers) = decoder.finish().map_err(|refusal| refusal.code)?;
        Ok((out.concat(), decoded, trailers))
    }

    #[test]
    fn chunks_and_trailers_are_taken_apart() {
        let trailers = vec![("x-amz-checksum-crc32".to_owned(), "AAAA".to_owned())];
        assert_eq!(decode(BODY, &[]), Ok((b"larder".to_vec(), 6, trailers)));
        assert_eq!(decode(b"0\r\n\r\n", &[]), Ok((Vec::new(), 0, Vec::new())));
        assert_eq!(decode(b"a\n0123456789\r\n0\n\n", &[]).map(|decoded| decoded.1), Ok(10));
        for bad in [
            &b"x\r\n"[..],
            b"+1\r\na\r\n",
            b"\r\n",
            b"3\r\nlarder\r\n0\r\n\r\n",
            b"4\r\nlar\r\n0\r\n\r\n",
            b"0\r\nnothing\r\n\r\n",
            b"0\r\n\r\nmore",
            b"fffffffffffffffff\r\n",
        ] {
            assert_eq!(decode(bad, &[]), Err("InvalidRequest"), "{}", bad.escape_ascii());
        }
        let endless = [&b"1;"[..], &[b'x'; 10_000]].concat();
        assert_eq!(decode(&endless, &[]), Err("InvalidRequest"));
        for end in 0..BODY.len() {
            assert_eq!(decode(&BODY[..end], &[]), Err("IncompleteBody"), "{end}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_the_same(mut cuts in proptest::collection::vec(0..BODY.len(), 0..8)) {
            cuts.sort_unstable();
            prop_assert_eq!(decode(BODY, &cuts), decode(BODY, &[]));
        }

        #[test]
        fn anything_is_refused_or_decoded_alike(body in proptest::collection::vec(any::<u8>(), 0..64), cut in 0_usize..64) {
            prop_assert_eq!(decode(&body, &[cut.min(body.len())]), decode(&body, &[]));
        }
    }
}
