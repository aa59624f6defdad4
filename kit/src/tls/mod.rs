//! How the daemons prove to each other who they are: TLS 1.3 with certificates of the cluster's own CA.
//!
//! ```text
//!            cluster CA                 the only one that anybody believes; signs intermediates and revocations
//!            /        \
//!     host a          host b            intermediates: for the addresses of their host, and no CA below them
//!     /    \             │
//!  manager  a-lb      manager …         leaves: manager (server and client), balancer (server)
//! ```
//!
//! Who a party is, is read from the *issuer* of its certificate: the name of an intermediate was written by the
//! CA, while a host writes whatever it likes into the certificates it issues. [`Live`] is what a process shows
//! and believes now, and can be replaced while it serves; [`TlsListener`] accepts; [`explain`] says in words what
//! is wrong with the other end.
//!
//! Nothing is resumed: each connection shows its certificates anew, and one whose host was revoked since is
//! ended at the next byte it sends.

mod explain;
mod io;
mod listener;
mod live;
mod plain;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;

pub use explain::explain;
pub use io::TlsIo;
pub use listener::{Party, TlsListener};
pub use live::{Clients, Live, TlsError};

/// The cryptography of all our TLS: ring's.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
