//! The connection of one check. A byte that comes from where requests go is noted in the upstream's record as a
//! sign of life, as on any other connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::super::forward::announce;
use super::super::forward::connect::{ConnectFailure, Heard, classify};
use super::super::health;
use super::super::route::without_port;
use super::super::state::upstream::{Security, Upstream};
use super::super::upstream_tls::UpstreamTls;
use super::super::upstream_tls::failure::TlsFailure;
use super::Fault;

/// A connection for one check: plain, or by TLS where requests have it.
#[derive(Debug)]
pub(super) struct Stream {
    way: Way,
    /// Where it leads.
    pub(super) address: SocketAddr,
}

#[derive(Debug)]
enum Way {
    Plain(Heard),
    Tls(Box<TlsStream<Heard>>),
}

impl Stream {
    /// Connects to `upstream`, at `port` if that is another one: there nobody speaks TLS. Takes as long as the system lets
    /// it. `host` is what will be asked for.
    ///
    /// # Errors
    ///
    /// The fault, if there is no connection.
    pub(super) async fn open(
        upstream: &Arc<Upstream>,
        port: Option<u16>,
        host: Option<&str>,
    ) -> Result<Self, Fault> {
        let is_its_own = port.is_none_or(|port| port == upstream.address.port());
        match &*upstream.security() {
            Security::Tls(tls) if is_its_own => Self::over(upstream, port, host, Some(tls)).await,
            Security::Unusable if is_its_own => Err(Fault::Void),
            Security::Plain | Security::Tls(_) | Security::Unusable => {
                Self::over(upstream, port, host, None).await
            }
        }
    }

    /// The same by `tls`, at whatever port.
    pub(super) async fn open_by(
        upstream: &Arc<Upstream>,
        port: Option<u16>,
        host: Option<&str>,
        tls: &UpstreamTls,
    ) -> Result<Self, Fault> {
        Self::over(upstream, port, host, Some(tls)).await
    }

    async fn over(
        upstream: &Arc<Upstream>,
        port: Option<u16>,
        host: Option<&str>,
        tls: Option<&UpstreamTls>,
    ) -> Result<Self, Fault> {
        let address = SocketAddr::new(upstream.address.ip(), port.unwrap_or(upstream.address.port()));
        let mut tcp = TcpStream::connect(address).await.map_err(|error| fault(classify(&error)))?;
        let _ = tcp.set_nodelay(true);
        let is_its_own = address == upstream.address;
        if is_its_own && let Some(version) = upstream.policy().proxy_protocol {
            let ours = announce::header(version, None, address);
            tcp.write_all(&ours).await.map_err(|_error| Fault::Broken)?;
        }
        let heard = Heard::new(tcp, is_its_own.then(|| upstream.clone()));
        let way = match tls {
            Some(tls) => {
                let name = host.and_then(|host| tls.name_for(without_port(host)));
                let shaking = tls.handshake(heard, address, name.as_deref());
                Way::Tls(Box::new(shaking.await.map_err(|failure| fault(ConnectFailure::Tls(failure)))?))
            }
            None => Way::Plain(heard),
        };
        if is_its_own {
            health::connected(upstream);
        }
        Ok(Stream { way, address })
    }

    /// What URLs for it begin with.
    pub(super) fn scheme(&self) -> &'static str {
        match self.way {
            Way::Plain(_) => "http",
            Way::Tls(_) => "https",
        }
    }
}

fn fault(failure: ConnectFailure) -> Fault {
    match failure {
        ConnectFailure::Refused => Fault::Refused,
        ConnectFailure::TimedOut | ConnectFailure::Tls(TlsFailure::TimedOut) => Fault::Timeout,
        ConnectFailure::Tls(failure) => Fault::Tls(failure),
        ConnectFailure::Other => Fault::Void,
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Plain(heard) => Pin::new(heard).poll_read(context, buffer),
            Way::Tls(tls) => Pin::new(tls).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.way {
            Way::Plain(heard) => Pin::new(heard).poll_write(context, bytes),
            Way::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Plain(heard) => Pin::new(heard).poll_flush(context),
            Way::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.way {
            Way::Plain(heard) => Pin::new(heard).poll_shutdown(context),
            Way::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}

/// What is looked for in an answer that comes bit by bit.
#[derive(Debug)]
pub(super) struct Search<'a> {
    wanted: &'a [u8],
    seen: Vec<u8>,
}

impl<'a> Search<'a> {
    pub(super) fn new(wanted: &'a str) -> Self {
        Search { wanted: wanted.as_bytes(), seen: Vec::new() }
    }

    /// Takes in the next bytes. Whether it is found; none while it may still come.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Option<bool> {
        // What was looked at before can only be its beginning.
        let from = (self.seen.len() + 1).saturating_sub(self.wanted.len().max(1));
        let room = super::MAX_ANSWER - self.seen.len();
        self.seen.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if memchr::memmem::find(&self.seen[from..], self.wanted).is_some() {
            return Some(true);
        }
        (self.seen.len() == super::MAX_ANSWER).then_some(false)
    }

    /// Whether nothing came at all.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_ANSWER;
    use super::*;

    #[test]
    fn what_comes_in_pieces_is_found_and_the_search_has_an_end() {
        let mut search = Search::new("ready");
        assert!(search.is_empty());
        assert_eq!(search.take(b"not re"), None);
        assert_eq!(search.take(b"ad"), None);
        assert_eq!(search.take(b"y."), Some(true));
        let mut search = Search::new("x");
        for byte in *b"abcx" {
            assert_eq!(search.take(&[byte]), (byte == b'x').then_some(true));
        }
        let mut search = Search::new("end");
        assert_eq!(search.take(&[b' '; MAX_ANSWER - 4]), None);
        assert_eq!(search.take(b"  end"), Some(false), "its last byte is one too many");
    }
}
