//! The VIP speaker's turn, as `lb/src/vip/speaker.rs` takes it, around the production state machine and
//! the production judgement of the proxy.
//!
//! A turn begins with whatever happened first. It reads all adverts that wait before it looks at a timer,
//! then what arrived over the link, then what became of the proxy, then the timers; what the router wants
//! is carried out one by one by the world.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use vrrp::presence::{Presence, Proxy};
use vrrp::{Advert, Router, RouterConfig, State, Unfit};
use wire::vip::{RouterCounters, RouterState, RouterStatus, VipStatus};

use super::balancer::WORKERS;
use crate::config::Vip;

/// As in the speaker.
const LATE: Duration = Duration::from_millis(100);

/// As in the speaker.
const MAX_ADVERTS: usize = 64;

/// So many packets wait in the socket of a machine that stands still; what comes then is dropped.
const MAX_WAITING: usize = 200;

/// What a turn begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Timer,
    Advert,
    /// The host's clock showed this.
    Stamp(Duration),
    /// All workers of the proxy tick, over streams numbered from here, and say whether it can serve.
    Tick(u64, bool),
    /// The streams of a proxy that died end.
    Closed(u64),
    TakeOver,
    Release,
    /// The process is asked to end.
    End,
}

#[derive(Debug)]
pub(super) struct Speaker {
    vip: Vip,
    router: Router,
    presence: Presence<bool>,
    proxy: Proxy<bool>,
    waiting: VecDeque<(IpAddr, Advert)>,
    origin: Duration,
    /// When its turn began.
    began: Duration,
    /// When it wants to be woken, by its machine's clock.
    due: Option<Duration>,
}

impl Speaker {
    /// A speaker that starts when its machine's clock shows `clock`.
    pub(super) fn new(clock: Duration, vip: &Vip, own: IpAddr) -> Self {
        let config = RouterConfig {
            vrid: vip.vrid,
            own,
            priority: vip.priority,
            interval: vip.advert_interval,
            preempt: vip.preempt,
        };
        Speaker {
            vip: vip.clone(),
            router: Router::new(Duration::ZERO, config),
            presence: Presence::default(),
            proxy: Proxy::Gone,
            waiting: VecDeque::new(),
            origin: clock,
            began: Duration::ZERO,
            due: None,
        }
    }

    /// An advert is put into its socket.
    pub(super) fn arrives(&mut self, source: IpAddr, advert: Advert) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((source, advert));
        }
    }

    /// Everything of a turn up to the effects. Returns whether an order was carried out.
    pub(super) fn turn(&mut self, clock: Duration, turn: Turn, never_again: bool) -> bool {
        let now = clock.saturating_sub(self.origin);
        self.began = now;
        if self.due.is_some_and(|due| now > due + LATE) {
            self.presence.excuse(now);
        }
        for _ in 0..MAX_ADVERTS {
            let Some((source, advert)) = self.waiting.pop_front() else { break };
            self.router.receive(now, source, &advert);
        }
        let obeyed = self.hear(now, turn);
        if turn != Turn::End {
            self.look_at_proxy(now, never_again);
            if self.router.next_wake().is_some_and(|(due, _)| due <= now) {
                self.router.wake(now);
            }
        }
        obeyed
    }

    fn hear(&mut self, now: Duration, turn: Turn) -> bool {
        match turn {
            Turn::Timer | Turn::Advert => {}
            Turn::Stamp(stamp) => self.router.host_stamp(now, stamp),
            Turn::Tick(streams, serving) => {
                for worker in 0..WORKERS {
                    self.presence.tick(now, streams + worker as u64, worker, WORKERS, serving);
                }
            }
            Turn::Closed(streams) => {
                (0..WORKERS as u64).for_each(|worker| self.presence.closed(streams + worker));
            }
            Turn::TakeOver => return self.router.take_over(now).is_ok(),
            Turn::Release => return self.router.release(now).is_ok(),
            Turn::End => self.router.stop(now),
        }
        true
    }

    fn look_at_proxy(&mut self, now: Duration, never_again: bool) {
        // Nobody waits for a processor here: time passes only where it is meant to.
        let proxy = self.presence.look(now, self.router.state() == State::Master, |_| None);
        if proxy == self.proxy {
            return;
        }
        self.proxy = proxy;
        match proxy {
            Proxy::Gone => self.router.stop(now),
            Proxy::There { hung, wish: serving } => {
                self.router.set_unfit(now, Unfit::Hung, hung);
                self.router.set_serving(now, serving);
                if !never_again || self.router.since().0 == vrrp::Reason::New {
                    self.router.ready(now);
                }
            }
        }
    }

    /// The next thing the router wants done.
    pub(super) fn poll(&mut self, clock: Duration) -> Option<vrrp::Effect> {
        self.router.poll_effect(clock.saturating_sub(self.origin))
    }

    /// The turn is over: when the next one is due by the machine's clock.
    pub(super) fn rest(&mut self, clock: Duration) {
        let now = clock.saturating_sub(self.origin);
        if now > self.began + LATE {
            self.presence.excuse(now);
        }
        let router = self.router.next_wake().map(|(due, _)| due);
        self.due = router.into_iter().chain(self.presence.next_look()).min();
    }

    /// When its machine's clock will show that it is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due.map(|due| due + self.origin)
    }

    pub(super) fn vip(&self) -> &Vip {
        &self.vip
    }

    /// Whether somebody who wins against this router has said so, in what waits to be read.
    pub(super) fn is_outranked(&self, own: IpAddr) -> bool {
        let mine = (self.router.priority(), own);
        self.waiting.iter().any(|(source, advert)| (advert.priority, *source) > mine)
    }

    pub(super) fn takes_part(&self) -> bool {
        self.router.state() != State::Init
    }

    /// When it takes the address by its machine's clock, if it hears of no holder until then; `None` for a holder.
    pub(super) fn listens_until(&self) -> Option<Duration> {
        let waits = self.router.state() == State::Backup;
        self.router.next_wake().filter(|_| waits).map(|(due, _)| due + self.origin)
    }

    pub(super) fn is_fit(&self) -> bool {
        self.router.priority() >= vrrp::fitness::FIT_FROM
    }

    pub(super) fn priority(&self) -> u8 {
        self.router.priority()
    }

    /// `GET /vip`, as the speaker answers it.
    pub(super) fn status(&self, clock: Duration) -> VipStatus {
        let now = clock.saturating_sub(self.origin);
        let (reason, since) = self.router.since();
        VipStatus {
            routers: vec![RouterStatus {
                address: self.vip.address,
                vrid: self.vip.vrid,
                state: match self.router.state() {
                    State::Init => RouterState::Init,
                    State::Backup => RouterState::Backup,
                    State::Master => RouterState::Master,
                },
                priority: self.router.priority(),
                holder: self.router.holder(now),
                reason: reason.to_string(),
                for_ms: u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX),
                counters: RouterCounters::default(),
            }],
            ..VipStatus::default()
        }
    }
}
