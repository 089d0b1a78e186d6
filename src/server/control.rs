//! What may be changed of a server while it runs.

use std::sync::Arc;

use super::clocks::Registry;
use super::dispatch::{Door, Policy};
use super::guard::Guard;
use super::{Settings, identity};

/// A handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Control {
    registry: Arc<Registry>,
    door: Arc<Door>,
}

// === impl Control ===

impl Control {
    pub(super) fn new(registry: Arc<Registry>, door: Arc<Door>) -> Self {
        Self { registry, door }
    }

    /// From the next request on, the limits, hosts, tokens and routes of these settings hold; from the next connection
    /// on, its users. The others are left as they were at start.
    pub fn apply(&self, settings: &Settings) {
        self.registry.bound(settings.limits);
        self.door.policy.replace(policy(settings));
        self.door.frontends.set_routes(settings.routes.clone());
    }
}

pub(super) fn policy(settings: &Settings) -> Policy {
    Policy {
        access: Arc::new(identity::Access::new(settings.users.clone(), settings.groups.clone())),
        guard: Guard::new(settings.allow_hosts.clone()),
        tokens: settings.tokens.clone(),
    }
}
