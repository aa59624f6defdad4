//! Refuses rules of autoscaling that could not be kept, and makes those of the engine of the others.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use wire::autoscale::{AutoscaleSpec, MetricTargets, Milli, PolicySelect, ScaleBehaviour, ScalePolicy};
use wire::service::ServiceSpec;

use super::{MAX_TOTAL, Misfit, ensure};
use crate::config::hardware::Hardware;
use crate::engine::autoscale::{Behaviour, Metric, Policy, Rules, Select, Step, Target};

/// From one decision to the next, in milliseconds: more often than machines are looked at decides nothing new.
const SYNC_MS: RangeInclusive<u64> = 1_000..=3_600_000;

/// The longest window of a behaviour, in milliseconds: an hour, as Kubernetes has it.
const MAX_WINDOW_MS: u64 = 3_600_000;

/// The periods of policies, in milliseconds: up to half an hour, as Kubernetes has it.
const PERIOD_MS: RangeInclusive<u64> = 1_000..=1_800_000;

/// The most policies of one direction.
const MAX_POLICIES: usize = 10;

/// The most per cent of a target or a policy.
const MAX_PERCENT: u32 = 10_000;

/// The most of a target that is an amount.
const MAX_AMOUNT: f64 = 1_000_000_000.0;

/// The smallest of a target that is an amount, and of `cpu_request`: it is counted in thousandths.
const MIN_AMOUNT: f64 = 0.001;

/// How a service follows its load, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Autoscale {
    /// The rules.
    pub rules: Rules,
    /// From one decision to the next.
    pub sync_period: Duration,
    /// The processors that a machine asks for.
    pub cpu_request: Milli,
    /// The memory that it has, in bytes.
    pub memory_bytes: u64,
}

/// The rules of `spec`, whose machines are made of `hardware`; none where people say how many there are.
pub(super) fn check(spec: &ServiceSpec, hardware: &Hardware) -> Result<Option<Autoscale>, Misfit> {
    let Some(said) = &spec.autoscale else { return Ok(None) };
    let AutoscaleSpec {
        min,
        max,
        cpu_request,
        sync_period_ms,
        tolerance_percent,
        cpu_initialization_ms,
        initial_readiness_delay_ms,
        metrics,
        scale_up,
        scale_down,
    } = said;
    ensure((1..=MAX_TOTAL).contains(min), "autoscale.min", || format!("expected 1 to {MAX_TOTAL}"))?;
    ensure((*min..=MAX_TOTAL).contains(max), "autoscale.max", || {
        format!("expected {min} (`min`) to {MAX_TOTAL}")
    })?;
    let Some(total) = spec.total else {
        let message = "only a `total` over all hosts follows the load: say `total` instead";
        return Err(Misfit::new("autoscale", message));
    };
    ensure(total == 0 || (*min..=*max).contains(&total), "total", || {
        format!("expected 0, or {min} to {max} as in `autoscale`: how many there are at first")
    })?;
    let is_amount = |amount: f64| (MIN_AMOUNT..=MAX_AMOUNT).contains(&amount);
    let vcpus = f64::from(hardware.vcpus);
    ensure(
        cpu_request.is_none_or(|asked| (MIN_AMOUNT..=vcpus).contains(&asked)),
        "autoscale.cpu_request",
        || format!("expected {MIN_AMOUNT} to {vcpus}, which are the `vcpus` of a machine"),
    )?;
    ensure(SYNC_MS.contains(sync_period_ms), "autoscale.sync_period_ms", || {
        format!("expected {} to {} milliseconds", SYNC_MS.start(), SYNC_MS.end())
    })?;
    ensure(*tolerance_percent < 100, "autoscale.tolerance_percent", || "expected 0 to 99".to_owned())?;
    for (name, millis) in [
        ("cpu_initialization_ms", cpu_initialization_ms),
        ("initial_readiness_delay_ms", initial_readiness_delay_ms),
    ] {
        ensure(*millis <= MAX_WINDOW_MS, &format!("autoscale.{name}"), || {
            format!("expected at most {MAX_WINDOW_MS} milliseconds")
        })?;
    }
    let MetricTargets { cpu_percent, memory_percent, requests_per_s, in_flight } = metrics;
    let mut targets = BTreeMap::new();
    for (name, metric, percent) in
        [("cpu_percent", Metric::Cpu, cpu_percent), ("memory_percent", Metric::Memory, memory_percent)]
    {
        let Some(percent) = percent else { continue };
        ensure((1..=MAX_PERCENT).contains(percent), &format!("autoscale.metrics.{name}"), || {
            format!("expected 1 to {MAX_PERCENT} per cent")
        })?;
        targets.insert(metric, Target::Utilization(*percent));
    }
    for (name, metric, amount) in
        [("requests_per_s", Metric::Requests, requests_per_s), ("in_flight", Metric::InFlight, in_flight)]
    {
        let Some(amount) = amount else { continue };
        ensure(is_amount(*amount), &format!("autoscale.metrics.{name}"), || {
            format!("expected {MIN_AMOUNT} to {MAX_AMOUNT}")
        })?;
        targets.insert(metric, Target::Average(Milli::of(*amount).0));
    }
    ensure(!targets.is_empty(), "autoscale.metrics", || {
        "expected at least one of `cpu_percent`, `memory_percent`, `requests_per_s` and `in_flight`"
            .to_owned()
    })?;
    let usual = Rules::new(*min, *max, targets);
    let rules = Rules {
        tolerance: f64::from(*tolerance_percent) / 100.0,
        cpu_initialization: Duration::from_millis(*cpu_initialization_ms),
        initial_readiness_delay: Duration::from_millis(*initial_readiness_delay_ms),
        up: behaviour(scale_up.as_ref(), "autoscale.scale_up", usual.up.clone())?,
        down: behaviour(scale_down.as_ref(), "autoscale.scale_down", usual.down.clone())?,
        ..usual
    };
    Ok(Some(Autoscale {
        rules,
        sync_period: Duration::from_millis(*sync_period_ms),
        cpu_request: Milli::of(cpu_request.unwrap_or(vcpus)),
        memory_bytes: u64::from(hardware.memory_mib) << 20,
    }))
}

