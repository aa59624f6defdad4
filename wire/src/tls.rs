//! What a party of the cluster's TLS is given: whom to believe, and how to prove who it is.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::HostName;

/// The name of the file in a balancer's state directory.
pub const FILE: &str = "credentials.json";

/// A certificate with its key, and what is needed to judge those of others. All in PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credentials {
    /// The host it belongs to.
    #[schema(value_type = String)]
    pub host: HostName,
    /// The certificate of the cluster's CA.
    pub ca: String,
    /// The own certificate, then that of the host's intermediate that issued it.
    pub chain: String,
    /// The key of the own certificate (PKCS #8). A secret.
    pub key: String,
    /// The CA's list of revoked hosts (RFC 5280, section 5).
    pub revocations: String,
}

/// The key stays out of logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("host", &self.host)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}

/// The body of `PUT /pki/revocations`, and its answer: the list that is held, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revocations {
    /// Signed by the cluster's CA.
    pub revocations: String,
}

/// The body of `POST /pki/join`: a host asks to be let into the cluster.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct JoinRequest {
    /// The secret part of the join token.
    pub secret: String,
    /// The host's name.
    #[schema(value_type = String)]
    pub host: HostName,
    /// Where its manager is.
    #[schema(value_type = String)]
    pub address: std::net::IpAddr,
    /// Its address pool, as ranges.
    pub address_pool: Vec<String>,
    /// The request for its intermediate (PKCS #10, in PEM). Only its key counts.
    pub request: String,
}

/// The answer: the host is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// The certificate of the cluster's CA.
    pub ca: String,
    /// The host's intermediate, which can certify this host's address and its pool.
    pub intermediate: String,
    /// The CA's list of revoked hosts.
    pub revocations: String,
    /// All hosts, this one included.
    pub members: Vec<Member>,
}

/// A host that has an intermediate of the cluster's CA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// Its name.
    #[schema(value_type = String)]
    pub host: HostName,
    /// Where its manager is.
    #[schema(value_type = String)]
    pub address: std::net::IpAddr,
    /// Its address pool, as ranges.
    pub address_pool: Vec<String>,
    /// The serial number of its intermediate, in hexadecimal.
    pub serial: String,
    /// Whether it keeps the CA's key.
    #[serde(default)]
    pub keeps_ca: bool,
    /// When it was revoked, in seconds since 1970; none while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_s: Option<u64>,
}
