//! What a service is: a `[[service]]` of a manager's file, and a document of `/services`. Both are the same words, and
//! pass the same checks; `docs/services.md` explains them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actions::ErrorPages;
use crate::autoscale::{AutoscaleSpec, ScalingView};
use crate::balancing::{Algorithm, HashKey, Secret};
use crate::clients::{Network, is_default};
use crate::placement::{ServicePlacement, Spread};
use crate::pools::PoolHealth;
use crate::proxy_config::ProxyHeader;
use crate::tcp::Forwarding;
use crate::{HostName, PoolName};

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Its name, and that of its pool.
    pub name: PoolName,
    /// The program its machines run.
    #[serde(default = "default_program")]
    pub program: String,
    /// Where its machines listen.
    #[serde(default = "default_port")]
    pub port: u16,
    /// What its clients speak.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: ServiceProtocol,
    /// With `tcp`: the port of the public address where clients connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<u16>,
    /// With `tcp`: only clients of TLS who ask for one of these names, such as `db.example.org` or `*.example.org`, so that
    /// several services share a `listen`. Their TLS goes on to the machine that is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sni: Vec<String>,
    /// With `tcp`: in which version of the PROXY protocol its machines are told who each client is; without it, not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyHeader>,
    /// With `tcp`: whether clients are proxies, whose connections begin with a header of the PROXY protocol.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accept_proxy_protocol: bool,
    /// With `accept_proxy_protocol`: the networks of those that may send one; without it, everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<Network>,
    /// With `tcp`: a connection over which neither side sends anything for so many milliseconds is closed; 600,000 if left
    /// out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    /// With `tcp`: the same once one side has ended what it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_close_timeout_ms: Option<u64>,
    /// With `tcp`: only one machine at a time is given connections, the primary; the others stand by.
    #[serde(default, skip_serializing_if = "is_default")]
    pub primary_only: bool,
    /// With `tcp`: whether the balancer passes connections on, `"proxy"`, or its kernel does; as of the balancer's TCP
    /// services.
    #[serde(default, skip_serializing_if = "is_default")]
    pub forwarding: Forwarding,
    /// How many machines a host has of it at first. Instead of `total` and `endpoints`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// How many machines there are of it over all hosts together. Instead of `replicas` and `endpoints`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// With `total`: the hosts that may have them; without it, all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostName>,
    /// With `total`: how strictly they are kept apart.
    #[serde(default, skip_serializing_if = "Spread::is_soft")]
    pub spread: Spread,
    /// With `replicas`: each machine keeps its disk for good, whatever becomes of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub persistent: bool,
    /// Further machines that stand by on each host, for when those of `replicas` fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standbys: Option<u32>,
    /// Whether those run while they stand by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby_mode: Option<StandbyMode>,
    /// For `cold`: after all machines of `replicas` have been ready for so long without a break, a standby that was
    /// started is stopped again, in milliseconds; 30,000 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby_hold_ms: Option<u64>,
    /// Machines without a name or an address that wait on each host, started and empty, to become one of this service. Not
    /// of a cloud's image, nor with `persistent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spares: Option<u32>,
    /// How their number follows the load; only with `total`, which then is how many there are at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscale: Option<AutoscaleSpec>,
    /// The memory of a machine, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// The processors of a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpus: Option<u32>,
    /// What a virtual machine is made from: a directory with an image bundle, or a disk image of a cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub image: Option<PathBuf>,
    /// A file with instructions for a cloud image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub user_data: Option<PathBuf>,
    /// Variables of the program's environment. The values are not shown to anyone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Secret>,
    /// Files that only the program may read, by name. They are not shown to anyone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, SecretFile>,
    /// What is asked to find out whether a machine lives; without it, its heartbeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
    /// What is asked to find out whether it can be sent requests; without it, it can while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// What it answers for. Of all routes of all services, the most specific that fits a request decides. The first
    /// service without any answers for all the rest.
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<ServiceRoute>,
    /// How its requests are spread, timed and limited.
    #[serde(default, skip_serializing_if = "ServicePolicy::is_default")]
    pub policy: ServicePolicy,
    /// How its machines are built anew when the definition changes.
    #[serde(default, skip_serializing_if = "RolloutPolicy::is_default")]
    pub rollout: RolloutPolicy,
    /// The pages of its errors, by status (`"503"`) or class (`"5xx"`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_pages: ErrorPages,
    /// Servers that somebody else keeps: the service is these instead of machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub endpoints: Vec<SocketAddr>,
}

