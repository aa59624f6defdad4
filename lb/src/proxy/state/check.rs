//! Refuses documents that cannot be used, naming the field.

use std::collections::HashSet;

use wire::checks::{Ask, HttpAsk};
use wire::proxy_config::{PoolPolicy, Protocol, ProxyConfig};
use wire::upstreams::{Upstream, UpstreamSet};
use wire::{Generation, MAX_COUNT, Problem};

use super::super::{tls, upstream_tls};
pub(crate) use super::check_actions::MAX_PAGE;
pub(crate) use super::check_routes::pools_exist;
pub(crate) use super::check_tcp::ports_are_free;
use super::{check_actions, check_balance, check_checks, check_clients, check_routes, check_tcp};

/// The most pools in a set.
const MAX_POOLS: usize = 1_000;
/// The most upstreams in a set, over all pools.
pub(super) const MAX_UPSTREAMS: usize = 50_000;
/// The most routes in a configuration.
const MAX_ROUTES: usize = 1_000;
/// The longest path, in bytes.
const MAX_PATH: usize = 4_096;

/// The most statuses for which others are asked.
const MAX_RETRY_STATUSES: usize = 32;
/// The longest name or id, in bytes.
pub(super) const MAX_NAME: usize = 200;
/// The largest weight.
pub(super) const MAX_WEIGHT: u32 = 1_000_000;
/// The longest time a policy may name, in milliseconds: a day.
pub(super) const MAX_MILLIS: u64 = 86_400_000;

/// The most requests that may wait for an upstream of one pool.
const MAX_HELD: u32 = 1_000_000;

pub(super) type Checked = Result<(), Problem>;

/// Whether `set` can be used.
///
/// # Errors
///
/// A problem of 400 that names the first field that cannot.
pub(crate) fn upstreams(set: &UpstreamSet) -> Checked {
    is_generation(set.generation)?;
    at_most(set.pools.len(), MAX_POOLS, "pools")?;
    at_most(set.pools.values().map(Vec::len).sum(), MAX_UPSTREAMS, "pools")?;
    let mut ids = HashSet::new();
    for (name, members) in &set.pools {
        is_name(name.as_str(), "pools")?;
        for (index, described) in members.iter().enumerate() {
            let field = |field: &str| format!("pools.{name}[{index}].{field}");
            upstream(described).map_err(|(named, detail)| Problem::bad_parameter(&field(named), detail))?;
            if !ids.insert(&described.id) {
                let detail = format!("another upstream has the id {}", described.id);
                return Err(Problem::bad_parameter(&field("id"), detail));
            }
        }
    }
    Ok(())
}

/// Whether `upstream` can be used, whatever others there are.
///
/// # Errors
///
/// The name of the first field that cannot, and why.
pub(super) fn upstream(upstream: &Upstream) -> Result<(), (&'static str, String)> {
    let Upstream { id, address, port, weight, zone, backup: _, state: _, checked_elsewhere: _ } = upstream;
    if !fits_as_name(id.as_str()) {
        return Err(("id", not_a_name(id.as_str())));
    }
    if *port == 0 {
        return Err(("port", "expected 1 to 65535".to_owned()));
    }
    if !(1..=MAX_WEIGHT).contains(weight) {
        return Err(("weight", format!("expected 1 to {MAX_WEIGHT}")));
    }
    if zone.as_str().len() > MAX_NAME {
        return Err(("zone", format!("expected a name of at most {MAX_NAME} bytes")));
    }
    if address.is_unspecified() || address.is_multicast() {
        return Err(("address", "expected the address of a machine".to_owned()));
    }
    Ok(())
}

/// The same, for who does not want to know why.
pub(super) fn is_usable(described: &Upstream) -> bool {
    upstream(described).is_ok()
}

