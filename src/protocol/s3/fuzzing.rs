//! What must hold of whatever bytes come at this door: each function takes some and panics if it doesn't.

use bytes::Bytes;

use super::chunked::Decoder;
use super::sigv4::Seed;
pub use super::sigv4::fuzzing::signature;
use crate::protocol::objects::fuzzing::is_calm;
pub use crate::protocol::objects::fuzzing::xml;

/// What a body was found to be: its bytes, and what came behind them.
type Decoded = Result<(Vec<u8>, Vec<(String, String)>), &'static str>;

/// An `aws-chunked` body is the same however it is cut, gives no more bytes than it has, and is never taken for signed
/// when it isn't.
pub fn chunked(bytes: &[u8]) {
    let whole = decode(bytes, bytes.len().max(1), None);
    for size in [1, 7] {
        assert_eq!(decode(bytes, size, None), whole, "in pieces of {size} bytes");
    }
    if let Ok((decoded, _)) = whole {
        assert!(decoded.len() < bytes.len());
    }
    let (date, scope) = ("20260101T000000Z".into(), "20260101/us-east-1/s3/aws4_request".into());
    let seed = Seed { key: [7; 32], date, scope, signature: "00".repeat(32) };
    assert!(decode(bytes, bytes.len().max(1), Some(seed)).is_err(), "nobody signed it");
}

fn decode(bytes: &[u8], size: usize, seed: Option<Seed>) -> Decoded {
    let (mut decoder, mut out) = (Decoder::new(seed), Vec::new());
    let calm = |refusal: super::Refusal| {
        is_calm(refusal.status, refusal.code, &refusal.message);
        refusal.code
    };
    for piece in bytes.chunks(size) {
        decoder.feed(Bytes::copy_from_slice(piece), &mut out).map_err(calm)?;
    }
    let (len, trailers) = decoder.finish().map_err(calm)?;
    let decoded = out.concat();
    assert_eq!(decoded.len() as u64, len);
    Ok((decoded, trailers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::objects::fuzzing::tests::damaged;

    const PLAIN: &[u8] = b"6\r\nlarder\r\n1\r\n!\r\n0\r\nx-amz-checksum-crc32: AAAA\r\n\r\n";
    const SIGNED: &[u8] =
        b"6;chunk-signature=0000000000000000000000000000000000000000000000000000000000000000\r\nlarder\r\n\
        0;chunk-signature=0000000000000000000000000000000000000000000000000000000000000000\r\n\r\n";

    proptest! {
        #[test]
        fn bodies(bytes in damaged(vec![PLAIN, SIGNED])) {
            chunked(&bytes);
        }
    }
}
