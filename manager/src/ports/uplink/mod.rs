//! Watches the interface that leaves the host, by netlink: whether it has a carrier, and how much it has
//! received. (The files in `/sys` are those of the network that was there when it was mounted, which in a
//! network namespace is another one.)

use std::net::IpAddr;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};
use nix::libc;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::{Error, Handle, MulticastGroup, new_multicast_connection};
use tokio::time::{Instant, timeout};

use super::neighbours;
use crate::engine::{Outcome, UplinkReading};

/// It is read this often even if the kernel tells nothing …
const READ_EVERY: Duration = Duration::from_millis(100);

/// … and told this often even if only its counter has changed.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// What keeps it from being read is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Tells what becomes of the interface `name`, for ever: a change of its carrier at once.
pub async fn watch(name: &str, tell: impl Fn(UplinkReading)) {
    loop {
        let error = match new_multicast_connection(&[MulticastGroup::Link]) {
            Ok((connection, handle, mut changes)) => {
                let connection = tokio::spawn(connection);
                let mut told: Option<(UplinkReading, Instant)> = None;
                let error = loop {
                    let reading = match read(&handle, name).await {
                        Ok(reading) => reading,
                        Err(error) => break error.to_string(),
                    };
                    let due = told.as_ref().is_none_or(|(before, at)| {
                        at.elapsed() >= TELL_EVERY || carrier(before) != carrier(&reading)
                    });
                    if due {
                        tell(reading.clone());
                        told = Some((reading, Instant::now()));
                    }
                    // Whatever interface it is that changed: reading ours again costs next to nothing.
                    if let Ok(None) = timeout(READ_EVERY, changes.next()).await {
                        break "the kernel's messages have ended".to_owned();
                    }
                    while changes.try_recv().is_ok() {}
                };
                connection.abort();
                error
            }
            Err(error) => error.to_string(),
        };
        tell(UplinkReading::Unreadable(error));
        tokio::time::sleep(AGAIN).await;
    }
}

fn carrier(reading: &UplinkReading) -> Option<bool> {
    match reading {
        UplinkReading::Link { carrier, .. } => Some(*carrier),
        UplinkReading::Missing | UplinkReading::Unreadable(_) => None,
    }
}

async fn read(handle: &Handle, name: &str) -> Result<UplinkReading, Error> {
    let mut links = handle.link().get().match_name(name).execute();
    match links.try_next().await {
        Ok(Some(link)) => Ok(understand(&link)),
        Ok(None) => Ok(UplinkReading::Missing),
        Err(Error::NetlinkError(message)) if message.raw_code() == -libc::ENODEV => {
            Ok(UplinkReading::Missing)
        }
        Err(error) => Err(error),
    }
}

/// A cable has a carrier when the interface is switched on and the driver hears the other end; the
/// operational state (RFC 2863) that follows from both comes a little later.
fn understand(link: &LinkMessage) -> UplinkReading {
    let up = LinkFlags::Up | LinkFlags::LowerUp;
    let received = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Stats64(stats) => Some(stats.rx_packets),
        _ => None,
    });
    UplinkReading::Link { carrier: link.header.flags.contains(up), received: received.unwrap_or_default() }
}

/// Asks all of `targets` on `bridge` at the same time; says how many answered.
pub async fn ask(bridge: &str, targets: &[IpAddr]) -> Outcome {
    let answers = join_all(targets.iter().map(|target| neighbours::probe(bridge, *target))).await;
    let mut answered = 0;
    for answer in answers {
        match answer {
            Ok(mac) => answered += usize::from(mac.is_some()),
            Err(error) => return Outcome::Failed(error.to_string()),
        }
    }
    Outcome::Answered(answered)
}
