//! What a manager tells its balancer: which machines there are to send requests to.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EndpointId, Generation, HostName, PoolName};

/// The body of `PUT /upstreams`, and what `GET /upstreams` answers: every pool, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamSet {
    /// Where this set stands in the order of all sets the manager ever sent.
    pub generation: Generation,
    /// The upstreams of each pool.
    pub pools: BTreeMap<PoolName, Vec<Upstream>>,
}

/// One machine that requests can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upstream {
    /// Names the machine and its incarnation; the balancer's record of it is kept under this key.
    pub id: EndpointId,
    /// Where it listens.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Where it listens.
    pub port: u16,
    /// Its share of the load relative to the others; 1 unless told otherwise.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// The host it runs on.
    #[serde(default = "default_zone")]
    pub zone: HostName,
    /// Used only while no other upstream of the pool can be.
    #[serde(default)]
    pub backup: bool,
    /// What its manager says of it.
    #[serde(default)]
    pub state: UpstreamState,
    /// Other balancers ask it whether it is well, and `state` says what they found: where its pool is checked all the time,
    /// this one does so only when it has found trouble with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub checked_elsewhere: bool,
}

/// The manager's word on an upstream; it ranks before the balancer's own judgement.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamState {
    /// Its heartbeats arrive.
    #[default]
    Ready,
    /// Its heartbeats do not arrive, or the balancers that check it say that it fails; used only when nothing better is left.
    Suspect,
    /// It is about to be taken away; no new requests, those in flight may finish.
    Draining,
}

impl Upstream {
    /// Where it listens.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

fn default_weight() -> u32 {
    1
}

fn default_zone() -> HostName {
    HostName::from("")
}
