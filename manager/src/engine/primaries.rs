//! Which primaries this host's balancer is told, and what is said of pools that are not well.
//!
//! Of all balancers one chooses the primaries of pools: the holder of the first VIP, which knows that it is. Each
//! manager reads from its balancer what that uses, tells the others with everything else, and names its balancer what the
//! one that decides chose. A balancer that is told so follows; one that decides next begins with it.

use std::collections::BTreeMap;

use wire::pools::PoolHealth;
use wire::{EndpointId, PoolName};

use super::{Engine, Severity, Time};

impl Engine {
    /// Whether the balancer checks anybody whose state is worth asking for.
    pub(super) fn asks_for_pools(&self) -> bool {
        self.config.services.iter().any(|service| service.is_checked_by_balancers())
    }

    /// How the pool of the service `name` is, as this host's balancer sees it.
    pub fn health_of(&self, name: &PoolName) -> Option<PoolHealth> {
        self.balancer.pools.pools.get(name).cloned()
    }

    /// The primaries that this host's balancer uses.
    pub(super) fn primaries_here(&self) -> BTreeMap<PoolName, EndpointId> {
        let pools = self.balancer.pools.pools.iter();
        pools.filter_map(|(name, pool)| Some((name.clone(), pool.primary.as_ref()?.id.clone()?))).collect()
    }

    /// Names the balancer the primaries that whoever decides has chosen. Where it has none at the moment, and while nobody
    /// decides, it stays with the last.
    pub(super) fn name_primaries(&mut self, now: Time) {
        let own = (self.balancer.pools.decides && self.ready_lb().is_some()).then(|| self.primaries_here());
        let own = own.map(|primaries| (self.config.name.clone(), primaries));
        let told =
            self.peers.values().filter(|peer| peer.is_alive(now)).filter_map(|peer| peer.held.as_ref());
        let told = told.filter_map(|snapshot| {
            let lb = snapshot.lb.as_ref().filter(|lb| lb.decides)?;
            Some((snapshot.host.clone(), lb.primaries.clone()))
        });
        // Two while an address moves: all hosts believe the same one.
        let decided = own.into_iter().chain(told).min_by(|(one, _), (other, _)| one.cmp(other));
        let services = &self.config.services;
        let is_primary_only = |pool: &PoolName| {
            services.iter().any(|service| service.name == *pool && service.spec.primary_only)
        };
        let mut named = self.balancer.named.clone();
        named.extend(decided.map(|(_, primaries)| primaries).unwrap_or_default());
        named.retain(|pool, _| is_primary_only(pool));
        let before = std::mem::replace(&mut self.balancer.named, named);
        let changed = self.balancer.named.iter().filter(|(pool, id)| before.get(*pool) != Some(*id));
        let changed: Vec<_> = changed.map(|(pool, id)| (pool.clone(), id.clone())).collect();
        for (pool, id) in changed {
            let message = format!("{id} is the primary of {pool}");
            self.note(Severity::Info, "primary.changed", pool.to_string(), message);
        }
    }

    /// What a person should know of pools that this host's balancer checks.
    pub(super) fn pool_warnings(&self) -> Vec<String> {
        self.balancer.pools.pools.iter().filter_map(|(name, pool)| warning(name, pool)).collect()
    }
}

fn warning(name: &PoolName, pool: &PoolHealth) -> Option<String> {
    let PoolHealth { upstreams, well, failing, elsewhere, ill: _, primary } = pool;
    let no_primary = primary.as_ref().filter(|primary| primary.id.is_none());
    if failing.is_empty() && no_primary.is_none() {
        return None;
    }
    let why: Vec<String> = failing.iter().map(|(id, reason)| format!("{id}: {reason}")).collect();
    let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
    let nobody =
        no_primary.map_or(String::new(), |primary| format!(", and has no primary: {}", primary.reason));
    let checked = upstreams.saturating_sub(*elsewhere);
    Some(format!("service {name}: {well} of {checked} pass the balancer's checks{why}{nobody}"))
}

#[cfg(test)]
mod tests {
    use wire::pools::PrimaryHealth;

    use super::*;

    #[test]
    fn what_is_not_well_is_said_with_the_reason() {
        let well = PoolHealth { upstreams: 3, well: 3, ..PoolHealth::default() };
        assert_eq!(warning(&"db".into(), &well), None);
        let one = PoolHealth {
            well: 2,
            failing: [("db-1".into(), "no answer in time".to_owned())].into(),
            primary: Some(PrimaryHealth { id: Some("db-2".into()), ..PrimaryHealth::default() }),
            ..well.clone()
        };
        assert_eq!(
            warning(&"db".into(), &one).as_deref(),
            Some("service db: 2 of 3 pass the balancer's checks (db-1: no answer in time)")
        );
        let shared = PoolHealth { upstreams: 60, elsewhere: 57, primary: None, ..one };
        assert_eq!(
            warning(&"db".into(), &shared).as_deref(),
            Some("service db: 2 of 3 pass the balancer's checks (db-1: no answer in time)"),
            "what others check is not counted"
        );
        let primary = PrimaryHealth { reason: "none is well".to_owned(), ..PrimaryHealth::default() };
        let nobody = PoolHealth { well: 0, primary: Some(primary), ..well };
        assert_eq!(
            warning(&"db".into(), &nobody).as_deref(),
            Some("service db: 0 of 3 pass the balancer's checks, and has no primary: none is well")
        );
    }
}
