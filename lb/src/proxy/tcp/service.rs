//! The services as connections meet them: by port, and there by the name that a client of TLS asks for.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use wire::PoolName;
use wire::proxy_config::ProxyConfig;
use wire::tcp::TcpService;

use super::super::limits::networks::Networks;
use super::stats::Stats;

/// A service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) described: TcpService,
    /// What happened on it. It outlives configurations, as the service's name does.
    pub(crate) stats: Arc<Stats>,
}

impl Service {
    /// Whether it is the same one, as another configuration may describe it otherwise.
    pub(crate) fn is(&self, other: &Service) -> bool {
        Arc::ptr_eq(&self.stats, &other.stats)
    }
}

/// Where a connection goes.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) service: Arc<Service>,
    pub(crate) pool: PoolName,
}

/// What is at a port.
#[derive(Debug)]
pub(crate) struct Port {
    /// Its services, in the order of the configuration. There is one.
    pub(crate) services: Vec<Arc<Service>>,
    /// Who takes what no name is for.
    default: Option<Goal>,
    /// Those that have a name, in small letters, and those that have all names below one.
    exact: HashMap<String, Goal>,
    below: HashMap<String, Goal>,
    /// The proxies that say who a client is, where they do; none in it: anybody.
    proxies: Option<Networks>,
}

impl Port {
    fn new(services: Vec<Arc<Service>>) -> Self {
        let (mut exact, mut below, mut default) = (HashMap::new(), HashMap::new(), None);
        for service in &services {
            let goal = |pool: &PoolName| Goal { service: service.clone(), pool: pool.clone() };
            default = default.or_else(|| service.described.pool.as_ref().map(goal));
            for route in &service.described.sni {
                for name in &route.names {
                    let name = name.to_ascii_lowercase();
                    match name.strip_prefix("*.") {
                        Some(parent) => below.insert(parent.to_owned(), goal(&route.pool)),
                        None => exact.insert(name, goal(&route.pool)),
                    };
                }
            }
        }
        let proxies = services.iter().map(|service| &service.described).find(|of| of.proxy_protocol_in);
        let proxies = proxies.map(|described| Networks::new(&described.trusted));
        Port { services, default, exact, below, proxies }
    }

    /// Whether a header of the PROXY protocol comes ahead of everything else.
    pub(crate) fn has_proxy(&self) -> bool {
        self.proxies.is_some()
    }

    /// Whether `peer` may send one, where it has to.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.proxies.as_ref().is_none_or(|proxies| proxies.is_empty() || proxies.contains(peer))
    }

    /// Whether the name that is asked for matters.
    pub(crate) fn has_names(&self) -> bool {
        !self.exact.is_empty() || !self.below.is_empty()
    }

    /// Who takes what asks for no name, or for one that nobody has.
    pub(crate) fn default(&self) -> Option<&Goal> {
        self.default.as_ref()
    }

    /// Who takes what asks for `name`, which is in small letters: the nearest one above it, if none has it itself.
    pub(crate) fn named(&self, name: &str) -> Option<&Goal> {
        let parents = || name.match_indices('.').map(|(at, _)| &name[at + 1..]);
        let exact = self.exact.get(name);
        exact.or_else(|| parents().find_map(|parent| self.below.get(parent))).or(self.default())
    }

    /// Whose what goes wrong before it is known whose it is.
    pub(crate) fn blamed(&self) -> Option<&Arc<Service>> {
        self.default.as_ref().map(|goal| &goal.service).or(self.services.first())
    }
}

/// All services of a configuration.
#[derive(Debug, Default)]
pub(crate) struct Services(BTreeMap<u16, Arc<Port>>);

impl Services {
    /// Those of `config`; what was there `before` under the same name goes on counting.
    pub(crate) fn new<'a>(config: &ProxyConfig, before: impl Iterator<Item = &'a Arc<Service>>) -> Self {
        let known: HashMap<_, _> = before.map(|service| (&service.described.name, &service.stats)).collect();
        let mut ports: BTreeMap<u16, Vec<Arc<Service>>> = BTreeMap::new();
        for described in &config.tcp {
            let stats = known.get(&described.name).map(|stats| Arc::clone(stats)).unwrap_or_default();
            let service = Arc::new(Service { described: described.clone(), stats });
            ports.entry(described.port).or_default().push(service);
        }
        Services(ports.into_iter().map(|(port, services)| (port, Arc::new(Port::new(services)))).collect())
    }

    /// What is at `port`.
    pub(crate) fn at(&self, port: u16) -> Option<&Arc<Port>> {
        self.0.get(&port)
    }

    /// The ports.
    pub(crate) fn ports(&self) -> impl Iterator<Item = u16> {
        self.0.keys().copied()
    }

    /// Those of them that the balancer opens itself.
    pub(crate) fn ports_to_open(&self) -> impl Iterator<Item = u16> {
        let is_ours = |service: &Arc<Service>| !service.described.forwarding.is_in_kernel();
        self.0.iter().filter(move |(_, port)| port.services.iter().all(is_ours)).map(|(port, _)| *port)
    }

    /// Every service, by port.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.0.values().flat_map(|port| &port.services)
    }
}

#[cfg(test)]
mod tests {
    use wire::tcp::SniRoute;

    use super::*;

    fn service(name: &str, port: u16, pool: Option<&str>, names: &[(&[&str], &str)]) -> TcpService {
        let route = |(names, pool): &(&[&str], &str)| SniRoute {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            pool: (*pool).into(),
        };
        TcpService {
            pool: pool.map(PoolName::from),
            sni: names.iter().map(route).collect(),
            ..TcpService::new(name.into(), port)
        }
    }

    fn services(tcp: Vec<TcpService>, before: &Services) -> Services {
        Services::new(&ProxyConfig { tcp, ..ProxyConfig::default() }, before.all())
    }

    #[test]
    fn the_name_decides_and_the_nearest_one_counts() {
        let names: &[(&[&str], &str)] =
            &[(&["db.example.org", "*.Example.org"], "all"), (&["*.deep.example.org"], "deep")];
        let made = services(
            vec![service("a", 1, None, names), service("b", 1, Some("rest"), &[])],
            &Services::default(),
        );
        let port = made.at(1).expect("a port");
        assert!(port.has_names() && !port.has_proxy());
        for (name, pool) in [
            ("db.example.org", "all"),
            ("x.example.org", "all"),
            ("x.y.example.org", "all"),
            ("x.deep.example.org", "deep"),
            ("deep.example.org", "all"),
            ("example.org", "rest"),
            ("xexample.org", "rest"),
            ("org", "rest"),
        ] {
            assert_eq!(port.named(name).expect(name).pool.as_str(), pool, "{name}");
        }
        let alone = services(vec![service("a", 1, None, names)], &Services::default());
        let port = alone.at(1).expect("a port");
        assert!(port.named("elsewhere").is_none());
        assert_eq!(port.blamed().expect("one").described.name.as_str(), "a");
    }

    #[test]
    fn what_was_counted_stays_with_the_name() {
        let first = services(vec![service("a", 1, Some("p"), &[])], &Services::default());
        let second = services(vec![service("a", 2, Some("q"), &[]), service("b", 1, Some("p"), &[])], &first);
        let at = |services: &Services, port| services.at(port).expect("a port").services[0].clone();
        assert!(at(&second, 2).is(&at(&first, 1)));
        assert!(!at(&second, 1).is(&at(&first, 1)));
    }
}
