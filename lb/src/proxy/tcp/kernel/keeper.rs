//! Keeps the kernel's ruleset: says anew what it is to do whenever that has changed, and ends connections that are to end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_all;
use rtnetlink::Handle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use wire::PoolName;
use wire::tcp::Forwarding;

use super::super::super::lock;
use super::super::super::primary::{self, Stay};
use super::super::super::state::State;
use super::super::super::state::snapshot::Snapshot;
use super::super::super::state::upstream::Upstream;
use super::super::service::Service;
use super::cut::{self, Cut};
use super::plan::{Plan, Planned, Way};
use super::rules::Link;
use super::ruleset::Ruleset;
use super::segment::{self, Neighbours};

/// How often it is looked whether the ruleset is still ours, and how many connections it has seen; what could not be done
/// is tried again as often.
const LOOK: Duration = Duration::from_secs(1);

/// Keeps the ruleset for the services of `state` until `stop`, and takes it away then. `interface` is where public
/// addresses are.
///
/// # Errors
///
/// When there is no runtime or no netlink.
pub(crate) fn run(
    state: Arc<State>,
    interface: String,
    state_dir: &Path,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let ruleset = Ruleset::new(state_dir);
        if !state.tcp.is_in_kernel() {
            ruleset.clear_left_over();
        }
        // Most balancers have no such service, and are not to depend on what these need.
        tokio::select! {
            () = any_service(&state) => {}
            () = stop.cancelled() => return Ok(()),
        }
        let (connection, netlink, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let keeper = Keeper {
            state,
            interface,
            netlink,
            ruleset,
            used: BTreeMap::new(),
            stays: BTreeMap::new(),
            neighbours: Neighbours::default(),
            closed: BTreeMap::new(),
            has_failed: false,
        };
        keeper.keep(stop).await;
        anyhow::Ok(())
    })
}

struct Keeper {
    state: Arc<State>,
    interface: String,
    netlink: Handle,
    ruleset: Ruleset,
    /// Who has connections given, by port.
    used: BTreeMap<u16, Vec<Arc<Upstream>>>,
    /// The primaries whose connections are here.
    stays: BTreeMap<PoolName, Stay>,
    neighbours: Neighbours,
    /// Why packets are not passed on between clients and upstreams, by service.
    closed: BTreeMap<PoolName, String>,
    /// Whether the kernel does not do what it is to.
    has_failed: bool,
}

/// The services that are there, and those that were and whose connections have some time left.
struct Services {
    present: Vec<Arc<Service>>,
    leaving: Vec<Arc<Service>>,
}

