//! From what was measured to how many machines that asks for (`replica_calculator.go`).

use std::collections::BTreeMap;

use super::{Machine, Metric, Reading, Rules, Stage, Target, Time};

/// What the metrics ask for.
pub(super) enum Wanted {
    /// So many machines; for which metric, in words.
    So { desired: u32, reason: String },
    /// That cannot be said; why.
    Unknown(String),
}

/// The machines by what can be said of them for one metric.
#[derive(Default)]
struct Groups {
    /// Of these there are readings to go by.
    ready: Vec<Reading>,
    /// Too young for their readings to mean anything.
    unready: Vec<Reading>,
    /// No reading came.
    missing: usize,
}

/// The largest number that one of the metrics asks for. Where one cannot be read, the others may ask for more
/// machines, but not for fewer.
pub(super) fn largest(now: Time, rules: &Rules, current: u32, machines: &[Machine]) -> Wanted {
    let mut best: Option<(u32, String)> = None;
    let mut unknown = Vec::new();
    for (metric, target) in &rules.targets {
        match wanted(now, rules, current, machines, *metric, *target) {
            Ok((desired, reason)) if best.as_ref().is_none_or(|(before, _)| desired > *before) => {
                best = Some((desired, reason));
            }
            Ok(_) => {}
            Err(reason) => unknown.push(reason),
        }
    }
    match best {
        Some((desired, reason)) if unknown.is_empty() || desired >= current => Wanted::So { desired, reason },
        _ => Wanted::Unknown(unknown.join("; ")),
    }
}

/// What each metric is, of the machines that there are readings of to go by.
pub(super) fn measured(now: Time, rules: &Rules, machines: &[Machine]) -> BTreeMap<Metric, u64> {
    let of = |(metric, target): (&Metric, &Target)| {
        Some((*metric, amount(&group(now, rules, machines, *metric).ready, *target)?))
    };
    rules.targets.iter().filter_map(of).collect()
}

fn wanted(
    now: Time,
    rules: &Rules,
    current: u32,
    machines: &[Machine],
    metric: Metric,
    target: Target,
) -> Result<(u32, String), String> {
    let Groups { mut ready, unready, missing } = group(now, rules, machines, metric);
    let before =
        ratio(&ready, target).ok_or_else(|| format!("{metric:?}: nothing was read of a ready machine"))?;
    let stays = |why: &str| Ok((current, format!("{metric:?} at {:.0}% of its target{why}", before * 100.0)));
    let counts_unready = !unready.is_empty() && before > 1.0;
    if missing == 0 && !counts_unready {
        if is_within(before, rules.tolerance) {
            return stays(", which is near enough");
        }
        return Ok((
            times(before, ready.len()),
            format!("{metric:?} at {:.0}% of its target", before * 100.0),
        ));
    }
    // Those of which nothing is known are given what argues against a change, so that its size is limited by them.
    let typical = ready.first().copied().map_or(0, |reading| reading.asked_for);
    let guess = |used: u64| Reading { used, asked_for: typical, at: now, window: std::time::Duration::ZERO };
    let against = match target {
        _ if before >= 1.0 => guess(0),
        // Of one that asked for less than its target nobody knows that it will not use all it asked for.
        Target::Utilization(percent) => guess(typical * u64::from(percent.max(100)) / 100),
        Target::Average(amount) => guess(amount),
    };
    if before != 1.0 {
        ready.extend(std::iter::repeat_n(against, missing));
    }
    if counts_unready {
        ready.extend(unready.iter().map(|reading| Reading { used: 0, ..*reading }));
    }
    let after = ratio(&ready, target).unwrap_or(before);
    let turned = (before < 1.0 && after > 1.0) || (before > 1.0 && after < 1.0);
    if is_within(after, rules.tolerance) || turned {
        return stays(", which those that are not known may change");
    }
    let desired = times(after, ready.len());
    if (after < 1.0 && desired > current) || (after > 1.0 && desired < current) {
        return stays(", and the other way counted by machines");
    }
    Ok((desired, format!("{metric:?} at {:.0}% of its target with those that are not known", after * 100.0)))
}

fn group(now: Time, rules: &Rules, machines: &[Machine], metric: Metric) -> Groups {
    let mut groups = Groups::default();
    for machine in machines {
        let reading = machine.readings.get(&metric);
        match (machine.stage, reading) {
            (Stage::Ended, _) => {}
            (Stage::Pending, reading) => {
                groups.unready.push(reading.copied().unwrap_or(unread(now, machines, metric)))
            }
            (Stage::Running { .. }, None) => groups.missing += 1,
            (Stage::Running { started, ready, since }, Some(reading)) => {
                let is_young = now < started + rules.cpu_initialization;
                let unready = metric == Metric::Cpu
                    && if is_young {
                        // Its reading is believed once all of it is from after it became ready.
                        !ready || reading.at < since + reading.window
                    } else {
                        // One that was ready once and is not now is burdened perhaps: it counts.
                        !ready && started + rules.initial_readiness_delay > since
                    };
                if unready { groups.unready.push(*reading) } else { groups.ready.push(*reading) }
            }
        }
    }
    groups
}

/// The place of a machine that was not started: it asked for what the others did.
fn unread(now: Time, machines: &[Machine], metric: Metric) -> Reading {
    let like = machines.iter().find_map(|machine| machine.readings.get(&metric));
    let asked_for = like.map_or(0, |reading| reading.asked_for);
    Reading { used: 0, asked_for, at: now, window: std::time::Duration::ZERO }
}

/// What there is by what there should be; none where there is nothing to go by.
fn ratio(readings: &[Reading], target: Target) -> Option<f64> {
    let current = amount(readings, target)?;
    let target = match target {
        Target::Utilization(percent) => u64::from(percent),
        Target::Average(amount) => amount,
    };
    (target > 0).then(|| current as f64 / target as f64)
}

/// What there is, in the terms of `target`; none where there is nothing to go by.
fn amount(readings: &[Reading], target: Target) -> Option<u64> {
    let used: u64 = readings.iter().map(|reading| reading.used).sum();
    match target {
        Target::Utilization(_) => {
            let asked_for: u64 = readings.iter().map(|reading| reading.asked_for).sum();
            used.saturating_mul(100).checked_div(asked_for)
        }
        Target::Average(_) => used.checked_div(readings.len() as u64),
    }
}

fn is_within(ratio: f64, tolerance: f64) -> bool {
    (1.0 - tolerance..=1.0 + tolerance).contains(&ratio)
}

fn times(ratio: f64, machines: usize) -> u32 {
    // As many as the float has; what is beyond is cut to the most anyway.
    (ratio * machines as f64).ceil().min(f64::from(u32::MAX)) as u32
}
