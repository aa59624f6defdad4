//! What the engine keeps from one plan to the next, beside the same made anew: both must come to the same.

use super::super::upstreams::{servers, upstream};
use super::super::{Adoption, Engine, Plan, Pools, Telling, Time};
use crate::sim::bug::Bug;

/// The full comparison takes as long as many plans: every so many are compared.
const COMPARED: u64 = 5;

impl Engine {
    /// Plans, and every now and then compares that with what an engine plans that derives everything anew.
    pub(crate) fn plan_checked(&mut self, now: Time) -> Plan {
        self.plans += 1;
        if !self.plans.is_multiple_of(COMPARED) {
            return self.plan(now);
        }
        let mut anew = self.clone();
        anew.forget_derived();
        let expected = anew.plan(now);
        let plan = self.plan(now);
        assert_eq!((plan.wake, plan.wake_reason), (expected.wake, expected.wake_reason), "at {now:?}");
        assert_eq!(self.notices, anew.notices, "at {now:?}");
        let actions = |plan: &Plan| format!("{:?}", plan.actions);
        assert_eq!(actions(&plan), actions(&expected), "at {now:?}");
        assert_eq!(self.known_pools(now).to_wire(), self.pools_from_scratch(), "at {now:?}");
        assert_eq!(self.pools(now).to_wire(), anew.pools(now).to_wire(), "at {now:?}");
        if let (Some(published), Adoption::Settled) = (&self.published, self.adoption) {
            let told = Telling { told: self.machines.told().clone(), at: now, ..published.clone() };
            assert_eq!(told.to_wire(), self.host_snapshot(now), "at {now:?}");
        }
        plan
    }

    /// What a peer is told now.
    pub(crate) fn telling(&self, now: Time) -> Telling {
        Telling { rest: self.host_snapshot(now).into(), told: Default::default(), at: now }
    }

    /// The endpoints of this host.
    pub(crate) fn own_endpoints(&self) -> std::collections::BTreeSet<wire::EndpointId> {
        self.endpoints().into_iter().map(|endpoint| endpoint.id).collect()
    }

    /// Every upstream of every host, as far as known, put together anew.
    pub(crate) fn pools_from_scratch(&self) -> Pools {
        let mut pools: Pools = self
            .config
            .services
            .iter()
            .map(|service| (service.name.clone(), self.servers_of(service)))
            .collect();
        for endpoint in self.endpoints() {
            pools.entry(endpoint.service.clone()).or_default().push(upstream(&endpoint, &self.config.name));
        }
        for snapshot in self.peers.values().filter_map(|peer| peer.held.as_ref()) {
            if self.bug == Some(Bug::LostPeerIsDropped)
                && self.peers.values().all(|peer| !peer.is_alive(self.last_look.unwrap_or_default()))
            {
                continue;
            }
            for endpoint in &snapshot.endpoints {
                pools.entry(endpoint.service.clone()).or_default().push(upstream(endpoint, &snapshot.host));
            }
        }
        // What the balancer knew of a host that has not been heard since this manager started stays.
        for (pool, upstreams) in self.inherited.iter().flat_map(|pools| pools.iter()) {
            let unheard = upstreams.iter().filter(|upstream| !self.is_heard(&upstream.zone)).cloned();
            pools.entry(pool.clone()).or_default().extend(unheard);
        }
        for upstreams in pools.values_mut() {
            upstreams.sort_by(|a, b| (a.address, a.port, &a.id).cmp(&(b.address, b.port, &b.id)));
        }
        pools
    }

    fn servers_of(&self, service: &crate::config::Service) -> Vec<wire::upstreams::Upstream> {
        servers(service, &self.config.name).iter().map(|placed| placed.upstream.clone()).collect()
    }

    fn is_heard(&self, host: &wire::HostName) -> bool {
        *host == self.config.name
            || self
                .peers
                .values()
                .filter_map(|peer| peer.held.as_ref())
                .any(|snapshot| snapshot.host == *host)
    }
}
