//! The `[[vip]]` part of the configuration. It goes to the balancer as it is, but for the priority, which here is
//! this host's place in an order of preference.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;
use vrrp::ChecksumForm;
use vrrp::fitness::of_rank;
use vrrp::settings::{self, MAX_UNICAST_PEERS};
use wire::HostName;

use super::check_name;
use crate::address_pool::mac_of;
use crate::engine::MAX_PEERS;

/// One public address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// Its virtual router's id; IPv4 and IPv6 are numbered apart.
    pub vrid: u8,
    /// Whose balancer is preferred.
    pub preference: Preference,
    /// The time between two adverts.
    pub advert_interval: Duration,
    /// Whether, and after how long, a fit holder of lower priority is preempted.
    pub preempt: Option<Duration>,
    /// What the checksum of a sent advert covers.
    pub checksum: ChecksumForm,
    /// The other balancers' addresses, of the VIP's family; adverts are multicast when empty.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether the address has the virtual router's own MAC address.
    pub virtual_mac: bool,
}

/// Whose balancer is preferred for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preference {
    /// Each host's file says what the host is. The managers know of no order, and leave the address where it is.
    Role(Role),
    /// These hosts, in this order, before all others.
    Order(Vec<HostName>),
    /// Every host computes the same order, so that the addresses are spread evenly.
    Spread,
}

/// A public address, and the virtual router that holds it.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct VipFile {
    /// The public address, IPv4 or IPv6.
    address: Spanned<IpAddr>,
    /// The id of its virtual router, 1 to 255; IPv4 and IPv6 are numbered apart.
    vrid: Spanned<u8>,
    /// Who is preferred in the first election, where that is said host by host; without `role` and `order` the addresses
    /// are spread evenly over all balancers.
    #[serde(default)]
    role: Option<Spanned<Role>>,
    /// The hosts in the order in which they are to hold the address, the same in every host's file; the others follow.
    #[serde(default)]
    order: Option<Spanned<Vec<HostName>>>,
    /// The time between two adverts, 30 to 40950 in steps of 10; another balancer takes over after about 3.1 of these.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = settings::DEFAULT_INTERVAL.as_millis())))]
    advert_interval_ms: Option<Spanned<u64>>,
    /// Whether a fit holder of lower priority is replaced.
    #[serde(default)]
    preempt: bool,
    /// How long that waits, at most 3600000; with `preempt` only.
    #[serde(default)]
    #[cfg_attr(test, schemars(extend("default" = 0)))]
    preempt_delay_ms: Option<Spanned<u64>>,
    /// What the checksum of sent adverts covers, `"pseudo-header"` or `"message"`; see `docs/vip.md`.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Option<String>", extend("default" = ChecksumForm::default())))]
    checksum: Option<Spanned<ChecksumForm>>,
    /// The other balancers' addresses, at most 64; without any, adverts are multicast.
    #[serde(default)]
    unicast_peers: Vec<Spanned<IpAddr>>,
    /// Whether the address has the virtual router's own MAC address, whoever holds it.
    #[serde(default)]
    virtual_mac: bool,
}

/// Who is preferred in the first election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// This host's balancer.
    Master,
    /// The other one.
    Secondary,
}

impl Role {
    /// The priority of this host's balancer.
    pub fn priority(self) -> u8 {
        of_rank(match self {
            Role::Master => 0,
            Role::Secondary => 1,
        })
    }
}

/// All of them, checked against each other and against `host`, this host's address.
pub(super) fn check(
    source: &Source,
    host: IpAddr,
    files: Vec<Spanned<VipFile>>,
) -> Result<Vec<Vip>, ConfigError> {
    let mut vips: Vec<Vip> = Vec::new();
    for file in files {
        let span = file.span();
        let vip = file.into_inner().check(source, host)?;
        vips.push(vip);
        let all: Vec<_> = vips.iter().map(|vip| (vip.address, vip.vrid)).collect();
        source.checked(span, settings::distinct(&all))?;
    }
    Ok(vips)
}

impl VipFile {
    /// The address.
    pub(super) fn address(&self) -> &IpAddr {
        self.address.as_ref()
    }

