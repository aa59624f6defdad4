//! What a machine is given before it starts: its seed.
//!
//! The seed travels on a small disk labelled `CIDATA` (or, for a namespace machine, as a directory)
//! beside the three NoCloud files that any cloud image knows. This one file is for our own guests.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::MachineId;
use crate::balancing::Secret;
use crate::proxy_config::ProxyConfig;
use crate::tls::Credentials;
use crate::upstreams::UpstreamSet;

/// The name of the file on the seed.
pub const FILE: &str = "holdfast.json";

/// What the guest's init and program need to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seed {
    /// The machine's name; also its host name.
    pub machine: MachineId,
    /// Its address.
    pub address: IpAddr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// Where packets for other networks go.
    pub gateway: IpAddr,
    /// The program it runs.
    pub program: String,
    /// The program's settings: the text of its TOML file.
    pub settings: String,
    /// For a balancer: the first upstream set, so that it can serve before its manager has spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<UpstreamSet>,
    /// For a balancer: its routes and policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_config: Option<ProxyConfig>,
    /// For a balancer of a cluster that has its CA: how it proves who it is. A secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// For a service: variables of the program's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Secret>,
    /// For a service: files that only the program may read, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<String, Secret>,
}
