//! Who is at the other end of a connection to the port for changes.
//!
//! This is the place for mutual TLS: [`ChangesListener::accept`] is then where the handshake is made, and
//! [`Peer`] what the certificate says. Until the cluster has its own CA, a peer is its address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};

use crate::settings::Settings;

/// After an accept fails for want of descriptors or memory, the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The identity of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer(IpAddr);

impl Peer {
    /// Whether it may change what this balancer does: a manager, or the machine itself.
    pub(super) fn may_change(self, settings: &Settings) -> bool {
        self.0 == settings.address || settings.managers.contains(&self.0)
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Accepts connections and finds out who they are from.
pub(super) struct ChangesListener(pub(super) TcpListener);

impl Listener for ChangesListener {
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
    Peer(address.ip().to_canonical())
}

impl Connected<IncomingStream<'_, ChangesListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, ChangesListener>) -> Self {
        *stream.remote_addr()
    }
}
