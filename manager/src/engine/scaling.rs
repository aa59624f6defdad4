//! Decides how many machines the autoscaled services have, over all hosts.
//!
//! ```text
//!   machines of all hosts that are heard: phase, usage ─┐
//!   what their balancers send ──────────────────────────┼─▶ engine/autoscale ──▶ total ──▶ placement, on every host
//!   the rules of this host's definition ────────────────┘      (pure)
//! ```
//!
//! One host decides for a service: of those that are heard and have it defined, the one with the lowest name. Who takes
//! over begins with the total that is known, as if that had just been asked for, so that it shrinks nothing before its
//! own window of stabilization has passed. While the hosts are cut into parts, each part has a host that decides, for
//! the load it sees. When two such parts hear each other again, the one that goes on begins with all machines that are
//! ready: what each part needed is needed by both together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use wire::autoscale::{
    MachineTraffic, MetricName, MetricView, Milli, ScalingChange, ScalingTold, ScalingView,
};
use wire::cluster::{Condition, MachineView, Phase};
use wire::snapshot::HostSnapshot;
use wire::{EndpointId, HostName, PoolName};

use super::autoscale::{Autoscaler, Decision, Machine, Metric, Reading, Stage, Target, measured};
use super::{Adoption, Engine, Plan, Severity, Time, millis};
use crate::config::service::Autoscale;

/// A manager that has just started listens so long to the others before it decides anything: by then it has heard who
/// lives, and what they decided.
const LISTENS: Duration = Duration::from_secs(5);

/// So long a host tells what it decided after it has heard another that decides: longer than a snapshot takes to get there.
const YIELDS: Duration = Duration::from_secs(5);

/// What is remembered of decisions.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Scaling {
    /// When this manager may begin to decide; none before it has settled.
    from: Option<Time>,
    /// The services that this host decides for.
    deciding: BTreeMap<PoolName, Deciding>,
}

/// One service that this host decides for.
#[derive(Clone, Debug, Serialize)]
struct Deciding {
    #[serde(skip)]
    scaler: Autoscaler,
    /// When it is looked at again.
    next: Time,
    /// What came of the last look.
    view: Option<ScalingView>,
    /// When the number last changed.
    changed: Option<Time>,
    /// Hosts that decide too, and were reckoned with.
    joined: BTreeSet<HostName>,
    /// Since when another host decides. What was decided here is still told for a while, so that it reckons with that.
    yielded: Option<Time>,
}

impl Deciding {
    /// It begins, where so many machines are wanted.
    fn beginning(now: Time, current: u32) -> Self {
        Deciding {
            scaler: Autoscaler::beginning(now, current),
            next: now,
            view: None,
            changed: None,
            joined: BTreeSet::new(),
            yielded: None,
        }
    }
}

/// Another host that is heard.
struct Other<'a> {
    told: &'a HostSnapshot,
    /// When that came.
    came: Time,
    /// When it was last true.
    at: Time,
}

impl Engine {
    pub(super) fn plan_scaling(&mut self, now: Time, plan: &mut Plan) {
        if self.adoption != Adoption::Settled {
            return;
        }
        let from = *self.scaling.from.get_or_insert(now + LISTENS);
        let services: Vec<PoolName> = self.autoscaled().map(|(name, _)| name.clone()).collect();
        self.scaling.deciding.retain(|name, _| services.contains(name));
        if now < from {
            if !services.is_empty() {
                plan.wake_by(from, "decide how many machines there are");
            }
            return;
        }
        for name in services {
            if self.decides_for(now, &name) {
                self.join(now, &name);
                if self.scaling.deciding.get(&name).is_some_and(|deciding| now >= deciding.next) {
                    self.decide(now, &name);
                }
            } else {
                self.give_way(now, &name);
            }
            if let Some(deciding) = self.scaling.deciding.get(&name) {
                let at = deciding.yielded.map_or(deciding.next, |since| since + YIELDS);
                plan.wake_by(at, "decide how many machines there are");
            }
        }
    }

