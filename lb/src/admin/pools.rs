//! What `GET /pools` says of the health of pools.

use std::collections::{BTreeMap, BTreeSet};

use wire::pools::{MOST_FAILING, MOST_ILL, PoolHealth, PoolsHealth, PrimaryHealth};

use crate::proxy::state::State;
use crate::proxy::state::pool::Pool;

/// The pools of `state` whose upstreams are checked all the time.
pub(super) fn of(state: &State) -> PoolsHealth {
    let snapshot = state.snapshot();
    let checked = snapshot.pools.values().filter(|pool| pool.policy.check.active);
    PoolsHealth {
        decides: state.decides.get(),
        pools: checked.map(|pool| (pool.name.clone(), health(pool))).collect(),
    }
}

fn health(pool: &Pool) -> PoolHealth {
    let (mut upstreams, mut well, mut failing) = (0, 0, BTreeMap::new());
    let (mut elsewhere, mut ill) = (0, BTreeSet::new());
    for member in pool.eligible() {
        upstreams += 1;
        let upstream = &member.upstream;
        let standing = upstream.health.checks.standing(pool.policy.check.fall);
        if !member.checked_elsewhere && standing.is_some_and(|standing| standing.is_err()) {
            ill.insert(upstream.id.clone());
        }
        match standing {
            // What was found when it was last asked is not known to be true any more.
            None | Some(Ok(_)) if member.checked_elsewhere && !upstream.is_ejected() => elsewhere += 1,
            Some(Ok(_)) if !upstream.is_ejected() => well += 1,
            Some(Err(fault)) => {
                failing.insert(upstream.id.clone(), fault.to_string());
            }
            Some(Ok(_)) => {
                failing.insert(upstream.id.clone(), "ejected".to_owned());
            }
            None => {}
        }
    }
    while failing.len() > MOST_FAILING {
        failing.pop_last();
    }
    while ill.len() > MOST_ILL {
        ill.pop_last();
    }
    let primary = pool.policy.primary_only.then(|| {
        let look = pool.lasting.primary.look();
        let id = look.present.map(|(upstream, _)| upstream.id.clone());
        PrimaryHealth { id, reason: look.reason, terms: look.terms }
    });
    PoolHealth { upstreams, well, failing, elsewhere, ill: Some(ill), primary }
}
