//! The `[[service]]` parts of the configuration, and what `/services` is given: the same checks for both.
//!
//! What cannot be used is refused with the field, as in a JSON document: `route[0].path`. For a file that is turned
//! into line and column ([`Source::error_in`]), for the API into a problem document.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use kit::config::{ConfigError, Source};
use wire::balancing::{Secret, UpstreamLimits};
use wire::proxy_config::PoolPolicy;
use wire::service::{ServicePolicy, ServiceProtocol, ServiceSpec};
use wire::{PoolName, Problem};

use super::hardware::{DEFAULT_MEMORY_MIB, Hardware, hardware_of};
use super::{LB, check_name};

mod autoscale;
mod checks;
mod count;
mod files;
mod probes;
mod rollout;
mod routes;
mod secrets;
mod standbys;
mod tcp;

pub use autoscale::Autoscale;
pub use count::MAX_TOTAL;
pub use files::{load_files, read_services};
pub use probes::{Liveness, Readiness};
pub use rollout::Pace;
pub use routes::of as routes_of;
pub use standbys::{Standbys, fits};
pub use tcp::of as tcp_of;

/// The most services of a host.
pub const MAX_SERVICES: usize = 200;

/// The most servers that somebody else keeps, of one service.
const MAX_ENDPOINTS: usize = 1_000;

/// The longest time of a policy, in milliseconds: a day, as for the balancer.
const MAX_MILLIS: u64 = 86_400_000;

/// The most requests or connections that a policy may name, as for the balancer.
const MAX_COUNT: u32 = 1_000_000;

/// One service, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name, and that of its pool.
    pub name: PoolName,
    /// The program its machines run.
    pub program: String,
    /// Where its machines listen.
    pub port: u16,
    /// How many machines this host has of it at first; none where all hosts share a `total`, or others keep its servers.
    pub replicas: u32,
    /// The machines that stand by for those.
    pub standbys: Standbys,
    /// How many empty machines wait to become one of them.
    pub spares: u32,
    /// How many it has over all hosts, where that follows the load.
    pub autoscale: Option<Autoscale>,
    /// What its machines are made of.
    pub hardware: Hardware,
    /// How it is found out whether a machine lives.
    pub liveness: Liveness,
    /// How it is found out whether it can be sent requests, besides.
    pub readiness: Option<Readiness>,
    /// All that was said of it.
    pub spec: ServiceSpec,
}

/// What of a service cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Which field of it.
    pub field: String,
    /// What was expected.
    pub message: String,
}

impl Misfit {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Misfit { field: field.into(), message: message.into() }
    }

    /// As an answer of the API.
    pub fn problem(&self) -> Problem {
        Problem::bad_parameter(&self.field, self.message.clone())
    }
}

type Fit = Result<(), Misfit>;

fn ensure(holds: bool, field: &str, message: impl FnOnce() -> String) -> Fit {
    if holds { Ok(()) } else { Err(Misfit::new(field, message())) }
}

/// Checks the services of the file `source`, and reads the files that they name.
pub(super) fn check_all(
    source: &Source,
    specs: Vec<ServiceSpec>,
    images: &Path,
) -> Result<Vec<Service>, ConfigError> {
    let mut services: Vec<Service> = Vec::new();
    for (index, mut spec) in specs.into_iter().enumerate() {
        let checked = load_files(&mut spec, source.path()).and_then(|()| check(spec, images, &services));
        let service = checked.map_err(|misfit| {
            source.error_in(&format!("service[{index}].{}", misfit.field), &misfit.message)
        })?;
        services.push(service);
    }
    Ok(services)
}

/// Checks one service beside the `others`, none of which is the one before it.
///
/// # Errors
///
/// The first field that cannot be used.
pub fn check(spec: ServiceSpec, images: &Path, others: &[Service]) -> Result<Service, Misfit> {
    let name = spec.name.as_str();
    check_name(name).map_err(|message| Misfit::new("name", message))?;
    ensure(name != LB, "name", || "`lb` is the balancer's own name: choose another".to_owned())?;
    let is_new = others.iter().all(|other| other.name != spec.name);
    ensure(is_new, "name", || "another [[service]] has the same name".to_owned())?;
    ensure(others.len() < MAX_SERVICES, "name", || {
        format!("there are {MAX_SERVICES} services already, which is the most")
    })?;
    let is_program = !spec.program.is_empty()
        && !spec.program.starts_with('.')
        && spec.program.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    ensure(is_program, "program", || {
        "expected the name of a program: letters, digits, dots, underscores and hyphens".to_owned()
    })?;
    ensure(spec.port != 0, "port", || "expected a port from 1 to 65535".to_owned())?;
    let replicas = count::replicas(&spec)?;
    count::placement(&spec)?;
    endpoints(&spec)?;
    let (standbys, spares) = standbys::check(&spec)?;
    let hardware = hardware_of(&spec, images, DEFAULT_MEMORY_MIB)?;
    let autoscale = autoscale::check(&spec, &hardware)?;
    secrets::check(&spec)?;
    routes::check(&spec, others)?;
    tcp::check(&spec, others)?;
    policy(&spec.policy)?;
    rollout::check(&spec)?;
    let (liveness, readiness) = probes::check(&spec)?;
    let (name, program, port) = (spec.name.clone(), spec.program.clone(), spec.port);
    Ok(Service {
        name,
        program,
        port,
        replicas,
        standbys,
        spares,
        autoscale,
        hardware,
        liveness,
        readiness,
        spec,
    })
}

