//! What this host's balancer shows clients over TLS: made elsewhere, for it takes a clock, random numbers and files;
//! told to the balancer with its routes.

use wire::balancing::Secret;
use wire::certificates::Certificate;
use wire::proxy_config::ProxyConfig;

use super::Engine;

/// Certificates, and what else clients are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// The certificates, the first for clients that ask for no name.
    pub certificates: Vec<Certificate>,
    /// What session tickets are encrypted with: new ones with the first.
    pub ticket_keys: Vec<Secret>,
    /// What a person should know of it.
    pub warnings: Vec<String>,
}

/// The present front, and how often it changed: the number is compared instead of all the certificates.
#[derive(Debug, Default)]
pub(super) struct Shown {
    front: Front,
    pub(super) version: u64,
}

impl Shown {
    /// Adds it to the routes of `config`.
    pub(super) fn add_to(&self, config: &mut ProxyConfig) {
        config.certificates.clone_from(&self.front.certificates);
        config.ticket_keys.clone_from(&self.front.ticket_keys);
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.front.warnings.iter().cloned()
    }
}

impl Engine {
    /// The balancer is to show `front` from now on; whether that is something new.
    pub fn show(&mut self, front: Front) -> bool {
        let before = &self.shown.front;
        if *before == front {
            return false;
        }
        let told = (&before.certificates, &before.ticket_keys);
        if told != (&front.certificates, &front.ticket_keys) {
            self.shown.version += 1;
        }
        self.shown.front = front;
        true
    }
}
