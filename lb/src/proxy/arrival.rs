//! A client between its connection and its first request: what a listener expects ahead of requests.
//!
//! ```text
//!   accepted ─▶ (PROXY header) ─▶ (TLS handshake) ─▶ requests: `connection`
//!       │               │                │
//!       └───────────────┴────────────────┴──▶ not served: counted by reason, said in the log now and then
//! ```
//!
//! All of it has one deadline, counts as an open connection, and costs a request's path nothing on plain listeners.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kit::api::last_answer;
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use wire::Problem;

use super::client_stream::HANDSHAKE_RECORD;
use super::connection::{Server, cut, to_end};
use super::hand_over::OnVip;
use super::proxy_protocol::{self, Told};
use super::tls::client_certificate::ClientCertificate;
use super::tls::failure::Failure;
use super::tls::{ACME, Tls};
use super::transport::{Transport, Wire};
use crate::settings::{Listener, Protocol, ProxyProtocol};

/// As much is read at once of what comes ahead of requests.
const READ: usize = 2 << 10;

/// So much is kept encrypted for a client that takes its time, in bytes.
const ENCRYPTED_AHEAD: usize = 32 << 10;

/// What a client that is not served still sends is read for so long, so that the kernel does not reset the
/// connection and with it what we said …
const LAST_WORDS: Duration = Duration::from_secs(1);

/// … and up to so many bytes.
const MOST_LAST_BYTES: u64 = 64 << 10;

/// What a client is told that speaks TLS where it is not spoken: a fatal alert, `unexpected_message` (RFC 8446,
/// section 6), in the record of the oldest version, which all understand.
pub(super) const NO_TLS_HERE: [u8; 7] = [21, 3, 1, 0, 2, 2, 10];

/// A listener, as its connections know it.
pub(crate) struct Place {
    address: SocketAddr,
    proxy: Option<ProxyProtocol>,
    tls: Option<Arc<ServerConfig>>,
}

/// A client that may ask now.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// What carries its bytes.
    pub(crate) transport: Transport,
    /// Its address, as far as is known.
    pub(crate) peer: IpAddr,
    /// Its own connection is encrypted: this one, or the one to the proxy before us.
    pub(crate) is_secure: bool,
    /// What it has shown, where it has shown any.
    pub(crate) certificate: Option<Arc<ClientCertificate>>,
    /// HTTP/2 was negotiated.
    pub(crate) is_http2: bool,
}

impl Arrived {
    /// Whose connection it is.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// One that came to a plain listener.
    pub(crate) fn plain(tcp: TcpStream, peer: IpAddr) -> Self {
        Arrived {
            transport: Transport::Plain(Wire::new(tcp)),
            peer,
            is_secure: false,
            certificate: None,
            is_http2: false,
        }
    }
}

impl Place {
    /// Whether a header of the PROXY protocol comes ahead of requests.
    pub(crate) fn has_proxy(&self) -> bool {
        self.proxy.is_some()
    }

    /// The place of `listener`.
    ///
    /// # Errors
    ///
    /// When its TLS cannot be set up.
    pub(crate) fn new(listener: &Listener, tls: &Tls) -> anyhow::Result<Self> {
        Ok(Place {
            address: listener.address,
            proxy: listener.proxy_protocol.clone(),
            tls: listener.tls.as_ref().map(|settings| tls.listener(settings)).transpose()?,
        })
    }

    /// Whether nothing comes ahead of requests.
    pub(crate) fn is_plain(&self) -> bool {
        self.proxy.is_none() && self.tls.is_none()
    }
}

impl Wire {
    /// Reads some more ahead of its turn; 0 at the end.
    pub(super) async fn fill(&mut self) -> io::Result<usize> {
        self.ahead.reserve(READ);
        self.tcp.read_buf(&mut self.ahead).await
    }
}

/// Why a client is not served, and what the library said.
struct Failed(Failure, Option<io::Error>);

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Failed(failure, None)
    }
}

