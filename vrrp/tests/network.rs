//! Several routers on one simulated segment, in virtual time: whatever is done to them, exactly one
//! holds the address once they had time to settle, and no frozen one speaks before it let go.
//!
//! ```text
//!   router 0      router 1      router 2     each: alive, cut off or frozen, an address or none,
//!      └─────────────┴─────────────┘         and an inbox that fills while it is frozen
//!         each message takes DELAY
//! ```

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use vrrp::fitness::OFFER;
use vrrp::{Advert, Effect, Router, RouterConfig, State, Unfit};

const STEP: Duration = Duration::from_micros(250);
const DELAY: Duration = Duration::from_micros(500);
const INTERVAL: Duration = Duration::from_millis(100);

/// Long enough for Down, Skew and a few adverts.
const SETTLE: u64 = 800;

struct Node {
    address: IpAddr,
    router: Router,
    holds: bool,
    running: bool,
    frozen: bool,
    cut: bool,
    /// It hears nothing, but is heard.
    deaf: bool,
    /// For how long its clock stood still so far.
    lag: Duration,
    /// It slept so long that others may hold the address by now, and still has its own.
    stale: bool,
    frozen_at: Duration,
    inbox: VecDeque<(Duration, IpAddr, Advert)>,
    /// How often it took the address.
    terms: usize,
}

struct Network {
    now: Duration,
    nodes: Vec<Node>,
}

impl Network {
    /// One router for each priority; all get ready at the same moment.
    fn new(priorities: &[u8]) -> Self {
        Network::preempting(priorities, None)
    }

    fn preempting(priorities: &[u8], preempt: Option<Duration>) -> Self {
        let nodes = (10..)
            .zip(priorities)
            .map(|(last, priority)| {
                let address = IpAddr::from([10, 0, 0, last]);
                let config =
                    RouterConfig { vrid: 1, own: address, priority: *priority, interval: INTERVAL, preempt };
                let mut router = Router::new(Duration::ZERO, config);
                router.ready(Duration::ZERO);
                Node {
                    address,
                    router,
                    holds: false,
                    running: true,
                    frozen: false,
                    cut: false,
                    deaf: false,
                    lag: Duration::ZERO,
                    stale: false,
                    frozen_at: Duration::ZERO,
                    inbox: VecDeque::new(),
                    terms: 0,
                }
            })
            .collect();
        Network { now: Duration::ZERO, nodes }
    }

    fn settled(priorities: &[u8]) -> Self {
        let mut network = Network::new(priorities);
        network.pass(SETTLE);
        network.expect_holder(0);
        network
    }

    /// Lets so many milliseconds pass.
    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.now += STEP;
            for index in 0..self.nodes.len() {
                self.step(index);
            }
        }
    }

    fn step(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.running || node.frozen {
            return;
        }
        let (arrived, now) = (self.now, self.now - node.lag);
        while node.inbox.front().is_some_and(|(at, ..)| *at <= arrived) {
            if let Some((_, source, advert)) = node.inbox.pop_front()
                && (advert.priority != OFFER || !node.router.offered(now, source))
            {
                node.router.receive(now, source, &advert);
            }
        }
        if node.router.next_wake().is_some_and(|(due, _)| due <= now) {
            node.router.wake(now);
        }
        self.carry_out(index);
    }

    fn carry_out(&mut self, index: usize) {
        let now = self.now - self.nodes[index].lag;
        while let Some(effect) = self.nodes[index].router.poll_effect(now) {
            let node = &mut self.nodes[index];
            match effect {
                Effect::AddAddress => {
                    node.holds = true;
                    node.terms += 1;
                }
                Effect::RemoveAddress => (node.holds, node.stale) = (false, false),
                Effect::RenewAddress => assert!(node.holds),
                Effect::Announce => assert!(node.holds && !node.stale, "a stale holder announced itself"),
                Effect::SendAdvert { priority, interval } => {
                    assert!(!node.stale, "a stale holder sent an advert");
                    let advert = Advert { priority, interval, ..claim() };
                    let (from, cut) = (node.address, node.cut);
                    if !cut {
                        self.multicast(from, &advert);
                    }
                }
                Effect::Offer { to, .. } => {
                    let (from, arrival) = (node.address, self.now + DELAY);
                    let is_there = |node: &&mut Node| node.address == to && !node.cut && !node.deaf;
                    if let Some(node) = self.nodes.iter_mut().find(is_there) {
                        let advert = Advert { priority: OFFER, ..claim() };
                        node.inbox.push_back((arrival, from, advert));
                    }
                }
                Effect::Changed(_) => {}
            }
        }
    }

    fn multicast(&mut self, from: IpAddr, advert: &Advert) {
        let arrival = self.now + DELAY;
        for node in self.nodes.iter_mut().filter(|node| node.address != from && !node.cut && !node.deaf) {
            node.inbox.push_back((arrival, from, advert.clone()));
        }
    }

    fn freeze(&mut self, index: usize) {
        self.nodes[index].frozen = true;
        self.nodes[index].frozen_at = self.now;
    }

    fn thaw(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.frozen = false;
        node.stale = node.holds && self.now - node.frozen_at > 3 * INTERVAL;
    }

    /// As [`thaw`](Self::thaw), but the machine's clock stood still as well.
    fn thaw_unaware(&mut self, index: usize) {
        let stood_still = self.now - self.nodes[index].frozen_at;
        self.nodes[index].lag += stood_still;
        self.thaw(index);
    }

    /// The host of `index` tells the time.
    fn stamp(&mut self, index: usize) {
        let now = self.now;
        let node = &mut self.nodes[index];
        node.router.host_stamp(now - node.lag, now + Duration::from_secs(86_400));
        self.carry_out(index);
    }

    /// A power cut: the address is gone with the machine.
    fn kill(&mut self, index: usize) {
        self.nodes[index].running = false;
        self.nodes[index].holds = false;
    }

    fn expect_holder(&self, index: usize) {
        let holders: Vec<_> = (0..self.nodes.len()).filter(|index| self.nodes[*index].holds).collect();
        assert_eq!(holders, [index]);
        assert_eq!(self.nodes[index].router.state(), State::Master);
    }
}

