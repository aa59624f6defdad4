//! What an upstream that was ejected has to pass before it is used like any other: one real request.
//!
//! ```text
//!   ejected ──its check passes──────▶ wanted ──the next request──▶ under way ──answered well──▶ none
//!      ▲                                ▲                           │  │
//!      │                                └──────── came to nothing ──┘  │
//!      └──────────────────────────────────────────────── failed ──────┘
//! ```

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::{clock, primary};

/// A trial prefers a request that can be repeated elsewhere when it fails. Where none comes for so long, any
/// request is taken: a service may know no others.
const PATIENCE: Duration = Duration::from_secs(1);

const NONE: u8 = 0;
const WANTED: u8 = 1;
const UNDER_WAY: u8 = 2;

/// Counts what changed anywhere in who may be used, so that pools know when to count again.
static CHANGES: AtomicU64 = AtomicU64::new(1);

/// The changes so far.
pub(crate) fn changes() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

/// Notes that an upstream was ejected or may be used again.
pub(crate) fn changed() {
    CHANGES.fetch_add(1, Ordering::Relaxed);
    primary::news();
}

/// The trial of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    state: AtomicU8,
    since: AtomicU64,
}

impl Trial {
    /// From now on the upstream has to pass one.
    pub(crate) fn want(&self, now: Instant) {
        self.since.store(clock::micros(now), Ordering::Relaxed);
        self.state.store(WANTED, Ordering::Relaxed);
        changed();
    }

    /// Makes a request the trial, if one is wanted and this one will do.
    pub(crate) fn claim(&self, repeatable: bool, now: Instant) -> bool {
        if !self.is_wanted() {
            return false;
        }
        let waited = clock::micros(now).saturating_sub(self.since.load(Ordering::Relaxed));
        let will_do = repeatable || u128::from(waited) >= PATIENCE.as_micros();
        will_do
            && self.state.compare_exchange(WANTED, UNDER_WAY, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// The request came to nothing that says anything: another one is wanted.
    pub(crate) fn give_back(&self) {
        if self.state.compare_exchange(UNDER_WAY, WANTED, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            changed();
        }
    }

    /// None is needed any more, or none yet. Returns whether one was under way.
    pub(crate) fn end(&self) -> bool {
        let was = self.state.swap(NONE, Ordering::Relaxed);
        if was != NONE {
            changed();
        }
        was == UNDER_WAY
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.state.load(Ordering::Relaxed) == WANTED
    }

    /// Whether it has nothing to pass.
    pub(crate) fn is_over(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_at_a_time_is_the_trial() {
        let (trial, now) = (Trial::default(), Instant::now());
        assert!(!trial.claim(true, now), "none is wanted");
        trial.want(now);
        assert!(!trial.claim(false, now), "better one that can be repeated");
        assert!(trial.claim(true, now));
        assert!(!trial.claim(true, now));
        trial.give_back();
        assert!(trial.claim(false, now + PATIENCE), "rather than none");
        assert!(trial.end() && trial.is_over());
        trial.give_back();
        assert!(trial.is_over(), "what is over stays over");
    }
}
