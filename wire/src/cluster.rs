//! What people and tools read from a manager: the whole cluster as that manager sees it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::autoscale::MachineUsage;
use crate::vip::RouterState;
use crate::{EndpointId, HostName, Incarnation, MachineId, PoolName};

/// What `GET /cluster` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// The host that answers.
    pub host: HostName,
    /// Every host is alive, every desired machine is ready, and every VIP is held by exactly one balancer.
    pub whole: bool,
    /// Why it is not whole, one reason a line; empty when it is.
    pub missing: Vec<String>,
    /// The hosts, in the order of their names.
    pub hosts: Vec<HostView>,
    /// The public addresses.
    pub vips: Vec<VipView>,
    /// What all hosts agree on of services, where that is kept in an etcd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreed: Option<AgreedView>,
}

/// What people put of services, as the host that answers has it of all hosts' etcd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgreedView {
    /// Counts the edits.
    pub generation: u64,
    /// Why no edit is possible, if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// Why the host does not follow a later edit, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    /// Its name; the configured address while its manager has not been heard yet.
    pub name: HostName,
    /// Where its manager is reached.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Whether its manager was heard lately; always true of the host that answers.
    pub alive: bool,
    /// How long ago its manager was heard, in milliseconds; none if never.
    pub heard_ms_ago: Option<u64>,
    /// The life of its manager.
    pub epoch: u64,
    /// What makes its machines, in words: `namespaces`, or `libvirt, KVM`.
    #[serde(default)]
    pub driver: String,
    /// How many machines it is to have.
    pub desired: u32,
    /// The machines it has.
    pub machines: Vec<MachineView>,
    /// Its balancer's view of itself.
    pub lb: Option<LbView>,
    /// What a person should know about it, whether or not anything is missing because of it.
    pub warnings: Vec<String>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineView {
    /// Its name.
    pub id: MachineId,
    /// What it is for: the name of its service, or `lb`.
    pub service: PoolName,
    /// Its address, the same for every incarnation.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Where it is in its life.
    pub phase: Phase,
    /// Why it is in that phase.
    pub reason: String,
    /// Which build of it this is.
    pub incarnation: Incarnation,
    /// The id of the image it was made from, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How often it was rebuilt since its manager started.
    pub restarts: u32,
    /// How long it has been in this phase, in milliseconds, when this was written.
    pub for_ms: u64,
    /// Whether it keeps dying and is rebuilt with growing pauses.
    pub crash_looping: bool,
    /// Somebody had it drained: balancers send it nothing new until that is taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drained: bool,
    /// It stands by for the other machines of its service on its host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standby: bool,
    /// What stands in its way, where that is known; `reason` says it in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// What it uses, where its service is autoscaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<MachineUsage>,
}

/// What can stand in a machine's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// The image or the program it is made from is not there, or not what it should be.
    MissingImage,
    /// The bridge it is to be connected to is not there.
    MissingBridge,
    /// The host has no disk space left for it.
    NoSpace,
    /// The manager, the hypervisor or the machine's process lacks a permission.
    Denied,
    /// The hypervisor cannot be reached.
    HypervisorDown,
    /// It was created, and its guest gave no sign of life in the time it has to start.
    NeverBooted,
    /// Its guest has started, and the service in it did not answer in the time it has.
    NotAnswering,
    /// It lives, and its readiness probe fails.
    NotReady,
    /// What it was before cannot be removed, so that its address must not be used.
    Unfenced,
}

/// The phases of a machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Being created or started; no heartbeat yet.
    Booting,
    /// Heartbeats arrive.
    Ready,
    /// Heartbeats stopped; it is being asked again.
    Suspect,
    /// To be taken away, finishing what it has.
    Draining,
    /// Gone, or about to be destroyed.
    Dead,
    /// A standby that does not run: it is started when it is needed.
    Standby,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Phase::Booting => "Booting",
            Phase::Ready => "Ready",
            Phase::Suspect => "Suspect",
            Phase::Draining => "Draining",
            Phase::Dead => "Dead",
            Phase::Standby => "Standby",
        })
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Condition::MissingImage => "missing-image",
            Condition::MissingBridge => "missing-bridge",
            Condition::NoSpace => "no-space",
            Condition::Denied => "denied",
            Condition::HypervisorDown => "hypervisor-down",
            Condition::NeverBooted => "never-booted",
            Condition::NotAnswering => "not-answering",
            Condition::NotReady => "not-ready",
            Condition::Unfenced => "unfenced",
        })
    }
}

/// A balancer as its manager last heard of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LbView {
    /// Its machine.
    pub id: MachineId,
    /// Its address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The upstream set it confirmed to use.
    pub generation: u64,
    /// What it is for each VIP.
    pub vips: Vec<LbVipView>,
    /// Whether it chooses the primaries of pools, and not another balancer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decides: bool,
    /// The primary of each pool that has one, as it uses it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub primaries: BTreeMap<PoolName, EndpointId>,
}

/// A balancer's part in one VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LbVipView {
    /// The public address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// What the balancer is for it.
    pub state: RouterState,
    /// The priority it advertises.
    pub priority: u8,
    /// The one it has while it is fit; none from managers that do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u8>,
}

/// One public address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VipView {
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The balancers that say they hold it; exactly one when all is well. Where none of those says so whose managers are
    /// heard, the one that this host's balancer hears holding it.
    pub holders: Vec<MachineId>,
    /// The hosts by how much they are preferred, where that is known here: who says `role` says no order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<HostName>,
    /// The host whose balancer is to hold it when all that the managers have to move is moved; none where they leave it to
    /// the balancers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub should: Option<HostName>,
}

/// One entry of `GET /events` (server-sent events, one JSON document each).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterEvent {
    /// Counts the events since the manager started.
    pub sequence: u64,
    /// When, as seconds since 1970-01-01 UTC.
    pub unix_ms: u64,
    /// The host whose manager tells it.
    pub host: HostName,
    /// What kind of thing happened, such as `machine.ready`.
    pub kind: String,
    /// Whom it concerns: a machine, a peer or an address.
    pub subject: String,
    /// What happened, in words.
    pub message: String,
}

/// One row of `GET /addresses`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AddressView {
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// What it is used for now.
    pub state: AddressState,
    /// The machine that has it.
    pub machine: Option<MachineId>,
    /// The MAC address of the stranger that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// What an address of the pool is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AddressState {
    /// Not used.
    Free,
    /// A machine has it.
    Used,
    /// Its old machine could not be fenced; it is not given away.
    Unfenced,
    /// Somebody else on the network answers for it; it is not given away.
    Foreign,
}

/// The body of `POST /vms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateMachine {
    /// The service to have one more machine of.
    pub service: PoolName,
}

/// The body of `PUT /vms/{id}/drain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainOrder {
    /// Whether balancers are to send it nothing new.
    pub on: bool,
}

/// The body of `POST /vms/{id}/fault`; the route exists only on a manager with `chaos = true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// What to do to the machine.
    pub fault: FaultKind,
    /// After so many milliseconds the manager undoes it by itself, whoever ordered it may be cut off by then. Only a
    /// freeze can be undone: the machine is thawed, if it is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

/// What can be done to a machine to see what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// A power cut: nothing comes from it any more, not even a reset.
    Kill,
    /// Every process stands still and nothing comes from it.
    Freeze,
    /// Undoes a freeze.
    Thaw,
    /// Ends the service's process inside; the machine lives on and starts it again.
    StopProcess,
}
