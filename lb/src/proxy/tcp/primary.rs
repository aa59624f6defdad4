//! Finds the primary of a pool that gives connections to nobody else.
//!
//! ```text
//!   wait for a primary ──▶ connect ──▶ open, until its time is over
//!     ▲ at most hold_ms       ├─ another one is to be it meanwhile: wait for that one
//!     └───────────────────────┴─ not to be had: held against it, and tried again soon
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::super::balance::ask::Ask;
use super::super::state::State;
use super::attempt::Attempt;
use super::dial::{Dialled, connect, left};
use super::ended::Ended;
use super::service::Goal;
use super::streams::Entry;

/// A primary that does not take a connection is asked again after so long, unless another one is to be it.
const AGAIN: Duration = Duration::from_millis(100);

/// Connects the client, whose connection is `tcp`, to the primary for `goal`, before `until`. `tries` counts connections
/// tried.
///
/// # Errors
///
/// Why there is none.
pub(super) async fn dial(
    goal: &Goal,
    (tcp, entry): (&TcpStream, &Entry),
    state: &Arc<State>,
    until: Instant,
    tries: &mut u32,
) -> Result<Dialled, Ended> {
    let begun = Instant::now();
    loop {
        let Some(pool) = state.snapshot().pools.get(&goal.pool).cloned() else {
            return Err(Ended::NoUpstream);
        };
        let until = until.min(begun + Duration::from_millis(pool.policy.hold_ms));
        let primary = &pool.lasting.primary;
        let stay = match primary.enter() {
            Some(stay) => stay,
            None => {
                let Some(_waits) = primary.waits(pool.policy.hold_requests) else {
                    return Err(Ended::NoUpstream);
                };
                tokio::select! {
                    stay = primary.entered() => stay,
                    () = sleep_until(until) => return Err(Ended::NoUpstream),
                    () = left(tcp) => return Err(Ended::ClientLeft),
                }
            }
        };
        *tries += 1;
        let (now, upstream) = (std::time::Instant::now(), stay.upstream());
        let is_trial = upstream.health.trial.claim(true, now);
        let attempt = Attempt::begin(&pool, upstream, is_trial, now);
        let Some(mut attempt) = attempt else { return Err(Ended::Busy) };
        entry.goes_to(upstream);
        let limit = goal.service.described.connect_timeout_ms.unwrap_or(pool.policy.connect_timeout_ms);
        let connected = tokio::select! {
            biased;
            () = stay.over() => continue,
            connected = connect(upstream, Duration::from_millis(limit)) => connected,
        };
        match connected {
            Ok((tcp, _opened)) => {
                attempt.connected(&pool, &Ask::default(), std::time::Instant::now());
                return Ok(Dialled { tcp, attempt, stay: Some(stay), _opened });
            }
            Err(failure) => {
                goal.service.stats.failed(failure);
                attempt.failed(&pool, &Ask::default(), failure);
            }
        }
        if Instant::now() >= until {
            return Err(Ended::Unreachable);
        }
        tokio::select! {
            () = stay.over() => {}
            () = sleep(AGAIN) => {}
            () = left(tcp) => return Err(Ended::ClientLeft),
        }
    }
}
