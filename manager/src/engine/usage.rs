//! What machines of autoscaled services use, and what this host's balancer sends to them.
//!
//! ```text
//!   hypervisor ── processor time so far, memory ──▶ samples of 10 s ──▶ processors on average ─┐
//!   balancer ──── requests a second, in flight ───▶ samples of 10 s ──▶ averages ──────────────┴▶ snapshots, decider
//! ```
//!
//! Nothing is read while no service is autoscaled. What could not be read for a while is forgotten: it is missing then,
//! and missing metrics argue against change.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use wire::autoscale::{MachineTraffic, MachineUsage, Milli};
use wire::{EndpointId, Incarnation, MachineId, PoolName};

use super::{Adoption, Command, Engine, Job, ObservedUsage, Outcome, Plan, Time, lb_id, millis};
use crate::config::service::Autoscale;
use crate::engine::autoscale::Metric;

/// Hypervisor and balancer are asked this often.
const READ_EVERY: Duration = Duration::from_secs(2);

/// What is shown is an average over this, as balancers' rates are.
const WINDOW: Duration = Duration::from_secs(wire::traffic::WINDOW_S as u64);

/// What was not read for so long is not known any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// So many samples of a window are kept at most, however often it was read.
const MOST_SAMPLES: usize = 16;

/// What was read lately.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Meter {
    machines: BTreeMap<MachineId, Used>,
    /// What the balancer sends to each endpoint, as of each time it was asked; those it sends nothing to are left out.
    #[serde(skip)]
    traffic: VecDeque<(Time, BTreeMap<EndpointId, MachineTraffic>)>,
    usage_at: Time,
    traffic_at: Time,
}

/// One machine's readings.
#[derive(Clone, Debug, Default, Serialize)]
struct Used {
    incarnation: Incarnation,
    memory_bytes: u64,
    /// The processor time so far, and when that was read; the oldest first.
    cpu: VecDeque<(Time, Duration)>,
}

impl Used {
    fn add(&mut self, now: Time, read: &ObservedUsage) {
        // Another build starts at nothing, and so does one whose count went back.
        let went_back = self.cpu.back().is_some_and(|(_, before)| *before > read.cpu);
        if self.incarnation != read.incarnation || went_back {
            self.cpu.clear();
        }
        self.incarnation = read.incarnation;
        self.memory_bytes = read.memory_bytes;
        self.cpu.push_back((now, read.cpu));
        // One that is as old as the window is kept, so that there is a whole window to look at.
        while self.cpu.len() > MOST_SAMPLES
            || self.cpu.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW)
        {
            self.cpu.pop_front();
        }
    }

    fn usage(&self) -> MachineUsage {
        let span = self.cpu.front().zip(self.cpu.back());
        let (window, used) = span.map_or_else(Default::default, |((from, before), (to, after))| {
            (to.saturating_sub(*from), after.saturating_sub(*before))
        });
        let millicpus = used.as_micros().saturating_mul(1_000).checked_div(window.as_micros());
        MachineUsage {
            cpus: millicpus.map(|millicpus| Milli(u64::try_from(millicpus).unwrap_or(u64::MAX))),
            window_ms: millis(window),
            memory_bytes: self.memory_bytes,
        }
    }

    fn read_at(&self) -> Time {
        self.cpu.back().map_or(Time::ZERO, |(at, _)| *at)
    }
}

impl Meter {
    /// What each endpoint is sent on average; none where the balancer was not heard lately.
    fn sent(&self) -> Option<BTreeMap<EndpointId, MachineTraffic>> {
        let count = u64::try_from(self.traffic.len()).ok().filter(|count| *count > 0)?;
        let mut sums: BTreeMap<EndpointId, MachineTraffic> = BTreeMap::new();
        for (id, sent) in self.traffic.iter().flat_map(|(_, sent)| sent) {
            let sum = sums.entry(id.clone()).or_default();
            sum.in_flight.0 = sum.in_flight.0.saturating_add(sent.in_flight.0);
        }
        for sum in sums.values_mut() {
            sum.in_flight.0 /= count;
        }
        // Rates are averages already.
        for (id, sent) in self.traffic.back().map(|(_, sent)| sent).into_iter().flatten() {
            if let Some(sum) = sums.get_mut(id) {
                sum.requests_per_s = sent.requests_per_s;
            }
        }
        sums.retain(|_, sum| *sum != MachineTraffic::default());
        Some(sums)
    }
}

impl Engine {
    /// The services whose number of machines follows the load, with their rules.
    pub(super) fn autoscaled(&self) -> impl Iterator<Item = (&PoolName, &Autoscale)> {
        self.config.services.iter().filter_map(|service| Some((&service.name, service.autoscale.as_ref()?)))
    }

    /// Whether some service's number of machines follows its requests.
    fn needs_traffic(&self) -> bool {
        let asks = |metric| self.autoscaled().any(|(_, scale)| scale.rules.targets.contains_key(&metric));
        asks(Metric::Requests) || asks(Metric::InFlight)
    }

    pub(super) fn plan_meter(&mut self, now: Time, plan: &mut Plan) {
        if self.adoption != Adoption::Settled || self.autoscaled().next().is_none() {
            return self.meter_off();
        }
        if now >= self.meter.usage_at {
            self.start(now, Job::ReadUsage, Command::ReadUsage, plan);
        } else {
            plan.wake_by(self.meter.usage_at, "ask what machines use");
        }
        let Some(lb) = self.ready_lb().filter(|_| self.needs_traffic()) else { return };
        if now >= self.meter.traffic_at {
            self.start(now, Job::ReadTraffic, Command::ReadTraffic { lb }, plan);
        } else {
            plan.wake_by(self.meter.traffic_at, "ask what the balancer sends");
        }
    }

