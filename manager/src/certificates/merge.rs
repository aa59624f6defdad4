//! Makes one of what two managers hold. It does not matter who merges what in which order, and merging the same again
//! changes nothing: managers that meet hold the same afterwards.

use sha2::{Digest as _, Sha256};
use wire::shared_secrets::SharedSecrets;

use super::ticket_keys;

/// The shortest and the longest key for tickets, in bytes, as balancers take them.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=256;

/// What follows at `now` (in milliseconds since 1970-01-01 UTC) from what is `held` and what was `told`.
pub(super) fn merged(held: &SharedSecrets, told: &SharedSecrets, now: u64) -> SharedSecrets {
    let told_keys = told.ticket_keys.iter().filter(|key| KEY_BYTES.contains(&key.key.0.len()));
    let ticket_keys = held.ticket_keys.iter().chain(told_keys).cloned().collect();
    SharedSecrets { ticket_keys: ticket_keys::kept(&ticket_keys, now) }
}

/// SHA-256 of `secrets`, in hexadecimal.
pub(super) fn digest(secrets: &SharedSecrets) -> String {
    // Texts, numbers and ordered maps of them: they can always be written.
    let text = serde_json::to_vec(secrets).unwrap_or_default();
    hexadecimal(&Sha256::digest(&text))
}

/// `bytes` as text.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use wire::balancing::Secret;
    use wire::shared_secrets::TicketKey;

    use super::*;

    #[test]
    fn whoever_tells_whom_first_both_hold_the_same() {
        let now = 1_800_000_000_000;
        let with = |keys: &[&str]| SharedSecrets {
            ticket_keys: keys
                .iter()
                .map(|key| TicketKey { made_unix_ms: now - 7, key: Secret(key.repeat(32)) })
                .collect(),
        };
        let (a, b) = (with(&["1", "2"]), with(&["2", "3"]));
        let both = merged(&a, &b, now);
        assert_eq!(both, merged(&b, &a, now));
        assert_eq!(both, merged(&both, &a, now));
        assert_eq!(both.ticket_keys.len(), 3);
        assert_eq!(digest(&both), digest(&merged(&b, &a, now)));
        assert_ne!(digest(&both), digest(&a));
        // What a balancer would refuse is not taken from anybody.
        let mut broken = with(&[]);
        broken.ticket_keys.insert(TicketKey { made_unix_ms: now, key: Secret("short".to_owned()) });
        assert_eq!(merged(&a, &broken, now), a);
    }
}