    fn check(self, source: &Source, host: IpAddr) -> Result<Vip, ConfigError> {
        let VipFile {
            address,
            vrid,
            role,
            order,
            advert_interval_ms,
            preempt,
            preempt_delay_ms,
            checksum,
            unicast_peers,
            virtual_mac,
        } = self;
        let wrong = |span, message: &str| Err(source.error_at(Some(span), message));
        let own = address.as_ref();
        if *own == host {
            return wrong(address.span(), "the VIP must not be this host's own address");
        }
        source.checked(address.span(), settings::address(*own))?;
        if own.is_ipv4() && host.is_ipv6() {
            let message = "an IPv4 VIP needs a balancer with an IPv4 address: `address_pool` is of IPv6 here";
            return wrong(address.span(), message);
        }
        let is_v4 = own.is_ipv4();
        source.checked(vrid.span(), settings::vrid(*vrid.as_ref()))?;
        let preference = preference(source, role, order)?;
        let interval_span = advert_interval_ms.as_ref().map(Spanned::span).unwrap_or_default();
        let advert_interval = advert_interval_ms.map(Spanned::into_inner);
        let advert_interval = source.checked(interval_span, settings::interval(advert_interval))?;
        let delay_span = preempt_delay_ms.as_ref().map(Spanned::span).unwrap_or_default();
        let preempt = settings::preempt(preempt, preempt_delay_ms.map(Spanned::into_inner));
        let preempt = source.checked(delay_span, preempt)?;
        let form_span = checksum.as_ref().map(Spanned::span).unwrap_or_default();
        let form = settings::checksum(*address.as_ref(), checksum.map(Spanned::into_inner));
        let checksum = source.checked(form_span, form)?;
        if let Some(beyond) = unicast_peers.get(MAX_UNICAST_PEERS) {
            return wrong(beyond.span(), &format!("expected at most {MAX_UNICAST_PEERS} unicast_peers"));
        }
        let mut peers = Vec::new();
        for peer in unicast_peers {
            peers.push(match peer.as_ref() {
                IpAddr::V4(peer) if is_v4 => IpAddr::V4(*peer),
                IpAddr::V4(_) => IpAddr::V6(link_local_of(*peer.as_ref())),
                IpAddr::V6(own) if !is_v4 && own.is_unicast_link_local() => IpAddr::V6(*own),
                // A manager's machine, whose link-local address follows from this one.
                IpAddr::V6(_) if !is_v4 && host.is_ipv6() => IpAddr::V6(link_local_of(*peer.as_ref())),
                IpAddr::V6(_) => {
                    let message = "expected the other balancer's IPv4 address, or its link-local one where the \
                                   VIP is IPv6";
                    return wrong(peer.span(), message);
                }
            });
        }
        Ok(Vip {
            address: address.into_inner(),
            vrid: vrid.into_inner(),
            preference,
            advert_interval,
            preempt,
            checksum,
            unicast_peers: peers,
            virtual_mac,
        })
    }
}

fn preference(
    source: &Source,
    role: Option<Spanned<Role>>,
    order: Option<Spanned<Vec<HostName>>>,
) -> Result<Preference, ConfigError> {
    let wrong = |span, message: &str| Err(source.error_at(Some(span), message));
    match (role, order) {
        (Some(_), Some(order)) => {
            wrong(order.span(), "an order of hosts says who is preferred: leave `role` out, or the order")
        }
        (Some(role), None) => Ok(Preference::Role(role.into_inner())),
        (None, None) => Ok(Preference::Spread),
        (None, Some(order)) => {
            let span = order.span();
            let hosts = order.into_inner();
            if hosts.is_empty() || hosts.len() > MAX_PEERS {
                let message =
                    format!("expected the names of 1 to {MAX_PEERS} hosts, the preferred one first");
                return wrong(span, &message);
            }
            for (at, host) in hosts.iter().enumerate() {
                if let Err(message) = check_name(host.as_str()) {
                    return wrong(span, &format!("`{host}` is no host: {message}"));
                }
                if hosts[..at].contains(host) {
                    return wrong(span, &format!("`{host}` is in the order twice"));
                }
            }
            Ok(Preference::Order(hosts))
        }
    }
}

/// The link-local address that the machine at `address` makes of its MAC address (RFC 4291, appendix A),
/// which here is made of its address: every manager knows it without asking.
pub fn link_local_of(address: IpAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac_of(address);
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, word(a ^ 2, b), word(c, 0xff), word(0xfe, d), word(e, f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balancers_link_local_address_is_that_of_its_mac_address() {
        // 02:48:c0:a8:0a:0a with the universal bit turned and ff:fe in the middle.
        let expected = "fe80::48:c0ff:fea8:a0a".parse();
        assert_eq!(Ok(link_local_of(IpAddr::from([192, 168, 10, 10]))), expected);
    }
}
