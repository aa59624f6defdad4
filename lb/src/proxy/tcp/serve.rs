//! One connection of a TCP service, from its acceptance to its end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;

use super::super::access_log::Passed;
use super::super::connection::Server;
use super::super::forward::announce;
use super::super::hand_over::OnVip;
use super::super::primary::Stay;
use super::super::state::connections::Open;
use super::arrive::{Arrived, arrive};
use super::attempt::Attempt;
use super::dial::{Dialled, dial};
use super::ended::Ended;
use super::relay::{Relay, Silence, Way, reset};
use super::service::{Port, Service};
use super::streams::{Entry, Listed, Phase, Whose};

/// A connection that was accepted.
pub(super) struct Accepted {
    pub(super) tcp: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) on_vip: Option<OnVip>,
    pub(super) port: Arc<Port>,
    /// It is one of the balancer's connections.
    pub(super) open: Open,
}

/// Serves it to its end.
pub(super) async fn serve(accepted: Accepted, server: Arc<Server>) {
    let Accepted { tcp, peer, local, on_vip, port, mut open } = accepted;
    let began = SystemTime::now();
    let listed = server.state.tcp.streams.add(server.worker, Entry::new(peer, local, on_vip));
    let mut tries = 0;
    // Boxed: what the beginning needs must not count for the connection afterwards.
    let beginning = Box::pin(begin(tcp, &listed.entry, &port, (&mut open, &server), &mut tries));
    let (ended, seat) = match beginning.await {
        Ok(Begun { relay, mut attempt, stay, _seat: seat, _opened }) => {
            let ended = relay.run().await;
            // Both sockets are closed: another primary may begin.
            drop(stay);
            if matches!(ended, Ended::UpstreamReset | Ended::UpstreamLost) {
                attempt.broke_off();
            }
            (ended, Some(seat))
        }
        Err(ended) => (ended, None),
    };
    // In this order: whoever sees it counted does not find it open.
    drop(seat);
    Box::pin(async { account(listed, &port, &server, began, ended, tries) }).await;
}

/// A connection whose both sides are there.
struct Begun<'a> {
    relay: Relay<'a>,
    attempt: Attempt,
    stay: Option<Stay>,
    _seat: Seat,
    _opened: super::super::state::upstream::Opened,
}

/// One of a service's connections, until dropped.
struct Seat(Arc<Service>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.stats.end();
    }
}

/// Does what comes before both sides may speak.
async fn begin<'a>(
    tcp: TcpStream,
    entry: &'a Entry,
    port: &Port,
    (open, server): (&mut Open, &Server),
    tries: &mut u32,
) -> Result<Begun<'a>, Ended> {
    let limits = &server.limits;
    let handshake = Duration::from_millis(limits.handshake_timeout_ms);
    let arrived = tokio::select! {
        biased;
        ended = told(entry) => Err(ended),
        arrived = arrive(tcp, (entry.peer, entry.local), port, handshake) => arrived,
    };
    let Arrived { tcp, ahead, client, destination, goal } = arrived?;
    let Service { described, stats } = &*goal.service;
    entry.is_of(Whose { service: goal.service.clone(), pool: goal.pool.clone(), client });
    if port.has_proxy() && !open.count_for(client.ip(), limits.connections_per_client) {
        reset(&tcp);
        return Err(Ended::Full);
    }
    if !stats.begin(described.max_connections) {
        reset(&tcp);
        return Err(Ended::Full);
    }
    let seat = Seat(goal.service.clone());
    let received = ahead.len() as u64;
    entry.moved(received, 0);
    stats.moved(received, 0);
    let dialled = tokio::select! {
        biased;
        ended = told(entry) => Err(ended),
        dialled = dial(&goal, client, (&tcp, entry), &server.state, tries) => dialled,
    };
    let Dialled { tcp: upstream, attempt, stay, _opened } = dialled.inspect_err(|_ended| reset(&tcp))?;
    let mut said = described
        .proxy_protocol_out
        .map(|version| announce::passing(version, client, destination))
        .unwrap_or_default();
    said.extend(ahead);
    entry.set_phase(Phase::Open);
    // From here on it is told; what was said before, it has to see itself.
    if stay.as_ref().is_some_and(Stay::is_over) {
        [&tcp, &upstream].into_iter().for_each(reset);
        // Before `stay` is, which says that they are closed.
        drop((tcp, upstream));
        return Err(Ended::Replaced);
    }
    let silence = Silence {
        open: Duration::from_millis(described.idle_timeout_ms),
        half_closed: Duration::from_millis(described.half_close_timeout_ms),
    };
    let (up, down) = (Way::beginning_with(said), Way::default());
    let relay = Relay { client: tcp, upstream, up, down, entry, silence };
    Ok(Begun { relay, attempt, stay, _seat: seat, _opened })
}

/// Resolves when the connection is to end.
async fn told(entry: &Entry) -> Ended {
    poll_fn(|context| entry.poll_told(context)).await
}

/// Counts a connection that has ended, and has it written down.
fn account(listed: Listed, port: &Port, server: &Server, began: SystemTime, ended: Ended, tries: u32) {
    let entry = &listed.entry;
    let took = entry.begun.elapsed();
    let service = entry.whose().map(|whose| &whose.service).or(port.blamed());
    if let Some(service) = service {
        service.stats.count(ended, took);
    }
    if ended == Ended::Moved
        && let Some(on_vip) = &entry.on_vip
    {
        on_vip.count_cut();
    }
    let log = server.state.observers.as_ref().and_then(|observers| observers.log());
    if let Some(log) = log {
        let (received, sent) = entry.bytes();
        log.passed(&Passed {
            time: began,
            client: entry.whose().map_or(entry.peer, |whose| whose.client),
            peer: entry.peer,
            service: service.map(|service| service.described.name.as_str()),
            pool: entry.whose().map(|whose| whose.pool.as_str()),
            upstream: entry.upstream().as_ref().map(|upstream| upstream.id.as_str()),
            tries,
            received,
            sent,
            took,
            ended: ended.name(),
            is_error: ended.is_error(),
        });
    }
}