/// What machines have, servers of others do not.
fn endpoints(spec: &ServiceSpec) -> Fit {
    ensure(spec.endpoints.len() <= MAX_ENDPOINTS, "endpoints", || {
        format!("expected at most {MAX_ENDPOINTS}")
    })?;
    let mut known = BTreeSet::new();
    for (index, endpoint) in spec.endpoints.iter().enumerate() {
        let field = format!("endpoints[{index}]");
        let is_server = match endpoint.ip() {
            IpAddr::V4(address) => {
                !address.is_broadcast() && !address.is_unspecified() && !address.is_multicast()
            }
            IpAddr::V6(address) => !address.is_unspecified() && !address.is_multicast(),
        };
        ensure(is_server && endpoint.port() != 0, &field, || {
            "expected the address and port of a server, such as \"10.0.0.5:8080\"".to_owned()
        })?;
        ensure(known.insert(endpoint), &field, || "named twice".to_owned())?;
    }
    if spec.endpoints.is_empty() {
        return Ok(());
    }
    for (field, given) in [
        ("memory_mib", spec.memory_mib.is_some()),
        ("vcpus", spec.vcpus.is_some()),
        ("image", spec.image.is_some()),
        ("user_data", spec.user_data.is_some()),
        ("environment", !spec.environment.is_empty()),
        ("secrets", !spec.secrets.is_empty()),
        ("liveness", spec.liveness.is_some()),
        ("rollout", !spec.rollout.is_default()),
    ] {
        ensure(!given, field, || "says nothing of servers that others keep (`endpoints`)".to_owned())?;
    }
    Ok(())
}

fn policy(policy: &ServicePolicy) -> Fit {
    let ServicePolicy {
        algorithm: _,
        hash_key: _,
        slow_start_ms,
        request_timeout_ms,
        max_tries,
        hold_ms,
        hold_requests,
        max_requests,
        max_connections,
        max_pending,
        drain_ms,
    } = policy;
    let counts = |value: &Option<u32>| value.map(u64::from);
    for (name, value, least, most) in [
        ("slow_start_ms", *slow_start_ms, 0, MAX_MILLIS),
        ("request_timeout_ms", *request_timeout_ms, 1, MAX_MILLIS),
        ("max_tries", counts(max_tries), 1, 100),
        ("hold_ms", *hold_ms, 0, MAX_MILLIS),
        ("hold_requests", counts(hold_requests), 0, u64::from(MAX_COUNT)),
        ("max_requests", counts(max_requests), 1, u64::from(MAX_COUNT)),
        ("max_connections", counts(max_connections), 1, u64::from(MAX_COUNT)),
        ("max_pending", counts(max_pending), 0, u64::from(MAX_COUNT)),
        ("drain_ms", *drain_ms, 0, MAX_MILLIS),
    ] {
        let fits = value.is_none_or(|value| (least..=most).contains(&value));
        ensure(fits, &format!("policy.{name}"), || format!("expected {least} to {most}"))?;
    }
    routes::hash_key(policy.hash_key.as_ref())
}

impl Service {
    /// Whether its machines are placed over all hosts, by their managers.
    pub fn is_placed(&self) -> bool {
        self.spec.total.is_some()
    }

    /// Whether its servers are somebody else's.
    pub fn is_external(&self) -> bool {
        !self.spec.endpoints.is_empty()
    }

    /// Whether it takes connections instead of requests.
    pub fn is_tcp(&self) -> bool {
        self.spec.protocol == ServiceProtocol::Tcp
    }

    /// Whether balancers ask its machines or servers all the time: nobody's manager asks the servers of others.
    pub fn is_checked_by_balancers(&self) -> bool {
        let asks = self.spec.readiness.as_ref().is_some_and(|probe| probe.kind.is_asked_by_balancers());
        self.is_external() || asks || self.spec.primary_only
    }

    /// What its machines are given in files that only the program may read.
    pub fn secrets(&self) -> impl Iterator<Item = (&String, &Secret)> {
        self.spec.secrets.iter().filter_map(|(name, secret)| Some((name, secret.value.as_ref()?)))
    }

    /// How the balancer treats its pool, where that is not by default.
    pub fn pool_policy(&self) -> Option<PoolPolicy> {
        let check = self.is_checked_by_balancers().then(|| checks::of(&self.spec));
        let said = &self.spec.policy;
        if said.is_default() && check.is_none() {
            return None;
        }
        let primary_only = self.spec.primary_only;
        let mut policy =
            PoolPolicy { check: check.unwrap_or_default(), primary_only, ..PoolPolicy::default() };
        let mut limits = UpstreamLimits::default();
        set(&mut policy.balance.algorithm, said.algorithm);
        set(&mut policy.balance.hash_key, said.hash_key.clone());
        set(&mut policy.balance.slow_start_ms, said.slow_start_ms);
        set(&mut policy.request_timeout_ms, said.request_timeout_ms);
        set(&mut policy.max_tries, said.max_tries);
        set(&mut policy.hold_ms, said.hold_ms);
        set(&mut policy.hold_requests, said.hold_requests);
        set(&mut policy.drain_ms, said.drain_ms);
        set(&mut limits.max_requests, said.max_requests);
        set(&mut limits.max_connections, said.max_connections);
        set(&mut limits.max_pending, said.max_pending);
        policy.upstream_limits = limits;
        Some(policy)
    }
}

fn set<T>(place: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *place = said;
    }
}

#[cfg(test)]
mod tests;
