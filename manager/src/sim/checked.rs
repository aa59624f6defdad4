//! What the balancers' checks find, and what many hosts make of it: each upstream is checked by three of them, and the rest go
//! by what those say.

use std::collections::{BTreeMap, BTreeSet};

use wire::EndpointId;
use wire::pools::{PoolHealth, PoolsHealth};
use wire::upstreams::{Upstream, UpstreamState};

use super::world::World;

/// The lines of a service's definition that have balancers check its machines, once a second each.
pub(super) const CHECKED: &str = "[service.readiness]\nkind = \"redis\"\nperiod_ms = 1000\n";

impl World {
    /// How the pools that the balancer of `host` checks are, as it sees it. It finds out at once.
    pub(super) fn pools_health(&self, host: usize) -> PoolsHealth {
        let balancer = self.hosts[host].balancer().and_then(|guest| guest.balancer.as_ref());
        let Some(proxy) = balancer.map(|balancer| &balancer.proxy) else { return PoolsHealth::default() };
        let places: BTreeMap<&str, usize> =
            self.hosts.iter().enumerate().map(|(at, host)| (host.config.name.as_str(), at)).collect();
        let checked = proxy.config.pools.iter().filter(|(_, policy)| policy.check.active);
        let pools = checked.map(|(name, _)| {
            let upstreams = proxy.set.pools.get(name).into_iter().flatten();
            let own = upstreams.filter(|upstream| !upstream.checked_elsewhere);
            let ill = own.filter(|upstream| {
                let at = places.get(upstream.zone.as_str());
                !at.is_some_and(|at| self.passes(host, *at, upstream))
            });
            let ill = ill.map(|upstream| upstream.id.clone()).collect();
            (name.clone(), PoolHealth { ill: Some(ill), ..PoolHealth::default() })
        });
        PoolsHealth { decides: false, pools: pools.collect() }
    }

    /// Whether `upstream`, which is on host `at`, passes a check of the balancer of `host`.
    fn passes(&self, host: usize, at: usize, upstream: &Upstream) -> bool {
        let links = [self.network.link(host, at), self.network.link(at, host)];
        let guest = self.hosts[at].guests.get(&upstream.id.machine().into());
        guest.is_some_and(|guest| {
            guest.serves()
                && !guest.ill
                && EndpointId::of(&guest.purpose.id, guest.purpose.incarnation) == upstream.id
        }) && links.iter().all(|link| !link.cut)
    }

    /// What the balancer of `host` was told of each upstream.
    pub(super) fn upstreams_of(&self, host: usize) -> impl Iterator<Item = &Upstream> {
        let balancer = self.hosts[host].balancer().and_then(|guest| guest.balancer.as_ref());
        balancer.into_iter().flat_map(|balancer| balancer.proxy.set.pools.values().flatten())
    }

    /// The hosts whose balancers check each upstream, of those where a manager runs.
    pub(super) fn checkers(&self) -> BTreeMap<&EndpointId, BTreeSet<usize>> {
        let mut checkers = BTreeMap::<_, BTreeSet<usize>>::new();
        for host in (0..self.hosts.len()).filter(|host| self.hosts[*host].manager.is_some()) {
            for upstream in self.upstreams_of(host) {
                let checkers = checkers.entry(&upstream.id).or_default();
                if !upstream.checked_elsewhere {
                    checkers.insert(host);
                }
            }
        }
        checkers
    }

    /// How many checks all balancers together begin in a second, by what they were told.
    pub(super) fn checks_a_second(&self) -> f64 {
        let balancers = self.hosts.iter().filter_map(|host| host.balancer()?.balancer.as_ref());
        let pools = balancers.flat_map(|balancer| {
            let proxy = &balancer.proxy;
            let policies = proxy.config.pools.iter().filter(|(_, policy)| policy.check.active);
            policies.filter_map(|(name, policy)| Some((proxy.set.pools.get(name)?, policy.check.interval_ms)))
        });
        let of_pool = |(upstreams, interval): (&Vec<Upstream>, u64)| {
            let own = upstreams.iter().filter(|upstream| !upstream.checked_elsewhere).count();
            own as f64 * 1_000.0 / interval as f64
        };
        pools.map(of_pool).sum()
    }

    /// The hosts where a manager runs and whose balancers take `id` for suspect.
    pub(super) fn suspecting(&self, id: &EndpointId) -> BTreeSet<usize> {
        let hosts = (0..self.hosts.len()).filter(|host| self.hosts[*host].manager.is_some());
        let suspects = |host: &usize| {
            self.upstreams_of(*host)
                .any(|upstream| upstream.id == *id && upstream.state == UpstreamState::Suspect)
        };
        hosts.filter(suspects).collect()
    }
}
