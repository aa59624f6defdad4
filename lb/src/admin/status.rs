//! The balancer's state as data.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;
use wire::upstreams::UpstreamState;
use wire::vip::VipStatus;
use wire::{EndpointId, Generation, MachineId, PoolName};

use super::Admin;
use crate::proxy::state::pool::{Member, Pool};

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
    /// The clients' connections.
    connections: ConnectionsStatus,
    /// The pools.
    pools: BTreeMap<PoolName, PoolStatus>,
    /// The virtual IP addresses; none where the speaker does not answer.
    vip: Option<VipStatus>,
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

/// One pool.
#[derive(Debug, Serialize, ToSchema)]
struct PoolStatus {
    /// Retries that are not free and may be made now.
    retry_budget: f64,
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
    /// Out of use until a probe is answered well.
    ejected: bool,
    /// Owes an answer for longer than is usual and is silent: others are chosen first.
    in_doubt: bool,
    /// The last attempt to connect failed.
    unreachable: bool,
    /// Requests in flight.
    in_flight: u32,
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
}

impl Status {
    pub(super) fn of(admin: &Admin, vip: Option<VipStatus>) -> Self {
        let snapshot = admin.state.snapshot();
        let connections = &admin.state.connections;
        Status {
            machine: admin.settings.machine.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: u64::try_from(admin.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            upstreams_generation: snapshot.set.generation,
            config_generation: snapshot.config.generation,
            connections: ConnectionsStatus {
                open: connections.open(),
                busy: connections.busy(),
                accepted: connections.accepted(),
                refused: connections.refused(),
            },
            pools: snapshot.pools.iter().map(|(name, pool)| (name.clone(), PoolStatus::of(pool))).collect(),
            vip,
        }
    }
}

impl PoolStatus {
    fn of(pool: &Pool) -> Self {
        PoolStatus {
            retry_budget: pool.budget.left(&pool.policy, Instant::now()),
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
            ejected: upstream.is_ejected(),
            in_doubt: upstream.is_in_doubt(Instant::now()),
            unreachable: health.unreachable.load(Ordering::Relaxed),
            in_flight: upstream.in_flight(),
            idle_connections: upstream.idle_connections(),
            failures_in_a_row: health.failures.load(Ordering::Relaxed),
            silent_ms: upstream.silent_ms(),
            requests: counters.requests.load(Ordering::Relaxed),
            failures: counters.failures.load(Ordering::Relaxed),
            ejections: counters.ejections.load(Ordering::Relaxed),
            connects: counters.connects.load(Ordering::Relaxed),
        }
    }
}
