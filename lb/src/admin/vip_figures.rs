//! The speaker's figures for Prometheus. The speaker is another process, so the one who answers a scrape
//! asks it first and leaves the answer here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts};
use wire::vip::{RouterState, VipStatus};

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
        let dropped = IntCounterVec::new(
            Opts::new("lb_vip_packets_dropped_total", "Received VRRP packets that were dropped, by kind."),
            &["kind"],
        )?;
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
        }
        for (kind, count) in &status.dropped {
            dropped.with_label_values(&[kind]).inc_by(*count);
        }
        let counters = [sent, received, transitions, taken, dropped].map(|family| family.collect()).concat();
        Ok([counters, holds.collect(), priority.collect()].concat())
    }
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
    use wire::vip::{RouterCounters, RouterStatus};

    use super::*;

    #[test]
    fn a_scrape_shows_what_the_speaker_said_last() {
        let registry = prometheus::Registry::new();
        let figures = VipFigures::new().expect("valid");
        registry.register(Box::new(figures.clone())).expect("registered");
        let router = RouterStatus {
            address: [10, 0, 0, 1].into(),
            vrid: 50,
            state: RouterState::Master,
            priority: 240,
            holder: None,
            reason: String::new(),
            for_ms: 0,
            counters: RouterCounters { adverts_sent: 7, ..RouterCounters::default() },
        };
        let dropped = [("ttl".to_owned(), 3)].into();
        figures.update(Some(VipStatus { routers: vec![router], dropped }));
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        for line in [
            "lb_vip_adverts_sent_total{address=\"10.0.0.1\",vrid=\"50\"} 7",
            "lb_vip_holds{address=\"10.0.0.1\",vrid=\"50\"} 1",
            "lb_vip_packets_dropped_total{kind=\"ttl\"} 3",
        ] {
            assert!(text.contains(line), "{line} not in {text}");
        }
        figures.update(None);
        assert!(registry.gather().is_empty());
    }
}
