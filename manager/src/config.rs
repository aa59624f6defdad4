//! The manager's TOML file.
//!
//! [`File`](file::File) is what is written, [`Config`] what is used; the conversion names every field, so that a
//! new one cannot be forgotten, and refuses what cannot work with the place in the file.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use kit::config::{ConfigError, Source, Spanned};
pub use kit::notify::Notify;
use kit::notify::check_notifies;
use serde::Deserialize;
use wire::HostName;

use crate::address_pool::AddressPool;
use crate::pki::LEAF_LIFETIME;

mod acme;
mod certificate;
mod etcd;
mod file;
mod hardware;
mod heartbeat;
mod listener;
#[cfg(test)]
mod reference;
pub mod service;
mod vip;

pub use acme::{Acme, Challenge, ExternalAccount};
pub use certificate::CertificateFiles;
pub use etcd::Etcd;
use file::File;
use hardware::DEFAULT_LB_MEMORY_MIB;
pub use hardware::Hardware;
pub use heartbeat::Heartbeat;
pub use listener::{Listener, ListenerTls};
pub use service::Service;
pub use vip::{Preference, Role, Vip, link_local_of};

/// The name that stands for the host's balancer where services are named.
pub const LB: &str = "lb";

/// Where balancers answer questions, heartbeats among them.
pub const LB_ADMIN_PORT: u16 = 8080;

/// Where balancers take changes.
pub const LB_CHANGES_PORT: u16 = 8443;

/// Shorter than this a certificate could expire before the next one is made.
const MIN_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(5);

/// Longer than this a key that was stolen would be good for too long.
const MAX_CERTIFICATE_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// The longest name of a host or a service, in characters.
const MAX_NAME: usize = 24;

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host's name.
    pub name: HostName,
    /// This host's address; the API is there on [`Config::api_port`].
    pub address: IpAddr,
    /// The port of this manager's API and of its peers'.
    pub api_port: u16,
    /// The same by TLS, once the host belongs to a cluster.
    pub tls_port: u16,
    /// How long the certificates of managers and balancers are valid; they are renewed after two thirds of it.
    pub certificate_lifetime: Duration,
    /// The network all hosts and machines are on.
    pub network: IpNet,
    /// The other managers.
    pub peers: Vec<IpAddr>,
    /// Where machines send packets for other networks.
    pub gateway: IpAddr,
    /// Which driver makes machines.
    pub hypervisor: Hypervisor,
    /// Where the libvirt driver finds its daemon, which must be on this host.
    pub libvirt_uri: String,
    /// Where image bundles are, each in a directory named by the program it runs.
    pub images: PathBuf,
    /// What the balancer's machine is made of.
    pub lb: Hardware,
    /// The bridge machines are connected to.
    pub bridge: String,
    /// The interface that leaves the host; while it is dead, this host's balancer gives way.
    pub uplink: Option<String>,
    /// Whom to ask over the uplink for a sign of life.
    pub probe_targets: Vec<IpAddr>,
    /// What this host may give to its machines.
    pub pool: AddressPool,
    /// Where the manager and its machines keep their files.
    pub state_dir: PathBuf,
    /// Where the programs for namespace machines are.
    pub programs: PathBuf,
    /// Whether the API can be told to harm machines.
    pub chaos: bool,
    /// Whether everybody on the segment may see the status of an initialised cluster.
    pub open_reads: bool,
    /// Whether the balancer prefers this host's machines to those of others while they are not much busier.
    pub prefer_own_host: bool,
    /// The group whose members may use the manager's socket besides root.
    pub socket_group: Option<String>,
    /// The public addresses.
    pub vips: Vec<Vip>,
    /// Whom the balancer tells of every change of a public address.
    pub notify: Vec<Notify>,
    /// Where the balancer takes clients' requests; none: on port 80, without TLS.
    pub listeners: Vec<Listener>,
    /// What it shows them over TLS, from files.
    pub certificates: Vec<CertificateFiles>,
    /// The same from an ACME server.
    pub acme: Option<Acme>,
    /// Where what is put of services is kept for all hosts; none: each host keeps its own.
    pub etcd: Option<Etcd>,
    /// What runs on this host.
    pub services: Vec<Service>,
    /// When a silent machine counts as dead.
    pub heartbeat: Heartbeat,
}

