//! What the speaker does to the world: sends adverts, moves addresses, announces them. Each deed is done
//! when its call returns, so that the order the router wants is the order on the wire.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tracing::{info, warn};
use vrrp::packet::PRIORITY_RELEASE;
use vrrp::{Advert, Effect};

use super::address::Addresses;
use super::adverts::AdvertSocket;
use super::arp::Announcer;
use super::interface::Interface;
use super::own_address;
use crate::settings::{Settings, Vip};

/// The sockets of one speaker.
#[derive(Debug)]
pub(crate) struct Network {
    pub(super) own: Ipv4Addr,
    pub(super) adverts: AdvertSocket,
    announcer: Announcer,
    addresses: Addresses,
    /// Whether the interface takes what we send; logged when it changes.
    sends: bool,
}

impl Network {
    /// Opens everything. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// With what to do about it: the interface or the address does not exist, or a right is missing.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let own = own_address(settings)?;
        let interface = Interface::find(&settings.interface)?;
        Ok(Network {
            own,
            adverts: AdvertSocket::open(&interface, own)?,
            announcer: Announcer::open(&interface)?,
            addresses: Addresses::open(interface.index)?,
            sends: true,
        })
    }

    /// Takes off what an earlier speaker left behind.
    ///
    /// # Errors
    ///
    /// As [`Addresses::remove`].
    pub(crate) async fn remove_left_over(&self, vips: &[Vip]) -> anyhow::Result<()> {
        for vip in vips {
            if self.addresses.remove(vip.address).await? {
                info!(address = %vip.address, "removed an address that a speaker left behind");
            }
        }
        Ok(())
    }

    /// Says that this machine lets go of all its addresses, in the name of a speaker that cannot.
    pub(crate) fn say_released(&mut self, vips: &[Vip]) {
        for vip in vips {
            self.send(vip, PRIORITY_RELEASE, vip.advert_interval);
        }
    }

    /// Does what the router of `vip` wants. What concerns the address has to succeed; a send that fails
    /// is logged and done without, as if it had been lost on the way.
    ///
    /// # Errors
    ///
    /// When the address cannot be put on or taken off.
    pub(super) async fn carry_out(&mut self, vip: &Vip, effect: Effect) -> anyhow::Result<()> {
        match effect {
            Effect::SendAdvert { priority, interval } => self.send(vip, priority, interval),
            Effect::Announce => {
                let result = self.announcer.announce(vip.address);
                self.note(result);
            }
            Effect::AddAddress | Effect::RenewAddress => self.addresses.hold(vip.address).await?,
            Effect::RemoveAddress => {
                self.addresses.remove(vip.address).await?;
            }
            Effect::Changed(transition) => info!(
                vrid = vip.vrid,
                address = %vip.address,
                "{:?} -> {:?}: {}", transition.from, transition.to, transition.reason
            ),
        }
        Ok(())
    }

    fn send(&mut self, vip: &Vip, priority: u8, interval: Duration) {
        let advert = Advert { vrid: vip.vrid, priority, interval, addresses: vec![vip.address.into()] };
        let result = self.adverts.send(&advert);
        self.note(result);
    }

    fn note(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) if !self.sends => info!("the interface takes packets again"),
            Err(error) if self.sends => {
                warn!(%error, "the interface takes no packets; trying on (is it up?)");
                self.sends = false;
                return;
            }
            Ok(()) | Err(_) => return,
        }
        self.sends = true;
    }
}
