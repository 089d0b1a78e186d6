//! The requests that have many blobs in them, and the names of blobs.
//!
//! Lists are read field by field (see [`crate::links::fields`]) and their length is bounded as they grow: decoded as
//! structures, a request of two bytes an item would take fifty times its length in memory. Hashes go straight into
//! arrays, data stays the bytes that came.

use bytes::Bytes;
use tonic::Status;

use super::grpc::garbage;
use crate::digest::{Digest, Function};
use crate::error::Error;
use crate::key::Scope;
use crate::links::fields::{Fields, Malformed, Parsed, Value};

/// A blob as a client names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: Digest,
    /// What the client says of its length.
    pub(crate) size: u64,
}

/// How bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compressor {
    Identity,
    Zstd,
}

/// A list of blobs: `FindMissingBlobsRequest`, `BatchReadBlobsRequest`.
#[derive(Debug)]
pub(crate) struct BlobList {
    pub(crate) instance: String,
    pub(crate) blobs: Vec<Blob>,
    /// Answers may be compressed by zstd.
    pub(crate) takes_zstd: bool,
    pub(crate) function: i32,
}

/// `BatchUpdateBlobsRequest`.
#[derive(Debug)]
pub(crate) struct Updates {
    pub(crate) instance: String,
    pub(crate) blobs: Vec<Update>,
    pub(crate) function: i32,
}

/// One blob of a [`Updates`].
#[derive(Debug)]
pub(crate) struct Update {
    pub(crate) blob: Blob,
    pub(crate) data: Bytes,
    pub(crate) compressor: Compressor,
}

/// `UpdateActionResultRequest`, whose result stays the bytes that came.
#[derive(Debug)]
pub(crate) struct ResultUpdate {
    pub(crate) instance: String,
    pub(crate) action: Blob,
    pub(crate) result: Bytes,
    pub(crate) function: i32,
}

/// Which fields of a request are what.
struct Numbers {
    blobs: u32,
    compressors: u32,
    function: u32,
}

const FIND_MISSING: Numbers = Numbers { blobs: 2, compressors: u32::MAX, function: 3 };
const BATCH_READ: Numbers = Numbers { blobs: 2, compressors: 3, function: 4 };

/// A request of at most 16 MiB has no more well-formed digests than this.
const BLOBS_MAX: usize = 250_000;

/// `google.bytestream` and the batches call it so.
const ZSTD: i32 = 1;

// === names ===

/// The function that a request means, by its number there: 0 is what its namespace says.
pub(crate) fn function(scope: &Scope, number: i32) -> Result<Function, Status> {
    match number {
        0 => Ok(scope.policy.digest),
        1 => Ok(Function::Sha256),
        9 => Ok(Function::Blake3),
        other => {
            let words = format!("digest function {other} is not served: SHA256 (1) and BLAKE3 (9) are");
            Err(Status::invalid_argument(words))
        }
    }
}

impl Blob {
    /// A blob by the text of its hash and what is said of its size.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is no hash, and for a size that it can't have.
    pub(crate) fn named(function: Function, hash: &str, size: i64) -> Result<Self, Status> {
        let digest = Digest::parse(function, hash).map_err(|error| invalid(&error))?;
        let size = u64::try_from(size)
            .map_err(|_| Status::invalid_argument(format!("the blob {hash} can't have {size} bytes")))?;
        Self { digest, size }.checked()
    }

    /// The same of another function.
    pub(crate) fn of(self, function: Function) -> Result<Self, Status> {
        Self { digest: Digest::new(function, *self.digest.hash()), ..self }.checked()
    }

    fn checked(self) -> Result<Self, Status> {
        if self.digest.is_empty_blob() != (self.size == 0) {
            let words = format!("the blob {} can't have {} bytes", self.digest.hex(), self.size);
            return Err(Status::invalid_argument(words));
        }
        Ok(self)
    }
}

fn invalid(error: &Error) -> Status {
    Status::invalid_argument(error.message().to_owned())
}

// === requests ===

impl BlobList {
    pub(crate) fn find_missing(message: &[u8]) -> Result<Self, Status> {
        Self::parse(message, &FIND_MISSING)
    }

    pub(crate) fn batch_read(message: &[u8]) -> Result<Self, Status> {
        Self::parse(message, &BATCH_READ)
    }

    fn parse(message: &[u8], numbers: &Numbers) -> Result<Self, Status> {
        let mut list = Self {
            instance: String::new(),
            // Nearly all of the message, at 70 bytes a digest.
            blobs: Vec::with_capacity(message.len() / 70 + 1),
            takes_zstd: false,
            function: 0,
        };
        let mut fields = Fields::of(message).map_err(|Malformed| garbage())?;
        while let Some((number, value)) = fields.next().map_err(|Malformed| garbage())? {
            if number == 1 {
                list.instance = text(&value)?.to_owned();
            } else if number == numbers.blobs {
                room(list.blobs.len())?;
                list.blobs.push(digest(bytes(&value)?)?);
            } else if number == numbers.compressors {
                list.takes_zstd |= names_zstd(&value).map_err(|Malformed| garbage())?;
            } else if number == numbers.function {
                list.function = enumeration(&value)?;
            }
        }
        Ok(list)
    }

