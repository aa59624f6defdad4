//! Connections that Pingora's own path uses and does not open itself: those of TLS. They are made as all others are, so
//! that both paths share the sessions, the limits and what is held against an upstream.
//!
//! Pingora tells such connections apart by a number that it takes from plain sockets alone, and would mix them up in its
//! stock. So each is for one request; the next one resumes the session.

use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr as Address;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::VirtualSocketStream;
use pingora_error::{Error, ErrorType, Result};

use super::super::state::upstream::Upstream;
use super::connect::{ConnectFailure, Connection};

/// Opens one connection, and says afterwards what came of it.
#[derive(Debug)]
pub(crate) struct Dial {
    upstream: Arc<Upstream>,
    limit: Duration,
    worker: usize,
    name: Option<Box<str>>,
    outcome: OnceLock<Result<RawFd, ConnectFailure>>,
}

impl Dial {
    /// For one connection to `upstream`, as in [`Connection::open`].
    pub(crate) fn new(
        upstream: Arc<Upstream>,
        limit: Duration,
        worker: usize,
        name: Option<Box<str>>,
    ) -> Arc<Self> {
        Arc::new(Dial { upstream, limit, worker, name, outcome: OnceLock::new() })
    }

    /// The socket of the connection, once there is one.
    pub(crate) fn fd(&self) -> Option<RawFd> {
        self.outcome.get().and_then(|outcome| outcome.as_ref().ok().copied())
    }

    /// Why there is none.
    pub(crate) fn failure(&self) -> Option<ConnectFailure> {
        self.outcome.get().and_then(|outcome| outcome.as_ref().err().copied())
    }
}

#[async_trait]
impl L4Connect for Dial {
    async fn connect(&self, _address: &Address) -> Result<Stream> {
        let opened = Connection::open(&self.upstream, self.limit, self.worker, self.name.clone()).await;
        let _ = self.outcome.set(opened.as_ref().map(Connection::fd).map_err(|failure| *failure));
        match opened {
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
