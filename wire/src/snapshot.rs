//! What managers tell each other: everything about the own host, whole, every time.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::autoscale::ScalingTold;
use crate::cluster::{LbView, MachineView};
use crate::placement::{Placed, Total};
use crate::upstreams::UpstreamState;
use crate::{EndpointId, HostName, PoolName};

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
}
