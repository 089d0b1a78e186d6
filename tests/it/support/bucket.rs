//! A bucket of any kind: a real S3, Azure's own emulator, a small Google. What a test does to one, it can do to each.

use std::fmt;
use std::net::SocketAddr;

use super::azurite::{self, Azurite};
use super::fault::Fault;
use super::gcs::{self, Gcs, Role};
use super::setup::KeyFile;
use super::weed::{self, Weed};

/// Whose dialect a bucket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    S3,
    Azure,
    Google,
}

/// A bucket that lets some keys in and no others. It ends with this value.
pub(crate) enum Bucket {
    S3(Weed),
    Azure(Azurite),
    Google(Gcs),
}

/// Keys of one holder, and the file that they are written in.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    kind: Kind,
    name: String,
    text: String,
}

// === impl Kind ===

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::S3, Self::Azure, Self::Google];

    /// Keys that no bucket lets in before it is told of them.
    pub(crate) fn keys(self, name: &str) -> Keys {
        let text = match self {
            Self::S3 => weed::Keys::new(name).text(),
            Self::Azure => format!("AccountName={};AccountKey={}", azurite::ACCOUNT, azurite::key(name)),
            Self::Google => gcs::key_file(&account(name)),
        };
        Keys { kind: self, name: name.into(), text }
    }

    /// How it says no, in its own words: not this, not with these keys, not so often.
    pub(crate) fn refusals(self) -> Vec<Fault> {
        let codes: &[(u16, &'static str)] = match self {
            Self::S3 => &[
                (403, "AccessDenied"),
                (403, "ExpiredToken"),
                (403, "InvalidAccessKeyId"),
                (429, "TooManyRequests"),
                (503, "SlowDown"),
            ],
            Self::Azure => &[
                (403, "AuthorizationPermissionMismatch"),
                (403, "AuthenticationFailed"),
                (403, "AuthorizationFailure"),
                (429, "TooManyRequests"),
                (503, "ServerBusy"),
            ],
            Self::Google => &[
                (403, "AccessDenied"),
                (401, "AuthenticationRequired"),
                (429, "TooManyRequests"),
                (503, "ServiceUnavailable"),
            ],
        };
        codes.iter().map(|&(code, word)| Fault::Status { code, word }).collect()
    }
}

// === impl Bucket ===

impl Bucket {
    /// An empty bucket that lets `keys` in. An account of Azure's has two at most.
    pub(crate) fn start(kind: Kind, keys: &[&Keys]) -> Self {
        match kind {
            Kind::S3 => {
                let keys = of_s3(keys);
                Self::S3(Weed::start(&keys.iter().collect::<Vec<_>>()))
            }
            Kind::Azure => Self::Azure(Azurite::start(&names(keys))),
            Kind::Google => {
                let bucket = Gcs::start(&[]);
                allow(&bucket, keys);
                Self::Google(bucket)
            }
        }
    }

    /// From now on it lets only `keys` in, and still has all that it had. A real one starts again for that.
    pub(crate) fn admit(&mut self, keys: &[&Keys]) {
        match self {
            Self::S3(weed) => {
                let keys = of_s3(keys);
                weed.restart(&keys.iter().collect::<Vec<_>>());
            }
            Self::Azure(azurite) => azurite.restart(&names(keys)),
            Self::Google(gcs) => allow(gcs, keys),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::S3(_) => Kind::S3,
            Self::Azure(_) => Kind::Azure,
            Self::Google(_) => Kind::Google,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self {
            Self::S3(weed) => weed.addr(),
            Self::Azure(azurite) => azurite.addr(),
            Self::Google(gcs) => gcs.addr(),
        }
    }

    /// The upstream URL of it, or of a part of it, reached at `addr`: its own, or that of a proxy before it.
    pub(crate) fn url(&self, addr: SocketAddr, prefix: &str) -> String {
        match self {
            Self::S3(_) => weed::url(addr, prefix),
            Self::Azure(_) => azurite::url(addr, prefix),
            Self::Google(_) => gcs::url(addr, prefix),
        }
    }
}

// === impl Keys ===

impl KeyFile for Keys {
    fn text(&self) -> String {
        self.text.clone()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({:?}, {})", self.kind, self.name)
    }
}

fn of_s3(keys: &[&Keys]) -> Vec<weed::Keys> {
    keys.iter().map(|keys| weed::Keys::new(&keys.name)).collect()
}

fn names<'a>(keys: &[&'a Keys]) -> Vec<&'a str> {
    keys.iter().map(|keys| &*keys.name).collect()
}

fn allow(gcs: &Gcs, keys: &[&Keys]) {
    let accounts: Vec<String> = keys.iter().map(|keys| account(&keys.name)).collect();
    gcs.allow(&accounts.iter().map(|who| (&**who, Role::Writer)).collect::<Vec<_>>());
}

/// A service account's address.
fn account(name: &str) -> String {
    format!("{name}@team")
}
