//! TCP services: connections that are passed on as they come, without a look at what is said on them. Parts of a
//! [`ProxyConfig`](crate::proxy_config::ProxyConfig), explained in `docs/tcp.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::PoolName;
use crate::clients::{Network, is_default};
use crate::proxy_config::ProxyHeader;

/// A port whose connections go to the upstreams of a pool. Several services may share a port, if no two of them take the
/// same names and at most one takes what has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpService {
    /// Names it in metrics and logs; no two services have the same.
    pub name: PoolName,
    /// Where the balancer takes its connections, on every address of the machine. None of HTTP's or the admin
    /// interface's.
    pub port: u16,
    /// Who takes the connections that no name of `sni` is for; none: they are closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// Who takes the connections of TLS whose client asks for one of these names (RFC 6066, section 3). The first
    /// message of the client is read for it; the connection is passed on as it is, TLS included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sni: Vec<SniRoute>,
    /// Whether each connection begins with a header of the PROXY protocol, of version 1 or 2, which says who the client
    /// is. All services of a port say the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub proxy_protocol_in: bool,
    /// The networks of the proxies that may send one; none: everybody. Others are refused. With `proxy_protocol_in` only;
    /// all services of a port say the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted: Vec<Network>,
    /// The version of the PROXY protocol by which upstreams are told who the client is; none: they are not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol_out: Option<ProxyHeader>,
    /// The longest wait for a connection to one upstream, in milliseconds; none: what the pool's policy says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout_ms: Option<u64>,
    /// A connection over which neither side has sent anything for so many milliseconds is closed.
    #[serde(default = "default_idle_timeout_ms")]
    pub idle_timeout_ms: u64,
    /// The same, when one side has ended what it says and the other goes on.
    #[serde(default = "default_half_close_timeout_ms")]
    pub half_close_timeout_ms: u64,
    /// The most connections it has at a time on one balancer; above it new ones are closed at once. None: as many as
    /// the balancer takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// How its connections are passed on: `"proxy"`, by the balancer, or by the kernel: `"nftables"`, `"nftables-gateway"` or
    /// `"nftables-dsr"`; see `docs/tcp.md`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub forwarding: Forwarding,
}

/// Which names lead to which pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SniRoute {
    /// Host names: `db.example.org`, or `*.example.org` for every name below `example.org`.
    pub names: Vec<String>,
    /// Who takes the connections.
    pub pool: PoolName,
}

/// How connections are passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Forwarding {
    /// The balancer takes them, and makes one of its own to an upstream for each.
    #[default]
    Proxy,
    /// The kernel passes their packets on (nftables, NAT); upstreams see the balancer's address, and answer to it.
    Nftables,
    /// The same, but upstreams see the client's address: their answers have to find the way through the balancer, as
    /// that of their gateway.
    NftablesGateway,
    /// The kernel passes their packets on as they are to the link-layer address of an upstream of the same segment, which
    /// has the public address too, and answers clients directly.
    NftablesDsr,
}

impl Forwarding {
    /// Whether the kernel passes packets on, and the balancer only says where to.
    #[must_use]
    pub const fn is_in_kernel(self) -> bool {
        match self {
            Forwarding::Proxy => false,
            Forwarding::Nftables | Forwarding::NftablesGateway | Forwarding::NftablesDsr => true,
        }
    }
}

const fn default_idle_timeout_ms() -> u64 {
    TcpService::IDLE_TIMEOUT_MS
}

const fn default_half_close_timeout_ms() -> u64 {
    TcpService::HALF_CLOSE_TIMEOUT_MS
}

impl TcpService {
    /// The longest silence unless a service says otherwise: ten minutes, in milliseconds.
    pub const IDLE_TIMEOUT_MS: u64 = 600_000;

    /// The longest silence of the side that goes on unless a service says otherwise: a minute, in milliseconds.
    pub const HALF_CLOSE_TIMEOUT_MS: u64 = 60_000;

    /// The shortest silence that a kernel can be told of: a second, in milliseconds.
    pub const MIN_KERNEL_IDLE_MS: u64 = 1_000;

    /// One at `port` that says nothing else; without a `pool` or an `sni` it has nobody to pass connections on to.
    #[must_use]
    pub fn new(name: PoolName, port: u16) -> Self {
        TcpService {
            name,
            port,
            pool: None,
            sni: Vec::new(),
            proxy_protocol_in: false,
            trusted: Vec::new(),
            proxy_protocol_out: None,
            connect_timeout_ms: None,
            idle_timeout_ms: Self::IDLE_TIMEOUT_MS,
            half_close_timeout_ms: Self::HALF_CLOSE_TIMEOUT_MS,
            max_connections: None,
            forwarding: Forwarding::default(),
        }
    }

    /// The pools its connections may go to.
    pub fn pools(&self) -> impl Iterator<Item = &PoolName> {
        self.pool.iter().chain(self.sni.iter().map(|route| &route.pool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_written_as_people_expect_and_says_no_more_than_it_has_to() {
        let text = r#"{"name": "db", "port": 3306, "pool": "db"}"#;
        let service: TcpService = serde_json::from_str(text).expect("valid");
        let expected = TcpService { pool: Some("db".into()), ..TcpService::new("db".into(), 3306) };
        assert_eq!(service, expected);
        let again = serde_json::to_string(&service).expect("text");
        assert_eq!(
            again,
            r#"{"name":"db","port":3306,"pool":"db","idle_timeout_ms":600000,"half_close_timeout_ms":60000}"#
        );
        let text = r#"{"name": "db", "port": 443, "sni": [{"names": ["*.example.org"], "pool": "db"}],
            "proxy_protocol_in": true, "trusted": ["10.0.0.0/8"], "proxy_protocol_out": "v2", "forwarding": "proxy"}"#;
        let service: TcpService = serde_json::from_str(text).expect("valid");
        assert_eq!(service.proxy_protocol_out, Some(ProxyHeader::V2));
        assert_eq!(service.pools().collect::<Vec<_>>(), [&PoolName::from("db")]);
        let text = r#"{"name": "db", "port": 3306, "pool": "db", "forwarding": "nftables-dsr"}"#;
        let service: TcpService = serde_json::from_str(text).expect("valid");
        assert!(service.forwarding.is_in_kernel() && !expected.forwarding.is_in_kernel());
        for wrong in [
            r#"{"name": "db"}"#,
            r#"{"name": "db", "port": 70000}"#,
            r#"{"name": "db", "port": 1, "proxy_protocol_out": "v3"}"#,
            r#"{"name": "db", "port": 1, "forwarding": "ipvs"}"#,
            r#"{"name": "db", "port": 1, "forwarding": "nftables_dsr"}"#,
            r#"{"name": "db", "port": 1, "sni": ["db.example.org"]}"#,
            r#"{"name": "db", "port": 1, "trusted": ["10.0.0.1/8"]}"#,
        ] {
            serde_json::from_str::<TcpService>(wrong).expect_err(wrong);
        }
    }
}
