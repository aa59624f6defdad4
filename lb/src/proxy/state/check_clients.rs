//! Refuses rules for clients that cannot be used, naming the field.

use wire::clients::Network;
use wire::rates::{Rate, RateKey, RateLimit};

use super::check::{Checked, at_most, ensure};
use super::check_routes::is_header_name;

/// The most networks in a list.
const MAX_NETWORKS: usize = 10_000;

/// The most limits in one place.
const MAX_LIMITS: usize = 8;

/// The longest that a request may be made to wait, in milliseconds.
const MAX_DELAY: u64 = 60_000;

/// The most that a limit may remember. Each takes 16 bytes or, with its table's reserve, up to 40.
const MAX_KEYS: u32 = 1_000_000;

/// Whether this list at `place` can be used.
///
/// # Errors
///
/// A problem of 400 that names it.
pub(super) fn networks(networks: &[Network], place: &str) -> Checked {
    at_most(networks.len(), MAX_NETWORKS, place)
}

/// Whether these, in what `prefix` names, can be used.
///
/// # Errors
///
/// A problem of 400 that names the first field that cannot.
pub(super) fn limits(allow: &[Network], deny: &[Network], rates: &[RateLimit], prefix: &str) -> Checked {
    networks(allow, &format!("{prefix}allow"))?;
    networks(deny, &format!("{prefix}deny"))?;
    at_most(rates.len(), MAX_LIMITS, &format!("{prefix}rate_limits"))?;
    for (index, RateLimit { rate: _, burst, by, delay_ms, keys }) in rates.iter().enumerate() {
        let field = |field: &str| format!("{prefix}rate_limits[{index}].{field}");
        let most = Rate::MAX_REQUESTS;
        let fits = burst.is_none_or(|burst| (1..=most).contains(&burst));
        ensure(fits, &field("burst"), || format!("expected 1 to {most} requests"))?;
        ensure(*delay_ms <= MAX_DELAY, &field("delay_ms"), || {
            format!("expected 0 to {MAX_DELAY} milliseconds")
        })?;
        ensure((1..=MAX_KEYS).contains(keys), &field("keys"), || format!("expected 1 to {MAX_KEYS}"))?;
        match by {
            RateKey::Client | RateKey::All => {}
            RateKey::Header(name) => is_header_name(name, &field("by.header"))?,
            RateKey::Cookie(name) => is_header_name(name, &field("by.cookie"))?,
        }
    }
    Ok(())
}
