//! In which order hosts are preferred for each address, computed alike by every host from what all of them know: the
//! addresses and the hosts.
//!
//! The first of each order make the spread while all balancers live. Those that follow are chosen so that what one
//! balancer had goes to all the others in equal parts when it dies, by the election alone: who has least when all
//! that stand before in the order are gone is the next. Choosing rank by rank works, because what the next in an order may
//! be weighed against is only who stands before it, whatever their order.

use std::collections::BTreeMap;

/// So many hosts of an order are weighed against each other; the others follow in turn. By then more balancers were lost at
/// once than there are priorities.
const WEIGHED: usize = 6;

/// For each address, of which the first hosts may be given, the order of all `hosts`, as indexes.
pub(super) fn orders<A: Ord + Copy>(
    hosts: usize,
    given: &BTreeMap<A, Vec<usize>>,
) -> BTreeMap<A, Vec<usize>> {
    let mut orders: Vec<(A, Vec<usize>)> = Vec::new();
    for (address, first) in given {
        let mut order: Vec<usize> = Vec::new();
        for host in first.iter().copied().filter(|host| *host < hosts) {
            if !order.contains(&host) {
                order.push(host);
            }
        }
        orders.push((*address, order));
    }
    for rank in 0..WEIGHED.min(hosts) {
        // How often each host was chosen for this rank: who was seldom comes first among those who have equally little.
        let mut chosen = vec![0; hosts];
        for (_, order) in &orders {
            if let Some(host) = order.get(rank) {
                chosen[*host] += 1;
            }
        }
        for at in 0..orders.len() {
            if orders[at].1.len() > rank {
                continue;
            }
            let gone = orders[at].1.clone();
            let load = loads(hosts, orders.iter().map(|(_, order)| order), &gone);
            let from = gone.first().copied().unwrap_or(at);
            let next = (0..hosts)
                .filter(|host| !gone.contains(host))
                .min_by_key(|host| (load[*host], chosen[*host], (host + hosts - from % hosts) % hosts));
            if let Some(next) = next {
                chosen[next] += 1;
                orders[at].1.push(next);
            }
        }
    }
    for (_, order) in &mut orders {
        let from = order.last().copied().unwrap_or(0);
        for step in 1..=hosts {
            let next = (from + step) % hosts;
            if !order.contains(&next) {
                order.push(next);
            }
        }
    }
    orders.into_iter().collect()
}

/// How many addresses each host has when those that are `gone` are: as far as the orders are known, the first that is left
/// has each.
pub(super) fn loads<'a>(
    hosts: usize,
    orders: impl Iterator<Item = &'a Vec<usize>>,
    gone: &[usize],
) -> Vec<usize> {
    let mut load = vec![0; hosts];
    for host in orders.filter_map(|order| order.iter().find(|host| !gone.contains(host))) {
        load[*host] += 1;
    }
    load
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spread(hosts: usize, orders: &BTreeMap<usize, Vec<usize>>, gone: &[usize]) -> usize {
        let load = loads(hosts, orders.values(), gone);
        let left = || (0..hosts).filter(|host| !gone.contains(host)).map(|host| load[host]);
        left().max().unwrap_or(0) - left().min().unwrap_or(0)
    }

    fn computed(hosts: usize, addresses: usize) -> BTreeMap<usize, Vec<usize>> {
        orders(hosts, &(0..addresses).map(|address| (address, Vec::new())).collect())
    }

    #[test]
    fn six_addresses_of_three_hosts() {
        let orders: Vec<Vec<usize>> = computed(3, 6).into_values().collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [1, 0, 2], [2, 1, 0]]);
    }

    #[test]
    fn what_people_said_stands_before_what_is_computed() {
        let given = BTreeMap::from([(0, vec![2, 1, 7, 2]), (1, vec![]), (2, vec![2])]);
        let orders = orders(3, &given);
        assert_eq!(orders[&0], [2, 1, 0], "who is not there is left out");
        assert_eq!((orders[&1][0], orders[&2][0]), (1, 2));
        assert_eq!(orders[&2][1], 0, "the other one of the third goes to the second");
    }

    proptest! {
        #[test]
        fn it_is_even_with_all_hosts_and_with_any_one_gone(hosts in 1..12usize, addresses in 0..60usize) {
            let orders = computed(hosts, addresses);
            prop_assert!(spread(hosts, &orders, &[]) <= 1);
            for gone in 0..hosts {
                if hosts > 1 {
                    prop_assert!(spread(hosts, &orders, &[gone]) <= 1, "{:?} without {}", orders, gone);
                }
            }
        }

        #[test]
        fn with_any_two_gone_nobody_has_all_of_theirs(hosts in 4..9usize, each in 2..6usize) {
            let orders = computed(hosts, hosts * each);
            for one in 0..hosts {
                for other in 0..one {
                    prop_assert!(spread(hosts, &orders, &[one, other]) <= 2, "{:?}", orders);
                }
            }
        }

        #[test]
        fn each_order_has_each_host_once(hosts in 1..70usize, addresses in 0..40usize, said in 0..70usize) {
            let mut given: BTreeMap<usize, Vec<usize>> = (0..addresses).map(|at| (at, Vec::new())).collect();
            given.insert(addresses, vec![said, said / 2]);
            for order in orders(hosts, &given).into_values() {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..hosts).collect::<Vec<_>>());
            }
        }
    }
}