/// What a holder says.
fn claim() -> Advert {
    Advert { vrid: 1, priority: 240, interval: INTERVAL, addresses: Vec::new() }
}

#[test]
fn simultaneous_start_elects_the_highest() {
    let network = Network::settled(&[240, 230, 220]);
    assert_eq!(network.nodes[1].terms + network.nodes[2].terms, 0);
}

#[test]
fn equal_priorities_elect_one() {
    for count in [2, 3] {
        let mut network = Network::new(&vec![240; count]);
        network.pass(SETTLE);
        network.expect_holder(count - 1);
    }
}

#[test]
fn steady_state_moves_nothing() {
    let mut network = Network::settled(&[240, 230, 220]);
    network.pass(60_000);
    assert_eq!(network.nodes.iter().map(|node| node.terms).sum::<usize>(), 1);
}

#[test]
fn loss_of_the_holder_and_its_return() {
    let mut network = Network::settled(&[240, 230, 220]);
    network.kill(0);
    network.pass(315);
    network.expect_holder(1);
    // Back with the higher priority, it leaves the address where it is.
    let (now, own) = (network.now, network.nodes[0].address);
    let config = RouterConfig { vrid: 1, own, priority: 240, interval: INTERVAL, preempt: None };
    network.nodes[0].router = Router::new(now, config);
    network.nodes[0].router.ready(now);
    network.nodes[0].running = true;
    network.nodes[0].inbox.clear();
    network.pass(3000);
    network.expect_holder(1);
}

#[test]
fn a_frozen_holder_wakes_as_backup() {
    for frozen_ms in [320, 400, 1000, 20_000] {
        let mut network = Network::settled(&[240, 230]);
        network.freeze(0);
        network.pass(frozen_ms);
        assert!(network.nodes[1].holds);
        network.thaw(0);
        network.pass(SETTLE);
        network.expect_holder(1);
    }
}

#[test]
fn a_short_freeze_moves_nothing() {
    for frozen_ms in [50, 150, 199] {
        let mut network = Network::settled(&[240, 230]);
        network.freeze(0);
        network.pass(frozen_ms);
        network.thaw(0);
        network.pass(SETTLE);
        network.expect_holder(0);
        assert_eq!(network.nodes[1].terms, 0);
    }
}

#[test]
fn a_cut_segment_has_two_and_heals_to_one() {
    let mut network = Network::settled(&[240, 230, 220]);
    network.nodes[0].cut = true;
    network.pass(2000);
    assert!(network.nodes[0].holds && network.nodes[1].holds && !network.nodes[2].holds);
    // Who took over outranks the one that fell silent, which may not know that it did …
    network.nodes[0].cut = false;
    network.pass(SETTLE);
    network.expect_holder(1);
    // … but not for ever.
    network.nodes[1].cut = true;
    network.pass(61_000);
    assert!(network.nodes[0].holds && network.nodes[1].holds);
    network.nodes[1].cut = false;
    network.pass(SETTLE);
    network.expect_holder(0);
}

#[test]
fn an_orderly_stop_costs_a_skew() {
    let mut network = Network::settled(&[240, 230, 220]);
    let now = network.now;
    network.nodes[0].router.stop(now);
    network.pass(12);
    network.expect_holder(1);
}

#[test]
fn an_unfit_holder_hands_over_and_does_not_come_back() {
    let mut network = Network::settled(&[240, 230, 220]);
    let now = network.now;
    network.nodes[0].router.set_unfit(now, Unfit::Hung, true);
    // The second in the order waits for 3.9 ms.
    network.pass(6);
    network.expect_holder(1);
    let now = network.now;
    network.nodes[0].router.set_unfit(now, Unfit::Hung, false);
    network.pass(2000);
    network.expect_holder(1);
}

#[test]
fn equal_trouble_keeps_the_order() {
    let mut network = Network::settled(&[240, 230]);
    for index in [0, 1] {
        let now = network.now;
        network.nodes[index].router.set_unfit(now, Unfit::UplinkLost, true);
    }
    network.pass(2000);
    network.expect_holder(0);
}

