//! Handshakes with upstreams, counted.

use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use kit::seldom::Seldom;
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};
use rustls::HandshakeKind;

use super::failure::TlsFailure;

/// Those of the process: connections are opened where there is nothing that belongs to all of it.
static STATS: LazyLock<Stats> = LazyLock::new(Stats::default);

#[derive(Debug, Default)]
struct Stats {
    full: AtomicU64,
    resumed: AtomicU64,
    failures: [AtomicU64; TlsFailure::ALL.len()],
    said: Seldom,
}

/// A handshake was done.
pub(super) fn shaken(kind: Option<HandshakeKind>) {
    let count = if kind == Some(HandshakeKind::Resumed) { &STATS.resumed } else { &STATS.full };
    count.fetch_add(1, Ordering::Relaxed);
}

/// A handshake with the upstream at `address` failed. It is not logged as often as requests can cause it.
pub(crate) fn failed(failure: TlsFailure, address: SocketAddr, error: Option<&io::Error>) -> TlsFailure {
    STATS.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
    if let Some(unsaid) = STATS.said.due() {
        let error = error.map(ToString::to_string).unwrap_or_default();
        tracing::warn!(%address, reason = failure.name(), error, unsaid, "no TLS with an upstream");
    }
    failure
}

/// All figures of TLS with upstreams.
///
/// # Errors
///
/// None: their names are constants.
pub(crate) fn families() -> prometheus::Result<Vec<MetricFamily>> {
    let handshakes = IntCounterVec::new(
        Opts::new("lb_upstream_tls_handshakes_total", "TLS handshakes with upstreams that were done."),
        &["kind"],
    )?;
    for (kind, count) in [("full", &STATS.full), ("resumed", &STATS.resumed)] {
        handshakes.with_label_values(&[kind]).inc_by(count.load(Ordering::Relaxed));
    }
    let failures = IntCounterVec::new(
        Opts::new("lb_upstream_tls_failures_total", "TLS handshakes with upstreams that failed, by reason."),
        &["reason"],
    )?;
    for (failure, count) in TlsFailure::ALL.iter().zip(&STATS.failures) {
        failures.with_label_values(&[failure.name()]).inc_by(count.load(Ordering::Relaxed));
    }
    Ok([handshakes.collect(), failures.collect()].concat())
}
