//! What the kernel is to do, made of the services, the sets and the health of upstreams: for each port, whom it gives
//! new connections. Nothing is done here.
//!
//! The choice is that of [`balance`](super::super::super::balance), as far as it can be written down ahead: the best rank
//! of which anybody is in use, near ones first, by weight. What depends on the moment (open connections, latency, trials,
//! doubt) the kernel does not know.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use wire::PoolName;
use wire::balancing::{Algorithm, HashKey};
use wire::tcp::{Forwarding, TcpService};

use super::super::super::balance::{maglev::Maglev, round_robin};
use super::super::super::primary::Stay;
use super::super::super::state::pool::{Member, Pool, Rank};
use super::super::super::state::upstream::Upstream;
use super::segment::{Mac, Neighbours};

/// About so many turns are written down for weights that would need more.
const MOST_TURNS: u64 = 1_024;

/// The slots among which clients are spread by their addresses: a prime, 10 times as many as there may be upstreams in one
/// set that the kernel reads quickly.
const SLOTS: usize = 1_021;

/// What the kernel is to do, by port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) ports: BTreeMap<u16, Way>,
}

/// What it does with the connections to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) forwarding: Forwarding,
    /// Whether the client's address decides, or whose turn it is.
    pub(super) by_client: bool,
    /// A connection that is silent for so many seconds is forgotten.
    pub(super) idle_s: u64,
    /// Whose turns these are, in each family. None: connections are refused.
    pub(super) v4: Vec<Target>,
    pub(super) v6: Vec<Target>,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// Its link-layer address, where that is what counts.
    pub(super) mac: Option<Mac>,
}

/// A plan, and what is to be known of it.
#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) plan: Plan,
    /// Who has connections given, by port.
    pub(super) used: BTreeMap<u16, Vec<Arc<Upstream>>>,
    /// What is wrong, by service.
    pub(super) faults: BTreeMap<PoolName, String>,
}

impl Plan {
    /// Whether packets of any port are passed on by their link-layer address.
    pub(super) fn is_direct(&self) -> bool {
        self.ports.values().any(|way| way.forwarding == Forwarding::NftablesDsr)
    }
}

impl Planned {
    /// Adds the service, whose connections go to `pool`, of which `stay` is the primary's if it has to have one.
    pub(super) fn add(
        &mut self,
        service: &TcpService,
        pool: Option<&Pool>,
        stay: Option<&Stay>,
        neighbours: &Neighbours,
    ) {
        let mut way = Way::closed(service);
        let members = pool.map(|pool| in_use(pool, stay)).unwrap_or_default();
        let targets: Vec<_> =
            members.iter().map(|member| (target(service, member, neighbours), *member)).collect();
        let wrong = targets.iter().find_map(|(target, _)| target.as_ref().err().cloned());
        let balance = pool.map(|pool| &pool.policy.balance);
        way.by_client = balance.is_some_and(|balance| {
            matches!(balance.algorithm, Algorithm::RingHash | Algorithm::Maglev)
                && balance.hash_key == HashKey::Client
        });
        let good: Vec<_> =
            targets.into_iter().filter_map(|(target, member)| Some((target.ok()?, member))).collect();
        let of_family = |v4: bool| -> Vec<_> {
            good.iter().filter(|(target, _)| target.address.is_ipv4() == v4).copied().collect()
        };
        (way.v4, way.v6) = (turns(&of_family(true), way.by_client), turns(&of_family(false), way.by_client));
        if good.is_empty() {
            let nobody = "no upstream is in use: connections are refused".to_owned();
            self.faults.insert(service.name.clone(), wrong.unwrap_or(nobody));
        } else if let Some(wrong) = wrong {
            self.faults.insert(service.name.clone(), wrong);
        }
        let used = members.iter().map(|member| member.upstream.clone()).collect();
        self.used.insert(service.port, used);
        self.plan.ports.insert(service.port, way);
    }
}

impl Way {
    /// That of `service` while it gives connections to nobody: what is open goes on.
    pub(super) fn closed(service: &TcpService) -> Self {
        Way {
            forwarding: service.forwarding,
            by_client: false,
            idle_s: service.idle_timeout_ms.div_ceil(1_000),
            v4: Vec::new(),
            v6: Vec::new(),
        }
    }

    /// Everybody whose turn it ever is.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.v4.iter().chain(&self.v6)
    }

    pub(super) fn family(&self, v4: bool) -> &[Target] {
        if v4 { &self.v4 } else { &self.v6 }
    }
}

/// Those of `pool` that are given new connections.
fn in_use<'a>(pool: &'a Pool, stay: Option<&Stay>) -> Vec<&'a Member> {
    if pool.policy.primary_only {
        let is_primary = |member: &&Member| {
            stay.is_some_and(|stay| !stay.is_over() && Arc::ptr_eq(stay.upstream(), &member.upstream))
        };
        return pool.members().iter().filter(is_primary).collect();
    }
    // Where nearly everything looks bad, those are used too that answer, however badly.
    let panic = pool.signals().panic;
    let is_used =
        |member: &&Member| !member.upstream.is_ejected() || panic && member.upstream.is_ejected_for_answers();
    for rank in Rank::USED {
        let all: Vec<_> = pool.ranked(rank).iter().filter(is_used).collect();
        if !all.is_empty() {
            let near: Vec<_> = all.iter().copied().filter(|member| member.near).collect();
            return if near.is_empty() { all } else { near };
        }
    }
    Vec::new()
}

/// Where packets for `member` go.
///
/// # Errors
///
/// Why they cannot.
fn target(service: &TcpService, member: &Member, neighbours: &Neighbours) -> Result<Target, String> {
    let (id, address) = (&member.upstream.id, member.upstream.address);
    if address.ip().is_loopback() {
        return Err(format!(
            "the kernel does not forward to {address} ({id}), an address of this machine alone: give it another one, or \
             the service `forwarding` = \"proxy\""
        ));
    }
    if service.forwarding != Forwarding::NftablesDsr {
        return Ok(Target { address, mac: None });
    }
    // A map from connections of IPv6 is beyond nft 1.0.6, which Debian 12 has.
    if address.is_ipv6() {
        return Err(format!(
            "packets of IPv6 are not returned directly ({id}): expected an address of IPv4, or `forwarding` = \"nftables\""
        ));
    }
    if address.port() != service.port {
        return Err(format!(
            "{id} has port {}, and packets are passed on as they are: expected {}, the service's",
            address.port(),
            service.port
        ));
    }
    let Some(mac) = neighbours.of(address.ip()) else {
        return Err(format!(
            "the link-layer address of {id} is not known: {} has to be on the same segment, and to answer there",
            address.ip()
        ));
    };
    Ok(Target { address, mac: Some(mac) })
}

/// Whose turns there are, for `members` by their weights.
fn turns(members: &[(Target, &Member)], by_client: bool) -> Vec<Target> {
    let mut members = members.to_vec();
    // All balancers that have the same set come to the same.
    members.sort_by_key(|(target, _)| *target);
    let at = |place: usize| members.get(place).map(|(target, _)| *target);
    if by_client && members.len() > 1 {
        let name = |(_, member): &(Target, &Member)| (member.upstream.id.to_string(), member.weight);
        let names: Vec<_> = members.iter().map(name).collect();
        return Maglev::of_size(&names, SLOTS).owners().filter_map(at).collect();
    }
    let weights: Vec<_> = members.iter().map(|(_, member)| member.weight).collect();
    let order = round_robin::order(&weights, MOST_TURNS);
    order.iter().filter_map(|&place| at(place as usize)).collect()
}
