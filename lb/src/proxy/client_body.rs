//! The body of a request as it comes from the client: no further than its end, and not too slowly.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::client_socket::{Phase, Socket, allowed};
use super::strict::Fault;

impl Socket {
    /// Reads some of a body of which `left` bytes are to come.
    pub(super) fn poll_body(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        left: u64,
    ) -> Poll<io::Result<u64>> {
        let limit = usize::try_from(left).unwrap_or(usize::MAX);
        let taken = self.poll_take(context, buffer, limit);
        ready!(self.poll_came(context, &taken))?;
        taken.map_ok(|count| count as u64)
    }

    /// Reads some of a chunked body, and nothing after it.
    pub(super) fn poll_chunked(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let taken = self.poll_take(context, buffer, usize::MAX);
        ready!(self.poll_came(context, &taken))?;
        let bytes = &buffer.filled()[before..];
        let Some(chunked) = &mut self.chunked else { return Poll::Ready(Ok(())) };
        match chunked.follow(bytes) {
            Ok(count) => {
                // What follows is the next request.
                self.input.splice(..0, bytes[count..].iter().copied());
                if chunked.is_done() {
                    self.phase = Phase::Body(0);
                }
                buffer.set_filled(before + count);
                Poll::Ready(Ok(()))
            }
            Err(fault) => {
                buffer.set_filled(before);
                self.fault = Some(fault);
                Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
            }
        }
    }

    /// Whether a body comes at all and fast enough, by what was `taken` of it.
    fn poll_came(
        &mut self,
        context: &mut Context<'_>,
        taken: &Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        match taken {
            Poll::Ready(Ok(0)) => {
                self.fault = Some(Fault::bad("the connection ended before the request's body"));
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            Poll::Ready(taken) => {
                self.body_bytes += *taken.as_ref().unwrap_or(&0) as u64;
                self.body_pace.moves();
                Poll::Ready(Ok(()))
            }
            Poll::Pending => {
                let moved = self.body_bytes;
                ready!(self.body_pace.poll_wait(context, &allowed(&self.patience).body, || moved));
                self.fault = Some(Fault::new(408, "the request's body came too slowly"));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}
