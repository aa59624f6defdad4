//! The client of one request, as the way of a request knows it, whichever protocol it speaks: a connection of
//! HTTP/1, which the request has to itself, or a stream of HTTP/2 among others.

use std::io;
use std::sync::Arc;

use tokio::time::Instant;

use super::client_stream::ClientStream;
use super::headers::Origin;
use super::http2;
use super::limits::hops::Told;
use super::observe::mark::Shown;
use super::route::look::Look;
use super::strict::Fault;

/// A handle to the client of one request.
#[derive(Clone, Debug)]
pub(crate) enum Client {
    /// HTTP/1.0 or 1.1: the connection.
    Http1(ClientStream),
    /// HTTP/2: one stream of the connection.
    Http2(http2::Stream),
}

/// What the refusal of a request is like, where those refuse it that do not know the request.
#[derive(Clone, Debug)]
pub(crate) struct Likeness {
    pub(crate) look: Arc<Look>,
    /// It asks for problem documents.
    pub(crate) json: bool,
    /// What is said in it besides.
    pub(crate) shown: Option<Shown>,
}

impl Client {
    /// What upstreams are told of it.
    pub(crate) fn origin(&self) -> Origin {
        match self {
            Client::Http1(stream) => stream.origin(),
            Client::Http2(stream) => stream.origin(),
        }
    }

    /// Believes what the peer, which is a trusted proxy, says of whose request it is.
    pub(crate) fn believe(&self, told: Told) {
        match self {
            Client::Http1(stream) => stream.believe(Arc::new(told)),
            Client::Http2(stream) => stream.believe(Arc::new(told)),
        }
    }

    /// Has it refused like this from now on.
    pub(crate) fn refuse_like(&self, likeness: Likeness) {
        match self {
            Client::Http1(stream) => stream.refuse_like(likeness),
            Client::Http2(stream) => stream.refuse_like(likeness),
        }
    }

    /// What is wrong with the body of its request, as far as it came. HTTP/2 resets the stream instead.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Client::Http1(stream) => stream.fault(),
            Client::Http2(_) => None,
        }
    }

    /// Whether the answer is the last one on its connection. A connection of HTTP/2 is told by itself (GOAWAY).
    pub(crate) fn is_closing(&self) -> bool {
        match self {
            Client::Http1(stream) => stream.is_closing(),
            Client::Http2(_) => false,
        }
    }

    /// Whether its address moves without it, and nothing of the answer was written.
    pub(crate) fn is_cut_unanswered(&self) -> bool {
        match self {
            Client::Http1(stream) => stream.is_cut_unanswered(),
            Client::Http2(stream) => stream.is_cut_unanswered(),
        }
    }

    /// Resolves when the client waits for the answer no more.
    pub(crate) async fn gone(&self) {
        match self {
            Client::Http1(stream) => stream.gone().await,
            Client::Http2(stream) => stream.gone().await,
        }
    }

    /// Sends what was gathered of the answer.
    ///
    /// # Errors
    ///
    /// When the client cannot be written to.
    pub(crate) async fn send_gathered(&self) -> io::Result<()> {
        match self {
            Client::Http1(stream) => stream.send_gathered().await,
            // What is written is the connection's to send.
            Client::Http2(_) => Ok(()),
        }
    }

    /// Breaks the answer off, so that the client cannot mistake what it has for the whole.
    pub(crate) async fn abort(&self) {
        match self {
            Client::Http1(stream) => stream.abort().await,
            Client::Http2(stream) => stream.abort(),
        }
    }

    /// Sets until when the answer must have begun; none when it has.
    pub(crate) fn answer_by(&self, deadline: Option<Instant>) {
        match self {
            Client::Http1(stream) => stream.answer_by(deadline),
            Client::Http2(stream) => stream.answer_by(deadline),
        }
    }

    /// Until when the answer must have begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Client::Http1(stream) => stream.deadline(),
            Client::Http2(stream) => stream.deadline(),
        }
    }

    /// The length of a body that says none of its own, if it has ended within `limit` bytes and without being waited
    /// for much. What was read of it is given out again. Only HTTP/2 has such bodies apart from HTTP/1's chunks, which
    /// are passed on as they come.
    pub(crate) async fn gather(&self, limit: u64, may_wait: bool) -> Option<u64> {
        match self {
            Client::Http1(_) => None,
            Client::Http2(stream) => stream.gather(limit, may_wait).await,
        }
    }
}
