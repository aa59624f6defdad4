//! Where a request came from.

use std::net::SocketAddr;

use wire::HostName;

/// What a listener knows of the other end of a connection; handlers get it as their connect info.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The other end.
    pub from: From,
    /// Whether the connection is TLS. The manager's own socket needs none.
    pub encrypted: bool,
    /// The host whose certificate the other end has shown; only one of this cluster's CA, neither expired nor
    /// revoked, gets so far.
    pub certified: Option<HostName>,
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// Somebody on the network.
    Network(SocketAddr),
    /// A process of this host, on the manager's own socket.
    Socket {
        /// The user it runs as.
        uid: u32,
    },
}
