//! `lb vip`: speaks VRRP for the balancer and holds its virtual addresses. Small and alone in its
//! process, so that nothing the proxy does can delay an advert.
//!
//! ```text
//!              adverts               ticks, orders
//!                 │                        │
//!           [`adverts`]   timers     [`listener`] ── [`vrrp::presence`]: is the proxy there? ([`threads`])
//!                 └───────────┬────────────┘
//!                        [`speaker`]  one [`member`] with its vrrp::Router for each [[vip]] ──▶ [`notify`]
//!                             │ effects, one after the other
//!                        [`network`]
//!            ┌────────────────┼────────────────────────┐
//!       [`adverts`]      [`address`] ◀─ [`announced`] [`announcer`]
//!                        [`virtual_interface`]    [`frames`]
//! ```

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, bail};

use crate::settings::Settings;

pub(crate) mod address;
mod adverts;
mod announced;
mod announcer;
mod complaints;
mod frames;
mod interface;
mod listener;
mod member;
mod network;
mod notify;
mod realtime;
mod speaker;
mod threads;
mod virtual_interface;

pub(crate) use network::Network;

/// Speaks until it is asked to end, and hands the addresses over in order then.
///
/// # Errors
///
/// When the interface or the own address does not exist, a right is missing (CAP_NET_RAW,
/// CAP_NET_ADMIN), or an address cannot be held. What was held is released first.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    if !settings.has_speaker() {
        bail!("the settings have no [[vip]] and no [bgp] to speak for");
    }
    runtime()?.block_on(speaker::run(settings))
}

/// One thread is enough, and the only kind that real-time priority can be given to as a whole.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")
}

/// The address to speak of IPv4 addresses from.
fn own_address(settings: &Settings) -> anyhow::Result<Ipv4Addr> {
    match settings.address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => {
            bail!("adverts for an IPv4 [[vip]] are sent from an IPv4 address, but `address` is {address}")
        }
    }
}
