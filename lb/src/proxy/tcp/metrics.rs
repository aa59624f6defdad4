//! Figures for Prometheus about the TCP services. Labels are bounded: services are those of the configuration, ways to end
//! a list.

use prometheus::core::Collector as _;
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use super::super::metrics::{label, signed};
use super::Tcp;
use super::ended::Ended;
use super::stats::FAILURES;

/// The figures of `tcp`; none where there are no services.
///
/// # Errors
///
/// Never: names and labels are constants that are valid together.
pub(crate) fn families(tcp: &Tcp) -> prometheus::Result<Vec<MetricFamily>> {
    let counter = |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
    let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["service"]);
    let listening =
        gauge("lb_tcp_listening", "1 while the port of a TCP service is open, 0 while it cannot be.")?;
    let open = gauge("lb_tcp_connections_open", "Connections of a TCP service that are open.")?;
    let accepted =
        counter("lb_tcp_connections_accepted_total", "Connections of a TCP service so far.", &["service"])?;
    let ended = counter(
        "lb_tcp_connections_total",
        "Connections of a TCP service that have ended, by how.",
        &["service", "ended"],
    )?;
    let bytes = counter(
        "lb_tcp_bytes_total",
        "Bytes that a TCP service had from its clients (received) and passed on to them (sent).",
        &["service", "way"],
    )?;
    let failures = counter(
        "lb_tcp_connect_failures_total",
        "Connections to upstreams that were not to be had; the next one was tried.",
        &["service", "reason"],
    )?;
    let mut durations: Option<MetricFamily> = None;
    let services = tcp.services();
    for service in services.all() {
        let (name, stats) = (service.described.name.as_str(), &service.stats);
        let is_open = tcp.fault(service).is_none();
        listening.with_label_values(&[name]).set(i64::from(is_open));
        open.with_label_values(&[name]).set(signed(stats.open()));
        accepted.with_label_values(&[name]).inc_by(stats.accepted());
        for way in Ended::ALL {
            let count = stats.ended(way);
            // The usual one is always there.
            if count > 0 || way == Ended::Closed {
                ended.with_label_values(&[name, way.name()]).inc_by(count);
            }
        }
        let (received, sent) = stats.bytes();
        bytes.with_label_values(&[name, "received"]).inc_by(received);
        bytes.with_label_values(&[name, "sent"]).inc_by(sent);
        for (reason, count) in FAILURES.iter().zip(stats.failures()) {
            failures.with_label_values(&[name, reason]).inc_by(count);
        }
        for mut family in stats.duration.collect() {
            for metric in family.mut_metric() {
                metric.set_label(vec![label("service", name)]);
            }
            match &mut durations {
                None => durations = Some(family),
                Some(all) => all.mut_metric().extend(family.take_metric()),
            }
        }
    }
    Ok([
        listening.collect(),
        open.collect(),
        accepted.collect(),
        ended.collect(),
        bytes.collect(),
        failures.collect(),
        durations.into_iter().collect(),
    ]
    .concat())
}
