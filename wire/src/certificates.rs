//! What a balancer shows its clients: the part of a [`ProxyConfig`](crate::proxy_config::ProxyConfig) that TLS needs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::balancing::Secret;

/// A certificate and what belongs to it. Clients that ask for one of its names (RFC 6066, section 3) are shown it;
/// the first of a list is shown to those that ask for none of any certificate's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate itself and then those that lead to a root that clients know, as PEM.
    pub chain: String,
    /// Its private key, as PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: Secret,
    /// What its issuer says of it (an OCSP response, RFC 6960), in base64; with or without lines of PEM around it.
    /// Clients are shown it along with the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ocsp: Option<String>,
}

impl Certificate {
    /// The certificate as it may be shown to anyone: without its key.
    #[must_use]
    pub fn without_secrets(&self) -> Self {
        Certificate { key: Secret(Secret::HIDDEN.to_owned()), ..self.clone() }
    }
}
