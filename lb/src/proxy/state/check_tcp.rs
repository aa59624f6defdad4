//! Refuses TCP services that cannot be used, naming the field.
//!
//! Services that share a port are told apart by the names their clients ask for; whatever is said of the port, before it
//! is known whose a connection is, they have to say alike.

use std::collections::{BTreeMap, HashMap, HashSet};

use wire::PoolName;
use wire::checks::{Ask, HttpAsk};
use wire::proxy_config::{PoolPolicy, ProxyConfig};
use wire::tcp::{SniRoute, TcpService};

use super::check::{Checked, MAX_MILLIS, at_most, ensure, is_name};
use super::{check_clients, check_routes};

/// The most services. Each port is opened once by every worker.
const MAX_SERVICES: usize = 256;

/// The most `sni` entries of a service.
const MAX_SNI: usize = 100;

/// The most names of one of them.
const MAX_NAMES: usize = 1_000;

/// The longest name a client can ask for (RFC 1035, section 2.3.4), with `*.` before it.
const MAX_SNI_NAME: usize = 255;

/// The most connections a service may be given.
const MAX_CONNECTIONS: u32 = 1_000_000;

/// Whether the services of `config` can be used.
///
/// # Errors
///
/// A problem of 400 that names the first field that cannot.
pub(super) fn services(config: &ProxyConfig) -> Checked {
    at_most(config.tcp.len(), MAX_SERVICES, "tcp")?;
    let mut names = HashSet::new();
    let mut ports = HashMap::new();
    for (index, service) in config.tcp.iter().enumerate() {
        let place = format!("tcp[{index}]");
        let field = format!("{place}.name");
        is_name(service.name.as_str(), &field)?;
        ensure(names.insert(&service.name), &field, || {
            format!("another TCP service has the name {}", service.name)
        })?;
        self::service(service, &place)?;
        let port = ports.entry(service.port).or_insert_with(|| Port::new(service));
        port.add(service, &place)?;
        for (pool, field) in named(service, &place) {
            let policy = config.pools.get(pool);
            policy.map_or(Ok(()), |policy| is_plain(pool, policy, &field))?;
        }
    }
    Ok(())
}

/// The pools of the service at `place`, and where it names them.
pub(super) fn named<'a>(
    service: &'a TcpService,
    place: &str,
) -> impl Iterator<Item = (&'a PoolName, String)> {
    let default = service.pool.iter().map(move |pool| (pool, format!("{place}.pool")));
    let of_sni = service.sni.iter().enumerate();
    default.chain(of_sni.map(move |(index, route)| (&route.pool, format!("{place}.sni[{index}].pool"))))
}

/// Whether the ports that `config` wants are not among those `taken` by something else, each with its owner.
///
/// # Errors
///
/// As [`services`].
pub(crate) fn ports_are_free(config: &ProxyConfig, taken: &BTreeMap<u16, String>) -> Checked {
    config.tcp.iter().enumerate().try_for_each(|(index, service)| {
        let owner = taken.get(&service.port);
        ensure(owner.is_none(), &format!("tcp[{index}].port"), || {
            let owner = owner.map_or("", String::as_str);
            format!("{} is taken by {owner}: expected another port", service.port)
        })
    })
}

fn service(service: &TcpService, place: &str) -> Checked {
    let TcpService {
        name: _,
        port,
        pool,
        sni,
        proxy_protocol_in,
        trusted,
        proxy_protocol_out: _,
        connect_timeout_ms,
        idle_timeout_ms,
        half_close_timeout_ms,
        max_connections,
        forwarding,
    } = service;
    let field = |field: &str| format!("{place}.{field}");
    ensure(*port != 0, &field("port"), || "expected 1 to 65535".to_owned())?;
    ensure(pool.is_some() || !sni.is_empty(), &field("pool"), || {
        "is missing: expected a pool, or `sni` with names that lead to one".to_owned()
    })?;
    if let Some(pool) = pool {
        is_name(pool.as_str(), &field("pool"))?;
    }
    at_most(sni.len(), MAX_SNI, &field("sni"))?;
    for (index, SniRoute { names, pool }) in sni.iter().enumerate() {
        let field = |field: &str| format!("{place}.sni[{index}].{field}");
        is_name(pool.as_str(), &field("pool"))?;
        at_most(names.len(), MAX_NAMES, &field("names"))?;
        ensure(!names.is_empty(), &field("names"), || {
            "expected a host name, such as \"db.example.org\"; a `pool` of the service takes what has none"
                .to_owned()
        })?;
        for (index, name) in names.iter().enumerate() {
            is_sni_name(name, &format!("{}[{index}]", field("names")))?;
        }
    }
    ensure(trusted.is_empty() || *proxy_protocol_in, &field("trusted"), || {
        "says nothing without `proxy_protocol_in`".to_owned()
    })?;
    check_clients::networks(trusted, &field("trusted"))?;
    for (name, millis) in [
        ("connect_timeout_ms", connect_timeout_ms.as_ref()),
        ("idle_timeout_ms", Some(idle_timeout_ms)),
        ("half_close_timeout_ms", Some(half_close_timeout_ms)),
    ] {
        ensure(millis.is_none_or(|millis| (1..=MAX_MILLIS).contains(millis)), &field(name), || {
            format!("expected 1 to {MAX_MILLIS} milliseconds")
        })?;
    }
    let fits = max_connections.is_none_or(|most| (1..=MAX_CONNECTIONS).contains(&most));
    ensure(fits, &field("max_connections"), || format!("expected 1 to {MAX_CONNECTIONS}"))?;
    if forwarding.is_in_kernel() { is_for_kernel(service, place) } else { Ok(()) }
}

