//! Shares a route's requests over several pools, by weight: by chance, or so that a client stays where it is.

use std::sync::Arc;

use pingora_http::RequestHeader;
use rand::RngExt;
use wire::balancing::HashKey;
use wire::proxy_config;

use super::super::balance::ask;
use super::super::balance::hash;
use super::Route;
use super::sender::Sender;

/// So that who is where among the shares says nothing of who is where in a pool that hashes the same.
const SALT: u64 = 0x7370_6c69_7421;

/// The shares of a route, which is followed by one like it for each further pool.
#[derive(Clone, Debug)]
pub(crate) struct Split {
    /// Up to which of `total` each share goes.
    ends: Vec<u64>,
    total: u64,
    by: Option<HashKey>,
}

impl Split {
    /// The shares of `described`, if it has any.
    pub(crate) fn new(described: &proxy_config::Route) -> Option<Self> {
        let mut total = 0;
        let ends = described.split.iter().map(|share| {
            total += u64::from(share.weight);
            total
        });
        let ends: Vec<_> = ends.collect();
        (total > 0).then(|| Split { ends, total, by: described.split_by.clone() })
    }

    /// Which of `routes`, one for each share, gets `request`: one whose pool has somebody, if there is any.
    pub(crate) fn choose<'a>(
        &self,
        routes: &'a [Arc<Route>],
        request: &RequestHeader,
        client: Sender,
    ) -> Option<&'a Arc<Route>> {
        let at = match &self.by {
            None => rand::rng().random_range(0..self.total),
            Some(key) => {
                let key = ask::key_of(key, request, client.address)
                    .or_else(|| ask::key_of(&HashKey::Client, request, client.address))
                    .unwrap_or_default();
                let total = usize::try_from(self.total).unwrap_or(usize::MAX);
                hash::below(hash::with(key, SALT), total) as u64
            }
        };
        let chosen = self.share_of(at);
        let is_meant = |index: &usize| self.ends[*index] > index.checked_sub(1).map_or(0, |i| self.ends[i]);
        let has_any = |index: &usize| {
            routes.get(*index).is_some_and(|route| !route.pool.offered().is_empty()) && is_meant(index)
        };
        let others = (chosen..self.ends.len()).chain(0..chosen);
        routes.get(others.into_iter().find(has_any).unwrap_or(chosen))
    }

    /// The share that number `at` of `total` belongs to.
    fn share_of(&self, at: u64) -> usize {
        self.ends.partition_point(|&end| end <= at)
    }
}

#[cfg(test)]
mod tests {
    use wire::routing::Share;

    use super::*;

    fn split(weights: &[u32]) -> Split {
        let split = weights.iter().map(|&weight| Share { pool: "p".into(), weight }).collect();
        Split::new(&proxy_config::Route { split, ..Default::default() }).expect("shares")
    }

    #[test]
    fn each_share_is_as_large_as_its_weight() {
        let shares = split(&[2, 0, 3]);
        let found: Vec<_> = (0..5).map(|at| shares.share_of(at)).collect();
        assert_eq!(found, [0, 0, 2, 2, 2]);
        assert!(Split::new(&proxy_config::Route::default()).is_none());
    }

    /// Growing the second share takes clients from the first, and moves none back.
    #[test]
    fn clients_stay_when_weights_change() {
        let at = |shares: &Split, client: u32| {
            let key = hash::with(hash::hash(&client.to_be_bytes()), SALT);
            shares.share_of(hash::below(key, usize::try_from(shares.total).expect("small")) as u64)
        };
        let (before, after) = (split(&[95, 5]), split(&[90, 10]));
        let moved = (0..10_000).filter(|&client| at(&before, client) == 1 && at(&after, client) == 0);
        assert_eq!(moved.count(), 0);
        let share = (0..10_000).filter(|&client| at(&after, client) == 1).count();
        assert!((900..1_100).contains(&share), "{share}");
    }
}
