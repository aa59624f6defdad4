//! The file as it is written, and what stands for what is not.

use std::net::IpAddr;
use std::path::PathBuf;

use kit::config::Spanned;
use kit::notify::NotifyFile;
use serde::Deserialize;
use wire::HostName;
use wire::service::ServiceSpec;

use super::Hypervisor;
use super::acme::AcmeFile;
use super::certificate::CertificateFiles;
use super::etcd::EtcdFile;
use super::hardware::HardwareFile;
use super::heartbeat::Heartbeat;
use super::listener::ListenerFile;
use super::vip::VipFile;
use crate::address_pool::AddressRange;
#[cfg(test)]
use crate::pki::LEAF_LIFETIME;

/// What is written.
///
/// The comments of its keys are what `docs/configuration.md` says of them; so are those of the types it is made of.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// The host's name, unique in the cluster: 1 to 24 lower-case letters, digits and inner hyphens.
    pub(super) name: Spanned<HostName>,
    /// The manager's address, IPv4 or IPv6; its API is there. All addresses of managers and machines are of its family.
    pub(super) address: Spanned<IpAddr>,
    /// The port of the API, on all hosts the same.
    #[serde(default = "default_api_port")]
    pub(super) api_port: u16,
    /// The same by TLS, once the host belongs to a cluster; another one than `api_port`.
    #[serde(default = "default_tls_port")]
    pub(super) tls_port: Spanned<u16>,
    /// How long the certificates of managers and balancers are valid, 5s to 365days; they are renewed after two thirds
    /// of it.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = humantime::format_duration(LEAF_LIFETIME).to_string())))]
    pub(super) certificate_lifetime: Option<Spanned<String>>,
    /// The length of the network's prefix; 64 where `address` is of IPv6. Machines and hosts are on this network.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = 24)))]
    pub(super) prefix: Option<Spanned<u8>>,
    /// The addresses of the other managers.
    #[serde(default)]
    pub(super) peers: Vec<Spanned<IpAddr>>,
    /// Where machines send packets for other networks.
    pub(super) gateway: Spanned<IpAddr>,
    /// Which driver makes machines.
    pub(super) hypervisor: Hypervisor,
    /// The libvirt daemon, which must be on this host.
    #[serde(default = "default_libvirt_uri")]
    pub(super) libvirt_uri: Spanned<String>,
    /// Image bundles: a directory `lb`, and one for each service's `program`.
    #[serde(default = "default_images")]
    pub(super) images: PathBuf,
    /// What the balancer's machine is made of.
    #[serde(default)]
    pub(super) lb: HardwareFile,
    /// What machines are connected to.
    #[serde(default = "default_bridge")]
    pub(super) bridge: String,
    /// The interface that leaves the host, a port of the bridge; while it is dead or silent, this host's balancer gives
    /// way.
    #[serde(default)]
    pub(super) uplink: Option<Spanned<String>>,
    /// Neighbours beyond the uplink that are asked by ARP, or neighbour discovery with IPv6, when nothing is heard; with two or more, silence of all
    /// counts too. Without any, the gateway or a peer is asked.
    #[serde(default)]
    pub(super) probe_targets: Vec<Spanned<IpAddr>>,
    /// Ranges such as `192.168.10.10-192.168.10.16` and single addresses for this host's machines, 65536 at most; no
    /// other host may have them.
    pub(super) address_pool: Spanned<Vec<AddressRange>>,
    /// Where the manager and its machines keep their files.
    #[serde(default = "default_state_dir")]
    pub(super) state_dir: PathBuf,
    /// Where `lb` and the services' programs are, for namespace machines; without it, where the manager's own is.
    #[serde(default)]
    pub(super) programs: Option<PathBuf>,
    /// Whether the API can be told to kill and freeze machines, to cut this host off and to stop its manager.
    #[serde(default)]
    pub(super) chaos: bool,
    /// Whether everybody on the network may see the status of an initialised cluster.
    #[serde(default = "default_open_reads")]
    pub(super) open_reads: bool,
    /// Whether this host's balancer sends requests to its own host's machines first; see `docs/balancing.md`.
    #[serde(default)]
    pub(super) prefer_own_host: bool,
    /// A group whose members may use the manager's socket besides root.
    #[serde(default)]
    pub(super) socket_group: Option<String>,
    /// The public addresses.
    #[serde(default, rename = "vip")]
    pub(super) vips: Vec<Spanned<VipFile>>,
    /// Whom the balancer tells of every change of a public address.
    #[serde(default)]
    pub(super) notify: Vec<Spanned<NotifyFile>>,
    /// Where the balancer takes clients' requests; without any, on port 80 without TLS.
    #[serde(default, rename = "listener")]
    pub(super) listeners: Vec<Spanned<ListenerFile>>,
    /// What it shows them over TLS, from files of this host.
    #[serde(default, rename = "certificate")]
    pub(super) certificates: Vec<Spanned<CertificateFiles>>,
    /// The same from an ACME server, got by one manager for all.
    #[serde(default)]
    pub(super) acme: Option<AcmeFile>,
    /// Where what is put of services at run time is kept for all hosts; without it, each host keeps its own.
    #[serde(default)]
    pub(super) etcd: Option<EtcdFile>,
    /// What runs on this host. The first service takes all requests.
    #[serde(default, rename = "service")]
    pub(super) services: Vec<ServiceSpec>,
    /// When a silent machine counts as dead.
    #[serde(default)]
    pub(super) heartbeat: Option<Spanned<Heartbeat>>,
}

fn default_api_port() -> u16 {
    8080
}

fn default_open_reads() -> bool {
    true
}

fn default_tls_port() -> Spanned<u16> {
    Spanned::new(0..0, 8443)
}

fn default_libvirt_uri() -> Spanned<String> {
    Spanned::new(0..0, "qemu:///system".to_owned())
}

fn default_images() -> PathBuf {
    PathBuf::from("/var/lib/holdfast/images")
}

fn default_bridge() -> String {
    "br0".to_owned()
}

fn default_state_dir() -> PathBuf {
    PathBuf::from("/var/lib/holdfast")
}
