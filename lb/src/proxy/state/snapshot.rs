//! All that a request needs to know, made from the accepted set and configuration and never changed:
//! a request that began with one snapshot ends with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wire::actions::{ErrorPages, HeaderEdits};
use wire::overrides::Overrides;
use wire::proxy_config::{self, ProxyConfig};
use wire::upstreams::UpstreamSet;
use wire::{EndpointId, HostName, MachineId, PoolName};

use super::super::limits::guard::Guard;
use super::super::limits::hops::Belief;
use super::super::route::look::Look;
use super::super::route::{Route, Rules};
use super::origin::Origins;
use super::pool::{Member, Pool};
use super::upstream::Upstream;

/// What makes the snapshots of one balancer differ from those of another with the same set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Here {
    /// The threads that forward requests.
    pub(crate) workers: usize,
    /// Its zone, where upstreams of the same are preferred.
    pub(crate) zone: Option<HostName>,
    /// What people told it.
    pub(crate) overrides: Overrides,
}

/// One accepted state.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// The set it was made from.
    pub(crate) set: Arc<UpstreamSet>,
    /// The configuration it was made from, or the one that stands in for it.
    pub(crate) config: Arc<ProxyConfig>,
    /// In the order in which they are matched. One that shares its requests over several pools is here once for each,
    /// one after the other.
    pub(crate) routes: Vec<Arc<Route>>,
    /// What answers of ours look like where no route is known.
    pub(crate) look: Arc<Look>,
    /// Who is believed when it says who a client is.
    pub(crate) belief: Arc<Belief>,
    /// What all requests have to pass, if there is anything.
    pub(crate) guard: Option<Arc<Guard>>,
    /// By name; those that only a route names are there too, empty.
    pub(crate) pools: BTreeMap<PoolName, Arc<Pool>>,
    /// Where set and configuration come from.
    pub(crate) origins: Origins,
    upstreams: HashMap<EndpointId, Arc<Upstream>>,
}

impl Snapshot {
    /// The snapshot of `set` and `config`, with the records that `self` has of what stays.
    pub(crate) fn next(
        &self,
        set: Arc<UpstreamSet>,
        config: Option<Arc<ProxyConfig>>,
        here: &Here,
    ) -> Snapshot {
        let config = config.unwrap_or_default();
        // None was pushed, and the settings file says nothing of routes.
        let default =
            (config.generation == 0 && config.routes.is_empty()).then(|| default_route(&set)).flatten();
        let mut upstreams = HashMap::new();
        let mut pools = BTreeMap::new();
        for (name, described) in &set.pools {
            let members = described.iter().map(|described| {
                let upstream = self.record_of(described, here.workers);
                upstreams.insert(described.id.clone(), upstream.clone());
                let order = here.overrides.0.get(&MachineId::from(described.id.machine()));
                Member::new(upstream, described).seen_from(here.zone.as_ref(), order)
            });
            let members = members.collect();
            pools.insert(name.clone(), self.pool(name, &config, members));
        }
        // Rules do not depend on the set, which comes more often.
        let is_known = Arc::ptr_eq(&config, &self.config);
        let known: HashMap<_, _> =
            self.routes.iter().map(|route| ((route.name.as_str(), &route.pool.name), route)).collect();
        let named: HashMap<_, _> =
            self.routes.iter().map(|route| (route.name.as_str(), route.rules())).collect();
        let mut before = self.routes.iter().filter(|_| is_known).peekable();
        let mut nowhere = None;
        let mut routes = Vec::new();
        for described in config.routes.iter().chain(&default) {
            // They are in the same order.
            let mut same = None;
            while let Some(route) = before.next_if(|route| route.name == described.name) {
                same = Some(route.rules().clone());
            }
            let last = named.get(described.name.as_str()).map(|rules| &***rules);
            let rules = same.unwrap_or_else(|| Arc::new(Rules::new(described, &config, last)));
            let mut add = |pool: Arc<Pool>| {
                let same = known.get(&(described.name.as_str(), &pool.name));
                let stats = same.map(|route| route.stats.clone()).unwrap_or_default();
                routes.push(Arc::new(Route::new(described, rules.clone(), pool, stats)));
            };
            for name in described.pools() {
                let empty = || self.pool(name, &config, Vec::new());
                add(pools.entry(name.clone()).or_insert_with(empty).clone());
            }
            if described.pools().next().is_none() {
                add(nowhere.get_or_insert_with(|| self.pool(&"".into(), &config, Vec::new())).clone());
            }
        }
        let look = if is_known {
            self.look.clone()
        } else {
            Arc::new(Look::new("", &config.error_pages, &ErrorPages::new(), &HeaderEdits::default()))
        };
        let belief = if is_known { self.belief.clone() } else { Arc::new(Belief::new(&config)) };
        let guard = if is_known {
            self.guard.clone()
        } else {
            Guard::new(&config.allow, &config.deny, &config.rate_limits, self.guard.as_deref())
        };
        Snapshot { set, config, routes, look, belief, guard, pools, origins: Origins::default(), upstreams }
    }

