//! A pool as one accepted set and configuration make it: the upstreams in the order in which they may
//! be used, and the policy for them.

use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use wire::overrides::{Mode, Override};
use wire::proxy_config::PoolPolicy;
use wire::upstreams::UpstreamState;
use wire::{HostName, PoolName};

use super::super::balance::latency::Usual;
use super::super::balance::spread::Spread;
use super::super::balance::sticky::Cookies;
use super::super::primary::Primary;
use super::super::queue::Queue;
use super::super::upstream_tls::PoolTls;
use super::budget::Budget;
use super::members::{SHELVES, Shelf, View, shelf_of, shelved};
use super::trial;
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
    /// Likewise.
    pub(crate) lasting: Arc<Lasting>,
    /// What is spoken with its upstreams; none where that is no TLS.
    tls: Option<Arc<PoolTls>>,
    spread: Spread,
    /// What is wrong in it, as of so many changes.
    signals: AtomicU64,
    /// Its upstreams, best rank first, and in each rank those that are near.
    shelves: [Shelf; SHELVES],
}

/// What a pool remembers from one snapshot to the next.
#[derive(Debug, Default)]
pub(crate) struct Lasting {
    /// What its requests usually take.
    pub(crate) usual: Usual,
    /// The requests that wait for room.
    pub(crate) queue: Queue,
    /// Who is given connections, where only one is.
    pub(crate) primary: Primary,
}

/// How `Pool::signals` is made up: the number of changes, and below it so many bits …
const SIGNALS: u32 = 3;
const PANIC: u64 = 1;
const TRIAL_WANTED: u64 = 2;
/// … of which this one says that every upstream that new requests may go to is in use like any other.
const ALL_WELL: u64 = 4;

/// What is wrong in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Signals {
    /// So little is in use that even those are used that answer badly.
    pub(crate) panic: bool,
    /// An upstream is due a trial.
    pub(crate) trial_wanted: bool,
}

/// An upstream as the present set describes it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its record.
    pub(crate) upstream: Arc<Upstream>,
    /// Its share of the load relative to the others.
    pub(crate) weight: u32,
    /// The same as its manager has it.
    described_weight: u32,
    /// Its place by the manager's word.
    pub(crate) rank: Rank,
    /// What the manager says of it.
    pub(crate) state: UpstreamState,
    /// Whether it is meant for when no other can be used.
    pub(crate) backup: bool,
    /// Whether other balancers check it.
    pub(crate) checked_elsewhere: bool,
    /// Whether it is in this balancer's zone, or that does not matter.
    pub(crate) near: bool,
    /// Its zone. Shared, because each try of a request keeps the member it went to.
    pub(crate) zone: Arc<HostName>,
    /// A person's word on it.
    pub(crate) ordered: Option<Override>,
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
    /// Not to be used at all.
    Maintenance,
}

pub(super) const RANKS: usize = 5;

impl Rank {
    /// Those that new requests may go to, best first.
    pub(crate) const USED: [Rank; 3] = [Rank::Primary, Rank::Backup, Rank::Suspect];

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
    /// `upstream` as it is `described`, and its zone.
    pub(crate) fn in_zone(
        upstream: Arc<Upstream>,
        described: &wire::upstreams::Upstream,
        zone: Arc<HostName>,
    ) -> Self {
        Member {
            upstream,
            weight: described.weight,
            described_weight: described.weight,
            rank: Rank::of(described.state, described.backup),
            state: described.state,
            backup: described.backup,
            checked_elsewhere: described.checked_elsewhere,
            near: true,
            zone,
            ordered: None,
        }
    }

    /// As the set that it is of describes it.
    pub(crate) fn described(&self) -> wire::upstreams::Upstream {
        wire::upstreams::Upstream {
            id: self.upstream.id.clone(),
            address: self.upstream.address.ip(),
            port: self.upstream.address.port(),
            weight: self.described_weight,
            zone: HostName::clone(&self.zone),
            backup: self.backup,
            state: self.state,
            checked_elsewhere: self.checked_elsewhere,
        }
    }

    /// Whether the set that it is of describes it like this.
    pub(crate) fn is_described_as(&self, described: &wire::upstreams::Upstream) -> bool {
        let wire::upstreams::Upstream {
            id,
            address: _,
            port: _,
            weight,
            zone,
            backup,
            state,
            checked_elsewhere,
        } = described;
        self.upstream.id == *id
            && self.upstream.address == described.socket()
            && self.described_weight == *weight
            && *self.zone == *zone
            && self.backup == *backup
            && self.state == *state
            && self.checked_elsewhere == *checked_elsewhere
    }

