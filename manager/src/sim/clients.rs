//! Clients ask the VIP.

use std::time::Duration;

use super::balancer::Works;
use super::world::{Happening, World};

/// The time between two requests of a client.
const ASK_EVERY: Duration = Duration::from_millis(100);

impl World {
    /// A client asks for each VIP whoever last said that it is there.
    pub(super) fn asks(&mut self, host: usize) {
        let vips = self.hosts[host].config.vips.len();
        let served = (0..vips).filter(|vip| self.would_be_served(host, *vip)).count();
        let (now, answered) = (self.now, served == vips);
        let client = &mut self.hosts[host].client;
        client.asked += vips as u64;
        client.answered += served as u64;
        client.refused_since = if answered { None } else { client.refused_since.or(Some(now)) };
        self.after(ASK_EVERY, Happening::Asks { host });
    }

    /// Whether the client of `host` would be served at that VIP.
    pub(super) fn would_be_served(&self, host: usize, vip: usize) -> bool {
        let Some(at) = self.hosts[host].client.neighbours.get(&vip).copied() else { return false };
        if self.network.link(host, at).cut || self.network.link(at, host).cut {
            return false;
        }
        let Some(guest) = self.hosts[at].balancer().filter(|guest| guest.is_alive()) else { return false };
        let Some(balancer) = &guest.balancer else { return false };
        balancer.has.contains(&vip) && balancer.proxy.works == Works::Well && self.reaches_upstream(at)
    }

    fn reaches_upstream(&self, host: usize) -> bool {
        let Some(balancer) = self.hosts[host].balancer().and_then(|guest| guest.balancer.as_ref()) else {
            return false;
        };
        balancer.proxy.upstreams().any(|address| {
            self.hosts.iter().enumerate().any(|(other, there)| {
                let reachable = !self.network.link(host, other).cut && !self.network.link(other, host).cut;
                reachable && there.guests.values().any(|guest| guest.address() == address && guest.serves())
            })
        })
    }
}
