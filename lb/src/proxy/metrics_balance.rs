//! Figures for Prometheus about what became of every attempt at an upstream, and about pools that are full.
//!
//! For each upstream `lb_attempts_total` over all outcomes and `lb_upstream_in_flight` add up to
//! `lb_upstream_requests_total`. Its labels are bounded: outcomes are a list, upstreams those of the set.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};

use super::metrics::CLASSES;
use super::observe::Observers;
use super::observe::otlp::Dropped;
use super::state::in_flight::Outcome;
use super::state::snapshot::Snapshot;

/// The figures of `snapshot`.
pub(crate) fn families(
    snapshot: &Snapshot,
    observers: Option<&Observers>,
) -> prometheus::Result<Vec<MetricFamily>> {
    let counter = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
    let gauge = |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
    let attempts = counter(
        "lb_attempts_total",
        "Attempts at an upstream that have ended, by what became of them.",
        &["pool", "upstream", "outcome"],
    )?;
    let answers = counter(
        "lb_upstream_answers_total",
        "Answers of an upstream by class.",
        &["pool", "upstream", "class"],
    )?;
    let heads = CounterVec::new(
        Opts::new(
            "lb_upstream_answer_seconds_total",
            "How long the heads of an upstream's answers took, together; all of lb_upstream_answers_total.",
        ),
        &["pool", "upstream"],
    )?;
    let open = gauge("lb_upstream_connections", "Connections open to an upstream.", &["pool", "upstream"])?;
    let panic = gauge(
        "lb_pool_panic",
        "1 while so few upstreams are in use that those that answer badly are used too.",
        &["pool"],
    )?;
    let waiting = gauge("lb_pool_waiting", "Requests that wait for room at an upstream.", &["pool"])?;
    let refused =
        counter("lb_pool_overloaded_total", "Requests refused because no upstream had room.", &["pool"])?;
    for pool in snapshot.pools.values() {
        let name = pool.name.as_str();
        for upstream in pool.members().iter().map(|member| &member.upstream) {
            let id = upstream.id.as_str();
            for outcome in Outcome::all() {
                let count = upstream.counters.outcomes(outcome);
                attempts.with_label_values(&[name, id, outcome.name()]).inc_by(count);
            }
            // No answer at all is no class of answers.
            for (class, label) in CLASSES.iter().enumerate().skip(1) {
                answers.with_label_values(&[name, id, label]).inc_by(upstream.counters.answers(class));
            }
            let (_, took_us) = upstream.counters.heads();
            heads.with_label_values(&[name, id]).inc_by(Duration::from_micros(took_us).as_secs_f64());
            open.with_label_values(&[name, id]).set(upstream.open_connections().into());
        }
        panic.with_label_values(&[name]).set(pool.signals().panic.into());
        waiting.with_label_values(&[name]).set(pool.lasting.queue.waiting().into());
        refused.with_label_values(&[name]).inc_by(pool.lasting.queue.refused());
    }
    let mut families =
        [attempts.collect(), answers.collect(), open.collect(), panic.collect(), waiting.collect()].concat();
    families.extend(refused.collect());
    families.extend(heads.collect());
    if let Some(log) = observers.and_then(Observers::log) {
        for (name, help, value) in [
            ("lb_access_log_lines_total", "Lines written to the access log.", log.written()),
            (
                "lb_access_log_dropped_total",
                "Lines that the disk was too slow for or refused.",
                log.dropped(),
            ),
        ] {
            let counter = IntCounter::new(name, help)?;
            counter.inc_by(value);
            families.extend(counter.collect());
        }
    }
    if let Some(spans) = observers.and_then(Observers::spans) {
        let sent = IntCounter::new("lb_spans_sent_total", "Spans that a collector took.")?;
        sent.inc_by(spans.sent());
        let dropped =
            counter("lb_spans_dropped_total", "Spans that did not arrive, by reason.", &["reason"])?;
        for why in Dropped::ALL {
            dropped.with_label_values(&[why.name()]).inc_by(spans.dropped(why));
        }
        families.extend([sent.collect(), dropped.collect()].concat());
    }
    Ok(families)
}