/// What only a balancer can do that takes the connections itself is not said of one that the kernel forwards.
fn is_for_kernel(service: &TcpService, place: &str) -> Checked {
    for (name, is_given) in [
        ("sni", !service.sni.is_empty()),
        ("proxy_protocol_in", service.proxy_protocol_in),
        ("proxy_protocol_out", service.proxy_protocol_out.is_some()),
        ("connect_timeout_ms", service.connect_timeout_ms.is_some()),
        ("half_close_timeout_ms", service.half_close_timeout_ms != TcpService::HALF_CLOSE_TIMEOUT_MS),
        ("max_connections", service.max_connections.is_some()),
    ] {
        ensure(!is_given, &format!("{place}.{name}"), || {
            "is beyond the kernel, which passes on packets and knows no connections: leave it out, or `forwarding` = \
             \"proxy\""
                .to_owned()
        })?;
    }
    let least = TcpService::MIN_KERNEL_IDLE_MS;
    ensure(service.idle_timeout_ms >= least, &format!("{place}.idle_timeout_ms"), || {
        format!("expected {least} at least: the kernel counts whole seconds")
    })
}

/// A name that clients can ask for (RFC 6066, section 3): of DNS, and no address.
fn is_sni_name(name: &str, field: &str) -> Checked {
    check_routes::is_host(name, field)?;
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_dns = name.len() <= MAX_SNI_NAME
        && rustls::pki_types::DnsName::try_from(host).is_ok()
        && host.parse::<std::net::IpAddr>().is_err();
    ensure(is_dns, field, || {
        format!(
            "expected a name of DNS, such as \"db.example.org\" or \"*.example.org\": no client asks for {name:?}"
        )
    })
}

/// Connections are passed on as they come: what a policy would have put around them cannot be had.
fn is_plain(pool: &PoolName, policy: &PoolPolicy, field: &str) -> Checked {
    ensure(policy.tls.is_none() && !policy.protocol.is_http2(), field, || {
        format!(
            "the pool {pool} speaks TLS or HTTP/2 with its upstreams, and a TCP service passes on what clients send: \
             expected a pool of its own"
        )
    })?;
    ensure(policy.proxy_protocol.is_none(), field, || {
        format!(
            "the pool {pool} has a `proxy_protocol`: expected `proxy_protocol_out` of the service instead"
        )
    })
}

/// What the services of a port have in common, and what only one of them may have.
struct Port<'a> {
    first: &'a TcpService,
    default: Option<&'a TcpService>,
    names: HashMap<String, &'a TcpService>,
}

impl<'a> Port<'a> {
    fn new(first: &'a TcpService) -> Self {
        Port { first, default: None, names: HashMap::new() }
    }

    fn add(&mut self, service: &'a TcpService, place: &str) -> Checked {
        let field = |field: &str| format!("{place}.{field}");
        if service.pool.is_some() {
            let before = self.default.replace(service);
            ensure(before.is_none(), &field("port"), || {
                let name = before.map_or("", |service| service.name.as_str());
                format!(
                    "{} is the port of {name}, which takes every connection, too: expected another port, or `sni` \
                     names without a `pool`",
                    service.port
                )
            })?;
        }
        for (index, name) in service.sni.iter().flat_map(|route| &route.names).enumerate() {
            let before = self.names.insert(name.to_ascii_lowercase(), service);
            ensure(before.is_none(), &field("sni"), || {
                let owner = before.map_or("", |service| service.name.as_str());
                format!(
                    "the name {name} (number {}) is one of {owner} at port {} already",
                    index + 1,
                    service.port
                )
            })?;
        }
        let is_alone = std::ptr::eq(service, self.first)
            || !(service.forwarding.is_in_kernel() || self.first.forwarding.is_in_kernel());
        ensure(is_alone, &field("port"), || {
            format!(
                "{} is the port of {}: a service that the kernel forwards has a port of its own",
                service.port, self.first.name
            )
        })?;
        let alike = service.proxy_protocol_in == self.first.proxy_protocol_in;
        ensure(alike, &field("proxy_protocol_in"), || self.not_alike())?;
        ensure(service.trusted == self.first.trusted, &field("trusted"), || self.not_alike())
    }

