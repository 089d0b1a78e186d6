//! The wire form of protobuf messages, read field by field: no structure is built, nothing is copied, nothing recurses.

use super::PARSED_BYTES_MAX;

/// Not what the caller took it for.
#[derive(Debug)]
pub(crate) struct Malformed;

pub(crate) type Parsed<T> = Result<T, Malformed>;

/// The fields of one serialized message, in order.
pub(crate) struct Fields<'a>(&'a [u8]);

/// What a field has, as far as its wire type says.
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed,
    Bytes(&'a [u8]),
}

// === impl Fields ===

impl<'a> Fields<'a> {
    /// # Errors
    /// Over [`PARSED_BYTES_MAX`].
    pub(crate) fn of(bytes: &'a [u8]) -> Parsed<Self> {
        if bytes.len() > PARSED_BYTES_MAX { Err(Malformed) } else { Ok(Self(bytes)) }
    }

    /// The next field and its number.
    pub(crate) fn next(&mut self) -> Parsed<Option<(u32, Value<'a>)>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| Malformed)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups (3 and 4) are in no message of this API; the others do not exist.
            _ => return Err(Malformed),
        };
        match key >> 3 {
            0 => Err(Malformed),
            number => Ok(Some((number, value))),
        }
    }

    /// Bytes that are still to be read.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The next number of a packed list; also what fields are made of.
    pub(crate) fn varint(&mut self) -> Parsed<u64> {
        let mut value = 0;
        for shift in 0..10 {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                // The tenth byte has room for one bit.
                return if shift == 9 && byte > 1 { Err(Malformed) } else { Ok(value) };
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, len: u64) -> Parsed<&'a [u8]> {
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> Parsed<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed => Err(Malformed),
        }
    }

    pub(crate) fn text(self) -> Parsed<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    pub(crate) fn varint(self) -> Parsed<u64> {
        match self {
            Self::Varint(bits) => Ok(bits),
            Self::Fixed | Self::Bytes(_) => Err(Malformed),
        }
    }
}
