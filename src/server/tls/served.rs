//! The TLS of a listener that is served: what it is made of is replaced while it runs.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::material::Material;
use super::peer::Clients;
use crate::server::endpoint::Endpoint;
use crate::server::notices::Notices;
use crate::swap::{Read, Swap};

/// The TLS of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// What it is made of.
    pub material: Material,
    /// Whom its certificates let in, where it asks for them.
    pub clients: Clients,
}

/// The TLS of one that is served.
#[derive(Debug)]
pub(in crate::server) struct Served {
    /// The listener, as it is called in the configuration.
    endpoint: Endpoint,
    now: Swap<Tls>,
    /// What a person was told last. A leaf mutex.
    told: Mutex<Vec<String>>,
}

/// How often is looked whether a certificate is about to expire.
const LOOK: Duration = Duration::from_secs(3600);

/// One that ends within so many seconds is spoken of.
const ENDS_SOON: i64 = 14 * 24 * 3600;

// === impl Served ===

impl Served {
    pub(in crate::server) fn new(endpoint: Endpoint, tls: Tls) -> Arc<Self> {
        Arc::new(Self { endpoint, now: Swap::new(tls), told: Mutex::default() })
    }

    pub(super) fn now(&self) -> Read<Tls> {
        self.now.read()
    }

    /// Whether a client shows a certificate.
    pub(in crate::server) fn asks_clients(&self) -> bool {
        self.now().material.asks_clients()
    }

    /// What of these is for it counts from the next handshake on, and its names from the next request on. Where its
    /// files lie was decided at start.
    pub(in crate::server) fn apply(&self, all: &[(Endpoint, Tls)]) {
        let Some((_, new)) = all.iter().find(|(endpoint, _)| *endpoint == self.endpoint) else { return };
        let (material, clients) = {
            let old = self.now();
            if old.material.files() != new.material.files() {
                return;
            }
            // The same bytes stay the same, and with them the keys of the tickets that clients hold.
            let is_same = old.material == new.material;
            let material = if is_same { &old.material } else { &new.material };
            (material.clone(), new.clients.clone())
        };
        self.now.replace(Tls { material, clients });
    }

    /// Tells what a person should know of it: in the status as long as it is so, in the log once.
    pub(in crate::server) fn remark(&self, notices: &Notices) {
        let address = match &self.endpoint {
            Endpoint::Tcp(address) => Some(address.ip().to_canonical()),
            Endpoint::Unix(_) => None,
        };
        let remarks = self.now().remarks(address, ENDS_SOON);
        let remarks: Vec<String> = remarks.iter().map(ToString::to_string).collect();
        let mut told = self.told.lock();
        for words in remarks.iter().filter(|words| !told.contains(words)) {
            tracing::warn!("the listener {}: {words}", self.endpoint);
        }
        let words = (!remarks.is_empty()).then(|| remarks.join("; "));
        notices.warn(&format!("tls {}", self.endpoint), words);
        *told = remarks;
    }
}

/// Looks after the certificates of these listeners.
pub(in crate::server) async fn keep_looking(all: Vec<Arc<Served>>, notices: Notices) {
    if all.is_empty() {
        return;
    }
    loop {
        for served in &all {
            served.remark(&notices);
        }
        tokio::time::sleep(LOOK).await;
    }
}
