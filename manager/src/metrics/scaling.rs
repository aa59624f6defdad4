//! How many machines autoscaled services have, and why. Every manager tells it as the one that decides does: whoever adds
//! up takes the largest of each service.

use std::collections::BTreeMap;

use prometheus::{GaugeVec, IntGaugeVec, Opts};
use wire::PoolName;
use wire::autoscale::ScalingView;

use super::Adder;

/// The gauges of autoscaled services.
pub(super) struct ScalingGauges {
    desired: IntGaugeVec,
    ready: IntGaugeVec,
    metric: GaugeVec,
    target: GaugeVec,
}

impl ScalingGauges {
    pub(super) fn new(add: &Adder<'_>) -> prometheus::Result<Self> {
        let amounts =
            |name: &str, help: &str| add.add(GaugeVec::new(Opts::new(name, help), &["service", "metric"])?);
        Ok(ScalingGauges {
            desired: add.gauges(
                "manager_autoscale_desired_machines",
                "How many machines an autoscaled service is to have, over all hosts.",
                &["service"],
            )?,
            ready: add.gauges(
                "manager_autoscale_ready_machines",
                "How many machines of an autoscaled service take requests, over all hosts that are heard.",
                &["service"],
            )?,
            metric: amounts(
                "manager_autoscale_metric",
                "What was measured of a machine of an autoscaled service, on average; absent where nothing was.",
            )?,
            target: amounts("manager_autoscale_target", "What a metric of an autoscaled service is to be.")?,
        })
    }

    pub(super) fn set(&self, scalings: &BTreeMap<PoolName, ScalingView>) {
        for gauges in [&self.desired, &self.ready] {
            gauges.reset();
        }
        self.metric.reset();
        self.target.reset();
        for (service, view) in scalings {
            let service = service.as_str();
            self.desired.with_label_values(&[service]).set(view.desired.into());
            self.ready.with_label_values(&[service]).set(view.current.into());
            for metric in &view.metrics {
                let labels = [service, metric.metric.as_str()];
                if let Some(value) = metric.value {
                    self.metric.with_label_values(&labels).set(value.as_f64());
                }
                self.target.with_label_values(&labels).set(metric.target.as_f64());
            }
        }
    }
}