fn behaviour(said: Option<&ScaleBehaviour>, field: &str, usual: Behaviour) -> Result<Behaviour, Misfit> {
    let Some(ScaleBehaviour { stabilization_ms, select, policies }) = said else { return Ok(usual) };
    ensure(
        stabilization_ms.is_none_or(|millis| millis <= MAX_WINDOW_MS),
        &format!("{field}.stabilization_ms"),
        || format!("expected at most {MAX_WINDOW_MS} milliseconds"),
    )?;
    ensure(policies.len() <= MAX_POLICIES, &format!("{field}.policy"), || {
        format!("expected at most {MAX_POLICIES}")
    })?;
    let mut checked = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        checked.push(self::policy(policy, &format!("{field}.policy[{index}]"))?);
    }
    Ok(Behaviour {
        stabilization: stabilization_ms.map_or(usual.stabilization, Duration::from_millis),
        policies: if checked.is_empty() { usual.policies } else { checked },
        select: match select {
            None => usual.select,
            Some(PolicySelect::Max) => Select::Max,
            Some(PolicySelect::Min) => Select::Min,
            Some(PolicySelect::Disabled) => Select::Disabled,
        },
    })
}

fn policy(said: &ScalePolicy, field: &str) -> Result<Policy, Misfit> {
    let ScalePolicy { machines, percent, period_ms } = said;
    let one = || "expected one of `machines` and `percent`".to_owned();
    let step = match (machines, percent) {
        (Some(machines), None) => Step::Machines(*machines),
        (None, Some(percent)) => Step::Percent(*percent),
        (None, None) | (Some(_), Some(_)) => return Err(Misfit::new(field, one())),
    };
    let (name, amount, most) = match step {
        Step::Machines(machines) => ("machines", machines, MAX_TOTAL),
        Step::Percent(percent) => ("percent", percent, MAX_PERCENT),
    };
    ensure((1..=most).contains(&amount), &format!("{field}.{name}"), || format!("expected 1 to {most}"))?;
    ensure(PERIOD_MS.contains(period_ms), &format!("{field}.period_ms"), || {
        format!("expected {} to {} milliseconds", PERIOD_MS.start(), PERIOD_MS.end())
    })?;
    Ok(Policy { step, period: Duration::from_millis(*period_ms) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Service, check};
    use super::*;

    /// A shop with these rules beside `min`, `max` and a target for the processor.
    fn shop(rules: &Value) -> Result<Service, String> {
        let mut autoscale = json!({"min": 3, "max": 9, "metrics": {"cpu_percent": 70}});
        for (key, value) in rules.as_object().expect("an object") {
            autoscale[key] = value.clone();
        }
        service(&json!({"name": "shop", "total": 3, "vcpus": 2, "memory_mib": 256, "autoscale": autoscale}))
    }

    fn service(spec: &Value) -> Result<Service, String> {
        let spec = serde_json::from_value(spec.clone()).map_err(|error| error.to_string())?;
        check(spec, "/images".as_ref(), &[]).map_err(|misfit| format!("{}: {}", misfit.field, misfit.message))
    }

    #[test]
    fn what_is_left_out_is_as_kubernetes_has_it() {
        let autoscale = shop(&json!({})).expect("valid").autoscale.expect("it has rules");
        let targets: BTreeMap<_, _> = [(Metric::Cpu, Target::Utilization(70))].into();
        let expected = Autoscale {
            rules: Rules::new(3, 9, targets),
            sync_period: crate::engine::autoscale::SYNC_PERIOD,
            cpu_request: Milli::whole(2),
            memory_bytes: 256 << 20,
        };
        assert_eq!(autoscale, expected);
    }

    #[test]
    fn what_is_said_is_taken() {
        let rules = json!({
            "cpu_request": 0.1, "sync_period_ms": 2000, "tolerance_percent": 5, "cpu_initialization_ms": 10_000,
            "metrics": {"memory_percent": 80, "requests_per_s": 12.5, "in_flight": 3},
            "scale_up": {"stabilization_ms": 10_000, "select": "min",
                "policy": [{"machines": 2, "period_ms": 4000}, {"percent": 50, "period_ms": 60_000}]},
            "scale_down": {"select": "disabled"},
        });
        let Autoscale { rules, sync_period, cpu_request, .. } =
            shop(&rules).expect("valid").autoscale.expect("rules");
        assert_eq!((sync_period, cpu_request), (Duration::from_secs(2), Milli(100)));
        let targets = [
            (Metric::Memory, Target::Utilization(80)),
            (Metric::Requests, Target::Average(12_500)),
            (Metric::InFlight, Target::Average(3_000)),
        ];
        assert_eq!(rules.targets, targets.into());
        let usual = Rules::new(3, 9, targets.into());
        let policies = vec![
            Policy { step: Step::Machines(2), period: Duration::from_secs(4) },
            Policy { step: Step::Percent(50), period: Duration::from_secs(60) },
        ];
        assert_eq!(
            rules.up,
            Behaviour { stabilization: Duration::from_secs(10), policies, select: Select::Min }
        );
        assert_eq!(rules.down, Behaviour { select: Select::Disabled, ..usual.down });
        assert_eq!((rules.tolerance, rules.cpu_initialization), (0.05, Duration::from_secs(10)));
    }

    #[test]
    fn what_cannot_be_kept_is_refused_by_name() {
        for (rules, expected) in [
            (json!({"min": 0}), "autoscale.min: expected 1 to"),
            (json!({"max": 2}), "autoscale.max: expected 3 (`min`) to"),
            (json!({"max": 10_001}), "autoscale.max: expected 3"),
            (
                json!({"cpu_request": 0.0}),
                "autoscale.cpu_request: expected 0.001 to 2, which are the `vcpus`",
            ),
            (json!({"cpu_request": 2.5}), "autoscale.cpu_request: expected 0.001 to 2"),
            (json!({"sync_period_ms": 10}), "autoscale.sync_period_ms: expected 1000 to"),
            (json!({"tolerance_percent": 100}), "autoscale.tolerance_percent: expected 0 to 99"),
            (
                json!({"cpu_initialization_ms": 3_600_001}),
                "autoscale.cpu_initialization_ms: expected at most",
            ),
            (json!({"metrics": {}}), "autoscale.metrics: expected at least one of `cpu_percent`"),
            (json!({"metrics": {"cpu_percent": 0}}), "autoscale.metrics.cpu_percent: expected 1 to"),
            (json!({"metrics": {"in_flight": 0}}), "autoscale.metrics.in_flight: expected 0.001 to"),
            (json!({"metrics": {"requests_per_s": -1}}), "autoscale.metrics.requests_per_s: expected 0.001"),
            (json!({"metrics": {"cpu": 70}}), "unknown field `cpu`"),
            (
                json!({"scale_up": {"stabilization_ms": 3_600_001}}),
                "autoscale.scale_up.stabilization_ms: expected at",
            ),
            (
                json!({"scale_up": {"policy": [{"period_ms": 1000}]}}),
                "autoscale.scale_up.policy[0]: expected one of `machines` and `percent`",
            ),
            (
                json!({"scale_down": {"policy": [{"machines": 1, "percent": 1, "period_ms": 1000}]}}),
                "autoscale.scale_down.policy[0]: expected one of",
            ),
            (
                json!({"scale_down": {"policy": [{"machines": 0, "period_ms": 1000}]}}),
                "autoscale.scale_down.policy[0].machines: expected 1 to",
            ),
            (
                json!({"scale_down": {"policy": [{"percent": 10, "period_ms": 10}]}}),
                "autoscale.scale_down.policy[0].period_ms: expected 1000 to",
            ),
            (json!({"scale_down": {"select": "none"}}), "unknown variant `none`"),
        ] {
            let refused = shop(&rules).expect_err(&rules.to_string());
            assert!(refused.starts_with(expected), "{rules}: {refused}");
        }
        let autoscale = json!({"min": 1, "max": 2, "metrics": {"cpu_percent": 70}});
        for (count, expected) in [
            (json!({"replicas": 1}), "autoscale: only a `total`"),
            (json!({"endpoints": ["10.0.0.5:80"]}), "autoscale: only a `total`"),
            (json!({"total": 3}), "total: expected 0, or 1 to 2"),
        ] {
            let mut spec = count.clone();
            (spec["name"], spec["autoscale"]) = ("shop".into(), autoscale.clone());
            let refused = service(&spec).expect_err("not so");
            assert!(refused.starts_with(expected), "{count}: {refused}");
        }
    }
}