    fn not_alike(&self) -> String {
        format!("expected the same as of {}, which has the same port", self.first.name)
    }
}

/// How upstreams of a pool that `service` gives connections are asked unless its `policy` says otherwise: a connection,
/// where HTTP is what would be asked by default; told of nobody, where they expect to be told of clients; and all the time,
/// where the kernel forwards.
pub(super) fn ask(policy: &mut PoolPolicy, service: &TcpService) {
    policy.proxy_protocol = policy.proxy_protocol.or(service.proxy_protocol_out);
    if policy.check.ask == Ask::Http(HttpAsk::default()) && policy.check.port.is_none() {
        policy.check.ask = Ask::Tcp(wire::checks::TcpAsk::default());
    }
    // Where the kernel connects, nobody else sees that an upstream is dead.
    policy.check.active |= service.forwarding.is_in_kernel();
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::check;
    use super::*;

    fn config(tcp: Value) -> ProxyConfig {
        let pools = json!({
            "tls": {"tls": {"verify": false}}, "h2c": {"protocol": "h2c"}, "proxied": {"proxy_protocol": "v1"}, "db": {}
        });
        serde_json::from_value(json!({"generation": 1, "routes": [], "pools": pools, "tcp": tcp}))
            .expect("a configuration")
    }

    fn try_all(tcp: Value) -> Checked {
        check::config(&config(tcp))
    }

    fn with(more: Value) -> Value {
        let mut service = json!({"name": "db", "port": 3306, "pool": "db"});
        let (Some(service_fields), Value::Object(more)) = (service.as_object_mut(), more) else {
            panic!("objects")
        };
        service_fields.extend(more);
        service_fields.retain(|_, value| !value.is_null());
        service
    }

    #[test]
    fn services_share_a_port_by_their_names() {
        let sni = |names: Value| json!([{"names": names, "pool": "db"}]);
        try_all(json!([
            with(json!({})),
            with(json!({"name": "a", "pool": null, "sni": sni(json!(["a.example.org", "*.example.org"]))})),
            with(json!({"name": "b", "pool": null, "sni": sni(json!(["b.example.org"]))})),
            with(json!({"name": "c", "port": 5432})),
        ]))
        .expect("told apart");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let sni = |names: Value| json!([{"names": names, "pool": "db"}]);
        let cases = [
            (json!([with(json!({"port": 0}))]), "tcp[0].port", "1 to 65535"),
            (json!([with(json!({"name": ""}))]), "tcp[0].name", "a name"),
            (json!([with(json!({"pool": null}))]), "tcp[0].pool", "is missing"),
            (json!([with(json!({"pool": ""}))]), "tcp[0].pool", "a name"),
            (json!([with(json!({})), with(json!({"port": 1}))]), "tcp[1].name", "another TCP service"),
            (json!([with(json!({})), with(json!({"name": "b"}))]), "tcp[1].port", "the port of db"),
            (json!([with(json!({"sni": sni(json!([]))}))]), "tcp[0].sni[0].names", "a host name"),
            (json!([with(json!({"sni": sni(json!(["*"]))}))]), "tcp[0].sni[0].names[0]", "host name"),
            (json!([with(json!({"sni": sni(json!(["10.0.0.1"]))}))]), "tcp[0].sni[0].names[0]", "of DNS"),
            (json!([with(json!({"sni": sni(json!(["a_b..c"]))}))]), "tcp[0].sni[0].names[0]", "of DNS"),
            (json!([with(json!({"sni": sni(json!(["a.b", "A.b"]))}))]), "tcp[0].sni", "one of db"),
            (json!([with(json!({"trusted": ["10.0.0.0/8"]}))]), "tcp[0].trusted", "proxy_protocol_in"),
            (json!([with(json!({"idle_timeout_ms": 0}))]), "tcp[0].idle_timeout_ms", "1 to 86400000"),
            (json!([with(json!({"half_close_timeout_ms": 0}))]), "tcp[0].half_close_timeout_ms", "1 to"),
            (json!([with(json!({"connect_timeout_ms": 0}))]), "tcp[0].connect_timeout_ms", "1 to"),
            (json!([with(json!({"max_connections": 0}))]), "tcp[0].max_connections", "1 to 1000000"),
            (
                json!([with(json!({"forwarding": "nftables", "sni": sni(json!(["a.b"]))}))]),
                "tcp[0].sni",
                "beyond the kernel",
            ),
            (
                json!([with(json!({"forwarding": "nftables", "proxy_protocol_in": true}))]),
                "tcp[0].proxy_protocol_in",
                "beyond the kernel",
            ),
            (
                json!([with(json!({"forwarding": "nftables-gateway", "proxy_protocol_out": "v2"}))]),
                "tcp[0].proxy_protocol_out",
                "beyond the kernel",
            ),
            (
                json!([with(json!({"forwarding": "nftables-dsr", "connect_timeout_ms": 5}))]),
                "tcp[0].connect_timeout_ms",
                "beyond the kernel",
            ),
            (
                json!([with(json!({"forwarding": "nftables", "half_close_timeout_ms": 5}))]),
                "tcp[0].half_close_timeout_ms",
                "beyond the kernel",
            ),
            (
                json!([with(json!({"forwarding": "nftables", "max_connections": 5}))]),
                "tcp[0].max_connections",
                "beyond the kernel",
            ),
            (
                json!([with(json!({"forwarding": "nftables", "idle_timeout_ms": 999}))]),
                "tcp[0].idle_timeout_ms",
                "1000 at least",
            ),
            (
                json!([
                    with(json!({"forwarding": "nftables"})),
                    with(json!({"name": "b", "pool": null, "sni": sni(json!(["b.c"]))}))
                ]),
                "tcp[1].port",
                "a port of its own",
            ),
            (json!([with(json!({"pool": "tls"}))]), "tcp[0].pool", "speaks TLS"),
            (json!([with(json!({"pool": "h2c"}))]), "tcp[0].pool", "HTTP/2"),
            (json!([with(json!({"pool": "proxied"}))]), "tcp[0].pool", "proxy_protocol_out"),
            (
                json!([
                    with(json!({"proxy_protocol_in": true})),
                    with(json!({"name": "b", "pool": null, "sni": sni(json!(["b.c"]))}))
                ]),
                "tcp[1].proxy_protocol_in",
                "the same as of db",
            ),
        ];
        for (tcp, field, detail) in cases {
            let problem = try_all(tcp.clone()).expect_err(field);
            assert_eq!(problem.parameter.as_deref(), Some(field), "{tcp}: {problem:?}");
            assert!(problem.detail.contains(detail), "{problem:?}");
        }
    }

    #[test]
    fn every_limit_can_be_reached_and_not_exceeded() {
        let names =
            |count: usize| (0..count).map(|index| format!("n{index}.example.org")).collect::<Vec<_>>();
        let entries = |count: usize| -> Value {
            (0..count).map(|index| json!({"names": [format!("n{index}.org")], "pool": "db"})).collect()
        };
        type Made<'a> = Box<dyn Fn(usize) -> Value + 'a>;
        let cases: Vec<(&str, usize, Made<'_>)> = vec![
            (
                "tcp",
                256,
                Box::new(|n| {
                    (0..n).map(|index| with(json!({"name": format!("{index}"), "port": index + 1}))).collect()
                }),
            ),
            ("tcp[0].sni", 100, Box::new(|n| json!([with(json!({"sni": entries(n)}))]))),
            (
                "tcp[0].sni[0].names",
                1_000,
                Box::new(|n| json!([with(json!({"sni": [{"names": names(n), "pool": "db"}]}))])),
            ),
            (
                "tcp[0].trusted",
                10_000,
                Box::new(|n| {
                    let trusted = vec!["10.0.0.0/8"; n];
                    json!([with(json!({"proxy_protocol_in": true, "trusted": trusted}))])
                }),
            ),
            ("tcp[0].max_connections", 1_000_000, Box::new(|n| json!([with(json!({"max_connections": n}))]))),
            (
                "tcp[0].idle_timeout_ms",
                86_400_000,
                Box::new(|n| json!([with(json!({"idle_timeout_ms": n}))])),
            ),
        ];
        for (field, most, made) in cases {
            try_all(made(most)).unwrap_or_else(|problem| panic!("{field} of {most}: {problem:?}"));
            let problem = try_all(made(most + 1)).expect_err(field);
            assert_eq!(problem.parameter.as_deref(), Some(field), "{problem:?}");
        }
    }

    #[test]
    fn a_port_that_has_an_owner_is_refused() {
        let taken = [(80, "listener 0.0.0.0:80".to_owned())].into();
        let problem = ports_are_free(&config(json!([with(json!({"port": 80}))])), &taken);
        let problem = problem.expect_err("taken");
        assert_eq!(problem.parameter.as_deref(), Some("tcp[0].port"));
        assert!(problem.detail.contains("listener 0.0.0.0:80"), "{problem:?}");
        ports_are_free(&config(json!([with(json!({}))])), &taken).expect("free");
    }
}
