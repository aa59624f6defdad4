//! Connections that Pingora's own path uses and does not open itself: those of TLS, and those that begin with a header of
//! the PROXY protocol. They are made as all others are, so
//! that both paths share the sessions, the limits and what is held against an upstream.
//!
//! Pingora tells such connections apart by a number that it takes from plain sockets alone, and would mix them up in its
//! stock. So each of HTTP/1 is for one request; the next one resumes the session. Those of HTTP/2, which requests share,
//! are behind a socket (`relay`).

use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr as Address;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::VirtualSocketStream;
use pingora_error::{Error, ErrorType, OrErr as _, Result};
use wire::proxy_config::Protocol;

use super::super::state::upstream::Upstream;
use super::connect::{ConnectFailure, Connection, Purpose};
use super::relay;

/// Opens one connection, and says afterwards what came of it.
#[derive(Debug)]
pub(crate) struct Dial {
    upstream: Arc<Upstream>,
    limit: Duration,
    worker: usize,
    purpose: Purpose,
    protocol: Protocol,
    outcome: OnceLock<Result<RawFd, ConnectFailure>>,
}

impl Dial {
    /// For one connection to `upstream`, as in [`Connection::open`].
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        limit: Duration,
        worker: usize,
        purpose: Purpose,
        protocol: Protocol,
    ) -> Arc<Self> {
        Arc::new(Dial { upstream, limit, worker, purpose, protocol, outcome: OnceLock::new() })
    }

    /// Whether requests share the connection.
    pub(crate) fn is_shared(&self) -> bool {
        self.protocol.is_http2()
    }

    /// The name it is for, where others' requests may not share it.
    pub(crate) fn name(&self) -> Option<&str> {
        self.purpose.name.as_deref()
    }

    /// The socket of the connection, once there is one and Pingora does not know it.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.outcome.get().filter(|_| !self.is_shared()).and_then(|outcome| outcome.as_ref().ok().copied())
    }

    /// Why there is none.
    pub(crate) fn failure(&self) -> Option<ConnectFailure> {
        self.outcome.get().and_then(|outcome| outcome.as_ref().err().copied())
    }
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, _address: &Address) -> Result<Stream> {
        let opened = Connection::open(&self.upstream, self.limit, self.worker, self.purpose.clone()).await;
        let _ = self.outcome.set(opened.as_ref().map(Connection::fd).map_err(|failure| *failure));
        match opened {
            Ok(connection) if self.is_shared() => {
                let relayed = relay::through(connection);
                relayed.map(Stream::from).or_err(ErrorType::ConnectError, "no pair of sockets")
            }
            Ok(connection) => Ok(Stream::from(VirtualSocketStream::new(Box::new(connection)))),
            Err(failure) => Err(Error::new_up(match failure {
                ConnectFailure::Refused => ErrorType::ConnectRefused,
                ConnectFailure::TimedOut => ErrorType::ConnectTimedout,
                ConnectFailure::Tls(_) => ErrorType::TLSHandshakeFailure,
                ConnectFailure::Other => ErrorType::ConnectError,
            })),
        }
    }
}
