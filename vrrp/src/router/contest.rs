//! A holder that claims the address again and again although a higher one answers it each time does not
//! hear that one: the way between them carries in one direction only. VRRP alone never ends this. Here
//! the hearer yields: it knows of the trouble, the deaf one does not.
//!
//! ```text
//!   A 240 ◀──────────── B 230      A hears 230 and asserts itself, for DEAF_AFTER;
//!         ─ ─ ─ ╳               then A lets go and counts as 229 until its backoff is over
//! ```

use std::net::IpAddr;
use std::time::Duration;

use crate::packet::Advert;

/// Who claims the address for so long against a higher one does not hear it: some fifty adverts.
const DEAF_AFTER: Duration = Duration::from_secs(5);

/// A claim that comes so many of its sender's intervals after the one before begins a new contest. A
/// keepalived that drops our adverts puts its own off with each of them, for more than four at times.
const GAP_INTERVALS: u32 = 10;

/// A holder that was contradicted leaves so much of its interval more between its adverts. A keepalived that
/// drops them puts its own off with each of them all the same, by an interval of its own: at our pace it would
/// be as silent as one that gave way, and hold the address beside us for ever.
const PAUSE: (u32, u32) = (1, 2);

/// The first yielding lasts so long, and each that follows soon after twice as long as the one before …
const FIRST_BACKOFF: Duration = Duration::from_secs(30);

/// … up to this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(480);

/// The claims of lower ones in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contest {
    since: Duration,
    last: Duration,
}

impl Contest {
    /// Notes one more claim of a lower one; whether it has gone on for so long that the other is deaf.
    pub(super) fn goes_on(contest: &mut Option<Contest>, now: Duration, advert: &Advert) -> bool {
        let since = contest
            .filter(|contest| now <= contest.last + advert.interval * GAP_INTERVALS)
            .map_or(now, |contest| contest.since);
        *contest = Some(Contest { since, last: now });
        now > since + DEAF_AFTER
    }

    /// The time to the next advert of a holder with this `interval`: long enough for the other to be heard, while
    /// it may still claim the address.
    pub(super) fn pace(contest: Option<&Contest>, now: Duration, interval: Duration) -> Duration {
        let goes_on = contest.is_some_and(|contest| now <= contest.last + interval * GAP_INTERVALS);
        let (some, parts) = PAUSE;
        interval + if goes_on { interval * some / parts } else { Duration::ZERO }
    }
}

/// Whether this router counts as lower than the deaf one now, and how often it had to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Yielding {
    /// Out of 256, the part of half a backoff that this router adds to each. Two that yield to each other
    /// for the same reason at the same time shall not come back at the same time; chance has no place
    /// here, so it comes from the address.
    jitter: u8,
    in_a_row: u32,
    limit: Option<u8>,
    until: Duration,
}

impl Yielding {
    pub(super) fn new(own: IpAddr) -> Self {
        Yielding { jitter: jitter(own), in_a_row: 0, limit: None, until: Duration::ZERO }
    }

    /// Counts as lower than `theirs` from now on.
    pub(super) fn begin(&mut self, now: Duration, theirs: u8) {
        let soon_after = self.in_a_row > 0 && now <= self.until + LONGEST_BACKOFF;
        self.in_a_row = if soon_after { self.in_a_row.saturating_add(1) } else { 1 };
        let doubled = FIRST_BACKOFF.saturating_mul(2u32.saturating_pow(self.in_a_row - 1));
        let backoff = doubled.min(LONGEST_BACKOFF);
        self.until = now + backoff + backoff / 2 * u32::from(self.jitter) / 256;
        self.limit = Some(theirs.saturating_sub(1).max(1));
    }

    /// Ends when its time is over.
    pub(super) fn pass(&mut self, now: Duration) {
        if now >= self.until {
            self.limit = None;
        }
    }

    /// Ends at once: there is nobody to yield to any more.
    pub(super) fn end(&mut self) {
        self.limit = None;
    }

    /// The highest priority this router may have now.
    pub(super) fn limit(&self) -> Option<u8> {
        self.limit
    }
}

/// A number that differs between neighbours (FNV-1a, folded).
fn jitter(own: IpAddr) -> u8 {
    let hash = |octets: &[u8]| {
        octets
            .iter()
            .fold(0x811c_9dc5_u32, |hash, octet| (hash ^ u32::from(*octet)).wrapping_mul(0x0100_0193))
    };
    let hash = match own {
        IpAddr::V4(own) => hash(&own.octets()),
        IpAddr::V6(own) => hash(&own.octets()),
    };
    let [a, b, c, d] = hash.to_be_bytes();
    a ^ b ^ c ^ d
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_backoff_doubles_to_its_limit_and_starts_over_after_a_quiet_time() {
        let mut yielding = Yielding { jitter: 0, ..Yielding::new(IpAddr::from([10, 0, 0, 1])) };
        let mut now = s(100);
        for expected in [30, 60, 120, 240, 480, 480, 480] {
            yielding.begin(now, 230);
            assert_eq!(yielding.until, now + s(expected));
            now = yielding.until;
            yielding.pass(now);
            assert_eq!(yielding.limit(), None);
        }
        now += LONGEST_BACKOFF + s(1);
        yielding.begin(now, 230);
        assert_eq!(yielding.until, now + s(30));
    }

    #[test]
    fn neighbours_come_back_at_different_times() {
        let untils: std::collections::BTreeSet<_> = (10..30)
            .map(|last| {
                let mut yielding = Yielding::new(IpAddr::from([192, 168, 10, last]));
                yielding.begin(s(0), 230);
                assert!(yielding.until >= s(30) && yielding.until < s(45));
                yielding.until
            })
            .collect();
        assert_eq!(untils.len(), 20);
    }

    #[test]
    fn nobody_yields_below_what_can_be_said() {
        let mut yielding = Yielding::new(IpAddr::from([10, 0, 0, 1]));
        yielding.begin(s(0), 1);
        assert_eq!(yielding.limit(), Some(1));
    }
}
