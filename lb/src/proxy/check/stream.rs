//! The connection of one check. A byte that comes from where requests go is noted in the upstream's record as a
//! sign of life, as on any other connection.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::super::forward::connect::{ConnectFailure, classify};
use super::super::health;
use super::super::state::upstream::Upstream;
use super::Fault;

/// A TCP connection for one check.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    /// Where it leads.
    pub(super) address: SocketAddr,
    /// Whose life its bytes are a sign of; none where another process may listen.
    upstream: Option<Arc<Upstream>>,
}

impl Stream {
    /// Connects to `upstream`, at `port` if that is another one. Takes as long as the system lets it.
    ///
    /// # Errors
    ///
    /// The fault, if there is no connection.
    pub(super) async fn open(upstream: &Arc<Upstream>, port: Option<u16>) -> Result<Self, Fault> {
        let address = SocketAddr::new(upstream.address.ip(), port.unwrap_or(upstream.address.port()));
        let tcp = TcpStream::connect(address).await.map_err(|error| match classify(&error) {
            ConnectFailure::Refused => Fault::Refused,
            ConnectFailure::TimedOut => Fault::Timeout,
            ConnectFailure::Other => Fault::Void,
        })?;
        let _ = tcp.set_nodelay(true);
        let is_its_own = address == upstream.address;
        if is_its_own {
            health::connected(upstream);
        }
        Ok(Stream { tcp, address, upstream: is_its_own.then(|| upstream.clone()) })
    }
}

impl AsyncRead for Stream {
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

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
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
