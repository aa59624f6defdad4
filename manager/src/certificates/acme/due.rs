//! When a certificate is got: the decision, by the clock and what is held.

use sha2::{Digest as _, Sha256};
use wire::shared_secrets::{Attempt, Issued};

/// After a failure it is tried again so much later, in milliseconds …
const AGAIN: u64 = 60_000;

/// … each time so many times as long: four attempts in the first hour, where public servers allow five …
const FACTOR: u64 = 4;

/// … up to this.
const AGAIN_MAX: u64 = 12 * 3_600_000;

/// Renewals are spread over this share of a certificate's life, before two thirds of it have passed, so that
/// those of one day do not all come at once.
const SPREAD: u64 = 20;

/// When the certificate `id` is to be got, in milliseconds since 1970-01-01 UTC, from the one that is held and what
/// became of the last attempt.
pub(super) fn due(id: &str, held: Option<&Issued>, last: Option<&Attempt>) -> u64 {
    let wanted = held.map_or(0, |held| renewal(id, held));
    let allowed = last.filter(|last| last.failures > 0).map_or(0, |last| again(id, last));
    wanted.max(allowed)
}

fn renewal(id: &str, held: &Issued) -> u64 {
    let begin = held.not_before_unix_s.saturating_mul(1_000);
    let life = held.not_after_unix_s.saturating_mul(1_000).saturating_sub(begin);
    begin.saturating_add(life / 3 * 2).saturating_sub(share_of(id, life / SPREAD))
}

fn again(id: &str, last: &Attempt) -> u64 {
    let wait = AGAIN.saturating_mul(FACTOR.saturating_pow(last.failures.saturating_sub(1))).min(AGAIN_MAX);
    last.ended_unix_ms.saturating_add(wait).saturating_add(share_of(id, wait / 4))
}

/// A part of `most` that is another for each certificate, and the same on all hosts.
fn share_of(id: &str, most: u64) -> u64 {
    let digest = Sha256::digest(id.as_bytes());
    let number = digest.iter().take(4).fold(0, |number, byte| (number << 8) | u64::from(*byte));
    ((u128::from(most) * u128::from(number)) >> 32).try_into().unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::super::super::pem::tests::made;
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn it_is_renewed_before_two_thirds_of_its_life_and_not_all_at_once() {
        let begin = 20_000 * DAY;
        let certificate = made(&["a.example"]);
        let held = Issued { certificate, not_before_unix_s: begin, not_after_unix_s: begin + 90 * DAY };
        assert_eq!(due("a", None, None), 0, "at once");
        let mut days: Vec<u64> = (0..100)
            .map(|at| (due(&format!("{at}.example"), Some(&held), None) / 1_000 - begin) * 10 / DAY)
            .collect();
        days.sort_unstable();
        days.dedup();
        assert!(days.first() >= Some(&555) && days.last() <= Some(&600), "tenths of days: {days:?}");
        assert!(days.len() > 20, "spread: {days:?}");
    }

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let failed = |failures| Attempt { ended_unix_ms: 0, failures, message: String::new() };
        let waits: Vec<u64> = (1..8).map(|failures| due("a", None, Some(&failed(failures)))).collect();
        for (wait, least) in waits.iter().zip([1, 4, 16, 64, 256, 720, 720].map(|minutes| minutes * 60_000)) {
            assert!((least..=least / 4 * 5).contains(wait), "{waits:?}");
        }
        assert_eq!(due("a", None, Some(&failed(0))), 0, "the last one was none");
        assert!(due("a", None, Some(&failed(u32::MAX))) <= AGAIN_MAX / 4 * 5);
    }
}
