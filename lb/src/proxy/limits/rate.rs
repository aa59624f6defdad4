//! How often somebody may ask: the generic cell rate algorithm (ITU-T I.371, annex A), one number for each key.
//!
//! That number is when its next request would be due if all came evenly. A request may come before it is due by so much as
//! a burst is long, and waits, if it may, for the time it came even sooner:
//!
//! ```text
//!        refused │ waits, at most `delay`  │ at once                │ as if there had been none before
//!   ─────────────┼─────────────────────────┼────────────────────────┼──────────▶ time
//!                                        due − (burst − 1) · interval   due
//! ```

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pingora_http::RequestHeader;
use wire::rates::{RateKey, RateLimit};

use super::super::balance::ask::cookie;
use super::super::clock;
use super::table::Table;

/// The most requests that wait at a limit. Each costs about 30 KiB of memory.
const MAX_WAITING: u32 = 3_000;

/// Addresses of IPv6 count as one if they have these bits in common: one client has a whole network.
const OF_CLIENT: u128 = !(u64::MAX as u128);

/// A limit, and who has asked how often.
#[derive(Debug)]
pub(crate) struct Limiter {
    described: RateLimit,
    /// In microseconds, and as a fraction: a million in a second are one in each.
    interval: f64,
    tolerance: f64,
    delay: f64,
    table: Table,
    waiting: AtomicU32,
    hasher: RandomState,
}

/// What is to become of a request.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is not too soon.
    Now,
    /// It is, and has to wait.
    Wait(Waiting),
    /// It is far too soon.
    Refused(Quota),
}