/// Whether `config` can be used.
///
/// # Errors
///
/// As [`upstreams`].
pub(crate) fn config(config: &ProxyConfig) -> Checked {
    let ProxyConfig {
        generation,
        routes,
        pools,
        error_pages,
        certificates: _,
        challenge_certificates: _,
        ticket_keys: _,
        trusted_proxies,
        client_from: _,
        forwarded: _,
        allow,
        deny,
        rate_limits,
        tcp: _,
        primaries,
    } = config;
    is_generation(*generation)?;
    at_most(routes.len(), MAX_ROUTES, "routes")?;
    at_most(pools.len(), MAX_POOLS, "pools")?;
    let mut names = HashSet::new();
    for (index, route) in routes.iter().enumerate() {
        let (name, field) = (&route.name, format!("routes[{index}].name"));
        is_name(name, &field)?;
        ensure(names.insert(name), &field, || format!("another route has the name {name}"))?;
        check_routes::route(route, &format!("routes[{index}]"))?;
        for pool in route.pools() {
            let is_shared = pools.get(pool).is_none_or(|policy| !policy.primary_only);
            ensure(is_shared, &format!("routes[{index}].pool"), || {
                format!(
                    "the pool {pool} has `primary_only`, which is for TCP services: expected another pool"
                )
            })?;
        }
    }
    check_actions::pages(error_pages, "error_pages")?;
    check_clients::networks(trusted_proxies, "trusted_proxies")?;
    check_clients::limits(allow, deny, rate_limits, "")?;
    at_most(primaries.len(), MAX_POOLS, "primaries")?;
    for (pool, primary) in primaries {
        is_name(pool.as_str(), "primaries")?;
        is_name(primary.as_str(), &format!("primaries.{pool}"))?;
    }
    for (name, policy) in pools {
        is_name(name.as_str(), "pools")?;
        self::policy(policy, &format!("pools.{name}"))?;
    }
    check_tcp::services(config)?;
    tls::check(config)
}

