//! The body of a request that is passed on while it comes: it is too long to keep, or its client waits for a word before it
//! sends it. The answer may begin before the body has ended, and both go on beside each other.
//!
//! ```text
//!   client ──▶ space of the worker ──▶ upstream     what it has no room for is kept, and meanwhile nothing more is read
//!                   └──▶ the beginning is kept as well: while it is all there is, another upstream can be asked
//! ```

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::Instant;

use super::super::client_stream::ClientStream;
use super::super::lock;
use super::super::passing::{ROUNDS, Unwritten, with_space};
use super::KEPT_BODY;
use super::connect::Connection;

/// The body of one request, for all of its tries: one after the other, as what was read of it is gone.
#[derive(Debug)]
pub(crate) struct Upload {
    client: ClientStream,
    again: Again,
    /// The answer may take so long from when the last of the body came.
    timeout: Duration,
    so_far: Mutex<SoFar>,
}

/// When another upstream may be asked although this one was sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// The request may be executed twice.
    Repeatable,
    /// Where TLS is refused after its handshake, which is before anybody has read the request.
    Unread,
    Never,
}

#[derive(Debug)]
struct SoFar {
    /// What was read, as long as that is little; none: it was more.
    begun: Option<Vec<u8>>,
    /// The answer must have begun by then.
    until: Instant,
}

impl Upload {
    /// The body that `client` is about to send, with a request that is to be answered until then or, while the body
    /// comes, in that time from each part of it.
    pub(crate) fn new(client: ClientStream, again: Again, until: Instant, timeout: Duration) -> Self {
        client.begin_upload();
        let so_far = Mutex::new(SoFar { begun: Some(Vec::new()), until });
        Upload { client, again, timeout, so_far }
    }

    /// By when the answer must have begun, unless more of the body comes.
    pub(super) fn until(&self) -> Instant {
        lock(&self.so_far).until
    }

    /// Whether another upstream can be asked that gets all of it.
    pub(super) fn is_whole(&self) -> bool {
        lock(&self.so_far).begun.is_some()
    }

    /// Whether another may be asked although this one may have executed the request.
    pub(super) fn may_be_repeated(&self) -> bool {
        self.again == Again::Repeatable && self.is_whole()
    }

    fn note(&self, part: &[u8]) {
        let mut so_far = lock(&self.so_far);
        so_far.until = Instant::now() + self.timeout;
        if let Some(begun) = &mut so_far.begun {
            if self.again == Again::Never || begun.len() + part.len() > KEPT_BODY as usize {
                so_far.begun = None;
            } else {
                begun.extend_from_slice(part);
            }
        }
    }
}

/// A body on its way to one upstream.
#[derive(Debug)]
pub(super) struct Sending {
    upload: Arc<Upload>,
    /// What is to be written before more is read.
    kept: Unwritten,
    flow: Flow,
}

/// How it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Open,
    /// The upstream has all of it.
    Ended,
    /// The upstream takes no more. It may have answered all the same.
    Refused,
    /// The client has not sent all of it, or too slowly ([`ClientStream::fault`]).
    BrokeOff,
}

impl Sending {
    /// The body `upload` after this `head`.
    pub(super) fn new(upload: Arc<Upload>, head: &[u8]) -> Self {
        let mut kept = head.to_vec();
        kept.extend_from_slice(lock(&upload.so_far).begun.as_deref().unwrap_or_default());
        Sending { upload, kept: kept.into(), flow: Flow::Open }
    }

    /// Passes on what there is.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, connection: &mut Connection) -> Flow {
        if self.flow == Flow::Open
            && let Poll::Ready(flow) = with_space(|space| self.poll_pass_on(context, connection, space))
        {
            self.flow = flow;
        }
        self.flow
    }

    fn poll_pass_on(
        &mut self,
        context: &mut Context<'_>,
        connection: &mut Connection,
        space: &mut [u8],
    ) -> Poll<Flow> {
        let mut client = self.upload.client.clone();
        for _ in 0..ROUNDS {
            match self.kept.poll(context, connection) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Flow::Refused),
                Poll::Pending => return Poll::Pending,
            }
            if client.has_body_come() {
                let flushed = Pin::new(connection).poll_flush(context);
                return flushed.map(|flushed| if flushed.is_ok() { Flow::Ended } else { Flow::Refused });
            }
            let mut buffer = ReadBuf::new(space);
            match Pin::new(&mut client).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Flow::BrokeOff),
                Poll::Pending => {
                    // TLS may keep some of what was written.
                    let flushed = Pin::new(connection).poll_flush(context);
                    return if matches!(flushed, Poll::Ready(Err(_))) {
                        Poll::Ready(Flow::Refused)
                    } else {
                        Poll::Pending
                    };
                }
            }
            let part = buffer.filled();
            self.upload.note(part);
            if self.kept.write(context, connection, part).is_err() {
                return Poll::Ready(Flow::Refused);
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
