//! The speaker's figures for Prometheus. The speaker is another process, so the one who answers a scrape
//! asks it first and leaves the answer here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use wire::vip::{FAILOVER_BOUNDS_MS, Failovers, RouterState, VipStatus};

use crate::proxy::lock;

const LABELS: &[&str] = &["vrid", "address"];
const HOLDS: &str = "lb_vip_holds";
const HOLDS_HELP: &str = "1 while this balancer holds the VIP.";

/// What the speaker said last.
#[derive(Clone)]
pub(super) struct VipFigures {
    said: Arc<Mutex<VipStatus>>,
    /// The registry takes only one collector that describes nothing, and there is one already.
    description: Desc,
}

impl VipFigures {
    /// Nothing was said yet.
    ///
    /// # Errors
    ///
    /// Never: names and labels are constants that are valid together.
    pub(super) fn new() -> prometheus::Result<Self> {
        let labels = LABELS.iter().map(|label| (*label).to_owned()).collect();
        let description = Desc::new(HOLDS.to_owned(), HOLDS_HELP.to_owned(), labels, HashMap::new())?;
        Ok(VipFigures { said: Arc::default(), description })
    }

    /// Takes in what the speaker says now; where it did not answer, nothing is shown of it.
    pub(super) fn update(&self, status: Option<VipStatus>) {
        *lock(&self.said) = status.unwrap_or_default();
    }

    fn families(&self) -> prometheus::Result<Vec<MetricFamily>> {
        let counter = |name: &str, help: &str| IntCounterVec::new(Opts::new(name, help), LABELS);
        let sent = counter("lb_vip_adverts_sent_total", "VRRP adverts sent.")?;
        let received = counter("lb_vip_adverts_received_total", "VRRP adverts taken.")?;
        let transitions = counter("lb_vip_transitions_total", "Changes of a virtual router's state.")?;
        let taken = counter("lb_vip_taken_total", "Times this balancer became the holder of a VIP.")?;
        let holds = IntGaugeVec::new(Opts::new(HOLDS, HOLDS_HELP), LABELS)?;
        let priority = IntGaugeVec::new(Opts::new("lb_vip_priority", "The VRRP priority now."), LABELS)?;
        let announced = IntGaugeVec::new(
            Opts::new("lb_bgp_announced", "1 while the address is here, for a BGP daemon to announce."),
            &["address"],
        )?;
        let dropped = IntCounterVec::new(
            Opts::new("lb_vip_packets_dropped_total", "Received VRRP packets that were dropped, by kind."),
            &["kind"],
        )?;
        let mut failovers = Vec::new();
        let status = lock(&self.said);
        for router in &status.routers {
            let (vrid, address) = (router.vrid.to_string(), router.address.to_string());
            let labels = &[vrid.as_str(), address.as_str()];
            sent.with_label_values(labels).inc_by(router.counters.adverts_sent);
            received.with_label_values(labels).inc_by(router.counters.adverts_received);
            transitions.with_label_values(labels).inc_by(router.counters.transitions);
            taken.with_label_values(labels).inc_by(router.counters.became_master);
            holds.with_label_values(labels).set(i64::from(router.state == RouterState::Master));
            priority.with_label_values(labels).set(i64::from(router.priority));
            failovers.push(histogram(&router.counters.failovers, labels));
        }
        for one in &status.announced {
            announced.with_label_values(&[&one.address.to_string()]).set(i64::from(one.announced));
        }
        for (kind, count) in &status.dropped {
            dropped.with_label_values(&[kind]).inc_by(*count);
        }
        let counters = [sent, received, transitions, taken, dropped].map(|family| family.collect()).concat();
        let mut duration = MetricFamily::default();
        duration.set_name("lb_vip_failover_duration_seconds".to_owned());
        duration.set_help(
            "From the last word of a holder that was lost until the VIP was announced here, each time this balancer took its place."
                .to_owned(),
        );
        duration.set_field_type(MetricType::HISTOGRAM);
        duration.set_metric(failovers);
        Ok([counters, holds.collect(), priority.collect(), announced.collect(), vec![duration]].concat())
    }
}

/// The series of one virtual router. The speaker counts in another process, so there is nothing to observe here.
fn histogram(failovers: &Failovers, labels: &[&str]) -> Metric {
    let bucket = |(bound, count): (u64, u64)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(Duration::from_millis(bound).as_secs_f64());
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(FAILOVER_BOUNDS_MS.into_iter().zip(failovers.within).map(bucket).collect());
    histogram.set_sample_count(failovers.count);
    histogram.set_sample_sum(Duration::from_micros(failovers.sum_us).as_secs_f64());
    let label = |(name, value): (&&str, &&str)| {
        let mut label = LabelPair::default();
        label.set_name((*name).to_owned());
        label.set_value((*value).to_owned());
        label
    };
    let mut labels: Vec<_> = LABELS.iter().zip(labels).map(label).collect();
    labels.sort();
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

impl Collector for VipFigures {
    /// One for all: the series come and go with the speaker.
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.description]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.families().unwrap_or_else(|error| {
            tracing::error!(%error, "the figures of the VIPs cannot be collected");
            Vec::new()
        })
    }
}

#[cfg(test)]
mod tests {
    use wire::vip::{AnnouncedStatus, RouterCounters, RouterStatus};

    use super::*;

    #[test]
    fn a_scrape_shows_what_the_speaker_said_last() {
        let registry = prometheus::Registry::new();
        let figures = VipFigures::new().expect("valid");
        registry.register(Box::new(figures.clone())).expect("registered");
        let mut failovers = Failovers::default();
        failovers.count(Duration::from_millis(330));
        let router = RouterStatus {
            address: [10, 0, 0, 1].into(),
            vrid: 50,
            state: RouterState::Master,
            priority: 240,
            base: Some(240),
            holder: None,
            reason: String::new(),
            for_ms: 0,
            counters: RouterCounters { adverts_sent: 7, failovers, ..RouterCounters::default() },
        };
        let dropped = [("ttl".to_owned(), 3)].into();
        let announced = vec![AnnouncedStatus {
            address: [192, 0, 2, 1].into(),
            announced: true,
            reason: String::new(),
            for_ms: 0,
        }];
        figures.update(Some(VipStatus { routers: vec![router], announced, dropped }));
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        for line in [
            "lb_vip_adverts_sent_total{address=\"10.0.0.1\",vrid=\"50\"} 7",
            "lb_vip_holds{address=\"10.0.0.1\",vrid=\"50\"} 1",
            "lb_bgp_announced{address=\"192.0.2.1\"} 1",
            "lb_vip_failover_duration_seconds_bucket{address=\"10.0.0.1\",vrid=\"50\",le=\"0.25\"} 0",
            "lb_vip_failover_duration_seconds_bucket{address=\"10.0.0.1\",vrid=\"50\",le=\"0.5\"} 1",
            "lb_vip_failover_duration_seconds_bucket{address=\"10.0.0.1\",vrid=\"50\",le=\"+Inf\"} 1",
            "lb_vip_failover_duration_seconds_sum{address=\"10.0.0.1\",vrid=\"50\"} 0.33",
            "lb_vip_packets_dropped_total{kind=\"ttl\"} 3",
        ] {
            assert!(text.contains(line), "{line} not in {text}");
        }
        figures.update(None);
        assert!(registry.gather().is_empty());
    }
}
