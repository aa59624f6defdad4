//! The balancer's state as data.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime};

use serde::Serialize;
use utoipa::ToSchema;
use wire::balancing::Algorithm;
use wire::overrides::Override;
use wire::upstreams::UpstreamState;
use wire::vip::VipStatus;
use wire::{EndpointId, Generation, HostName, MachineId, PoolName};

use super::Admin;
use super::check::CheckStatus;
use crate::proxy::state::in_flight::Outcome;
use crate::proxy::state::origin::Origin;
use crate::proxy::state::pool::{Member, Pool};
use crate::proxy::tcp::ended::Ended;
use crate::proxy::tcp::service::Service;
use crate::proxy::tcp::stats::FAILURES;

/// What `GET /status` answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// The machine.
    machine: MachineId,
    /// The program's version.
    version: &'static str,
    /// How long it has run, in milliseconds.
    uptime_ms: u64,
    /// The generation of the upstream set in use.
    upstreams_generation: Generation,
    /// The generation of the configuration in use.
    config_generation: Generation,
    /// Where the upstream set comes from.
    upstreams_source: Origin,
    /// Where the configuration comes from.
    config_source: Origin,
    /// The settings file.
    file: FileStatus,
    /// The clients' connections.
    connections: ConnectionsStatus,
    /// The TCP services.
    tcp: BTreeMap<PoolName, TcpStatus>,
    /// The pools.
    pools: BTreeMap<PoolName, PoolStatus>,
    /// The virtual IP addresses; none where the speaker does not answer.
    vip: Option<VipStatus>,
}

/// The settings file.
#[derive(Debug, Serialize, ToSchema)]
struct FileStatus {
    /// Where it is.
    path: String,
    /// When what is in use of it was read, in milliseconds since 1970.
    taken_at_ms: u64,
    /// Times it was read anew and taken.
    taken: u64,
    /// Times it was read anew and was wrong.
    refused: u64,
    /// What was wrong when it was read last, if anything was.
    error: Option<String>,
    /// The keys that have changed in it and stay as they were until the next start.
    staying: Vec<&'static str>,
}

/// The clients' connections.
#[derive(Debug, Serialize, ToSchema)]
struct ConnectionsStatus {
    /// Open now.
    open: u64,
    /// With a request in progress now.
    busy: u64,
    /// Accepted so far.
    accepted: u64,
    /// Closed at once so far, because there were too many.
    refused: u64,
}

/// One TCP service.
#[derive(Debug, Serialize, ToSchema)]
struct TcpStatus {
    /// Its port.
    port: u16,
    /// Why the port is not open, or the kernel does not forward as it should, if that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    /// Connections open now.
    open: u64,
    /// The most that ever were.
    most_open: u64,
    /// Connections so far.
    accepted: u64,
    /// How those ended that have.
    ended: BTreeMap<&'static str, u64>,
    /// Bytes from its clients.
    received_bytes: u64,
    /// Bytes passed on to them.
    sent_bytes: u64,
    /// Connections to upstreams that were not to be had, by reason.
    connect_failures: BTreeMap<&'static str, u64>,
}

/// One pool.
#[derive(Debug, Serialize, ToSchema)]
struct PoolStatus {
    /// Retries that are not free and may be made now.
    retry_budget: f64,
    /// How its requests are spread.
    algorithm: Algorithm,
    /// So few upstreams are in use that those that answer badly are used too.
    panic: bool,
    /// Requests that wait for room at an upstream.
    waiting: u32,
    /// The most that ever waited.
    most_waiting: u32,
    /// Requests refused because no upstream had room.
    overloaded: u64,
    /// Its upstreams, best rank first.
    upstreams: Vec<UpstreamStatus>,
}

/// One upstream.
#[derive(Debug, Serialize, ToSchema)]
struct UpstreamStatus {
    /// Its id.
    id: EndpointId,
    /// Where it listens.
    address: String,
    /// Its manager's word.
    state: UpstreamState,
    /// Used only while nothing better can be.
    backup: bool,
    /// Its share of the load.
    weight: u32,
    /// Its zone.
    zone: HostName,
    /// What people told this balancer about its machine.
    #[serde(skip_serializing_if = "Option::is_none", rename = "override")]
    ordered: Option<Override>,
    /// How its checks go.
    check: CheckStatus,
    /// Out of use until its check passes.
    ejected: bool,
    /// What it was ejected for was what it answered.
    ejected_for_answers: bool,
    /// It is used again once it has answered one request well.
    on_trial: bool,
    /// The part of its share that it has come to.
    ramp: f64,
    /// How many times slower than usual it was of late.
    times_usual: f64,
    /// Failed answers in a row.
    failed_answers_in_a_row: u32,
    /// Owes an answer for longer than is usual and is silent: others are chosen first.
    in_doubt: bool,
    /// The last attempt to connect failed.
    unreachable: bool,
    /// Requests in flight.
    in_flight: u32,
    /// Open connections, the kept ones included.
    open_connections: u32,
    /// Kept connections without a request.
    idle_connections: usize,
    /// Failures since the last success.
    failures_in_a_row: u32,
    /// How long ago it last sent anything, in milliseconds; none if it never did.
    silent_ms: Option<u64>,
    /// Requests sent to it.
    requests: u64,
    /// Failures held against it.
    failures: u64,
    /// Times it was ejected.
    ejections: u64,
    /// Connections opened to it.
    connects: u64,
    /// The most requests it had in flight.
    most_in_flight: u32,
    /// What became of those that have ended; with those in flight they add up to `requests`.
    attempts: BTreeMap<&'static str, u64>,
}

