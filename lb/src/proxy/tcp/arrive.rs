//! A connection between its acceptance and the choice of its pool: what comes ahead, and the name that is asked for.
//!
//! ```text
//!   accepted ─▶ (PROXY header) ─▶ (ClientHello, only read) ─▶ the service, its pool
//! ```
//!
//! Both have one deadline. Where no name matters nothing is waited for: of some protocols the server speaks first.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::super::proxy_protocol::{self, Told};
use super::super::tls::failure::Failure;
use super::super::transport::Wire;
use super::ended::Ended;
use super::hello::{self, Hello};
use super::service::{Goal, Port};

/// A connection whose way is known.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) tcp: TcpStream,
    /// What was read of it, for the upstream.
    pub(super) ahead: Vec<u8>,
    /// Who it is from, and what that one connected to.
    pub(super) client: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) goal: Goal,
}

/// Takes in what comes ahead on `tcp`, from `peer` to `local`, at `port` within `limit`.
///
/// # Errors
///
/// Why it goes nowhere.
pub(super) async fn arrive(
    tcp: TcpStream,
    (peer, local): (SocketAddr, SocketAddr),
    port: &Port,
    limit: Duration,
) -> Result<Arrived, Ended> {
    let deadline = Instant::now() + limit;
    let mut wire = Wire::new(tcp);
    let mut told = Told::default();
    if port.has_proxy() {
        if !port.trusts(peer.ip()) {
            return Err(Ended::Untrusted);
        }
        told = match timeout_at(deadline, proxy_protocol::read(&mut wire)).await {
            Ok(Ok(told)) => told,
            Ok(Err(Failure::Closed)) => return Err(Ended::ClientLeft),
            Ok(Err(_)) => return Err(Ended::NoHeader),
            Err(_elapsed) => return Err(Ended::Late),
        };
    }
    let goal = if port.has_names() { named(&mut wire, port, deadline).await? } else { port.default() };
    let goal = goal.cloned().ok_or(Ended::NoService)?;
    let (client, destination) = told.addresses.unwrap_or((peer, local));
    let Wire { tcp, ahead, .. } = wire;
    Ok(Arrived { tcp, ahead, client, destination, goal })
}

/// Whose it is by the name that is asked for; none: nobody's.
async fn named<'a>(wire: &mut Wire, port: &'a Port, deadline: Instant) -> Result<Option<&'a Goal>, Ended> {
    loop {
        match hello::look(&wire.ahead) {
            Hello::Complete(Some(name)) => return Ok(port.named(&name)),
            Hello::Complete(None) | Hello::Other => return Ok(port.default()),
            Hello::Incomplete => {}
        }
        match timeout_at(deadline, wire.fill()).await {
            Ok(Ok(1..)) => {}
            // It has said all that it has to say, or waits to be spoken to.
            Ok(Ok(0)) if port.default().is_some() => return Ok(port.default()),
            Ok(Ok(0) | Err(_)) => return Err(Ended::ClientLeft),
            Err(_elapsed) if wire.ahead.is_empty() && port.default().is_some() => return Ok(port.default()),
            Err(_elapsed) => return Err(Ended::Late),
        }
    }
}
