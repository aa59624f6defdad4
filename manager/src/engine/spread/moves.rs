//! Which address is to be handed over next so that all are spread evenly again: a pure function of what the hosts tell of
//! their balancers, so that who decides it next goes on where the one before ended.
//!
//! 1. An address with an order that people said goes to the first host of it that can have it.
//! 2. Where one host has two more than another, it gives one to that.
//! 3. Where all is even, and would not be if one more balancer died, addresses go home, to the first of their
//!    orders, if that helps.
//!
//! Anything else stays where it is: each move is felt, if only as a few milliseconds. It comes to an end: 1 and 3 only bring
//! addresses home, and 2 takes none from there while another can go.

use std::net::IpAddr;

/// What is known of hosts and addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// How many hosts have a balancer that can hold addresses.
    pub(super) hosts: usize,
    /// In the order in which they are moved.
    pub(super) vips: Vec<Fact>,
}

/// One address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fact {
    pub(super) address: IpAddr,
    /// Which of the hosts has it; none where another one has, of which nothing else is known.
    pub(super) holder: Option<usize>,
    /// The priority of each host's balancer for it.
    pub(super) priorities: Vec<u8>,
    pub(super) kind: Kind,
}

/// Whether managers move an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// They leave it to the balancers.
    Left,
    /// They keep it at the first host of an order that people said.
    Said,
    /// They move it as far as evenness takes it.
    Spread,
}

/// One address is to go from one host to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    /// Which, as an index.
    pub(super) vip: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Fact {
    /// The host that is preferred, and would have it if only priorities decided.
    fn home(&self) -> Option<usize> {
        self.first_but(None)
    }

    /// Who takes it over when `gone` is gone: the highest priority, among equals the later host, as the higher address.
    fn first_but(&self, gone: Option<usize>) -> Option<usize> {
        let left = self.priorities.iter().enumerate().filter(|(host, _)| Some(*host) != gone);
        left.max_by_key(|(host, priority)| (**priority, *host)).map(|(host, _)| host)
    }

    fn is_home(&self) -> bool {
        self.holder.is_none() || self.holder == self.home()
    }

    fn goes_home(&self, vip: usize) -> Option<Move> {
        let (from, to) = (self.holder?, self.home()?);
        (from != to).then_some(Move { vip, from, to })
    }
}

impl Facts {
    /// What is to be moved first.
    pub(super) fn next(&self) -> Option<Move> {
        self.said().or_else(|| self.leveling()).or_else(|| self.homing())
    }

    /// Who has each address when all that is to be moved is.
    pub(super) fn settled(&self) -> Vec<Option<usize>> {
        let mut facts = self.clone();
        // Each address moves twice at the most.
        for _ in 0..=2 * facts.vips.len() {
            let Some(Move { vip, to, .. }) = facts.next() else { break };
            facts.vips[vip].holder = Some(to);
        }
        facts.vips.into_iter().map(|vip| vip.holder).collect()
    }

    fn said(&self) -> Option<Move> {
        let said = self.vips.iter().enumerate().filter(|(_, vip)| vip.kind == Kind::Said);
        said.filter_map(|(at, vip)| vip.goes_home(at)).next()
    }

    fn leveling(&self) -> Option<Move> {
        let load = self.load(None);
        let moves =
            self.vips.iter().enumerate().filter(|(_, vip)| vip.kind == Kind::Spread).flat_map(|(at, vip)| {
                let hosts = vip.holder.map_or(0..0, |_| 0..self.hosts);
                hosts.filter_map(move |to| Some(Move { vip: at, from: vip.holder?, to }))
            });
        let levels = moves.filter(|Move { from, to, .. }| load[*from] >= load[*to] + 2);
        levels.max_by_key(|Move { vip, from, to }| {
            let vip_moved = &self.vips[*vip];
            // The first of equals counts.
            (
                load[*from] - load[*to],
                !vip_moved.is_home(),
                vip_moved.home() == Some(*to),
                vip_moved.priorities[*to],
                std::cmp::Reverse(*vip),
            )
        })
    }

