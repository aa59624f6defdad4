//! This host's machines and its pool of addresses.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec};
use wire::cluster::{ClusterView, Phase};

use super::{Adder, MOST_NAMES, signed};
use crate::engine::{Addresses, Figures, Start};

/// All phases, so that each has a series from the start.
const PHASES: [(Phase, &str); 6] = [
    (Phase::Booting, "booting"),
    (Phase::Ready, "ready"),
    (Phase::Suspect, "suspect"),
    (Phase::Draining, "draining"),
    (Phase::Dead, "dead"),
    (Phase::Standby, "standby"),
];

/// Upper bounds in seconds. A namespace is ready within tens of milliseconds, an emulated processor takes minutes.
const BUCKETS: [f64; 14] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// The series of machines.
pub(super) struct MachineSeries {
    count: IntGaugeVec,
    phase: IntGaugeVec,
    looping: IntGaugeVec,
    restarts: IntCounterVec,
    start: HistogramVec,
    replacement: HistogramVec,
    addresses: IntGaugeVec,
}

impl MachineSeries {
    pub(super) fn new(add: &Adder<'_>) -> prometheus::Result<Self> {
        const EACH: &[&str] = &["machine", "service"];
        let durations = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
            add.add(HistogramVec::new(options, &["service"])?)
        };
        Ok(MachineSeries {
            count: add.gauges("manager_machines", "This host's machines, by phase.", &["phase"])?,
            phase: add.gauges(
                "manager_machine_phase",
                "1 for the phase that a machine of this host is in, 0 for the others.",
                &["machine", "service", "phase"],
            )?,
            looping: add.gauges(
                "manager_machine_crash_looping",
                "1 while a machine of this host keeps dying and is rebuilt with growing pauses.",
                EACH,
            )?,
            restarts: add.counters(
                "manager_machine_restarts_total",
                "Times a machine was rebuilt since this manager started.",
                EACH,
            )?,
            start: durations(
                "manager_machine_start_duration_seconds",
                "From the order to create a machine to its first heartbeat.",
            )?,
            replacement: durations(
                "manager_machine_replacement_duration_seconds",
                "From the death of a machine to the first heartbeat of the one in its place, pauses included.",
            )?,
            addresses: add.gauges(
                "manager_pool_addresses",
                "Addresses of this host's pool, by state: free, used, unfenced, foreign.",
                &["state"],
            )?,
        })
    }

    pub(super) fn observe(&self, start: &Start) {
        let service = &[start.service.as_str()];
        self.start.with_label_values(service).observe(start.boot.as_secs_f64());
        // So that it has a series before the first death.
        let replacement = self.replacement.with_label_values(service);
        if let Some(down) = start.down {
            replacement.observe(down.as_secs_f64());
        }
    }

    pub(super) fn set(&self, view: &ClusterView, figures: &Figures) {
        self.phase.reset();
        self.looping.reset();
        self.restarts.reset();
        let own = view.hosts.iter().filter(|host| host.name == view.host);
        let machines: Vec<_> = own.flat_map(|host| &host.machines).collect();
        for (phase, name) in PHASES {
            let count = machines.iter().filter(|machine| machine.phase == phase).count();
            self.count.with_label_values(&[name]).set(signed(count));
        }
        for machine in machines.iter().take(MOST_NAMES) {
            let each = [machine.id.as_str(), machine.service.as_str()];
            for (phase, name) in PHASES {
                let is_it = i64::from(machine.phase == phase);
                self.phase.with_label_values(&[each[0], each[1], name]).set(is_it);
            }
            self.looping.with_label_values(&each).set(i64::from(machine.crash_looping));
            self.restarts.with_label_values(&each).inc_by(u64::from(machine.restarts));
        }
        let Addresses { free, used, unfenced, foreign } = figures.addresses;
        for (state, count) in [("free", free), ("used", used), ("unfenced", unfenced), ("foreign", foreign)] {
            self.addresses.with_label_values(&[state]).set(signed(count));
        }
    }
}
