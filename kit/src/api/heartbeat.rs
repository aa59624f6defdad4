//! The heartbeat every guest answers with: see [`wire::heartbeat`].

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, Sse};
use futures_util::{Stream, StreamExt};
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::IntervalStream;
use wire::heartbeat;

/// An endless stream of heartbeats, the first at once, then one every `interval`.
///
/// It ends when the connection does. A stalled process sends nothing in between and does not make up
/// for it later.
pub fn heartbeat_stream(interval: Duration) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Sse::new(IntervalStream::new(ticks).map(|_| Ok(Event::default().data(heartbeat::DATA))))
}
