//! A TLS connection that ends when its other end is not believed any more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::Live;

/// The server's side of a connection.
pub struct TlsIo {
    stream: TlsStream<TcpStream>,
    live: Arc<Live>,
    /// The credentials under which `chain` was last found good.
    generation: u64,
    chain: Vec<CertificateDer<'static>>,
}

impl TlsIo {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        live: Arc<Live>,
        generation: u64,
        chain: Vec<CertificateDer<'static>>,
    ) -> Self {
        TlsIo { stream, live, generation, chain }
    }

    fn is_believed(&mut self) -> bool {
        let generation = self.live.generation();
        if generation == self.generation {
            return true;
        }
        self.generation = generation;
        self.live.verify(&self.chain).is_ok()
    }
}

impl AsyncRead for TlsIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        // After the bytes are there, and before anybody acts on them.
        if buf.filled().len() > before && !self.is_believed() {
            buf.set_filled(before);
            let message = "the certificate of the other end is not accepted any more";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, message)));
        }
        read
    }
}

impl AsyncWrite for TlsIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
