//! What the speaker does to the world: sends adverts, moves addresses, announces them. Each deed is done
//! when its call returns, so that the order the router wants is the order on the wire.

use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use tracing::{info, warn};
use vrrp::fitness::OFFER;
use vrrp::identity::advertised;
use vrrp::packet::{PRIORITY_RELEASE, multicast};
use vrrp::{Advert, Effect};

use super::address::{Addresses, LIFETIME_S};
use super::adverts::{AdvertSocket, Arrived};
use super::announced::{ANNOUNCED_S, Deed};
use super::announcer::Announcer;
use super::frames::{self, Mac};
use super::interface::{Interface, LINK_LOCAL_WAIT};
use super::own_address;
use super::virtual_interface::VirtualInterface;
use crate::settings::{Settings, Vip};

/// The sockets of one speaker.
#[derive(Debug)]
pub(crate) struct Network {
    interface: Interface,
    v4: Option<AdvertSocket>,
    v6: Option<AdvertSocket>,
    announcer: Announcer,
    addresses: Addresses,
    /// In the order of the settings.
    places: Vec<Option<VirtualInterface>>,
    /// Where the addresses are put that a BGP daemon announces.
    announced_on: Option<u32>,
    /// The families take turns: a flood in one must not keep the other's adverts from being read.
    v6_first: bool,
    /// Whether the interface takes what we send; logged when it changes.
    sends: bool,
}

