//! Builds the machines of a service anew after its definition has changed, a few at a time, and takes the change back
//! by itself where they do not become ready.
//!
//! ```text
//!   roll ──▶ with `surge`: more machines than usual ──ready──▶ as many old ones go ─┐
//!        └─▶ without: old ones are built anew in their places ──────────────────────┤
//!                  ▲                                            some are left       │
//!                  └────────────────────────────────────────────────────────────────┤
//!        nothing became ready for `ready_within`, or one keeps dying:               │ none is left
//!        the definition is made what it was, and what was built since is rolled     ▼
//!        the same way                                                              done
//! ```
//!
//! At most `max_unavailable` machines less than usual serve at any time; an old one that does not serve costs nothing and goes
//! first. What is left to do is stored: a manager that is started anew goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::cluster::Phase;
use wire::service::{RollOrder, RolloutPolicy, RolloutState, RolloutView};
use wire::{MachineId, PoolName, Problem};

use super::{Adoption, Command, Engine, Job, Machine, Outcome, Plan, Readiness, Severity, Time};
use crate::config::service::Pace;

/// A rollout as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rollout {
    /// How many machines there are to be in the end.
    pub(super) count: usize,
    /// Machines of the former definition, those that stand by included.
    left: BTreeSet<MachineId>,
    /// Of how many machines the former definition was at first.
    total: usize,
    pace: Pace,
    /// Whether the definition is taken back where the machines do not become ready.
    may_return: bool,
    step: Step,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    /// The new definition spreads.
    Forward,
    /// The definition is being made what it was.
    TakingBack,
    /// The former definition spreads again.
    Back,
}

/// What is not stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Rollouts {
    /// How far each was when that last changed (machines left, new ones that serve), and when that was.
    progress: BTreeMap<PoolName, ((usize, usize), Time)>,
    /// How the last ones ended, and why where that was not well.
    ended: BTreeMap<PoolName, (RolloutState, usize, String)>,
}

/// The machines of one service, as they matter here.
#[derive(Default)]
struct Census {
    /// Wanted, of the former definition: whether they serve, and their ids.
    old: Vec<(bool, MachineId)>,
    /// Wanted, built since.
    new: Vec<(bool, MachineId)>,
    /// Keeps dying since it was built anew.
    looping: Option<MachineId>,
}

impl Census {
    fn serving(&self) -> usize {
        self.old.iter().chain(&self.new).filter(|(serves, _)| *serves).count()
    }

    fn wanted(&self) -> usize {
        self.old.len() + self.new.len()
    }
}

impl Engine {
    /// Begins to build the machines of the service `name` anew; what was begun before begins again.
    ///
    /// # Errors
    ///
    /// 404 for an unknown service; 409 for one whose servers others keep, in maintenance, and where it can neither have a
    /// machine more nor do with one less.
    pub fn roll(&mut self, now: Time, name: &PoolName, order: &RollOrder) -> Result<(), Problem> {
        self.refuse_in_maintenance()?;
        let Some(service) = self.service(name) else {
            return Err(Problem::not_found(format!("there is no service `{name}` on this host")));
        };
        if service.is_external() {
            return Err(Problem::conflict(format!("the servers of `{name}` are not ours to build anew")));
        }
        let mut said = service.spec.rollout.clone();
        if service.spec.persistent {
            // Each has a disk of its own, which no other machine can have.
            said = RolloutPolicy { surge: Some(0), ..said };
        }
        self.machines.settle(now);
        let host = self.config.name.clone();
        let left: BTreeSet<MachineId> =
            self.desired.members(&host, name).into_iter().map(|(id, _)| id).collect();
        let now_there = self.desired.count(name);
        let count = self.desired.rollouts.get(name).map_or(now_there, |before| before.count);
        let room =
            self.config.pool.addresses().len().saturating_sub(self.desired.total() + self.foreign.len());
        let Some(pace) = Pace::of(&said, room) else {
            return Err(Problem::conflict(format!(
                "`{name}` may not do with one machine less (`max_unavailable`), and address_pool of this host has no \
                 room for one more (`surge`): allow the one or enlarge the other"
            )));
        };
        let total = now_there;
        let message = format!("its {total} machines are built anew");
        self.note(Severity::Info, "service.rolling", name.to_string(), message);
        self.rollouts.progress.remove(name);
        self.rollouts.ended.remove(name);
        let may_return = order.rollback;
        let rollout = Rollout { count, left, total, pace, may_return, step: Step::Forward };
        self.desired.rollouts.insert(name.clone(), rollout);
        Ok(())
    }

