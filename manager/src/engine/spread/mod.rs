//! Several public addresses over several balancers: who is preferred for which, and who is to have one back.
//!
//! ```text
//!   the hosts and addresses all know ──▶ orders ──▶ this host's rank for each ──▶ its balancer's priorities
//!                                                                                      │
//!        lost or hung: the election alone, and each order has another one come next ◀──┘
//!
//!   what all hosts tell ──▶ Facts ──▶ moves::next, while all is calm ──▶ one switchover of one address
//! ```
//!
//! Balancers that are fit do not take an address from each other. That one which came back has its share again is an act of the
//! managers: of the one whose host's name is first among those that are heard. It orders one hand-over at a time, by the
//! way a person's order takes, when nothing has changed for a while, every balancer is fit and no host is in
//! maintenance.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use vrrp::fitness::{FIT_FROM, of_rank};
use wire::HostName;
use wire::cluster::{LbView, LbVipView, MachineView, Phase};
use wire::snapshot::HostSnapshot;
use wire::switchover::{SwitchoverOrder, SwitchoverState};
use wire::vip::RouterState;

use self::moves::{Fact, Facts, Kind, Move};
use super::{Adoption, Command, Engine, Job, Outcome, Plan, Severity, Time, lb_id};
use crate::config::{Preference, Vip};
#[cfg(test)]
use crate::sim::bug::Bug;

mod moves;
mod orders;

/// An address is moved when nothing has changed for so long: neither who holds what, nor who is fit.
pub(crate) const CALM_FOR: Duration = Duration::from_secs(3);

/// A balancer that is not fit is waited for, and after so long is done without: it may be broken for days.
const LEFT_OUT_AFTER: Duration = Duration::from_secs(60);

/// What did not move is tried again after so long, doubled with each failure in a row …
const AGAIN: Duration = Duration::from_secs(10);

/// … up to this.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// It is looked this often whether an address is to be moved.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is remembered between plans.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Spreading {
    orders: Option<Orders>,
    /// What was told last.
    seen: Option<Seen>,
    /// Since when that is so.
    since: Time,
    /// Since when balancers have not been fit.
    unfit: BTreeMap<HostName, Time>,
    /// The switchover that this manager began for evenness.
    ordered: Option<u64>,
    failures: u32,
    again_at: Time,
    look_at: Time,
    /// The balancer has said what priorities it has, and that was not looked at yet.
    read: bool,
}

/// The orders, and of which managers they are.
#[derive(Clone, Debug, Default, Serialize)]
struct Orders {
    managers: Vec<IpAddr>,
    of: BTreeMap<IpAddr, Vec<IpAddr>>,
}

/// What makes calm: who has which address, and who could have one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Seen {
    hosts: Vec<HostName>,
    unfit: BTreeSet<HostName>,
    maintained: bool,
    holders: Vec<Option<HostName>>,
}

/// A host that is heard.
struct Heard<'a> {
    name: &'a HostName,
    lb: Option<&'a LbView>,
    fit: bool,
    maintained: bool,
}

impl Spreading {
    /// This process stood still: what it last saw may be old.
    pub(super) fn excuse(&mut self) {
        self.seen = None;
        self.unfit.clear();
    }
}

impl Engine {
    /// The managers of the order of each address that has one, the preferred one first.
    fn orders(&mut self) -> &BTreeMap<IpAddr, Vec<IpAddr>> {
        // By their addresses: those are known, and remembered, before anybody was heard.
        let mut managers: Vec<IpAddr> = self.peer_addresses();
        managers.push(self.config.address);
        managers.sort_unstable();
        let known = self.spreading.orders.as_ref().is_some_and(|orders| orders.managers == managers);
        if !known || self.config.vips.iter().any(|vip| matches!(vip.preference, Preference::Order(_))) {
            let of = self.computed_orders(&managers);
            self.spreading.orders = Some(Orders { managers, of });
        }
        &self.spreading.orders.get_or_insert_default().of
    }

