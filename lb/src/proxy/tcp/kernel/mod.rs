//! Forwarding in the kernel: keeps a ruleset of nftables in step with the services, the sets and the health of upstreams.
//!
//! ```text
//!   sets, health, primaries ──news──▶ plan ──▶ rules ──▶ nft: one transaction
//!                                                          ▼
//!   who left, died or lost its place ──▶ cut: forgotten by conntrack (or `direct`), and its clients are nudged
//! ```
//!
//! Packets never come to this process, so it may die and its ruleset goes on; the next one takes over what it finds. The
//! ruleset has an owner, by name: a process that finds another one's leaves it alone while that lives.

mod conntrack;
mod cut;
mod direct;
mod keeper;
mod nft;
mod nudge;
mod owner;
mod plan;
mod rules;
mod ruleset;
mod segment;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use wire::PoolName;
use wire::tcp::Forwarding;

use self::cut::Cut;
pub(crate) use self::keeper::run;
use self::plan::Plan;
use self::segment::Mac;
use super::super::lock;

/// What the rest of the balancer asks of the kernel, and hears of it.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    told: Mutex<Told>,
    /// Wakes the keeper.
    wake: Notify,
}

#[derive(Debug, Default)]
struct Told {
    /// Connections to end.
    cuts: Vec<Cut>,
    /// What is wrong, by service.
    faults: BTreeMap<PoolName, String>,
    /// What the kernel does.
    plan: Plan,
    /// Who has which link-layer address.
    neighbours: BTreeMap<Mac, IpAddr>,
}

/// A connection that the kernel forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) client: SocketAddr,
    pub(crate) local: SocketAddr,
    /// None: it is at one that is not known any more.
    pub(crate) upstream: Option<SocketAddr>,
    /// Whether neither side has ended.
    pub(crate) is_active: bool,
    pub(crate) state: &'static str,
    pub(crate) expires: Duration,
}

impl Kernel {
    /// Has connections to upstreams at `addresses` be ended.
    pub(crate) fn cut(&self, addresses: Vec<SocketAddr>) {
        self.end(Cut::Upstreams(addresses));
    }

    /// Has connections to `port` be ended.
    pub(crate) fn cut_port(&self, port: u16) {
        self.end(Cut::Port(port));
    }

    fn end(&self, cut: Cut) {
        lock(&self.told).cuts.push(cut);
        self.wake.notify_one();
    }

    /// Has it be looked whether anything is to be done.
    pub(crate) fn changed(&self) {
        self.wake.notify_one();
    }

    /// What is wrong with the service `name`.
    pub(crate) fn fault(&self, name: &PoolName) -> Option<String> {
        lock(&self.told).faults.get(name).cloned()
    }

    /// Who is given new connections to `port`.
    pub(crate) fn given(&self, port: u16) -> BTreeSet<SocketAddr> {
        let told = lock(&self.told);
        let way = told.plan.ports.get(&port);
        way.into_iter().flat_map(|way| way.targets().map(|target| target.address)).collect()
    }

    /// The connections that the kernel forwards. Blocks while it is asked.
    ///
    /// # Errors
    ///
    /// Why it cannot be asked.
    pub(crate) fn connections(&self) -> Result<Vec<Forwarded>, String> {
        let (plan, neighbours) = {
            let told = lock(&self.told);
            (told.plan.clone(), told.neighbours.clone())
        };
        let mut found = Vec::new();
        if plan.ports.values().any(|way| way.forwarding != Forwarding::NftablesDsr) {
            let all = conntrack::list().map_err(|error| format!("the kernel's connections: {error}"))?;
            let is_ours = |port: u16| {
                plan.ports.get(&port).is_some_and(|way| way.forwarding != Forwarding::NftablesDsr)
            };
            found.extend(all.into_iter().filter(|one| is_ours(one.local.port())).map(|one| Forwarded {
                client: one.client,
                local: one.local,
                upstream: Some(one.upstream),
                is_active: one.is_active(),
                state: one.state(),
                expires: one.expires,
            }));
        }
        for (port, way) in plan.ports.iter().filter(|(_, way)| way.forwarding == Forwarding::NftablesDsr) {
            // Those that left have connections still.
            let at = |mac| {
                let target = way.targets().find(|target| target.mac == Some(mac));
                let left = || neighbours.get(&mac).map(|address| SocketAddr::new(*address, *port));
                target.map(|target| target.address).or_else(left)
            };
            let all = direct::list(*port, way).map_err(|failure| failure.to_string())?;
            found.extend(all.into_iter().map(|one| Forwarded {
                client: one.client,
                local: one.local,
                upstream: at(one.mac),
                is_active: one.is_active,
                state: if one.is_active { "ESTABLISHED" } else { "FIN_WAIT" },
                expires: one.expires,
            }));
        }
        Ok(found)
    }
}