    /// Whether machine `id` is to be there.
    #[cfg(test)]
    pub(crate) fn has_place(&self, id: &MachineId) -> bool {
        self.desired.slot(&self.config.name, id).is_some()
    }

    /// How far the rollout of the service `name` is, or how its last one ended.
    pub fn rollout_of(&self, name: &PoolName) -> Option<RolloutView> {
        if let Some(Rollout { left, total, step, .. }) = self.desired.rollouts.get(name) {
            let state = match step {
                Step::Forward => RolloutState::Rolling,
                Step::TakingBack | Step::Back => RolloutState::RollingBack,
            };
            let reason = self.rollouts.ended.get(name).map(|(.., reason)| reason.clone()).unwrap_or_default();
            let left = left.difference(&self.standbys_of(name)).count();
            return Some(RolloutView { state, left, total: *total, reason });
        }
        let (state, total, reason) = self.rollouts.ended.get(name)?.clone();
        Some(RolloutView { state, left: 0, total, reason })
    }

    /// The machines that stand by for those of `service`.
    fn standbys_of(&self, service: &PoolName) -> BTreeSet<MachineId> {
        let members = self.desired.members(&self.config.name, service).into_iter();
        members.filter(|(_, standby)| *standby).map(|(id, _)| id).collect()
    }

    /// Machine `id` is being made by the definition of now.
    pub(super) fn made_anew(&mut self, id: &MachineId, service: &PoolName) {
        if self.desired.rollouts.get(service).is_some_and(|rollout| rollout.left.contains(id))
            && let Some(rollout) = self.desired.rollouts.get_mut(service)
        {
            rollout.left.remove(id);
        }
    }

    /// People want so many machines of `service` more or less, in the end.
    pub(super) fn rollout_counts(&mut self, service: &PoolName, difference: isize) {
        if self.desired.rollouts.contains_key(service)
            && let Some(rollout) = self.desired.rollouts.get_mut(service)
        {
            rollout.count = rollout.count.saturating_add_signed(difference);
        }
    }

    /// Whether machines of `service` are being built anew on this host. Then what is missing of its share is built with them, and
    /// what is too much goes when they are done.
    pub(super) fn rolls_with(&mut self, service: &PoolName, share: u32) -> bool {
        let Some(rollout) = self.desired.rollouts.get(service) else { return false };
        if rollout.count < share as usize
            && let Some(rollout) = self.desired.rollouts.get_mut(service)
        {
            rollout.count = share as usize;
        }
        true
    }

    pub(super) fn plan_rollouts(&mut self, now: Time, plan: &mut Plan) {
        if self.desired.rollouts.is_empty() {
            return;
        }
        let names: Vec<PoolName> = self.desired.rollouts.keys().cloned().collect();
        for name in names {
            if self.in_maintenance() || self.adoption != Adoption::Settled {
                // Nothing is built meanwhile, or not all is known, which is nobody's fault.
                self.rollouts.progress.remove(&name);
            } else {
                self.plan_rollout(now, &name, plan);
            }
        }
    }

