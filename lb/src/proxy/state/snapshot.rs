//! All that a request needs to know, made from the accepted set and configuration and never changed:
//! a request that began with one snapshot ends with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wire::actions::{ErrorPages, HeaderEdits};
use wire::overrides::Overrides;
use wire::proxy_config::{self, ProxyConfig};
use wire::tcp::TcpService;
use wire::upstreams::UpstreamSet;
use wire::{Generation, HostName, MachineId, PoolName};

use super::super::limits::guard::Guard;
use super::super::limits::hops::Belief;
use super::super::route::look::Look;
use super::super::route::{Route, Rules};
use super::check_tcp;
use super::origin::Origins;
use super::pool::{Member, Pool};
use super::records::{Records, Turnover};
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

impl Here {
    /// `upstream` as it is `described`, from here.
    pub(super) fn see(
        &self,
        upstream: Arc<Upstream>,
        described: &wire::upstreams::Upstream,
        zones: &mut Zones,
    ) -> Member {
        let orders = (!self.overrides.0.is_empty()).then_some(&self.overrides.0);
        let order = orders.and_then(|orders| orders.get(&MachineId::from(described.id.machine())));
        let zone = zones.get(&described.zone);
        Member::in_zone(upstream, described, zone).seen_from(self.zone.as_ref(), order)
    }
}

/// The names of zones: upstreams share them.
#[derive(Debug, Default)]
pub(super) struct Zones(HashMap<HostName, Arc<HostName>>);

impl Zones {
    pub(super) fn get(&mut self, name: &HostName) -> Arc<HostName> {
        match self.0.get(name) {
            Some(zone) => zone.clone(),
            None => self.0.entry(name.clone()).or_insert_with(|| Arc::new(name.clone())).clone(),
        }
    }
}

/// One accepted state.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// That of the set it was made from.
    pub(crate) generation: Generation,
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
    /// By name; those that only a route or a TCP service names are there too, empty.
    pub(crate) pools: BTreeMap<PoolName, Arc<Pool>>,
    /// Where set and configuration come from.
    pub(crate) origins: Origins,
    /// The pools that the set names.
    in_set: Arc<[PoolName]>,
}

/// A snapshot that was just made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) snapshot: Snapshot,
    pub(crate) turnover: Turnover,
}

