//! Who holds the public addresses, and whose balancer could take them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vrrp::fitness::FIT_FROM;
use wire::cluster::{LbView, Phase};
use wire::vip::RouterState;
use wire::{HostName, Problem};

use crate::config::link_local_of;
use crate::engine::{Engine, Peer, Time, lb_id};

impl Engine {
    /// The public addresses meant by an order.
    pub(super) fn meant(&self, vip: Option<IpAddr>) -> Result<Vec<IpAddr>, Problem> {
        let all: Vec<IpAddr> = self.config.vips.iter().map(|vip| vip.address).collect();
        let known = || all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
        match vip {
            Some(vip) if all.contains(&vip) => Ok(vec![vip]),
            Some(vip) => {
                let detail = format!("{vip} is no public address of this cluster; there is: {}", known());
                Err(Problem { parameter: Some("vip".to_owned()), ..Problem::not_found(detail) })
            }
            None if all.is_empty() => {
                Err(Problem::conflict("no [[vip]] is configured: there is nothing to move"))
            }
            None => Ok(all),
        }
    }

    /// The host whose balancer holds all of `addresses`.
    pub(super) fn common_holder(&self, now: Time, addresses: &[IpAddr]) -> Result<HostName, Problem> {
        let view = self.cluster(now);
        let mut hosts: Vec<&HostName> = Vec::new();
        for address in addresses {
            let holders = view.vips.iter().find(|vip| vip.address == *address).map(|vip| &vip.holders);
            let [holder] = holders.map_or(&[][..], Vec::as_slice) else {
                let detail = format!("{address} is not held by exactly one balancer now: see manager status");
                return Err(Problem::conflict(detail));
            };
            let of_holder = |lb: &LbView| lb.id == *holder;
            let host = view.hosts.iter().find(|host| host.lb.as_ref().is_some_and(of_holder));
            hosts.extend(host.map(|host| &host.name));
        }
        hosts.dedup();
        match hosts.as_slice() {
            [one] => Ok((*one).clone()),
            _ => Err(Problem::conflict("the addresses are held by different balancers: name one with --vip")),
        }
    }

    /// The public addresses that the balancer of `host` holds.
    pub(super) fn all_held_by(&self, now: Time, host: &HostName) -> Result<Vec<IpAddr>, Problem> {
        self.host_exists(host)
            .map_err(|problem| Problem { parameter: Some("from".to_owned()), ..problem })?;
        let view = self.cluster(now);
        let lb = view.hosts.iter().find(|known| known.name == *host).and_then(|known| known.lb.as_ref());
        let held = view.vips.iter().filter(|vip| lb.is_some_and(|lb| vip.holders.contains(&lb.id)));
        let held: Vec<IpAddr> = held.map(|vip| vip.address).collect();
        if held.is_empty() {
            return Err(Problem::conflict(format!("the balancer of {host} holds no public address")));
        }
        Ok(held)
    }

    pub(super) fn held_here(&self) -> Vec<IpAddr> {
        let routers = self.balancer.vip.iter().flat_map(|vip| &vip.routers);
        routers.filter(|router| router.state == RouterState::Master).map(|router| router.address).collect()
    }

    pub(in crate::engine) fn peer_called(&self, host: &HostName) -> Option<&Peer> {
        self.peers.values().find(|peer| peer.held.as_ref().is_some_and(|held| held.host == *host))
    }

    pub(super) fn host_exists(&self, host: &HostName) -> Result<(), Problem> {
        if *host == self.config.name || self.peer_called(host).is_some() {
            return Ok(());
        }
        let others = self.peers.values().filter_map(|peer| Some(peer.held.as_ref()?.host.as_str()));
        let known: Vec<&str> = std::iter::once(self.config.name.as_str()).chain(others).collect();
        let detail = format!("there is no host `{host}`; there is: {}", known.join(", "));
        Err(Problem { parameter: Some("to".to_owned()), ..Problem::not_found(detail) })
    }