    /// The same, seen from `zone` (none: wherever) and under a person's `order`.
    pub(crate) fn seen_from(mut self, zone: Option<&HostName>, order: Option<&Override>) -> Self {
        self.near = zone.is_none_or(|zone| *zone == *self.zone);
        if let Some(order) = order {
            self.weight = order.weight.unwrap_or(self.weight);
            // A person can take a machine out, not bring one back.
            self.rank = self.rank.max(match order.mode {
                Some(Mode::Maintenance) => Rank::Maintenance,
                Some(Mode::Drain) => Rank::Draining,
                None => Rank::Primary,
            });
            self.ordered = Some(order.clone());
        }
        self
    }
}

impl Pool {
    pub(crate) fn new(
        name: PoolName,
        policy: PoolPolicy,
        before: Option<&Pool>,
        members: Vec<Member>,
    ) -> Self {
        let budget =
            before.map_or_else(|| Arc::new(Budget::new(Instant::now())), |before| before.budget.clone());
        let lasting = before.map(|before| before.lasting.clone()).unwrap_or_default();
        let same = before.map(|before| &before.policy).filter(|before| ***before == policy);
        let policy = same.cloned().unwrap_or_else(|| Arc::new(policy));
        let tls = tls(&name, &policy, before);
        for member in &members {
            member.upstream.secure(policy.tls.is_some(), tls.as_ref());
            member.upstream.adopt(&policy);
        }
        let shelves = shelved(members);
        for (number, shelf) in shelves.iter().enumerate() {
            let members = View::new(slice::from_ref(shelf));
            members.iter().enumerate().for_each(|(at, member)| member.upstream.place.set(number, at));
        }
        let members = View::new(&shelves);
        let spread = Spread::new(&policy.balance, &name, members, before.map(|before| &before.spread));
        Pool { name, policy, budget, lasting, tls, spread, signals: AtomicU64::new(0), shelves }
    }

    /// The pool without those that are `gone`, and with what has `come`: new ones, and those that are described in
    /// another way than before. Costs what changes, and not what there is.
    pub(crate) fn changed(&self, gone: &[Arc<Upstream>], come: Vec<Member>) -> Self {
        let are_well = come.iter().all(|member| member.upstream.is_used_like_any());
        let mut shelves = self.shelves.clone();
        let mut holes: [Vec<usize>; SHELVES] = Default::default();
        for (shelf, at) in gone.iter().filter_map(|upstream| upstream.place.get()) {
            holes[shelf].push(at);
        }
        for member in come {
            let shelf = shelf_of(&member);
            let upstream = &member.upstream;
            match upstream.place.get() {
                Some((before, at)) if before == shelf => {
                    shelves[shelf].set(at, member);
                    continue;
                }
                Some((before, at)) => holes[before].push(at),
                None => {
                    upstream.secure(self.policy.tls.is_some(), self.tls.as_ref());
                    upstream.adopt(&self.policy);
                }
            }
            let upstream = upstream.clone();
            let at = match holes[shelf].pop() {
                Some(at) => {
                    shelves[shelf].set(at, member);
                    at
                }
                None => shelves[shelf].push(member),
            };
            upstream.place.set(shelf, at);
        }
        for (number, (shelf, mut holes)) in shelves.iter_mut().zip(holes).enumerate() {
            // From behind: who moves into a hole is not about to go.
            holes.sort_unstable();
            for at in holes.into_iter().rev() {
                if let Some(moved) = shelf.take(at) {
                    moved.upstream.place.set(number, at);
                }
            }
        }
        gone.iter().for_each(|upstream| upstream.place.forget());
        let members = View::new(&shelves);
        // Nothing is known of what is wrong, unless nothing was and is: then nobody has to count anew.
        let known = self.signals.load(Ordering::Relaxed);
        let stays = known & ALL_WELL != 0 && are_well && !members.down_to(Rank::Suspect).is_empty();
        let spread = Spread::new(&self.policy.balance, &self.name, members, Some(&self.spread));
        Pool {
            name: self.name.clone(),
            policy: self.policy.clone(),
            budget: self.budget.clone(),
            lasting: self.lasting.clone(),
            tls: self.tls.clone(),
            spread,
            signals: AtomicU64::new(if stays { known } else { 0 }),
            shelves,
        }
    }

