//! Why an autoscaled service has as many machines as it has, for people: as comments of its definition.

use std::fmt::Write as _;
use std::time::Duration;

use wire::autoscale::{MetricView, ScalingChange, ScalingView};

/// `view` in lines that begin with `#`.
pub(super) fn scaled(view: &ScalingView) -> String {
    let ScalingView { decider, current, desired, metrics, reason, last_change } = view;
    let mut text = format!(
        "# {current} machines take requests, {desired} are to, as host {decider} decides: {reason}\n"
    );
    for MetricView { metric, value, target } in metrics {
        let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        // A String takes everything.
        let _ = writeln!(text, "#   {}: {value}, aimed at {target}", metric.as_str());
    }
    let changed = match last_change {
        None => "no change since that host decides".to_owned(),
        Some(ScalingChange { from, to, reason, ago_ms }) => {
            let ago = humantime::format_duration(Duration::from_secs(ago_ms / 1_000));
            format!("last change {ago} ago, from {from} to {to}: {reason}")
        }
    };
    text + "# " + &changed + "\n"
}

#[cfg(test)]
mod tests {
    use wire::autoscale::{MetricName, Milli};

    use super::*;

    #[test]
    fn people_read_what_is_wanted_and_why() {
        let metric = |metric, value, target| MetricView { metric, value, target };
        let view = ScalingView {
            decider: "a".into(),
            current: 5,
            desired: 6,
            metrics: vec![
                metric(MetricName::CpuPercent, Some(Milli::whole(84)), Milli::whole(70)),
                metric(MetricName::InFlight, None, Milli(500)),
            ],
            reason: "Cpu at 120% of its target".to_owned(),
            last_change: None,
        };
        let text = "# 5 machines take requests, 6 are to, as host a decides: Cpu at 120% of its target\n\
            #   cpu_percent: 84, aimed at 70\n#   in_flight: -, aimed at 0.5\n# no change since that host decides\n";
        assert_eq!(scaled(&view), text);
        let reason = "Cpu at 120% of its target".to_owned();
        let last_change = Some(ScalingChange { from: 5, to: 6, reason, ago_ms: 61_500 });
        let text = scaled(&ScalingView { last_change, ..view });
        assert!(
            text.ends_with("# last change 1m 1s ago, from 5 to 6: Cpu at 120% of its target\n"),
            "{text}"
        );
    }
}
