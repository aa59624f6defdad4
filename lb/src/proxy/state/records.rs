//! The record of each upstream that is in the set, by its id. Only who makes the next snapshot looks here: the snapshots
//! themselves have the records in their pools.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wire::upstreams::UpstreamSet;
use wire::{EndpointId, PoolName};

use super::upstream::Upstream;

/// All records, and the pool of each.
#[derive(Debug, Default)]
pub(crate) struct Records {
    by_id: HashMap<EndpointId, Record>,
    pools: Vec<PoolName>,
}

#[derive(Clone, Debug)]
struct Record {
    upstream: Arc<Upstream>,
    /// An index into the pools.
    pool: usize,
}

/// Whom a new set brings and leaves out.
#[derive(Debug, Default)]
pub(crate) struct Turnover {
    /// Who was not in the set before.
    pub(crate) new: Vec<Arc<Upstream>>,
    /// Who is in it no more.
    pub(crate) gone: Vec<Arc<Upstream>>,
}

impl Records {
    /// Takes up `set`, whole. The record of a machine stays while its id and place do. Returns the records of each
    /// pool, in the order of the set, and who comes and goes.
    pub(crate) fn take(
        &mut self,
        set: &UpstreamSet,
        workers: usize,
    ) -> (BTreeMap<PoolName, Vec<Arc<Upstream>>>, Turnover) {
        let mut before = std::mem::take(&mut self.by_id);
        let mut turnover = Turnover::default();
        self.by_id.reserve(set.pools.values().map(Vec::len).sum());
        self.pools = set.pools.keys().cloned().collect();
        let mut pools = BTreeMap::new();
        for (pool, (name, described)) in set.pools.iter().enumerate() {
            let records = described.iter().map(|described| {
                let known = before.remove(&described.id).map(|record| record.upstream);
                let upstream = match known {
                    Some(known) if known.address == described.socket() => known,
                    known => {
                        turnover.gone.extend(known);
                        let new = Arc::new(Upstream::new(described.id.clone(), described.socket(), workers));
                        turnover.new.push(new.clone());
                        new
                    }
                };
                self.by_id.insert(described.id.clone(), Record { upstream: upstream.clone(), pool });
                upstream
            });
            pools.insert(name.clone(), records.collect());
        }
        turnover.gone.extend(before.into_values().map(|record| record.upstream));
        (pools, turnover)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The names of the pools of the set.
    pub(crate) fn pools(&self) -> &[PoolName] {
        &self.pools
    }

    /// The record of `id` and the name of its pool.
    pub(crate) fn get(&self, id: &EndpointId) -> Option<(&Arc<Upstream>, &PoolName)> {
        let record = self.by_id.get(id)?;
        Some((&record.upstream, self.pools.get(record.pool)?))
    }

    /// `upstream` is in `pool`, which is one of those there are.
    pub(crate) fn insert(&mut self, pool: &PoolName, upstream: Arc<Upstream>) {
        if let Ok(pool) = self.pools.binary_search(pool) {
            self.by_id.insert(upstream.id.clone(), Record { upstream, pool });
        }
    }

    /// `id` is in the set no more.
    pub(crate) fn remove(&mut self, id: &EndpointId) {
        self.by_id.remove(id);
    }
}