    fn homing(&self) -> Option<Move> {
        let is_spread = |vip: &&Fact| vip.kind == Kind::Spread;
        if self.is_firm() || !self.vips.iter().filter(is_spread).any(|vip| !vip.is_home()) {
            return None;
        }
        let mut home = self.clone();
        for vip in home.vips.iter_mut().filter(|vip| vip.kind == Kind::Spread && vip.holder.is_some()) {
            vip.holder = vip.home();
        }
        if !home.is_firm() {
            return None;
        }
        let spread = self.vips.iter().enumerate().filter(|(_, vip)| vip.kind == Kind::Spread);
        spread.filter_map(|(at, vip)| vip.goes_home(at)).next()
    }

    /// Whether it is even now, and with any one balancer gone.
    fn is_firm(&self) -> bool {
        let gone = (0..self.hosts).filter(|_| self.hosts > 2).map(Some);
        std::iter::once(None).chain(gone).all(|gone| {
            let load = self.load(gone);
            let left = || (0..self.hosts).filter(|host| Some(*host) != gone).map(|host| load[host]);
            left().max().unwrap_or(0) <= left().min().unwrap_or(0) + 1
        })
    }

    /// How many addresses each host has once `gone` is gone.
    fn load(&self, gone: Option<usize>) -> Vec<usize> {
        let mut load = vec![0; self.hosts];
        for vip in &self.vips {
            let holder = match vip.holder {
                Some(holder) if Some(holder) == gone => vip.first_but(gone),
                holder => holder,
            };
            if let Some(holder) = holder {
                load[holder] += 1;
            }
        }
        load
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use vrrp::fitness::of_rank;

    use super::super::orders::orders;
    use super::*;

    /// Computed orders of so many addresses over so many hosts, with these holders.
    fn facts(hosts: usize, holders: &[usize]) -> Facts {
        let given: BTreeMap<usize, Vec<usize>> = (0..holders.len()).map(|at| (at, Vec::new())).collect();
        let vips = orders(hosts, &given).into_iter().map(|(at, order)| {
            let mut priorities = vec![0; hosts];
            for (rank, host) in order.iter().enumerate() {
                priorities[*host] = of_rank(rank);
            }
            let last = u8::try_from(at + 1).expect("few");
            let holder = Some(holders[at] % hosts);
            Fact { address: [10, 0, 0, last].into(), holder, priorities, kind: Kind::Spread }
        });
        Facts { hosts, vips: vips.collect() }
    }

    fn homes(facts: &Facts) -> Vec<usize> {
        facts.vips.iter().filter_map(Fact::home).collect()
    }

    /// The same without a host: what it has goes where the election has it go.
    fn without(facts: &Facts, gone: usize) -> Facts {
        let mut left = facts.clone();
        left.hosts -= 1;
        for vip in &mut left.vips {
            let holder = match vip.holder {
                Some(holder) if holder == gone => vip.first_but(Some(gone)),
                holder => holder,
            };
            vip.holder = holder.map(|holder| holder - usize::from(holder > gone));
            vip.priorities.remove(gone);
        }
        left
    }

    #[test]
    fn where_all_are_at_home_nothing_moves() {
        for (hosts, vips) in [(1, 3), (2, 1), (2, 7), (3, 6), (5, 13)] {
            let at_home = facts(hosts, &homes(&facts(hosts, &vec![0; vips])));
            assert_eq!(at_home.next(), None, "{hosts} {vips}");
        }
    }

    #[test]
    fn one_address_of_two_hosts_stays_wherever_it_is() {
        assert_eq!((facts(2, &[0]).next(), facts(2, &[1]).next()), (None, None));
        assert_eq!(facts(3, &[2]).next(), None);
    }

    #[test]
    fn what_a_balancer_had_comes_back_to_it_one_by_one() {
        // The first host's two went to the second and the third.
        let mut now = facts(3, &[1, 1, 2, 2, 1, 2]);
        let mut moves = Vec::new();
        while let Some(Move { vip, from, to }) = now.next() {
            moves.push((vip, from, to));
            now.vips[vip].holder = Some(to);
        }
        assert_eq!(moves, [(0, 1, 0), (3, 2, 0)]);
        assert_eq!(now.load(None), [2, 2, 2]);
    }

    #[test]
    fn an_order_that_was_said_is_kept_to_even_where_it_is_uneven_and_the_others_make_up_for_it() {
        let mut all = facts(2, &[1, 0, 1, 0]);
        for vip in all.vips.iter_mut().take(2) {
            vip.kind = Kind::Said;
            vip.priorities = vec![240, 230];
        }
        assert_eq!(all.settled(), [Some(0), Some(0), Some(1), Some(1)]);
        all.vips[2].kind = Kind::Left;
        all.vips[3].kind = Kind::Left;
        assert_eq!(all.settled(), [Some(0), Some(0), Some(1), Some(0)]);
    }

    #[test]
    fn what_is_held_elsewhere_is_left_alone() {
        let mut all = facts(2, &[0, 0, 0]);
        all.vips[0].holder = None;
        all.vips[1].holder = None;
        assert_eq!(all.next(), None);
    }

    #[test]
    fn an_even_spread_that_would_not_survive_a_loss_goes_home() {
        // Both that the first host has would go to the second.
        let mut all = facts(3, &[0, 1, 2, 1, 0, 2]);
        let (first, second) = (all.vips[0].clone(), all.vips[4].clone());
        assert_eq!((first.first_but(Some(0)), second.first_but(Some(0))), (Some(1), Some(1)));
        assert_eq!(all.load(None), [2, 2, 2]);
        assert!(!all.is_firm());
        while let Some(Move { vip, to, .. }) = all.next() {
            all.vips[vip].holder = Some(to);
        }
        assert!(all.is_firm());
        assert_eq!(all.load(None), [2, 2, 2]);
    }

    proptest! {
        #[test]
        fn it_ends_even_whatever_it_began_with(
            hosts in 1..8usize,
            holders in proptest::collection::vec(0..8usize, 0..30),
            gone in proptest::collection::vec(0..8usize, 0..3),
        ) {
            let mut now = facts(hosts, &holders);
            for gone in gone {
                if now.hosts > 1 {
                    now = without(&now, gone % now.hosts);
                }
            }
            let mut moves = 0;
            let end = now.settled();
            while let Some(Move { vip, from, to }) = now.next() {
                prop_assert_eq!(now.vips[vip].holder, Some(from));
                prop_assert_ne!(from, to);
                now.vips[vip].holder = Some(to);
                moves += 1;
                prop_assert!(moves <= 2 * now.vips.len(), "it goes on and on");
            }
            let load = now.load(None);
            let (most, least) = (load.iter().max(), load.iter().min());
            prop_assert!(most.zip(least).is_none_or(|(most, least)| *most <= least + 1), "{:?}", load);
            prop_assert_eq!(end, now.vips.iter().map(|vip| vip.holder).collect::<Vec<_>>());
        }

        #[test]
        fn after_a_loss_and_the_return_from_home_all_are_at_home_again(
            hosts in 2..8usize,
            vips in 1..30usize,
            gone in 0..8usize,
        ) {
            let home = facts(hosts, &homes(&facts(hosts, &vec![0; vips])));
            let gone = gone % hosts;
            let mut back = home.clone();
            for vip in &mut back.vips {
                if vip.holder == Some(gone) {
                    vip.holder = vip.first_but(Some(gone));
                }
            }
            let lost = without(&home, gone);
            prop_assert!(lost.next().is_none(), "the election alone spreads it: {:?}", lost);
            let load = back.load(None);
            let mut moves = 0;
            while let Some(Move { vip, to, .. }) = back.next() {
                prop_assert_eq!(to, gone, "nobody else is bothered");
                back.vips[vip].holder = Some(to);
                moves += 1;
            }
            prop_assert!(moves <= vips.div_ceil(hosts), "{:?}", load);
            prop_assert!(back.is_firm() || moves == 0);
        }
    }
}
