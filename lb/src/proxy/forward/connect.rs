//! Connections to upstreams: opened with a time limit, plain or by TLS, kept per worker, and every byte that comes
//! over one is noted in its upstream's record as a sign of life.
//!
//! A handshake is a part of connecting: until it is done nothing was sent, and another upstream may be tried at no cost.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pingora_core::protocols;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket};
use pingora_core::upstreams::peer::HttpPeer;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use wire::proxy_config::PoolPolicy;

use super::super::plain_stream::plain_stream;
use super::super::state::kept::MAX_IDLE_AGE;
use super::super::state::upstream::{Opened, Security, Upstream, new_pool_key};
use super::super::upstream_tls::failure::TlsFailure;
use super::dial::Dial;
use super::h2c;

/// An upstream that acknowledges or takes nothing for so long is gone: the end of an answer that stalls
/// because its machine lost power.
const DEAD_PEER: Duration = Duration::from_secs(15);

/// A connection on which nothing happens is asked whether its peer still lives after so long …
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);

/// … and again each so often, until [`DEAD_PEER`].
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// A connection that is not used afterwards goes so soon. Not in no time: in the first millisecond of Pingora's timers,
/// that would be before their beginning, which they take for a bug.
const AT_ONCE: Duration = Duration::from_millis(1);

/// Stands for the address of a peer that has none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The key of connections that are not kept; no pool has it.
pub(crate) const NEVER_KEPT: u64 = 0;

/// Keep-alive questions without an answer before the connection is given up.
const KEEPALIVE_COUNT: u32 = 3;

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectFailure {
    /// Nothing listens there, or there is no way there: certain at once.
    Refused,
    /// No answer in time.
    TimedOut,
    /// There is one, but no TLS over it.
    Tls(TlsFailure),
    /// Anything else, such as a lack of local ports, or the upstream has left and had its time.
    Other,
}

/// A connection to an upstream.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    upstream: Arc<Upstream>,
    /// The name it is for, where others' requests may not share it.
    name: Option<Box<str>>,
    pool_key: u64,
    worker: usize,
    /// When anything came over it last, be it that it came about.
    heard: Instant,
    _opened: Opened,
}

/// What a connection is for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Purpose {
    /// The name that requests over it are for ([`Upstream::name_for`]).
    pub(crate) name: Option<Box<str>>,
    /// What is said of a client ahead of everything else; it is for no other client then, and not kept.
    pub(crate) ahead: Option<Box<[u8]>>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<Heard>>),
}

/// What is under TLS: whatever comes over it is a sign of life, be it only a part of a handshake.
#[derive(Debug)]
pub(crate) struct Heard {
    tcp: TcpStream,
    /// None where another process than the upstream's may answer.
    upstream: Option<Arc<Upstream>>,
}

impl Connection {
    /// Opens a connection to `upstream` within `limit`, and within that of its TLS after it, for requests of `worker`.
    ///
    /// # Errors
    ///
    /// When it is not established in time; nothing was sent then.
    pub(crate) async fn open(
        upstream: &Arc<Upstream>,
        limit: Duration,
        worker: usize,
        purpose: Purpose,
    ) -> Result<Self, ConnectFailure> {
        let Purpose { name, ahead } = purpose;
        // Before the way is known, which is another one before the key is another.
        let pool_key = if ahead.is_some() { NEVER_KEPT } else { upstream.pool_key() };
        upstream.counters.connects.fetch_add(1, Ordering::Relaxed);
        let opened = upstream.opening();
        let mut tcp = tokio::time::timeout(limit, TcpStream::connect(upstream.address))
            .await
            .map_err(|_elapsed| ConnectFailure::TimedOut)?
            .map_err(|error| classify(&error))?;
        if !upstream.sockets.add(tcp.as_raw_fd()) {
            return Err(ConnectFailure::Other);
        }
        let _ = tcp.set_nodelay(true);
        watch_for_death(&SockRef::from(&tcp));
        let _ = SockRef::from(&tcp).set_tcp_user_timeout(Some(DEAD_PEER));
        if let Some(ahead) = ahead {
            let said = tokio::time::timeout(limit, tcp.write_all(&ahead)).await;
            said.map_err(|_elapsed| ConnectFailure::TimedOut)?.map_err(|error| classify(&error))?;
        }
        let stream = match &*upstream.security() {
            Security::Plain => Stream::Plain(tcp),
            Security::Unusable => return Err(ConnectFailure::Other),
            Security::Tls(tls) => {
                let heard = Heard::new(tcp, Some(upstream.clone()));
                // Boxed: it is larger than all the rest.
                let shaking = Box::pin(tls.handshake(heard, upstream.address, name.as_deref()));
                Stream::Tls(Box::new(shaking.await.map_err(ConnectFailure::Tls)?))
            }
        };
        let (upstream, heard) = (upstream.clone(), Instant::now());
        Ok(Connection { stream, upstream, name, pool_key, worker, heard, _opened: opened })
    }

