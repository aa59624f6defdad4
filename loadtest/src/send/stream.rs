//! The bytes of one connection: plain or in TLS, counted, and closed second.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{io, mem};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tokio_rustls::client::TlsStream;

/// The bytes of all connections, as HTTP has them: those of TLS are not counted.
#[derive(Debug, Default)]
pub struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Traffic {
    /// Bytes sent and received so far.
    pub fn totals(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

/// A connection to a server.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream that lets the server close first, for a while.
///
/// Whoever closes first keeps the pair of ports in TIME_WAIT for a minute. With hundreds of fresh
/// connections a second to one address that would be all ports a client has; the server's side costs
/// nothing, since it can take a new connection from the same port.
///
/// Its first request may be sent before there is anybody who speaks HTTP over it ([`Stream::ask`]): one who does has
/// 16 KiB of buffers from the start, and when a service stalls, thousands of connections have nothing to do but wait.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    traffic: Arc<Traffic>,
    patience: Option<Pin<Box<Sleep>>>,
    asked: Asked,
}

/// What becomes of what is written first.
#[derive(Debug)]
enum Asked {
    /// It is sent.
    No,
    /// It was sent; who writes it again does not know. Until he has, he is not to read the answer.
    Already(Option<Waker>),
}

/// How long the server may take to close.
const PATIENCE: Duration = Duration::from_secs(1);

impl Stream {
    pub(super) fn new(socket: Socket, traffic: Arc<Traffic>) -> Self {
        Stream { socket, traffic, patience: None, asked: Asked::No }
    }

    /// Sends a request, and waits until something comes back. The next write, which must be that of the same request's
    /// head, is swallowed.
    pub(super) async fn ask(&mut self, head: &[u8], body: &[u8]) {
        // What goes wrong shows again when the answer is read, which may be there all the same.
        let sent = async {
            self.write_all(head).await?;
            self.write_all(body).await?;
            self.flush().await
        };
        if sent.await.is_ok() {
            let _ = match &self.socket {
                Socket::Plain(stream) => stream.readable().await,
                // Not all of this may be an answer; then it is waited for as usual.
                Socket::Tls(stream) => stream.get_ref().0.readable().await,
            };
        }
        self.asked = Asked::Already(None);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Asked::Already(waiting) = &mut self.asked {
            *waiting = Some(context.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Socket::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        let count = buffer.filled().len() - before;
        self.traffic.received.fetch_add(count as u64, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Asked::Already(waiting) = mem::replace(&mut self.asked, Asked::No) {
            if let Some(waiting) = waiting {
                waiting.wake();
            }
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Socket::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        if let Poll::Ready(Ok(count)) = &written {
            self.traffic.sent.fetch_add(*count as u64, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_flush(context),
            Socket::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let patience = this.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        while patience.as_mut().poll(context).is_pending() {
            let mut scratch = [0; 512];
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = match &mut this.socket {
                Socket::Plain(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                Socket::Tls(stream) => Pin::new(stream).poll_read(context, &mut buffer),
            };
            match read {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => break,
            }
        }
        match &mut this.socket {
            Socket::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Socket::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
