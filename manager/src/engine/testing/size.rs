//! How much an engine remembers.

use crate::engine::Engine;

impl Engine {
    /// Whether this host is to have machine `id`.
    pub(crate) fn has_slot(&self, id: &wire::MachineId) -> bool {
        self.desired.slot(&self.config.name, id).is_some()
    }

    /// Whether the manager at `address` is heard, or others hear it.
    pub(crate) fn counts_as_alive(&self, now: crate::engine::Time, address: std::net::IpAddr) -> bool {
        self.peers.get(&address).is_some_and(|peer| peer.is_alive(now))
    }

    /// The number of things in everything of an engine that grows.
    pub(crate) fn size(&self) -> usize {
        let held = self.peers.values().filter_map(|peer| peer.held.as_ref());
        let told = held.map(|held| {
            let ill: usize = held.checks.values().map(std::collections::BTreeSet::len).sum();
            held.endpoints.len() + held.machines.len() + ill
        });
        let told: usize = told.sum();
        let inherited = self
            .inherited
            .iter()
            .flat_map(|pools| pools.iter())
            .map(|(_, upstreams)| upstreams.len())
            .sum::<usize>();
        let confirmed = self.balancer.confirmed.iter().flat_map(|set| set.pools.upstreams()).count();
        self.machines.len()
            + self.unverified.len()
            + self.foreign.len()
            + self.built.len()
            + self.peers.len()
            + self.overlaps_told.len()
            + self.recent_deaths.len()
            + self.placing.size()
            + self.circle.size()
            + self.duties.size()
            + self.flights.len()
            + self.notices.len()
            + self.troubles.len()
            + told
            + self.retired.len()
            + inherited
            + confirmed
    }
}