    /// The same with all digests of this function.
    pub(crate) fn of(&mut self, function: Function) -> Result<(), Status> {
        for blob in &mut self.blobs {
            *blob = blob.of(function)?;
        }
        Ok(())
    }
}

impl Updates {
    pub(crate) fn parse(message: &Bytes) -> Result<Self, Status> {
        let mut updates = Self { instance: String::new(), blobs: Vec::new(), function: 0 };
        let mut fields = Fields::of(message).map_err(|Malformed| garbage())?;
        while let Some((number, value)) = fields.next().map_err(|Malformed| garbage())? {
            match number {
                1 => updates.instance = text(&value)?.to_owned(),
                2 => {
                    room(updates.blobs.len())?;
                    updates.blobs.push(Update::parse(message, bytes(&value)?)?);
                }
                5 => updates.function = enumeration(&value)?,
                _ => {}
            }
        }
        Ok(updates)
    }
}

impl Update {
    fn parse(message: &Bytes, part: &[u8]) -> Result<Self, Status> {
        let (mut blob, mut data, mut compressor) = (None, Bytes::new(), 0);
        let mut fields = Fields::of(part).map_err(|Malformed| garbage())?;
        while let Some((number, value)) = fields.next().map_err(|Malformed| garbage())? {
            match number {
                1 => once(&mut blob, digest(bytes(&value)?)?)?,
                2 => data = message.slice_ref(bytes(&value)?),
                3 => compressor = enumeration(&value)?,
                _ => {}
            }
        }
        let compressor = match compressor {
            0 => Compressor::Identity,
            1 => Compressor::Zstd,
            other => {
                return Err(Status::invalid_argument(format!(
                    "compressor {other} is not served: zstd (1) is"
                )));
            }
        };
        let blob = blob.ok_or_else(|| Status::invalid_argument("a blob of the batch has no digest"))?;
        Ok(Self { blob, data, compressor })
    }
}

impl ResultUpdate {
    pub(crate) fn parse(message: &Bytes) -> Result<Self, Status> {
        let (mut instance, mut action, mut result, mut function) = (String::new(), None, None, 0);
        let mut fields = Fields::of(message).map_err(|Malformed| garbage())?;
        while let Some((number, value)) = fields.next().map_err(|Malformed| garbage())? {
            match number {
                1 => instance = text(&value)?.to_owned(),
                2 => once(&mut action, digest(bytes(&value)?)?)?,
                3 => once(&mut result, message.slice_ref(bytes(&value)?))?,
                5 => function = enumeration(&value)?,
                _ => {}
            }
        }
        let action = action.ok_or_else(|| Status::invalid_argument("the request has no action_digest"))?;
        let result = result.ok_or_else(|| Status::invalid_argument("the request has no action_result"))?;
        Ok(Self { instance, action, result, function })
    }
}

// === fields ===

/// A digest whose function is not known yet: that it has the size it says is checked by [`Blob::of`].
fn digest(bytes: &[u8]) -> Result<Blob, Status> {
    let (mut hash, mut size) = ("", 0);
    let mut fields = Fields::of(bytes).map_err(|Malformed| garbage())?;
    while let Some((number, value)) = fields.next().map_err(|Malformed| garbage())? {
        match number {
            1 => hash = text(&value)?,
            2 => size = value.varint().map_err(|Malformed| garbage())?,
            _ => {}
        }
    }
    let digest = Digest::parse(Function::default(), hash).map_err(|error| invalid(&error))?;
    // An int64: a negative one has the top bit set.
    if size > i64::MAX as u64 {
        return Err(Status::invalid_argument(format!("the blob {hash} can't have {} bytes", size as i64)));
    }
    Ok(Blob { digest, size })
}

/// Takes a message that may be given once. Decoders merge repeated ones, serializers never write them.
fn once<T>(place: &mut Option<T>, value: T) -> Result<(), Status> {
    if place.replace(value).is_some() { Err(garbage()) } else { Ok(()) }
}

/// Compressors that are taken, packed or not.
fn names_zstd(value: &Value<'_>) -> Parsed<bool> {
    match value {
        Value::Varint(number) => Ok(*number as i32 == ZSTD),
        Value::Bytes(packed) => {
            let mut numbers = Fields::of(packed)?;
            let mut is_named = false;
            while numbers.len() > 0 {
                is_named |= numbers.varint()? as i32 == ZSTD;
            }
            Ok(is_named)
        }
        Value::Fixed => Err(Malformed),
    }
}

fn room(count: usize) -> Result<(), Status> {
    if count < BLOBS_MAX {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("the request names more than the {BLOBS_MAX} blobs that are taken")))
}

fn bytes<'a>(value: &Value<'a>) -> Result<&'a [u8], Status> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Varint(_) | Value::Fixed => Err(garbage()),
    }
}

fn text<'a>(value: &Value<'a>) -> Result<&'a str, Status> {
    std::str::from_utf8(bytes(value)?).map_err(|_| garbage())
}

fn enumeration(value: &Value<'_>) -> Result<i32, Status> {
    match value {
        Value::Varint(bits) => Ok(*bits as i32),
        Value::Fixed | Value::Bytes(_) => Err(garbage()),
    }
}
