//! The whole vocabulary of what the engine can ask for, and of what can be told to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use wire::autoscale::MachineTraffic;
use wire::cluster::Condition;
use wire::hand_over::{HandOver, HandOverOrder};
use wire::pools::PoolsHealth;
use wire::proxy_config::ProxyConfig;
use wire::service::Probe;
use wire::snapshot::SnapshotAck;
use wire::switchover::{Switchover, SwitchoverOrder};
use wire::upstreams::UpstreamSet;
use wire::vip::VipStatus;
use wire::{EndpointId, Generation, Incarnation, MachineId, PoolName};

use super::desired::Desired;
use super::shared::{SharedSet, Telling};
use super::spec::{MachinePurpose, MachineSpec, SparesWanted};
use super::uplink::UplinkReading;

/// Something to be done now. It stays in flight until its end is told or its deadline passes; there
/// is never more than one of a [`Job`] in flight. What listens to a machine, or is on its way to a balancer,
/// is given up when that dies, so that it does not hold up what its successor is asked.
#[derive(Clone, Debug)]
pub struct Action {
    /// Told back with the outcome, so that a late outcome of a given-up action is not mistaken.
    pub id: u64,
    /// What to do, with all that is needed to do it.
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug)]
pub enum Command {
    /// Store the desired state so that it survives a power cut.
    Save(Arc<Desired>),
    /// List the machines of this host.
    List,
    /// Read what the machines of this host use.
    ReadUsage,
    /// Create a machine. Its address is free: whatever had it was fenced.
    Create(Box<MachineSpec>),
    /// Have so many spares wait for each service.
    KeepSpares(BTreeMap<PoolName, SparesWanted>),
    /// Ask a machine to end in an orderly way, and wait until it has.
    Stop(MachineId),
    /// Make sure that nothing of a machine is left. Doing it again changes nothing.
    Fence(MachineId),
    /// Listen to a machine's heartbeat until it breaks off; replaces an earlier watch of the machine.
    Watch {
        /// Whose heartbeat.
        machine: MachineId,
        /// Told back with each beat.
        incarnation: Incarnation,
        /// Where it answers.
        address: std::net::SocketAddr,
        /// The first beat must arrive within this.
        first_beat: Duration,
        /// What it is asked instead, and besides.
        asked: Box<Asked>,
    },
    /// Give the host's balancer this upstream set.
    Push {
        /// The balancer's address.
        lb: IpAddr,
        /// The set.
        set: SharedSet,
    },
    /// Give the host's balancer these routes and policies.
    Configure {
        /// The balancer's address.
        lb: IpAddr,
        /// The configuration.
        config: Box<ProxyConfig>,
    },
    /// Ask the host's balancer for its part in the VIPs.
    ReadLb {
        /// The balancer's address.
        lb: IpAddr,
        /// Also ask for the upstream set and the configuration it holds.
        documents: bool,
        /// Also ask how the pools are that it checks.
        pools: bool,
    },
    /// Ask the host's balancer how many requests it sends to whom.
    ReadTraffic {
        /// The balancer's address.
        lb: IpAddr,
    },
    /// Have the host's balancer hand its VIPs over to another one, if there is one.
    HandOver {
        /// The balancer's address.
        lb: IpAddr,
        /// Which of them, and how long each step may take.
        order: HandOverOrder,
    },
    /// Have the manager of the host whose balancer holds the VIPs carry out a switchover.
    Forward {
        /// That manager's address.
        peer: IpAddr,
        /// What was asked for.
        order: SwitchoverOrder,
    },
    /// Give a peer this host's snapshot.
    Tell {
        /// The peer's address.
        peer: IpAddr,
        /// The snapshot.
        snapshot: Telling,
        /// What it has of it, where that is known.
        base: Option<Telling>,
    },
    /// Give a peer packets of the membership protocol.
    Gossip {
        /// The peer's address.
        peer: IpAddr,
        /// The packets.
        packets: Vec<Bytes>,
    },
    /// Tell the host's balancer whether the host's uplink is lost.
    TellUplink {
        /// The balancer's address.
        lb: IpAddr,
        /// Whether it is.
        lost: bool,
    },
    /// Tell the host's balancer by how much it is preferred for addresses.
    Rank {
        /// The balancer's address.
        lb: IpAddr,
        /// Its priority for each of them, while it is fit.
        priorities: BTreeMap<IpAddr, u8>,
    },
    /// Ask neighbours beyond the uplink for a sign of life, all at the same time.
    AskTargets(Vec<IpAddr>),
    /// Ask the segment whether somebody has an address that no machine of this host has.
    Probe(IpAddr),
    /// Make the definition of a service again what it was before it was last put.
    TakeBack(PoolName),
    /// Say on the wire, for a balancer that died, that it no longer holds its VIPs (a VRRP advert of
    /// priority 0 from its address).
    Resign {
        /// The dead balancer's address.
        lb: IpAddr,
    },
}

