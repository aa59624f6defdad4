//! The snapshot after a few upstreams have changed: made of the one before, at the cost of what has changed.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use wire::changes::{Digest, PoolChanges};
use wire::upstreams::UpstreamSet;
use wire::{Generation, PoolName, Problem};

use super::super::route::Route;
use super::check::MAX_UPSTREAMS;
use super::pool::Member;
use super::records::Records;
use super::snapshot::{Here, Made, Snapshot, Zones};
use super::upstream::Upstream;
use super::upstreams::{checked, refused};

impl Snapshot {
    /// What makes `set` of the one it was made from; none where they have not the same pools.
    pub(super) fn difference(
        &self,
        set: &UpstreamSet,
        records: &Records,
    ) -> Option<BTreeMap<PoolName, PoolChanges>> {
        if !set.pools.keys().eq(records.pools()) {
            return None;
        }
        let mut pools = BTreeMap::new();
        for (name, described) in &set.pools {
            let mut changes = PoolChanges::default();
            let mut named = HashSet::with_capacity(described.len());
            for upstream in described {
                named.insert(&upstream.id);
                let known = records.get(&upstream.id).filter(|(_, pool)| *pool == name);
                let member = known.and_then(|(record, _)| self.member(name, record));
                match (known, member) {
                    (_, Some(member)) if member.is_described_as(upstream) => {}
                    // One that comes from another pool; that is left to who makes all of it anew.
                    (None, _) if records.get(&upstream.id).is_some() => return None,
                    _ => changes.put.push(upstream.clone()),
                }
            }
            let members = self.pools.get(name).into_iter().flat_map(|pool| pool.members());
            let ids = members.map(|member| &member.upstream.id);
            changes.remove = ids.filter(|id| !named.contains(id)).cloned().collect();
            if !changes.is_empty() {
                pools.insert(name.clone(), changes);
            }
        }
        Some(pools)
    }

    /// The digest of the set once it has changed as `pools` say, where that of the present one is `digest`.
    ///
    /// # Errors
    ///
    /// A problem of 400 that names what cannot be done.
    pub(super) fn digest_after(
        &self,
        mut digest: Digest,
        pools: &BTreeMap<PoolName, PoolChanges>,
        records: &Records,
    ) -> Result<Digest, Problem> {
        let (mut count, mut named) = (records.len(), HashSet::new());
        for (name, changes) in pools {
            if records.pools().binary_search(name).is_err() {
                return Err(Problem::bad_parameter(
                    &format!("pools.{name}"),
                    "expected a pool of the set that is held",
                ));
            }
            for (index, id) in changes.remove.iter().enumerate() {
                let known = records.get(id).filter(|(_, pool)| *pool == name);
                let member = known.and_then(|(record, _)| self.member(name, record));
                let Some(member) = member.filter(|_| named.insert(id)) else {
                    let detail = format!("expected an upstream of the pool, each once; found {id}");
                    return Err(refused(name, "remove", index, "", detail));
                };
                digest = digest.without(name, &member.described());
                count -= 1;
            }
            for (index, upstream) in changes.put.iter().enumerate() {
                checked(name, index, upstream)?;
                let known = records.get(&upstream.id);
                let is_elsewhere = known.is_some_and(|(_, pool)| pool != name);
                if is_elsewhere || !named.insert(&upstream.id) {
                    let detail = format!("another upstream has the id {}", upstream.id);
                    return Err(refused(name, "put", index, "id", detail));
                }
                match known.and_then(|(record, _)| self.member(name, record)) {
                    Some(before) => digest = digest.without(name, &before.described()),
                    None => count += 1,
                }
                digest = digest.with(name, upstream);
            }
        }
        if count > MAX_UPSTREAMS {
            let detail = format!("{count} are more than the {MAX_UPSTREAMS} allowed");
            return Err(Problem::bad_parameter("pools", detail));
        }
        Ok(digest)
    }

    /// What the pool `name` says of `upstream`, which stands in it.
    pub(super) fn member(&self, name: &PoolName, upstream: &Upstream) -> Option<&Member> {
        let (shelf, at) = upstream.place.get()?;
        let member = self.pools.get(name)?.members().at(shelf, at)?;
        std::ptr::eq(&raw const *member.upstream, upstream).then_some(member)
    }

    /// This one, as of `generation`, with its pools changed as `pools` say. They can be.
    pub(super) fn changed(
        &self,
        generation: Generation,
        pools: BTreeMap<PoolName, PoolChanges>,
        here: &Here,
        records: &mut Records,
    ) -> Made {
        let mut made =
            Made { snapshot: self.again(generation), turnover: super::records::Turnover::default() };
        let mut zones = Zones::default();
        for (name, PoolChanges { put, remove }) in pools {
            let Some(before) = self.pools.get(&name) else { continue };
            let mut gone = Vec::with_capacity(remove.len());
            for id in &remove {
                gone.extend(records.get(id).map(|(upstream, _)| upstream.clone()));
                records.remove(id);
            }
            let mut come = Vec::with_capacity(put.len());
            for described in &put {
                let known = records.get(&described.id).map(|(upstream, _)| upstream.clone());
                let upstream = match known {
                    Some(known) if known.address == described.socket() => known,
                    known => {
                        gone.extend(known);
                        let new = Upstream::new(described.id.clone(), described.socket(), here.workers);
                        let new = Arc::new(new);
                        records.insert(&name, new.clone());
                        made.turnover.new.push(new.clone());
                        new
                    }
                };
                come.push(here.see(upstream, described, &mut zones));
            }
            let pool = Arc::new(before.changed(&gone, come));
            for route in &mut made.snapshot.routes {
                if Arc::ptr_eq(&route.pool, before) {
                    *route = Arc::new(Route::with_pool(route, pool.clone()));
                }
            }
            made.snapshot.pools.insert(name, pool);
            made.turnover.gone.append(&mut gone);
        }
        made
    }
}