/// Does with the connection `tcp` from `peer` what comes ahead of requests at `place`. None: it has ended.
pub(crate) async fn arrive(
    tcp: TcpStream,
    peer: IpAddr,
    on_vip: Option<&OnVip>,
    place: &Place,
    server: &Server,
) -> Option<Arrived> {
    let deadline = Instant::now() + Duration::from_millis(server.limits.handshake_timeout_ms);
    let late = if place.proxy.is_some() { Failure::ProxyTimeout } else { Failure::Timeout };
    let fail = |Failed(failure, error)| {
        server.state.tls.stats.failed(failure, peer, error.as_ref());
        None
    };
    if place.proxy.as_ref().is_some_and(|proxy| !proxy_protocol::is_trusted(proxy, peer)) {
        return fail(Failure::ProxyUntrusted.into());
    }
    let mut wire = Wire::new(tcp);
    let begun = tokio::select! {
        biased;
        begun = timeout_at(deadline, wire.fill()) => begun,
        on_vip = to_end(on_vip, server.worker) => {
            on_vip.count_idle_closed();
            return None;
        }
    };
    match begun {
        Ok(Ok(1..)) => {}
        Ok(Ok(0) | Err(_)) => return fail(Failure::Closed.into()),
        Err(_elapsed) => return fail(late.into()),
    }
    let arrived = tokio::select! {
        biased;
        arrived = rest(wire, peer, place, server, deadline) => arrived,
        on_vip = cut(on_vip, server.worker) => {
            on_vip.count_cut();
            Err(Failure::Moved.into())
        }
    };
    arrived.map_or_else(fail, Some)
}

/// Once there is a first byte.
async fn rest(
    mut wire: Wire,
    peer: IpAddr,
    place: &Place,
    server: &Server,
    deadline: Instant,
) -> Result<Arrived, Failed> {
    let mut told = Told::default();
    if place.proxy.is_some() {
        let read = timeout_at(deadline, proxy_protocol::read(&mut wire)).await;
        told = read.unwrap_or(Err(Failure::ProxyTimeout))?;
    }
    let peer = told.client.unwrap_or(peer);
    let Some(tls) = &place.tls else {
        let transport = Transport::Plain(wire);
        return Ok(Arrived {
            transport,
            peer,
            is_secure: told.is_secure,
            certificate: None,
            is_http2: false,
        });
    };
    if wire.ahead.is_empty() {
        match timeout_at(deadline, wire.fill()).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Err(Failure::Closed.into()),
            Err(_elapsed) => return Err(Failure::Timeout.into()),
        }
    }
    if wire.ahead.first() != Some(&HANDSHAKE_RECORD) {
        refuse_plain(wire, place.address).await;
        return Err(Failure::PlainHttp.into());
    }
    let mut stream = shake_hands(wire, tls.clone(), deadline).await?;
    if stream.get_ref().1.alpn_protocol() == Some(ACME) {
        // It has seen what it asked for. How it ends is nothing to it.
        let _ = timeout(LAST_WORDS, stream.shutdown()).await;
        return Err(Failure::AcmeChallenge.into());
    }
    let (_, session) = stream.get_ref();
    let certificate = match session.peer_certificates().and_then(<[_]>::first) {
        Some(shown) => Some(Arc::new(ClientCertificate::of(shown).ok_or(Failure::ClientCertificate)?)),
        None => None,
    };
    server.state.tls.stats.shaken(session.handshake_kind());
    let is_http2 = session.alpn_protocol() == Some(Protocol::Http2.id());
    let transport = Transport::Tls(Box::new(stream));
    Ok(Arrived { transport, peer, is_secure: true, certificate, is_http2 })
}

async fn shake_hands(
    wire: Wire,
    tls: Arc<ServerConfig>,
    deadline: Instant,
) -> Result<TlsStream<Wire>, Failed> {
    let accept = TlsAcceptor::from(tls)
        .accept_with(wire, |session| session.set_buffer_limit(Some(ENCRYPTED_AHEAD)))
        .into_fallible();
    match timeout_at(deadline, accept).await {
        Ok(Ok(stream)) => Ok(stream),
        Err(_elapsed) => Err(Failure::Timeout.into()),
        Ok(Err((error, wire))) => {
            // The client has been told why, by an alert.
            last_words(wire.tcp).await;
            Err(Failed(Failure::of(&error), Some(error)))
        }
    }
}

/// Tells who speaks plain HTTP to a port for TLS what is wrong.
async fn refuse_plain(mut wire: Wire, address: SocketAddr) {
    let detail = format!("this port speaks TLS: ask for https://, at port {}", address.port());
    let answer = last_answer(&Problem::new(400, "Plain HTTP on a TLS port", detail));
    if let Ok(Ok(())) = timeout(LAST_WORDS, wire.tcp.write_all(answer.as_bytes())).await {
        last_words(wire.tcp).await;
    }
}

/// Ends a connection such that what was said last arrives.
async fn last_words(mut tcp: TcpStream) {
    if tcp.shutdown().await.is_ok() {
        let mut rest = tcp.take(MOST_LAST_BYTES);
        let _ = timeout(LAST_WORDS, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}