    fn computed_orders(&self, managers: &[IpAddr]) -> BTreeMap<IpAddr, Vec<IpAddr>> {
        let given = self.config.vips.iter().filter_map(|vip| match &vip.preference {
            Preference::Role(_) => None,
            Preference::Spread => Some((vip.address, Vec::new())),
            Preference::Order(said) => {
                let at = |name| managers.iter().position(|manager| self.manager_of(name) == Some(*manager));
                Some((vip.address, said.iter().filter_map(at).collect()))
            }
        });
        let orders = orders::orders(managers.len(), &given.collect());
        let named =
            |order: Vec<usize>| order.into_iter().filter_map(|at| managers.get(at).copied()).collect();
        orders.into_iter().map(|(address, order)| (address, named(order))).collect()
    }

    fn manager_of(&self, name: &HostName) -> Option<IpAddr> {
        if *name == self.config.name {
            return Some(self.config.address);
        }
        self.peer_called(name).map(|peer| peer.address)
    }

    /// The priority of this host's balancer for each address.
    pub(super) fn ranks(&mut self) -> BTreeMap<IpAddr, u8> {
        let own = self.config.address;
        let orders = self.orders().clone();
        let rank = |vip: &Vip| {
            let rank = match &vip.preference {
                Preference::Role(role) => return role.priority(),
                // Who is named knows it without having heard the others.
                Preference::Order(said) => said.iter().position(|name| *name == self.config.name),
                Preference::Spread => None,
            };
            let computed = || orders.get(&vip.address)?.iter().position(|manager| *manager == own);
            of_rank(rank.or_else(computed).unwrap_or(usize::MAX))
        };
        self.config.vips.iter().map(|vip| (vip.address, rank(vip))).collect()
    }

    /// Tells the balancer at `lb` the priorities that it ought to have and has not.
    pub(super) fn plan_ranks(&mut self, now: Time, lb: IpAddr, plan: &mut Plan) {
        if !self.spreading.read || self.flights.contains_key(&Job::Rank) {
            return;
        }
        self.spreading.read = false;
        let Some(told) = self.balancer.vip.clone() else { return };
        let ranks = self.ranks();
        let vips = self.config.vips.iter().filter(|vip| !matches!(vip.preference, Preference::Role(_)));
        let differing = vips.filter_map(|vip| {
            let wanted = *ranks.get(&vip.address)?;
            let base = told.routers.iter().find(|router| router.address == vip.address)?.base?;
            // One that is lower than any fit one's is somebody's word.
            (base != wanted && base >= FIT_FROM).then_some((vip.address, wanted))
        });
        let priorities: BTreeMap<IpAddr, u8> = differing.collect();
        if !priorities.is_empty() {
            self.start(now, Job::Rank, Command::Rank { lb, priorities }, plan);
        }
    }

    /// The balancer has said what it is for each address.
    pub(super) fn lb_said_ranks(&mut self) {
        self.spreading.read = true;
    }

    /// Whether it worked the balancer itself says, when it is read next.
    pub(super) fn rank_finished(&mut self, now: Time, outcome: Outcome) {
        self.spreading.read = false;
        if let Outcome::Failed(reason) = outcome {
            let lb = lb_id(&self.config.name).to_string();
            self.trouble(now, "lb.unranked", lb, format!("cannot be told its priorities: {reason}"));
        }
    }

    /// The names of the hosts in the order of `address`, the preferred one first; empty where there is none.
    pub(super) fn order_of(&self, address: IpAddr) -> Vec<HostName> {
        let managers = self.spreading.orders.as_ref().and_then(|orders| orders.of.get(&address));
        let name = |manager: &IpAddr| {
            let told = || self.peers.get(manager)?.held.as_ref().map(|held| held.host.clone());
            let own = (*manager == self.config.address).then(|| self.config.name.clone());
            own.or_else(told).unwrap_or_else(|| manager.to_string().into())
        };
        managers.into_iter().flatten().map(name).collect()
    }

