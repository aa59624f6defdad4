//! One connection of HTTP/1.1.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;

use super::failure;
use super::stream::Stream;
use crate::count::Failure;

/// A connection; closed when dropped, unless it was released.
#[derive(Debug)]
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    task: AbortHandle,
    released: bool,
}

/// Why a request got no answer.
pub(super) struct NoAnswer {
    pub(super) failure: Failure,
    /// The request, if no byte of it was sent.
    pub(super) unsent: Option<Request<Full<Bytes>>>,
}

impl Wire {
    pub(super) async fn over(stream: Stream) -> Result<Self, Failure> {
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure::of_exchange(&error))?;
        let task = tokio::spawn(async move {
            // What went wrong is told to the request that was under way.
            let _ = connection.await;
        })
        .abort_handle();
        Ok(Wire { sender, task, released: false })
    }

    /// Sends `request` and waits for the head of its answer.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, NoAnswer> {
        // Most often it is; one that has just answered may still have to be told so.
        if !self.sender.is_ready()
            && let Err(error) = self.sender.ready().await
        {
            return Err(NoAnswer { failure: failure::of_exchange(&error), unsent: Some(request) });
        }
        self.sender.try_send_request(request).await.map_err(|mut error| NoAnswer {
            unsent: error.take_message(),
            failure: failure::of_exchange(error.error()),
        })
    }

    /// Lets the connection end by itself, the other side closing first.
    pub(super) fn release(mut self) {
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
