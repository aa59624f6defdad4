//! The TLS listener tells handlers where a request came from.

use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use kit::tls::TlsListener;

use crate::access::{From, Origin};

impl Connected<IncomingStream<'_, TlsListener>> for Origin {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let party = stream.remote_addr();
        // What is proven counts more than what the network says: a host may have several addresses.
        let ip = party.proven.unwrap_or(party.address.ip());
        let from = SocketAddr::new(ip, party.address.port());
        Origin { from: From::Network(from), encrypted: true, certified: party.host.clone() }
    }
}
