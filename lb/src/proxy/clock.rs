//! Times as numbers, so that records of them fit into atomics.

use std::cell::Cell;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Before the first use, so that the first times are not zero, even of a thread that was kept waiting since.
static ORIGIN: LazyLock<Instant> = LazyLock::new(|| {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(60)).unwrap_or(now)
});

thread_local! {
    /// What was asked for last: a request asks for the same three times again and again.
    static LAST: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
}

/// `at` in microseconds since the process began to count.
pub(crate) fn micros(at: Instant) -> u64 {
    if let Some((last, micros)) = LAST.get()
        && last == at
    {
        return micros;
    }
    let micros = u64::try_from(at.saturating_duration_since(*ORIGIN).as_micros()).unwrap_or(u64::MAX);
    LAST.set(Some((at, micros)));
    micros
}
