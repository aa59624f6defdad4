//! Who the other managers are: those of the configuration, and those that these know.
//!
//! One peer in the configuration is enough. A snapshot names the managers that its sender has heard
//! lately; whoever is new among them is told from then on, and remembered across restarts. A peer is
//! never dropped because it is silent: its machines may live on where its manager does not.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::{HostName, Problem};

use super::{Engine, Peer, Severity, Time};

/// The most peers a manager has. 64 hosts is the most the design speaks of.
pub const MAX_PEERS: usize = 256;

/// A manager is named to others while it was heard within this, so that one that was taken away for good
/// is not taught from one to the other for ever.
const NAMED_FOR: Duration = Duration::from_secs(60);

impl Engine {
    /// The other managers: those of the configuration, and those that were learned of.
    pub fn peer_addresses(&self) -> Vec<IpAddr> {
        self.peers.keys().copied().collect()
    }

    /// The managers that were heard lately, for others to know.
    pub(super) fn heard_peers(&self, now: Time) -> Vec<IpAddr> {
        let lately =
            |peer: &&Peer| peer.heard_by(now).is_some_and(|heard| now.saturating_sub(heard) < NAMED_FOR);
        self.peers.values().filter(lately).map(|peer| peer.address).collect()
    }

    /// A peer knows these managers: those that are new are peers from now on.
    pub(super) fn learn_peers(&mut self, named: &[IpAddr]) {
        for address in named {
            self.admit(*address);
        }
    }

    /// The manager at `address` belongs to the cluster. Changes nothing for one that is known, and for an
    /// address that cannot be a manager's.
    pub fn admit(&mut self, address: IpAddr) {
        let ours = address == self.config.address
            || self.config.pool.contains(address)
            || self.config.vips.iter().any(|vip| vip.address == address);
        if ours
            || !self.config.network.contains(&address)
            || self.peers.contains_key(&address)
            || self.peers.len() >= MAX_PEERS
        {
            return;
        }
        self.peers.insert(address, Peer::new(address));
        self.placing.wait_for_another(self.last_look.unwrap_or_default());
        self.desired.learned_peers.insert(address);
        self.note(
            Severity::Info,
            "peer.learned",
            address.to_string(),
            "a manager of this cluster".to_owned(),
        );
    }

    /// No two hosts have the same name, by which their endpoints are told apart. A host whose manager now
    /// has another address keeps its name.
    ///
    /// # Errors
    ///
    /// 409 when a living manager elsewhere has it.
    pub(super) fn check_name(&mut self, now: Time, from: IpAddr, name: &HostName) -> Result<(), Problem> {
        if *name == self.config.name {
            let detail = format!("this host is called `{name}` too: give each host a name of its own");
            return Err(Problem::conflict(detail));
        }
        let namesake = |peer: &&mut Peer| {
            peer.address != from && peer.held.as_ref().is_some_and(|held| held.host == *name)
        };
        let Some(other) = self.peers.values_mut().find(namesake) else { return Ok(()) };
        if other.is_alive(now) {
            let detail =
                format!("{} is called `{name}` too: give each host a name of its own", other.address);
            return Err(Problem::conflict(detail));
        }
        other.held = None;
        other.ids = None;
        Ok(())
    }

    /// The host `name` is gone for good: its manager is no peer any more, and the balancer gets none of
    /// its endpoints. A host that lives is learned again as soon as another manager names it.
    ///
    /// # Errors
    ///
    /// 404 for an unknown host, 409 for one that the configuration names or that is alive.
    pub fn forget_peer(&mut self, now: Time, name: &HostName) -> Result<(), Problem> {
        let named = |peer: &&Peer| match &peer.held {
            Some(held) => held.host == *name,
            None => peer.address.to_string() == name.0,
        };
        let Some((address, alive)) =
            self.peers.values().find(named).map(|peer| (peer.address, peer.is_alive(now)))
        else {
            return Err(Problem {
                parameter: Some("host".to_owned()),
                ..Problem::not_found(format!(
                    "there is no other host `{name}`; `manager status` shows those that there are"
                ))
            });
        };
        if self.config.peers.contains(&address) {
            return Err(Problem::conflict(format!(
                "{address} is in `peers` of this manager's configuration: take it out there and restart the manager"
            )));
        }
        if alive {
            return Err(Problem::conflict(format!("`{name}` is alive: stop its manager first")));
        }
        self.peers.remove(&address);
        self.desired.learned_peers.remove(&address);
        if let Some(inherited) = &mut self.inherited {
            for upstreams in Arc::make_mut(inherited).values_mut() {
                upstreams.retain(|upstream| upstream.zone != *name);
            }
        }
        self.note(Severity::Info, "peer.forgotten", name.to_string(), format!("it was at {address}"));
        Ok(())
    }
}
