//! How the routers of a story speak: interval, to whom, and with which checksum, in the words of either
//! program.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use vrrp::identity::virtual_link_local;
use vrrp::packet::multicast;

use crate::capture::Capture;
use crate::stage::{VIP, VIP_V6, VRID};

/// The time between two adverts, unless a story is about it: three in a row get lost only on a machine
/// that stands still for most of a second.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub(crate) struct Voice {
    /// The virtual address, and with it the family.
    pub(crate) vip: IpAddr,
    pub(crate) interval: Duration,
    /// The others' addresses; none for multicast.
    pub(crate) unicast: Vec<Ipv4Addr>,
    /// The checksum of RFC 9568, without a pseudo-header.
    pub(crate) message_only: bool,
}

impl Voice {
    /// As both programs speak by default.
    pub(crate) fn usual() -> Self {
        Voice { vip: VIP.into(), interval: INTERVAL, unicast: Vec::new(), message_only: false }
    }

    pub(crate) fn ipv6() -> Self {
        Voice { vip: VIP_V6.into(), ..Voice::usual() }
    }

    /// To each other alone.
    pub(crate) fn unicast(lasts: &[u8]) -> Self {
        Voice {
            unicast: lasts.iter().map(|last| Ipv4Addr::new(10, 77, 0, *last)).collect(),
            ..Voice::usual()
        }
    }

    pub(crate) fn with_message_checksum(self) -> Self {
        Voice { message_only: true, ..self }
    }

    pub(crate) fn every(interval: Duration) -> Self {
        Voice { interval, ..Voice::usual() }
    }

    /// The settings of our `[[vip]]` for the router at `own`.
    pub(crate) fn ours(&self, own: Ipv4Addr) -> String {
        let mut settings =
            format!("address = \"{}\"\nadvert_interval_ms = {}\n", self.vip, self.interval.as_millis());
        if self.message_only {
            settings += "checksum = \"message\"\n";
        }
        if !self.unicast.is_empty() {
            let peers: Vec<_> = self.others(own).map(|peer| format!("\"{peer}\"")).collect();
            settings += &format!("unicast_peers = [{}]\n", peers.join(", "));
        }
        settings
    }

    /// The settings of keepalived's instance for the router at `own`.
    pub(crate) fn keepalived(&self, own: Ipv4Addr) -> String {
        let mut settings = format!("advert_int {}\n", self.interval.as_secs_f64());
        if self.message_only {
            settings += " v3_checksum_as_v2\n";
        }
        if !self.unicast.is_empty() {
            let peers: Vec<_> = self.others(own).map(|peer| peer.to_string()).collect();
            settings += &format!(" unicast_src_ip {own}\n unicast_peer {{\n  {}\n }}\n", peers.join("\n  "));
        }
        let addresses = match self.vip {
            IpAddr::V4(vip) => format!("{vip}/32"),
            // The link-local one first, as RFC 9568, section 5.2.9 asks.
            IpAddr::V6(vip) => format!("{}/128\n  {vip}/128", virtual_link_local(VRID)),
        };
        settings += &format!(" virtual_ipaddress {{\n  {addresses}\n }}\n");
        settings
    }

    /// Asserts that everybody spoke like this: to the group or to the peers alone, and with this checksum.
    pub(crate) fn was_spoken(&self, capture: &Capture) {
        let adverts = capture.since(Duration::ZERO).into_iter().filter(|packet| packet.advert().is_some());
        for packet in adverts {
            let addressed = match packet.to {
                IpAddr::V4(to) if !self.unicast.is_empty() => self.unicast.contains(&to),
                to => to == multicast(self.vip),
            };
            assert!(addressed, "{packet:?}");
            let form = if self.message_only { packet.forms.message } else { packet.forms.pseudo_header };
            assert!(form, "{packet:?}");
        }
    }

    fn others(&self, own: Ipv4Addr) -> impl Iterator<Item = &Ipv4Addr> {
        self.unicast.iter().filter(move |peer| **peer != own)
    }
}
