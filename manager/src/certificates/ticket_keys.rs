//! The keys of session tickets through the hours, by the clock alone, so that managers that hold the same keys give
//! their balancers the same list.
//!
//! ```text
//!   made ──10 min: known everywhere──▶ new tickets are of it ──12 h, until the next one is──▶ only taken ──12 h──▶ gone
//! ```

use std::collections::BTreeSet;

use wire::balancing::Secret;
use wire::shared_secrets::TicketKey;

/// A key is used for so long before the next one is; in milliseconds, as all of these.
const ROTATE: u64 = 12 * HOUR;

/// A key is known for so long before the first ticket is of it.
const SPREAD: u64 = 10 * 60 * 1000;

/// A balancer takes a ticket for so long.
const TICKET: u64 = 12 * HOUR;

/// The clocks of two hosts may differ by so much.
const SKEW: u64 = HOUR;

/// The most keys: those that managers without each other made are merged, and a balancer takes 16.
const MOST: usize = 12;

const HOUR: u64 = 3_600_000;

/// Whether it is time to make the next key.
pub(super) fn due(keys: &BTreeSet<TicketKey>, now: u64) -> bool {
    keys.last().is_none_or(|newest| newest.made_unix_ms.saturating_add(ROTATE - SPREAD) <= now)
}

/// The keys that matter at `now`. What a clock that is far ahead has made does not.
pub(super) fn kept(keys: &BTreeSet<TicketKey>, now: u64) -> BTreeSet<TicketKey> {
    let mut kept: Vec<&TicketKey> =
        keys.iter().filter(|key| key.made_unix_ms <= now.saturating_add(SKEW)).collect();
    // All before the youngest whose predecessor's tickets have ended.
    let gone = |key: &&TicketKey| key.made_unix_ms.saturating_add(SPREAD + TICKET + SKEW) <= now;
    if let Some(oldest) = kept.iter().rposition(gone) {
        kept.drain(..oldest);
    }
    if kept.len() > MOST {
        kept.drain(..kept.len() - MOST);
    }
    kept.into_iter().cloned().collect()
}

/// The keys for balancers: that of new tickets, and then the others, the youngest first.
pub(super) fn given(keys: &BTreeSet<TicketKey>, now: u64) -> Vec<Secret> {
    let mut youngest_first: Vec<&TicketKey> = keys.iter().rev().collect();
    // Before the first one is known everywhere there is no other that would be.
    let used = youngest_first
        .iter()
        .position(|key| key.made_unix_ms.saturating_add(SPREAD) <= now)
        .or(youngest_first.len().checked_sub(1));
    if let Some(used) = used {
        youngest_first[..=used].rotate_right(1);
    }
    youngest_first.into_iter().map(|key| key.key.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_000 * HOUR;

    fn key(name: &str, made: u64) -> TicketKey {
        TicketKey { made_unix_ms: made, key: Secret(name.to_owned()) }
    }

    fn names(keys: &[Secret]) -> Vec<&str> {
        keys.iter().map(|key| key.0.as_str()).collect()
    }

    /// A year of one owner: what is used was known before, and is taken for as long as its tickets live.
    #[test]
    fn through_a_year_every_ticket_is_of_a_known_key_and_can_be_opened_until_it_ends() {
        const STEP: u64 = 5 * 60 * 1000;
        let mut keys = BTreeSet::new();
        let mut lists: Vec<(u64, Vec<Secret>)> = Vec::new();
        let (mut now, mut made) = (START, 0);
        while now < START + 365 * 24 * HOUR {
            if due(&keys, now) {
                keys.insert(key(&made.to_string(), now));
                made += 1;
            }
            keys = kept(&keys, now);
            let list = given(&keys, now);
            assert!((1..=4).contains(&list.len()), "{list:?}");
            // Another balancer may still have the list of some minutes ago.
            if let Some((_, before)) = lists.last() {
                assert!(before.contains(&list[0]), "used before it was known");
            }
            lists.push((now, list));
            now += STEP;
        }
        for pair in lists.windows((TICKET / STEP) as usize) {
            let used = &pair[0].1[0];
            assert!(pair.iter().all(|(_, list)| list.contains(used)), "a ticket outlived its key");
        }
        assert!((720..=760).contains(&made), "{made} keys in a year");
    }

    #[test]
    fn two_owners_at_once_end_with_one_list() {
        let [one, other] = [key("one", START), key("other", START + 5)].map(|key| BTreeSet::from([key]));
        let both: BTreeSet<_> = one.union(&other).cloned().collect();
        let later = START + SPREAD + 5;
        // New tickets are of the younger one once both are known; all that each gave out is taken.
        assert_eq!(names(&given(&both, START + 6)), ["one", "other"]);
        assert_eq!(names(&given(&both, later)), ["other", "one"]);
        assert!(!due(&both, later));
        let many: BTreeSet<_> = (0..40).map(|at| key(&at.to_string(), START + at)).collect();
        let most = kept(&many, later);
        assert!(most.len() == MOST && most.last() == many.last());
    }

    #[test]
    fn a_clock_far_ahead_makes_nobody_wait() {
        let keys = BTreeSet::from([key("now", START), key("ahead", START + SKEW + 1)]);
        assert_eq!(names(&given(&kept(&keys, START), START)), ["now"]);
        assert!(due(&BTreeSet::new(), START));
    }
}
