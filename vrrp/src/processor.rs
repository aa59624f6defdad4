//! Whether a thread that says nothing waits for a processor. One that does is not hung: moving the address away
//! from it would help nobody, and on a busy machine it would be moved again and again.
//!
//! ```text
//!   stopped, waiting for a lock   not runnable, has not waited    hung
//!   in an endless loop            runnable, ran all the time      hung
//!   no processor to be had        runnable, did not run           waits
//! ```

use std::time::Duration;

/// What a thread had of the processors since it began, and whether it wants one now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// For how long it ran.
    pub ran: Duration,
    /// For how long it waited before it ran; what it waits just now may be missing.
    pub waited: Duration,
    /// Whether it runs or could run.
    pub runnable: bool,
}

impl Usage {
    /// Whether the thread waited for a processor for most of `time`, which passed since it was as `before`.
    #[must_use]
    pub fn is_starved(&self, before: &Usage, time: Duration) -> bool {
        let ran = self.ran.saturating_sub(before.ran);
        let waited = if self.runnable {
            // A wait is counted when it is over.
            time.saturating_sub(ran)
        } else {
            self.waited.saturating_sub(before.waited)
        };
        waited > time / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const BEFORE: Usage = Usage { ran: ms(5000), waited: ms(700), runnable: true };

    /// After 200 ms of which it `ran` and `waited` so much.
    fn starved(ran: u64, waited: u64, runnable: bool) -> bool {
        let usage = Usage { ran: BEFORE.ran + ms(ran), waited: BEFORE.waited + ms(waited), runnable };
        usage.is_starved(&BEFORE, ms(200))
    }

    #[test]
    fn who_could_run_and_does_not_is_starved() {
        assert!(starved(0, 0, true), "it waits all the time, and none of it is counted yet");
        assert!(starved(20, 150, true), "it gets a little of a processor");
        assert!(starved(20, 150, false), "it just went to sleep");
    }

    #[test]
    fn who_is_stopped_blocked_or_busy_is_not() {
        assert!(!starved(0, 0, false), "stopped, or waiting for a lock");
        assert!(!starved(200, 0, true), "in an endless loop");
        assert!(!starved(110, 90, true), "in an endless loop, beside another one");
        assert!(!starved(90, 20, false), "it ran and slept");
    }

    #[test]
    fn no_time_is_no_evidence() {
        assert!(!BEFORE.is_starved(&BEFORE, ms(0)));
    }
}