    fn meter_off(&mut self) {
        if self.meter.machines.is_empty() && self.meter.traffic.is_empty() {
            return;
        }
        self.meter = Meter::default();
        for machine in self.machines.values_mut() {
            machine.usage = None;
        }
    }

    fn forget_readings(&mut self, now: Time) {
        let is_old = |at: Time| now.saturating_sub(at) >= FORGOTTEN_AFTER;
        self.meter.traffic.retain(|(at, _)| now.saturating_sub(*at) < WINDOW.max(FORGOTTEN_AFTER));
        let old: Vec<MachineId> = self
            .meter
            .machines
            .iter()
            .filter(|(id, used)| {
                let machine = self.machines.get(id);
                is_old(used.read_at())
                    || machine.is_none_or(|machine| machine.incarnation != used.incarnation)
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in old {
            self.meter.machines.remove(&id);
            if let Some(machine) = self.machines.get_mut(&id) {
                machine.usage = None;
            }
        }
    }

    pub(super) fn usage_read(&mut self, now: Time, outcome: Outcome) {
        self.meter.usage_at = now + READ_EVERY;
        self.forget_readings(now);
        let Outcome::Used(used) = outcome else {
            if let Outcome::Failed(reason) = outcome {
                let subject = self.config.name.to_string();
                let message = format!("what machines use cannot be read: {reason}");
                self.trouble(now, "usage.unread", subject, message);
            }
            return;
        };
        for read in used {
            let is_scaled = |name: &PoolName| self.autoscaled().any(|(scaled, _)| scaled == name);
            let known = self.machines.get(&read.machine).filter(|machine| {
                machine.incarnation == read.incarnation && is_scaled(&machine.slot.service)
            });
            if known.is_none() {
                continue;
            }
            let meter = self.meter.machines.entry(read.machine.clone()).or_default();
            meter.add(now, &read);
            let usage = Some(meter.usage());
            if let Some(machine) = self.machines.get_mut(&read.machine) {
                machine.usage = usage;
            }
        }
    }

    pub(super) fn traffic_read(&mut self, now: Time, outcome: Outcome) {
        self.meter.traffic_at = now + READ_EVERY;
        match outcome {
            Outcome::Traffic(mut sent) => {
                sent.retain(|pool, _| self.autoscaled().any(|(name, _)| name == pool));
                let sent = sent.into_values().flatten().collect();
                self.meter.traffic.push_back((now, sent));
                if self.meter.traffic.len() > MOST_SAMPLES {
                    self.meter.traffic.pop_front();
                }
            }
            Outcome::Failed(reason) => {
                let lb = lb_id(&self.config.name).to_string();
                self.trouble(now, "lb.traffic-unread", lb, format!("what it sends cannot be read: {reason}"));
            }
            _ => {}
        }
    }

    /// What this host's balancer sends to each endpoint of an autoscaled service. None where it cannot be said although
    /// it may be sending.
    pub(super) fn sent_by_own(&self) -> Option<BTreeMap<EndpointId, MachineTraffic>> {
        if !self.needs_traffic() || !self.lb_may_serve() {
            return Some(BTreeMap::new());
        }
        self.meter.sent()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(incarnation: Incarnation, cpu_ms: u64) -> ObservedUsage {
        let (machine, cpu) = ("a-web-1".into(), Duration::from_millis(cpu_ms));
        ObservedUsage { machine, incarnation, cpu, memory_bytes: 5 }
    }

    #[test]
    fn processors_are_an_average_of_the_last_ten_seconds() {
        let mut used = Used::default();
        let mut cpus = Vec::new();
        // 0.1 processors for 20 s, then 1.
        for second in (0..40).step_by(2) {
            let ms = if second <= 20 { second * 100 } else { 2_000 + (second - 20) * 1_000 };
            used.add(Duration::from_secs(second), &read(1, ms));
            cpus.push(used.usage().cpus.map(|cpus| cpus.0));
        }
        assert_eq!(cpus[..4], [None, Some(100), Some(100), Some(100)]);
        assert_eq!(cpus[10..17], [100, 280, 460, 640, 820, 1_000, 1_000].map(Some));
        assert_eq!(used.usage().window_ms, 10_000);
        assert!(used.cpu.len() <= MOST_SAMPLES);
        // One that was built anew begins at nothing, and is not said to have used less than nothing.
        used.add(Duration::from_secs(40), &read(2, 10));
        assert_eq!(used.usage().cpus, None);
        used.add(Duration::from_secs(42), &read(2, 5));
        assert_eq!(used.usage().cpus, None);
        used.add(Duration::from_secs(44), &read(2, 1_005));
        assert_eq!(used.usage().cpus, Some(Milli(500)));
    }

    #[test]
    fn requests_in_flight_are_an_average_and_rates_are_the_last() {
        let sent =
            |rate, in_flight| MachineTraffic { requests_per_s: Milli(rate), in_flight: Milli(in_flight) };
        let mut meter = Meter::default();
        assert_eq!(meter.sent(), None);
        let samples = [vec![("a.1", sent(1, 3_000))], vec![("a.1", sent(7, 0)), ("b.1", sent(5, 1_000))]];
        for (second, sample) in samples.into_iter().enumerate() {
            let sample = sample.into_iter().map(|(id, sent)| (id.into(), sent)).collect();
            meter.traffic.push_back((Duration::from_secs(second as u64), sample));
        }
        let expected = [("a.1".into(), sent(7, 1_500)), ("b.1".into(), sent(5, 500))];
        assert_eq!(meter.sent(), Some(expected.into()));
    }
}
