//! Nines, and the error budget that a promise of them leaves.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Thirty days.
const MONTH_MS: f64 = 30.0 * 86_400_000.0;

/// What was promised, and how much of it is left.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Budget {
    /// The availability in nines: 99.9 % are 3. None where nothing failed, or nothing was sent.
    pub nines: Option<f64>,
    /// The availability that was promised (`--slo`).
    pub slo_percent: Option<f64>,
    /// How many of the intended requests might have failed.
    pub allowed: Option<f64>,
    /// How much of that did, in percent; more than 100 where the promise was broken.
    pub used_percent: Option<f64>,
    /// The longest outage as a share of all the time that a month of the promise may be without the service.
    pub longest_outage_month_percent: Option<f64>,
}

impl Budget {
    /// The budget of a run.
    #[allow(clippy::cast_precision_loss)]
    pub fn of(slo_percent: Option<f64>, intended: u64, failed: u64, longest_outage_ms: f64) -> Self {
        let share = failed as f64 / intended.max(1) as f64;
        let nines = (failed > 0 && intended > 0).then(|| share.log10().abs());
        let allowed = slo_percent.map(|slo| intended as f64 * (100.0 - slo) / 100.0);
        Budget {
            nines,
            slo_percent,
            allowed,
            used_percent: allowed.and_then(|allowed| used(failed as f64, allowed)),
            longest_outage_month_percent: slo_percent.and_then(|slo| month_percent(longest_outage_ms, slo)),
        }
    }
}

/// What share of a month's budget so much time is, in percent; none where the budget is nothing.
pub fn month_percent(outage_ms: f64, slo_percent: f64) -> Option<f64> {
    used(outage_ms, MONTH_MS * (100.0 - slo_percent) / 100.0)
}

fn used(cost: f64, budget: f64) -> Option<f64> {
    // Of no budget nothing can be a share.
    (budget > 0.0).then(|| cost / budget * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_leaves_a_budget() {
        let budget = Budget::of(Some(99.9), 100_000, 50, 2592.0);
        assert!((budget.used_percent.unwrap() - 50.0).abs() < 1e-6, "{budget:?}");
        assert!((budget.nines.unwrap() - 3.301).abs() < 1e-3);
        assert!((budget.longest_outage_month_percent.unwrap() - 0.1).abs() < 1e-6);
        let nothing = Budget::of(None, 10, 10, 5.0);
        assert_eq!(nothing.nines.map(|nines| nines.to_string()).as_deref(), Some("0"), "and not -0");
        let all = Budget::of(Some(100.0), 10, 1, 5.0);
        assert_eq!((all.used_percent, all.longest_outage_month_percent), (None, None));
        assert_eq!(Budget::of(None, 10, 0, 0.0), Budget::default());
    }
}
