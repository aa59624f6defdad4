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
//!
//! A worker that [waits for a processor](crate::processor) meanwhile has STARVED_AFTER instead.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::processor::Usage;

/// An event loop that has not ticked for this long is hung: six ticks missed.
const HUNG_AFTER: Duration = Duration::from_millis(300);

/// One that has not ticked for this long is hung even if it waited for a processor meanwhile. Twenty programs that
/// want two processors make it wait for more than a second at times. It still serves then, and a move would break
/// all of its connections.
const STARVED_AFTER: Duration = Duration::from_secs(3);

/// While no tick comes, it is looked this often. If the whole machine stood still, one of these looks is late,
/// and tells the pause from a hang; the last one alone may be in time after a pause of just that length.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
    looked: Duration,
    /// When the address was last to move away because of a hang.
    moved: Option<Duration>,
}

#[derive(Debug)]
struct Worker {
    stream: u64,
    ticked: Duration,
    /// What it had of the processors when it was first missed, and when that was.
    missed: Option<(Duration, Usage)>,
}

impl Worker {
    fn ticked(stream: u64, now: Duration) -> Self {
        Worker { stream, ticked: now, missed: None }
    }

    /// Whether it stands still: it said nothing for too long, and not for want of a processor.
    fn is_silent(&mut self, now: Duration, usage: &mut impl FnMut(u64) -> Option<Usage>) -> bool {
        let silent_for = now.saturating_sub(self.ticked);
        if silent_for < LOOK_EVERY || silent_for >= STARVED_AFTER {
            return silent_for >= STARVED_AFTER;
        }
        if self.missed.is_none() {
            self.missed = usage(self.stream).map(|usage| (now, usage));
        }
        if silent_for < HUNG_AFTER {
            return false;
        }
        let starved = self.missed.zip(usage(self.stream));
        !starved.is_some_and(|((since, before), usage)| usage.is_starved(&before, now.saturating_sub(since)))
    }
}

