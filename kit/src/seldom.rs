//! What strangers can cause is logged, but not as often as they like.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One in this time is said, with the number of those that were not.
const EVERY: Duration = Duration::from_secs(1);

/// Says when it is time for a line in the log.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Unsaid>);

#[derive(Debug, Default)]
struct Unsaid {
    last: Option<Instant>,
    more: u64,
}

impl Seldom {
    /// How many were not said before this one; none when this one is not to be said either.
    pub fn due(&self) -> Option<u64> {
        let mut unsaid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if unsaid.last.is_some_and(|last| last.elapsed() < EVERY) {
            unsaid.more += 1;
            return None;
        }
        let more = unsaid.more;
        *unsaid = Unsaid { last: Some(Instant::now()), more: 0 };
        Some(more)
    }
}
