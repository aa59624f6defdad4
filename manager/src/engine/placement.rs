//! How the machines of a service with a `total` are divided among hosts: a pure function, which every manager computes
//! alike from the same facts.
//!
//! ```text
//!   hosts by rank:     b   d   a   c        the rank is a hash of service and host, so that what is left over
//!   third machines     9   .   .   .        after an even division is elsewhere for each service
//!   second machines    5   6   7   8
//!   first machines     1   2   3   4        machines are given out from below, row by row, where there is room
//! ```
//!
//! Who has which machine of the picture does not depend on other hosts: one that is lost leaves its places to
//! those that come next, and no other host loses any; one that comes takes places from the end (rendezvous hashing: Thaler
//! and Ravishankar, 1998).

use std::collections::BTreeMap;

use wire::placement::Spread;
use wire::{HostName, PoolName};

/// How many of `total` machines of `service` each of the hosts has. There are fewer than `total` of them together where
/// the hosts, each with room for so many machines, cannot take more.
pub fn shares(
    total: u32,
    candidates: &[(HostName, u32)],
    spread: Spread,
    service: &PoolName,
) -> BTreeMap<HostName, u32> {
    let most = |room: u32| match spread {
        Spread::Soft => room,
        Spread::Hard => room.min(1),
    };
    // Of a host that is named twice, the smaller room counts: it is in nobody's favour.
    let mut rooms: BTreeMap<&HostName, u32> = BTreeMap::new();
    for (host, room) in candidates {
        let known = rooms.entry(host).or_insert(u32::MAX);
        *known = most(*room).min(*known);
    }
    let placed = |rows: u32| rooms.values().map(|room| u64::from(*room.min(&rows))).sum::<u64>();
    let total = u64::from(total);
    // The number of rows that can be given out whole, which are at most `total`.
    let (mut rows, mut beyond) = (0, u32::try_from(total).unwrap_or(u32::MAX).saturating_add(1));
    while rows + 1 < beyond {
        let middle = rows + (beyond - rows) / 2;
        if placed(middle) <= total { rows = middle } else { beyond = middle }
    }
    let mut shares: BTreeMap<HostName, u32> =
        rooms.iter().map(|(host, room)| ((*host).clone(), *room.min(&rows))).collect();
    let mut left = total - placed(rows);
    let mut next: Vec<&HostName> =
        rooms.iter().filter(|(_, room)| **room > rows).map(|(host, _)| *host).collect();
    next.sort_by_key(|host| (rank(service, host), *host));
    for host in next {
        if left == 0 {
            break;
        }
        if let Some(share) = shares.get_mut(host) {
            *share += 1;
            left -= 1;
        }
    }
    shares
}

