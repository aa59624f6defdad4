//! Figures for Prometheus.
//!
//! Nothing is registered while requests pass: what is counted lives in the records themselves (a route's
//! here, an upstream's in its own), and a scrape reads those of the present snapshot. So a route or
//! upstream that is gone takes its series along, and labels cannot pile up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts};

pub(crate) use super::durations::BUCKETS;
use super::durations::Durations;
use super::state::State;
use super::state::snapshot::Snapshot;
use super::{check, metrics_balance, primary, tcp, tls, upstream_tls};

/// The classes answers are counted in.
pub(crate) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why a request was tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// No connection: nothing was sent.
    Connect,
    /// A kept connection had been closed by the upstream.
    Stale,
    /// The upstream broke off before it answered.
    Broken,
    /// The upstream was silent altogether.
    Silent,
    /// The upstream lives but took too long.
    TooSlow,
    /// The upstream was ejected meanwhile, or its manager no longer trusts it.
    Ejected,
    /// Others answered meanwhile what the upstream was asked.
    Hedge,
    /// The upstream said that it did not look at the request (HTTP/2: REFUSED_STREAM, GOAWAY).
    Refused,
    /// The upstream answered with a status that is asked elsewhere (`retry_statuses`).
    Status,
}

impl Retry {
    /// All of them.
    pub(crate) const ALL: [Retry; 9] = [
        Retry::Connect,
        Retry::Stale,
        Retry::Broken,
        Retry::Silent,
        Retry::TooSlow,
        Retry::Ejected,
        Retry::Hedge,
        Retry::Refused,
        Retry::Status,
    ];

    /// Its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Retry::Connect => "connect",
            Retry::Stale => "stale",
            Retry::Broken => "broken",
            Retry::Silent => "silent",
            Retry::TooSlow => "too_slow",
            Retry::Ejected => "ejected",
            Retry::Hedge => "hedge",
            Retry::Refused => "refused",
            Retry::Status => "status",
        }
    }
}

/// What limits did to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    /// Its client is not among those who may ask: 403.
    Denied,
    /// It came too soon after others: 429.
    Refused,
    /// It came too soon, and waited.
    Delayed,
}

impl Limited {
    /// All of them, with their names.
    const ALL: [(Limited, &str); 3] =
        [(Limited::Denied, "denied"), (Limited::Refused, "refused"), (Limited::Delayed, "delayed")];
}

/// What happened on one route. It outlives snapshots, as the route's name does.
#[derive(Debug, Default)]
pub(crate) struct RouteStats {
    answers: [AtomicU64; CLASSES.len()],
    retries: [AtomicU64; Retry::ALL.len()],
    limited: [AtomicU64; Limited::ALL.len()],
    durations: Durations,
}

impl RouteStats {
    /// Counts a request that was answered with `status` (none: not at all) after `took`.
    pub(crate) fn count(&self, status: Option<u16>, took: Duration) {
        let class = usize::from(status.unwrap_or(0) / 100).min(CLASSES.len() - 1);
        self.answers[class].fetch_add(1, Ordering::Relaxed);
        self.durations.observe(took);
    }

