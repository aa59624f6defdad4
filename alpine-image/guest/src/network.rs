//! Gives the machine its address. There is no DHCP: the seed says it.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::net::if_::if_nametoindex;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder};

use crate::wait::until_found;

/// The machine's one network card.
const INTERFACE: &str = "eth0";

/// Brings up `lo` and the card, which has `patience` to appear, with `address` and a route through
/// `gateway` to everywhere else. What is set already is fine.
pub(crate) fn configure(address: Ipv4Addr, prefix: u8, gateway: Ipv4Addr, patience: Duration) -> Result<()> {
    ensure!(prefix <= 32, "the seed's prefix is {prefix}: expected a length from 0 to 32");
    let card = until_found(patience, || if_nametoindex(INTERFACE).ok()).with_context(|| {
        format!("there is no network interface {INTERFACE}: give the machine a network card and its driver")
    })?;
    let loopback = if_nametoindex("lo").context("there is no interface lo")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        bring_up(&handle, loopback).await.context("lo cannot be brought up")?;
        let add = handle.address().add(card, address.into(), prefix).replace();
        add.execute().await.with_context(|| format!("{address}/{prefix} cannot be set on {INTERFACE}"))?;
        bring_up(&handle, card).await.with_context(|| format!("{INTERFACE} cannot be brought up"))?;
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).output_interface(card);
        if !contains(address, prefix, gateway) {
            // No route leads to it. It is on the same wire all the same.
            route = route.onlink();
        }
        let add = handle.route().add(route.build()).replace();
        add.execute().await.with_context(|| format!("the gateway {gateway} cannot be set"))
    })
}

async fn bring_up(handle: &Handle, index: u32) -> Result<(), rtnetlink::Error> {
    let change = LinkMessageBuilder::<LinkUnspec>::new().index(index).up().build();
    handle.link().set(change).execute().await
}

/// Whether `other` is in the network of `address`.
fn contains(address: Ipv4Addr, prefix: u8, other: Ipv4Addr) -> bool {
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    (address.to_bits() ^ other.to_bits()) & mask == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_what_their_prefix_says() {
        let ours = Ipv4Addr::new(10, 77, 0, 11);
        for (prefix, gateway, inside) in [
            (24, [10, 77, 0, 1], true),
            (24, [10, 77, 1, 1], false),
            (23, [10, 77, 1, 1], true),
            (32, [10, 77, 0, 1], false),
            (32, [10, 77, 0, 11], true),
            (31, [10, 77, 0, 10], true),
            (0, [192, 168, 0, 1], true),
        ] {
            assert_eq!(contains(ours, prefix, gateway.into()), inside, "/{prefix} {gateway:?}");
        }
    }
}
