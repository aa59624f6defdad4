//! A pool as one accepted set and configuration make it: the upstreams in the order in which they may
//! be used, and the policy for them.

use std::sync::Arc;
use std::time::Instant;

use wire::PoolName;
use wire::proxy_config::PoolPolicy;
use wire::upstreams::UpstreamState;

use super::budget::Budget;
use super::upstream::Upstream;

/// One pool of one snapshot.
#[derive(Debug)]
pub(crate) struct Pool {
    /// Its name.
    pub(crate) name: PoolName,
    /// How it is treated.
    pub(crate) policy: Arc<PoolPolicy>,
    /// What lives longer than the snapshot.
    pub(crate) budget: Arc<Budget>,
    /// Its upstreams, best rank first.
    members: Vec<Member>,
    /// Where each rank ends in `members`.
    ends: [usize; RANKS],
}

/// An upstream as the present set describes it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its record.
    pub(crate) upstream: Arc<Upstream>,
    /// Its share of the load relative to the others.
    pub(crate) weight: u32,
    /// Its place by the manager's word.
    pub(crate) rank: Rank,
    /// What the manager says of it.
    pub(crate) state: UpstreamState,
    /// Whether it is meant for when no other can be used.
    pub(crate) backup: bool,
}

/// The manager's word on an upstream, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Ready, and meant to be used.
    Primary,
    /// Ready, for when no primary can be used.
    Backup,
    /// Perhaps dead.
    Suspect,
    /// Going away.
    Draining,
}

const RANKS: usize = 4;

impl Rank {
    /// All ranks, best first.
    pub(crate) const ALL: [Rank; RANKS] = [Rank::Primary, Rank::Backup, Rank::Suspect, Rank::Draining];

    fn of(state: UpstreamState, backup: bool) -> Self {
        match (state, backup) {
            (UpstreamState::Ready, false) => Rank::Primary,
            (UpstreamState::Ready, true) => Rank::Backup,
            (UpstreamState::Suspect, _) => Rank::Suspect,
            (UpstreamState::Draining, _) => Rank::Draining,
        }
    }
}

impl Member {
    pub(crate) fn new(upstream: Arc<Upstream>, described: &wire::upstreams::Upstream) -> Self {
        Member {
            upstream,
            weight: described.weight,
            rank: Rank::of(described.state, described.backup),
            state: described.state,
            backup: described.backup,
        }
    }
}

impl Pool {
    pub(crate) fn new(
        name: PoolName,
        policy: PoolPolicy,
        budget: Option<Arc<Budget>>,
        mut members: Vec<Member>,
    ) -> Self {
        members.sort_by_key(|member| member.rank);
        let ends = Rank::ALL.map(|rank| members.partition_point(|member| member.rank <= rank));
        let budget = budget.unwrap_or_else(|| Arc::new(Budget::new(Instant::now())));
        let policy = Arc::new(policy);
        for member in &members {
            member.upstream.adopt(&policy);
        }
        Pool { name, policy, budget, members, ends }
    }

    /// Every upstream.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// The upstreams of one rank.
    pub(crate) fn ranked(&self, rank: Rank) -> &[Member] {
        let start = match rank {
            Rank::Primary => 0,
            Rank::Backup => self.ends[Rank::Primary as usize],
            Rank::Suspect => self.ends[Rank::Backup as usize],
            Rank::Draining => self.ends[Rank::Suspect as usize],
        };
        &self.members[start..self.ends[rank as usize]]
    }

    /// The upstreams that new requests may go to: all but the draining.
    pub(crate) fn eligible(&self) -> &[Member] {
        &self.members[..self.ends[Rank::Suspect as usize]]
    }

    /// Whether `upstream` is the only one left that is not ejected.
    pub(crate) fn is_last_usable(&self, upstream: &Upstream) -> bool {
        !self
            .eligible()
            .iter()
            .any(|other| !std::ptr::eq(&raw const *other.upstream, upstream) && !other.upstream.is_ejected())
    }

    /// Whether nobody is known to answer: every upstream is ejected or could not be connected to.
    pub(crate) fn is_dead(&self) -> bool {
        self.members.iter().all(|member| member.upstream.is_down())
    }
}