/// Which driver makes machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Hypervisor {
    /// A machine is a process and network namespace on this host.
    Namespaces,
    /// A machine is a virtual machine, made by the libvirt daemon of this host.
    Libvirt,
}

impl Config {
    /// Where the balancer takes requests, besides its own ports.
    pub fn request_ports(&self) -> BTreeSet<u16> {
        request_ports(&self.listeners)
    }

    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    ///
    /// At the first place that cannot be used, with line, column and what is expected.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::check(&Source::read(path)?)
    }

    /// Checks the text of a configuration file.
    ///
    /// # Errors
    ///
    /// See [`Config::load`].
    pub fn check(source: &Source) -> Result<Self, ConfigError> {
        let File {
            name,
            address,
            api_port,
            tls_port,
            certificate_lifetime,
            prefix,
            peers,
            gateway,
            hypervisor,
            libvirt_uri,
            images,
            lb,
            bridge,
            uplink,
            probe_targets,
            address_pool,
            state_dir,
            programs,
            chaos,
            open_reads,
            prefer_own_host,
            socket_group,
            vips,
            notify,
            listeners,
            certificates,
            acme,
            etcd,
            services,
            heartbeat,
        } = source.parse()?;
        let wrong = |at: std::ops::Range<usize>, message: String| Err(source.error_at(Some(at), &message));

        if let Err(message) = check_name(name.as_ref().as_str()) {
            return wrong(name.span(), message);
        }
        let is_v4 = address.as_ref().is_ipv4();
        let (usual, longest) = if is_v4 { (24, 32) } else { (64, 128) };
        let prefix_span = prefix.as_ref().map(Spanned::span).unwrap_or_default();
        let prefix = prefix.map_or(usual, Spanned::into_inner);
        let Ok(network) = IpNet::new(*address.as_ref(), prefix).map(|net| net.trunc()) else {
            return wrong(prefix_span, format!("expected a prefix length from 0 to {longest}"));
        };
        let all = peers.iter().chain(&probe_targets).chain(std::iter::once(&gateway));
        if let Some(other) = all.into_iter().find(|other| other.as_ref().is_ipv4() != is_v4) {
            let family = if is_v4 { "an IPv4" } else { "an IPv6" };
            return wrong(other.span(), format!("expected {family} address, as this host's `address` is"));
        }
        for peer in &peers {
            if peer.as_ref() == address.as_ref() {
                return wrong(peer.span(), "a manager is not its own peer: leave its address out".to_owned());
            }
        }
        if let Some(uplink) = &uplink
            && (uplink.as_ref().is_empty() || *uplink.as_ref() == bridge)
        {
            let message = "expected the interface that leaves the host, a port of the bridge".to_owned();
            return wrong(uplink.span(), message);
        }
        for target in &probe_targets {
            if target.as_ref() == address.as_ref() {
                let message = "this host always answers itself: name neighbours beyond the uplink".to_owned();
                return wrong(target.span(), message);
            }
            if uplink.is_none() {
                return wrong(
                    target.span(),
                    "probe_targets are asked over the uplink: name it in `uplink`".to_owned(),
                );
            }
        }
        if *tls_port.as_ref() == api_port {
            return wrong(tls_port.span(), "tls_port and api_port must differ".to_owned());
        }
        let certificate_lifetime = match certificate_lifetime {
            None => LEAF_LIFETIME,
            Some(text) => match check_lifetime(text.as_ref()) {
                Ok(lifetime) => lifetime,
                Err(message) => return wrong(text.span(), message),
            },
        };
        let pool_span = address_pool.span();
        let pool = match AddressPool::new(address_pool.as_ref()) {
            Ok(pool) => pool,
            Err(message) => return wrong(pool_span, format!("address_pool: {message}")),
        };
        let taken = std::iter::once(("this host", address.as_ref()))
            .chain(std::iter::once(("the gateway", gateway.as_ref())))
            .chain(peers.iter().map(|peer| ("a peer", peer.as_ref())))
            .chain(vips.iter().map(|vip| ("a VIP", vip.as_ref().address())));
        for (whose, taken) in taken {
            if pool.contains(*taken) {
                let message = format!("address_pool contains {taken}, the address of {whose}: leave it out");
                return wrong(pool_span, message);
            }
        }
        if let Some(outside) = pool.addresses().iter().find(|address| !network.contains(*address)) {
            let message =
                format!("address_pool has {outside}, which is outside of this host's network {network}");
            return wrong(pool_span, message);
        }
        let vips = vip::check(source, *address.as_ref(), vips)?;
        let notify = check_notifies(source, notify)?;
        let listeners = listener::check(source, listeners)?;
        let certificates = certificate::check(source, certificates)?;
        let acme = acme.map(|acme| acme.check(source, &listeners)).transpose()?;
        let etcd = etcd.map(|etcd| etcd.check(source)).transpose()?;
        let services = service::check_all(source, services, &images)?;
        let ports = request_ports(&listeners);
        for (index, service) in services.iter().enumerate() {
            service::fits(&service.spec, hypervisor, &ports).map_err(|misfit| {
                source.error_in(&format!("service[{index}].{}", misfit.field), &misfit.message)
            })?;
        }
        let machines = |service: &Service| u64::from(service.replicas) + u64::from(service.standbys.count);
        let replicas: u64 = services.iter().map(machines).sum();
        let addresses = pool.addresses().len() as u64;
        if addresses < replicas + 1 {
            let message = format!(
                "address_pool has {addresses} addresses, but one balancer and {replicas} service machines are \
                 configured: add {}",
                replicas + 1 - addresses,
            );
            return wrong(pool_span, message);
        }
        if let Err(message) = check_local(libvirt_uri.as_ref()) {
            return wrong(libvirt_uri.span(), message);
        }
        let lb = lb.check(source, &images, LB, DEFAULT_LB_MEMORY_MIB)?;
        let heartbeat_span = heartbeat.as_ref().map_or(0..0, Spanned::span);
        let heartbeat = heartbeat.map_or_else(Heartbeat::default, Spanned::into_inner).suiting(hypervisor);
        if let Err(message) = heartbeat.check() {
            return wrong(heartbeat_span, message);
        }
        Ok(Config {
            name: name.into_inner(),
            address: address.into_inner(),
            api_port,
            tls_port: tls_port.into_inner(),
            certificate_lifetime,
            network,
            peers: peers.into_iter().map(Spanned::into_inner).collect(),
            gateway: gateway.into_inner(),
            hypervisor,
            libvirt_uri: libvirt_uri.into_inner(),
            images,
            lb,
            bridge,
            uplink: uplink.map(Spanned::into_inner),
            probe_targets: probe_targets.into_iter().map(Spanned::into_inner).collect(),
            pool,
            state_dir,
            programs: programs.unwrap_or_else(own_directory),
            chaos,
            open_reads,
            prefer_own_host,
            socket_group,
            vips,
            notify,
            listeners,
            certificates,
            acme,
            etcd,
            services,
            heartbeat,
        })
    }
}

