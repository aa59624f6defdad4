//! Figures for Prometheus about checks. An upstream that was never checked has none, and a fault none before it
//! came up: there may be thousands of upstreams.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts};

use super::super::state::snapshot::Snapshot;
use super::record::{PASSED, RESULTS};

/// The figures of `snapshot`.
pub(crate) fn families(snapshot: &Snapshot) -> prometheus::Result<Vec<MetricFamily>> {
    let total = IntCounterVec::new(
        Opts::new("lb_upstream_checks_total", "Checks of an upstream, by what they came to."),
        &["pool", "upstream", "result"],
    )?;
    let passing = IntGaugeVec::new(
        Opts::new("lb_upstream_check_passing", "1 while the last check of an upstream passed."),
        &["pool", "upstream"],
    )?;
    let took = GaugeVec::new(
        Opts::new("lb_upstream_check_duration_seconds", "How long the last check of an upstream took."),
        &["pool", "upstream"],
    )?;
    let asked = IntGaugeVec::new(
        Opts::new(
            "lb_pool_checked_upstreams",
            "Upstreams that this balancer checks all the time; the rest of the pool is left to other balancers.",
        ),
        &["pool"],
    )?;
    for pool in snapshot.pools.values() {
        if pool.policy.check.active {
            let own = pool.members().iter().filter(|member| !member.checked_elsewhere).count();
            let own = i64::try_from(own).unwrap_or(i64::MAX);
            asked.with_label_values(&[pool.name.as_str()]).set(own);
        }
        for upstream in pool.members().iter().map(|member| &member.upstream) {
            let Some(last) = upstream.health.checks.last() else { continue };
            let (name, id) = (pool.name.as_str(), upstream.id.as_str());
            for (index, result) in RESULTS.iter().enumerate() {
                let count = upstream.health.checks.count(index);
                if index == PASSED || count > 0 {
                    total.with_label_values(&[name, id, result]).inc_by(count);
                }
            }
            passing.with_label_values(&[name, id]).set(last.outcome.is_ok().into());
            took.with_label_values(&[name, id]).set(last.took.as_secs_f64());
        }
    }
    Ok([total.collect(), passing.collect(), took.collect(), asked.collect()].concat())
}
