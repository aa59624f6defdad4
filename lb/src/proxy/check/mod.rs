//! Questions to upstreams: is it well? Each is asked on a connection of its own, never a kept one.
//!
//! ```text
//!   upstream ─▶ watch ──due──▶ ask ─▶ stream ─▶ http │ tcp │ grpc │ mysql │ …      a thread of its own, for all upstreams
//!                 │ ▲           │
//!                 │ └─schedule──┘ passed, or the fault
//!                 ▼
//!     `fall` faults in a row: ejected;  `rise` passes in a row while ejected: readmitted, for a trial first
//! ```
//!
//! What came of it is in the `record`, which is a part of the upstream's. `doubt` asks too, but only whether
//! anything is heard at all: slowness is not death, and an answer of 503 is a sign of life.

mod grpc;
mod http;
pub(crate) mod metrics;
mod mysql;
mod postgres;
pub(crate) mod record;
mod redis;
mod schedule;
mod stream;
mod tcp;
pub(crate) mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use wire::checks::{Ask, Check, GrpcAsk, HttpAsk};
use wire::proxy_config::Protocol;

use self::stream::Stream;
use super::state::upstream::Upstream;
use super::upstream_tls::failure::TlsFailure;

/// What checks call themselves.
const USER_AGENT: &str = "lb-probe";

/// So much of an answer is looked at, in bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Why a check did not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing listens there, or there is no way there.
    Refused,
    /// No connection, or not all of the answer, in time.
    Timeout,
    /// There is a connection, but no TLS over it.
    Tls(TlsFailure),
    /// It closed or reset the connection, or spoke another protocol.
    Broken,
    /// This HTTP status.
    Status(u16),
    /// The answer does not contain what it should.
    Body,
    /// This gRPC status.
    GrpcStatus(u32),
    /// Its `ServingStatus` is this.
    NotServing(u64),
    /// A database refused the login.
    Login,
    /// It wants a proof of the password that cannot be given, or the password itself.
    LoginMethod,
    /// A database said why it does not do as it is asked.
    Complaint(Complaint),
    /// A node of Galera is not in step with the others.
    Galera {
        /// Its `wsrep_local_state`; none if it is no node of Galera.
        state: Option<u8>,
        /// Its `wsrep_ready`.
        ready: bool,
    },
    /// We could not ask, or stood still meanwhile: it says nothing about the upstream.
    Void,
}

/// What a database says when it does not do as it is asked, by its own kind of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// An error number of MySQL or MariaDB.
    Mysql(u16),
    /// An SQLSTATE of PostgreSQL.
    Postgres([u8; 5]),
    /// The word that a complaint of Redis begins with.
    Redis(&'static str),
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Complaint::Mysql(number) => write!(f, "error {number}"),
            Complaint::Postgres(code) => write!(f, "SQLSTATE {}", code.escape_ascii()),
            Complaint::Redis(word) => f.write_str(word),
        }
    }
}

/// What an upstream that is well is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Whatever it is asked, as far as is known.
    Any,
    /// It takes writes.
    Writer,
    /// It takes none: it follows another one.
    Standby,
}

impl Role {
    /// Its name in `/status`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Any => "any",
            Role::Writer => "writer",
            Role::Standby => "standby",
        }
    }
}

impl Fault {
    /// Whether it answered, if badly.
    pub(crate) fn is_answer(self) -> bool {
        match self {
            Fault::Status(_)
            | Fault::Body
            | Fault::GrpcStatus(_)
            | Fault::NotServing(_)
            | Fault::Login
            | Fault::LoginMethod
            | Fault::Complaint(_)
            | Fault::Galera { .. } => true,
            Fault::Refused | Fault::Timeout | Fault::Tls(_) | Fault::Broken | Fault::Void => false,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused => f.write_str("the connection was refused"),
            Fault::Timeout => f.write_str("no answer in time"),
            Fault::Tls(failure) => write!(f, "no TLS: {}", failure.name()),
            Fault::Broken => f.write_str("the connection was closed, or another protocol was spoken"),
            Fault::Status(status) => write!(f, "status {status}"),
            Fault::Body => f.write_str("the answer does not contain what is expected"),
            Fault::GrpcStatus(status) => write!(f, "grpc-status {status}"),
            Fault::NotServing(0) => f.write_str("serving status UNKNOWN"),
            Fault::NotServing(2) => f.write_str("serving status NOT_SERVING"),
            Fault::NotServing(3) => f.write_str("serving status SERVICE_UNKNOWN"),
            Fault::NotServing(other) => write!(f, "serving status {other}"),
            Fault::Login => f.write_str("the login was refused"),
            Fault::LoginMethod => {
                f.write_str("it wants another proof of the password than can be given without TLS")
            }
            Fault::Complaint(complaint) => write!(f, "it answered with {complaint}"),
            Fault::Galera { state: None, .. } => f.write_str("it is no node of a Galera cluster"),
            Fault::Galera { state: Some(1), .. } => f.write_str("its Galera node is Joining"),
            Fault::Galera { state: Some(2), .. } => f.write_str("its Galera node is Donor/Desynced"),
            Fault::Galera { state: Some(3), .. } => {
                f.write_str("its Galera node is Joined and not Synced yet")
            }
            Fault::Galera { ready: false, .. } => {
                f.write_str("its Galera node is not ready: it is not one of the primary component")
            }
            Fault::Galera { state: Some(state), .. } => write!(f, "its Galera node has the state {state}"),
            Fault::Void => f.write_str("it could not be asked"),
        }
    }
}