/// What a machine is asked while it is watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Instead of listening to its heartbeat.
    pub liveness: Option<Probe>,
    /// Whether it can be sent requests, and what was known of that so far.
    pub readiness: Option<(Probe, bool)>,
}

/// What an action works on; the key under which it is in flight.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Job {
    /// The stored state.
    Save,
    /// The list of machines.
    List,
    /// What machines use.
    ReadUsage,
    /// Creating, stopping or fencing a machine: one at a time.
    Build(MachineId),
    /// The spares.
    KeepSpares,
    /// A machine's heartbeat.
    Watch(MachineId),
    /// The balancer's upstream set.
    Push,
    /// The balancer's configuration.
    Configure,
    /// The balancer's state.
    ReadLb,
    /// The balancer's traffic.
    ReadTraffic,
    /// The balancer's VIPs.
    HandOver,
    /// Another balancer's VIPs.
    Forward,
    /// A peer.
    Tell(IpAddr),
    /// What a peer is to know of who lives.
    Gossip(IpAddr),
    /// What the balancer knows of the uplink.
    TellUplink,
    /// The balancer's priorities.
    Rank,
    /// The neighbours beyond the uplink.
    AskTargets,
    /// A service's definition.
    TakeBack(PoolName),
    /// The wire.
    Resign,
    /// Whether an address is free.
    Probe(IpAddr),
}

/// What the engine is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// Nothing but that time has passed.
    Tick,
    /// The hypervisor says that a machine ended.
    Exited {
        /// Which.
        machine: MachineId,
        /// Which build of it.
        incarnation: Incarnation,
        /// In words.
        reason: String,
    },
    /// What was read of the uplink.
    Uplink(UplinkReading),
    /// The balancer that hands its VIPs over says how far it is.
    HandingOver(Box<HandOver>),
    /// A machine's heartbeat arrived.
    Beat {
        /// Whose.
        machine: MachineId,
        /// Which build of it.
        incarnation: Incarnation,
    },
    /// A machine can be sent requests from now on, or cannot.
    Readiness {
        /// Which.
        machine: MachineId,
        /// Which build of it.
        incarnation: Incarnation,
        /// Whether it can.
        ready: bool,
    },
    /// An action came to its end.
    Finished {
        /// Which.
        id: u64,
        /// How.
        outcome: Outcome,
    },
}

/// How an action ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is done; nothing more to say.
    Done,
    /// It could not be done; in words.
    Failed(String),
    /// Something that is known stands in the way of creating a machine; in words.
    Prevented(Condition, String),
    /// The machines that exist, and what makes them.
    Listed {
        /// The machines.
        machines: Vec<ObservedMachine>,
        /// The driver, in words.
        driver: String,
    },
    /// So many spares wait for each service.
    Spares(BTreeMap<PoolName, u32>),
    /// What the machines use.
    Used(Vec<ObservedUsage>),
    /// What the balancer sends to upstreams that it sends anything to, by pool.
    Traffic(BTreeMap<PoolName, BTreeMap<EndpointId, MachineTraffic>>),
    /// The receiver holds something newer, of this generation (push) or epoch (tell).
    Stale(u64),
    /// The balancer's state.
    LbRead(Box<LbReading>),
    /// The balancer has handed its VIPs over, or nobody took them.
    HandedOver(Box<HandOver>),
    /// So many of those who were asked have answered.
    Answered(usize),
    /// What became of a switchover that another manager was asked for.
    SwitchedOver(Box<Switchover>),
    /// The peer has the snapshot.
    Told(SnapshotAck),
    /// The peer's answer to packets of the membership protocol: packets again.
    Gossiped(Vec<Bytes>),
    /// Somebody with this MAC address has the address.
    Taken([u8; 6]),
}

/// A machine as the hypervisor knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedMachine {
    /// What its metadata says it is for; nothing where that cannot be read.
    pub purpose: MachinePurpose,
    /// Whether it runs.
    pub running: bool,
    /// Whether its guest has given a sign that it started.
    pub booted: bool,
}

/// What a machine uses, as the hypervisor knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedUsage {
    /// Which.
    pub machine: MachineId,
    /// Which build of it.
    pub incarnation: Incarnation,
    /// Processor time since this build started.
    pub cpu: Duration,
    /// Memory now, in bytes.
    pub memory_bytes: u64,
}

/// What a balancer says of itself.
#[derive(Clone, Debug, Default)]
pub struct LbReading {
    /// Its part in the VIPs.
    pub vip: VipStatus,
    /// How its pools are, where asked for.
    pub pools: Option<PoolsHealth>,
    /// The set it holds, where asked for.
    pub upstreams: Option<UpstreamSet>,
    /// The generation of the configuration it holds, where asked for.
    pub config_generation: Option<Generation>,
}