/// What the clients of a service speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceProtocol {
    /// Requests, which the `route`s of all services tell apart.
    #[default]
    Http,
    /// Connections to a port of its own, passed on as they come.
    Tcp,
}

/// Whether standbys run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StandbyMode {
    /// One is started when a machine of its host fails, and stopped when all are back.
    #[default]
    Cold,
    /// They always run, and are sent requests only while no other machine of the service can be.
    Hot,
}

/// A file with something that nobody else may know: one of the two is said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// What is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Secret>,
    /// The file on this host that it is a copy of; only where people write files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub file: Option<PathBuf>,
}

/// How a machine is asked for something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// What is asked.
    pub kind: ProbeKind,
    /// For `http` and `https`: the path.
    #[serde(default = "default_path")]
    pub path: String,
    /// For `mysql`, `postgres` and `redis`: who logs in to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password, as a `value` or in a `file`. It is not shown to anyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretFile>,
    /// For `postgres`: the database that is opened; without it, the one called as the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// For `mysql`: it has to be a node of a Galera cluster that is in step with the others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub galera: bool,
    /// For `https`: the CAs that certificates have to lead to, as PEM; there are no others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The file they are in; only where people write files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// For `https`: the name that certificates have to be for; without it, the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The port; without it, the service's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// From one question to the next, in milliseconds.
    #[serde(default = "default_period_ms")]
    pub period_ms: u64,
    /// How long the answer may take, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// So many failures in a row are one.
    #[serde(default = "default_failure_threshold")]
    pub failure_threshold: u32,
    /// So many answers in a row are one.
    #[serde(default = "default_success_threshold")]
    pub success_threshold: u32,
    /// For `liveness`: how long a machine may take from its creation to its first answer, in milliseconds; without it,
    /// `boot_timeout_ms` of `[heartbeat]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_grace_ms: Option<u64>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProbeKind {
    /// `GET`; a status of 200 to 399 is well.
    Http,
    /// A connection.
    Tcp,
    /// The stream of heartbeats of our own guests, as `[heartbeat]` has it timed.
    Heartbeat,
    /// `GET` over TLS, with CAs of its own. Balancers ask.
    Https,
    /// The protocol of MySQL and MariaDB. Balancers ask.
    Mysql,
    /// That of PostgreSQL. Balancers ask.
    Postgres,
    /// That of Redis and Valkey. Balancers ask.
    Redis,
}

impl ProbeKind {
    /// Whether balancers ask, each for itself, and not the manager of a machine's host.
    #[must_use]
    pub fn is_asked_by_balancers(self) -> bool {
        match self {
            ProbeKind::Http | ProbeKind::Tcp | ProbeKind::Heartbeat => false,
            ProbeKind::Https | ProbeKind::Mysql | ProbeKind::Postgres | ProbeKind::Redis => true,
        }
    }
}

/// What a service answers for. What it does not ask for fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServiceRoute {
    /// One of these host names, without port. `*.example.org` is every name below `example.org`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Paths that begin with this: `/api` is `/api` itself and all below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Instead of `path`: this path and no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_exact: Option<String>,
    /// The largest body of a request, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// The longest wait for the first byte of an answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout_ms: Option<u64>,
    /// Whether its requests may be executed twice whatever their method.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub repeatable: bool,
}

/// What of a pool's policy a service decides; what it leaves out is as the balancer has it by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServicePolicy {
    /// Which machine a request goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// What of a request the hashing algorithms look at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash_key: Option<HashKey>,
    /// A new machine comes to its full share in so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start_ms: Option<u64>,
    /// The longest wait for the first byte of an answer, over all tries, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout_ms: Option<u64>,
    /// How many different machines one request may be sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tries: Option<u32>,
    /// While there is no machine, a request waits so long for one, in milliseconds …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
    /// … if not so many wait already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_requests: Option<u32>,
    /// Requests in flight at one machine, from one balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Connections to one machine, from one balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// When all machines have their fill, so many requests for each of them wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pending: Option<u32>,
    /// What a machine that was taken away was asked, it may finish for so many milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u64>,
}

