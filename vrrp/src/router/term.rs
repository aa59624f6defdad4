//! One term of holding the address: what a holder has to do and when.

use std::net::IpAddr;
use std::time::Duration;

use super::contest::Contest;
use crate::effect::WakeReason;

/// How often the lifetime of the address is extended.
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// After the first announcement one more after so long, and another after the second wait: a switch
/// that was busy with the fault itself may have missed the first.
const ANNOUNCE_AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// From then on, for neighbours that came or forgot since.
const ANNOUNCE_REFRESH: Duration = Duration::from_secs(5);

/// Another one that claims the address does not make us announce more often than this.
const ANNOUNCE_GAP: Duration = Duration::from_millis(250);

/// The timers of a holder.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// When the last advert went out: until three intervals later nobody else may have taken over.
    pub(super) sent_at: Duration,
    pub(super) advert_at: Duration,
    pub(super) renew_at: Duration,
    pub(super) announcing: Announcing,
    /// Until when the address is offered to the others.
    pub(super) offer_ends: Option<Duration>,
    /// To which of them alone, where that was said.
    pub(super) offered_to: Option<IpAddr>,
    pub(super) raised: Option<Raised>,
    /// Whoever claims the address although it is outranked.
    pub(super) contest: Option<Contest>,
}

/// A priority above the own one, said after a take-over until the former holder listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raised {
    /// The former holder.
    pub(super) over: IpAddr,
    pub(super) priority: u8,
    pub(super) until: Duration,
}

impl Term {
    /// A term that begins now: everything is due but the first renewal.
    pub(super) fn new(now: Duration, raised: Option<Raised>) -> Self {
        Term {
            sent_at: now,
            advert_at: now,
            renew_at: now + RENEW_EVERY,
            announcing: Announcing { due: now, last: None, count: 0 },
            offer_ends: None,
            offered_to: None,
            raised,
            contest: None,
        }
    }

    pub(super) fn renewed(&mut self, now: Duration) {
        self.renew_at = now + RENEW_EVERY;
    }

    /// The earliest thing to do.
    pub(super) fn next(&self) -> (Duration, WakeReason) {
        let mut next = (self.advert_at, WakeReason::Advert);
        let others = [
            Some((self.renew_at, WakeReason::Renew)),
            Some((self.announcing.due, WakeReason::Announce)),
            self.offer_ends.map(|at| (at, WakeReason::OfferEnds)),
            self.raised.map(|raised| (raised.until, WakeReason::RaiseEnds)),
        ];
        for other in others.into_iter().flatten() {
            if other.0 < next.0 {
                next = other;
            }
        }
        next
    }
}

/// When to announce the address: at once, twice soon after, then seldom.
#[derive(Clone, Debug)]
pub(super) struct Announcing {
    pub(super) due: Duration,
    last: Option<Duration>,
    count: usize,
}

impl Announcing {
    pub(super) fn announced(&mut self, now: Duration) {
        self.due = now + ANNOUNCE_AGAIN.get(self.count).copied().unwrap_or(ANNOUNCE_REFRESH);
        self.last = Some(now);
        self.count += 1;
    }

    /// Begins anew, because another one may have announced itself meanwhile.
    pub(super) fn restart(&mut self, now: Duration) {
        self.count = 0;
        self.due = self.last.map_or(now, |last| now.max(last + ANNOUNCE_GAP));
    }
}
