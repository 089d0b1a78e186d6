//! TLS on listeners: what it is made of, the handshake, and what a client's certificate lets it do.
//!
//! ```text
//! files ─> Material (checked as a whole) ─> Served (replaced while it runs) ─> handshake ─> Secure (of a connection)
//! ```
//! A client's certificate is looked at in the handshake, and again with each request: one that has expired, is of a
//! CA that was replaced, or whose name was taken from the list meanwhile is refused on connections that are open, too.

mod handshake;
mod leaf;
mod material;
mod peer;
mod remarks;
mod served;

pub use leaf::{certificate_end, certificate_names, day as certificate_day};
pub use material::{Files, Material, Wrong};
pub use peer::Clients;
pub use remarks::Remark;
pub use served::Tls;

pub(super) use handshake::{HANDSHAKE_BYTE, Stream, accept};
pub(super) use peer::{Secure, Verdict};
pub(super) use served::{Served, keep_looking};
