//! Times as numbers, so that records of them fit into atomics.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Before the first use, so that the first times are not zero, even of a thread that was kept waiting since.
static ORIGIN: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(60)).unwrap_or(now)
});

/// `at` in microseconds since the process began to count.
pub(crate) fn micros(at: Instant) -> u64 {
    u64::try_from(at.saturating_duration_since(*ORIGIN).as_micros()).unwrap_or(u64::MAX)
}
