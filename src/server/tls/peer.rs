//! What a client's certificate lets it do, asked anew with each request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustls::pki_types::CertificateDer;

use super::leaf::{Leaf, day, now};
use super::material::Material;
use super::served::Served;

/// Which certificates may do what. A name is the common name of a certificate or one of its subject alternative
/// names; `*` is every certificate of the client CA.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clients {
    /// Those that may read and write.
    pub writers: Vec<String>,
    /// Those that may read.
    pub readers: Vec<String>,
}

/// A connection by TLS.
#[derive(Debug)]
pub(in crate::server) struct Secure {
    served: Arc<Served>,
    /// Who has shown a certificate.
    peer: Option<Peer>,
}

/// A client with a certificate.
#[derive(Debug)]
pub(super) struct Peer {
    leaf: Leaf,
    chain: Vec<CertificateDer<'static>>,
    /// The CAs by which it was verified last.
    verified_by: AtomicU64,
    told: AtomicBool,
}

/// What a request by a connection may do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) enum Verdict {
    /// All that it could without TLS.
    Write,
    /// Read, in these words for who would write.
    Read(String),
    /// Nothing, in words.
    Refused(String),
}

// === impl Clients ===

impl Clients {
    fn verdict(&self, leaf: &Leaf) -> Verdict {
        let has = |names: &[String]| names.iter().any(|name| name == "*" || leaf.is_called(name));
        if has(&self.writers) {
            Verdict::Write
        } else if has(&self.readers) {
            Verdict::Read(format!(
                "the client certificate {} may read here and not write: `clients` of this listener doesn't name it, \
                 `readers` does",
                leaf.shown()
            ))
        } else {
            Verdict::Refused(format!(
                "the client certificate {} is not let in: `clients` of this listener doesn't name it, nor does \
                 `readers`",
                leaf.shown()
            ))
        }
    }
}

// === impl Secure ===

impl Secure {
    pub(super) fn new(served: Arc<Served>, peer: Option<Peer>) -> Self {
        Self { served, peer }
    }

    /// What it may do at this moment.
    pub(in crate::server) fn verdict(&self) -> Verdict {
        let now = self.served.now();
        match &self.peer {
            Some(peer) => peer.verdict(&now.material, &now.clients),
            None if now.material.asks_clients() => Verdict::Refused(
                "this listener asks for a client certificate by now; connect again, with one".into(),
            ),
            None => Verdict::Write,
        }
    }

    /// Whether the server's certificate is for this host.
    pub(in crate::server) fn names(&self, host: &str) -> bool {
        self.served.now().material.names(host)
    }

    /// Whether its refusal is yet to be logged.
    pub(in crate::server) fn is_first_refusal(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| !peer.told.swap(true, Ordering::Relaxed))
    }
}

// === impl Peer ===

impl Peer {
    /// Who has shown this chain, which was verified by these CAs.
    pub(super) fn of(chain: &[CertificateDer<'static>], verified_by: u64) -> Result<Self, String> {
        let leaf = chain.first().ok_or("it has shown no certificate").map(Leaf::of)??;
        let chain = chain.to_vec();
        Ok(Self { leaf, chain, verified_by: AtomicU64::new(verified_by), told: AtomicBool::new(false) })
    }

    fn verdict(&self, material: &Material, clients: &Clients) -> Verdict {
        // A session that is resumed shows what it has shown before.
        if self.leaf.not_after < now() {
            return Verdict::Refused(format!(
                "the client certificate {} expired on {}; have a new one issued",
                self.leaf.shown(),
                day(self.leaf.not_after)
            ));
        }
        let roots = material.roots_id();
        if roots != 0 && self.verified_by.load(Ordering::Relaxed) != roots {
            if material.verify(&self.chain).is_err() {
                return Verdict::Refused(format!(
                    "the client certificate {} is not of the CA that this listener has by now; have a new one issued",
                    self.leaf.shown()
                ));
            }
            self.verified_by.store(roots, Ordering::Relaxed);
        }
        clients.verdict(&self.leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(name: &str) -> Leaf {
        let alternative = vec![format!("{name}.test")];
        Leaf { common_name: Some(name.into()), alternative, not_before: 0, not_after: i64::MAX }
    }

    #[test]
    fn who_is_named_may_write_or_read_and_nobody_else_anything() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let clients = Clients { writers: names(&["ci", "desk.test"]), readers: names(&["laptop", "ci"]) };
        assert_eq!(clients.verdict(&leaf("ci")), Verdict::Write);
        assert_eq!(clients.verdict(&leaf("desk")), Verdict::Write);
        assert!(
            matches!(clients.verdict(&leaf("laptop")), Verdict::Read(words) if words.contains("`laptop`"))
        );
        for name in ["*", "c", "ci.test.evil", ""] {
            assert!(matches!(clients.verdict(&leaf(name)), Verdict::Refused(_)), "{name}");
        }
        let open = Clients { writers: names(&["*"]), readers: Vec::new() };
        assert_eq!(open.verdict(&leaf("anybody")), Verdict::Write);
        assert!(matches!(Clients::default().verdict(&leaf("*")), Verdict::Refused(_)));
    }
}
