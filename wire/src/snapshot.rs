//! What managers tell each other: everything about the own host.
//!
//! ```text
//!   PUT /peers/{host} ───▶ all of it: to who may not hold what was told before, and to everybody now and then
//!   PATCH /peers/{host} ─▶ what has changed since the receiver last said what it holds; often nothing
//!                             │ it holds something else: its answer says what
//!                             ▼
//!                          all of it
//! ```
//!
//! Only a host's own manager tells of it, so that the certificate of who tells is the proof. Who lives is another question:
//! where there are many hosts, [`Gossip`] answers it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::autoscale::ScalingTold;
use crate::cluster::{LbView, MachineView};
use crate::placement::{Placed, Total};
use crate::upstreams::UpstreamState;
use crate::{EndpointId, HostName, MachineId, PoolName};

/// The body of `PUT /peers/{host}`. Of two, the one with the higher `(epoch, version)` is the newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostSnapshot {
    /// Whose snapshot this is. Only that host's manager ever writes one.
    pub host: HostName,
    /// Where that manager is reached.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The address pool of that host, as ranges; pools of different hosts must not overlap.
    pub address_pool: Vec<String>,
    /// Counts the lives of the manager: each restart takes a higher one than any peer remembers.
    pub epoch: u64,
    /// Counts the changes within an epoch.
    pub version: u64,
    /// Where the host's services answer.
    pub endpoints: Vec<Endpoint>,
    /// The host's machines, for people and tools to see.
    pub machines: Vec<MachineView>,
    /// What makes the machines, in words.
    #[serde(default)]
    pub driver: String,
    /// How many machines of all kinds the host is to have.
    pub desired: u32,
    /// How many machines of services with a `total` the host has room for, those it has included. None while it neither
    /// makes nor takes away any: in maintenance, and from managers that know no such services.
    #[serde(default)]
    pub room: Option<u32>,
    /// Each service with a `total` that the host knows, and what it has of it.
    #[serde(default)]
    pub placed: BTreeMap<PoolName, Placed>,
    /// The totals that were decided at run time, as the host goes by them.
    #[serde(default)]
    pub totals: BTreeMap<PoolName, Total>,
    /// The host's balancer.
    pub lb: Option<LbView>,
    /// What a person should know about the host.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The managers of other hosts that this one has heard lately, so that everybody gets to know everybody.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub peers: Vec<IpAddr>,
    /// What is needed to decide how many machines services have.
    #[serde(default, skip_serializing_if = "ScalingTold::is_empty")]
    pub scaling: ScalingTold,
    /// The pools that the host's balancer checks its part of, where balancers share that out, and whose checks fail in each
    /// as it sees it. Nothing while it checks nobody.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<PoolName, BTreeSet<EndpointId>>,
}

/// One machine of a service that can be sent requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Names machine and incarnation.
    pub id: EndpointId,
    /// The pool it belongs to.
    pub service: PoolName,
    /// Where it listens.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Where it listens.
    pub port: u16,
    /// What its manager says of it.
    pub state: UpstreamState,
    /// It is a standby: used only while no other of the service can be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
}

/// The answer to a snapshot that was taken or was already known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotAck {
    /// The epoch the receiver now holds.
    pub epoch: u64,
    /// The version the receiver now holds.
    pub version: u64,
    /// The newest version of this epoch that the receiver's balancer has confirmed to use; 0 for none.
    pub applied: u64,
    /// The epoch and the version that the receiver's own snapshot has now: who holds that knows that it is still true.
    /// None from a manager that does not know yet what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<(u64, u64)>,
}

/// The body of `PATCH /peers/{host}`: what makes the snapshot of version `version` of that of version `base`, both of `epoch`.
/// Where the two are the same, nothing has changed, and the receiver knows that its word is fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostChanges {
    /// Whose snapshot this is of.
    pub host: HostName,
    /// The epoch of both.
    pub epoch: u64,
    /// The version that the receiver is thought to hold.
    pub base: u64,
    /// The version that it becomes.
    pub version: u64,
    /// All of the snapshot but its endpoints and machines, if anything of it has changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Box<HostSnapshot>>,
    /// Endpoints that are new, or are described in another way than before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Endpoints that are there no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints_gone: Vec<EndpointId>,
    /// Machines that are new, or of which something else is told than before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines: Vec<MachineView>,
    /// Machines that are there no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub machines_gone: Vec<MachineId>,
}

impl HostChanges {
    /// Of version `base`, that nothing has changed since.
    pub fn none(host: HostName, epoch: u64, base: u64) -> Self {
        HostChanges {
            host,
            epoch,
            base,
            version: base,
            rest: None,
            endpoints: Vec::new(),
            endpoints_gone: Vec::new(),
            machines: Vec::new(),
            machines_gone: Vec::new(),
        }
    }

    /// How many endpoints and machines it names.
    pub fn len(&self) -> usize {
        self.endpoints.len() + self.endpoints_gone.len() + self.machines.len() + self.machines_gone.len()
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.rest.is_none() && self.base == self.version
    }

    /// The snapshot that `held`, which came `age_ms` ago, becomes. Both lists are in the order of the machines' names, as in
    /// every snapshot.
    pub fn apply(self, held: &HostSnapshot, age_ms: u64) -> HostSnapshot {
        let HostChanges {
            host,
            epoch,
            version,
            rest,
            endpoints,
            endpoints_gone,
            machines,
            machines_gone,
            ..
        } = self;
        let mut next = rest.map_or_else(|| without_lists(held), |rest| without_lists(&rest));
        let other: BTreeSet<&EndpointId> =
            endpoints.iter().map(|new| &new.id).chain(&endpoints_gone).collect();
        let stays = held.endpoints.iter().filter(|endpoint| !other.contains(&endpoint.id));
        next.endpoints = stays.chain(&endpoints).cloned().collect();
        next.endpoints
            .sort_by(|one, other| (one.id.machine(), &one.id).cmp(&(other.id.machine(), &other.id)));
        let other: BTreeSet<&MachineId> = machines.iter().map(|new| &new.id).chain(&machines_gone).collect();
        let stays = held.machines.iter().filter(|machine| !other.contains(&machine.id));
        let older = |machine: &MachineView| MachineView {
            for_ms: machine.for_ms.saturating_add(age_ms),
            ..machine.clone()
        };
        next.machines = stays.map(older).chain(machines.iter().cloned()).collect();
        next.machines.sort_by(|one, other| one.id.cmp(&other.id));
        HostSnapshot { host, epoch, version, ..next }
    }
}

fn without_lists(snapshot: &HostSnapshot) -> HostSnapshot {
    HostSnapshot {
        host: snapshot.host.clone(),
        address: snapshot.address,
        address_pool: snapshot.address_pool.clone(),
        epoch: snapshot.epoch,
        version: snapshot.version,
        endpoints: Vec::new(),
        machines: Vec::new(),
        driver: snapshot.driver.clone(),
        desired: snapshot.desired,
        room: snapshot.room,
        placed: snapshot.placed.clone(),
        totals: snapshot.totals.clone(),
        lb: snapshot.lb.clone(),
        warnings: snapshot.warnings.clone(),
        peers: snapshot.peers.clone(),
        scaling: snapshot.scaling.clone(),
        checks: snapshot.checks.clone(),
    }
}

/// The body of `POST /gossip` and of its answer: packets of the membership protocol (SWIM), as their sender encoded them, in
/// base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gossip {
    /// The packets, the oldest first.
    pub packets: Vec<String>,
}
