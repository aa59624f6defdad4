//! How a balancer speaks TLS with the upstreams of a pool: a part of its
//! [`PoolPolicy`](crate::proxy_config::PoolPolicy).

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::balancing::Secret;

/// TLS with the upstreams of a pool. The cryptography is not to be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// The certificates of the CAs that upstreams' certificates have to lead to, as PEM. There are no others: what the
    /// system believes does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// In the settings' file only: where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// The name that upstreams are asked for and that their certificates have to be for: a name, or `{host}` for the
    /// one that a request goes to. None: the upstream's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// What upstreams that ask for it are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<ClientCertificate>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Whether certificates are looked at. Without it anybody on the way can read and change everything.
    pub verify: bool,
    /// The longest wait for a handshake, in milliseconds, once there is a connection.
    pub timeout_ms: u64,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        UpstreamTls {
            ca: None,
            ca_file: None,
            server_name: None,
            certificate: None,
            min_version: TlsVersion::default(),
            verify: true,
            timeout_ms: 1_000,
        }
    }
}

impl UpstreamTls {
    /// What stands for the name that a request goes to.
    pub const HOST: &'static str = "{host}";
}

/// A certificate that upstreams are shown, with its key. Both are texts; in the settings' file they may also be in
/// files of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientCertificate {
    /// The certificate itself and then those that lead to a root that upstreams know, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// In the settings' file only: where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub chain_file: Option<PathBuf>,
    /// Its private key, as PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// In the settings' file only: where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub key_file: Option<PathBuf>,
}

/// A version of TLS. Older ones are not spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    Tls13,
}
