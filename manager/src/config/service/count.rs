//! How many machines a service has, and where: `replicas`, `total` or `endpoints`, of which one is said.

use std::collections::BTreeSet;

use wire::placement::Spread;
use wire::service::ServiceSpec;

use super::{Fit, Misfit, ensure};
use crate::config::check_name;

/// The most machines of a service over all hosts.
pub const MAX_TOTAL: u32 = 10_000;

/// The most hosts that a service may name.
const MAX_HOSTS: usize = 1_000;

/// How many machines this host has of it at first: none where they are placed over all hosts, or where others keep its
/// servers.
pub(super) fn replicas(spec: &ServiceSpec) -> Result<u32, Misfit> {
    match (spec.replicas, spec.total, spec.endpoints.is_empty()) {
        (Some(replicas), None, true) => Ok(replicas),
        (None, Some(_), true) | (None, None, false) => Ok(0),
        (None, None, true) => Err(Misfit::new(
            "replicas",
            "missing field `replicas`: how many machines a host has at first; or `total`: how many all hosts have \
             together",
        )),
        (Some(_), Some(_), _) => Err(Misfit::new(
            "total",
            "`replicas` says how many each host has, `total` how many all have together: leave one of them out",
        )),
        (Some(_), None, false) => Err(not_ours("replicas")),
        (None, Some(_), false) => Err(not_ours("total")),
    }
}

fn not_ours(field: &str) -> Misfit {
    Misfit::new(field, format!("the servers of `endpoints` are not ours to make: leave `{field}` out"))
}

/// What is said of where machines are.
pub(super) fn placement(spec: &ServiceSpec) -> Fit {
    if let Some(total) = spec.total {
        ensure(total <= MAX_TOTAL, "total", || format!("expected 0 to {MAX_TOTAL}"))?;
    }
    for (field, given) in [("hosts", !spec.hosts.is_empty()), ("spread", spec.spread != Spread::default())] {
        ensure(spec.total.is_some() || !given, field, || {
            format!("`{field}` says where the machines of `total` are: say `total` instead of `replicas`")
        })?;
    }
    ensure(!spec.persistent || spec.replicas.is_some(), "persistent", || {
        "a machine that keeps its disk stays on its host: say `replicas`, how many each host has".to_owned()
    })?;
    ensure(spec.hosts.len() <= MAX_HOSTS, "hosts", || format!("expected at most {MAX_HOSTS}"))?;
    let mut known = BTreeSet::new();
    for (index, host) in spec.hosts.iter().enumerate() {
        let field = format!("hosts[{index}]");
        check_name(host.as_str()).map_err(|message| Misfit::new(&field, message))?;
        ensure(known.insert(host), &field, || "named twice".to_owned())?;
    }
    Ok(())
}
