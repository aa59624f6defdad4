//! What a manager tells its balancer: which requests go to which pool, and how a pool is treated.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::balancing::{Balance, Outlier, Secret, UpstreamLimits};
use crate::checks::{Ask, Check};
use crate::{Generation, PoolName};

/// The body of `PUT /config`, and what `GET /config` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Where this configuration stands in the order of all the manager ever sent.
    pub generation: Generation,
    /// The first route that matches a request decides.
    pub routes: Vec<Route>,
    /// How the pools are treated; a pool that is not named here is treated by the defaults.
    #[serde(default)]
    pub pools: BTreeMap<PoolName, PoolPolicy>,
}

impl ProxyConfig {
    /// The configuration as it may be shown to anyone: without its secrets.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        let mut shown = self.clone();
        for sticky in shown.pools.values_mut().filter_map(|policy| policy.balance.sticky.as_mut()) {
            for secret in [Some(&mut sticky.key), sticky.previous_key.as_mut()].into_iter().flatten() {
                *secret = Secret(Secret::HIDDEN.to_owned());
            }
        }
        for policy in shown.pools.values_mut() {
            if let Ask::Http(ask) = &mut policy.check.ask {
                ask.headers.values_mut().for_each(|value| *value = Secret(Secret::HIDDEN.to_owned()));
            }
        }
        shown
    }
}

/// Sends the requests it matches to a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Names the route in metrics and logs.
    pub name: String,
    /// The host names it answers for, without port; none means every host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The paths it answers for: `/` is every path, `/api` is `/api` itself and all below it.
    #[serde(default = "default_path")]
    pub path: String,
    /// Where its requests go.
    pub pool: PoolName,
    /// Whether its requests may be executed twice whatever their method, as idempotent ones and those with
    /// an `Idempotency-Key` may. Without it, a POST that was sent is never sent again.
    #[serde(default)]
    pub repeatable: bool,
}

/// What is spoken with the upstreams of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 over plain connections, with prior knowledge (RFC 9113, section 3.3): what gRPC needs. Requests share
    /// connections, and are passed on as they come: there are no hedges and no learned first-byte deadlines.
    H2c,
}

/// How the upstreams of a pool are tried, timed, ejected and checked. All times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolPolicy {
    /// What is spoken with the upstreams.
    pub protocol: Protocol,
    /// The longest wait for a TCP connection to one upstream.
    pub connect_timeout_ms: u64,
    /// The bounds of the learned first-byte deadline that every try but the last has.
    pub first_byte_min_ms: u64,
    /// The upper bound.
    pub first_byte_max_ms: u64,
    /// The first-byte deadline while nothing has been learned yet.
    pub first_byte_cold_ms: u64,
    /// The longest wait for the whole of a request, from its head to the first byte of its answer,
    /// over all tries.
    pub request_timeout_ms: u64,
    /// How many different upstreams one request may be sent to.
    pub max_tries: u32,
    /// Retries that are not free may be at most this share of the requests …
    pub retry_budget_ratio: f64,
    /// … and so many per second on top.
    pub retry_budget_per_second: f64,
    /// While an answer is late that other upstreams give at once, another one may be asked too: at most for
    /// this share of the requests.
    pub hedge_ratio: f64,
    /// While no upstream can be reached, a request waits so long for one to come before it is refused …
    pub hold_ms: u64,
    /// … if not so many wait already. Each costs about 30 KiB of memory, and its body, of up to 64 KiB.
    pub hold_requests: u32,
    /// Whether requests that may not be repeated are sent over kept connections too. Without it each has a new one:
    /// a kept connection to a machine that has vanished looks like any other, and what is sent over it is lost, while
    /// a connection that cannot be made may be made elsewhere. With it each saves a round trip and a handshake.
    pub reuse_unrepeatable: bool,
    /// An upstream is ejected after so many failures in a row.
    pub eject_after: u32,
    /// The first ejection lasts so long; each one in a row doubles it …
    pub eject_min_ms: u64,
    /// … up to this.
    pub eject_max_ms: u64,
    /// How upstreams are asked whether they are well. Those of [`Protocol::H2c`] are asked by gRPC's health protocol
    /// unless it says otherwise, and are well too if they answer that there is no such thing.
    pub check: Check,
    /// What an upstream that left the set was asked has so long to end; then the connections to it are cut.
    pub drain_ms: u64,
    /// How requests are spread.
    pub balance: Balance,
    /// Which answers eject.
    pub outlier: Outlier,
    /// The most that one upstream is given at a time.
    pub upstream_limits: UpstreamLimits,
}

impl Default for PoolPolicy {
    fn default() -> Self {
        PoolPolicy {
            protocol: Protocol::default(),
            connect_timeout_ms: 250,
            first_byte_min_ms: 250,
            first_byte_max_ms: 3_000,
            first_byte_cold_ms: 1_000,
            request_timeout_ms: 30_000,
            max_tries: 3,
            retry_budget_ratio: 0.2,
            retry_budget_per_second: 10.0,
            hedge_ratio: 0.05,
            hold_ms: 5_000,
            hold_requests: 3_000,
            reuse_unrepeatable: false,
            eject_after: 3,
            eject_min_ms: 1_000,
            eject_max_ms: 30_000,
            check: Check::default(),
            drain_ms: 30_000,
            balance: Balance::default(),
            outlier: Outlier::default(),
            upstream_limits: UpstreamLimits::default(),
        }
    }
}

fn default_path() -> String {
    "/".to_owned()
}
