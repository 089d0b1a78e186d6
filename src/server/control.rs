//! What may be changed of a server while it runs.

use std::sync::Arc;

use super::clocks::Registry;
use super::dispatch::{Door, Policy};
use super::guard::Guard;
use super::tls::Served;
use super::{Settings, identity};

/// A handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    registry: Arc<Registry>,
    door: Arc<Door>,
    tls: Arc<[Arc<Served>]>,
}

// === impl Control ===

impl Control {
    pub(super) fn new(registry: Arc<Registry>, door: Arc<Door>, tls: Arc<[Arc<Served>]>) -> Self {
        Self { registry, door, tls }
    }

    /// From the next request on, the limits, hosts, tokens and routes of these settings hold; from the next connection
    /// on, its users and certificates. The others are left as they were at start.
    pub fn apply(&self, settings: &Settings) {
        self.registry.bound(settings.limits);
        self.door.policy.replace(policy(settings));
        self.door.frontends.set_routes(settings.routes.clone());
        for served in self.tls.iter() {
            served.apply(&settings.tls);
            served.remark(&settings.notices);
        }
    }
}

pub(super) fn policy(settings: &Settings) -> Policy {
    Policy {
        access: Arc::new(identity::Access::new(settings.users.clone(), settings.groups.clone())),
        guard: Guard::new(settings.allow_hosts.clone()),
        tokens: settings.tokens.clone(),
    }
}