/// What a check came to: what the upstream is for if it is well, or why it is not.
pub(crate) type Outcome = Result<Role, Fault>;

/// Checks `upstream` once.
async fn ask(upstream: &Arc<Upstream>, check: &Check) -> Outcome {
    let limit = Duration::from_millis(check.timeout_ms);
    let begun = Instant::now();
    // Boxed: an upstream that waits for its next check should not hold the space for it.
    let outcome = timeout(limit, Box::pin(exchange(upstream, check))).await;
    match outcome {
        Ok(outcome) => outcome,
        // If it was us who stood still, the answer may be waiting to be read.
        Err(_elapsed) if begun.elapsed() > limit * 2 => Err(Fault::Void),
        Err(_elapsed) => Err(Fault::Timeout),
    }
}

async fn exchange(upstream: &Arc<Upstream>, check: &Check) -> Outcome {
    let (host, tls) = match &check.ask {
        Ask::Http(ask) => (ask.host.as_deref(), ask.tls.as_deref()),
        Ask::Grpc(ask) => (ask.host.as_deref(), None),
        Ask::Tcp(_) | Ask::Mysql(_) | Ask::Postgres(_) | Ask::Redis(_) => (None, None),
    };
    let stream = match tls {
        None => Stream::open(upstream, check.port, host).await?,
        Some(tls) => {
            let tls = upstream.health.checks.tls(tls).ok_or(Fault::Void)?;
            Stream::open_by(upstream, check.port, host, &tls).await?
        }
    };
    match &check.ask {
        // HTTP/1.1 is not spoken there (`state::check` lets nothing but the default through).
        Ask::Http(_) if tls.is_none() && check.port.is_none() && upstream.policy().protocol.is_http2() => {
            match grpc::ask(stream, &GrpcAsk::default()).await {
                // No such service, but an answer.
                Err(Fault::Status(_) | Fault::GrpcStatus(_)) => Ok(Role::Any),
                outcome => outcome,
            }
        }
        Ask::Http(ask) => http::ask(stream, ask).await,
        Ask::Tcp(ask) => tcp::ask(stream, ask).await,
        Ask::Grpc(ask) => grpc::ask(stream, ask).await,
        Ask::Mysql(ask) => mysql::ask(stream, ask).await,
        Ask::Postgres(ask) => postgres::ask(stream, ask).await,
        Ask::Redis(ask) => redis::ask(stream, ask).await,
    }
}

/// Whether `upstream` says anything within `limit` when it is sent a request, be it well or not. Where its check
/// is no HTTP request to the port that requests go to, an ordinary one is sent: a listening socket or another
/// process says nothing about this one. Where HTTP/2 is spoken, the question is gRPC's, which any server of it
/// answers somehow.
pub(crate) async fn speaks(upstream: &Arc<Upstream>, check: &Check, limit: Duration) -> bool {
    let put = Instant::now();
    let question = match (&check.ask, check.port) {
        (Ask::Http(ask), None) if ask.tls.is_none() => HttpAsk { expect_body: None, ..ask.clone() },
        _ => HttpAsk::default(),
    };
    let protocol = upstream.policy().protocol;
    let asked = async {
        let stream = Stream::open(upstream, None, question.host.as_deref()).await?;
        match protocol {
            Protocol::Http1 => http::ask(stream, &question).await,
            Protocol::H2c | Protocol::H2 => grpc::ask(stream, &GrpcAsk::default()).await,
        }
    };
    // Its bytes are noted as they come; what they say does not matter.
    let _ = timeout(limit, Box::pin(asked)).await;
    upstream.spoke_after(put)
}
