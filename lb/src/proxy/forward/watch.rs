//! When a request that was sent should be sent to another upstream too.
//!
//! Slowness is not death. A try that waits longer than is usual for its route asks what its upstream is
//! doing before anything is held against it:
//!
//! ```text
//!   at any time       its upstream is ejected, or its manager no longer trusts it     distrusted, free
//!   hedge time over   others answer meanwhile what this one was asked                 hedge
//!   doubt time over   has it sent anything, to anyone? else: does it answer a probe?  silent, soon
//!   first-byte deadline over                                          the same again  silent, a failure
//!   patience over     even if it lives                                                too slow
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::super::doubt;
use super::super::health::{self, Failure};
use super::super::state::in_flight::InFlight;
use super::super::state::learned::{Cell, Deadlines};
use super::super::state::pool::Pool;
use super::super::state::upstream::Upstream;
use super::exchange::Sent;

/// An upstream in doubt that has not answered a probe for so long is not waited for any longer: a machine
/// beside this one that lives needs a thousandth of it.
const PROBE_PATIENCE: Duration = Duration::from_millis(75);

/// A reason that could not be acted on is given again after so long: others may have come.
const RECONSIDER: Duration = Duration::from_millis(25);

/// So many quick answers to requests that began later show that one is late because of its upstream.
const WITNESSES: u64 = 4;

/// A reason to ask another upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The upstream was ejected, or its manager no longer trusts it.
    Distrusted,
    /// Others answer at once.
    Hedge,
    /// It has sent nothing to anyone for longer than is usual and does not answer a probe at once.
    Doubt,
    /// The same, for so long that it is a failure.
    Silent,
    /// It lives but has had its time.
    TooSlow,
}

/// Watches one try.
pub(crate) struct Watch<'a> {
    pool: Arc<Pool>,
    upstream: Arc<Upstream>,
    sent: Sent,
    learned: Cell<'a>,
    deadlines: Deadlines,
    begun: Instant,
    /// When each reason is to be looked for.
    distrust_at: Instant,
    hedge_at: Instant,
    doubt_at: Instant,
    silent_at: Instant,
    patience_at: Instant,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(in_flight: &InFlight, sent: Sent, learned: Cell<'a>, deadlines: Deadlines) -> Self {
        let begun = Instant::from_std(in_flight.begun());
        Watch {
            pool: in_flight.pool().clone(),
            upstream: in_flight.upstream().clone(),
            sent,
            learned,
            deadlines,
            begun,
            distrust_at: begun,
            hedge_at: begun + deadlines.hedge,
            // Doubt begins after this time, not with it.
            doubt_at: begun + deadlines.doubt + Duration::from_millis(1),
            silent_at: begun + deadlines.first_byte,
            patience_at: begun + deadlines.patience,
        }
    }

    /// Goes on by `pool`, which is its upstream's now: who is the last one that can be used depends on it.
    pub(crate) fn follow(&mut self, pool: &Arc<Pool>) {
        if !Arc::ptr_eq(&self.pool, pool) {
            self.pool = pool.clone();
        }
    }

    /// Resolves with the next reason, and with the watch that goes on.
    pub(crate) async fn next(mut self) -> (Self, Signal) {
        let since = self.begun.into_std();
        let signal = tokio::select! {
            biased;
            () = self.distrusted() => Signal::Distrusted,
            () = self.late() => Signal::Hedge,
            () = self.in_doubt() => Signal::Doubt,
            () = self.silent(since) => Signal::Silent,
            () = sleep_until(self.patience_at) => Signal::TooSlow,
        };
        let again = Instant::now() + RECONSIDER;
        match signal {
            Signal::Distrusted => self.distrust_at = again,
            Signal::Hedge => self.hedge_at = again,
            Signal::Doubt => self.doubt_at = again,
            Signal::Silent => self.silent_at = Instant::now() + self.deadlines.first_byte,
            Signal::TooSlow => self.patience_at = again,
        }
        (self, signal)
    }

    /// The try is abandoned for one elsewhere at no cost: nothing was sent.
    pub(crate) fn is_connecting(&self) -> bool {
        !self.sent.is()
    }

    async fn distrusted(&self) {
        sleep_until(self.distrust_at).await;
        health::until(&self.upstream, health::is_distrusted).await;
    }

    async fn late(&self) {
        sleep_until(self.hedge_at).await;
        // A quick answer that comes from now on is one to a request that began after this one.
        let before = self.learned.quick_answers();
        while self.learned.quick_answers().wrapping_sub(before) < WITNESSES {
            sleep(self.deadlines.hedge / 4).await;
        }
    }

    async fn in_doubt(&self) {
        sleep_until(self.doubt_at).await;
        loop {
            if self.upstream.is_in_doubt(std::time::Instant::now()) {
                doubt::look_into(&self.pool, &self.upstream);
                let lives = doubt::lives(&self.pool, &self.upstream, self.begun.into_std());
                if self.is_connecting() || timeout(PROBE_PATIENCE, lives).await != Ok(true) {
                    return;
                }
            }
            sleep(self.deadlines.doubt).await;
        }
    }

    async fn silent(&self, mut since: std::time::Instant) {
        sleep_until(self.silent_at).await;
        loop {
            if !doubt::lives(&self.pool, &self.upstream, since).await {
                health::failed(&self.pool, &self.upstream, Failure::Silent);
                return;
            }
            since = std::time::Instant::now();
            sleep(self.deadlines.first_byte).await;
        }
    }
}
