//! The manager's metrics.

use std::collections::BTreeMap;

use kit::api::process_registry;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use wire::cluster::{ClusterView, Phase};

/// All phases, so that each has a series from the start.
const PHASES: [Phase; 5] = [Phase::Booting, Phase::Ready, Phase::Suspect, Phase::Draining, Phase::Dead];

/// The most names that have a series of their own.
const MOST_NAMES: usize = 1_000;

/// The manager's metrics and where they are registered.
pub struct Metrics {
    registry: Registry,
    events: IntCounterVec,
    machines: IntGaugeVec,
    desired: IntGaugeVec,
    peers_alive: IntGaugeVec,
    vip_holders: IntGaugeVec,
    maintenance: IntGauge,
    audit_lost: IntCounter,
    uplink_lost: IntGauge,
    certificate_ends: IntGaugeVec,
    acme_failures: IntGaugeVec,
    acme_orders: IntCounterVec,
}

impl Metrics {
    /// A new set of metrics.
    ///
    /// # Errors
    ///
    /// When two metrics have one name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = process_registry();
        let counter = IntCounterVec::new(
            Opts::new("manager_events_total", "Transitions, by what happened, such as machine.dead."),
            &["kind"],
        )?;
        registry.register(Box::new(counter.clone()))?;
        let uplink_lost = IntGauge::new(
            "manager_uplink_lost",
            "Whether this host's uplink is lost (1) or not (0, also where none is configured).",
        )?;
        registry.register(Box::new(uplink_lost.clone()))?;
        let gauge = |name: &str, help: &str, label: &str| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauge.clone()))?;
            prometheus::Result::Ok(gauge)
        };
        let maintenance =
            IntGauge::new("manager_maintenance", "Whether this manager only watches (1) or not (0).")?;
        registry.register(Box::new(maintenance.clone()))?;
        let audit_lost = IntCounter::new(
            "manager_audit_lost_total",
            "Changes and refusals that could not be written to the audit log.",
        )?;
        registry.register(Box::new(audit_lost.clone()))?;
        let acme_orders = IntCounterVec::new(
            Opts::new("manager_acme_orders_total", "Certificates that this manager ordered, by outcome."),
            &["outcome"],
        )?;
        registry.register(Box::new(acme_orders.clone()))?;
        for outcome in ["issued", "failed"] {
            acme_orders.with_label_values(&[outcome]);
        }
        Ok(Metrics {
            acme_orders,
            certificate_ends: gauge(
                "manager_certificate_expires_timestamp_seconds",
                "Until when what clients are shown for a name is good.",
                "name",
            )?,
            acme_failures: gauge(
                "manager_acme_failures",
                "How many attempts in a row to get a certificate have failed, by its names.",
                "names",
            )?,
            maintenance,
            audit_lost,
            events: counter,
            machines: gauge("manager_machines", "This host's machines, by phase.", "phase")?,
            desired: gauge("manager_machines_desired", "How many machines a host is to have.", "host")?,
            peers_alive: gauge(
                "manager_host_alive",
                "Whether a host's manager is heard (1) or not (0).",
                "host",
            )?,
            vip_holders: gauge("manager_vip_holders", "How many balancers say that they hold a VIP.", "vip")?,
            uplink_lost,
            registry,
        })
    }

    /// Counts one event.
    pub fn count_event(&self, kind: &str) {
        self.events.with_label_values(&[kind]).inc();
    }

    /// Sets what the view of the cluster does not show.
    pub fn set_own(&self, maintenance: bool, audit_lost: u64) {
        self.maintenance.set(i64::from(maintenance));
        self.audit_lost.inc_by(audit_lost.saturating_sub(self.audit_lost.get()));
    }

    /// Counts a certificate that was ordered.
    pub fn count_order(&self, issued: bool) {
        self.acme_orders.with_label_values(&[if issued { "issued" } else { "failed" }]).inc();
    }

    /// Sets until when what clients are shown is good, and how often it could not be got, by names.
    pub fn set_certificates(&self, ends: &BTreeMap<String, i64>, failures: &BTreeMap<String, u32>) {
        // A name that is not shown any more has no series any more.
        self.certificate_ends.reset();
        self.acme_failures.reset();
        for (name, end) in ends.iter().take(MOST_NAMES) {
            self.certificate_ends.with_label_values(&[name]).set(*end);
        }
        for (names, count) in failures {
            self.acme_failures.with_label_values(&[names]).set(i64::from(*count));
        }
    }

    /// Sets whether this host's uplink is lost.
    pub fn set_uplink_lost(&self, lost: bool) {
        self.uplink_lost.set(i64::from(lost));
    }

    /// The registry, with the gauges set to what `view` shows.
    pub fn updated(&self, view: &ClusterView) -> &Registry {
        for phase in PHASES {
            let count = view
                .hosts
                .iter()
                .filter(|host| host.name == view.host)
                .flat_map(|host| &host.machines)
                .filter(|machine| machine.phase == phase)
                .count();
            let label = phase.to_string().to_lowercase();
            self.machines.with_label_values(&[&label]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for host in &view.hosts {
            self.desired.with_label_values(&[host.name.as_str()]).set(i64::from(host.desired));
            self.peers_alive.with_label_values(&[host.name.as_str()]).set(i64::from(host.alive));
        }
        for vip in &view.vips {
            let holders = i64::try_from(vip.holders.len()).unwrap_or(i64::MAX);
            self.vip_holders.with_label_values(&[&vip.address.to_string()]).set(holders);
        }
        &self.registry
    }
}
