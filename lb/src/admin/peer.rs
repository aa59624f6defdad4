//! Who is at the other end of a connection to the port for changes.
//!
//! In a cluster with a CA that is what the certificate says: the manager of the balancer's own host may change
//! it, and no other. Every fact has one writer, and which requests go where on this host is this host's fact; a
//! host that was broken into must not be able to say it for the others. Without a CA a peer is its address.

use std::net::{IpAddr, SocketAddr};

use kit::tls::Party;
use wire::HostName;

use crate::settings::Settings;

/// The identity of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// It has proved nothing.
    Address(IpAddr),
    /// It has shown a certificate.
    Certified(Party),
}

impl Peer {
    /// One that has proved nothing but where it is.
    pub(super) fn at(address: SocketAddr) -> Self {
        Peer::Address(address.ip().to_canonical())
    }

    /// Whether it may change what this balancer does. `host` is the balancer's own, if its cluster has a CA.
    ///
    /// # Errors
    ///
    /// Says who may.
    pub(super) fn may_change(&self, settings: &Settings, host: Option<&HostName>) -> Result<(), String> {
        let allowed = match (self, host) {
            (Peer::Certified(party), Some(own)) => party.host.as_ref() == Some(own),
            (Peer::Address(address), None) => {
                *address == settings.address || settings.managers.contains(address)
            }
            (Peer::Certified(_), None) | (Peer::Address(_), Some(_)) => false,
        };
        match host {
            _ if allowed => Ok(()),
            None => Err(format!("{self} is not a manager of this balancer")),
            Some(own) => Err(format!("{self} is not the manager of this balancer: that is host {own}'s")),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Address(address) => address.fmt(f),
            Peer::Certified(party) => party.fmt(f),
        }
    }
}
