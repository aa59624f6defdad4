//! Services of TCP: which words are theirs, which are of HTTP only, and what the balancer is told of them.

use std::collections::BTreeSet;

use wire::balancing::HashKey;
use wire::service::{ServicePolicy, ServiceProtocol, ServiceSpec};
use wire::tcp::{Forwarding, SniRoute, TcpService};

use super::{Fit, MAX_MILLIS, Service, ensure, routes};
use crate::config::{LB_ADMIN_PORT, LB_CHANGES_PORT};

/// Where the balancer takes requests unless it is told otherwise.
const HTTP_PORTS: [u16; 2] = [80, 443];

/// The most names that clients of a service may ask for, and the most networks of proxies.
const MAX_NAMES: usize = 100;
const MAX_TRUSTED: usize = 1_000;

/// Refuses what is said of the other protocol, and what two services would have to share.
pub(super) fn check(spec: &ServiceSpec, others: &[Service]) -> Fit {
    match spec.protocol {
        ServiceProtocol::Http => http(spec),
        ServiceProtocol::Tcp => tcp(spec, others),
    }
}

fn http(spec: &ServiceSpec) -> Fit {
    for (field, is_given) in [
        ("listen", spec.listen.is_some()),
        ("sni", !spec.sni.is_empty()),
        ("proxy_protocol", spec.proxy_protocol.is_some()),
        ("accept_proxy_protocol", spec.accept_proxy_protocol),
        ("trusted_proxies", !spec.trusted_proxies.is_empty()),
        ("idle_timeout_ms", spec.idle_timeout_ms.is_some()),
        ("half_close_timeout_ms", spec.half_close_timeout_ms.is_some()),
        ("primary_only", spec.primary_only),
        ("forwarding", spec.forwarding != Forwarding::Proxy),
    ] {
        ensure(!is_given, field, || "is for services with `protocol = \"tcp\"`".to_owned())?;
    }
    Ok(())
}

fn tcp(spec: &ServiceSpec, others: &[Service]) -> Fit {
    let ServicePolicy {
        algorithm: _,
        hash_key,
        slow_start_ms: _,
        request_timeout_ms,
        max_tries: _,
        hold_ms: _,
        hold_requests: _,
        max_requests: _,
        max_connections: _,
        max_pending,
        drain_ms: _,
    } = &spec.policy;
    for (field, is_given) in [
        ("route", !spec.routes.is_empty()),
        ("error_pages", !spec.error_pages.is_empty()),
        ("policy.request_timeout_ms", request_timeout_ms.is_some()),
        ("policy.max_pending", max_pending.is_some()),
        ("policy.hash_key", hash_key.as_ref().is_some_and(|key| *key != HashKey::Client)),
    ] {
        ensure(!is_given, field, || {
            "is about requests of HTTP, and this is a service with `protocol = \"tcp\"`".to_owned()
        })?;
    }
    let Some(listen) = spec.listen else {
        return Err(super::Misfit::new(
            "listen",
            "`listen` is missing: at which port of the public address do clients connect?",
        ));
    };
    let is_free =
        listen != 0 && !HTTP_PORTS.contains(&listen) && ![LB_ADMIN_PORT, LB_CHANGES_PORT].contains(&listen);
    ensure(is_free, "listen", || {
        format!(
            "expected a port from 1 to 65535 that is none of the balancer's own (80, 443, {LB_ADMIN_PORT}, \
             {LB_CHANGES_PORT})"
        )
    })?;
    ensure(spec.sni.len() <= MAX_NAMES, "sni", || format!("expected at most {MAX_NAMES} names"))?;
    let mut names = BTreeSet::new();
    for (index, name) in spec.sni.iter().enumerate() {
        let field = format!("sni[{index}]");
        routes::is_host(name, &field)?;
        ensure(names.insert(name), &field, || "named twice".to_owned())?;
    }
    ensure(spec.trusted_proxies.is_empty() || spec.accept_proxy_protocol, "trusted_proxies", || {
        "says nothing without `accept_proxy_protocol`".to_owned()
    })?;
    ensure(spec.trusted_proxies.len() <= MAX_TRUSTED, "trusted_proxies", || {
        format!("expected at most {MAX_TRUSTED} networks")
    })?;
    for (field, millis) in
        [("idle_timeout_ms", spec.idle_timeout_ms), ("half_close_timeout_ms", spec.half_close_timeout_ms)]
    {
        let fits = millis.is_none_or(|millis| (1..=MAX_MILLIS).contains(&millis));
        ensure(fits, field, || format!("expected 1 to {MAX_MILLIS} milliseconds"))?;
    }
    if spec.forwarding.is_in_kernel() {
        for_kernel(spec)?;
    }
    let there = others.iter().filter(|other| other.is_tcp() && other.spec.listen == Some(listen));
    there.map(|other| &other.spec).try_for_each(|other| beside(spec, other))
}