/// The limit that a request was refused by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    /// So many requests …
    pub(crate) requests: u32,
    /// … in so many seconds.
    pub(crate) seconds: u64,
    /// In so many seconds one may come.
    pub(crate) retry_after: u64,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    limiter: Arc<Limiter>,
    /// So long.
    pub(crate) time: Duration,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.limiter.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limiter {
    /// The limit that is `described`; what `before` knows goes on if it is the same.
    pub(crate) fn new(described: &RateLimit, before: Option<&Arc<Limiter>>) -> Arc<Self> {
        if let Some(same) = before.filter(|before| before.described == *described) {
            return same.clone();
        }
        let RateLimit { rate, burst, delay_ms, keys, .. } = described;
        #[allow(clippy::cast_precision_loss)] // at most a day
        let micros = |millis: u64| (millis * 1_000) as f64;
        let interval = micros(rate.per_ms) / f64::from(rate.requests);
        let burst = burst.unwrap_or(rate.requests);
        Arc::new(Limiter {
            described: described.clone(),
            interval,
            tolerance: interval * f64::from(burst.saturating_sub(1)),
            delay: micros(*delay_ms),
            table: Table::new(*keys),
            waiting: AtomicU32::new(0),
            hasher: RandomState::new(),
        })
    }

    /// Whose `request` from `client` is, as a number.
    pub(crate) fn key(&self, request: &RequestHeader, client: IpAddr) -> u64 {
        let by = match &self.described.by {
            RateKey::Client => None,
            RateKey::All => return 0,
            RateKey::Header(name) => request.headers.get(name.as_str()).map(http::HeaderValue::as_bytes),
            RateKey::Cookie(name) => cookie(&request.headers, name),
        };
        match by {
            Some(value) => self.hasher.hash_one((1_u8, value)),
            None => self.hasher.hash_one((0_u8, address_bits(client))),
        }
    }

    /// Counts a request of `key` that comes at `now`, unless it is refused.
    pub(crate) fn ask(self: &Arc<Self>, key: u64, now: Instant) -> Verdict {
        #[allow(clippy::cast_precision_loss)] // exact for some hundred years
        let now = clock::micros(now) as f64;
        // How long it would have to wait.
        let mut wait = 0.0;
        let counted = self.table.change(key, now, |due| {
            wait = (due - self.tolerance - now).max(0.0);
            if wait > self.delay { None } else { Some(due.max(now) + self.interval) }
        });
        if counted && wait <= 0.0 {
            return Verdict::Now;
        }
        if counted {
            let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
            let waits = Waiting { limiter: self.clone(), time: Duration::from_secs_f64(wait / 1e6) };
            if waiting < MAX_WAITING {
                return Verdict::Wait(waits);
            }
            self.give_back(key);
        }
        Verdict::Refused(self.quota(wait))
    }

    /// Takes back that a request of `key` was counted.
    pub(crate) fn give_back(&self, key: u64) {
        self.table.change(key, 0.0, |due| Some(due - self.interval));
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most some days, and above 0
    fn quota(&self, wait: f64) -> Quota {
        let retry_after = ((wait - self.delay).max(0.0) / 1e6).ceil().max(1.0) as u64;
        let rate = self.described.rate;
        Quota { requests: rate.requests, seconds: rate.per_ms.div_ceil(1_000), retry_after }
    }
}

/// What is alike in all addresses of a client.
pub(crate) fn address_bits(client: IpAddr) -> u128 {
    match client {
        IpAddr::V4(client) => u128::from(client.to_bits()),
        // Those of IPv4 would be among these, were they not reserved.
        IpAddr::V6(client) => client.to_bits() & OF_CLIENT,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limiter(rate: &str, burst: u32, delay_ms: u64) -> Arc<Limiter> {
        let described = RateLimit {
            rate: rate.parse().expect("rate"),
            burst: Some(burst),
            by: RateKey::Client,
            delay_ms,
            keys: 100,
        };
        Limiter::new(&described, None)
    }

    #[test]
    fn a_burst_may_come_at_once_and_then_one_in_each_interval() {
        let (limiter, start) = (limiter("10/s", 3, 0), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        for (millis, passes) in [
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (99, false),
            (101, true),
            (101, false),
            (199, false),
            (202, true),
            (10_000, true),
            (10_000, true),
            (10_000, true),
            (10_000, false),
        ] {
            let passed = matches!(limiter.ask(1, at(millis)), Verdict::Now);
            assert_eq!(passed, passes, "{millis}");
        }
        assert!(matches!(limiter.ask(2, at(10_000)), Verdict::Now), "somebody else");
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_again() {
        let (limiter, now) = (limiter("2/m", 1, 0), Instant::now());
        assert!(matches!(limiter.ask(1, now), Verdict::Now));
        let Verdict::Refused(quota) = limiter.ask(1, now + Duration::from_secs(9)) else {
            panic!("it is too soon")
        };
        assert_eq!(quota, Quota { requests: 2, seconds: 60, retry_after: 21 });
    }

    #[test]
    fn who_comes_too_soon_waits_for_so_long_and_no_longer() {
        let (limiter, now) = (limiter("10/s", 1, 250), Instant::now());
        let mut waits = Vec::new();
        let refused = loop {
            match limiter.ask(1, now) {
                Verdict::Now => {}
                Verdict::Wait(waiting) => waits.push(waiting),
                Verdict::Refused(quota) => break quota,
            }
        };
        let times: Vec<_> = waits.iter().map(|waiting| waiting.time.as_millis()).collect();
        assert_eq!(times, [100, 200]);
        assert_eq!(refused.retry_after, 1);
        assert_eq!(limiter.waiting.load(Ordering::Relaxed), 2);
        drop(waits);
        assert_eq!(limiter.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let (limiter, now) = (limiter("1/d", 1, 0), Instant::now());
        assert!(matches!(limiter.ask(1, now), Verdict::Now));
        limiter.give_back(1);
        assert!(matches!(limiter.ask(1, now), Verdict::Now));
        assert!(matches!(limiter.ask(1, now), Verdict::Refused(_)));
    }

    #[test]
    fn what_is_known_outlives_a_configuration_that_says_the_same() {
        let first = limiter("1/d", 1, 0);
        assert!(Arc::ptr_eq(&first, &Limiter::new(&first.described, Some(&first))));
        let other = RateLimit { keys: 101, ..first.described.clone() };
        assert!(!Arc::ptr_eq(&first, &Limiter::new(&other, Some(&first))));
    }

    #[test]
    fn a_client_of_ipv6_is_a_network() {
        let bits = |text: &str| address_bits(text.parse().expect("address"));
        assert_eq!(bits("2001:db8::1"), bits("2001:db8::ffff:ffff:ffff:ffff"));
        assert_ne!(bits("2001:db8::1"), bits("2001:db8:0:1::1"));
        assert_ne!(bits("192.0.2.1"), bits("192.0.2.2"));
    }

    proptest! {
        #[test]
        fn in_no_time_come_more_than_the_burst_and_the_rate(
            gaps in prop::collection::vec(0..500_u64, 1..200), burst in 1..20_u32,
        ) {
            let (limiter, start) = (limiter("10/s", burst, 0), Instant::now());
            let (mut now, mut passed) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                if matches!(limiter.ask(1, start + Duration::from_millis(now)), Verdict::Now) {
                    passed.push(now);
                }
            }
            for (index, &first) in passed.iter().enumerate() {
                for (count, &last) in passed[index..].iter().enumerate() {
                    prop_assert!((count as u64) < u64::from(burst) + (last - first) / 100);
                }
            }
        }
    }
}