    /// The records that `next` has no more.
    pub(crate) fn left_out_of<'a>(&'a self, next: &'a Snapshot) -> impl Iterator<Item = &'a Arc<Upstream>> {
        self.upstreams
            .iter()
            .filter(|(id, upstream)| next.upstreams.get(*id).is_none_or(|kept| !Arc::ptr_eq(kept, upstream)))
            .map(|(_, upstream)| upstream)
    }

    /// Whether there is an upstream to send any request to, or no route that needs one.
    pub(crate) fn can_serve(&self) -> bool {
        let mut asking = self.routes.iter().filter(|route| !route.needs_nobody()).peekable();
        match asking.peek() {
            None => !self.routes.is_empty(),
            Some(_) => asking.any(|route| !route.pool.members().is_empty()),
        }
    }

    /// Every upstream as it is described.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.pools.values().flat_map(|pool| pool.members())
    }

    /// The record of each upstream.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// The record of a machine stays while its id and place do.
    fn record_of(&self, described: &wire::upstreams::Upstream, workers: usize) -> Arc<Upstream> {
        self.upstreams
            .get(&described.id)
            .filter(|upstream| upstream.address == described.socket())
            .cloned()
            .unwrap_or_else(|| Arc::new(Upstream::new(described.id.clone(), described.socket(), workers)))
    }

    fn pool(&self, name: &PoolName, config: &ProxyConfig, members: Vec<Member>) -> Arc<Pool> {
        let policy = config.pools.get(name).cloned().unwrap_or_default();
        let before = self.pools.get(name).map(|pool| &**pool);
        Arc::new(Pool::new(name.clone(), policy, before, members))
    }
}

/// What stands in for routes until some are given: everything goes to the only pool, if there is exactly one.
fn default_route(set: &UpstreamSet) -> Option<proxy_config::Route> {
    let mut names = set.pools.keys();
    let (Some(only), None) = (names.next(), names.next()) else { return None };
    Some(proxy_config::Route {
        name: "default".to_owned(),
        pool: Some(only.clone()),
        ..proxy_config::Route::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Arc<UpstreamSet> {
        let pools = text.split(';').filter(|pool| !pool.is_empty()).map(|pool| {
            let (name, ports) = pool.split_once(':').expect("name:ports");
            let upstreams = ports.split(',').map(|port| wire::upstreams::Upstream {
                id: EndpointId(format!("{name}-{port}")),
                address: [127, 0, 0, 1].into(),
                port: port.parse().expect("port"),
                weight: 1,
                zone: "a".into(),
                backup: false,
                state: wire::upstreams::UpstreamState::Ready,
            });
            (PoolName::from(name), upstreams.collect())
        });
        Arc::new(UpstreamSet { generation: 1, pools: pools.collect() })
    }

    #[test]
    fn records_outlive_a_swap_and_the_rest_is_left_out() {
        let first = Snapshot::default().next(set("p:1,2"), None, &Here::default());
        let second = first.next(set("p:2,3"), None, &Here::default());
        let left: Vec<_> = first.left_out_of(&second).map(|upstream| upstream.id.to_string()).collect();
        assert_eq!(left, ["p-1"]);
        let id = EndpointId::from("p-2");
        assert!(Arc::ptr_eq(&first.upstreams[&id], &second.upstreams[&id]));
    }

    #[test]
    fn a_record_that_stays_is_treated_by_the_newest_policy() {
        let first = Snapshot::default().next(set("p:1"), None, &Here::default());
        let policy = proxy_config::PoolPolicy { max_tries: 9, ..Default::default() };
        let config = ProxyConfig { pools: [(PoolName::from("p"), policy)].into(), ..ProxyConfig::default() };
        let _second = first.next(set("p:1"), Some(Arc::new(config)), &Here::default());
        assert_eq!(first.upstreams[&EndpointId::from("p-1")].policy().max_tries, 9);
    }

    #[test]
    fn without_a_configuration_the_only_pool_gets_everything() {
        for (pools, expected) in [("", 0), ("p:1", 1), ("p:1;q:2", 0)] {
            let routes = Snapshot::default().next(set(pools), None, &Here::default()).routes;
            assert_eq!(routes.len(), expected, "{pools}");
        }
    }
}