    /// Another host decides for `service`.
    fn give_way(&mut self, now: Time, service: &PoolName) {
        let Some(deciding) = self.scaling.deciding.get_mut(service) else { return };
        let since = *deciding.yielded.get_or_insert(now);
        if now >= since + YIELDS {
            self.scaling.deciding.remove(service);
        }
    }

    /// Whether this host is the one that decides for `service`.
    fn decides_for(&self, now: Time, service: &PoolName) -> bool {
        let deciders = self.others(now).filter(|other| other.told.scaling.services.contains(service));
        deciders.map(|other| &other.told.host).all(|other| self.config.name < *other)
    }

    fn others(&self, now: Time) -> impl Iterator<Item = Other<'_>> {
        let alive = self.peers.values().filter(move |peer| peer.tells(now));
        alive.filter_map(move |peer| {
            Some(Other { told: peer.held.as_deref()?, came: peer.held_since, at: peer.said_at(now) })
        })
    }

    /// Begins to decide, or goes on from what those have decided who decide too: they have not heard this host.
    fn join(&mut self, now: Time, name: &PoolName) {
        let Some(most) = self.rules_of(name).map(|scale| scale.rules.max) else { return };
        let total = self.total_now(name);
        let views = self.others(now).filter_map(|other| {
            let view = other.told.scaling.decided.get(name)?;
            Some((other.told.host.clone(), view.desired))
        });
        let others: BTreeMap<HostName, u32> = views.collect();
        let theirs = others.values().copied().max().unwrap_or(0);
        let own = self.scaling.deciding.get_mut(name).filter(|own| own.yielded.is_none());
        let together = match own {
            // Who begins knows the last total, unless it was decided on the other side of a cut.
            None => total.max(theirs),
            Some(own) if others.keys().any(|host| !own.joined.contains(host)) => {
                total.max(theirs).max(self.ready_of(now, name))
            }
            Some(own) => {
                own.joined = others.into_keys().collect();
                return;
            }
        };
        // One that is turned off stays so, and what is wanted already is not given up for the limit's sake here.
        let together = if total == 0 { 0 } else { together.min(most.max(total)) };
        let began = Deciding { joined: others.into_keys().collect(), ..Deciding::beginning(now, together) };
        self.scaling.deciding.insert(name.clone(), began);
        if together != total {
            let reason = "hosts that decided apart hear each other again".to_owned();
            self.change(now, name, total, Decision { desired: together, reason });
        }
    }

    fn rules_of(&self, name: &PoolName) -> Option<&Autoscale> {
        self.service(name)?.autoscale.as_ref()
    }

    /// Looks at a service, and does what comes of it.
    fn decide(&mut self, now: Time, name: &PoolName) {
        let Some(scale) = self.rules_of(name).cloned() else { return };
        let current = self.total_now(name);
        let machines = self.scaled_machines(now, name, &scale, current);
        let Some(deciding) = self.scaling.deciding.get_mut(name) else { return };
        deciding.next = now + scale.sync_period;
        let decision = deciding.scaler.decide(now, &scale.rules, current, &machines);
        let (desired, reason) = (decision.desired, decision.reason.clone());
        if desired != current {
            self.change(now, name, current, decision);
        }
        let (current, decider) = (self.ready_of(now, name), self.config.name.clone());
        let metrics = metric_views(now, &scale, &machines);
        let Some(deciding) = self.scaling.deciding.get_mut(name) else { return };
        let mut last_change = deciding.view.take().and_then(|view| view.last_change);
        if let (Some(change), Some(changed)) = (&mut last_change, deciding.changed) {
            change.ago_ms = millis(now.saturating_sub(changed));
        }
        deciding.view = Some(ScalingView { decider, current, desired, metrics, reason, last_change });
    }

    /// The number changes: placement follows it on every host.
    fn change(&mut self, now: Time, name: &PoolName, from: u32, decision: Decision) {
        let Decision { desired: to, reason } = decision;
        self.set_total(name, to);
        let message = format!("from {from} to {to} machines: {reason}");
        self.note(Severity::Info, "service.scaled", name.to_string(), message);
        let ready = self.ready_of(now, name);
        let decider = self.config.name.clone();
        let Some(deciding) = self.scaling.deciding.get_mut(name) else { return };
        deciding.changed = Some(now);
        let last_change = Some(ScalingChange { from, to, reason: reason.clone(), ago_ms: 0 });
        let metrics = deciding.view.take().map_or_else(Vec::new, |view| view.metrics);
        deciding.view =
            Some(ScalingView { decider, current: ready, desired: to, metrics, reason, last_change });
    }

    /// How many machines of `service` there are to be now, over all hosts.
    fn total_now(&self, service: &PoolName) -> u32 {
        self.service(service).map_or(0, |service| self.total_of(service))
    }

    /// How many machines of `service` can be sent requests, on all hosts that are heard.
    fn ready_of(&self, now: Time, service: &PoolName) -> u32 {
        let is_ready = |machine: &MachineView| {
            machine.service == *service
                && machine.phase == Phase::Ready
                && machine.condition.is_none()
                && !machine.drained
        };
        let own = self.machines.values().map(|machine| machine.view(now)).filter(is_ready).count();
        let others = self.others(now).flat_map(|other| &other.told.machines);
        let theirs = others.filter(|machine| is_ready(machine)).count();
        u32::try_from(own + theirs).unwrap_or(u32::MAX)
    }

    /// The machines of `service` on all hosts that are heard, with what is known of them.
    fn scaled_machines(&self, now: Time, service: &PoolName, scale: &Autoscale, wanted: u32) -> Vec<Machine> {
        let sent = self.sent_by_all(now);
        let own: Vec<MachineView> = self
            .machines
            .values()
            .filter(|machine| machine.slot.service == *service)
            .map(|machine| machine.view(now))
            .collect();
        let others = self
            .others(now)
            .flat_map(|other| other.told.machines.iter().map(move |view| (view, other.came, other.at)));
        let theirs = others.filter(|(view, ..)| view.service == *service);
        let all = own.iter().map(|view| (view, now, now)).chain(theirs);
        let mut machines: Vec<Machine> =
            all.map(|(view, came, at)| scaled_machine(view, now, came, at, scale, sent.as_ref())).collect();
        // What is wanted and has no place yet is on its way.
        let there = machines.iter().filter(|machine| machine.stage != Stage::Ended).count();
        let short = (wanted as usize).saturating_sub(there);
        let pending = Machine { id: String::new().into(), stage: Stage::Pending, readings: BTreeMap::new() };
        machines.extend(std::iter::repeat_n(pending, short));
        machines
    }

    /// What all balancers together send to each endpoint of an autoscaled service. None where one that may be sending
    /// does not say.
    fn sent_by_all(&self, now: Time) -> Option<BTreeMap<EndpointId, MachineTraffic>> {
        let mut sums = self.sent_by_own()?;
        for other in self.others(now).filter(|other| !other.told.scaling.services.is_empty()) {
            for (id, sent) in other.told.scaling.traffic.as_ref()? {
                let sum = sums.entry(id.clone()).or_default();
                sum.requests_per_s.0 = sum.requests_per_s.0.saturating_add(sent.requests_per_s.0);
                sum.in_flight.0 = sum.in_flight.0.saturating_add(sent.in_flight.0);
            }
        }
        Some(sums)
    }

    /// What the other managers are told, so that one of them, or this one, can decide.
    pub(super) fn scaling_told(&self, now: Time) -> ScalingTold {
        // Before it decides for itself, the others go on without it.
        let listens = self.scaling.from.is_none_or(|from| now < from);
        let services: BTreeSet<PoolName> =
            self.autoscaled().filter(|_| !listens).map(|(name, _)| name.clone()).collect();
        if services.is_empty() {
            return ScalingTold::default();
        }
        let decided = self.scaling.deciding.iter();
        let decided =
            decided.filter_map(|(name, deciding)| Some((name.clone(), deciding.view.clone()?))).collect();
        ScalingTold { services, decided, traffic: self.sent_by_own() }
    }

    /// How many machines each autoscaled service has and why, as far as somebody who is heard has decided that.
    pub fn scalings(&self, now: Time) -> BTreeMap<PoolName, ScalingView> {
        let view = |name: &PoolName| {
            let own = self.scaling.deciding.get(name).and_then(|deciding| deciding.view.as_ref());
            let others = self.others(now).filter_map(|other| other.told.scaling.decided.get(name));
            others.chain(own).min_by(|one, other| one.decider.cmp(&other.decider)).cloned()
        };
        self.autoscaled().filter_map(|(name, _)| Some((name.clone(), view(name)?))).collect()
    }
}

