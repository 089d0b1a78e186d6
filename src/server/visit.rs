//! Who is at the other end of a connection: what guard and dispatch know of a request besides itself.

use std::net::IpAddr;

use super::frontends::Protocol;
use super::identity::Caller;
use super::listen::Gate;
use super::tls::{Secure, Verdict};

/// Who is at the other end of a connection, and by which socket.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) caller: Caller,
    pub(super) unix: bool,
    /// The address that it came to.
    pub(super) local: Option<IpAddr>,
    pub(super) gate: Gate,
    /// The one protocol that the listener is for.
    pub(super) only: Option<Protocol>,
    /// By TLS.
    pub(super) secure: Option<Secure>,
}

// === impl Visit ===

impl Visit {
    /// What a request of it may do at this moment, before anybody asks for a token.
    pub(super) fn verdict(&self) -> Verdict {
        match (&self.caller, &self.secure) {
            (Caller::Stranger(words), _) => Verdict::Refused(words.clone()),
            (Caller::Admitted, Some(secure)) => secure.verdict(),
            (Caller::Admitted, None) => Verdict::Write,
        }
    }
}
