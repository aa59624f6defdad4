//! Requests for which there is no upstream wait a while: machines that died together come back together, and
//! their manager says so.
//!
//! ```text
//!   nobody left ──room in the queue──▶ held ──a new set, or one answers a probe──▶ tried anew
//!        │ none                         │ waited too long                            │ nobody left: held again
//!        ▼                              ▼                                            ▼ (the same wait goes on)
//!       503 with Retry-After ◀──────────┘
//! ```
//!
//! While requests of a pool are held, one *scout* asks its upstreams again and again, out of turn.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use wire::PoolName;
use wire::proxy_config::PoolPolicy;

use super::super::client::Client;
use super::super::lock;
use super::super::state::State;
use super::tries::Tries;

/// The scout looks so often whether there is an upstream again.
const LOOK: Duration = Duration::from_millis(10);

/// It asks those that are down once in so many looks …
const LOOKS_PER_ROUND: usize = 10;

/// … and so many of them at a time.
const ASKED_PER_ROUND: usize = 16;

/// The requests that are held, by pool.
#[derive(Debug, Default)]
pub(crate) struct Holding {
    held: Mutex<BTreeMap<PoolName, u32>>,
    changed: Notify,
}

/// What came of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// There may be an upstream now.
    Again,
    /// There was none for too long, or too many wait already.
    InVain,
    /// The client went away.
    ClientGone,
}

impl Holding {
    /// Says that there may be upstreams now.
    pub(crate) fn wake(&self) {
        self.changed.notify_waiters();
    }

    /// How many requests of `pool` are held.
    pub(crate) fn count(&self, pool: &PoolName) -> u32 {
        lock(&self.held).get(pool).copied().unwrap_or(0)
    }
}

/// A place in the queue.
struct Place<'a> {
    holding: &'a Holding,
    pool: PoolName,
}

impl<'a> Place<'a> {
    /// The place and whether it is the first one; none if there are `most` already.
    fn take(holding: &'a Holding, pool: &PoolName, most: u32) -> Option<(Self, bool)> {
        let mut held = lock(&holding.held);
        let count = held.entry(pool.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some((Place { holding, pool: pool.clone() }, *count == 1))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut held = lock(&self.holding.held);
        if let Some(count) = held.get_mut(&self.pool) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.pool);
            }
        }
    }
}

/// When a request was first held; it is not held for longer in all than its pool's policy says.
pub(crate) type Since = Option<Instant>;

/// Waits until there may be an upstream for `tries`, at most until `until`.
pub(crate) async fn hold(
    state: &Arc<State>,
    tries: &mut Tries,
    client: &Client,
    since: &mut Since,
    until: Instant,
) -> Held {
    let pool = tries.pool().clone();
    let may_go_on = || {
        tries.follow(state);
        let may = !tries.is_hopeless();
        if may {
            tries.begin_anew();
        }
        may
    };
    wait(state, (&pool.name, &pool.policy), since, until, may_go_on, client.gone()).await
}

/// Waits for the pool of this name and policy until `may_go_on`, at most until `until`, unless the client has `gone`.
pub(crate) async fn wait(
    state: &Arc<State>,
    (pool, policy): (&PoolName, &PoolPolicy),
    since: &mut Since,
    until: Instant,
    mut may_go_on: impl FnMut() -> bool,
    gone: impl Future<Output = ()>,
) -> Held {
    let start = *since.get_or_insert_with(Instant::now);
    let end = until.min(start + Duration::from_millis(policy.hold_ms));
    if Instant::now() >= end {
        return Held::InVain;
    }
    let Some((_place, is_first)) = Place::take(&state.holding, pool, policy.hold_requests) else {
        return Held::InVain;
    };
    if is_first {
        tracing::warn!(%pool, "no upstream can be reached: requests are held");
        tokio::spawn(scout(state.clone(), pool.clone()));
    }
    let mut gone = std::pin::pin!(gone);
    loop {
        let mut changed = std::pin::pin!(state.holding.changed.notified());
        changed.as_mut().enable();
        if may_go_on() {
            return Held::Again;
        }
        tokio::select! {
            biased;
            () = changed => {}
            () = &mut gone => return Held::ClientGone,
            () = sleep_until(end) => return Held::InVain,
        }
    }
}

/// Looks for an upstream of `pool` while requests of it are held.
async fn scout(state: Arc<State>, pool: PoolName) {
    for look in 0.. {
        if state.holding.count(&pool) == 0 {
            return;
        }
        let snapshot = state.snapshot().clone();
        let Some(found) = snapshot.pools.get(&pool) else { return };
        if !found.is_dead() {
            state.holding.wake();
        } else if look % LOOKS_PER_ROUND == 0 {
            let members = found.offered();
            // Not always the same of many.
            let start = (look / LOOKS_PER_ROUND * ASKED_PER_ROUND) % members.len().max(1);
            for member in members.iter().cycle().skip(start).take(members.len().min(ASKED_PER_ROUND)) {
                member.upstream.health.checks.want();
            }
        }
        sleep(LOOK).await;
    }
}