impl ServicePolicy {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == ServicePolicy::default()
    }
}

/// How the machines of a service are built anew, on each host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutPolicy {
    /// So many machines more than usual there may be meanwhile. Without it, one where `max_unavailable` is left out
    /// too and the address pool has room for it, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub surge: Option<u32>,
    /// So many machines less than usual may serve meanwhile. Without it, one where there is no `surge`, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<u32>,
    /// Where no further machine becomes ready for so long, the change is taken back, in milliseconds; without it, 120,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_within_ms: Option<u64>,
}

impl RolloutPolicy {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == RolloutPolicy::default()
    }
}

/// The body of `POST /services/{name}/roll`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollOrder {
    /// Whether the definition is made again what it was before it was last put, where the machines do not become ready.
    #[serde(default = "yes")]
    pub rollback: bool,
}

fn yes() -> bool {
    true
}

/// How far a host is with building the machines of a service anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutView {
    /// What is being done, or was in the end.
    pub state: RolloutState,
    /// How many machines are still to be built anew.
    pub left: usize,
    /// How many there were at first.
    pub total: usize,
    /// Why it did not go well; empty where it did.
    pub reason: String,
}

/// What became of a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Machines are being built anew.
    #[default]
    Rolling,
    /// The definition is being taken back, and what was built since is built anew.
    RollingBack,
    /// All machines are of the present definition.
    Done,
    /// All machines are again of the definition before.
    RolledBack,
    /// It was given up: machines of both definitions may be there.
    Failed,
}

impl ServiceSpec {
    /// The service as it may be shown to anyone: without its secrets.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        let password = shown.readiness.as_mut().and_then(|probe| probe.password.as_mut());
        let values = shown.secrets.values_mut().chain(password).filter_map(|secret| secret.value.as_mut());
        shown
            .environment
            .values_mut()
            .chain(values)
            .for_each(|value| Secret::HIDDEN.clone_into(&mut value.0));
        shown
    }
}

/// A service as people see it: one entry of `GET /services`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ServiceView {
    /// Where its definition is.
    pub origin: ServiceOrigin,
    /// How many machines this host is to have of it now, besides standbys.
    pub desired: usize,
    /// How far this host is with building its machines anew, or how that last ended since the manager started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// Of one with a `total`: where its machines are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<ServicePlacement>,
    /// How many spares wait on this host to become one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spares: Option<u32>,
    /// How many machines there are over all hosts and why, where their number follows the load and a manager has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingView>,
    /// Of one whose machines or servers this host's balancer checks: how they are, as it sees them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<PoolHealth>,
    /// The definition, without its secrets.
    pub spec: ServiceSpec,
}

/// Where a service's definition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceOrigin {
    /// In the manager's file.
    File,
    /// It was put at run time.
    Put,
}

fn default_program() -> String {
    "stateless".to_owned()
}

fn default_port() -> u16 {
    8080
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_period_ms() -> u64 {
    1_000
}

fn default_timeout_ms() -> u64 {
    1_000
}

fn default_failure_threshold() -> u32 {
    3
}

fn default_success_threshold() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_has_the_names_of_secrets_and_nothing_else_of_them() {
        let text = r#"{"name": "shop", "replicas": 1, "environment": {"DB_PASSWORD": "planted-1"},
            "secrets": {"tls.key": {"value": "planted-2"}},
            "readiness": {"kind": "mysql", "user": "check", "password": {"value": "planted-3"}}}"#;
        let spec: ServiceSpec = serde_json::from_str(text).expect("valid");
        let shown = serde_json::to_string(&spec.without_secrets()).expect("JSON");
        for (text, what) in [(shown, "shown"), (format!("{spec:?}"), "debug")] {
            assert!(text.contains("DB_PASSWORD") && text.contains("tls.key"), "{what}: {text}");
            assert!(!text.contains("planted"), "{what}: {text}");
        }
        // What is stored has all of it.
        let stored = serde_json::to_string(&spec).expect("JSON");
        assert_eq!(serde_json::from_str::<ServiceSpec>(&stored).expect("valid"), spec);
    }
}