fn policy(policy: &PoolPolicy, place: &str) -> Checked {
    let PoolPolicy {
        connect_timeout_ms,
        first_byte_min_ms,
        first_byte_max_ms,
        first_byte_cold_ms,
        request_timeout_ms,
        max_tries,
        retry_budget_ratio,
        retry_budget_per_second,
        retry_statuses,
        hedge_ratio,
        hold_ms,
        hold_requests,
        reuse_unrepeatable: _,
        eject_after,
        eject_min_ms,
        eject_max_ms,
        check,
        drain_ms,
        balance: _,
        outlier: _,
        upstream_limits: _,
        primary_only,
        protocol,
        tls,
        proxy_protocol,
    } = policy;
    for (name, millis) in [
        ("connect_timeout_ms", connect_timeout_ms),
        ("first_byte_min_ms", first_byte_min_ms),
        ("first_byte_max_ms", first_byte_max_ms),
        ("first_byte_cold_ms", first_byte_cold_ms),
        ("request_timeout_ms", request_timeout_ms),
        ("eject_min_ms", eject_min_ms),
        ("eject_max_ms", eject_max_ms),
    ] {
        ensure((1..=MAX_MILLIS).contains(millis), &format!("{place}.{name}"), || {
            format!("expected 1 to {MAX_MILLIS} milliseconds")
        })?;
    }
    for (name, millis) in [("hold_ms", hold_ms), ("drain_ms", drain_ms)] {
        ensure(*millis <= MAX_MILLIS, &format!("{place}.{name}"), || {
            format!("expected 0 to {MAX_MILLIS} milliseconds")
        })?;
    }
    ensure(*hold_requests <= MAX_HELD, &format!("{place}.hold_requests"), || {
        format!("expected 0 to {MAX_HELD}")
    })?;
    for (name, lower, upper) in [
        ("first_byte_min_ms", first_byte_min_ms, first_byte_max_ms),
        ("eject_min_ms", eject_min_ms, eject_max_ms),
    ] {
        ensure(lower <= upper, &format!("{place}.{name}"), || format!("is above the maximum, {upper}"))?;
    }
    for (name, count) in [("max_tries", max_tries), ("eject_after", eject_after)] {
        ensure((1..=100).contains(count), &format!("{place}.{name}"), || "expected 1 to 100".to_owned())?;
    }
    for (name, value, most) in [
        ("retry_budget_ratio", retry_budget_ratio, 10.0),
        ("hedge_ratio", hedge_ratio, 1.0),
        ("retry_budget_per_second", retry_budget_per_second, 1_000_000.0),
    ] {
        ensure((0.0..=most).contains(value), &format!("{place}.{name}"), || format!("expected 0 to {most}"))?;
    }
    let field = format!("{place}.retry_statuses");
    at_most(retry_statuses.len(), MAX_RETRY_STATUSES, &field)?;
    for status in retry_statuses {
        ensure((400..=599).contains(status), &field, || format!("expected 400 to 599, found {status}"))?;
    }
    let default = HttpAsk::default();
    let is_spoken = match &check.ask {
        Ask::Http(ask) => {
            *protocol == Protocol::Http1 || check.port.is_some() || ask.tls.is_some() || *ask == default
        }
        Ask::Tcp(_) | Ask::Grpc(_) | Ask::Mysql(_) | Ask::Postgres(_) | Ask::Redis(_) => true,
    };
    ensure(is_spoken, &format!("{place}.check.ask"), || {
        "asks by HTTP/1.1, which is not spoken there: expected `tcp` or `grpc`, or a `port` of its own"
            .to_owned()
    })?;
    let field = format!("{place}.protocol");
    ensure(tls.is_none() || *protocol != Protocol::H2c, &field, || {
        "is spoken over plain connections: expected no `tls`, or `h2`".to_owned()
    })?;
    ensure(tls.is_some() || *protocol != Protocol::H2, &field, || {
        "is spoken over TLS: expected a `tls`, or `h2c`".to_owned()
    })?;
    ensure(proxy_protocol.is_none() || !protocol.is_http2(), &format!("{place}.proxy_protocol"), || {
        "is for one client, and connections of HTTP/2 are shared by many: expected `http1`".to_owned()
    })?;
    if let Some(Err(unusable)) = tls.as_ref().map(upstream_tls::check) {
        return Err(Problem::bad_parameter(&format!("{place}.tls.{}", unusable.field), unusable.message));
    }
    ensure(!primary_only || check.active, &format!("{place}.check.active"), || {
        "only checks say who can be the primary of a pool with `primary_only`: expected true".to_owned()
    })?;
    check_balance::policy(policy, place)?;
    check_checks::check(check, &format!("{place}.check"))
}

/// One that could not be followed by a higher one would be the last that is ever taken.
pub(super) fn is_generation(generation: Generation) -> Checked {
    ensure(generation <= MAX_COUNT, "generation", || format!("expected at most {MAX_COUNT}"))
}

pub(super) fn is_name(name: &str, field: &str) -> Checked {
    ensure(fits_as_name(name), field, || not_a_name(name))
}

fn fits_as_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control)
}

fn not_a_name(name: &str) -> String {
    format!("expected a name of 1 to {MAX_NAME} bytes, found {name:?}")
}

/// A path is written into requests as it is: nothing in it may end a line or a word.
pub(super) fn is_path(path: &str, field: &str) -> Checked {
    let fits = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    ensure(path.len() <= MAX_PATH, field, || format!("expected at most {MAX_PATH} bytes"))?;
    ensure(fits, field, || format!("expected a path that begins with a slash, found {path:?}"))
}

pub(super) fn at_most(count: usize, most: usize, field: &str) -> Checked {
    ensure(count <= most, field, || format!("{count} are more than the {most} allowed"))
}

pub(super) fn ensure(holds: bool, field: &str, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Problem::bad_parameter(field, detail())) }
}