    /// The host whose balancer can take `addresses` best; else why none can.
    pub(super) fn fittest(&self, now: Time, addresses: &[IpAddr]) -> Result<HostName, String> {
        let mut reasons = Vec::new();
        let mut best: Option<(u8, HostName)> = None;
        for held in self.peers.values().filter_map(|peer| peer.held.as_ref()) {
            match self.can_take(now, &held.host, addresses) {
                Ok(()) => {
                    let vips = held.lb.iter().flat_map(|lb| &lb.vips);
                    let meant = vips.filter(|vip| addresses.contains(&vip.address));
                    let priority = meant.map(|vip| vip.base.unwrap_or(vip.priority)).max();
                    best = best.max(priority.map(|priority| (priority, held.host.clone())));
                }
                Err(reason) => reasons.push(reason),
            }
        }
        match (best, reasons.is_empty()) {
            (Some((_, host)), _) => Ok(host),
            (None, true) => Err("there is no other host that could take it".to_owned()),
            (None, false) => Err(reasons.join("; ")),
        }
    }

    /// Whether the balancer of `host` can take `addresses`; else why not, in words.
    pub(super) fn can_take(&self, now: Time, host: &HostName, addresses: &[IpAddr]) -> Result<(), String> {
        let Some((peer, held)) = self.peer_called(host).and_then(|peer| Some((peer, peer.held.as_ref()?)))
        else {
            return Err(format!("nothing is known of {host} yet"));
        };
        if !peer.is_alive(now) {
            return Err(format!("the manager of {host} is not heard"));
        }
        let Some(lb) = &held.lb else { return Err(format!("{host} has no balancer yet")) };
        let machine = held.machines.iter().find(|machine| machine.id == lb.id);
        match machine.map(|machine| (machine.phase, &machine.reason)) {
            Some((Phase::Ready, _)) => {}
            Some((phase, reason)) => return Err(format!("{} is not ready but {phase}: {reason}", lb.id)),
            None => return Err(format!("{} is not there", lb.id)),
        }
        for address in addresses {
            match lb.vips.iter().find(|vip| vip.address == *address) {
                Some(vip) if vip.state == RouterState::Backup && vip.priority >= FIT_FROM => {}
                Some(vip) if vip.state == RouterState::Backup => {
                    return Err(format!(
                        "{} is unfit: its priority is {}, below {FIT_FROM}",
                        lb.id, vip.priority
                    ));
                }
                _ => return Err(format!("{} does not stand by for {address}", lb.id)),
            }
        }
        Ok(())
    }

    /// Where the balancer of each of these hosts speaks VRRP from: its address, and the link-local one that it makes of its
    /// MAC address.
    pub(super) fn speak_from(&self, hosts: &BTreeMap<IpAddr, HostName>) -> BTreeMap<IpAddr, Vec<IpAddr>> {
        let speaks = |host: &HostName| {
            let lb = self.peer_called(host)?.held.as_ref()?.lb.as_ref()?.address;
            Some(vec![lb, IpAddr::V6(link_local_of(lb))])
        };
        // A balancer of before that was thought of does not tell the priority it has while fit, and takes no such order.
        let told = self.balancer.vip.iter().flat_map(|vip| &vip.routers);
        let takes_it = told.into_iter().all(|router| router.base.is_some());
        let named = hosts.iter().filter(|_| takes_it);
        named.filter_map(|(address, host)| Some((*address, speaks(host)?))).collect()
    }

    /// Whether the balancer of `host` uses all endpoints of this host.
    pub(super) fn knows_our_endpoints(&self, host: &HostName) -> Result<(), String> {
        let knows = self.peer_called(host).is_some_and(|peer| {
            let ours = peer.acknowledged.is_some_and(|(epoch, _)| epoch == self.desired.epoch);
            ours && peer.applied >= self.endpoints_version
        });
        if knows { Ok(()) } else { Err(format!("{} does not use the newest upstreams yet", lb_id(host))) }
    }
}