impl Network {
    /// Opens everything, and waits for an IPv6 address to speak from where one is needed and not there
    /// yet. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// With what to do about it: the interface or the address does not exist, or a right is missing.
    pub(super) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_within(settings, LINK_LOCAL_WAIT).await
    }

    /// As [`open`](Self::open), but waits for nothing: who has to start a proxy again has no time.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) async fn open_at_once(settings: &Settings) -> anyhow::Result<Self> {
        Self::open_within(settings, Duration::ZERO).await
    }

    async fn open_within(settings: &Settings, wait: Duration) -> anyhow::Result<Self> {
        let interface = Interface::find(&settings.interface)?;
        let vips_of = |v4: bool| settings.vips.iter().filter(move |vip| vip.address.is_ipv4() == v4);
        let listens = |v4: bool| vips_of(v4).any(|vip| vip.unicast_peers.is_empty());
        let mut v4 = None;
        if vips_of(true).next().is_some() {
            v4 = Some(AdvertSocket::open(&interface, own_address(settings)?.into(), listens(true))?);
        }
        let mut v6 = None;
        if vips_of(false).next().is_some() {
            let virtual_ones: Vec<_> =
                vips_of(false).flat_map(|vip| advertised(vip.vrid, vip.address)).collect();
            let own = interface.link_local(&virtual_ones, wait).await?;
            v6 = Some(AdvertSocket::open(&interface, own.into(), listens(false))?);
        }
        let addresses = Addresses::open()?;
        let mut places = Vec::new();
        for vip in &settings.vips {
            places.push(if vip.virtual_mac {
                let (vrid, address) = (vip.vrid, vip.address);
                Some(VirtualInterface::ensure(&addresses.handle, &interface, vrid, address).await?)
            } else {
                None
            });
        }
        let announcer = Announcer::open(&interface)?;
        let announced_on = match &settings.bgp {
            None => None,
            Some(bgp) => Some(Interface::find(&bgp.interface).context("[bgp]")?.index),
        };
        let (v6_first, sends) = (false, true);
        Ok(Network { interface, v4, v6, announcer, addresses, places, announced_on, v6_first, sends })
    }

    /// The address that adverts for `vip` are sent from.
    pub(super) fn own(&self, vip: &Vip) -> Option<IpAddr> {
        self.socket(vip.address.is_ipv4()).map(|socket| socket.own)
    }

    fn socket(&self, v4: bool) -> Option<&AdvertSocket> {
        if v4 { self.v4.as_ref() } else { self.v6.as_ref() }
    }

    /// Resolves when something arrived since the last time it resolved.
    pub(super) async fn readable(&self) -> io::Result<()> {
        let of = async |socket: &Option<AdvertSocket>| match socket {
            Some(socket) => socket.readable().await,
            None => pending().await,
        };
        tokio::select! {
            readable = of(&self.v4) => readable,
            readable = of(&self.v6) => readable,
        }
    }

    /// The next packet that is waiting, if any.
    ///
    /// # Errors
    ///
    /// As [`AdvertSocket::try_receive`].
    pub(super) fn try_receive(&mut self) -> io::Result<Option<Arrived>> {
        let mut sockets = [&mut self.v4, &mut self.v6];
        if self.v6_first {
            sockets.reverse();
        }
        self.v6_first = !self.v6_first;
        for socket in sockets.into_iter().flatten() {
            if let Some(arrived) = socket.try_receive()? {
                return Ok(Some(arrived));
            }
        }
        Ok(None)
    }

    /// Takes off what an earlier speaker left behind.
    ///
    /// # Errors
    ///
    /// As [`Addresses::remove`].
    pub(crate) async fn remove_left_over(&self, settings: &Settings) -> anyhow::Result<()> {
        let left = |address: IpAddr| info!(%address, "removed an address that a speaker left behind");
        for (index, vip) in settings.vips.iter().enumerate() {
            if self.remove(index, vip).await? {
                left(vip.address);
            }
        }
        for address in settings.bgp.iter().flat_map(|bgp| &bgp.addresses) {
            if self.announce(*address, Deed::Remove).await? {
                left(*address);
            }
        }
        Ok(())
    }

    /// Does to an address that a BGP daemon announces what is to be done; whether it was there that was to be removed.
    ///
    /// # Errors
    ///
    /// As [`Addresses::hold`] and [`Addresses::remove`].
    pub(super) async fn announce(&self, address: IpAddr, deed: Deed) -> anyhow::Result<bool> {
        let Some(index) = self.announced_on else { return Ok(false) };
        match deed {
            Deed::Hold => self.addresses.hold(index, address, ANNOUNCED_S).await.map(|()| false),
            Deed::Remove => self.addresses.remove(index, address).await,
        }
    }

    /// Says that this machine lets go of all its addresses, in the name of a speaker that cannot.
    pub(crate) fn say_released(&mut self, vips: &[Vip]) {
        for (index, vip) in vips.iter().enumerate() {
            self.send(index, vip, PRIORITY_RELEASE, vip.advert_interval);
        }
    }

    /// Does what the router of `vip`, the one at `index` of the settings, wants; how many adverts it sent.
    /// What concerns the address has to succeed; a send that fails is logged and done without, as if it
    /// had been lost on the way.
    ///
    /// # Errors
    ///
    /// When the address cannot be put on or taken off.
    pub(super) async fn carry_out(&mut self, index: usize, vip: &Vip, effect: Effect) -> anyhow::Result<u64> {
        match effect {
            Effect::SendAdvert { priority, interval } => {
                return Ok(self.send(index, vip, priority, interval));
            }
            Effect::Offer { to, interval } => return Ok(self.offer(vip, to, interval)),
            Effect::Announce => {
                let (_, mac) = self.place(index);
                for address in advertised(vip.vrid, vip.address) {
                    let result = self.announcer.announce(address, mac);
                    self.note(result);
                }
            }
            Effect::AddAddress | Effect::RenewAddress => self.hold(index, vip).await?,
            Effect::RemoveAddress => {
                self.remove(index, vip).await?;
            }
            Effect::Changed(transition) => info!(
                vrid = vip.vrid,
                address = %vip.address,
                "{:?} -> {:?}: {}", transition.from, transition.to, transition.reason
            ),
        }
        Ok(0)
    }

    /// The interface that the address of the router at `index` is put on, and its MAC address.
    fn place(&self, index: usize) -> (u32, Mac) {
        match self.places.get(index).copied().flatten() {
            Some(place) => (place.index, place.mac),
            None => (self.interface.index, self.interface.mac),
        }
    }

    async fn hold(&self, index: usize, vip: &Vip) -> anyhow::Result<()> {
        if let Some(place) = self.places.get(index).copied().flatten() {
            place.set_up(&self.addresses.handle, true).await?;
        }
        // The one that clients use first.
        for address in advertised(vip.vrid, vip.address).into_iter().rev() {
            self.addresses.hold(self.place(index).0, address, LIFETIME_S).await?;
        }
        Ok(())
    }

    async fn remove(&self, index: usize, vip: &Vip) -> anyhow::Result<bool> {
        let mut was_there = false;
        for address in advertised(vip.vrid, vip.address).into_iter().rev() {
            was_there |= self.addresses.remove(self.place(index).0, address).await?;
        }
        if let Some(place) = self.places.get(index).copied().flatten() {
            place.set_up(&self.addresses.handle, false).await?;
        }
        Ok(was_there)
    }

    /// Sends one advert to the group, or to each of the peers; how many were sent.
    fn send(&mut self, index: usize, vip: &Vip, priority: u8, interval: Duration) -> u64 {
        let addresses = advertised(vip.vrid, vip.address);
        let advert = Advert { vrid: vip.vrid, priority, interval, addresses };
        let Some(socket) = self.socket(vip.address.is_ipv4()) else { return 0 };
        let own = socket.own;
        let results: Vec<io::Result<()>> = if vip.unicast_peers.is_empty() {
            let group = multicast(own);
            let message = advert.encode(vip.checksum, own, group);
            vec![match self.places.get(index).copied().flatten() {
                Some(place) => self.announcer.send(&frames::advert(place.mac, own, &message)),
                None => socket.send(&message, group),
            }]
        } else {
            let peers = vip.unicast_peers.iter();
            peers.map(|peer| socket.send(&advert.encode(vip.checksum, own, *peer), *peer)).collect()
        };
        let mut sent = 0;
        for result in results {
            sent += u64::from(result.is_ok());
            self.note(result);
        }
        sent
    }

    /// Says to the one at `to` alone that it is to have the address; how many adverts were sent.
    fn offer(&mut self, vip: &Vip, to: IpAddr, interval: Duration) -> u64 {
        let addresses = advertised(vip.vrid, vip.address);
        let advert = Advert { vrid: vip.vrid, priority: OFFER, interval, addresses };
        let Some(socket) = self.socket(vip.address.is_ipv4()) else { return 0 };
        let result = socket.send(&advert.encode(vip.checksum, socket.own, to), to);
        let sent = u64::from(result.is_ok());
        self.note(result);
        sent
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
