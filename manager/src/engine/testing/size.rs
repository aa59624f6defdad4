//! How much an engine remembers.

use crate::engine::Engine;

impl Engine {
    /// The number of things in everything of an engine that grows.
    pub(crate) fn size(&self) -> usize {
        let held = self.peers.values().filter_map(|peer| peer.held.as_ref());
        let told: usize = held.map(|held| held.endpoints.len() + held.machines.len()).sum();
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
            + self.flights.len()
            + self.notices.len()
            + self.troubles.len()
            + told
            + self.retired.len()
            + inherited
            + confirmed
    }
}
