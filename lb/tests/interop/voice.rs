//! How the routers of a story speak: interval, to whom, and with which checksum, in the words of either
//! program.

use std::net::Ipv4Addr;
use std::time::Duration;

use vrrp::packet::MULTICAST;

use crate::capture::Capture;

/// The time between two adverts, unless a story is about it: three in a row get lost only on a machine
/// that stands still for most of a second.
pub(crate) const INTERVAL: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub(crate) struct Voice {
    pub(crate) interval: Duration,
    /// The others' addresses; none for multicast.
    pub(crate) unicast: Vec<Ipv4Addr>,
    /// The checksum of RFC 9568, without a pseudo-header.
    pub(crate) message_only: bool,
}

impl Voice {
    /// As both programs speak by default.
    pub(crate) fn usual() -> Self {
        Voice { interval: INTERVAL, unicast: Vec::new(), message_only: false }
    }

    pub(crate) fn every(interval: Duration) -> Self {
        Voice { interval, ..Voice::usual() }
    }

    /// The settings of our `[[vip]]` for the router at `own`.
    pub(crate) fn ours(&self, own: Ipv4Addr) -> String {
        let mut settings = format!("advert_interval_ms = {}\n", self.interval.as_millis());
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
        settings
    }

    /// Asserts that everybody spoke like this: to the group or to the peers alone, and with this checksum.
    pub(crate) fn was_spoken(&self, capture: &Capture) {
        let adverts = capture.since(Duration::ZERO).into_iter().filter(|packet| packet.advert().is_some());
        for packet in adverts {
            let addressed = if self.unicast.is_empty() {
                packet.to == MULTICAST
            } else {
                self.unicast.contains(&packet.to)
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
