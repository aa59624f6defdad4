//! Connections of HTTP/2: one that many requests share, or one for each.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::connect::Connector;
use super::failure;
use crate::count::Failure;

/// The one that is shared.
#[derive(Default)]
pub(super) struct Shared(Mutex<Latest>);

#[derive(Default)]
struct Latest {
    /// Which one it is, of those that there were.
    number: u64,
    wire: Option<Wire>,
}

/// A connection. Ends when the last of its clones and of its requests has.
#[derive(Clone)]
pub(super) struct Wire(SendRequest<Bytes>);

/// Why a request got no answer.
pub(super) struct NoAnswer {
    pub(super) failure: Failure,
    /// The server has not seen it, or has said that it did nothing with it.
    pub(super) unseen: bool,
}

impl Shared {
    /// The one there is, or a new one; with its number.
    pub(super) async fn get(&self, connector: &Connector, deadline: Instant) -> Result<(u64, Wire), Failure> {
        // Whoever waits here waits for the connection that another opens.
        let mut latest = self.0.lock().await;
        if let Some(wire) = &latest.wire {
            return Ok((latest.number, wire.clone()));
        }
        let wire = Wire::connect(connector, deadline).await?;
        latest.number += 1;
        latest.wire = Some(wire.clone());
        Ok((latest.number, wire))
    }

    /// The one with this number gets no more requests.
    pub(super) async fn retire(&self, number: u64) {
        let mut latest = self.0.lock().await;
        if latest.number == number {
            latest.wire = None;
        }
    }
}

impl Wire {
    pub(super) async fn connect(connector: &Connector, deadline: Instant) -> Result<Self, Failure> {
        let stream = connector.connect(deadline).await?;
        let handshake = timeout_at(deadline, h2::client::handshake(stream)).await;
        let (sender, connection) =
            handshake.map_err(|_| Failure::ConnectTimeout)?.map_err(|error| failure::of_http2(&error))?;
        tokio::spawn(async move {
            // What went wrong is told to the requests that were under way.
            let _ = connection.await;
        });
        Ok(Wire(sender))
    }

    /// Sends `request` and waits for the head of its answer.
    pub(super) async fn exchange(
        self,
        request: Request<()>,
        body: Bytes,
    ) -> Result<Response<RecvStream>, NoAnswer> {
        let unseen = |error: &h2::Error| NoAnswer { failure: failure::of_http2(error), unseen: true };
        let mut sender = self.0.ready().await.map_err(|error| unseen(&error))?;
        let (answer, mut sending) =
            sender.send_request(request, body.is_empty()).map_err(|error| unseen(&error))?;
        if !body.is_empty() {
            // What is lost of the body shows in the answer.
            let _ = sending.send_data(body, true);
        }
        answer.await.map_err(|error| NoAnswer { unseen: undone(&error), failure: failure::of_http2(&error) })
    }
}

/// Whether the server has said that it did nothing with the request (RFC 9113, 8.7): by refusing the stream, or by
/// going away in an orderly way with an earlier stream as the last.
fn undone(error: &h2::Error) -> bool {
    let refused = error.reason() == Some(Reason::REFUSED_STREAM);
    let gone = error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR);
    refused || gone
}
