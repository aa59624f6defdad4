//! The file as it is written, and what stands for what is not.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use kit::notify::NotifyFile;
use serde::Deserialize;
use toml::Spanned;
use wire::HostName;
use wire::service::ServiceSpec;

use super::Hypervisor;
use super::acme::AcmeFile;
use super::certificate::CertificateFiles;
use super::hardware::HardwareFile;
use super::heartbeat::Heartbeat;
use super::listener::ListenerFile;
use super::vip::VipFile;
use crate::address_pool::AddressRange;

/// What is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Spanned<HostName>,
    pub(super) address: Spanned<Ipv4Addr>,
    #[serde(default = "default_api_port")]
    pub(super) api_port: u16,
    #[serde(default = "default_tls_port")]
    pub(super) tls_port: Spanned<u16>,
    #[serde(default)]
    pub(super) certificate_lifetime: Option<Spanned<String>>,
    #[serde(default = "default_prefix")]
    pub(super) prefix: Spanned<u8>,
    #[serde(default)]
    pub(super) peers: Vec<Spanned<Ipv4Addr>>,
    pub(super) gateway: Spanned<Ipv4Addr>,
    pub(super) hypervisor: Hypervisor,
    #[serde(default = "default_libvirt_uri")]
    pub(super) libvirt_uri: Spanned<String>,
    #[serde(default = "default_images")]
    pub(super) images: PathBuf,
    #[serde(default)]
    pub(super) lb: HardwareFile,
    #[serde(default = "default_bridge")]
    pub(super) bridge: String,
    #[serde(default)]
    pub(super) uplink: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) probe_targets: Vec<Spanned<Ipv4Addr>>,
    pub(super) address_pool: Spanned<Vec<AddressRange>>,
    #[serde(default = "default_state_dir")]
    pub(super) state_dir: PathBuf,
    #[serde(default)]
    pub(super) programs: Option<PathBuf>,
    #[serde(default)]
    pub(super) chaos: bool,
    #[serde(default = "default_open_reads")]
    pub(super) open_reads: bool,
    #[serde(default)]
    pub(super) prefer_own_host: bool,
    #[serde(default)]
    pub(super) socket_group: Option<String>,
    #[serde(default, rename = "vip")]
    pub(super) vips: Vec<Spanned<VipFile>>,
    #[serde(default)]
    pub(super) notify: Vec<Spanned<NotifyFile>>,
    #[serde(default, rename = "listener")]
    pub(super) listeners: Vec<Spanned<ListenerFile>>,
    #[serde(default, rename = "certificate")]
    pub(super) certificates: Vec<Spanned<CertificateFiles>>,
    #[serde(default)]
    pub(super) acme: Option<AcmeFile>,
    #[serde(default, rename = "service")]
    pub(super) services: Vec<ServiceSpec>,
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

fn default_prefix() -> Spanned<u8> {
    Spanned::new(0..0, 24)
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
