//! Who may do what: SharedKey and shared access signatures, verified against the keys that Larder issued.
//!
//! A signature that is sent is always verified, whoever sends it. What is not signed is the owner's, where the server
//! says that only the owner can have sent it. A key is of one container and looks or writes; a signature made with it
//! can do no more than the key.

#[cfg(any(fuzzing, test))]
pub(super) mod fuzzing;
mod sas;
mod shared_key;

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::Sha256;

use super::refusal::Refusal;
use crate::keyring::{Access, Grant, Keyring};
use crate::protocol::Admission;
use crate::protocol::objects::query::Query;

/// The account that this machine is.
pub(super) const ACCOUNT: &str = "larder";

/// Clocks may differ by so much.
const SKEW_SECONDS: u64 = 15 * 60;

/// What a request may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Rights {
    pub(super) read: bool,
    /// New blobs only.
    pub(super) create: bool,
    pub(super) write: bool,
    pub(super) delete: bool,
    pub(super) list: bool,
}

/// A request, as far as signatures cover it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    /// As it came.
    pub(super) path: &'a str,
    pub(super) query: &'a Query,
    pub(super) headers: &'a HeaderMap,
    /// Without it, nothing but what is the owner's.
    pub(super) container: Option<&'a str>,
    /// The blob's name, if it is about one.
    pub(super) blob: Option<&'a str>,
}

/// What a request may do.
pub(super) fn rights(keyring: &Keyring, admission: Admission, asked: &Asked<'_>) -> Result<Rights, Refusal> {
    let authorization = asked.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let shared_key = authorization.and_then(|value| value.strip_prefix("SharedKey "));
    if shared_key.is_none() && asked.query.get("sig").is_none() {
        return match admission {
            Admission::Owner => Ok(Rights::ALL),
            Admission::Signed => Err(Refusal::unauthenticated(
                "this listener takes signed requests only; `larder token new --azure CONTAINER` issues a key",
            )),
        };
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let grants = asked.container.map(|container| keyring.azure(container)).unwrap_or_default();
    match shared_key {
        Some(credentials) => shared_key::rights(&grants, credentials, asked, now),
        None => sas::rights(&grants, asked, now),
    }
}

/// The grant whose key made this signature of a text; it must not have ended.
fn signer<'a>(grants: &'a [Grant], signature: &str, text: &str, now: u64) -> Result<&'a Grant, Refusal> {
    let Ok(signature) = STANDARD.decode(signature) else {
        return Err(Refusal::unauthenticated("the signature is not base64"));
    };
    let made = |grant: &&Grant| {
        Hmac::<Sha256>::new_from_slice(grant.secret.bytes())
            .is_ok_and(|mac| mac.chain_update(text).verify_slice(&signature).is_ok())
    };
    let Some(grant) = grants.iter().find(made) else {
        return Err(Refusal::unauthenticated(
            "the signature is not one of a key for this container; `larder token list` shows which keys there are",
        ));
    };
    if grant.expires.is_some_and(|expires| expires <= now) {
        return Err(Refusal::unauthenticated("the key has expired; `larder token new` issues another"));
    }
    Ok(grant)
}

// === impl Rights ===

impl Rights {
    pub(super) const ALL: Self = Self { read: true, create: true, write: true, delete: true, list: true };
    const LOOK: Self = Self { read: true, create: false, write: false, delete: false, list: true };

    fn of(access: Access) -> Self {
        match access {
            Access::ReadOnly => Self::LOOK,
            Access::ReadWrite => Self::ALL,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            read: self.read && other.read,
            create: self.create && other.create,
            write: self.write && other.write,
            delete: self.delete && other.delete,
            list: self.list && other.list,
        }
    }
}

#[cfg(test)]
mod tests;
