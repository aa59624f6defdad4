//! The `[[vip]]` part of the settings.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;
use vrrp::ChecksumForm;
use vrrp::settings::{self, MAX_UNICAST_PEERS};

/// One virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// The virtual IP address.
    pub address: IpAddr,
    /// The virtual router's id; IPv4 and IPv6 are numbered apart.
    pub vrid: u8,
    /// The priority while fit: 200 to 254.
    pub priority: u8,
    /// The time between two adverts.
    pub advert_interval: Duration,
    /// Whether, and after how long, a fit holder of lower priority is preempted.
    pub preempt: Option<Duration>,
    /// What the checksum of a sent advert covers; both forms are taken.
    pub checksum: ChecksumForm,
    /// Who gets the adverts and whose are taken; all on the segment when empty.
    pub unicast_peers: Vec<IpAddr>,
    /// Whether the address has the virtual router's own MAC address, whoever holds it.
    pub virtual_mac: bool,
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
    /// The priority while the balancer can serve, 200 to 254.
    priority: Spanned<u8>,
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

/// All of them, checked against each other and against `own`, the machine's address.
pub(super) fn check(
    source: &Source,
    own: IpAddr,
    files: Vec<Spanned<VipFile>>,
) -> Result<Vec<Vip>, ConfigError> {
    let mut vips: Vec<Vip> = Vec::new();
    for file in files {
        let span = file.span();
        let vip = file.into_inner().check(source, own)?;
        if vip.address == own {
            return Err(source.error_at(Some(span), "the VIP must not be the machine's own address"));
        }
        vips.push(vip);
        let all: Vec<_> = vips.iter().map(|vip| (vip.address, vip.vrid)).collect();
        source.checked(span, settings::distinct(&all))?;
    }
    Ok(vips)
}

impl VipFile {
    fn check(self, source: &Source, own: IpAddr) -> Result<Vip, ConfigError> {
        let VipFile {
            address,
            vrid,
            priority,
            advert_interval_ms,
            preempt,
            preempt_delay_ms,
            checksum,
            unicast_peers,
            virtual_mac,
        } = self;
        let wrong = |span, message: &str| Err(source.error_at(Some(span), message));
        let is_v4 = address.as_ref().is_ipv4();
        source.checked(address.span(), settings::address(*address.as_ref()))?;
        source.checked(vrid.span(), settings::vrid(*vrid.as_ref()))?;
        if !(200..=254).contains(priority.as_ref()) {
            return wrong(
                priority.span(),
                "expected a priority from 200 to 254: lower ones mean unfit, 255 belongs to an address owner",
            );
        }
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
        for peer in &unicast_peers {
            match peer.as_ref() {
                peer_address if *peer_address == own => {
                    return wrong(peer.span(), "a balancer is not its own peer: leave its address out");
                }
                IpAddr::V4(_) if is_v4 => {}
                IpAddr::V6(peer) if !is_v4 && is_link_local(*peer) => {}
                _ if is_v4 => return wrong(peer.span(), "expected an IPv4 address, as the VIP is"),
                _ => {
                    let message = "expected a link-local IPv6 address (fe80::…): adverts are sent from those";
                    return wrong(peer.span(), message);
                }
            }
        }
        Ok(Vip {
            address: address.into_inner(),
            vrid: vrid.into_inner(),
            priority: priority.into_inner(),
            advert_interval,
            preempt,
            checksum,
            unicast_peers: unicast_peers.into_iter().map(Spanned::into_inner).collect(),
            virtual_mac,
        })
    }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local()
}
