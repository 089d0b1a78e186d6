//! What the doors that speak as object stores share: metadata, conditions, XML, listings, MD5.
//!
//! What they answer for a name is decided by each of them; this is only what both mean alike.

pub(crate) mod attrs;
pub(crate) mod conditions;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
pub(crate) mod listing;
pub(crate) mod md5;
pub(crate) mod query;
pub(crate) mod xml;

/// Who asks, as far as the server knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// By a socket that only users of this machine who are let in reach, or with a bearer token: what they don't sign
    /// is theirs all the same.
    Owner,
    /// Anybody: only what is signed with a key of ours counts.
    Signed,
}
