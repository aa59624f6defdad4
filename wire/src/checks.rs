//! How a balancer asks the upstreams of a pool whether they are well: a part of a
//! [`PoolPolicy`](crate::proxy_config::PoolPolicy), explained in `docs/balancing.md`.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::balancing::Secret;
use crate::database_checks::{MysqlAsk, PostgresAsk, RedisAsk};
use crate::upstream_tls::UpstreamTls;

/// How and how often upstreams are asked, each time on a connection of its own. All times in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// Whether upstreams in use are asked all the time. Those that are ejected are asked in any case, before
    /// they are used again.
    pub active: bool,
    /// What is asked.
    pub ask: Ask,
    /// The port that is asked; none: the one that requests go to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// From one check of an upstream that is well to the next.
    pub interval_ms: u64,
    /// The same while it is on its way down or up: after a failed check, and before the first one of an
    /// ejected upstream.
    pub edge_interval_ms: u64,
    /// The same while it is ejected: the wait grows by half each time up to this; none: up to the penalty
    /// (`eject_min_ms`, doubled for each relapse, at most `eject_max_ms`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_interval_ms: Option<u64>,
    /// Each wait is longer or shorter by at most this share of itself, at random.
    pub jitter: f64,
    /// The longest time one check may take, from the connection to the end of the answer.
    pub timeout_ms: u64,
    /// An ejected upstream is tried with a request after so many passed checks in a row.
    pub rise: u32,
    /// An upstream is ejected after so many failed checks in a row.
    pub fall: u32,
}

/// What an upstream is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// An HTTP/1.1 request.
    Http(HttpAsk),
    /// A TCP connection, and a few bytes each way where there is more to ask.
    Tcp(TcpAsk),
    /// `grpc.health.v1.Health/Check`, over HTTP/2 without TLS.
    Grpc(GrpcAsk),
    /// The protocol of MySQL and MariaDB, with or without a login.
    Mysql(MysqlAsk),
    /// That of PostgreSQL, with or without a login.
    Postgres(PostgresAsk),
    /// That of Redis and Valkey.
    Redis(RedisAsk),
}

impl Ask {
    /// Its name, as a policy has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Ask::Http(_) => "http",
            Ask::Tcp(_) => "tcp",
            Ask::Grpc(_) => "grpc",
            Ask::Mysql(_) => "mysql",
            Ask::Postgres(_) => "postgres",
            Ask::Redis(_) => "redis",
        }
    }

    /// What of it nobody is shown.
    pub fn secrets_mut(&mut self) -> Vec<&mut Secret> {
        match self {
            Ask::Http(HttpAsk { headers, tls, .. }) => {
                let certificate = tls.as_mut().and_then(|tls| tls.certificate.as_mut());
                let key = certificate.and_then(|certificate| certificate.key.as_mut());
                headers.values_mut().chain(key).collect()
            }
            Ask::Mysql(MysqlAsk { password, .. })
            | Ask::Postgres(PostgresAsk { password, .. })
            | Ask::Redis(RedisAsk { password, .. }) => password.iter_mut().collect(),
            Ask::Tcp(_) | Ask::Grpc(_) => Vec::new(),
        }
    }
}

/// An HTTP request and the answer that is a good one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpAsk {
    /// The method.
    pub method: Method,
    /// The path, with its query if it has one.
    pub path: String,
    /// TLS that it is asked over, at whatever port; none: as requests have it, and plainly at a `port` of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<UpstreamTls>>,
    /// The value of `Host`; none: the address that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Further header fields. The values are not shown to anyone.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Secret>,
    /// The statuses that are good ones, such as `"204"` and `"200-299"`.
    #[schema(value_type = Vec<String>)]
    pub expect_status: Vec<StatusRange>,
    /// What the first 64 KiB of the body have to contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_body: Option<String>,
}

/// The method of a check: one that changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// The answer has a body.
    #[default]
    Get,
    /// It has none.
    Head,
}

/// A status of HTTP or a range of them with both ends, written `"204"` or `"200-299"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct StatusRange {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
}