    fn plan_rollout(&mut self, now: Time, name: &PoolName, plan: &mut Plan) {
        let Some(rollout) = self.desired.rollouts.get(name).cloned() else { return };
        if rollout.step == Step::TakingBack {
            return self.start(now, Job::TakeBack(name.clone()), Command::TakeBack(name.clone()), plan);
        }
        let census = self.census(now, name, &rollout.left);
        let new_ones = census.new.iter().filter(|(serves, _)| *serves).count();
        let far = (census.old.len(), new_ones);
        let since = match self.rollouts.progress.get(name) {
            Some((before, since)) if *before == far => *since,
            _ => {
                self.rollouts.progress.insert(name.clone(), (far, now));
                now
            }
        };
        if census.old.is_empty() && census.wanted() == rollout.count && new_ones == rollout.count {
            return self.rolled(now, name, &rollout);
        }
        let limit = since + Duration::from_millis(rollout.pace.ready_within_ms);
        if let Some(id) = &census.looping {
            return self.not_rolled(now, name, format!("{id} keeps dying"));
        }
        if now >= limit {
            let waiting = census.new.iter().filter(|(serves, _)| !serves).map(|(_, id)| id.as_str());
            let waiting: Vec<&str> = waiting.collect();
            let ms = rollout.pace.ready_within_ms;
            let reason = match waiting.is_empty() {
                true => format!("no further machine could be built within {ms} ms"),
                false => format!("not ready within {ms} ms: {}", waiting.join(", ")),
            };
            return self.not_rolled(now, name, reason);
        }
        plan.wake_by(limit, "machines of a rollout should be ready");
        self.step_on(now, name, &rollout, census);
    }

    /// Does what may be done now.
    fn step_on(&mut self, now: Time, name: &PoolName, rollout: &Rollout, census: Census) {
        let Pace { surge, max_unavailable, .. } = rollout.pace;
        let host = self.config.name.clone();
        let mut serving = census.serving();
        let mut wanted = census.wanted();
        let is_last = census.old.is_empty();
        let least = rollout.count.saturating_sub(max_unavailable as usize);
        // Those that do not serve first.
        let mut old = census.old;
        old.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
        let more = (surge as usize).min(old.len());
        while wanted < rollout.count + more && self.add_machine(now, name).is_some() {
            wanted += 1;
        }
        while let Some((serves, id)) = old.pop() {
            let is_spared = !serves || serving > least;
            if wanted > rollout.count && is_spared {
                self.desired.remove(&host, &id);
                self.dismiss(now, &id, "its service is rolled out");
                self.made_anew(&id, name);
                wanted -= 1;
            } else if is_spared && (max_unavailable > 0 || !serves) {
                // One that is being built anyway is built by the definition of now.
                let _ = self.replace_machine(now, &id);
            } else {
                break;
            }
            serving -= usize::from(serves);
        }
        // An old one that died was built anew in its place meanwhile.
        let mut new = census.new;
        new.sort_by(|a, b| (b.0, &b.1).cmp(&(a.0, &a.1)));
        while wanted > rollout.count && is_last {
            let Some((_, id)) = new.pop() else { break };
            self.desired.remove(&host, &id);
            self.dismiss(now, &id, "its service is rolled out");
            wanted -= 1;
        }
    }

    fn census(&self, now: Time, name: &PoolName, left: &BTreeSet<MachineId>) -> Census {
        let mut census = Census::default();
        let is_asked = self.service(name).is_some_and(|service| service.readiness.is_some());
        let counts = |machine: &&Machine| {
            machine.slot.service == *name && machine.wanted && !machine.duty.is_standby()
        };
        for machine in self.machines.values().filter(counts) {
            let id = machine.slot.id.clone();
            // A manager that was started anew has yet to hear whether what it found is ready: until then nothing is sent
            // away as if it were not, or for what may not be.
            if left.contains(&id) {
                census.old.push((machine.can_serve(), id));
            } else {
                if machine.crash_looping(now) {
                    census.looping = Some(id.clone());
                }
                let is_known = !is_asked || machine.readiness == Readiness::Ready;
                census.new.push((machine.phase() == Phase::Ready && is_known, id));
            }
        }
        census
    }

