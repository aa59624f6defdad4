//! One virtual router as the speaker keeps it: the router, its settings, what it counted and what was last
//! told of it.

use std::net::IpAddr;
use std::time::Duration;

use vrrp::fitness::OFFER;
use vrrp::{Advert, Effect, Reason, Router, RouterConfig, State};
use wire::vip::{RouterCounters, RouterState, RouterStatus, VipAction, VipOrder};

use super::adverts::Arrived;
use super::complaints::{NOT_MULTICAST, UNLISTED_PEER};
use super::notify::Change;
use crate::settings::Vip;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) vip: Vip,
    pub(super) router: Router,
    counters: RouterCounters,
    told: (State, Option<IpAddr>),
    /// When the holder said its last word.
    last_word: Option<Duration>,
    /// When the address was last announced as ours.
    announced: Option<Duration>,
}

impl Member {
    /// The virtual router of `vip`, spoken for from `own`.
    pub(super) fn new(vip: &Vip, own: IpAddr) -> Self {
        let config = RouterConfig {
            vrid: vip.vrid,
            own,
            priority: vip.priority,
            interval: vip.advert_interval,
            preempt: vip.preempt,
        };
        let router = Router::new(Duration::ZERO, config);
        Member {
            vip: vip.clone(),
            router,
            counters: RouterCounters::default(),
            told: (State::Init, None),
            last_word: None,
            announced: None,
        }
    }

    /// Whether this is the virtual router that a packet from `source` is for.
    pub(super) fn is(&self, vrid: u8, source: IpAddr) -> bool {
        self.vip.vrid == vrid && self.vip.address.is_ipv4() == source.is_ipv4()
    }

    /// Why what arrived is not for us, although it is well formed: the kind it is dropped as.
    pub(super) fn objection(&self, arrived: &Arrived) -> Option<&'static str> {
        let peers = &self.vip.unicast_peers;
        let offer = arrived.advert.as_ref().is_ok_and(|advert| advert.priority == OFFER);
        if peers.is_empty() && offer {
            None
        } else if peers.is_empty() {
            (!arrived.destination.is_multicast()).then_some(NOT_MULTICAST)
        } else {
            (!peers.contains(&arrived.source)).then_some(UNLISTED_PEER)
        }
    }

    /// Takes in an advert for this virtual router, sent to `destination`.
    pub(super) fn receive(&mut self, now: Duration, source: IpAddr, destination: IpAddr, advert: &Advert) {
        self.counters.adverts_received += 1;
        let was_holder = self.router.holder(now) == Some(source);
        let alone = !destination.is_multicast();
        if alone && advert.priority == OFFER {
            // Where all adverts are sent to one alone, it may be what it looks like.
            if !self.router.offered(now, source) && !self.vip.unicast_peers.is_empty() {
                self.router.receive(now, source, advert);
            }
        } else {
            self.router.receive(now, source, advert);
        }
        if was_holder || self.router.holder(now) == Some(source) {
            self.last_word = Some(now);
        }
    }

    /// Counts what `effect`, which was carried out by `now`, did; with it so many adverts were sent.
    pub(super) fn count(&mut self, now: Duration, effect: Effect, sent: u64) {
        self.counters.adverts_sent += sent;
        match effect {
            Effect::Changed(transition) => {
                self.counters.transitions += 1;
                self.counters.became_master += u64::from(transition.to == State::Master);
                let (lost, announced) = match transition.to {
                    State::Backup => return,
                    State::Init | State::Master => (self.last_word.take(), self.announced.take()),
                };
                // One that is there while another takes over is not lost.
                let is_lost = matches!(transition.reason, Reason::Silence | Reason::Released(_));
                if let (true, Some(lost), Some(announced)) = (is_lost, lost, announced) {
                    self.counters.failovers.count(announced.saturating_sub(lost));
                }
            }
            // From now on clients come here. That the state is another one is said behind it.
            Effect::Announce => self.announced = Some(now),
            _ => {}
        }
    }

    /// What [`Notify`](crate::settings::Notify) is to be told now, if anything changed.
    pub(super) fn news(&mut self, now: Duration, machine: &str) -> Option<Change> {
        let (state, holder) = (self.router.state(), self.router.holder(now));
        if self.told == (state, holder) {
            return None;
        }
        self.told = (state, holder);
        Some(Change {
            machine: machine.to_owned(),
            vrid: self.vip.vrid,
            address: self.vip.address,
            state: name_of(state),
            holder,
            reason: self.router.since().0.to_string(),
        })
    }

    /// Carries out what `order` says to this router, or says why not.
    pub(super) fn obey(&mut self, now: Duration, order: &VipOrder) -> Result<(), String> {
        let VipOrder {
            vrid: _,
            address: _,
            priority,
            priorities: _,
            action,
            to,
            host_time_ms: _,
            uplink_lost,
        } = order;
        let (priority, uplink_lost) = (*priority, *uplink_lost);
        let own = self.vip.address;
        let to = to.iter().find(|to| to.is_ipv4() == own.is_ipv4());
        if let Some(priority) = priority {
            self.router.set_priority(now, priority);
        }
        if let Some(lost) = uplink_lost {
            self.router.set_unfit(now, vrrp::Unfit::UplinkLost, lost);
        }
        let result = match action {
            None => Ok(()),
            Some(VipAction::TakeOver) => self.router.take_over(now),
            Some(VipAction::Release) => match to {
                Some(to) => self.router.release_to(now, *to),
                None => self.router.release(now),
            },
        };
        result.map_err(|refused| refused.to_string())
    }

    pub(super) fn status(&self, now: Duration) -> RouterStatus {
        let (reason, since) = self.router.since();
        RouterStatus {
            address: self.vip.address,
            vrid: self.vip.vrid,
            state: name_of(self.router.state()),
            priority: self.router.priority(),
            base: Some(self.router.base()),
            holder: self.router.holder(now),
            reason: reason.to_string(),
            for_ms: u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX),
            counters: self.counters,
        }
    }
}

