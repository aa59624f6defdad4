//! What this host's balancer shows clients over TLS: made elsewhere, for it takes a clock, random numbers and files;
//! told to the balancer with its routes.

use std::collections::BTreeMap;

use wire::actions::Respond;
use wire::balancing::Secret;
use wire::certificates::Certificate;
use wire::proxy_config::{ProxyConfig, Route};

use super::Engine;

/// Certificates, and what else clients are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// The certificates, the first for clients that ask for no name.
    pub certificates: Vec<Certificate>,
    /// What requests of an ACME server are answered, by their tokens (RFC 8555, section 8.3).
    pub answers: BTreeMap<String, String>,
    /// What its handshakes are shown (RFC 8737).
    pub challenge_certificates: Vec<Certificate>,
    /// What session tickets are encrypted with: new ones with the first.
    pub ticket_keys: Vec<Secret>,
    /// What a person should know of it.
    pub warnings: Vec<String>,
}

/// The present front, and how often it changed: the number is compared instead of all the certificates.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    front: Front,
    pub(super) version: u64,
}

impl Shown {
    /// Adds it to the routes of `config`, ahead of all others.
    pub(super) fn add_to(&self, config: &mut ProxyConfig) {
        let answers = self.front.answers.iter().enumerate().map(|(number, answer)| route(number, answer));
        config.routes.splice(..0, answers);
        config.certificates.clone_from(&self.front.certificates);
        config.challenge_certificates.clone_from(&self.front.challenge_certificates);
        config.ticket_keys.clone_from(&self.front.ticket_keys);
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.front.warnings.iter().cloned()
    }
}

/// Answers the request for a token. The names are few, so that metrics by route stay few.
fn route(number: usize, (token, authorization): (&String, &String)) -> Route {
    Route {
        name: format!("acme-challenge-{number}"),
        path_exact: Some(format!("/.well-known/acme-challenge/{token}")),
        respond: Some(Respond {
            body: Some(authorization.clone()),
            content_type: "application/octet-stream".to_owned(),
            ..Respond::default()
        }),
        ..Route::default()
    }
}

impl Engine {
    /// Whether the balancer has still to be told of what it is to show. One that is not there has not.
    pub fn front_is_behind(&self) -> bool {
        self.ready_lb().is_some() && self.balancer.confirmed_front != Some(self.shown.version)
    }

    /// The balancer is to show `front` from now on; whether that is something new.
    pub fn show(&mut self, front: Front) -> bool {
        if self.shown.front == front {
            return false;
        }
        let before = std::mem::replace(&mut self.shown.front, front);
        if self.shown.front != (Front { warnings: self.shown.front.warnings.clone(), ..before }) {
            self.shown.version += 1;
        }
        true
    }
}
