//! How many retries a pool may afford: a share of its requests and some per second, so that an outage
//! is never amplified.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use wire::proxy_config::PoolPolicy;

use super::super::lock;

/// What was not used is kept up to this many retries.
const MAX_TOKENS: f64 = 100.0;

/// The retry budget of one pool.
#[derive(Debug)]
pub(crate) struct Budget {
    requests: AtomicU64,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    tokens: f64,
    settled_requests: u64,
    settled_at: Instant,
}

impl Budget {
    pub(crate) fn new(now: Instant) -> Self {
        Budget {
            requests: AtomicU64::new(0),
            account: Mutex::new(Account { tokens: MAX_TOKENS, settled_requests: 0, settled_at: now }),
        }
    }

    /// Counts a request; its share is paid in when the next retry is asked for.
    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry out; `false` when there is none left.
    pub(crate) fn take(&self, policy: &PoolPolicy, now: Instant) -> bool {
        let mut account = self.settle(policy, now);
        let enough = account.tokens >= 1.0;
        if enough {
            account.tokens -= 1.0;
        }
        enough
    }

    /// How many retries are left.
    pub(crate) fn left(&self, policy: &PoolPolicy, now: Instant) -> f64 {
        self.settle(policy, now).tokens
    }

    fn settle(&self, policy: &PoolPolicy, now: Instant) -> std::sync::MutexGuard<'_, Account> {
        let mut account = lock(&self.account);
        let requests = self.requests.load(Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        let new_requests = requests.saturating_sub(account.settled_requests) as f64;
        let seconds = now.saturating_duration_since(account.settled_at).as_secs_f64();
        let income = new_requests * policy.retry_budget_ratio + seconds * policy.retry_budget_per_second;
        account.tokens = (account.tokens + income).min(MAX_TOKENS);
        account.settled_requests = requests;
        account.settled_at = now;
        account
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
}