    /// Whether requests for `name` may go over it.
    pub(crate) fn is_for(&self, name: Option<&str>) -> bool {
        self.name.as_deref() == name
    }

    /// The key of the pool it may go back to.
    pub(crate) fn pool_key(&self) -> u64 {
        self.pool_key
    }

    /// The worker whose runtime it belongs to.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// Closes it with a reset. Of one that is closed in order the system keeps the local port for a minute (TIME-WAIT:
    /// RFC 9293, section 3.6.1), and there are 28,000 of them to an upstream; on an idle one nothing can be lost.
    pub(crate) fn discard(self) {
        let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.get_ref().0.tcp,
        }
    }

    /// The descriptor of its socket.
    pub(crate) fn fd(&self) -> i32 {
        self.tcp().as_raw_fd()
    }

    /// When anything came over it last.
    pub(crate) fn heard(&self) -> Instant {
        self.heard
    }

    /// Whether nothing can be read from an idle connection, as the kernel knows it: we may not have been told yet.
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = SockRef::from(self.tcp()).peek(&mut byte);
        // TLS may have something of its own to say.
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) && self.is_open()
    }

    /// Whether an idle connection can still be used: neither closed nor spoken on out of turn.
    pub(crate) fn is_open(&mut self) -> bool {
        let mut byte = [0u8; 1];
        if let Stream::Plain(tcp) = &self.stream {
            return tcp.try_read(&mut byte).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        }
        let mut context = Context::from_waker(Waker::noop());
        self.stream.poll_read(&mut context, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}

impl Stream {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, buffer),
            Stream::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl Heard {
    pub(crate) fn new(tcp: TcpStream, upstream: Option<Arc<Upstream>>) -> Self {
        Heard { tcp, upstream }
    }
}

/// Lets the kernel notice a peer that is gone without a word. A peer that only takes nothing for a while, such
/// as a client that pauses a download, is not gone.
pub(crate) fn watch_for_death(socket: &SockRef<'_>) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_COUNT);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// How Pingora's own path connects to `upstream`: as we do, from a pool of its own; if `fresh`, by a connection that
/// is not used before or afterwards. One of TLS is opened by `dial`.
pub(crate) fn pingora_peer(
    upstream: &Upstream,
    policy: &PoolPolicy,
    fresh: bool,
    dial: Option<Arc<Dial>>,
) -> HttpPeer {
    let limit = Duration::from_millis(policy.connect_timeout_ms);
    // Pingora looks whether a connection that it shares leads to the peer's address, which what is relayed does not: with
    // this one it does not look. Who the peer is, is said by the key, and whose name it has been asked for.
    let (address, name) = match &dial {
        Some(dial) if dial.is_shared() => (NOWHERE, dial.name().unwrap_or_default().to_owned()),
        _ => (upstream.address, String::new()),
    };
    let mut peer = HttpPeer::new(address, false, name);
    let (key, idle) = if fresh { (new_pool_key(), AT_ONCE) } else { (upstream.pool_key(), MAX_IDLE_AGE) };
    if policy.protocol.is_http2() {
        h2c::configure(&mut peer.options);
    }
    peer.group_key = key;
    peer.options.connection_timeout = Some(limit);
    peer.options.total_connection_timeout = Some(limit);
    peer.options.idle_timeout = Some(idle);
    peer.options.tcp_keepalive = Some(protocols::TcpKeepalive {
        idle: KEEPALIVE_IDLE,
        interval: KEEPALIVE_INTERVAL,
        count: KEEPALIVE_COUNT as usize,
        user_timeout: DEAD_PEER,
    });
    if let Some(dial) = dial {
        // It has limits of its own, one for each part.
        peer.options.total_connection_timeout = None;
        peer.options.custom_l4 = Some(dial);
    }
    peer
}

pub(crate) fn classify(error: &io::Error) -> ConnectFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => ConnectFailure::Refused,
        io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
        _ => ConnectFailure::Other,
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = self.stream.poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.heard = Instant::now();
            self.upstream.heard(self.heard);
        }
        result
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, parts),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(tcp) => tcp.is_write_vectored(),
            Stream::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            // Nothing of it is kept back.
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

plain_stream!(Connection);

/// So that Pingora takes one that it has not opened.
impl VirtualSocket for Connection {
    /// They are what they should be.
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(context, buffer);
        if buffer.filled().len() > before
            && let Some(upstream) = &self.upstream
        {
            upstream.touch();
        }
        result
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}
