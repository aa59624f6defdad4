//! The TLS listener tells handlers where a request came from.

use std::net::SocketAddr;

use kit::tls::{Party, TlsIo};

use crate::access::{From, Origin};

/// Who is at the other end of a TLS connection: a host of the cluster, or an address.
pub fn by_tls(_: &TlsIo, party: &Party) -> Origin {
    // What is proven counts more than what the network says: a host may have several addresses.
    let ip = party.proven.unwrap_or(party.address.ip());
    let from = SocketAddr::new(ip, party.address.port());
    Origin { from: From::Network(from), encrypted: true, certified: party.host.clone() }
}