#[test]
fn an_ordered_hand_over_lasts() {
    for who in [1, 2] {
        let mut network = Network::settled(&[240, 230, 220]);
        let now = network.now;
        network.nodes[who].router.take_over(now).expect("fit");
        network.pass(5);
        network.expect_holder(who);
        network.pass(5000);
        network.expect_holder(who);
    }
}

#[test]
fn of_several_the_preferred_one_alone_takes_an_unfit_holders_place() {
    let mut network = Network::settled(&[240, 230, 220, 210, 200]);
    let now = network.now;
    network.nodes[0].router.set_unfit(now, Unfit::Draining, true);
    network.pass(5000);
    network.expect_holder(1);
    assert_eq!(network.nodes[2..].iter().map(|node| node.terms).sum::<usize>(), 0);
}

#[test]
fn an_address_that_is_offered_to_one_goes_there_and_no_other_takes_it_on_the_way() {
    for to in 1..5 {
        let mut network = Network::settled(&[240, 230, 220, 210, 200]);
        let (now, address) = (network.now, network.nodes[to].address);
        network.nodes[0].router.release_to(now, address).expect("it takes part");
        network.pass(5);
        network.expect_holder(to);
        network.pass(20_000);
        network.expect_holder(to);
        assert_eq!(network.nodes.iter().map(|node| node.terms).sum::<usize>(), 2);
        // And home again.
        let (now, home) = (network.now, network.nodes[0].address);
        network.nodes[to].router.release_to(now, home).expect("it takes part");
        network.pass(20_000);
        network.expect_holder(0);
        assert_eq!(network.nodes.iter().map(|node| node.terms).sum::<usize>(), 3);
    }
}

#[test]
fn an_address_that_is_offered_to_a_dead_one_stays() {
    let mut network = Network::settled(&[240, 230, 220]);
    network.kill(2);
    let (now, address) = (network.now, network.nodes[2].address);
    network.nodes[0].router.release_to(now, address).expect("it takes part");
    network.pass(5000);
    network.expect_holder(0);
    assert_eq!(network.nodes[1].terms, 0);
}

#[test]
fn a_released_address_is_taken_and_kept() {
    let mut network = Network::settled(&[240, 230]);
    let now = network.now;
    network.nodes[0].router.release(now).expect("it takes part");
    // The second in the order waits for 3.9 ms.
    network.pass(6);
    network.expect_holder(1);
    network.pass(5000);
    network.expect_holder(1);
}

#[test]
fn a_paused_holder_that_does_not_know_it_loses_with_the_first_advert_it_hears() {
    for frozen_ms in [400, 1000, 20_000, 50_000] {
        let mut network = Network::settled(&[240, 230]);
        network.freeze(0);
        network.pass(frozen_ms);
        assert!(network.nodes[1].holds);
        // Its inbox has the other's adverts; even one of them is enough.
        let last = network.nodes[0].inbox.pop_back();
        network.nodes[0].inbox.clear();
        network.nodes[0].inbox.extend(last);
        network.thaw_unaware(0);
        network.pass(SETTLE);
        network.expect_holder(1);
        assert_eq!(network.nodes[1].terms, 1);
    }
}

#[test]
fn a_paused_holder_learns_of_it_from_its_host_before_it_says_anything() {
    for frozen_ms in [400, 1000, 20_000, 50_000] {
        let mut network = Network::settled(&[240, 230]);
        for _ in 0..5 {
            network.pass(1000);
            network.stamp(0);
        }
        network.freeze(0);
        network.pass(frozen_ms);
        // What was sent meanwhile is lost: only the host can tell it.
        network.nodes[0].inbox.clear();
        network.thaw_unaware(0);
        network.stamp(0);
        assert!(!network.nodes[0].holds);
        network.pass(SETTLE);
        network.expect_holder(1);
        assert_eq!(network.nodes[1].terms, 1);
    }
}

#[test]
fn who_takes_over_because_it_is_deaf_is_yielded_to_at_once() {
    for deaf in [1, 2] {
        let mut network = Network::settled(&[240, 230, 220]);
        network.nodes[deaf].deaf = true;
        // It outranks whom it believes silent.
        network.pass(1000);
        network.expect_holder(deaf);
        network.pass(120_000);
        network.nodes[deaf].deaf = false;
        network.pass(120_000);
        network.expect_holder(deaf);
        assert_eq!(network.nodes[0].terms, 1, "it did not come back in between");
    }
}

#[test]
fn on_a_way_that_carries_in_one_direction_the_hearer_yields() {
    let mut network = Network::preempting(&[240, 230], Some(Duration::ZERO));
    network.pass(SETTLE);
    network.nodes[1].deaf = true;
    network.pass(4000);
    assert!(network.nodes[0].holds && network.nodes[1].holds, "it preempts the lower one, in vain");
    network.pass(4000);
    network.expect_holder(1);
    network.pass(20_000);
    network.expect_holder(1);
    assert_eq!(network.nodes[0].terms, 2);
    network.nodes[1].deaf = false;
    network.pass(60_000);
    network.expect_holder(0);
}
