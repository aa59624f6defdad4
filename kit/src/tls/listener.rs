//! Accepts TLS connections and finds out whose they are.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use wire::HostName;

use super::live::{address_of, host_of};
use super::{Live, TlsIo, explain, plain};
use crate::places::{Limits, Places};
use crate::seldom::Seldom;

/// After an accept fails for want of descriptors or memory, the next one waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A handshake takes at most so long.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// So many handshakes are in progress at a time: who connects and says nothing must not keep others from theirs.
const HANDSHAKES: Limits = Limits { all: 128, each: 32 };

/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Where it is.
    pub address: SocketAddr,
    /// The host whose certificate it has shown, if it has shown one.
    pub host: Option<HostName>,
    /// The address in that certificate, which the host's intermediate could certify: one of the host's own, wherever
    /// the connection comes from.
    pub proven: Option<IpAddr>,
}

impl std::fmt::Display for Party {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = self.address.ip().to_canonical();
        match &self.host {
            Some(host) => write!(f, "host {host} at {address}"),
            None => write!(f, "{address}"),
        }
    }
}

/// Connections whose handshake is done. One that is slow holds up nobody.
pub struct TlsListener {
    accepted: mpsc::Receiver<(TlsIo, Party)>,
    local: SocketAddr,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// Accepts on `listener` with what `live` holds at that moment.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn new(listener: TcpListener, live: Arc<Live>) -> io::Result<Self> {
        let local = listener.local_addr()?;
        let (tell, accepted) = mpsc::channel(1);
        let accepting = tokio::spawn(accept(listener, local, live, tell));
        Ok(TlsListener { accepted, local, accepting })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener for TlsListener {
    type Io = TlsIo;
    type Addr = Party;

    async fn accept(&mut self) -> (TlsIo, Party) {
        match self.accepted.recv().await {
            Some(accepted) => accepted,
            // The runtime ends.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Party> {
        Ok(Party { address: self.local, host: None, proven: None })
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Party {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.remote_addr().clone()
    }
}

async fn accept(
    listener: TcpListener,
    local: SocketAddr,
    live: Arc<Live>,
    tell: mpsc::Sender<(TlsIo, Party)>,
) {
    let places = Places::new(HANDSHAKES);
    let refusals = Arc::new(Seldom::default());
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = match places.take(Some(from.ip())) {
            Ok(place) => place,
            Err(why) => {
                say(&refusals, from, &why);
                continue;
            }
        };
        let (live, tell, refusals) = (Arc::clone(&live), tell.clone(), Arc::clone(&refusals));
        tokio::spawn(async move {
            let shaken =
                tokio::time::timeout(HANDSHAKE, shake_hands(stream, from, local, live, &refusals)).await;
            drop(place);
            if let Ok(Some(accepted)) = shaken {
                // Only when the listener is gone does nobody take it.
                let _ = tell.send(accepted).await;
            }
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    from: SocketAddr,
    local: SocketAddr,
    live: Arc<Live>,
    refusals: &Seldom,
) -> Option<(TlsIo, Party)> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    if first[0] != HANDSHAKE_RECORD {
        plain::refuse(stream, local).await;
        return None;
    }
    // Read before the handshake: a connection that was let in by older credentials is looked at once more.
    let generation = live.generation();
    let acceptor = TlsAcceptor::from(live.server());
    let stream = match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            say(refusals, from, &explain(&error).unwrap_or_else(|| error.to_string()));
            plain::end(stream).await;
            return None;
        }
    };
    let chain: Vec<_> = stream
        .get_ref()
        .1
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect();
    let (host, proven) = (chain.first().and_then(host_of), chain.first().and_then(address_of));
    Some((TlsIo::new(stream, live, generation, chain), Party { address: from, host, proven }))
}

/// Who was refused is logged, but not as often as somebody likes to try.
fn say(refusals: &Seldom, from: SocketAddr, reason: &str) {
    if let Some(unsaid) = refusals.due() {
        tracing::warn!(%from, unsaid, "no TLS connection: {reason}");
    }
}
