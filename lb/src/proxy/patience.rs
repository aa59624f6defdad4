//! How slow a client may be. Time counts only while we wait for the client, so that an upstream that is slow to
//! take a body or to send an answer is not held against it.
//!
//! ```text
//!   waits ──it moves──▶ goes on … ──so much waited──▶ enough moved meanwhile? ──yes──▶ counted anew
//!                                                        └── no, or all its time is over ──▶ too slow
//! ```

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::settings::Limits;

/// What a client's connection is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For the body of a request.
    pub(super) body: Allowed,
    /// For taking an answer.
    pub(super) send: Allowed,
    /// For a client that has ended its side, from the last that it was sent.
    pub(super) half_closed: Duration,
}

/// What one direction is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    /// Waited for in all.
    total: Duration,
    /// For so long of waiting …
    window: Duration,
    /// … at least so many bytes have to move.
    bytes: u64,
}

impl Patience {
    pub(crate) fn new(limits: &Limits) -> Self {
        let allowed = |total: Duration, window_ms: u64, bytes_per_s: u64| Allowed {
            total,
            window: Duration::from_millis(window_ms),
            bytes: window_ms.saturating_mul(bytes_per_s) / 1000,
        };
        let total = Duration::from_millis(limits.body_timeout_ms);
        Patience {
            body: allowed(total, limits.body_grace_ms, limits.body_min_bytes_per_s),
            send: allowed(Duration::MAX, limits.send_timeout_ms, limits.send_min_bytes_per_s),
            half_closed: Duration::from_millis(limits.half_closed_ms),
        }
    }
}

/// How one direction of a connection goes on. Most never wait, and have no space for it.
#[derive(Debug, Default)]
pub(super) struct Pace(Option<Box<Waits>>);

/// The waits of one direction.
#[derive(Debug, Default)]
struct Waits {
    /// Waited before the present wait, in all.
    waited: Duration,
    /// The same in the present window.
    window: Duration,
    /// What had moved when the window began; none: it has not.
    from: Option<u64>,
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Something moved: the wait is over for now.
    pub(super) fn moves(&mut self) {
        self.0.iter_mut().for_each(|waits| waits.moves());
    }

    /// Nothing moves now; `moved` says how many bytes have so far. Resolves when it is too slow.
    pub(super) fn poll_wait(
        &mut self,
        context: &mut Context<'_>,
        allowed: &Allowed,
        moved: impl Fn() -> u64,
    ) -> Poll<()> {
        self.0.get_or_insert_default().poll(context, allowed, moved)
    }
}

impl Waits {
    fn moves(&mut self) {
        if let Some(since) = self.since.take() {
            let waited = since.elapsed();
            self.waited += waited;
            self.window += waited;
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, allowed: &Allowed, moved: impl Fn() -> u64) -> Poll<()> {
        loop {
            let now = Instant::now();
            let here = now - *self.since.get_or_insert(now);
            let from = *self.from.get_or_insert_with(&moved);
            if self.waited + here >= allowed.total {
                return Poll::Ready(());
            }
            if self.window + here >= allowed.window {
                // Not one byte is too slow at any rate.
                if moved().saturating_sub(from) < allowed.bytes.max(1) {
                    return Poll::Ready(());
                }
                self.moves();
                (self.window, self.from, self.since) = (Duration::ZERO, None, Some(now));
                continue;
            }
            let left = (allowed.window - self.window - here).min(allowed.total - self.waited - here);
            let until = now + left;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if timer.deadline() != until {
                timer.as_mut().reset(until);
            }
            std::task::ready!(timer.as_mut().poll(context));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn allowed(total: u64, window: u64, bytes: u64) -> Allowed {
        Allowed { total: Duration::from_secs(total), window: Duration::from_secs(window), bytes }
    }

    /// Moves `each` bytes once a second and says after how many seconds that was too slow.
    async fn lasts(allowed: Allowed, each: u64) -> u64 {
        let (begun, mut pace, mut moved) = (Instant::now(), Pace::default(), 0);
        for second in 1..1000 {
            let next = begun + Duration::from_secs(second);
            let wait = poll_fn(|context| pace.poll_wait(context, &allowed, || moved));
            if tokio::time::timeout_at(next, wait).await.is_ok() {
                return begun.elapsed().as_secs();
            }
            moved += each;
            pace.moves();
            // An upstream's time does not count.
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        1000
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_too_slow_ends_with_the_window_and_who_is_not_with_the_total() {
        assert_eq!(lasts(allowed(10_000, 10, 100), 0).await, 10);
        assert_eq!(lasts(allowed(10_000, 10, 100), 5).await, 10);
        assert_eq!(lasts(allowed(60, 10, 100), 50).await, 60);
        assert_eq!(lasts(allowed(10_000, 10, 100), 50).await, 1000);
        assert_eq!(lasts(allowed(10_000, 10, 0), 1).await, 1000);
        assert_eq!(lasts(allowed(10_000, 10, 0), 0).await, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_moved_fast_before_is_no_credit() {
        let (allowed, mut pace) = (allowed(10_000, 10, 100), Pace::default());
        let begun = Instant::now();
        poll_fn(|context| {
            let _ = pace.poll_wait(context, &allowed, || 0);
            Poll::Ready(())
        })
        .await;
        pace.moves();
        poll_fn(|context| pace.poll_wait(context, &allowed, || 1 << 30)).await;
        assert_eq!(begun.elapsed().as_secs(), 20);
    }
}
