//! How many machines a service is to have: what people write (`[service.autoscale]`), what managers tell each other
//! of what machines use, and what is shown of the decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::{EndpointId, HostName, PoolName};

/// How a service's number of machines follows its load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoscaleSpec {
    /// Never fewer machines, over all hosts.
    pub min: u32,
    /// Never more.
    pub max: u32,
    /// The processors that one machine asks for, such as 0.1; `cpu_percent` is a share of this. Without it, its `vcpus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_request: Option<f64>,
    /// From one decision to the next, in milliseconds.
    #[serde(default = "default_sync_period_ms")]
    pub sync_period_ms: u64,
    /// So many per cent above or below a target change nothing.
    #[serde(default = "default_tolerance_percent")]
    pub tolerance_percent: u32,
    /// For so long after its start, a machine's processor counts only once all that was measured is from after it became
    /// ready, in milliseconds.
    #[serde(default = "default_cpu_initialization_ms")]
    pub cpu_initialization_ms: u64,
    /// A machine that ceased to be ready so soon after its start has never been, in milliseconds.
    #[serde(default = "default_initial_readiness_delay_ms")]
    pub initial_readiness_delay_ms: u64,
    /// What is aimed at. The metric that asks for the most machines decides.
    pub metrics: MetricTargets,
    /// How it grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScaleBehaviour>,
    /// How it shrinks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScaleBehaviour>,
}

/// What is aimed at, of each machine on average.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricTargets {
    /// Processor time, in per cent of `cpu_request`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<u32>,
    /// Memory, in per cent of `memory_mib`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<u32>,
    /// Requests that balancers send to a machine, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<f64>,
    /// Requests that a machine is working on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<f64>,
}

/// How the number changes in one direction. What it leaves out is as Kubernetes has it by default: up at once, by 4
/// machines or to twice as many in 15 s; down to what was needed within the last 300 s, then without a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScaleBehaviour {
    /// Of what was asked for within so many milliseconds, the most cautious counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stabilization_ms: Option<u64>,
    /// Which of several policies counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<PolicySelect>,
    /// By how much it may change within a time.
    #[serde(rename = "policy", skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<ScalePolicy>,
}

/// A bound on the change within a time: one of `machines` and `percent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalePolicy {
    /// So many machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machines: Option<u32>,
    /// So many per cent of those there were at the beginning of the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// The time, in milliseconds.
    pub period_ms: u64,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PolicySelect {
    /// The one that allows the largest change.
    #[default]
    Max,
    /// The one that allows the smallest.
    Min,
    /// None: no change in this direction.
    Disabled,
}

/// The usual `sync_period_ms`.
#[must_use]
pub fn default_sync_period_ms() -> u64 {
    15_000
}

fn default_tolerance_percent() -> u32 {
    10
}

fn default_cpu_initialization_ms() -> u64 {
    300_000
}

fn default_initial_readiness_delay_ms() -> u64 {
    30_000
}

/// An amount in thousandths, written as a number: 1.5 is 1500 of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Milli(pub u64);

impl Milli {
    /// So many whole ones.
    #[must_use]
    pub fn whole(count: u64) -> Self {
        Milli(count.saturating_mul(1_000))
    }

    /// The nearest to `amount`; none below zero.
    #[must_use]
    pub fn of(amount: f64) -> Self {
        // The float's own bounds: a negative amount and no number at all are 0.
        Milli((amount * 1_000.0).round() as u64)
    }

    /// As a float.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000, self.0 % 1_000);
        match rest {
            0 => write!(f, "{whole}"),
            rest => f.write_str(format!("{whole}.{rest:03}").trim_end_matches('0')),
        }
    }
}

impl Serialize for Milli {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for Milli {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Milli::of)
    }
}

/// What a machine of an autoscaled service uses, as its host's hypervisor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineUsage {
    /// Processors, on average over `window_ms`; none until there are two readings.
    #[schema(value_type = Option<f64>)]
    pub cpus: Option<Milli>,
    /// What `cpus` is an average of, in milliseconds.
    pub window_ms: u64,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// What managers tell each other so that one of them can decide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScalingTold {
    /// The autoscaled services that the host has defined, and could decide for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub services: BTreeSet<PoolName>,
    /// What it decided, while it is the one that decides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decided: BTreeMap<PoolName, ScalingView>,
    /// What the host's balancer sends to machines of such services, of this and other hosts. Machines that it sends
    /// nothing to are left out. None while its balancer runs and does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<BTreeMap<EndpointId, MachineTraffic>>,
}

impl ScalingTold {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == ScalingTold::default()
    }
}

/// What one balancer sends to one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineTraffic {
    /// Requests a second.
    #[schema(value_type = f64)]
    pub requests_per_s: Milli,
    /// Requests in flight, on average.
    #[schema(value_type = f64)]
    pub in_flight: Milli,
}

/// How many machines an autoscaled service has, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScalingView {
    /// The host whose manager decides.
    pub decider: HostName,
    /// How many machines are ready, over all hosts that are heard.
    pub current: u32,
    /// How many there are to be.
    pub desired: u32,
    /// What was measured, and what is aimed at.
    pub metrics: Vec<MetricView>,
    /// Why there are to be so many, in words.
    pub reason: String,
    /// The last change; none since this manager decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<ScalingChange>,
}

/// One metric of an autoscaled service: the average of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MetricView {
    /// Which.
    pub metric: MetricName,
    /// What was measured; none where nothing was.
    #[schema(value_type = Option<f64>)]
    pub value: Option<Milli>,
    /// What is aimed at.
    #[schema(value_type = f64)]
    pub target: Milli,
}

/// The metrics, as they are called in `metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// Processor time, in per cent of what was asked for.
    CpuPercent,
    /// Memory, in per cent.
    MemoryPercent,
    /// Requests a second.
    RequestsPerS,
    /// Requests in flight.
    InFlight,
}

impl MetricName {
    /// Its name in configurations and documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MetricName::CpuPercent => "cpu_percent",
            MetricName::MemoryPercent => "memory_percent",
            MetricName::RequestsPerS => "requests_per_s",
            MetricName::InFlight => "in_flight",
        }
    }
}

/// A change of how many machines there are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScalingChange {
    /// As many there were to be.
    pub from: u32,
    /// As many there are to be.
    pub to: u32,
    /// Why, in words.
    pub reason: String,
    /// How long ago, in milliseconds, when it was last decided.
    pub ago_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_are_written_as_numbers() {
        for (milli, text, json) in
            [(0, "0", "0.0"), (1_500, "1.5", "1.5"), (100, "0.1", "0.1"), (70_001, "70.001", "70.001")]
        {
            assert_eq!(Milli(milli).to_string(), text);
            assert_eq!(serde_json::to_string(&Milli(milli)).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Milli>(json).expect("a number"), Milli(milli));
        }
        assert_eq!(serde_json::from_str::<Milli>("7").expect("a number"), Milli::whole(7));
        assert_eq!(Milli::of(-1.0), Milli(0));
        assert_eq!(Milli::of(f64::NAN), Milli(0));
    }
}