/// One machine, as it was told when `came`, and last said to be at `at`.
fn scaled_machine(
    view: &MachineView,
    now: Time,
    came: Time,
    at: Time,
    scale: &Autoscale,
    sent: Option<&BTreeMap<EndpointId, MachineTraffic>>,
) -> Machine {
    let since = came.saturating_sub(Duration::from_millis(view.for_ms));
    let was_ready = |since| Stage::Running { started: Time::ZERO, ready: false, since };
    let stage = match view.phase {
        Phase::Booting | Phase::Dead => Stage::Pending,
        Phase::Ready if view.condition == Some(Condition::NotReady) => was_ready(now),
        Phase::Ready => Stage::Running { started: since, ready: true, since },
        Phase::Suspect => was_ready(since),
        Phase::Draining | Phase::Standby => Stage::Ended,
    };
    let mut readings = BTreeMap::new();
    if let Some(usage) = view.usage {
        let (window, memory) = (Duration::from_millis(usage.window_ms), scale.memory_bytes);
        let memory = Reading { used: usage.memory_bytes, asked_for: memory, at, window: Duration::ZERO };
        readings.insert(Metric::Memory, memory);
        let cpu = |cpus: Milli| Reading { used: cpus.0, asked_for: scale.cpu_request.0, at, window };
        readings.extend(usage.cpus.map(|cpus| (Metric::Cpu, cpu(cpus))));
    }
    if let Some(sent) = sent {
        let id = EndpointId::of(&view.id, view.incarnation);
        let sent = sent.get(&id).copied().unwrap_or_default();
        let reading = |used: Milli| Reading { used: used.0, asked_for: 0, at, window: Duration::ZERO };
        readings.insert(Metric::Requests, reading(sent.requests_per_s));
        readings.insert(Metric::InFlight, reading(sent.in_flight));
    }
    Machine { id: view.id.clone(), stage, readings }
}

fn metric_views(now: Time, scale: &Autoscale, machines: &[Machine]) -> Vec<MetricView> {
    let values = measured(now, &scale.rules, machines);
    let view = |(metric, target): (&Metric, &Target)| {
        let value = values.get(metric).copied();
        let (value, target) = match target {
            Target::Utilization(percent) => (value.map(Milli::whole), Milli::whole(u64::from(*percent))),
            Target::Average(amount) => (value.map(Milli), Milli(*amount)),
        };
        MetricView { metric: name_of(*metric), value, target }
    };
    scale.rules.targets.iter().map(view).collect()
}

fn name_of(metric: Metric) -> MetricName {
    match metric {
        Metric::Cpu => MetricName::CpuPercent,
        Metric::Memory => MetricName::MemoryPercent,
        Metric::Requests => MetricName::RequestsPerS,
        Metric::InFlight => MetricName::InFlight,
    }
}
