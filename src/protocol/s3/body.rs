//! Request bodies: what is announced of one, and reading it with all that is checked on the way.

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use sha2::{Digest as _, Sha256};

use super::checksum::{self, Algorithm, Summing};
use super::chunked::Decoder;
use super::refusal::{Refusal, Trouble};
use super::sigv4::{Caller, Seed, unhex};
use crate::cache::{Part, Put};
use crate::protocol::http::{Incoming, Upload};
use crate::protocol::objects::md5::{Hasher, Sum};

/// What a request says of its body.
#[derive(Debug)]
pub(super) struct Plan {
    /// Bytes, as they are stored.
    pub(super) len: Option<u64>,
    /// It comes in chunks, signed from this seed on.
    chunks: Option<Option<Seed>>,
    sha256: Option<[u8; 32]>,
    md5: Option<Sum>,
    stated: Option<(Algorithm, Vec<u8>)>,
    /// The checksum that comes behind it.
    trailer: Option<Algorithm>,
}

/// Where it goes.
#[derive(Debug)]
pub(super) enum Sink<'a> {
    Put(&'a mut Put),
    Part(&'a mut Part),
    /// Up to so many bytes.
    Memory(&'a mut Vec<u8>, u64),
    Nothing,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) md5: Sum,
    /// The checksum that the client gave and that was right, as it is written.
    pub(super) checksum: Option<(Algorithm, String)>,
}

// === impl Plan ===

impl Plan {
    pub(super) fn of<B: Incoming>(
        headers: &HeaderMap,
        caller: &Caller,
        upload: &Upload<B>,
    ) -> Result<Self, Refusal> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let seed = match caller {
            Caller::Key(signed) => Some(signed.seed.clone()),
            Caller::Owner => None,
        };
        let payload = text("x-amz-content-sha256").unwrap_or("UNSIGNED-PAYLOAD");
        let says_chunked = text(CONTENT_ENCODING.as_str()).is_some_and(|value| {
            value.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("aws-chunked"))
        });
        let (chunks, sha256) = match payload {
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => (Some(None), None),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" | "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => {
                (Some(seed), None)
            }
            "UNSIGNED-PAYLOAD" => (says_chunked.then_some(None), None),
            hash => {
                let words =
                    "x-amz-content-sha256 is neither a SHA-256 in hex nor one of the payloads that are known";
                (None, Some(unhex(hash).ok_or_else(|| Refusal::bad("InvalidRequest", words))?))
            }
        };
        let len = match (&chunks, text("x-amz-decoded-content-length")) {
            (None, _) => upload.len(),
            (Some(_), None) => None,
            (Some(_), Some(len)) => {
                let words = "x-amz-decoded-content-length is not a number";
                Some(len.parse().map_err(|_| Refusal::bad("InvalidRequest", words))?)
            }
        };
        let md5 = text("content-md5").map(Sum::parse).transpose();
        let md5 = md5.map_err(|error| Refusal::bad("InvalidDigest", error.message()))?;
        let trailer = match text("x-amz-trailer").filter(|_| chunks.is_some()) {
            None => None,
            Some(name) => Some(Algorithm::named(name.trim()).ok_or_else(|| {
                Refusal::bad("InvalidRequest", "x-amz-trailer names no checksum that is known")
            })?),
        };
        Ok(Self { len, chunks, sha256, md5, stated: checksum::stated(headers)?, trailer })
    }

    /// Reads the whole body into `sink`, and checks it.
    pub(super) async fn pour<B: Incoming>(
        mut self,
        upload: &mut Upload<B>,
        mut sink: Sink<'_>,
    ) -> Result<Taken, Trouble> {
        let mut decoder = self.chunks.take().map(Decoder::new);
        let mut md5 = Hasher::default();
        let mut sha256 = self.sha256.map(|_| Sha256::new());
        let algorithm = self.trailer.or(self.stated.as_ref().map(|(algorithm, _)| *algorithm));
        let mut summing = algorithm.map(Algorithm::summing);
        let (mut len, mut pieces) = (0, Vec::new());
        while let Some(piece) = upload.next().await? {
            match &mut decoder {
                Some(decoder) => decoder.feed(piece, &mut pieces)?,
                None => pieces.push(piece),
            }
            for piece in pieces.drain(..) {
                len += piece.len() as u64;
                md5.update(&piece);
                if let Some(sha256) = &mut sha256 {
                    sha256.update(&piece);
                }
                if let Some(summing) = &mut summing {
                    summing.update(&piece);
                }
                sink.write(piece).await?;
            }
        }
        let trailers =
            decoder.map(Decoder::finish).transpose()?.map(|(_, trailers)| trailers).unwrap_or_default();
        self.check(len, md5.finish(), sha256, summing, &trailers)
    }

    fn check(
        self,
        len: u64,
        md5: Sum,
        sha256: Option<Sha256>,
        summing: Option<Summing>,
        trailers: &[(String, String)],
    ) -> Result<Taken, Trouble> {
        if let Some(announced) = self.len.filter(|announced| *announced != len) {
            let words = format!("the body has {len} bytes, {announced} were announced");
            return Err(Refusal::bad("IncompleteBody", words).into());
        }
        let sha256: Option<[u8; 32]> = sha256.map(|sha256| sha256.finalize().into());
        if sha256 != self.sha256 {
            let words = "the body's SHA-256 is not the one in x-amz-content-sha256";
            return Err(Refusal::bad("XAmzContentSHA256Mismatch", words).into());
        }
        md5.check(self.md5.as_ref()).map_err(|error| Refusal::bad("BadDigest", error.message()))?;
        let Some(summing) = summing else { return Ok(Taken { md5, checksum: None }) };
        let algorithm = summing.algorithm();
        let expected = match self.trailer {
            Some(trailer) => {
                let sent = trailers.iter().find(|(name, _)| *name == *trailer.header());
                let words = format!("the trailer lacks the announced {}", trailer.header());
                let (_, value) = sent.ok_or_else(|| Refusal::bad("InvalidRequest", words))?;
                Some(trailer.parse(value)?)
            }
            None => self.stated.map(|(_, bytes)| bytes),
        };
        let sum = summing.finish();
        if expected.is_some_and(|expected| expected != sum) {
            let words = format!(
                "the body's {} is {}, another than was sent",
                algorithm.header(),
                checksum::write(&sum)
            );
            return Err(Refusal::bad("BadDigest", words).into());
        }
        Ok(Taken { md5, checksum: Some((algorithm, checksum::write(&sum))) })
    }
}

// === impl Sink ===

impl Sink<'_> {
    async fn write(&mut self, piece: Bytes) -> Result<(), Trouble> {
        match self {
            Self::Put(put) => Ok(put.write(piece).await?),
            Self::Part(part) => Ok(part.write(piece).await?),
            Self::Memory(bytes, max) => {
                if (bytes.len() + piece.len()) as u64 > *max {
                    let words = format!("the body is over the {max} bytes that are taken here");
                    return Err(Refusal::bad("MaxMessageLengthExceeded", words).into());
                }
                bytes.extend_from_slice(&piece);
                Ok(())
            }
            Self::Nothing => Ok(()),
        }
    }
}
