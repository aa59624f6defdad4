//! Makes one of what two managers hold. It does not matter who merges what in which order, and merging the same again
//! changes nothing: managers that meet hold the same afterwards.

use std::cmp::{max, min};
use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use wire::shared_secrets::{AcmeChallenge, Issued, SharedSecrets};

use super::{acme, pem, ticket_keys};

/// The shortest and the longest key for tickets, in bytes, as balancers take them.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 32..=256;

/// The most challenges at a time, and the longest answer to one, in bytes.
const MAX_CHALLENGES: usize = 200;
const MAX_AUTHORIZATION: usize = 512;

/// A challenge is forgotten so long after its end, in milliseconds: nobody tells of it any more who knew it before
/// that. None ends later than that from now.
const FORGET: u64 = 600_000;

/// What became of attempts is forgotten after so long, in milliseconds.
const FORGET_ATTEMPT: u64 = 30 * 86_400_000;

/// What follows at `now` (in milliseconds since 1970-01-01 UTC) from what is `held` and what was `told`.
pub(super) fn merged(held: &SharedSecrets, told: &SharedSecrets, now: u64) -> SharedSecrets {
    let told_keys = told.ticket_keys.iter().filter(|key| KEY_BYTES.contains(&key.key.0.len()));
    let ticket_keys = held.ticket_keys.iter().chain(told_keys).cloned().collect();
    let new_issued = told.issued.iter().filter(|(id, one)| held.issued.get(*id) != Some(one));
    let good_issued = new_issued.filter(|(id, one)| is_as_it_says(id, one));
    let told_challenges = told.challenges.iter().filter(|(token, one)| is_challenge(token, one, now));
    let all = SharedSecrets {
        ticket_keys: ticket_keys::kept(&ticket_keys, now),
        accounts: both(&held.accounts, &told.accounts, max),
        issued: both(&held.issued, good_issued, longer),
        attempts: both(&held.attempts, &told.attempts, max),
        challenges: both(&held.challenges, told_challenges, min),
    };
    kept(all, now)
}

/// Those of `secrets` that matter at `now`.
pub(super) fn kept(mut secrets: SharedSecrets, now: u64) -> SharedSecrets {
    secrets.ticket_keys = ticket_keys::kept(&secrets.ticket_keys, now);
    secrets.issued.retain(|_, one| one.not_after_unix_s.saturating_mul(1_000) > now);
    secrets.attempts.retain(|_, one| one.ended_unix_ms.saturating_add(FORGET_ATTEMPT) > now);
    secrets.challenges.retain(|_, one| one.until_unix_ms.saturating_add(FORGET) > now);
    while secrets.challenges.len() > MAX_CHALLENGES {
        secrets.challenges.pop_last();
    }
    secrets
}

/// What either has; of what both have, the one that `choose` says.
fn both<'a, T: Clone + 'a>(
    held: &BTreeMap<String, T>,
    told: impl IntoIterator<Item = (&'a String, &'a T)>,
    choose: impl Fn(T, T) -> T,
) -> BTreeMap<String, T> {
    let mut all = held.clone();
    for (name, told) in told {
        let chosen = match all.remove(name) {
            Some(held) => choose(held, told.clone()),
            None => told.clone(),
        };
        all.insert(name.clone(), chosen);
    }
    all
}

/// The one that is good for longest; of two that are for as long any, but on both sides the same.
fn longer(one: Issued, other: Issued) -> Issued {
    let order =
        |issued: &Issued| (issued.not_after_unix_s, issued.not_before_unix_s, issued.certificate.clone());
    if order(&one) >= order(&other) { one } else { other }
}

/// Whether a balancer would take it, and it is for the names and the time that it is told for.
pub(super) fn is_as_it_says(id: &str, issued: &Issued) -> bool {
    let mut names = acme::names(id);
    names.sort_unstable();
    pem::look(&issued.certificate).is_ok_and(|facts| {
        facts.names == names
            && u64::try_from(facts.not_before) == Ok(issued.not_before_unix_s)
            && u64::try_from(facts.not_after) == Ok(issued.not_after_unix_s)
    })
}