impl Snapshot {
    /// The snapshot of `set` and `config`, with what `records` have of what stays.
    pub(crate) fn next(
        &self,
        set: &UpstreamSet,
        config: Option<Arc<ProxyConfig>>,
        here: &Here,
        records: &mut Records,
    ) -> Made {
        let config = config.unwrap_or_default();
        // None was pushed, and the settings file says nothing of routes.
        let default = (config.generation == 0 && config.routes.is_empty() && config.tcp.is_empty())
            .then(|| default_route(set))
            .flatten();
        let (mut of_pools, turnover) = records.take(set, here.workers);
        let mut zones = Zones::default();
        let mut pools = BTreeMap::new();
        for (name, described) in &set.pools {
            let upstreams = of_pools.remove(name).unwrap_or_default();
            let members = upstreams.into_iter().zip(described);
            let members = members.map(|(upstream, described)| here.see(upstream, described, &mut zones));
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
        for name in config.tcp.iter().flat_map(TcpService::pools) {
            if !pools.contains_key(name) {
                pools.insert(name.clone(), self.pool(name, &config, Vec::new()));
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
        let (generation, in_set) = (set.generation, records.pools().into());
        let origins = Origins::default();
        let snapshot = Snapshot { generation, config, routes, look, belief, guard, pools, origins, in_set };
        Made { snapshot, turnover }
    }

    /// The same, as of another generation.
    pub(super) fn again(&self, generation: Generation) -> Snapshot {
        Snapshot {
            generation,
            config: self.config.clone(),
            routes: self.routes.clone(),
            look: self.look.clone(),
            belief: self.belief.clone(),
            guard: self.guard.clone(),
            pools: self.pools.clone(),
            origins: self.origins,
            in_set: self.in_set.clone(),
        }
    }

    /// The set it was made from, each pool in the order of addresses.
    pub(crate) fn set(&self) -> UpstreamSet {
        let described = |name: &PoolName| {
            let members = self.pools.get(name).into_iter().flat_map(|pool| pool.members());
            let mut described: Vec<_> = members.map(Member::described).collect();
            described.sort_by(|a, b| (a.address, a.port, &a.id).cmp(&(b.address, b.port, &b.id)));
            (name.clone(), described)
        };
        UpstreamSet { generation: self.generation, pools: self.in_set.iter().map(described).collect() }
    }

    /// Whether there is an upstream to send any request or connection to, or no route that needs one.
    pub(crate) fn can_serve(&self) -> bool {
        let of_routes = self.routes.iter().filter(|route| !route.needs_nobody()).map(|route| &route.pool);
        let of_services = self.config.tcp.iter().flat_map(TcpService::pools);
        let of_services = of_services.filter_map(|name| self.pools.get(name));
        let mut asking = of_routes.chain(of_services).peekable();
        match asking.peek() {
            None => !self.routes.is_empty(),
            Some(_) => asking.any(|pool| !pool.members().is_empty()),
        }
    }

    /// Every upstream as it is described.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.pools.values().flat_map(|pool| pool.members())
    }

    /// The record of each upstream.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.members().map(|member| &member.upstream)
    }

    fn pool(&self, name: &PoolName, config: &ProxyConfig, members: Vec<Member>) -> Arc<Pool> {
        let mut policy = config.pools.get(name).cloned().unwrap_or_default();
        for service in config.tcp.iter().filter(|service| service.pools().any(|pool| pool == name)) {
            check_tcp::ask(&mut policy, service);
        }
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
    use wire::EndpointId;

    use super::*;

    fn set(text: &str) -> UpstreamSet {
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
                checked_elsewhere: false,
            });
            (PoolName::from(name), upstreams.collect())
        });
        UpstreamSet { generation: 1, pools: pools.collect() }
    }

    #[test]
    fn records_outlive_a_swap_and_the_rest_is_left_out() {
        let mut records = Records::default();
        let first = Snapshot::default().next(&set("p:1,2"), None, &Here::default(), &mut records);
        let kept = records.get(&"p-2".into()).expect("a record").0.clone();
        let second = first.snapshot.next(&set("p:2,3"), None, &Here::default(), &mut records);
        let ids = |upstreams: &[Arc<Upstream>]| {
            upstreams.iter().map(|upstream| upstream.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(ids(&second.turnover.gone), ["p-1"]);
        assert_eq!(ids(&second.turnover.new), ["p-3"]);
        assert!(Arc::ptr_eq(records.get(&"p-2".into()).expect("a record").0, &kept));
        assert_eq!(second.snapshot.set(), set("p:2,3"));
    }

    #[test]
    fn a_record_that_stays_is_treated_by_the_newest_policy() {
        let mut records = Records::default();
        let first = Snapshot::default().next(&set("p:1"), None, &Here::default(), &mut records);
        let policy = proxy_config::PoolPolicy { max_tries: 9, ..Default::default() };
        let config = ProxyConfig { pools: [(PoolName::from("p"), policy)].into(), ..ProxyConfig::default() };
        let _second =
            first.snapshot.next(&set("p:1"), Some(Arc::new(config)), &Here::default(), &mut records);
        assert_eq!(records.get(&"p-1".into()).expect("a record").0.policy().max_tries, 9);
    }

    #[test]
    fn without_a_configuration_the_only_pool_gets_everything() {
        for (pools, expected) in [("", 0), ("p:1", 1), ("p:1;q:2", 0)] {
            let mut records = Records::default();
            let made = Snapshot::default().next(&set(pools), None, &Here::default(), &mut records);
            assert_eq!(made.snapshot.routes.len(), expected, "{pools}");
        }
    }
}
