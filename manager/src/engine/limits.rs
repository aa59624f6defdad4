//! What a peer's snapshot may be. A peer is believed about its own host, but whatever it says, this manager
//! keeps a bounded amount of it, and nothing that its own balancer would refuse: that would keep the whole
//! upstream set from being taken, this host's machines included.

use std::collections::BTreeSet;
use std::net::IpAddr;

use wire::autoscale::ScalingTold;
use wire::cluster::{LbView, MachineView};
use wire::placement::Total;
use wire::pools::MOST_ILL;
use wire::snapshot::{Endpoint, HostSnapshot};
use wire::{MAX_COUNT, Problem};

use super::MAX_PEERS;
use crate::config::service::{MAX_SERVICES, MAX_TOTAL};

/// The most endpoints of a host, and the most machines.
const MAX_MACHINES: usize = 10_000;
/// The most ranges of an address pool.
const MAX_RANGES: usize = 1_000;
/// The most virtual addresses of a balancer: there are so many virtual router ids for either family.
const MAX_VIPS: usize = 2 * 255;
/// The most metrics of a service.
const MAX_METRICS: usize = 16;
/// The most warnings of a host.
const MAX_WARNINGS: usize = 1_000;
/// The longest name or id, in bytes; the balancer's own limit.
const MAX_NAME: usize = 200;
/// The longest text for people, in bytes.
const MAX_TEXT: usize = 4_096;

/// Whether `snapshot` can be kept.
///
/// # Errors
///
/// A problem of 400 that names the first field that cannot.
pub(super) fn check(snapshot: &HostSnapshot) -> Result<(), Problem> {
    let HostSnapshot {
        host,
        address: _,
        address_pool,
        epoch,
        version,
        endpoints,
        machines,
        driver,
        desired: _,
        room: _,
        placed,
        totals,
        lb,
        warnings,
        peers,
        scaling,
        checks,
    } = snapshot;
    is_name(host.as_str(), || "host".to_owned())?;
    ensure(*epoch <= MAX_COUNT, "epoch", || format!("expected at most {MAX_COUNT}"))?;
    ensure(*version <= MAX_COUNT, "version", || format!("expected at most {MAX_COUNT}"))?;
    at_most(address_pool.len(), MAX_RANGES, "address_pool")?;
    for (index, range) in address_pool.iter().enumerate() {
        is_name(range, || format!("address_pool[{index}]"))?;
    }
    at_most(endpoints.len(), MAX_MACHINES, "endpoints")?;
    // Those of a manager are in order, and then there are no two of the same id if no neighbours have it.
    let in_order = endpoints.is_sorted_by(|one, next| one.id < next.id);
    let mut ids = BTreeSet::new();
    for (index, endpoint) in endpoints.iter().enumerate() {
        let field = |name: &str| format!("endpoints[{index}].{name}");
        is_endpoint(endpoint, &field)?;
        if !in_order && !ids.insert(&endpoint.id) {
            let detail = format!("another endpoint has the id {}", endpoint.id);
            return Err(Problem::bad_parameter(&field("id"), detail));
        }
    }
    at_most(machines.len(), MAX_MACHINES, "machines")?;
    for (index, machine) in machines.iter().enumerate() {
        is_machine(machine, &|name| format!("machines[{index}].{name}"))?;
    }
    is_text(driver, || "driver".to_owned())?;
    if let Some(LbView { id, address: _, generation: _, vips, decides: _, primaries }) = lb {
        is_name(id.as_str(), || "lb.id".to_owned())?;
        at_most(vips.len(), MAX_VIPS, "lb.vips")?;
        at_most(primaries.len(), MAX_SERVICES, "lb.primaries")?;
        for (pool, primary) in primaries {
            is_name(pool.as_str(), || "lb.primaries".to_owned())?;
            is_name(primary.as_str(), || format!("lb.primaries.{pool}"))?;
        }
    }
    at_most(placed.len(), MAX_SERVICES, "placed")?;
    for name in placed.keys() {
        is_name(name.as_str(), || "placed".to_owned())?;
    }
    at_most(totals.len(), MAX_SERVICES, "totals")?;
    for (name, Total { generation, count }) in totals {
        is_name(name.as_str(), || "totals".to_owned())?;
        ensure(*generation <= MAX_COUNT, "totals", || {
            format!("expected a generation of at most {MAX_COUNT}")
        })?;
        ensure(*count <= MAX_TOTAL, "totals", || format!("expected a count of at most {MAX_TOTAL}"))?;
    }
    at_most(warnings.len(), MAX_WARNINGS, "warnings")?;
    for (index, warning) in warnings.iter().enumerate() {
        is_text(warning, || format!("warnings[{index}]"))?;
    }
    at_most(peers.len(), MAX_PEERS, "peers")?;
    is_scaling(scaling)?;
    at_most(checks.len(), MAX_SERVICES, "checks")?;
    at_most(checks.values().map(BTreeSet::len).sum(), MOST_ILL, "checks")?;
    for (pool, ill) in checks {
        is_name(pool.as_str(), || "checks".to_owned())?;
        for id in ill {
            is_name(id.as_str(), || format!("checks.{pool}"))?;
        }
    }
    Ok(())
}