fn name_of(state: State) -> RouterState {
    match state {
        State::Init => RouterState::Init,
        State::Backup => RouterState::Backup,
        State::Master => RouterState::Master,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: [u8; 4] = [192, 168, 10, 10];
    const OTHER: [u8; 4] = [192, 168, 10, 20];

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn member() -> Member {
        let vip = Vip {
            address: [10, 0, 0, 1].into(),
            vrid: 50,
            priority: 240,
            advert_interval: ms(100),
            preempt: None,
            unicast_peers: Vec::new(),
            checksum: vrrp::ChecksumForm::default(),
            virtual_mac: false,
        };
        let mut member = Member::new(&vip, MINE.into());
        member.router.ready(ms(0));
        carry_out(&mut member, 0);
        member
    }

    /// Carries out all that is to be done, each within a millisecond, from `at` on; returns when that was done.
    fn carry_out(member: &mut Member, mut at: u64) -> u64 {
        while let Some(effect) = member.router.poll_effect(ms(at)) {
            at += 1;
            member.count(ms(at), effect, 1);
        }
        at
    }

    fn advert(member: &mut Member, at: u64, priority: u8) {
        let addresses = vec![IpAddr::from([10, 0, 0, 1])];
        let advert = Advert { vrid: 50, priority, interval: ms(100), addresses };
        member.receive(ms(at), OTHER.into(), vrrp::packet::MULTICAST.into(), &advert);
        carry_out(member, at);
    }

    fn become_master(member: &mut Member) {
        let (due, _) = member.router.next_wake().expect("something is due");
        member.router.wake(due);
        carry_out(member, u64::try_from(due.as_millis()).expect("soon"));
        assert_eq!(member.router.state(), State::Master);
    }

    #[test]
    fn it_counts_from_the_last_word_of_a_silent_holder_until_the_address_is_announced() {
        let mut member = member();
        advert(&mut member, 100, 240);
        advert(&mut member, 200, 240);
        become_master(&mut member);
        let failovers = member.counters.failovers;
        assert_eq!(failovers.count, 1);
        // Three intervals and the skew.
        assert_eq!(failovers.within[4..8], [0, 0, 1, 1], "{failovers:?}");
        assert!((300_000..350_000).contains(&failovers.sum_us), "{failovers:?}");
    }

    #[test]
    fn a_holder_that_lets_go_is_replaced_sooner() {
        let mut member = member();
        advert(&mut member, 100, 240);
        advert(&mut member, 150, 0);
        become_master(&mut member);
        let failovers = member.counters.failovers;
        assert_eq!((failovers.count, failovers.within[2]), (1, 1), "{failovers:?}");
    }

    #[test]
    fn an_offer_is_one_only_if_it_was_sent_to_this_machine_alone() {
        let offer = Advert {
            vrid: 50,
            priority: OFFER,
            interval: ms(100),
            addresses: vec![IpAddr::from([10, 0, 0, 1])],
        };
        let arrived = |destination: IpAddr| Arrived {
            source: OTHER.into(),
            destination,
            vrid: Some(50),
            advert: Ok(offer.clone()),
        };
        let (all, alone) = (vrrp::packet::MULTICAST.into(), IpAddr::from(MINE));
        for (to, reason) in [(all, Reason::UnfitHolder(OTHER.into())), (alone, Reason::Offered(OTHER.into()))]
        {
            let mut member = member();
            advert(&mut member, 100, 230);
            assert_eq!(member.objection(&arrived(to)), None);
            member.receive(ms(120), OTHER.into(), to, &offer);
            assert_eq!(member.router.since().0, reason);
        }
        // From one that is not known as the holder it is nothing, where adverts go to all.
        let mut member = member();
        member.receive(ms(120), OTHER.into(), alone, &offer);
        assert_eq!((member.router.state(), member.router.holder(ms(120))), (State::Backup, None));
    }

    #[test]
    fn where_nobody_was_lost_nothing_is_counted() {
        let mut first = member();
        become_master(&mut first);
        let mut preempting = member();
        advert(&mut preempting, 100, 240);
        preempting.router.take_over(ms(150)).expect("it may");
        carry_out(&mut preempting, 150);
        for member in [first, preempting] {
            assert_eq!((member.counters.became_master, member.counters.failovers.count), (1, 0));
        }
    }
}