impl Status {
    pub(super) fn of(admin: &Admin, vip: Option<VipStatus>) -> Self {
        let snapshot = admin.state.snapshot();
        let connections = &admin.state.connections;
        Status {
            machine: admin.settings.machine.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: u64::try_from(admin.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            upstreams_generation: snapshot.generation,
            config_generation: snapshot.config.generation,
            upstreams_source: snapshot.origins.upstreams,
            config_source: snapshot.origins.config,
            file: FileStatus::of(admin),
            connections: ConnectionsStatus {
                open: connections.open(),
                busy: connections.busy(),
                accepted: connections.accepted(),
                refused: connections.refused(),
            },
            tcp: admin.state.tcp.services().all().map(|service| TcpStatus::of(admin, service)).collect(),
            pools: snapshot.pools.iter().map(|(name, pool)| (name.clone(), PoolStatus::of(pool))).collect(),
            vip,
        }
    }
}

impl FileStatus {
    fn of(admin: &Admin) -> Self {
        let reloads = &admin.state.reloads;
        let ((taken, refused), last) = (reloads.counts(), reloads.last());
        let taken_at = last.taken_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        FileStatus {
            path: admin.settings.path().display().to_string(),
            taken_at_ms: u64::try_from(taken_at.as_millis()).unwrap_or(u64::MAX),
            taken,
            refused,
            error: last.error,
            staying: last.staying,
        }
    }
}

impl TcpStatus {
    fn of(admin: &Admin, service: &Service) -> (PoolName, Self) {
        let (described, stats) = (&service.described, &service.stats);
        let (received_bytes, sent_bytes) = stats.bytes();
        let ended = Ended::ALL.into_iter().map(|ended| (ended.name(), stats.ended(ended)));
        let status = TcpStatus {
            port: described.port,
            fault: admin.state.tcp.fault(service),
            open: stats.open(),
            most_open: stats.most(),
            accepted: stats.accepted(),
            ended: ended.filter(|(_, count)| *count > 0).collect(),
            received_bytes,
            sent_bytes,
            connect_failures: FAILURES.into_iter().zip(stats.failures()).collect(),
        };
        (described.name.clone(), status)
    }
}

impl PoolStatus {
    fn of(pool: &Pool) -> Self {
        PoolStatus {
            retry_budget: pool.budget.left(&pool.policy, Instant::now()),
            algorithm: pool.policy.balance.algorithm,
            panic: pool.signals().panic,
            waiting: pool.lasting.queue.waiting(),
            most_waiting: pool.lasting.queue.longest(),
            overloaded: pool.lasting.queue.refused(),
            upstreams: pool.members().iter().map(UpstreamStatus::of).collect(),
        }
    }
}

impl UpstreamStatus {
    fn of(member: &Member) -> Self {
        let upstream = &member.upstream;
        let (health, counters) = (&upstream.health, &upstream.counters);
        UpstreamStatus {
            id: upstream.id.clone(),
            address: upstream.address.to_string(),
            state: member.state,
            backup: member.backup,
            weight: member.weight,
            zone: HostName::clone(&member.zone),
            ordered: member.ordered.clone(),
            check: CheckStatus::of(upstream),
            ejected: upstream.is_ejected(),
            ejected_for_answers: upstream.is_ejected_for_answers(),
            on_trial: !health.trial.is_over(),
            ramp: upstream.ramp(Instant::now()),
            times_usual: upstream.latency.times_usual(Instant::now()),
            failed_answers_in_a_row: health.failed_answers.load(Ordering::Relaxed),
            in_doubt: upstream.is_in_doubt(Instant::now()),
            unreachable: health.unreachable.load(Ordering::Relaxed),
            in_flight: upstream.in_flight(),
            open_connections: upstream.open_connections(),
            idle_connections: upstream.idle_connections(),
            failures_in_a_row: health.failures.load(Ordering::Relaxed),
            silent_ms: upstream.silent_ms(),
            requests: counters.requests.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            ejections: counters.ejections.load(Ordering::Relaxed),
            connects: counters.connects.load(Ordering::Relaxed),
            most_in_flight: counters.most_in_flight.load(Ordering::Relaxed),
            attempts: Outcome::all().map(|outcome| (outcome.name(), counters.outcomes(outcome))).collect(),
        }
    }
}
