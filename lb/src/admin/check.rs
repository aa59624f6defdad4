//! What `/status` says about the checks of an upstream.

use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use crate::proxy::check::Role;
use crate::proxy::check::record::{RESULTS, index};
use crate::proxy::state::upstream::Upstream;

/// The checks of one upstream.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CheckStatus {
    /// What is asked.
    ask: &'static str,
    /// Asked all the time, and not only while it is ejected.
    active: bool,
    /// Left to other balancers: asked by this one only while it has found trouble with it.
    elsewhere: bool,
    /// What it is for as the last check that passed found it: `any`, `writer`, or `standby`, which takes no writes; none
    /// while nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// The last check; none if there was none yet.
    last: Option<LastCheck>,
}

/// One check.
#[derive(Debug, Serialize, ToSchema)]
struct LastCheck {
    /// Whether it was answered well.
    passed: bool,
    /// What it came to, as in `lb_upstream_checks_total`.
    result: &'static str,
    /// Why it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// So many in a row passed, or did not.
    in_a_row: u32,
    /// How long ago it ended, in milliseconds.
    ago_ms: u64,
    /// How long it took, in milliseconds.
    took_ms: f64,
}

impl CheckStatus {
    pub(super) fn of(upstream: &Upstream) -> Self {
        let policy = upstream.policy();
        let last = upstream.health.checks.last().map(|last| LastCheck {
            passed: last.outcome.is_ok(),
            result: RESULTS[index(last.outcome)],
            reason: last.outcome.err().map(|fault| fault.to_string()),
            in_a_row: last.in_a_row,
            ago_ms: u64::try_from(Instant::now().saturating_duration_since(last.at).as_millis())
                .unwrap_or(u64::MAX),
            took_ms: last.took.as_secs_f64() * 1e3,
        });
        let standing = upstream.health.checks.standing(policy.check.fall);
        CheckStatus {
            ask: policy.check.ask.name(),
            active: policy.check.active,
            elsewhere: upstream.health.checks.is_left_to_others(),
            role: standing.and_then(Result::ok).map(Role::name),
            last,
        }
    }
}