/// Where `host` stands among those that have what is left over. Every manager of every version has to come to the
/// same: FNV-1a, and the finisher of SplitMix64, because names that differ in their last letter only are common.
fn rank(service: &PoolName, host: &HostName) -> u64 {
    let bytes = service.as_str().bytes().chain([0]).chain(host.as_str().bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hosts(rooms: &[u32]) -> Vec<(HostName, u32)> {
        rooms.iter().enumerate().map(|(index, room)| (format!("h{index}").into(), *room)).collect()
    }

    fn of(total: u32, rooms: &[u32], spread: Spread) -> Vec<u32> {
        shares(total, &hosts(rooms), spread, &"web".into()).into_values().collect()
    }

    #[test]
    fn an_even_division_fills_small_hosts_and_leaves_the_rest_to_others() {
        assert_eq!(of(4, &[9, 9], Spread::Soft), [2, 2]);
        assert_eq!(of(9, &[1, 9, 9], Spread::Soft), [1, 4, 4]);
        assert_eq!(of(9, &[1, 2, 3], Spread::Soft), [1, 2, 3], "there is no room for more");
        assert_eq!(of(9, &[4, 0, 4], Spread::Hard), [1, 0, 1]);
        assert_eq!(of(0, &[4, 4], Spread::Soft), [0, 0]);
        assert_eq!(of(3, &[], Spread::Soft), Vec::<u32>::new());
        assert_eq!(
            of(u32::MAX, &[u32::MAX, u32::MAX, 7], Spread::Soft).into_iter().map(u64::from).sum::<u64>(),
            u64::from(u32::MAX)
        );
    }

    #[test]
    fn what_is_left_over_is_elsewhere_for_each_service() {
        let mut got = [0; 3];
        for number in 0..300 {
            let shares = shares(1, &hosts(&[9, 9, 9]), Spread::Soft, &format!("service-{number}").into());
            for (had, share) in got.iter_mut().zip(shares.into_values()) {
                *had += share;
            }
        }
        assert_eq!(got.iter().sum::<u32>(), 300);
        assert!(got.iter().all(|had| (70..130).contains(had)), "{got:?}");
    }

    #[test]
    fn every_version_comes_to_the_same() {
        // These are facts of clusters that run: were they others, an upgrade would move machines.
        let ranks = ["a", "b"].map(|host| rank(&"web".into(), &host.into()));
        assert_eq!(ranks, RANKS);
    }

    const RANKS: [u64; 2] = [0x65a4_544e_f9d6_eec5, 0x4cf8_8512_c717_8462];

    fn any_rooms() -> impl Strategy<Value = Vec<u32>> {
        proptest::collection::vec(0_u32..12, 0..9)
    }

    fn any_spread() -> impl Strategy<Value = Spread> {
        prop_oneof![Just(Spread::Soft), Just(Spread::Hard)]
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_host_has_more_than_its_room(
            total in 0_u32..60, rooms in any_rooms(), spread in any_spread(),
        ) {
            let shares = of(total, &rooms, spread);
            let room = |room: &u32| if spread == Spread::Hard { *room.min(&1) } else { *room };
            prop_assert_eq!(shares.iter().sum::<u32>(), total.min(rooms.iter().map(room).sum()));
            prop_assert!(shares.iter().zip(&rooms).all(|(share, had)| *share <= room(had)));
        }

        #[test]
        fn hosts_that_have_room_left_differ_by_one_at_most(total in 0_u32..60, rooms in any_rooms()) {
            let shares = of(total, &rooms, Spread::Soft);
            let most = shares.iter().max().copied().unwrap_or_default();
            for (share, room) in shares.iter().zip(&rooms) {
                prop_assert!(*share + 1 >= most || share == room, "{:?} of {:?}", shares, rooms);
            }
        }

        #[test]
        fn the_order_of_the_facts_does_not_matter(
            total in 0_u32..60, rooms in any_rooms(), spread in any_spread(), seed in any::<u64>(),
        ) {
            let one = hosts(&rooms);
            let mut other = one.clone();
            other.sort_by_key(|(host, _)| rank(&format!("{seed}").as_str().into(), host));
            let service = "web".into();
            prop_assert_eq!(shares(total, &one, spread, &service), shares(total, &other, spread, &service));
        }

        #[test]
        fn losing_a_host_moves_its_own_machines_only(
            total in 0_u32..60, rooms in any_rooms(), spread in any_spread(), lost in 0_usize..9,
        ) {
            let all = hosts(&rooms);
            let lost = all.get(lost).map(|(host, _)| host.clone());
            let left: Vec<_> = all.iter().filter(|(host, _)| Some(host) != lost.as_ref()).cloned().collect();
            let service = "web".into();
            let before = shares(total, &all, spread, &service);
            let after = shares(total, &left, spread, &service);
            for (host, share) in &after {
                prop_assert!(before[host] <= *share, "{:?} then {:?}", before, after);
            }
        }

        #[test]
        fn asking_for_more_takes_none_away(
            total in 0_u32..60, more in 0_u32..9, rooms in any_rooms(), spread in any_spread(),
        ) {
            let (before, after) = (of(total, &rooms, spread), of(total + more, &rooms, spread));
            prop_assert!(before.iter().zip(&after).all(|(before, after)| before <= after));
        }
    }
}
