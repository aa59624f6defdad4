//! Figures for Prometheus about primaries. A pool that has none by its policy has no figures.

use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use super::super::state::snapshot::Snapshot;

/// The figures of `snapshot`.
pub(crate) fn families(snapshot: &Snapshot) -> prometheus::Result<Vec<MetricFamily>> {
    let primary = IntGaugeVec::new(
        Opts::new("lb_upstream_primary", "1 for the upstream that all connections of its pool go to."),
        &["pool", "upstream"],
    )?;
    let present = IntGaugeVec::new(
        Opts::new("lb_pool_has_primary", "1 while a pool with primary_only has a primary, else 0."),
        &["pool"],
    )?;
    let terms = IntCounterVec::new(
        Opts::new("lb_pool_primaries_total", "How often an upstream became the primary of its pool."),
        &["pool"],
    )?;
    for pool in snapshot.pools.values().filter(|pool| pool.policy.primary_only) {
        let (name, look) = (pool.name.as_str(), pool.lasting.primary.look());
        present.with_label_values(&[name]).set(look.present.is_some().into());
        terms.with_label_values(&[name]).inc_by(look.terms);
        if let Some((upstream, _)) = look.present {
            primary.with_label_values(&[name, upstream.id.as_str()]).set(1);
        }
    }
    Ok([primary.collect(), present.collect(), terms.collect()].concat())
}