/// `text` as it may be told to a peer: a hypervisor's message can be of any length.
pub(super) fn shortened(text: &str) -> String {
    let ends = text.char_indices().map(|(at, character)| at + character.len_utf8());
    let fits = ends.take_while(|end| *end <= MAX_TEXT).last().unwrap_or(0);
    text[..fits].to_owned()
}

fn is_endpoint(endpoint: &Endpoint, field: &dyn Fn(&str) -> String) -> Result<(), Problem> {
    let Endpoint { id, service, address, port, state: _, backup: _ } = endpoint;
    is_name(id.as_str(), || field("id"))?;
    is_name(service.as_str(), || field("service"))?;
    if !is_host(*address) {
        return Err(Problem::bad_parameter(&field("address"), "expected the address of a machine"));
    }
    if *port == 0 {
        return Err(Problem::bad_parameter(&field("port"), "expected 1 to 65535"));
    }
    Ok(())
}

fn is_machine(machine: &MachineView, field: &dyn Fn(&str) -> String) -> Result<(), Problem> {
    is_name(machine.id.as_str(), || field("id"))?;
    is_name(machine.service.as_str(), || field("service"))?;
    is_text(&machine.reason, || field("reason"))?;
    machine.image.as_deref().map_or(Ok(()), |image| is_text(image, || field("image")))
}

fn is_scaling(scaling: &ScalingTold) -> Result<(), Problem> {
    let ScalingTold { services, decided, traffic } = scaling;
    at_most(services.len(), MAX_SERVICES, "scaling.services")?;
    for name in services {
        is_name(name.as_str(), || "scaling.services".to_owned())?;
    }
    at_most(decided.len(), MAX_SERVICES, "scaling.decided")?;
    for (name, view) in decided {
        let field = |what: &str| format!("scaling.decided.{what}");
        is_name(name.as_str(), || field("name"))?;
        is_name(view.decider.as_str(), || field("decider"))?;
        is_text(&view.reason, || field("reason"))?;
        at_most(view.metrics.len(), MAX_METRICS, "scaling.decided.metrics")?;
        if let Some(change) = &view.last_change {
            is_text(&change.reason, || field("last_change.reason"))?;
        }
    }
    let traffic = traffic.iter().flatten();
    at_most(traffic.clone().count(), MAX_MACHINES, "scaling.traffic")?;
    for (id, _) in traffic {
        is_name(id.as_str(), || "scaling.traffic".to_owned())?;
    }
    Ok(())
}

fn is_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

/// `field` names it, which is asked only when it does not fit: there are many of them.
fn is_name(name: &str, field: impl Fn() -> String) -> Result<(), Problem> {
    let has_control = || {
        let plain = name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        !plain && name.contains(char::is_control)
    };
    if !name.is_empty() && name.len() <= MAX_NAME && !has_control() {
        return Ok(());
    }
    let detail = format!("expected 1 to {MAX_NAME} bytes without control characters");
    Err(Problem::bad_parameter(&field(), detail))
}

fn is_text(text: &str, field: impl Fn() -> String) -> Result<(), Problem> {
    if text.len() <= MAX_TEXT {
        return Ok(());
    }
    let detail = format!("{} bytes are more than the {MAX_TEXT} allowed", text.len());
    Err(Problem::bad_parameter(&field(), detail))
}

fn at_most(count: usize, most: usize, field: &str) -> Result<(), Problem> {
    ensure(count <= most, field, || format!("{count} are more than the {most} allowed"))
}

fn ensure(holds: bool, field: &str, detail: impl FnOnce() -> String) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err(Problem::bad_parameter(field, detail())) }
}
