//! Refuses what of a pool's policy cannot be used to balance by, naming the field.

use wire::Problem;
use wire::balancing::{Balance, HashKey, Outlier, Sticky, UpstreamLimits};
use wire::overrides::{Override, Overrides};
use wire::proxy_config::PoolPolicy;

use super::check::{Checked, MAX_MILLIS, MAX_NAME, MAX_WEIGHT, ensure};

/// The lengths a key for signing may have, in bytes: no less than what HMAC-SHA256 gives (RFC 2104,
/// section 3).
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=256;

/// The longest name of a cookie or header field.
const MAX_TOKEN: usize = 100;

/// The most machines that people may have told something about.
const MAX_OVERRIDES: usize = 10_000;

/// The most of anything an upstream may be given.
const MAX_COUNT: u32 = 1_000_000;

/// Clients forget a cookie after 400 days at the latest (RFC 6265bis, section 5.5).
const MAX_AGE: u64 = 400 * 86_400;

/// Whether the parts of `policy` that balance can be used.
///
/// # Errors
///
/// A problem of 400 that names the first field that cannot.
pub(super) fn policy(policy: &PoolPolicy, place: &str) -> Checked {
    balance(&policy.balance, &format!("{place}.balance"))?;
    outlier(&policy.outlier, &format!("{place}.outlier"))?;
    limits(&policy.upstream_limits, &format!("{place}.upstream_limits"))
}

fn balance(balance: &Balance, place: &str) -> Checked {
    let Balance { algorithm: _, hash_key, sticky, slow_start_ms, zone_spill } = balance;
    match hash_key {
        HashKey::Client | HashKey::Path => {}
        HashKey::Header(name) => is_token(name, &format!("{place}.hash_key.header"))?,
        HashKey::Cookie(name) => is_token(name, &format!("{place}.hash_key.cookie"))?,
    }
    ensure(*slow_start_ms <= MAX_MILLIS, &format!("{place}.slow_start_ms"), || {
        format!("expected 0 to {MAX_MILLIS} milliseconds")
    })?;
    ensure((1.0..=1_000.0).contains(zone_spill), &format!("{place}.zone_spill"), || {
        "expected 1 to 1000 times as busy".to_owned()
    })?;
    sticky.as_ref().map_or(Ok(()), |sticky| self::sticky(sticky, &format!("{place}.sticky")))
}

fn sticky(sticky: &Sticky, place: &str) -> Checked {
    let Sticky { cookie, key, previous_key, max_age_seconds, secure: _ } = sticky;
    is_token(cookie, &format!("{place}.cookie"))?;
    for (name, key) in [("key", Some(key)), ("previous_key", previous_key.as_ref())] {
        let Some(key) = key else { continue };
        // The secret itself must not come back in the answer.
        ensure(KEY_BYTES.contains(&key.0.len()), &format!("{place}.{name}"), || {
            format!("expected {} to {} bytes, found {}", KEY_BYTES.start(), KEY_BYTES.end(), key.0.len())
        })?;
    }
    ensure(*max_age_seconds <= MAX_AGE, &format!("{place}.max_age_seconds"), || {
        format!("expected 0 to {MAX_AGE} seconds")
    })
}

fn outlier(outlier: &Outlier, place: &str) -> Checked {
    let Outlier { consecutive_5xx, failure_ratio, failure_min_requests, window_ms, panic_below } = outlier;
    ensure(*consecutive_5xx <= MAX_COUNT, &format!("{place}.consecutive_5xx"), || {
        format!("expected 0 to {MAX_COUNT}")
    })?;
    for (name, share) in [("failure_ratio", failure_ratio), ("panic_below", panic_below)] {
        ensure((0.0..=1.0).contains(share), &format!("{place}.{name}"), || "expected 0 to 1".to_owned())?;
    }
    ensure((1..=MAX_COUNT).contains(failure_min_requests), &format!("{place}.failure_min_requests"), || {
        format!("expected 1 to {MAX_COUNT}")
    })?;
    ensure((100..=3_600_000).contains(window_ms), &format!("{place}.window_ms"), || {
        "expected 100 to 3600000 milliseconds".to_owned()
    })
}