/// Where `listeners` have the balancer take requests.
fn request_ports(listeners: &[Listener]) -> BTreeSet<u16> {
    listeners.iter().map(|listener| listener.address.port()).collect()
}

/// Disks are files of this host, and a machine that cannot be asked is ended by its process: the daemon
/// must be on this host.
fn check_local(uri: &str) -> Result<(), String> {
    let (scheme, rest) = uri.split_once("://").unwrap_or((uri, ""));
    let is_local = match scheme {
        "qemu" => rest.starts_with('/'),
        "qemu+unix" => true,
        _ => false,
    };
    if is_local {
        Ok(())
    } else {
        Err("libvirt_uri: expected a daemon of this host, such as qemu:///system".to_owned())
    }
}

/// Names become host names, file names and parts of machine names.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let valid = !name.is_empty()
        && name.len() <= MAX_NAME
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid {
        Ok(())
    } else {
        Err(format!("expected a name of 1 to {MAX_NAME} lower-case letters, digits and inner hyphens"))
    }
}

fn check_lifetime(text: &str) -> Result<Duration, String> {
    let (shortest, longest) = (MIN_CERTIFICATE_LIFETIME, MAX_CERTIFICATE_LIFETIME);
    match humantime::parse_duration(text) {
        Ok(lifetime) if (shortest..=longest).contains(&lifetime) => Ok(lifetime),
        _ => Err("certificate_lifetime: expected 5s to 365days, such as \"30days\"".to_owned()),
    }
}

fn own_directory() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|path| path.parent().map(Path::to_path_buf))
        .unwrap_or_else(|| PathBuf::from("/usr/bin"))
}

#[cfg(test)]
mod tests;