    /// Every upstream.
    pub(crate) fn members(&self) -> View<'_> {
        View::new(&self.shelves)
    }

    /// The upstreams of one rank.
    pub(crate) fn ranked(&self, rank: Rank) -> View<'_> {
        self.members().ranked(rank)
    }

    /// The upstreams that new requests may go to: all but the draining.
    pub(crate) fn eligible(&self) -> View<'_> {
        self.members().down_to(Rank::Suspect)
    }

    /// Those that a request may be sent to when there is nothing better: all but those in maintenance.
    pub(crate) fn offered(&self) -> View<'_> {
        self.members().down_to(Rank::Draining)
    }

    /// Those of the best rank of which any is in use, and of the ranks above: a trial, too, goes by the
    /// manager's word.
    pub(crate) fn meant(&self) -> View<'_> {
        let in_use = |member: &Member| member.upstream.is_used_like_any();
        let best = Rank::USED.into_iter().find(|&rank| self.ranked(rank).iter().any(in_use));
        self.members().down_to(best.unwrap_or(Rank::Suspect))
    }

    /// How its requests are spread.
    pub(crate) fn spread(&self) -> &Spread {
        &self.spread
    }

    /// The cookies it gives its clients, where it does.
    pub(crate) fn sticky(&self) -> Option<&Cookies> {
        self.spread.cookies()
    }

    /// What is wrong in it now. Counted anew only when something changed somewhere.
    pub(crate) fn signals(&self) -> Signals {
        let changes = trial::changes();
        let known = self.signals.load(Ordering::Relaxed);
        if known >> SIGNALS == changes {
            return Signals { panic: known & PANIC != 0, trial_wanted: known & TRIAL_WANTED != 0 };
        }
        let eligible = self.eligible();
        let in_use = eligible.iter().filter(|member| !member.upstream.is_ejected()).count();
        let signals = Signals {
            panic: !self.is_enough(in_use),
            trial_wanted: self.meant().iter().any(|member| member.upstream.health.trial.is_wanted()),
        };
        let is_well = |member: &Member| member.upstream.health.trial.is_over();
        let all_well = in_use == eligible.len() && !signals.panic && eligible.iter().all(is_well);
        let packed = [(PANIC, signals.panic), (TRIAL_WANTED, signals.trial_wanted), (ALL_WELL, all_well)];
        let packed = packed.into_iter().filter(|(_, is_set)| *is_set).map(|(bit, _)| bit);
        self.signals.store(changes << SIGNALS | packed.sum::<u64>(), Ordering::Relaxed);
        signals
    }

    /// Whether enough is in use without `upstream`, if it is only its answers that are bad.
    pub(crate) fn can_spare(&self, upstream: &Upstream) -> bool {
        let others = self.eligible().iter().map(|member| &*member.upstream);
        let in_use = others.filter(|other| !std::ptr::eq(*other, upstream) && !other.is_ejected()).count();
        in_use > 0 && self.is_enough(in_use)
    }

    fn is_enough(&self, in_use: usize) -> bool {
        #[allow(clippy::cast_precision_loss)] // counts of upstreams are small
        let share = in_use as f64 / self.eligible().len().max(1) as f64;
        share >= self.policy.outlier.panic_below
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
        self.offered().iter().all(|member| member.upstream.is_down())
    }
}

/// The TLS of the pool `name`: that of `before`, if nothing of it has changed.
fn tls(name: &PoolName, policy: &PoolPolicy, before: Option<&Pool>) -> Option<Arc<PoolTls>> {
    let described = policy.tls.as_ref()?;
    let same = before.filter(|before| {
        before.policy.tls.as_ref() == Some(described) && before.policy.protocol == policy.protocol
    });
    if let Some(before) = same {
        return before.tls.clone();
    }
    if !described.verify {
        tracing::warn!(
            pool = %name,
            "CERTIFICATES OF UPSTREAMS ARE NOT LOOKED AT (tls.verify = false): anybody on the way can be the upstream"
        );
    }
    match PoolTls::new(described, policy.protocol.alpn()) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(unusable) => {
            // It was looked at before it came here.
            tracing::error!(
                pool = %name, field = unusable.field, problem = unusable.message,
                "TLS WITH THE UPSTREAMS CANNOT BE USED: there are no connections"
            );
            None
        }
    }
}