    /// The host that is to have each address, of those that managers keep in their places, once all that is to be moved
    /// is.
    pub(super) fn should_hold(&self, now: Time) -> BTreeMap<IpAddr, HostName> {
        let own = self.lb_view();
        let heard = self.heard_hosts(now, own.as_ref());
        let (facts, names) = self.facts(&heard);
        let holders = facts.settled();
        let vips = facts.vips.iter().zip(holders).filter(|(vip, _)| vip.kind != Kind::Left);
        vips.filter_map(|(vip, holder)| Some((vip.address, (*names.get(holder?)?).clone()))).collect()
    }

    /// Every host whose manager is heard, this one included, in the order of their names.
    fn heard_hosts<'a>(&'a self, now: Time, own: Option<&'a LbView>) -> Vec<Heard<'a>> {
        let others = self.peers.values().filter(|peer| peer.is_alive(now) && peer.tells(now));
        let others = others.filter_map(|peer| peer.held.as_deref());
        let mut heard: Vec<Heard<'_>> = others
            .map(|held| Heard {
                name: &held.host,
                lb: held.lb.as_ref(),
                fit: self.is_fit(held),
                maintained: held.room.is_none(),
            })
            .collect();
        heard.push(Heard {
            name: &self.config.name,
            lb: own,
            fit: self.ready_lb().is_some() && own.is_some_and(|lb| self.is_fit_for_all(lb)),
            maintained: self.in_maintenance(),
        });
        heard.sort_by(|one, other| one.name.cmp(other.name));
        heard
    }

    fn is_fit(&self, held: &HostSnapshot) -> bool {
        let Some(lb) = &held.lb else { return false };
        let is_ready = |machine: &MachineView| machine.id == lb.id && machine.phase == Phase::Ready;
        self.is_fit_for_all(lb) && held.machines.iter().any(is_ready)
    }

    fn is_fit_for_all(&self, lb: &LbView) -> bool {
        let part = |vip: &Vip| lb.vips.iter().find(|part| part.address == vip.address);
        let fit = |part: &LbVipView| part.state != RouterState::Init && part.priority >= FIT_FROM;
        self.config.vips.iter().all(|vip| part(vip).is_some_and(fit))
    }

