//! Addresses that all balancers have at the same time: each is on an interface here while this balancer can serve, and a
//! BGP daemon on this machine announces what is there. Routers then spread connections over all who do (ECMP).
//!
//! ```text
//!                proxy there, fit, knows upstreams
//!   withdrawn ───────────────────────────────────▶ announced    renewed twice a second,
//!       ▲                                              │        or the kernel takes it off
//!       └──────────────────────────────────────────────┘
//!         proxy gone, hung or draining, or the uplink lost
//! ```
//!
//! No election is needed, and nobody is asked: an address that is not here is not announced, whoever else has it. One that
//! has it keeps it when the upstreams are gone, as a holder of a VIP does: they are gone for all.

use std::net::IpAddr;
use std::time::Duration;

use vrrp::presence::Proxy;
use wire::vip::AnnouncedStatus;

use crate::link::Wish;

/// How long the kernel keeps an address that is not renewed, in seconds: nobody else takes its place, and until it is gone
/// the daemon has clients sent here.
pub(super) const ANNOUNCED_S: u32 = 2;

/// How often the lifetime of the addresses is extended.
const RENEW_EVERY: Duration = Duration::from_millis(500);

/// The addresses, which come and go together.
#[derive(Debug)]
pub(super) struct Announced {
    addresses: Vec<IpAddr>,
    announced: bool,
    reason: &'static str,
    since: Duration,
    renew_at: Duration,
    uplink_lost: bool,
}

/// What is to be done to each of the addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Put it on the interface, or extend its lifetime.
    Hold,
    /// Take it off.
    Remove,
}

impl Announced {
    pub(super) fn new(addresses: &[IpAddr]) -> Self {
        Announced {
            addresses: addresses.to_vec(),
            announced: false,
            reason: "just started",
            since: Duration::ZERO,
            renew_at: Duration::ZERO,
            uplink_lost: false,
        }
    }

    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Says whether the host's way to the network beyond is lost.
    pub(super) fn set_uplink_lost(&mut self, lost: bool) {
        self.uplink_lost = lost;
    }

    /// When to look again at the latest.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.announced.then_some(self.renew_at)
    }

    /// What is to be done now that the proxy is `proxy`.
    pub(super) fn look(&mut self, now: Duration, proxy: Proxy<Wish>) -> Option<Deed> {
        let (fit, reason) = match proxy {
            Proxy::Gone => (false, "the proxy is gone"),
            Proxy::There { hung: true, .. } => (false, "the proxy hangs"),
            Proxy::There { wish: Wish { draining: true, .. }, .. } => {
                (false, "the proxy takes no new connections")
            }
            Proxy::There { .. } if self.uplink_lost => (false, "the uplink is lost"),
            Proxy::There { wish: Wish { serving: false, .. }, .. } if !self.announced => {
                (false, "the proxy knows no upstream yet")
            }
            Proxy::There { .. } => (true, "the proxy serves"),
        };
        self.reason = reason;
        self.turn(now, fit)
    }

    /// The speaker ends.
    pub(super) fn stop(&mut self, now: Duration) -> Option<Deed> {
        self.reason = "the speaker ends";
        self.turn(now, false)
    }

    fn turn(&mut self, now: Duration, announced: bool) -> Option<Deed> {
        if self.announced != announced {
            (self.announced, self.since) = (announced, now);
            tracing::info!(addresses = ?self.addresses, announced, reason = self.reason, "announced by BGP");
        } else if !announced || now < self.renew_at {
            return None;
        }
        self.renew_at = now + RENEW_EVERY;
        Some(if announced { Deed::Hold } else { Deed::Remove })
    }

    pub(super) fn status(&self, now: Duration) -> impl Iterator<Item = AnnouncedStatus> {
        let for_ms = u64::try_from(now.saturating_sub(self.since).as_millis()).unwrap_or(u64::MAX);
        self.addresses.iter().map(move |address| AnnouncedStatus {
            address: *address,
            announced: self.announced,
            reason: self.reason.to_owned(),
            for_ms,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(hung: bool, draining: bool, serving: bool) -> Proxy<Wish> {
        Proxy::There { hung, wish: Wish { draining, serving } }
    }

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_is_announced_while_the_proxy_serves_and_renewed_meanwhile() {
        let mut announced = Announced::new(&[[192, 0, 2, 1].into()]);
        assert_eq!((announced.look(s(0), Proxy::Gone), announced.next_wake()), (None, None));
        assert_eq!(announced.look(s(1), there(false, false, false)), None, "nothing to serve with yet");
        assert_eq!(announced.look(s(2), there(false, false, true)), Some(Deed::Hold));
        assert_eq!(
            (announced.look(s(2), there(false, false, true)), announced.next_wake()),
            (None, Some(s(2) + RENEW_EVERY))
        );
        // The upstreams are gone for all.
        assert_eq!(announced.look(s(3), there(false, false, false)), Some(Deed::Hold));
        let status: Vec<_> = announced.status(s(5)).collect();
        assert_eq!((status[0].announced, status[0].for_ms), (true, 3_000));
    }

    #[test]
    fn every_trouble_withdraws_it_at_once_and_once() {
        for trouble in [Proxy::Gone, there(true, false, true), there(false, true, true)] {
            let mut announced = Announced::new(&[[192, 0, 2, 1].into()]);
            announced.look(s(0), there(false, false, true));
            assert_eq!(announced.look(s(0), trouble), Some(Deed::Remove), "{trouble:?}");
            assert_eq!((announced.look(s(9), trouble), announced.announced), (None, false));
            assert_eq!(announced.look(s(9), there(false, false, true)), Some(Deed::Hold));
        }
        let mut announced = Announced::new(&[[192, 0, 2, 1].into()]);
        announced.look(s(0), there(false, false, true));
        announced.set_uplink_lost(true);
        assert_eq!(announced.look(s(0), there(false, false, true)), Some(Deed::Remove));
        announced.set_uplink_lost(false);
        assert_eq!(announced.look(s(0), there(false, false, true)), Some(Deed::Hold));
        assert_eq!((announced.stop(s(0)), announced.stop(s(0))), (Some(Deed::Remove), None));
    }
}
