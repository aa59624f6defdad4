//! What a manager tells its balancer: which requests go to which pool, and how a pool is treated.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actions::{ErrorPages, HeaderEdits, Redirect, Respond, Rewrite};
use crate::balancing::{Balance, HashKey, Outlier, Secret, UpstreamLimits};
use crate::certificates::Certificate;
use crate::checks::Check;
use crate::clients::{ClientFrom, Forwarded, Network, is_default};
use crate::compress::Compress;
use crate::rates::RateLimit;
use crate::routing::{FieldMatch, Share};
use crate::tcp::TcpService;
use crate::upstream_tls::UpstreamTls;
use crate::{EndpointId, Generation, PoolName};

/// The body of `PUT /config`, and what `GET /config` answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// Where this configuration stands in the order of all the manager ever sent.
    pub generation: Generation,
    /// The first route that matches a request decides.
    pub routes: Vec<Route>,
    /// How the pools are treated; a pool that is not named here is treated by the defaults.
    #[serde(default)]
    pub pools: BTreeMap<PoolName, PoolPolicy>,
    /// What clients are shown over TLS. They outrank those of the balancer's own file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// What an ACME server is shown that asks whether a name is ours (RFC 8737), and nobody else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub challenge_certificates: Vec<Certificate>,
    /// What session tickets are encrypted with, the same on all balancers, so that each resumes the sessions of the
    /// others: new tickets with the first, and those of all are taken. Each is a text of 32 bytes or more. Without
    /// any, a balancer makes its own, which are lost when it ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ticket_keys: Vec<Secret>,
    /// The pages of errors, where a route has none of its own for them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_pages: ErrorPages,
    /// The proxies before this one that are believed when they say who a client is. What anybody else says of that is
    /// not passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<Network>,
    /// Where they say it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub client_from: ClientFrom,
    /// How upstreams are told of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub forwarded: Forwarded,
    /// Who may ask for anything; none: everybody. Others are refused with 403.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Network>,
    /// Who may not, whatever `allow` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Network>,
    /// How often clients may ask, all routes together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// Ports whose connections are passed on as they come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tcp: Vec<TcpService>,
    /// Who is the primary of each pool with `primary_only`, as the balancer that decides has chosen: for the others, and
    /// for who decides next.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub primaries: BTreeMap<PoolName, EndpointId>,
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
        for edits in shown.routes.iter_mut().map(|route| &mut route.request_headers) {
            let values = edits.set.values_mut().chain(edits.add.values_mut());
            values.for_each(|value| Secret::HIDDEN.clone_into(value));
        }
        for policy in shown.pools.values_mut() {
            for secret in policy.check.ask.secrets_mut() {
                *secret = Secret(Secret::HIDDEN.to_owned());
            }
            let certificate = policy.tls.as_mut().and_then(|tls| tls.certificate.as_mut());
            if let Some(key) = certificate.and_then(|certificate| certificate.key.as_mut()) {
                *key = Secret(Secret::HIDDEN.to_owned());
            }
        }
        shown.certificates = self.certificates.iter().map(Certificate::without_secrets).collect();
        shown.challenge_certificates =
            self.challenge_certificates.iter().map(Certificate::without_secrets).collect();
        shown.ticket_keys.iter_mut().for_each(|key| *key = Secret(Secret::HIDDEN.to_owned()));
        shown
    }
}

/// What happens to the requests that it matches: all of what it asks for has to fit. Exactly one of `pool`, `split`,
/// `redirect` and `respond` says what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Names the route in metrics and logs.
    pub name: String,
    /// The host names it answers for, without port; none means every host. `*.example.org` is every name below
    /// `example.org`.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The paths it answers for: `/` is every path, `/api` is `/api` itself and all below it.
    #[serde(default = "default_path")]
    pub path: String,
    /// Instead of `path`: the one path it answers for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_exact: Option<String>,
    /// Instead of `path`: a regular expression that finds something in the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<String>,
    /// The methods it answers for; none means every method.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The header fields it asks for, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<FieldMatch>,
    /// The parameters of the query it asks for, all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<FieldMatch>,
    /// Where its requests go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Instead of `pool`: the pools that share its requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<Share>,
    /// What of a request decides who of the `split` gets it, so that a client stays where it is; none: chance. A
    /// request without that header field or cookie goes by the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_by: Option<HashKey>,
    /// Instead of `pool`: where clients are sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Instead of `pool`: the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub respond: Option<Respond>,
    /// What upstreams are asked for instead of what the client asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// What is changed in the header of its requests, before upstreams get them. The values are not shown to anyone.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// What is changed in the header of all its answers, before clients get them.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
    /// The pages of its errors.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub error_pages: ErrorPages,
    /// Which of its upstreams' answers are compressed; none: as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compress: Option<Compress>,
    /// The largest body of a request, in bytes; none: what the balancer's own file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// Whom it is for; none: everybody. Others are refused with 403.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Network>,
    /// Whom it is not for, whatever `allow` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<Network>,
    /// How often clients may ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// The longest wait for the first byte of an answer, over all tries, in milliseconds; none: what the pool's
    /// policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout_ms: Option<u64>,
    /// Whether its requests may be executed twice whatever their method, as idempotent ones and those with
    /// an `Idempotency-Key` may. Without it, a POST that was sent is never sent again.
    #[serde(default)]
    pub repeatable: bool,
}

