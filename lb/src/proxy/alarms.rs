//! Wake-ups that are mostly not needed: one worker's requests say when to look at them again, and nearly all are answered
//! before.
//!
//! ```text
//!   request ──at──▶ slot ──answered: the slot is free──▶ nothing
//!                     │ the earliest is over
//!                     ▼
//!              ring (one task, one timer) ──wakes all that are due──▶ sleeps until the next
//! ```
//!
//! A timer of the runtime's for each request costs it twice what these do, and a write to the runtime's own descriptor where
//! it ends before all others: it then wakes itself out of a wait that it is not in. Here the timer stays where it is as long
//! as those that come end later than it, as they do.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use slab::Slab;
use tokio::time::{Instant, sleep_until};

use super::one_thread::OneThread;

/// The alarms of one worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alarms(Arc<OneThread<Set>>);

#[derive(Debug, Default)]
struct Set {
    slots: Slab<Slot>,
    /// When the ring looks for those that are due; none: it sleeps until it is told.
    next: Option<Instant>,
    ring: Option<Waker>,
}

#[derive(Debug)]
struct Slot {
    at: Instant,
    /// None: it has been rung.
    waker: Option<Waker>,
}

/// Resolves when its time has come.
#[derive(Debug)]
pub(crate) struct Alarm<'a> {
    alarms: &'a Alarms,
    at: Instant,
    slot: Option<usize>,
}

impl Alarms {
    /// An alarm that goes off at `at`, not before it is waited for.
    pub(crate) fn at(&self, at: Instant) -> Alarm<'_> {
        Alarm { alarms: self, at, slot: None }
    }

    /// Rings them, for ever.
    pub(crate) async fn ring(self) {
        let mut timer = pin!(sleep_until(Instant::now()));
        std::future::poll_fn(|context| {
            loop {
                let next = {
                    let mut set = self.0.look();
                    if !set.ring.as_ref().is_some_and(|ring| ring.will_wake(context.waker())) {
                        set.ring = Some(context.waker().clone());
                    }
                    let Some(next) = set.next else { return Poll::Pending };
                    next
                };
                if timer.deadline() != next {
                    timer.as_mut().reset(next);
                }
                ready!(timer.as_mut().poll(context));
                // Not while it is looked into: what a waker does is its own business.
                let due = self.0.look().due(Instant::now());
                due.into_iter().for_each(Waker::wake);
            }
        })
        .await
    }
}

impl Set {
    /// Takes out the wakers of all that are due.
    fn due(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        self.next = None;
        for (_, slot) in &mut self.slots {
            if slot.waker.is_none() {
                continue;
            }
            if slot.at <= now {
                due.extend(slot.waker.take());
            } else {
                self.next = Some(self.next.map_or(slot.at, |next| next.min(slot.at)));
            }
        }
        due
    }
}

impl Future for Alarm<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut set = self.alarms.0.look();
        let Some(slot) = self.slot else {
            let slot = set.slots.insert(Slot { at: self.at, waker: Some(context.waker().clone()) });
            if set.next.is_none_or(|next| self.at < next) {
                set.next = Some(self.at);
                set.ring.iter().for_each(Waker::wake_by_ref);
            }
            drop(set);
            self.slot = Some(slot);
            return Poll::Pending;
        };
        match &mut set.slots[slot].waker {
            None => Poll::Ready(()),
            Some(waker) => {
                waker.clone_from(context.waker());
                Poll::Pending
            }
        }
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let left = self.alarms.0.look().slots.try_remove(slot);
            drop(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;
    use tokio::time::{advance, timeout};

    use super::*;

    fn started() -> Alarms {
        let alarms = Alarms::default();
        tokio::spawn(alarms.clone().ring());
        alarms
    }

    #[tokio::test(start_paused = true)]
    async fn each_goes_off_at_its_time_whatever_their_order() {
        let (alarms, begun) = (started(), Instant::now());
        let wait = |millis: u64| {
            let alarms = alarms.clone();
            tokio::spawn(async move {
                alarms.at(begun + Duration::from_millis(millis)).await;
                begun.elapsed().as_millis()
            })
        };
        for (millis, waited) in [50, 10, 30, 10, 90, 0].map(|millis| (millis, wait(millis))) {
            assert_eq!(waited.await.expect("ended"), u128::from(millis));
        }
        assert!(alarms.0.look().slots.is_empty());
        alarms.at(Instant::now() + Duration::from_millis(5)).await;
        assert_eq!(begun.elapsed().as_millis(), 95);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_wait_any_more_leaves_nothing_and_rings_nobody() {
        let (alarms, begun) = (started(), Instant::now());
        let mut later = pin!(alarms.at(begun + Duration::from_millis(20)));
        for _ in 0..1000 {
            assert!(alarms.at(begun + Duration::from_millis(10)).now_or_never().is_none());
        }
        assert!(later.as_mut().now_or_never().is_none());
        assert_eq!(alarms.0.look().slots.len(), 1);
        assert!(timeout(Duration::from_millis(15), later.as_mut()).await.is_err());
        later.await;
        assert_eq!(begun.elapsed().as_millis(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_last_is_woken() {
        let alarms = started();
        let mut alarm = Box::pin(alarms.at(Instant::now() + Duration::from_millis(10)));
        assert!(alarm.as_mut().now_or_never().is_none());
        advance(Duration::from_millis(1)).await;
        timeout(Duration::from_secs(1), alarm).await.expect("woken");
    }
}