    /// Requests so far, by class.
    pub(crate) fn answers(&self) -> [u64; CLASSES.len()] {
        self.answers.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// How many requests so far took at most as long as each of [`BUCKETS`], and how many there were.
    pub(crate) fn durations(&self) -> ([u64; BUCKETS.len()], u64) {
        self.durations.counts()
    }

    /// Further tries so far.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Counts a request that a limit did something to.
    pub(crate) fn count_limited(&self, limited: Limited) {
        self.limited[limited as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a further try.
    pub(crate) fn count_retry(&self, retry: Retry) {
        self.retries[retry as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads the proxy's state at each scrape.
pub(crate) struct StateCollector {
    state: Arc<State>,
}

impl StateCollector {
    pub(crate) fn new(state: Arc<State>) -> Self {
        StateCollector { state }
    }

    fn families(&self) -> prometheus::Result<Vec<MetricFamily>> {
        let snapshot = self.state.snapshot();
        let mut families = routes(&snapshot, &self.state)?;
        families.extend(upstreams(&snapshot)?);
        families.extend(metrics_balance::families(&snapshot, self.state.observers.as_deref())?);
        families.extend(check::metrics::families(&snapshot)?);
        families.extend(primary::metrics::families(&snapshot)?);
        families.extend(tls::stats::families(&self.state.tls)?);
        families.extend(upstream_tls::stats::families()?);
        families.extend(self.state.reloads.families()?);
        families.extend(tcp::metrics::families(&self.state.tcp)?);
        for (name, help, value) in [
            ("lb_upstreams_generation", "The generation of the upstream set in use.", snapshot.generation),
            (
                "lb_config_generation",
                "The generation of the configuration in use.",
                snapshot.config.generation,
            ),
            ("lb_connections_open", "Client connections open now.", self.state.connections.open()),
            (
                "lb_upstreams_leaving",
                "Upstreams that no set names any more and that have time to end what they were asked.",
                self.state.leaving.count() as u64,
            ),
            ("lb_requests_in_flight", "Requests being answered now.", self.state.connections.busy()),
        ] {
            let gauge = IntGauge::new(name, help)?;
            gauge.set(signed(value));
            families.extend(gauge.collect());
        }
        for (name, help, value) in [
            (
                "lb_connections_accepted_total",
                "Client connections accepted.",
                self.state.connections.accepted(),
            ),
            (
                "lb_connections_refused_total",
                "Client connections closed at once because there were too many.",
                self.state.connections.refused(),
            ),
            (
                "lb_connections_over_client_limit_total",
                "Client connections closed at once because their clients had too many.",
                self.state.connections.over(),
            ),
        ] {
            let counter = prometheus::IntCounter::new(name, help)?;
            counter.inc_by(value);
            families.extend(counter.collect());
        }
        Ok(families)
    }
}

fn routes(snapshot: &Snapshot, state: &State) -> prometheus::Result<Vec<MetricFamily>> {
    let requests = IntCounterVec::new(
        Opts::new("lb_requests_total", "Requests by the class of their answer; none: not answered."),
        &["route", "pool", "class"],
    )?;
    let retries = IntCounterVec::new(
        Opts::new("lb_retries_total", "Further tries by their reason."),
        &["route", "pool", "reason"],
    )?;
    let limited = IntCounterVec::new(
        Opts::new(
            "lb_requests_limited_total",
            "Requests that were denied, or refused or delayed as too many.",
        ),
        &["route", "pool", "outcome"],
    )?;
    let mut durations = MetricFamily::default();
    durations.set_name("lb_request_duration_seconds".to_owned());
    durations.set_help("From a request's head to the end of its answer.".to_owned());
    durations.set_field_type(MetricType::HISTOGRAM);
    let routed =
        snapshot.routes.iter().map(|route| (route.name.as_str(), route.pool.name.as_str(), &route.stats));
    for (route, pool, stats) in routed.chain([("", "", &state.unrouted)]) {
        for (class, count) in CLASSES.iter().zip(&stats.answers) {
            requests.with_label_values(&[route, pool, class]).inc_by(count.load(Ordering::Relaxed));
        }
        for reason in Retry::ALL {
            let count = stats.retries[reason as usize].load(Ordering::Relaxed);
            retries.with_label_values(&[route, pool, reason.name()]).inc_by(count);
        }
        for (outcome, name) in Limited::ALL {
            let count = stats.limited[outcome as usize].load(Ordering::Relaxed);
            if count > 0 {
                limited.with_label_values(&[route, pool, name]).inc_by(count);
            }
        }
        let mut metric = stats.durations.metric();
        metric.set_label(vec![label("route", route), label("pool", pool)]);
        durations.mut_metric().push(metric);
    }
    Ok([requests.collect(), retries.collect(), limited.collect(), vec![durations]].concat())
}

fn upstreams(snapshot: &Snapshot) -> prometheus::Result<Vec<MetricFamily>> {
    const LABELS: &[&str] = &["pool", "upstream"];
    let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), LABELS);
    let counter = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), LABELS);
    let in_flight = gauge("lb_upstream_in_flight", "Requests in flight at an upstream.")?;
    let ejected = gauge("lb_upstream_ejected", "1 while an upstream is ejected.")?;
    let requests = counter("lb_upstream_requests_total", "Requests sent to an upstream.")?;
    let failures = counter("lb_upstream_failures_total", "Failures held against an upstream.")?;
    let connects = counter("lb_upstream_connects_total", "Connections opened to an upstream.")?;
    let ejections = counter("lb_ejections_total", "Times an upstream was ejected.")?;
    for pool in snapshot.pools.values() {
        for upstream in pool.members().iter().map(|member| &member.upstream) {
            let labels = &[pool.name.as_str(), upstream.id.as_str()];
            in_flight.with_label_values(labels).set(i64::from(upstream.in_flight()));
            ejected.with_label_values(labels).set(i64::from(upstream.is_ejected()));
            let counters = &upstream.counters;
            for (family, value) in [
                (&requests, &counters.requests),
                (&failures, &counters.failures),
                (&connects, &counters.connects),
                (&ejections, &counters.ejections),
            ] {
                family.with_label_values(labels).inc_by(value.load(Ordering::Relaxed));
            }
        }
    }
    let gauges = [in_flight.collect(), ejected.collect()].concat();
    let counters = [requests, failures, connects, ejections].map(|family| family.collect()).concat();
    Ok([gauges, counters].concat())
}

pub(crate) fn label(name: &str, value: &str) -> prometheus::proto::LabelPair {
    let mut pair = prometheus::proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Collector for StateCollector {
    /// None: the series come and go with what they tell of.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families().unwrap_or_else(|error| {
            tracing::error!(%error, "the figures cannot be collected");
            Vec::new()
        })
    }
}
