//! Who is at the other end of a connection to the port for changes.
//!
//! In a cluster with a CA that is what the certificate says: the manager of the balancer's own host may change
//! it, and no other. Every fact has one writer, and which requests go where on this host is this host's fact; a
//! host that was broken into must not be able to say it for the others. Without a CA a peer is its address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use kit::tls::{Party, TlsListener};
use tokio::net::{TcpListener, TcpStream};
use wire::HostName;

use crate::settings::Settings;

/// After an accept fails for want of descriptors or memory, the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The identity of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// It has proved nothing.
    Address(IpAddr),
    /// It has shown a certificate.
    Certified(Party),
}

impl Peer {
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

/// Accepts connections of peers that prove nothing.
pub(super) struct PlainListener(pub(super) TcpListener);

impl Listener for PlainListener {
    type Io = TcpStream;
    type Addr = Peer;

    async fn accept(&mut self) -> (TcpStream, Peer) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => return (stream, peer_at(address)),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Peer> {
        self.0.local_addr().map(peer_at)
    }
}

fn peer_at(address: SocketAddr) -> Peer {
    Peer::Address(address.ip().to_canonical())
}

impl Connected<IncomingStream<'_, PlainListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, PlainListener>) -> Self {
        stream.remote_addr().clone()
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Peer::Certified(stream.remote_addr().clone())
    }
}
