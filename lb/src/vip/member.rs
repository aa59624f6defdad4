//! One virtual router as the speaker keeps it: the router, its settings, what it counted and what was last
//! told of it.

use std::net::IpAddr;
use std::time::Duration;

use vrrp::{Effect, Router, RouterConfig, State};
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
        Member { vip: vip.clone(), router, counters: RouterCounters::default(), told: (State::Init, None) }
    }

    /// Whether this is the virtual router that a packet from `source` is for.
    pub(super) fn is(&self, vrid: u8, source: IpAddr) -> bool {
        self.vip.vrid == vrid && self.vip.address.is_ipv4() == source.is_ipv4()
    }

    /// Why what arrived is not for us, although it is well formed: the kind it is dropped as.
    pub(super) fn objection(&self, arrived: &Arrived) -> Option<&'static str> {
        let peers = &self.vip.unicast_peers;
        if peers.is_empty() {
            (!arrived.destination.is_multicast()).then_some(NOT_MULTICAST)
        } else {
            (!peers.contains(&arrived.source)).then_some(UNLISTED_PEER)
        }
    }

    pub(super) fn count_received(&mut self) {
        self.counters.adverts_received += 1;
    }

    /// Counts what `effect`, which was carried out, did; with it so many adverts were sent.
    pub(super) fn count(&mut self, effect: Effect, sent: u64) {
        self.counters.adverts_sent += sent;
        if let Effect::Changed(transition) = effect {
            self.counters.transitions += 1;
            self.counters.became_master += u64::from(transition.to == State::Master);
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
        let VipOrder { vrid: _, priority, action, host_time_ms: _, uplink_lost } = *order;
        if let Some(priority) = priority {
            self.router.set_priority(now, priority);
        }
        if let Some(lost) = uplink_lost {
            self.router.set_unfit(now, vrrp::Unfit::UplinkLost, lost);
        }
        let result = match action {
            None => Ok(()),
            Some(VipAction::TakeOver) => self.router.take_over(now),
            Some(VipAction::Release) => self.router.release(now),
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