impl Default for Route {
    /// Matches everything, and says nothing of what becomes of it.
    fn default() -> Self {
        Route {
            name: String::new(),
            hosts: Vec::new(),
            path: default_path(),
            path_exact: None,
            path_regex: None,
            methods: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            pool: None,
            split: Vec::new(),
            split_by: None,
            redirect: None,
            respond: None,
            rewrite: None,
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
            error_pages: ErrorPages::new(),
            compress: None,
            body_bytes: None,
            allow: Vec::new(),
            deny: Vec::new(),
            rate_limits: Vec::new(),
            request_timeout_ms: None,
            repeatable: false,
        }
    }
}

impl Route {
    /// The pools its requests may go to.
    pub fn pools(&self) -> impl Iterator<Item = &PoolName> {
        self.pool.iter().chain(self.split.iter().map(|share| &share.pool))
    }
}

/// What is spoken with the upstreams of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 over plain connections, with prior knowledge (RFC 9113, section 3.3): what gRPC needs. Requests share
    /// connections, and are passed on as they come: there are no hedges and no learned first-byte deadlines.
    H2c,
    /// HTTP/2 over TLS, where it has to be agreed on (ALPN: RFC 9113, section 3.2). Else as [`Protocol::H2c`].
    H2,
}

impl Protocol {
    /// As it is called in a TLS handshake (ALPN, RFC 7301).
    #[must_use]
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Protocol::Http1 => b"http/1.1",
            Protocol::H2c | Protocol::H2 => b"h2",
        }
    }

    /// Whether it is HTTP/2, whose connections are shared by requests.
    #[must_use]
    pub const fn is_http2(self) -> bool {
        match self {
            Protocol::Http1 => false,
            Protocol::H2c | Protocol::H2 => true,
        }
    }
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyHeader {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// How the upstreams of a pool are tried, timed, ejected and checked. All times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolPolicy {
    /// What is spoken with the upstreams.
    pub protocol: Protocol,
    /// TLS with the upstreams; none: plain connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// What upstreams are told of a client ahead of everything else; none: nothing. Each request has a connection of its
    /// own then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyHeader>,
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
    /// Answers with these statuses, 400 to 599, are not passed on while another upstream can be asked: for requests that
    /// may be repeated, and within that budget. None: every answer is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retry_statuses: Vec<u16>,
    /// While an answer is late that other upstreams give at once, another one may be asked too: at most for
    /// this share of the requests.
    pub hedge_ratio: f64,
    /// While no upstream can be reached, a request waits so long for one to come before it is refused …
    pub hold_ms: u64,
    /// … if not so many wait already. Each costs about 30 KiB of memory, and its body, of up to 64 KiB.
    pub hold_requests: u32,
    /// Whether requests that may not be repeated are sent over any kept connection. Without it each has a new one, or one
    /// over which its upstream has just answered: a kept connection to a machine that has vanished looks like any
    /// other, and what is sent over it is lost, while a connection that cannot be made may be made elsewhere. With it
    /// each saves a round trip and a handshake.
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
    /// Whether only one upstream at a time is given anything, the primary: the others stand by. It stays while it is
    /// well, and the connections to it are closed when another one takes its place.
    #[serde(skip_serializing_if = "is_default")]
    pub primary_only: bool,
}

impl Default for PoolPolicy {
    fn default() -> Self {
        PoolPolicy {
            protocol: Protocol::default(),
            tls: None,
            proxy_protocol: None,
            connect_timeout_ms: 250,
            first_byte_min_ms: 250,
            first_byte_max_ms: 3_000,
            first_byte_cold_ms: 1_000,
            request_timeout_ms: 30_000,
            max_tries: 3,
            retry_budget_ratio: 0.2,
            retry_budget_per_second: 10.0,
            retry_statuses: Vec::new(),
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
            primary_only: false,
        }
    }
}

fn default_path() -> String {
    "/".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What versions before this one stored.
    #[test]
    fn what_is_stored_can_still_be_read() {
        let stored = r#"{"generation": 7, "routes": [{"name": "all", "hosts": [], "path": "/", "pool": "p",
            "repeatable": false}], "pools": {"p": {"max_tries": 5}}}"#;
        let config: ProxyConfig = serde_json::from_str(stored).expect("valid");
        let expected = Route { name: "all".to_owned(), pool: Some("p".into()), ..Route::default() };
        assert_eq!(config.routes, [expected]);
        // And those versions can read what says nothing that they do not know.
        let routes = serde_json::to_value(&config.routes).expect("JSON");
        let read =
            serde_json::json!([{"name": "all", "hosts": [], "path": "/", "pool": "p", "repeatable": false}]);
        assert_eq!(routes, read);
    }
}