impl Keeper {
    async fn keep(mut self, stop: &CancellationToken) {
        let state = self.state.clone();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut news = std::pin::pin!(primary::news_comes());
            news.as_mut().enable();
            let services = self.services();
            let is_busy =
                !services.present.is_empty() || !services.leaving.is_empty() || self.ruleset.plan().is_some();
            self.step(&services).await;
            // What could not be done is tried again with the next look.
            let watched = self.stays.values().filter(|stay| !(self.has_failed && stay.is_over()));
            let over: Vec<_> = watched.map(|stay| Box::pin(stay.over())).collect();
            let has_stays = !over.is_empty();
            let any_over =
                async { if has_stays { select_all(over).await.0 } else { std::future::pending().await } };
            tokio::select! {
                () = stop.cancelled() => break,
                () = news => {}
                () = any_over => {}
                () = state.tcp.kernel.wake.notified() => {}
                _ = looks.tick(), if is_busy => self.look(),
            }
        }
        self.ruleset.remove();
    }

    fn services(&self) -> Services {
        let is_in_kernel = |service: &&Arc<Service>| service.described.forwarding.is_in_kernel();
        let present: Vec<_> = self.state.tcp.services().all().filter(is_in_kernel).cloned().collect();
        let ports: BTreeSet<_> = self.state.tcp.services().ports().collect();
        let mut leaving = self.state.tcp.leaving();
        leaving.retain(|service| is_in_kernel(&service) && !ports.contains(&service.described.port));
        Services { present, leaving }
    }

    /// Does what is to be done now.
    async fn step(&mut self, services: &Services) {
        let snapshot = self.state.snapshot().clone();
        if services.present.is_empty() && services.leaving.is_empty() {
            self.stays.clear();
            let mut cuts = std::mem::take(&mut lock(&self.state.tcp.kernel.told).cuts);
            cuts.retain(|cut| matches!(cut, Cut::Port(_)));
            self.cut(&cuts);
            self.ruleset.remove();
            self.used.clear();
            self.tell(Plan::default(), BTreeMap::new());
            return;
        }
        self.follow_primaries(services, &snapshot);
        let mut planned = self.plan(services, &snapshot).await;
        let link = self.link(&mut planned, services);
        self.open_ways(&mut planned, services).await;
        let applied = self.ruleset.apply(&planned.plan, link.as_ref());
        self.has_failed = applied.is_err();
        if let Err(failure) = applied {
            for service in &services.present {
                planned.faults.insert(service.described.name.clone(), failure.clone());
            }
        }
        let cuts = self.cuts(&planned);
        self.cut(&cuts);
        // Whose connections are gone; the next one's time can begin. Not while the kernel may give it more of them.
        let has_failed = self.has_failed;
        self.stays.retain(|_, stay| has_failed || !stay.is_over());
        if !has_failed {
            self.used = planned.used;
        }
        self.tell(self.ruleset.plan().cloned().unwrap_or_default(), planned.faults);
    }

    /// Enters the time of a primary, for each pool that has one and whose connections are ours to forward.
    fn follow_primaries(&mut self, services: &Services, snapshot: &Snapshot) {
        let pools = services.present.iter().flat_map(|service| service.described.pools());
        let pools: BTreeMap<_, _> = pools.filter_map(|name| snapshot.pools.get_key_value(name)).collect();
        self.stays.retain(|name, stay| {
            stay.is_over() || pools.get(name).is_some_and(|pool| pool.policy.primary_only)
        });
        for (name, pool) in pools {
            if pool.policy.primary_only
                && !self.stays.contains_key(name)
                && let Some(stay) = pool.lasting.primary.enter()
            {
                self.stays.insert(name.clone(), stay);
            }
        }
    }

    async fn plan(&mut self, services: &Services, snapshot: &Snapshot) -> Planned {
        let is_direct = |service: &Arc<Service>| service.described.forwarding == Forwarding::NftablesDsr;
        if services.present.iter().any(is_direct)
            && let Err(error) = self.neighbours.learn(&self.netlink, &self.interface).await
        {
            tracing::warn!(%error, "the kernel does not say who its neighbours are");
        }
        let mut planned = Planned::default();
        for service in &services.leaving {
            planned.plan.ports.insert(service.described.port, Way::closed(&service.described));
        }
        for service in &services.present {
            let described = &service.described;
            let pool = described.pool.as_ref();
            let stay = pool.and_then(|name| self.stays.get(name));
            let pool = pool.and_then(|name| snapshot.pools.get(name));
            planned.add(described, pool.map(|pool| &**pool), stay, &self.neighbours);
        }
        planned
    }

    /// Where packets come in that are answered directly, if any are. Where there is no such interface, they are not.
    fn link(&self, planned: &mut Planned, services: &Services) -> Option<Link> {
        if !planned.plan.is_direct() {
            return None;
        }
        let link =
            segment::own_mac(&self.interface).map(|mac| Link { interface: self.interface.clone(), mac });
        if link.is_none() {
            planned.plan.ports.retain(|_, way| way.forwarding != Forwarding::NftablesDsr);
            for service in
                services.present.iter().filter(|of| of.described.forwarding == Forwarding::NftablesDsr)
            {
                let fault = format!(
                    "there is no Ethernet interface `{}`: correct `interface` in the settings",
                    self.interface
                );
                planned.faults.insert(service.described.name.clone(), fault);
            }
        }
        link
    }

    /// Sees to it that packets are passed on between clients and upstreams.
    async fn open_ways(&mut self, planned: &mut Planned, services: &Services) {
        self.closed.retain(|name, _| services.present.iter().any(|service| service.described.name == *name));
        for service in &services.present {
            let described = &service.described;
            let Some(way) = planned.plan.ports.get(&described.port) else { continue };
            let said_before =
                self.ruleset.plan().and_then(|plan| plan.ports.get(&described.port)) == Some(way);
            let is_settled = said_before && !self.closed.contains_key(&described.name);
            if is_settled || way.forwarding == Forwarding::NftablesDsr {
                continue;
            }
            let to: BTreeSet<IpAddr> = way.targets().map(|target| target.address.ip()).collect();
            let mut fault = None;
            if !way.v6.is_empty() {
                fault = segment::forwards_v6(&self.netlink, &self.interface).await.err();
            }
            if !way.v4.is_empty() {
                let to = to.into_iter().filter(IpAddr::is_ipv4).collect();
                let mut interfaces = segment::ways_to(&self.netlink, &to).await;
                interfaces.insert(self.interface.clone());
                for name in &interfaces {
                    fault = segment::forward_v4(&self.netlink, name).await.err().or(fault);
                }
            }
            match fault {
                Some(fault) => self.closed.insert(described.name.clone(), fault),
                None => self.closed.remove(&described.name),
            };
        }
        for (name, fault) in &self.closed {
            planned.faults.entry(name.clone()).or_insert_with(|| fault.clone());
        }
    }

    /// The connections that are to end: those that we were told of, and those at upstreams that are given none any more
    /// because they do not answer, or because another one is the primary.
    fn cuts(&self, planned: &Planned) -> Vec<Cut> {
        let mut cuts = std::mem::take(&mut lock(&self.state.tcp.kernel.told).cuts);
        for (port, before) in &self.used {
            let now = planned.used.get(port).map(Vec::as_slice).unwrap_or_default();
            let ended =
                before.iter().filter(|upstream| !now.iter().any(|other| Arc::ptr_eq(other, upstream)));
            let silent = ended.filter(|upstream| {
                let is_silent = upstream.is_ejected() && !upstream.is_ejected_for_answers();
                is_silent || upstream.policy().primary_only
            });
            let addresses: Vec<_> = silent.map(|upstream| upstream.address).collect();
            if !addresses.is_empty() {
                cuts.push(Cut::Upstreams(addresses));
            }
        }
        cuts
    }

    /// Ends connections.
    fn cut(&self, cuts: &[Cut]) {
        if let Some(plan) = self.ruleset.plan() {
            cut::end(cuts, plan, &self.neighbours);
        }
    }

    /// Looks whether the ruleset is ours still, and how many connections it has seen.
    fn look(&mut self) {
        for (port, connections) in self.ruleset.look() {
            let services = self.state.tcp.services();
            if let Some(service) = services.all().find(|service| service.described.port == port) {
                service.stats.forwarded(connections);
            }
        }
    }

    /// Says how things are.
    fn tell(&self, plan: Plan, faults: BTreeMap<PoolName, String>) {
        let told = &mut *lock(&self.state.tcp.kernel.told);
        for (service, fault) in &faults {
            if told.faults.get(service) != Some(fault) {
                tracing::warn!(%service, fault, "the kernel does not forward the connections of a service as it should");
            }
        }
        (told.plan, told.faults, told.neighbours) = (plan, faults, self.neighbours.by_mac());
    }
}

/// Resolves when there is a service whose packets the kernel is to pass on.
async fn any_service(state: &State) {
    while !state.tcp.is_in_kernel() {
        state.tcp.kernel.wake.notified().await;
    }
}