    /// What is known of the fit ones among those that are heard; and their names, by the addresses of their balancers.
    fn facts<'a>(&self, heard: &[Heard<'a>]) -> (Facts, Vec<&'a HostName>) {
        let mut fit: Vec<(&LbView, &HostName)> =
            heard.iter().filter(|host| host.fit).filter_map(|host| Some((host.lb?, host.name))).collect();
        fit.sort_by_key(|(lb, _)| lb.address);
        let vips = self.config.vips.iter().map(|vip| {
            let part = |lb: &LbView| lb.vips.iter().find(|part| part.address == vip.address).cloned();
            let parts: Vec<Option<LbVipView>> = fit.iter().map(|(lb, _)| part(lb)).collect();
            let holds = |part: &Option<LbVipView>| {
                part.as_ref().is_some_and(|part| part.state == RouterState::Master)
            };
            let priority =
                |part: Option<LbVipView>| part.map_or(0, |part| part.base.unwrap_or(part.priority));
            let kind = match (&vip.preference, vip.preempt) {
                // Who is preferred takes it back without being told.
                (Preference::Role(_), _) | (_, Some(_)) => Kind::Left,
                (Preference::Order(_), None) => Kind::Said,
                (Preference::Spread, None) => Kind::Spread,
            };
            Fact {
                address: vip.address,
                holder: parts.iter().position(holds),
                priorities: parts.into_iter().map(priority).collect(),
                kind,
            }
        });
        let mut vips: Vec<Fact> = vips.collect();
        vips.sort_by_key(|vip| vip.address);
        (Facts { hosts: fit.len(), vips }, fit.into_iter().map(|(_, name)| name).collect())
    }

    /// Has the next address moved that is not where it ought to be, if it is for this manager to say so and the time for it.
    pub(super) fn plan_spread(&mut self, now: Time, plan: &mut Plan) {
        self.spread_outcome(now);
        let is_moved = |vip: &Vip| !matches!(vip.preference, Preference::Role(_)) && vip.preempt.is_none();
        if self.adoption != Adoption::Settled || !self.config.vips.iter().any(is_moved) {
            return;
        }
        if now < self.spreading.look_at {
            return plan.wake_by(self.spreading.look_at, "is every address where it ought to be?");
        }
        self.spreading.look_at = now + LOOK_EVERY;
        let own = self.lb_view();
        let heard = self.heard_hosts(now, own.as_ref());
        let unfit: BTreeSet<HostName> =
            heard.iter().filter(|host| !host.fit).map(|host| host.name.clone()).collect();
        let maintained = heard.iter().any(|host| host.maintained);
        let decides = heard.first().is_some_and(|host| *host.name == self.config.name);
        let (facts, names) = self.facts(&heard);
        let holder = |vip: &Fact| vip.holder.map(|holder| names[holder].clone());
        let seen = Seen {
            hosts: heard.iter().map(|host| host.name.clone()).collect(),
            unfit: unfit.clone(),
            maintained,
            holders: facts.vips.iter().map(holder).collect(),
        };
        let next = facts.next().map(|Move { vip, to, .. }| (facts.vips[vip].address, names[to].clone()));
        if self.spreading.seen.as_ref() != Some(&seen) {
            self.spreading.seen = Some(seen);
            self.spreading.since = now;
            // What did not work may work now.
            self.spreading.failures = 0;
            self.spreading.again_at = now;
        }
        self.spreading.unfit.retain(|host, _| unfit.contains(host));
        for host in unfit {
            self.spreading.unfit.entry(host).or_insert(now);
        }
        #[cfg(test)]
        if self.bug == Some(Bug::NothingIsEvened) {
            return;
        }
        let waited = |since: &Time| now >= *since + LEFT_OUT_AFTER;
        let is_calm = now >= self.spreading.since + CALM_FOR;
        let (Some((address, to)), true, false) = (next, decides, maintained) else { return };
        if !self.spreading.unfit.values().all(waited) {
            return;
        }
        if !is_calm || now < self.spreading.again_at || self.is_switching() {
            return;
        }
        let order = SwitchoverOrder { to: Some(to), vip: Some(address), ..SwitchoverOrder::default() };
        let host = self.config.name.to_string();
        match self.switch_over(now, order) {
            Ok(begun) => {
                self.spreading.ordered = Some(begun.number);
                // What it leads to is to be calm before the next.
                self.spreading.since = now;
                let message = format!("{address} goes from {} to {}", begun.from, begun.to);
                self.note(Severity::Info, "vip.spread", host, message);
            }
            Err(problem) => self.not_moved(now, &problem.detail),
        }
    }

    /// What became of the move that was begun last.
    fn spread_outcome(&mut self, now: Time) {
        let Some(number) = self.spreading.ordered else { return };
        let Some(view) = self.switchover(now).filter(|view| view.number == number) else {
            self.spreading.ordered = None;
            return;
        };
        match view.state {
            SwitchoverState::Done => {
                self.spreading.ordered = None;
                self.spreading.failures = 0;
            }
            SwitchoverState::Failed => {
                self.spreading.ordered = None;
                self.not_moved(now, view.reason.as_deref().unwrap_or("it failed"));
            }
            SwitchoverState::Preparing
            | SwitchoverState::Forwarded
            | SwitchoverState::HandingOver
            | SwitchoverState::Confirming => {}
        }
    }

    fn not_moved(&mut self, now: Time, reason: &str) {
        let pause = AGAIN.saturating_mul(1 << self.spreading.failures.min(8)).min(AGAIN_MAX);
        self.spreading.failures += 1;
        self.spreading.again_at = now + pause;
        let host = self.config.name.to_string();
        self.trouble(now, "vip.not-spread", host, format!("the addresses are not spread evenly: {reason}"));
    }
}