impl StatusRange {
    /// Whether `status` is one of them.
    #[must_use]
    pub fn contains(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl TryFrom<String> for StatusRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (from, to) = text.split_once('-').unwrap_or((&text, &text));
        // Digits only: `parse` would take a sign too.
        let status = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        match (status(from), status(to)) {
            (Some(from), Some(to)) if 200 <= from && from <= to && to <= 599 => Ok(StatusRange { from, to }),
            _ => Err(format!(
                "expected a status such as \"204\" or a range such as \"200-299\", found {text:?}"
            )),
        }
    }
}

impl From<StatusRange> for String {
    fn from(range: StatusRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to { self.from.fmt(f) } else { write!(f, "{}-{}", self.from, self.to) }
    }
}

/// What is sent over a TCP connection and has to come back. With neither, the connection is all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TcpAsk {
    /// Sent as soon as the connection is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// What the first 64 KiB that come have to contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
}

/// Which service of a gRPC server is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcAsk {
    /// Its name; empty: the server as a whole.
    pub service: String,
    /// The value of `:authority`; none: the address that is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Default for Check {
    fn default() -> Self {
        Check {
            active: false,
            ask: Ask::Http(HttpAsk::default()),
            port: None,
            interval_ms: 2_000,
            edge_interval_ms: 250,
            unhealthy_interval_ms: None,
            jitter: 0.1,
            timeout_ms: 500,
            rise: 1,
            fall: 2,
        }
    }
}

impl Default for HttpAsk {
    fn default() -> Self {
        HttpAsk {
            method: Method::Get,
            path: "/health/ready".to_owned(),
            tls: None,
            host: None,
            headers: BTreeMap::new(),
            expect_status: vec![StatusRange { from: 200, to: 299 }],
            expect_body: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_written_as_people_expect() {
        let text = r#"{"active": true, "port": 9000, "ask": {"http": {
            "method": "HEAD", "path": "/up", "expect_status": ["200-399", "401"]}}}"#;
        let check: Check = serde_json::from_str(text).expect("valid");
        let Ask::Http(ask) = &check.ask else { panic!("{check:?}") };
        assert_eq!((ask.method, ask.path.as_str()), (Method::Head, "/up"));
        let good = |status| ask.expect_status.iter().any(|range| range.contains(status));
        assert!(good(200) && good(399) && good(401) && !good(400) && !good(402));
        for text in [
            r#"{"ask": {"tcp": {}}}"#,
            r#"{"ask": {"tcp": {"send": "PING\r\n", "expect": "+PONG"}}}"#,
            r#"{"ask": {"grpc": {"service": "orders"}}}"#,
            r#"{"ask": {"http": {"tls": {"server_name": "etcd.internal"}}}}"#,
            r#"{"ask": {"mysql": {}}}"#,
            r#"{"ask": {"mysql": {"user": "check", "password": "x", "galera": true}}}"#,
            r#"{"ask": {"postgres": {"user": "check", "database": "postgres"}}}"#,
            r#"{"ask": {"redis": {"password": "x"}}}"#,
        ] {
            let check: Check = serde_json::from_str(text).expect(text);
            let again = serde_json::to_string(&check).expect("text");
            assert_eq!(serde_json::from_str::<Check>(&again).expect("valid"), check, "{again}");
        }
        for wrong in [
            r#"{"ask": {"http": {"method": "POST"}}}"#,
            r#"{"ask": {"icmp": {}}}"#,
            r#"{"ask": {"redis": {"database": 0}}}"#,
            r#"{"ask": {"http": {"expect_status": ["2xx"]}}}"#,
            r#"{"ask": {"http": {"expect_status": ["299-200"]}}}"#,
            r#"{"ask": {"http": {"expect_status": ["100-199"]}}}"#,
            r#"{"ask": {"http": {"expect_status": ["+20"]}}}"#,
            r#"{"path": "/"}"#,
        ] {
            serde_json::from_str::<Check>(wrong).expect_err(wrong);
        }
    }
}