    fn rolled(&mut self, now: Time, name: &PoolName, rollout: &Rollout) {
        self.desired.rollouts.remove(name);
        // Nobody needs those that stand by now. One at rest is made by the definition of now when it is started.
        for id in self.standbys_of(name).intersection(&rollout.left) {
            let _ = self.replace_machine(now, id);
        }
        self.rollouts.progress.remove(name);
        let (state, kind, message) = if rollout.step == Step::Back {
            (RolloutState::RolledBack, "service.rolled-back", "its machines are again what they were before")
        } else {
            (RolloutState::Done, "service.rolled-out", "all its machines are of its present definition")
        };
        let reason = self.rollouts.ended.remove(name).map(|(.., reason)| reason).unwrap_or_default();
        self.rollouts.ended.insert(name.clone(), (state, rollout.total, reason));
        self.note(Severity::Info, kind, name.to_string(), message.to_owned());
    }

    fn not_rolled(&mut self, now: Time, name: &PoolName, reason: String) {
        let Some(rollout) = self.desired.rollouts.get_mut(name) else { return };
        self.rollouts.progress.remove(name);
        if rollout.step == Step::Forward && rollout.may_return {
            rollout.step = Step::TakingBack;
            let total = rollout.total;
            let message = format!("{reason}: its definition is made again what it was before");
            self.rollouts.ended.insert(name.clone(), (RolloutState::RollingBack, total, reason));
            self.note(Severity::Error, "service.not-rolled-out", name.to_string(), message);
        } else {
            self.gave_up(now, name, reason);
        }
    }

    /// Its machines stay as they are; those of them that keep dying are built anew by themselves.
    fn gave_up(&mut self, now: Time, name: &PoolName, reason: String) {
        let Some(rollout) = self.desired.rollouts.remove(name) else { return };
        self.trim(now, name, &rollout);
        let message = format!("{reason}: its machines are left as they are");
        self.rollouts.ended.insert(name.clone(), (RolloutState::Failed, rollout.total, reason));
        self.note(Severity::Error, "service.rollout-failed", name.to_string(), message);
    }

    /// The definition of the service `name` was made what it was before, or could not be.
    pub(super) fn took_back(&mut self, now: Time, name: &PoolName, outcome: Outcome) {
        let Some(rollout) = self.desired.rollouts.get(name).cloned() else { return };
        if let Outcome::Failed(why) = outcome {
            let (.., reason) = self.rollouts.ended.remove(name).unwrap_or_default();
            return self.gave_up(now, name, format!("{reason}, and {why}"));
        }
        let census = self.census(now, name, &rollout.left);
        let standbys = self.standbys_of(name).into_iter().filter(|id| !rollout.left.contains(id));
        let left: BTreeSet<MachineId> = census.new.into_iter().map(|(_, id)| id).chain(standbys).collect();
        let rollout = Rollout { left, step: Step::Back, ..rollout };
        self.desired.rollouts.insert(name.clone(), rollout);
    }

    /// The definition of the service `name` is another one from now on: a rollout of the one before ends, unless that is what
    /// it is about.
    pub(super) fn redefined(&mut self, now: Time, name: &PoolName, replicas: Option<u32>) {
        let Some(rollout) = self.desired.rollouts.get_mut(name) else { return };
        if let Some(replicas) = replicas {
            rollout.count = replicas as usize;
        }
        if rollout.step == Step::TakingBack {
            return;
        }
        let Some(rollout) = self.desired.rollouts.remove(name) else { return };
        self.rollouts.progress.remove(name);
        self.rollouts.ended.remove(name);
        self.trim(now, name, &rollout);
    }

    /// Takes away what there is more than there is to be.
    fn trim(&mut self, now: Time, name: &PoolName, rollout: &Rollout) {
        let host = self.config.name.clone();
        let census = self.census(now, name, &rollout.left);
        let surplus = census.wanted().saturating_sub(rollout.count);
        let mut all: Vec<(bool, MachineId)> = census.old.into_iter().chain(census.new).collect();
        all.sort_by(|a, b| (a.0, &b.1).cmp(&(b.0, &a.1)));
        for (_, id) in all.into_iter().take(surplus) {
            self.desired.remove(&host, &id);
            self.dismiss(now, &id, "its service is rolled out no further");
        }
    }
}