/// What the kernel of a balancer does not know of connections whose packets it passes on.
fn for_kernel(spec: &ServiceSpec) -> Fit {
    for (field, is_given) in [
        ("sni", !spec.sni.is_empty()),
        ("proxy_protocol", spec.proxy_protocol.is_some()),
        ("accept_proxy_protocol", spec.accept_proxy_protocol),
        ("half_close_timeout_ms", spec.half_close_timeout_ms.is_some()),
    ] {
        ensure(!is_given, field, || {
            "is beyond the kernel, which passes on packets and knows no connections: leave it out, or `forwarding` = \
             \"proxy\""
                .to_owned()
        })?;
    }
    let idle_ms = spec.idle_timeout_ms.unwrap_or(TcpService::IDLE_TIMEOUT_MS);
    ensure(idle_ms >= TcpService::MIN_KERNEL_IDLE_MS, "idle_timeout_ms", || {
        format!("expected {} at least: the kernel counts whole seconds", TcpService::MIN_KERNEL_IDLE_MS)
    })
}

/// Whether `spec` can share its port with `other`.
fn beside(spec: &ServiceSpec, other: &ServiceSpec) -> Fit {
    let name = &other.name;
    ensure(!spec.forwarding.is_in_kernel() && !other.forwarding.is_in_kernel(), "listen", || {
        format!("is the port of the service `{name}`: one that the kernel forwards has a port of its own")
    })?;
    ensure(!spec.sni.is_empty() || !other.sni.is_empty(), "listen", || {
        format!(
            "the service `{name}` has this port: expected another one, or names (`sni`) to tell them apart"
        )
    })?;
    if let Some(index) = spec.sni.iter().position(|own| other.sni.contains(own)) {
        let field = format!("sni[{index}]");
        return Err(super::Misfit::new(
            field,
            format!("is a name of the service `{name}` at the same port already"),
        ));
    }
    for (field, is_alike) in [
        ("accept_proxy_protocol", spec.accept_proxy_protocol == other.accept_proxy_protocol),
        ("trusted_proxies", spec.trusted_proxies == other.trusted_proxies),
    ] {
        ensure(is_alike, field, || {
            format!("expected the same as of the service `{name}`, which has the same port")
        })?;
    }
    Ok(())
}

/// Whether `spec` listens at one of `ports`, where the balancer takes requests.
///
/// # Errors
///
/// That it does.
pub(super) fn collides(spec: &ServiceSpec, ports: &BTreeSet<u16>) -> Fit {
    let is_taken = spec.listen.is_some_and(|listen| ports.contains(&listen));
    ensure(!is_taken, "listen", || "is the port of a [[listener]]: expected another one".to_owned())
}

/// The TCP services of the balancer.
pub fn of(services: &[Service]) -> Vec<TcpService> {
    let tcp = services.iter().filter(|service| service.is_tcp());
    tcp.filter_map(|service| one(&service.spec)).collect()
}

fn one(spec: &ServiceSpec) -> Option<TcpService> {
    let pool = spec.name.clone();
    let route = SniRoute { names: spec.sni.clone(), pool: pool.clone() };
    let is_named = !spec.sni.is_empty();
    let mut service = TcpService {
        pool: (!is_named).then(|| pool.clone()),
        sni: is_named.then_some(route).into_iter().collect(),
        proxy_protocol_in: spec.accept_proxy_protocol,
        trusted: spec.trusted_proxies.clone(),
        proxy_protocol_out: spec.proxy_protocol,
        forwarding: spec.forwarding,
        ..TcpService::new(pool, spec.listen?)
    };
    super::set(&mut service.idle_timeout_ms, spec.idle_timeout_ms);
    super::set(&mut service.half_close_timeout_ms, spec.half_close_timeout_ms);
    Some(service)
}
