//! Binds the two ports, as soon as the machine has its address: the interface may come up later than we.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use kit::api::serve_bounded;
use kit::tls::{Live, Party, TlsIo, TlsListener};
use tokio::net::TcpListener;

use super::peer::Peer;

/// The first wait for an address that is not there; each further one doubles it …
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// … up to this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Answers questions on `address` for ever.
pub(super) async fn reads(address: SocketAddr, router: Router) {
    let listener = bind(address).await;
    serve_bounded(listener, router, |_, from: &SocketAddr| (*from, Some(from.ip()))).await;
}

/// Takes changes on `address` for ever: by TLS where there are credentials. `first` is done when no other program
/// takes any more, and none comes before it is done.
pub(super) async fn changes(
    address: SocketAddr,
    router: Router,
    live: Option<Arc<Live>>,
    first: impl FnOnce() + Send + 'static,
) {
    let listener = bind(address).await;
    if let Err(error) = tokio::task::spawn_blocking(first).await {
        tracing::error!(%error, "what was stored meanwhile cannot be read");
    }
    let Some(live) = live else {
        serve_bounded(listener, router, |_, from: &SocketAddr| (Peer::at(*from), Some(from.ip()))).await;
        return;
    };
    match TlsListener::new(listener, live) {
        Ok(listener) => {
            let about = |_: &TlsIo, party: &Party| {
                (Peer::Certified(party.clone()), Some(party.proven.unwrap_or(party.address.ip())))
            };
            serve_bounded(listener, router, about).await;
        }
        Err(error) => tracing::error!(%address, %error, "the admin interface for changes ended"),
    }
}

async fn bind(address: SocketAddr) -> TcpListener {
    let mut wait = FIRST_WAIT;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "admin interface up");
                return listener;
            }
            Err(error) => {
                if wait == FIRST_WAIT {
                    tracing::warn!(%address, %error, "admin address not there yet, trying on");
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}
