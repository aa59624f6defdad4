//! What became of clients before their first request, counted, and of certificates when they are asked for.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use kit::seldom::Seldom;
use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, IntGauge, Opts};
use rustls::HandshakeKind;

use super::Tls;
use super::failure::Failure;

/// So many names of certificates have a series of their own.
const MAX_SERIES: usize = 1_000;

/// Counts.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    full: AtomicU64,
    resumed: AtomicU64,
    failures: [AtomicU64; Failure::ALL.len()],
    said: Seldom,
}

impl Stats {
    /// A handshake was done.
    pub(crate) fn shaken(&self, kind: Option<HandshakeKind>) {
        let count = if kind == Some(HandshakeKind::Resumed) { &self.resumed } else { &self.full };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// `peer` is not served; strangers can cause it, so it is not logged as often as they like.
    pub(crate) fn failed(&self, failure: Failure, peer: IpAddr, error: Option<&io::Error>) {
        self.failures[failure as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(unsaid) = self.said.due() {
            let error = error.map(ToString::to_string).unwrap_or_default();
            tracing::info!(%peer, reason = failure.name(), error, unsaid, "a client is not served");
        }
    }
}

/// All figures of TLS.
///
/// # Errors
///
/// None: their names are constants.
pub(crate) fn families(tls: &Tls) -> prometheus::Result<Vec<MetricFamily>> {
    let handshakes = IntCounterVec::new(
        Opts::new("lb_tls_handshakes_total", "TLS handshakes with clients that were done."),
        &["kind"],
    )?;
    for (kind, count) in [("full", &tls.stats.full), ("resumed", &tls.stats.resumed)] {
        handshakes.with_label_values(&[kind]).inc_by(count.load(Ordering::Relaxed));
    }
    let failures = IntCounterVec::new(
        Opts::new("lb_client_failures_total", "Clients that were not served, before any request, by reason."),
        &["reason"],
    )?;
    for (failure, count) in Failure::ALL.iter().zip(&tls.stats.failures) {
        failures.with_label_values(&[failure.name()]).inc_by(count.load(Ordering::Relaxed));
    }
    let certificates = tls.certificates.load();
    let count = IntGauge::new("lb_certificates", "Certificates in use.")?;
    count.set(i64::try_from(certificates.count()).unwrap_or(i64::MAX));
    let ends = GaugeVec::new(
        Opts::new("lb_certificate_expires_timestamp_seconds", "When the certificate for a name expires."),
        &["name"],
    )?;
    for (name, end) in certificates.ends().into_iter().take(MAX_SERIES) {
        let seconds = end.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        ends.with_label_values(&[name]).set(seconds);
    }
    Ok([handshakes.collect(), failures.collect(), count.collect(), ends.collect()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_own_place_and_name() {
        let names: std::collections::BTreeSet<_> =
            Failure::ALL.iter().map(|failure| failure.name()).collect();
        assert_eq!(names.len(), Failure::ALL.len());
        for (at, failure) in Failure::ALL.iter().enumerate() {
            assert_eq!(*failure as usize, at);
        }
    }
}
