//! Waits, beside everything else, until a fault is over.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use wire::cluster::ClusterView;

use super::cluster::Managers;
use super::recovery::Rule;
use crate::count::Ledger;
use crate::pace::{Clock, micros};

/// How often the ledger is asked whether successes flow again.
const LEDGER_INTERVAL: Duration = Duration::from_millis(100);
/// So long no request may fail before that counts as recovered.
const CALM: Duration = Duration::from_secs(1);

/// How many faults are in force.
#[derive(Clone, Debug, Default)]
pub struct InForce(Arc<AtomicUsize>);

impl InForce {
    /// One more.
    pub fn begun(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn over(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is more than one: then a cluster that is not whole says nothing of any of them.
    pub fn several(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 1
    }
}

/// What is asked whether a fault is over.
#[derive(Clone)]
pub struct Watch {
    /// The managers. Without them a fault is over when successes flow again.
    pub managers: Option<Managers>,
    /// The run's clock.
    pub clock: Clock,
    /// The longest a request may take: so long the ledger does not know yet what became of it.
    pub request_timeout: Duration,
    /// What became of the requests.
    pub ledger: Arc<Mutex<Ledger>>,
    /// The faults.
    pub in_force: InForce,
}

/// How a fault ended.
#[derive(Debug)]
pub struct Over {
    /// Which one it was.
    pub index: usize,
    /// Since when all is well and, if a manager said so, what it saw. None if it is not well.
    pub well: Option<(u64, Option<ClusterView>)>,
}

impl Watch {
    /// Waits until the fault of `at_us` is over, or `patience` is.
    pub async fn until_over(self, index: usize, rule: Rule, at_us: u64, patience: Duration) -> Over {
        let well = timeout(patience, async {
            match &self.managers {
                Some(managers) => {
                    let view = managers.recovered(&rule, &self.in_force).await;
                    (self.clock.now_us(), Some(view))
                }
                None => (self.successes_flow(at_us).await, None),
            }
        });
        let well = well.await.ok();
        self.in_force.over();
        Over { index, well }
    }

    /// Waits until requests have succeeded for a while without any failing; says since when.
    async fn successes_flow(&self, at_us: u64) -> u64 {
        let undecided = micros(self.request_timeout + LEDGER_INTERVAL + CALM);
        loop {
            sleep(LEDGER_INTERVAL).await;
            let well_since = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).well_since(at_us);
            if let Some(well_us) = well_since.filter(|well_us| well_us + undecided <= self.clock.now_us()) {
                return well_us;
            }
        }
    }
}
