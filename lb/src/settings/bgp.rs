//! The `[bgp]` part of the settings.

use std::net::IpAddr;

use kit::config::{ConfigError, Source, Spanned};
use serde::Deserialize;
use vrrp::settings;

use super::Vip;

/// The most addresses that are announced.
const MAX_ADDRESSES: usize = 255;

/// The longest name of a network interface, in bytes (IFNAMSIZ of `linux/if.h`, less the end).
const MAX_INTERFACE: usize = 15;

/// The interface unless told otherwise: it is there everywhere.
const DEFAULT_INTERFACE: &str = "lo";

/// Addresses that this balancer has beside others, for a BGP daemon to announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bgp {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
    /// Where they are put while this balancer can serve.
    pub interface: String,
}

/// Public addresses that all balancers have at the same time, announced by a BGP daemon on this machine.
#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct BgpFile {
    /// The addresses, IPv4 or IPv6, 1 to 255; none that is in a `[[vip]]`.
    addresses: Vec<Spanned<IpAddr>>,
    /// The interface that they are put on while this balancer can serve, and whose addresses the daemon announces.
    #[serde(default = "default_interface")]
    #[cfg_attr(test, schemars(with = "String", extend("default" = DEFAULT_INTERFACE)))]
    interface: Spanned<String>,
}

fn default_interface() -> Spanned<String> {
    Spanned::new(0..0, DEFAULT_INTERFACE.to_owned())
}

impl BgpFile {
    /// Checked against `own`, the machine's address, and the addresses of the virtual routers.
    pub(super) fn check(self, source: &Source, own: IpAddr, vips: &[Vip]) -> Result<Bgp, ConfigError> {
        let BgpFile { addresses, interface } = self;
        let wrong = |span, message: &str| Err(source.error_at(Some(span), message));
        let name = interface.as_ref();
        let is_name = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
        if name.is_empty() || name.len() > MAX_INTERFACE || !name.chars().all(is_name) {
            return wrong(interface.span(), "expected the name of a network interface, such as \"lo\"");
        }
        if addresses.is_empty() {
            return Err(source.error_in("bgp.addresses", "expected an address at least"));
        }
        if let Some(beyond) = addresses.get(MAX_ADDRESSES) {
            return wrong(beyond.span(), &format!("expected at most {MAX_ADDRESSES} addresses"));
        }
        let mut checked = Vec::new();
        for address in addresses {
            let span = address.span();
            let address = address.into_inner();
            source.checked(span.clone(), settings::address(address))?;
            if address == own {
                return wrong(span, "an announced address must not be the machine's own");
            }
            if checked.contains(&address) {
                return wrong(span, "this address is in the list twice");
            }
            if vips.iter().any(|vip| vip.address == address) {
                return wrong(span, "a [[vip]] has this address: one balancer holds it, or all announce it");
            }
            checked.push(address);
        }
        Ok(Bgp { addresses: checked, interface: interface.into_inner() })
    }
}
