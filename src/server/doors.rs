//! The doors: frontends of whole object stores, whose clients sign what they ask for.
//!
//! Unlike all others they take paths as they came (names there keep double slashes), and see for themselves who is let
//! in: off loopback a signature of theirs is as good as a token.

use std::sync::Arc;

use hyper::Request;

use super::access::Uploading;
use super::frontends::Protocol;
use super::virtual_host::S3Host;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::protocol::http::Answer;
use crate::protocol::{Admission, Context, Places, azure, s3};

/// Both of them.
#[derive(Debug)]
pub(super) struct Doors {
    azure: azure::Frontend,
    s3: s3::Frontend,
}

/// Where a request goes in, and what it names there.
#[derive(Debug)]
pub(super) enum Entrance {
    Azure(azure::Route),
    S3(s3::Route),
}

/// The Azure account that this machine is.
const ACCOUNT: &str = "/larder";
const S3: &str = "/s3";

// === impl Doors ===

impl Doors {
    pub(super) fn new(context: &Arc<Context>, places: &Arc<Places>, keyring: &Keyring) -> Self {
        Self {
            azure: azure::Frontend::new(Arc::clone(context), Arc::clone(places), keyring.clone()),
            s3: s3::Frontend::new(Arc::clone(context), Arc::clone(places), keyring.clone()),
        }
    }

    pub(super) fn answer_now(
        &self,
        admission: Admission,
        entrance: &Entrance,
        request: &Request<Uploading>,
    ) -> Option<Answer> {
        match entrance {
            Entrance::Azure(route) => self.azure.answer_now(admission, route, request),
            Entrance::S3(route) => self.s3.answer_now(admission, route, request),
        }
    }

    pub(super) async fn answer(
        &self,
        admission: Admission,
        entrance: Entrance,
        request: Request<Uploading>,
    ) -> Answer {
        match entrance {
            Entrance::Azure(route) => Box::pin(self.azure.answer(admission, route, request)).await,
            Entrance::S3(route) => Box::pin(self.s3.answer(admission, route, request)).await,
        }
    }

    pub(super) async fn refuse(&self, of: Protocol, error: &Error, request: Request<Uploading>) -> Answer {
        match of {
            Protocol::Azure => self.azure.refuse_request(error, request).await,
            _ => self.s3.refuse_request(error, request).await,
        }
    }
}

// === impl Entrance ===

impl Entrance {
    /// The door that a path leads to; on a listener for one door alone, every path does.
    pub(super) fn find(only: Option<Protocol>, path: &str, host: Option<S3Host<'_>>) -> Option<Self> {
        let bucket = host.and_then(|host| host.bucket);
        match only {
            None if host.is_some() => Some(Self::S3(s3::Route::parse(path, bucket))),
            None => match (below(path, ACCOUNT), below(path, S3)) {
                (Some(rest), _) => Some(Self::Azure(azure::Route::parse(rest))),
                (None, Some(rest)) => Some(Self::S3(s3::Route::parse(rest, None))),
                (None, None) => None,
            },
            // There the account may be left out.
            Some(Protocol::Azure) => {
                Some(Self::Azure(azure::Route::parse(below(path, ACCOUNT).unwrap_or(path))))
            }
            Some(Protocol::S3) => Some(Self::S3(s3::Route::parse(path, bucket))),
            Some(_) => None,
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Azure(_) => Protocol::Azure,
            Self::S3(_) => Protocol::S3,
        }
    }
}

/// What of a path lies below this one.
fn below<'a>(path: &'a str, first: &str) -> Option<&'a str> {
    path.strip_prefix(first).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Named;

    #[test]
    fn a_door_is_found_by_its_path_or_has_the_whole_listener() {
        let found =
            |only, path, bucket| Entrance::find(only, path, bucket).map(|entrance| entrance.protocol());
        for (path, door) in [
            ("/larder/c/b", Some(Protocol::Azure)),
            ("/larder", Some(Protocol::Azure)),
            ("/larder//", Some(Protocol::Azure)),
            ("/s3/b//k", Some(Protocol::S3)),
            ("/s3", Some(Protocol::S3)),
            ("/s3x/b", None),
            ("/larders/b", None),
            ("//s3/b", None),
            ("/x/s3/b", None),
            ("/", None),
        ] {
            assert_eq!(found(None, path, None), door, "{path}");
            assert_eq!(found(Some(Protocol::S3), path, None), Some(Protocol::S3), "{path}");
            assert_eq!(found(Some(Protocol::Azure), path, None), Some(Protocol::Azure), "{path}");
            assert_eq!(found(Some(Protocol::Named(Named::Blob)), path, None), None, "{path}");
            assert_eq!(
                found(None, path, Some(S3Host { bucket: Some("bucket") })),
                Some(Protocol::S3),
                "{path}"
            );
        }
    }
}
