//! Gives the machine its address. There is no DHCP: the seed says it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

use wire::seed::Seed;

use crate::places::Places;
use crate::wait::until_found;

/// The machine's one network card.
const INTERFACE: &str = "eth0";

/// Brings up `lo` and the card, which has `patience` to appear, with the address of `seed` and a route through its
/// gateway to everywhere else; `mac` is the card's own address, if it is to get another one. What is set already is fine.
pub(crate) fn configure(
    places: &Places,
    seed: &Seed,
    mac: Option<[u8; 6]>,
    patience: Duration,
) -> Result<()> {
    let Seed { address, prefix, gateway, .. } = *seed;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    ensure!(prefix <= longest, "the seed's prefix is {prefix}: expected a length from 0 to {longest}");
    let card = until_found(patience, || if_nametoindex(INTERFACE).ok()).with_context(|| {
        format!("there is no network interface {INTERFACE}: give the machine a network card and its driver")
    })?;
    let loopback = if_nametoindex("lo").context("there is no interface lo")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        bring_up(&handle, loopback).await.context("lo cannot be brought up")?;
        if let Some(mac) = mac {
            let change = LinkMessageBuilder::<LinkUnspec>::new().index(card).address(mac.to_vec()).build();
            let changed = handle.link().set(change).execute().await;
            changed.with_context(|| format!("{INTERFACE} cannot be given its MAC address"))?;
        }
        announce(places);
        let mut add = handle.address().add(card, address, prefix).replace();
        // The manager has asked whether somebody else has it; it must answer at once.
        if address.is_ipv6() {
            add.message_mut().header.flags.insert(AddressHeaderFlags::Nodad);
        }
        add.execute().await.with_context(|| format!("{address}/{prefix} cannot be set on {INTERFACE}"))?;
        bring_up(&handle, card).await.with_context(|| format!("{INTERFACE} cannot be brought up"))?;
        // Where no route leads to it, it is on the same wire all the same.
        let add = handle.route().add(route(card, gateway, !contains(address, prefix, gateway))).replace();
        add.execute().await.with_context(|| format!("the gateway {gateway} cannot be set"))
    })
}

/// Has the kernel say who has the address when the card comes up. Neighbours whose questions nobody answered meanwhile need
/// not ask again, which they would do a second later; without this they do, and nothing else is wrong.
fn announce(places: &Places) {
    for (family, notify) in [("ipv4", "arp_notify"), ("ipv6", "ndisc_notify")] {
        let _ = fs::write(
            places.proc.join("sys/net").join(family).join("conf").join(INTERFACE).join(notify),
            "1",
        );
    }
}

async fn bring_up(handle: &Handle, index: u32) -> Result<(), rtnetlink::Error> {
    let change = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
    handle.link().set(change).execute().await
}

/// To everywhere else by way of `gateway`.
fn route(card: u32, gateway: IpAddr, onlink: bool) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(card);
            if onlink { route.onlink() } else { route }.build()
        }
        IpAddr::V6(gateway) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new().gateway(gateway).output_interface(card);
            if onlink { route.onlink() } else { route }.build()
        }
    }
}

/// Whether `other` is in the network of `address`.
fn contains(address: IpAddr, prefix: u8, other: IpAddr) -> bool {
    match (address, other) {
        (IpAddr::V4(address), IpAddr::V4(other)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            (address.to_bits() ^ other.to_bits()) & mask == 0
        }
        (IpAddr::V6(address), IpAddr::V6(other)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            (address.to_bits() ^ other.to_bits()) & mask == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
        for (ours, prefix, gateway, inside) in [
            ("10.77.0.11", 24, "10.77.0.1", true),
            ("10.77.0.11", 24, "10.77.1.1", false),
            ("10.77.0.11", 23, "10.77.1.1", true),
            ("10.77.0.11", 32, "10.77.0.1", false),
            ("10.77.0.11", 32, "10.77.0.11", true),
            ("10.77.0.11", 31, "10.77.0.10", true),
            ("10.77.0.11", 0, "192.168.0.1", true),
            ("fd00:77::11", 64, "fd00:77::1", true),
            ("fd00:77::11", 64, "fd00:77:0:1::1", false),
            ("fd00:77::11", 0, "fe80::1", true),
            ("fd00:77::11", 128, "fd00:77::11", true),
            ("fd00:77::11", 0, "10.77.0.1", false),
        ] {
            assert_eq!(
                contains(address(ours), prefix, address(gateway)),
                inside,
                "{ours}/{prefix} {gateway}"
            );
        }
    }
}
