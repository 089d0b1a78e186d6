//! What an action result names: the blobs without which it is no hit.

use std::sync::Arc;

use crate::digest::Digest;

/// One blob that an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its digest.
    pub digest: Digest,
    /// Its size, as the naming entry says.
    pub size: u64,
    /// Whether the blob is a `Tree` that itself names blobs (see [`tree`]).
    pub tree: bool,
}

/// What an entry of a linked space names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Links {
    /// It doesn't parse strictly: bytes that are kept and returned, and name nothing.
    Opaque,
    /// These, each once, the empty blob left out. May be empty.
    Known(Arc<[Link]>),
}