impl<W> Default for Presence<W> {
    fn default() -> Self {
        Presence {
            workers: 0,
            seen: BTreeMap::new(),
            wish: None,
            hung: false,
            looked: Duration::ZERO,
            moved: None,
        }
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
            self.seen.insert(worker, Worker::ticked(stream, now));
            self.wish = Some(wish);
        }
    }

    /// `stream` ended: its worker is gone, unless it came back over another one.
    pub fn closed(&mut self, stream: u64) {
        self.seen.retain(|_, worker| worker.stream != stream);
    }

    /// We ourselves were late: ticks may be waiting to be read, so nobody is late before now. Who was found to
    /// hang before that hangs until it ticks: else it would be taken for well, and its hang for a second one.
    pub fn excuse(&mut self, now: Duration) {
        if self.hung {
            return;
        }
        for worker in self.seen.values_mut() {
            *worker = Worker::ticked(worker.stream, now);
        }
    }

    /// What the proxy is now. `holds` says whether an address is held here, which moves away where the proxy
    /// hangs: only that is rationed. What hangs without holding anything moves nothing, and is not fit to take
    /// an address either. `usage` says what the worker at the end of a stream had of the processors so far, if
    /// that is known; it is asked only where ticks are missing.
    pub fn look(
        &mut self,
        now: Duration,
        holds: bool,
        mut usage: impl FnMut(u64) -> Option<Usage>,
    ) -> Proxy<W> {
        self.looked = now;
        let complete = self.workers > 0 && self.seen.len() >= self.workers;
        let Some(wish) = self.wish.filter(|_| complete) else {
            self.hung = false;
            return Proxy::Gone;
        };
        let mut silent = false;
        for worker in self.seen.values_mut() {
            silent |= worker.is_silent(now, &mut usage);
        }
        let may_move = !holds || self.moved.is_none_or(|moved| now >= moved + HANG_QUOTA);
        let hung = silent && (self.hung || may_move);
        if hung && !self.hung && holds {
            self.moved = Some(now);
        }
        self.hung = hung;
        Proxy::There { hung, wish }
    }

    /// When to look again if nothing arrives until then.
    #[must_use]
    pub fn next_look(&self) -> Option<Duration> {
        if self.hung || self.seen.len() < self.workers {
            return None;
        }
        let ticked = self.seen.values().map(|worker| worker.ticked).min()?;
        let (step, hung_at) = (self.looked.max(ticked) + LOOK_EVERY, ticked + HUNG_AFTER);
        Some(if self.looked < hung_at { step.min(hung_at) } else { step })
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

    /// Where it cannot be known what a worker had of the processors.
    fn unknown(_: u64) -> Option<Usage> {
        None
    }

    /// Two workers over the streams 1 and 2, both of which ticked at `now`.
    fn both(presence: &mut Presence<&'static str>, now: Duration) {
        presence.tick(now, 1, 0, 2, SERVES);
        presence.tick(now, 2, 1, 2, SERVES);
    }

    #[test]
    fn there_when_every_worker_ticks_gone_when_one_ends() {
        let mut presence = Presence::default();
        assert_eq!(presence.look(ms(0), true, unknown), Proxy::Gone);
        presence.tick(ms(0), 1, 0, 2, SERVES);
        assert_eq!(presence.look(ms(0), true, unknown), Proxy::Gone);
        presence.tick(ms(10), 2, 1, 2, SERVES);
        assert_eq!(presence.look(ms(10), true, unknown), FINE);
        presence.closed(1);
        assert_eq!(presence.look(ms(20), true, unknown), Proxy::Gone);
    }

    #[test]
    fn an_old_stream_may_end_after_the_new_one_began() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        presence.tick(ms(10), 3, 0, 2, SERVES);
        presence.closed(1);
        assert_eq!(presence.look(ms(10), true, unknown), FINE);
    }

    #[test]
    fn another_number_of_workers_is_another_proxy() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        presence.tick(ms(10), 3, 0, 3, SERVES);
        assert_eq!(presence.look(ms(10), true, unknown), Proxy::Gone);
    }

    #[test]
    fn one_silent_worker_hangs_until_it_ticks() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        presence.tick(ms(250), 1, 0, 2, SERVES);
        assert_eq!(presence.look(ms(299), true, unknown), FINE);
        assert_eq!(presence.next_look(), Some(ms(300)));
        assert_eq!(presence.look(ms(300), true, unknown), HUNG);
        assert_eq!(presence.next_look(), None);
        both(&mut presence, ms(400));
        assert_eq!(presence.look(ms(400), true, unknown), FINE);
    }

    #[test]
    fn at_most_one_hang_in_thirty_seconds() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        assert_eq!(presence.look(ms(300), true, unknown), HUNG);
        both(&mut presence, ms(400));
        presence.look(ms(400), true, unknown);
        assert_eq!(presence.look(ms(30_299), true, unknown), FINE);
        assert_eq!(presence.next_look(), Some(ms(30_399)));
        assert_eq!(presence.look(ms(30_300), true, unknown), HUNG);
    }

    /// A standby's proxy hung for a moment; soon after it held the address, and its proxy hung again: nobody
    /// was served for as long as that lasted.
    #[test]
    fn a_hang_that_moves_nothing_leaves_the_next_one_its_move() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        assert_eq!(presence.look(ms(300), false, unknown), HUNG);
        both(&mut presence, ms(400));
        assert_eq!(presence.look(ms(400), false, unknown), FINE);
        assert_eq!(presence.look(ms(700), true, unknown), HUNG);
    }

    #[test]
    fn what_hangs_again_while_it_holds_nothing_is_hung() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        assert_eq!(presence.look(ms(300), true, unknown), HUNG);
        both(&mut presence, ms(400));
        assert_eq!(presence.look(ms(400), false, unknown), FINE);
        assert_eq!(presence.look(ms(700), false, unknown), HUNG);
    }

    /// Looked at only when it would be hung, a machine that stood still for about as long was taken for one
    /// whose proxy hangs: that look was not late.
    #[test]
    fn missing_ticks_are_looked_for_in_steps() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        let mut looks = Vec::new();
        while presence.look(looks.last().copied().unwrap_or_default(), true, unknown) == FINE {
            looks.extend(presence.next_look());
        }
        assert_eq!(looks, [ms(100), ms(200), ms(300)]);
    }

    #[test]
    fn our_own_lateness_is_no_hang() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        presence.excuse(ms(5000));
        assert_eq!(presence.look(ms(5000), true, unknown), FINE);
        assert_eq!(presence.look(ms(5300), true, unknown), HUNG);
    }

    /// A machine stood still in the middle of a hang: its speaker took the proxy for well, held the address with
    /// it again, and left it there, as its move was used up.
    #[test]
    fn a_hang_goes_on_after_a_pause_until_every_worker_ticks() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        assert_eq!(presence.look(ms(300), true, unknown), HUNG);
        presence.excuse(ms(1000));
        assert_eq!(presence.look(ms(1000), false, unknown), HUNG);
        presence.tick(ms(1010), 1, 0, 2, SERVES);
        assert_eq!(presence.look(ms(1010), false, unknown), HUNG);
        presence.tick(ms(1020), 2, 1, 2, SERVES);
        assert_eq!(presence.look(ms(1020), false, unknown), FINE);
    }

    #[test]
    fn what_it_says_of_itself_is_what_was_said_last() {
        let mut presence = Presence::default();
        presence.tick(ms(0), 1, 0, 1, DRAINS);
        assert_eq!(presence.look(ms(0), true, unknown), Proxy::There { hung: false, wish: DRAINS });
        presence.tick(ms(50), 1, 0, 1, SERVES);
        assert_eq!(presence.look(ms(50), true, unknown), FINE);
    }

    /// Two workers of which the second is silent from 0 on and, at every look, as `usage` says. When it hangs.
    fn hangs_at(usage: impl Fn(Duration) -> Usage) -> Duration {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        for at in (0..=4000).step_by(50).map(ms) {
            presence.tick(at, 1, 0, 2, SERVES);
            let asked = |stream| {
                assert_eq!(stream, 2, "who ticks is not asked about");
                Some(usage(at))
            };
            if presence.look(at, true, asked) == HUNG {
                return at;
            }
        }
        panic!("never hung")
    }

    #[test]
    fn who_waits_for_a_processor_has_three_seconds() {
        let waits = |_| Usage { ran: ms(40), waited: ms(7), runnable: true };
        assert_eq!(hangs_at(waits), STARVED_AFTER);
        let runs_a_little = |at: Duration| Usage { ran: at / 10, waited: at * 9 / 10, runnable: true };
        assert_eq!(hangs_at(runs_a_little), STARVED_AFTER);
    }

    #[test]
    fn who_is_stopped_or_spins_has_not() {
        assert_eq!(hangs_at(|_| Usage { ran: ms(40), waited: ms(7), runnable: false }), HUNG_AFTER);
        assert_eq!(hangs_at(|at| Usage { ran: at, waited: ms(7), runnable: true }), HUNG_AFTER);
    }

    /// It waited for a processor, got one, and was stopped soon after.
    #[test]
    fn who_ticked_since_it_waited_is_judged_anew() {
        let mut presence = Presence::default();
        both(&mut presence, ms(0));
        let waits = |_| Some(Usage { ran: ms(40), waited: ms(7), runnable: true });
        let stopped = |_| Some(Usage { ran: ms(41), waited: ms(607), runnable: false });
        for at in [100, 300, 600] {
            assert_eq!(presence.look(ms(at), true, waits), FINE);
        }
        both(&mut presence, ms(610));
        for at in [610, 710, 909] {
            assert_eq!(presence.look(ms(at), true, stopped), FINE);
        }
        assert_eq!(presence.look(ms(910), true, stopped), HUNG);
    }
}
