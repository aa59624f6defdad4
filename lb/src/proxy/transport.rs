//! What carries a client's bytes: its TCP socket as it is, or TLS over it.
//!
//! What the kernel alone knows (who is there, what is confirmed, how it ends) is asked of the socket in both cases.
//! What is readable and what was written is not: TLS has bytes of its own on the way, and keeps some back. The end of
//! what is sent is said in TLS too (close_notify): a client takes what ends without it for cut off, which is why
//! [`Transport::poll_shutdown`] is for whole answers alone, and nothing is said when a transport is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// How a connection is read and written.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Bytes as they are.
    Plain(Wire),
    /// Encrypted. Apart, because it is large and most connections of a plain port have none of it.
    Tls(Box<TlsStream<Wire>>),
}

/// A client's TCP socket, with what was read from it ahead of its turn.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) tcp: TcpStream,
    pub(crate) ahead: Vec<u8>,
    /// How many bytes the kernel has taken so far.
    taken: u64,
}

impl Wire {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Wire { tcp, ahead: Vec::new(), taken: 0 }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.ahead.is_empty() {
            return Pin::new(&mut wire.tcp).poll_read(context, buffer);
        }
        let count = wire.ahead.len().min(buffer.remaining());
        buffer.put_slice(&wire.ahead[..count]);
        wire.ahead.drain(..count);
        if wire.ahead.is_empty() {
            wire.ahead = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let count = ready!(Pin::new(&mut wire.tcp).poll_write(context, bytes))?;
        wire.taken += count as u64;
        Poll::Ready(Ok(count))
    }

    /// Several records at once: of the last words of a handshake that fails, only what goes now goes at all.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let count = ready!(Pin::new(&mut wire.tcp).poll_write_vectored(context, parts))?;
        wire.taken += count as u64;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(context)
    }
}

impl Transport {
    fn wire(&self) -> &Wire {
        match self {
            Transport::Plain(wire) => wire,
            Transport::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The socket itself.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.wire().tcp
    }

    /// Whether it is encrypted.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    /// How many bytes the kernel has taken so far: grows while the other end takes anything.
    pub(crate) fn taken(&self) -> u64 {
        self.wire().taken
    }

    /// Whether some of what was written did not get as far as the kernel.
    pub(crate) fn has_unsent(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
            Transport::Tls(stream) => stream.get_ref().1.wants_write(),
        }
    }

    /// Resolves when reading may give something, without needing a buffer for it.
    pub(crate) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_here = match self {
            Transport::Plain(wire) => !wire.ahead.is_empty(),
            Transport::Tls(stream) => {
                let (wire, session) = stream.get_ref();
                // It wants none while it has some, or has seen the end.
                !wire.ahead.is_empty() || !session.wants_read()
            }
        };
        if is_here { Poll::Ready(Ok(())) } else { self.tcp().poll_read_ready(context) }
    }

    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(wire) => Pin::new(wire).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }

    pub(crate) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(wire) => Pin::new(wire).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    /// Whether parts that lie apart are written together. TLS makes records of each of them at any rate.
    pub(crate) fn writes_parts(&self) -> bool {
        matches!(self, Transport::Plain(_))
    }

    pub(crate) fn poll_write_parts(
        &mut self,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Transport::Plain(wire) => Pin::new(wire).poll_write_vectored(context, parts),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, parts),
        }
    }

    /// Resolves when the kernel has all that was written.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(wire) => Pin::new(wire).poll_flush(context),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    /// Says that no more will be sent, and that what was sent is whole.
    pub(crate) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(wire) => Pin::new(wire).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}
