//! One connection to the target.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::Sleep;

use super::failure;
use crate::count::Failure;

/// A connection; closed when dropped, unless it was released.
#[derive(Debug)]
pub(crate) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
    released: bool,
}

/// Why a request got no answer.
pub(crate) struct NoAnswer {
    pub(crate) failure: Failure,
    /// The request, if no byte of it was sent.
    pub(crate) unsent: Option<Request<Full<Bytes>>>,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await.map_err(|error| failure::of_connect(&error))?;
        // A failure here shows in the request itself.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(ClosesSecond { stream, patience: None });
        let (sender, connection) =
            http1::handshake(io).await.map_err(|error| failure::of_exchange(&error))?;
        let task = tokio::spawn(async move {
            // What went wrong is told to the request that was under way.
            let _ = connection.await;
        })
        .abort_handle();
        Ok(Wire { sender, task, released: false })
    }

    /// Sends `request` and waits for the head of its answer.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        self.sender.try_send_request(request).await.map_err(|mut error| NoAnswer {
            unsent: error.take_message(),
            failure: failure::of_exchange(error.error()),
        })
    }

    /// Waits until the next request can be sent; `false` if the connection ended instead.
    pub(crate) async fn ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Lets the connection end by itself, the other side closing first.
    pub(crate) fn release(mut self) {
        self.released = true;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if !self.released {
            self.task.abort();
        }
    }
}

/// A stream that lets the server close first, for a while.
///
/// Whoever closes first keeps the pair of ports in TIME_WAIT for a minute. With hundreds of fresh
/// connections a second to one address that would be all ports a client has; the server's side costs
/// nothing, since it can take a new connection from the same port.
#[derive(Debug)]
struct ClosesSecond {
    stream: TcpStream,
    patience: Option<Pin<Box<Sleep>>>,
}

/// How long the server may take to close.
const PATIENCE: Duration = Duration::from_secs(1);

impl AsyncRead for ClosesSecond {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClosesSecond {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let patience = this.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        while patience.as_mut().poll(context).is_pending() {
            let mut scratch = [0; 512];
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => break,
            }
        }
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
