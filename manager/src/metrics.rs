//! The manager's metrics.
//!
//! What happens is counted when it happens; everything else is set when it is asked for, from what the engine shows
//! then. Labels never say `host`, `machine` of others or `job`: those are what Prometheus calls the manager that tells it.

mod cluster;
mod machines;
mod scaling;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::response::Response;
use kit::api::{metrics_response, process_registry, register_build_info};
use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use wire::PoolName;
use wire::autoscale::ScalingView;
use wire::cluster::ClusterView;

use self::cluster::ClusterGauges;
use self::machines::MachineSeries;
use self::scaling::ScalingGauges;
use crate::engine::{Figures, Start};

/// The most names that have a series of their own.
const MOST_NAMES: usize = 1_000;

/// The kinds of events that rates are asked of: they have a series before the first one, which would not be seen
/// otherwise.
const KINDS: [&str; 6] =
    ["machine.booting", "machine.ready", "machine.suspect", "machine.dead", "peer.heard", "vip.changed"];

/// The manager's metrics and where they are registered.
pub struct Metrics {
    registry: Registry,
    /// Series come and go with what they tell of; nobody else is to look meanwhile.
    scraping: Mutex<()>,
    events: IntCounterVec,
    machines: MachineSeries,
    cluster: ClusterGauges,
    scaling: ScalingGauges,
    maintenance: IntGauge,
    audit_lost: IntCounter,
    uplink_lost: IntGauge,
    certificate_ends: IntGaugeVec,
    own_certificate_ends: IntGaugeVec,
    acme_failures: IntGaugeVec,
    acme_orders: IntCounterVec,
}

/// What a scrape shows that is not counted here.
pub struct Look<'a> {
    /// The cluster.
    pub view: &'a ClusterView,
    /// What the view does not show.
    pub figures: Figures,
    /// How many machines autoscaled services have, and why.
    pub scalings: &'a BTreeMap<PoolName, ScalingView>,
    /// How many entries of the audit log were lost so far.
    pub audit_lost: u64,
    /// Until when what clients are shown is good, by name, in seconds since 1970.
    pub certificates: &'a BTreeMap<String, i64>,
    /// How often in a row a certificate could not be got, by its names.
    pub acme_failures: &'a BTreeMap<String, u32>,
    /// Until when the manager's own certificate is good; none while there is none.
    pub own_certificate: Option<i64>,
}

impl Metrics {
    /// A new set of metrics.
    ///
    /// # Errors
    ///
    /// When two metrics have one name.
    pub fn new() -> prometheus::Result<Self> {
        let registry = process_registry();
        register_build_info(&registry, "manager", env!("CARGO_PKG_VERSION"))?;
        let add = Adder(&registry);
        let events = add.counters(
            "manager_events_total",
            "Transitions, by what happened, such as machine.dead.",
            &["kind"],
        )?;
        for kind in KINDS {
            events.with_label_values(&[kind]);
        }
        let acme_orders = add.counters(
            "manager_acme_orders_total",
            "Certificates that this manager ordered, by outcome.",
            &["outcome"],
        )?;
        for outcome in ["issued", "failed"] {
            acme_orders.with_label_values(&[outcome]);
        }
        Ok(Metrics {
            scraping: Mutex::default(),
            events,
            acme_orders,
            machines: MachineSeries::new(&add)?,
            cluster: ClusterGauges::new(&add)?,
            scaling: ScalingGauges::new(&add)?,
            certificate_ends: add.gauges(
                "manager_certificate_expires_timestamp_seconds",
                "Until when what clients are shown for a name is good.",
                &["name"],
            )?,
            own_certificate_ends: add.gauges(
                "manager_own_certificate_expires_timestamp_seconds",
                "Until when the certificate is good that this manager shows hosts of the cluster; absent without a CA.",
                &[],
            )?,
            acme_failures: add.gauges(
                "manager_acme_failures",
                "How many attempts in a row to get a certificate have failed, by its names.",
                &["names"],
            )?,
            maintenance: add.gauge(
                "manager_maintenance",
                "Whether this manager only watches (1) or not (0).",
            )?,
            audit_lost: add.add(IntCounter::new(
                "manager_audit_lost_total",
                "Changes and refusals that could not be written to the audit log.",
            )?)?,
            uplink_lost: add.gauge(
                "manager_uplink_lost",
                "Whether this host's uplink is lost (1) or not (0, also where none is configured).",
            )?,
            registry,
        })
    }

    /// Counts one event.
    pub fn count_event(&self, kind: &str) {
        self.events.with_label_values(&[kind]).inc();
    }

    /// Notes how long a machine took to get ready.
    pub fn observe_start(&self, start: &Start) {
        self.machines.observe(start);
    }

    /// Counts a certificate that was ordered.
    pub fn count_order(&self, issued: bool) {
        self.acme_orders.with_label_values(&[if issued { "issued" } else { "failed" }]).inc();
    }

    /// All metrics as text, with those that are not counted set to what `look` shows.
    pub fn response(&self, look: &Look<'_>) -> Response {
        let _scraping = self.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        let Look { view, figures, scalings, audit_lost, certificates, acme_failures, own_certificate } = look;
        self.maintenance.set(i64::from(figures.maintenance));
        self.uplink_lost.set(i64::from(figures.uplink_lost));
        self.audit_lost.inc_by(audit_lost.saturating_sub(self.audit_lost.get()));
        // A name that is not shown any more has no series any more.
        self.certificate_ends.reset();
        self.own_certificate_ends.reset();
        self.acme_failures.reset();
        for (name, end) in certificates.iter().take(MOST_NAMES) {
            self.certificate_ends.with_label_values(&[name]).set(*end);
        }
        if let Some(end) = own_certificate {
            self.own_certificate_ends.with_label_values::<&str>(&[]).set(*end);
        }
        for (names, count) in *acme_failures {
            self.acme_failures.with_label_values(&[names]).set(i64::from(*count));
        }
        self.machines.set(view, figures);
        self.cluster.set(view, figures);
        self.scaling.set(scalings);
        metrics_response(&self.registry)
    }
}

/// Makes metrics and registers them.
struct Adder<'a>(&'a Registry);

impl Adder<'_> {
    fn add<T: Collector + Clone + 'static>(&self, metric: T) -> prometheus::Result<T> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }
}

/// A count as a gauge takes it.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
