//! Whether the proxy that would answer at the address is there, judged from the ticks of its workers. Like the
//! router, it is told the time.
//!
//! ```text
//!            every worker ticks            no tick of a worker for HUNG_AFTER
//!   ┌──────┐ ─────────────────▶ ┌───────┐ ───────────────────────────────────▶ ┌──────┐
//!   │ Gone │                    │ There │                                      │ Hung │
//!   └──────┘ ◀───────────────── └───────┘ ◀─────────────────────────────────── └──────┘
//!      ▲      a stream ends                 every worker ticks again               │
//!      └───────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

/// An event loop that has not ticked for this long is hung: six ticks missed.
const HUNG_AFTER: Duration = Duration::from_millis(300);

/// A proxy that hangs again and again moves the address no more often than this.
const HANG_QUOTA: Duration = Duration::from_secs(30);

/// What is known of the proxy; `W` is what it says of itself with every tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy<W> {
    /// Some worker is not connected.
    Gone,
    /// All its workers are connected.
    There {
        /// Some worker's event loop stands still.
        hung: bool,
        /// What it says of itself.
        wish: W,
    },
}

/// The ticks so far.
#[derive(Debug)]
pub struct Presence<W> {
    workers: usize,
    seen: BTreeMap<usize, Worker>,
    wish: Option<W>,
    hung: bool,
    last_hang: Option<Duration>,
}

#[derive(Debug)]
struct Worker {
    stream: u64,
    ticked: Duration,
}

impl<W> Default for Presence<W> {
    fn default() -> Self {
        Presence { workers: 0, seen: BTreeMap::new(), wish: None, hung: false, last_hang: None }
    }
}

impl<W: Copy> Presence<W> {
    /// A tick of `worker` out of `workers` arrived over `stream`.
    pub fn tick(&mut self, now: Duration, stream: u64, worker: usize, workers: usize, wish: W) {
        if workers != self.workers {
            // Another proxy than the one before.
            self.seen.clear();
            self.workers = workers;
        }
        if worker < workers {
            self.seen.insert(worker, Worker { stream, ticked: now });
            self.wish = Some(wish);
        }
    }

    /// `stream` ended: its worker is gone, unless it came back over another one.
    pub fn closed(&mut self, stream: u64) {
        self.seen.retain(|_, worker| worker.stream != stream);
    }

    /// We ourselves were late: ticks may be waiting to be read, so nobody is late before now.
    pub fn excuse(&mut self, now: Duration) {
        for worker in self.seen.values_mut() {
            worker.ticked = now;
        }
    }

    /// What the proxy is now.
    pub fn look(&mut self, now: Duration) -> Proxy<W> {
        let complete = self.workers > 0 && self.seen.len() >= self.workers;
        let Some(wish) = self.wish.filter(|_| complete) else {
            self.hung = false;
            return Proxy::Gone;
        };
        if self.seen.values().all(|worker| now < worker.ticked + HUNG_AFTER) {
            self.hung = false;
        } else if !self.hung && self.last_hang.is_none_or(|last| now >= last + HANG_QUOTA) {
            self.hung = true;
            self.last_hang = Some(now);
        }
        Proxy::There { hung: self.hung, wish }
    }

    /// When to look again if nothing arrives until then.
    #[must_use]
    pub fn next_look(&self) -> Option<Duration> {
        if self.hung || self.seen.len() < self.workers {
            return None;
        }
        let silent = self.seen.values().map(|worker| worker.ticked + HUNG_AFTER).min()?;
        Some(self.last_hang.map_or(silent, |last| silent.max(last + HANG_QUOTA)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVES: &str = "serves";
    const DRAINS: &str = "drains";
    const FINE: Proxy<&str> = Proxy::There { hung: false, wish: SERVES };
    const HUNG: Proxy<&str> = Proxy::There { hung: true, wish: SERVES };

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Two workers over the streams 1 and 2, both of which ticked at `now`.
    fn both(presence: &mut Presence<&'static str>, now: Duration) {
        presence.tick(now, 1, 0, 2, SERVES);
        presence.tick(now, 2, 1, 2, SERVES);
    }

    #[test]
    fn there_when_every_worker_ticks_gone_when_one_ends() {
        let mut presence = Presence::default();
        assert_eq!(presence.look(ms(0)), Proxy::Gone);
        presence.tick(ms(0), 1, 0, 2, SERVES);
        assert_eq!(presence.look(ms(0)), Proxy::Gone);
        presence.tick(ms(10), 2, 1, 2, SERVES);
        assert_eq!(presence.look(ms(10)), FINE);
        presence.closed(1);
        assert_eq!(presence.look(ms(20)), Proxy::Gone);
    }

    #[test]
    fn an_old_stream_may_end_after_the_new_one_began() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        presence.tick(ms(10), 3, 0, 2, SERVES);
        presence.closed(1);
        assert_eq!(presence.look(ms(10)), FINE);
    }

    #[test]
    fn another_number_of_workers_is_another_proxy() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        presence.tick(ms(10), 3, 0, 3, SERVES);
        assert_eq!(presence.look(ms(10)), Proxy::Gone);
    }

    #[test]
    fn one_silent_worker_hangs_until_it_ticks() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        presence.tick(ms(250), 1, 0, 2, SERVES);
        assert_eq!(presence.next_look(), Some(ms(300)));
        assert_eq!(presence.look(ms(299)), FINE);
        assert_eq!(presence.look(ms(300)), HUNG);
        assert_eq!(presence.next_look(), None);
        both(&mut presence, ms(400));
        assert_eq!(presence.look(ms(400)), FINE);
    }

    #[test]
    fn at_most_one_hang_in_thirty_seconds() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        assert_eq!(presence.look(ms(300)), HUNG);
        both(&mut presence, ms(400));
        presence.look(ms(400));
        assert_eq!(presence.next_look(), Some(ms(30_300)));
        assert_eq!(presence.look(ms(20_000)), FINE);
        assert_eq!(presence.look(ms(30_300)), HUNG);
    }

    #[test]
    fn our_own_lateness_is_no_hang() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        presence.excuse(ms(5000));
        assert_eq!(presence.look(ms(5000)), FINE);
        assert_eq!(presence.look(ms(5300)), HUNG);
    }

    #[test]
    fn what_it_says_of_itself_is_what_was_said_last() {
        let mut presence = Presence::default();
        presence.tick(ms(0), 1, 0, 1, DRAINS);
        assert_eq!(presence.look(ms(0)), Proxy::There { hung: false, wish: DRAINS });
        presence.tick(ms(50), 1, 0, 1, SERVES);
        assert_eq!(presence.look(ms(50)), FINE);
    }
}
