//! Upstreams that no set names any more. What they were asked they may finish, for as long as their pool's policy
//! says; then every connection to them is cut.
//!
//! ```text
//!   left out of a set ──▶ leaving ──nothing open any more──▶ forgotten
//!                            │ drain_ms over                     ▲
//!                            └──────────────▶ cut ───────────────┘
//! ```

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::lock;
use super::upstream::Upstream;

/// A request that was under way to an upstream when that left has begun there after so long, if it ever does.
const SETTLED: Duration = Duration::from_secs(1);

/// The upstreams that are leaving.
#[derive(Debug, Default)]
pub(crate) struct Leaving(Mutex<Vec<Gone>>);

#[derive(Debug)]
struct Gone {
    upstream: Arc<Upstream>,
    left: Instant,
    until: Instant,
}

impl Leaving {
    /// From `now` on `upstream` is in no set.
    pub(crate) fn add(&self, upstream: &Arc<Upstream>, now: Instant) {
        let until = now + Duration::from_millis(upstream.policy().drain_ms);
        lock(&self.0).push(Gone { upstream: upstream.clone(), left: now, until });
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        lock(&self.0).len()
    }

    /// Cuts the connections of requests to those whose time is up at `now`, and forgets whom nothing is open to, unless
    /// that cannot be seen because others forward (`unseen`). Returns those whose time is up.
    pub(crate) fn sweep(&self, now: Instant, unseen: bool) -> Vec<Arc<Upstream>> {
        let mut over = Vec::new();
        lock(&self.0).retain(|gone| {
            if now < gone.until {
                return unseen || now < gone.left + SETTLED || gone.upstream.is_busy();
            }
            over.push(gone.upstream.clone());
            let requests = gone.upstream.in_flight();
            let connections = gone.upstream.sockets.cut();
            if requests > 0 && connections > 0 {
                tracing::warn!(
                    upstream = %gone.upstream.id, address = %gone.upstream.address, requests, connections,
                    "its time to drain is over: connections cut"
                );
            }
            false
        });
        over
    }
}

#[cfg(test)]
mod tests {
    use wire::proxy_config::PoolPolicy;

    use super::*;

    #[test]
    fn who_has_nothing_open_is_forgotten_and_who_has_is_cut_in_time() {
        let leaving = Leaving::default();
        let upstream = Arc::new(Upstream::new("u".into(), ([127, 0, 0, 1], 1).into(), 1));
        upstream.adopt(&Arc::new(PoolPolicy { drain_ms: 5_000, ..PoolPolicy::default() }));
        let start = Instant::now();
        let remains = |after: u64| {
            leaving.sweep(start + Duration::from_millis(after), false);
            leaving.count()
        };
        leaving.add(&upstream, start);
        assert_eq!((remains(999), remains(1_000)), (1, 0), "nothing is open");
        assert!(upstream.take_room());
        leaving.add(&upstream, start);
        assert_eq!((remains(4_999), remains(5_000)), (1, 0), "a request is in flight");
        upstream.give_room_back();
        leaving.add(&upstream, start);
        let unseen = |after| leaving.sweep(start + Duration::from_millis(after), true).len();
        assert_eq!((unseen(4_999), unseen(5_000)), (0, 1), "somebody else may have connections open");
    }
}
