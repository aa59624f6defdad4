//! How many retries a pool may afford: a share of its requests and some per second, so that an outage
//! is never amplified. Hedges have an account of their own: they save time, not requests, and must not
//! use up what an outage needs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use wire::proxy_config::PoolPolicy;

use super::super::lock;

/// What was not used is kept up to this many retries.
const MAX_TOKENS: f64 = 100.0;

/// What was not used of the hedges is kept up to this many.
const MAX_HEDGES: f64 = 20.0;

/// The retry budget of one pool.
#[derive(Debug)]
pub(crate) struct Budget {
    requests: AtomicU64,
    account: Mutex<Account>,
    hedges: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    tokens: f64,
    settled_requests: u64,
    settled_at: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        let account = |tokens| Mutex::new(Account { tokens, settled_requests: 0, settled_at: now });
        Budget { requests: AtomicU64::new(0), account: account(MAX_TOKENS), hedges: account(MAX_HEDGES) }
    }

    /// Counts a request; its share is paid in when the next retry is asked for.
    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry out; `false` when there is none left.
    pub(crate) fn take(&self, policy: &PoolPolicy, now: Instant) -> bool {
        self.settle(policy, now).take()
    }

    /// Takes one hedge out; `false` when there is none left.
    pub(crate) fn take_hedge(&self, policy: &PoolPolicy, now: Instant) -> bool {
        let mut account = lock(&self.hedges);
        account.pay_in(self.requests(), now, policy.hedge_ratio, 0.0, MAX_HEDGES);
        account.take()
    }

    /// How many retries are left.
    pub(crate) fn left(&self, policy: &PoolPolicy, now: Instant) -> f64 {
        self.settle(policy, now).tokens
    }

    fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    fn settle(&self, policy: &PoolPolicy, now: Instant) -> MutexGuard<'_, Account> {
        let mut account = lock(&self.account);
        let (ratio, per_second) = (policy.retry_budget_ratio, policy.retry_budget_per_second);
        account.pay_in(self.requests(), now, ratio, per_second, MAX_TOKENS);
        account
    }
}

impl Account {
    fn pay_in(&mut self, requests: u64, now: Instant, ratio: f64, per_second: f64, most: f64) {
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let new_requests = requests.saturating_sub(self.settled_requests) as f64;
        let seconds = now.saturating_duration_since(self.settled_at).as_secs_f64();
        self.tokens = (self.tokens + new_requests * ratio + seconds * per_second).min(most);
        self.settled_requests = requests;
        self.settled_at = now;
    }

    fn take(&mut self) -> bool {
        let enough = self.tokens >= 1.0;
        if enough {
            self.tokens -= 1.0;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn retries_are_a_share_of_the_requests_plus_some_per_second() {
        let policy =
            PoolPolicy { retry_budget_ratio: 0.1, retry_budget_per_second: 2.0, ..PoolPolicy::default() };
        let start = Instant::now();
        let budget = Budget::new(start);
        let take_all = |now| (0..1_000).take_while(|_| budget.take(&policy, now)).count();
        assert_eq!(take_all(start), 100);
        (0..200).for_each(|_| budget.count_request());
        assert_eq!(take_all(start), 20);
        assert_eq!(take_all(start + Duration::from_secs(3)), 6);
        assert_eq!(take_all(start + Duration::from_secs(1_000)), 100);
    }

    #[test]
    fn hedges_are_a_share_of_the_requests_and_take_nothing_from_the_retries() {
        let policy = PoolPolicy { hedge_ratio: 0.05, ..PoolPolicy::default() };
        let start = Instant::now();
        let budget = Budget::new(start);
        let take_all = |now| (0..1_000).take_while(|_| budget.take_hedge(&policy, now)).count();
        assert_eq!(take_all(start), 20);
        (0..201).for_each(|_| budget.count_request());
        assert_eq!(take_all(start + Duration::from_secs(1_000)), 10);
        assert!(budget.left(&policy, start) >= 100.0);
    }
}
