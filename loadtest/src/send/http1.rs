//! One connection of HTTP/1.1.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::failure;
use super::stream::Stream;
use crate::count::Failure;

/// What keeps a connection going.
type Going = Connection<TokioIo<Stream>, Full<Bytes>>;

/// A connection; closed when dropped, unless it was released.
///
/// Its first request is answered by who waits for it, and only then it gets a task of its own: when a service that has
/// stalled answers everybody at once, one after the other has buffers for a moment, and not all at the same time.
#[derive(Debug)]
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    going: Option<Pin<Box<Going>>>,
    task: Option<AbortHandle>,
}

/// Why a request got no answer.
pub(super) struct NoAnswer {
    pub(super) failure: Failure,
    /// The request, if no byte of it was sent.
    pub(super) unsent: Option<Request<Full<Bytes>>>,
}

impl Wire {
    pub(super) async fn over(stream: Stream) -> Result<Self, Failure> {
        let (sender, going) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure::of_exchange(&error))?;
        Ok(Wire { sender, going: Some(Box::pin(going)), task: None })
    }

    /// Waits for `work` on this connection, which goes on meanwhile.
    async fn meanwhile<T>(going: &mut Option<Pin<Box<Going>>>, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(done);
            }
            let Some(connection) = going else { return Poll::Pending };
            if connection.as_mut().poll(context).is_ready() {
                // What went wrong is told to the request that is under way.
                *going = None;
            }
            // What it has brought is taken at once.
            work.as_mut().poll(context)
        })
        .await
    }

    /// The next piece of an answer's body, if there is one.
    pub(super) async fn frame(&mut self, body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
        Self::meanwhile(&mut self.going, body.frame()).await
    }

    /// Sends `request` and waits for the head of its answer.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        // Most often it is; one that has just answered may still have to be told so.
        let Wire { sender, going, .. } = self;
        if !sender.is_ready()
            && let Err(error) = Self::meanwhile(going, sender.ready()).await
        {
            return Err(NoAnswer { failure: failure::of_exchange(&error), unsent: Some(request) });
        }
        let answer = Self::meanwhile(going, sender.try_send_request(request)).await;
        answer.map_err(|mut error| NoAnswer {
            unsent: error.take_message(),
            failure: failure::of_exchange(error.error()),
        })
    }

    /// Has it go on by itself, so that it sees when the other side closes.
    pub(super) fn keep(mut self) -> Self {
        if let Some(connection) = self.going.take() {
            let task = tokio::spawn(async move {
                let _ = connection.await;
            });
            self.task = Some(task.abort_handle());
        }
        self
    }

    /// Lets the connection end by itself, the other side closing first.
    pub(super) fn release(self) {
        self.keep().task = None;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