/// Whether a balancer would take it: both are of the letters of base64url, and a point (RFC 8555, section 8.1).
pub(super) fn is_challenge(token: &str, challenge: &AcmeChallenge, now: u64) -> bool {
    let is_plain = |text: &str| {
        (1..=MAX_AUTHORIZATION).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    is_plain(token)
        && !token.contains('.')
        && is_plain(&challenge.key_authorization)
        && challenge.until_unix_ms <= now.saturating_add(FORGET)
        && challenge.certificate.as_ref().is_none_or(|certificate| pem::look(certificate).is_ok())
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
    use wire::certificates::Certificate;
    use wire::shared_secrets::{AcmeAccount, Attempt, TicketKey};

    use super::super::pem::tests::made;
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn whoever_tells_whom_first_both_hold_the_same() {
        let now = NOW;
        let with = |keys: &[&str]| SharedSecrets {
            ticket_keys: keys
                .iter()
                .map(|key| TicketKey { made_unix_ms: now - 7, key: Secret(key.repeat(32)) })
                .collect(),
            ..SharedSecrets::default()
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
    fn issued(names: &[&str], days: u64) -> (String, Issued) {
        let certificate = made(names);
        let facts = pem::look(&certificate).expect("usable");
        let seconds = |time| u64::try_from(time).expect("positive");
        let id = format!("https://acme.example/dir {}", facts.names.join(" "));
        let one = Issued {
            certificate,
            not_before_unix_s: seconds(facts.not_before),
            not_after_unix_s: seconds(facts.not_after) + days * 86_400,
        };
        (id, one)
    }

    #[test]
    fn two_orders_for_the_same_names_end_with_one_certificate_everywhere() {
        let now = crate::access::unix_ms();
        let [(id, one), (_, other), (_, lie)] =
            [0, 0, 1].map(|days| issued(&["b.example", "a.example"], days));
        let with = |one: &Issued, failures| SharedSecrets {
            issued: BTreeMap::from([(id.clone(), one.clone())]),
            attempts: BTreeMap::from([(
                id.clone(),
                Attempt { ended_unix_ms: now + u64::from(failures), failures, message: String::new() },
            )]),
            accounts: BTreeMap::from([(
                "dir".to_owned(),
                AcmeAccount { made_unix_ms: now - u64::from(failures), credentials: Secret("{}".to_owned()) },
            )]),
            ..SharedSecrets::default()
        };
        let (a, b) = (with(&one, 1), with(&other, 2));
        let both = merged(&a, &b, now);
        assert_eq!(both, merged(&b, &a, now));
        assert_eq!(both.issued.len(), 1);
        assert_eq!((both.attempts[&id].failures, both.accounts["dir"].made_unix_ms), (2, now - 1));
        // One that says that it is good for longer than it is, or for other names, is nobody's.
        assert_eq!(merged(&a, &with(&lie, 0), now).issued[&id], one);
        let elsewhere = SharedSecrets {
            issued: BTreeMap::from([("https://acme.example/dir c.example".to_owned(), one.clone())]),
            ..SharedSecrets::default()
        };
        assert_eq!(merged(&a, &elsewhere, now), a);
        assert!(merged(&a, &b, one.not_after_unix_s * 1_000).issued.is_empty(), "it has ended");
    }

    #[test]
    fn a_challenge_that_is_over_does_not_come_back() {
        let challenge = |until| AcmeChallenge {
            until_unix_ms: until,
            key_authorization: "token.thumb-print_".to_owned(),
            certificate: None,
        };
        let with = |until| SharedSecrets {
            challenges: BTreeMap::from([("token".to_owned(), challenge(until))]),
            ..SharedSecrets::default()
        };
        let over = merged(&with(NOW), &with(NOW + 300_000), NOW);
        assert_eq!(over.challenges["token"].until_unix_ms, NOW);
        assert_eq!(over, merged(&with(NOW + 300_000), &with(NOW), NOW));
        assert!(merged(&over, &SharedSecrets::default(), NOW + FORGET).challenges.is_empty());
        assert!(is_challenge("token", &challenge(NOW + FORGET), NOW));
        for (token, wrong) in [
            ("token", challenge(NOW + FORGET + 1)),
            ("../token", challenge(NOW)),
            ("to.ken", challenge(NOW)),
            ("", challenge(NOW)),
            ("token", AcmeChallenge { key_authorization: "{host}".to_owned(), ..challenge(NOW) }),
            ("token", AcmeChallenge { key_authorization: "a".repeat(513), ..challenge(NOW) }),
            (
                "token",
                AcmeChallenge {
                    certificate: Some(Certificate { chain: String::new(), ..made(&[]) }),
                    ..challenge(NOW)
                },
            ),
        ] {
            assert!(!is_challenge(token, &wrong, NOW), "{token} {wrong:?}");
        }
    }
}