fn limits(limits: &UpstreamLimits, place: &str) -> Checked {
    let UpstreamLimits { max_requests, max_connections, max_pending, pending_timeout_ms } = limits;
    for (name, count, least) in [
        ("max_requests", max_requests, 1),
        ("max_connections", max_connections, 1),
        ("max_pending", max_pending, 0),
    ] {
        ensure((least..=MAX_COUNT).contains(count), &format!("{place}.{name}"), || {
            format!("expected {least} to {MAX_COUNT}")
        })?;
    }
    ensure((1..=MAX_MILLIS).contains(pending_timeout_ms), &format!("{place}.pending_timeout_ms"), || {
        format!("expected 1 to {MAX_MILLIS} milliseconds")
    })
}

/// Whether `overrides` can be used.
///
/// # Errors
///
/// As [`policy`].
pub(super) fn overrides(overrides: &Overrides) -> Checked {
    ensure(overrides.0.len() <= MAX_OVERRIDES, "machine", || {
        format!("there are {MAX_OVERRIDES} overrides already: clear some")
    })?;
    for (machine, order) in &overrides.0 {
        let fits = (1..=MAX_NAME).contains(&machine.0.len()) && !machine.0.contains(char::is_control);
        ensure(fits, "machine", || format!("expected a name of 1 to {MAX_NAME} bytes"))?;
        let Override { weight, mode } = order;
        ensure(weight.is_some() || mode.is_some(), "weight", || {
            "expected a weight or a mode; DELETE takes an override back".to_owned()
        })?;
        ensure(weight.is_none_or(|weight| (1..=MAX_WEIGHT).contains(&weight)), "weight", || {
            format!("expected 1 to {MAX_WEIGHT}; to send nothing there, use the mode `drain`")
        })?;
    }
    Ok(())
}

/// A token (RFC 9110, section 5.6.2), as names of header fields and cookies are.
pub(super) fn is_token(name: &str, field: &str) -> Result<(), Problem> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let fits = (1..=MAX_TOKEN).contains(&name.len()) && name.bytes().all(is_token);
    ensure(fits, field, || format!("expected a name of letters, digits, `-` and `_`, found {name:?}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bad_values_are_refused_with_their_place() {
        for (given, place) in [
            (json!({"balance": {"zone_spill": 0.5}}), "pools.p.balance.zone_spill"),
            (json!({"balance": {"hash_key": {"header": "a b"}}}), "pools.p.balance.hash_key.header"),
            (json!({"balance": {"hash_key": {"cookie": ""}}}), "pools.p.balance.hash_key.cookie"),
            (
                json!({"balance": {"sticky": {"cookie": "c;", "key": "k".repeat(32)}}}),
                "pools.p.balance.sticky.cookie",
            ),
            (json!({"balance": {"sticky": {"cookie": "c", "key": "short"}}}), "pools.p.balance.sticky.key"),
            (json!({"outlier": {"failure_ratio": 1.5}}), "pools.p.outlier.failure_ratio"),
            (json!({"outlier": {"window_ms": 0}}), "pools.p.outlier.window_ms"),
            (json!({"upstream_limits": {"max_requests": 0}}), "pools.p.upstream_limits.max_requests"),
        ] {
            let given: PoolPolicy = serde_json::from_value(given).expect("a policy");
            let problem = policy(&given, "pools.p").expect_err(place);
            assert_eq!(problem.parameter.as_deref(), Some(place));
            assert!(!problem.detail.contains("short"), "{}", problem.detail);
        }
        policy(&PoolPolicy::default(), "pools.p").expect("the defaults can be used");
    }
}
