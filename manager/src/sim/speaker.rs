//! The VIP speaker's turn, as `lb/src/vip/speaker.rs` takes it, around the production state machine and
//! the production judgement of the proxy.
//!
//! A turn begins with whatever happened first. It reads all adverts that wait before it looks at a timer,
//! then what arrived over the link, then what became of the proxy, then the timers; what the router wants
//! is carried out one by one by the world.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use vrrp::fitness::{FIT_FROM, OFFER};
use vrrp::presence::{Presence, Proxy};
use vrrp::{Advert, Router, RouterConfig, State, Unfit};
use wire::vip::{RouterCounters, RouterState, RouterStatus, VipStatus};

use super::balancer::WORKERS;
use crate::config::{Preference, Vip};

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
    /// One of the addresses is offered, to that balancer alone where one is said.
    Offer(usize, Option<IpAddr>),
    /// The priority for one of the addresses.
    Rank(usize, u8),
    /// The process is asked to end.
    End,
}

/// What waits in the socket.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) advert: Advert,
    /// It was sent to this balancer alone.
    pub(super) alone: bool,
}

#[derive(Debug)]
struct Member {
    vip: Vip,
    router: Router,
}

#[derive(Debug)]
pub(super) struct Speaker {
    members: Vec<Member>,
    presence: Presence<bool>,
    proxy: Proxy<bool>,
    waiting: VecDeque<Packet>,
    origin: Duration,
    /// When its turn began.
    began: Duration,
    /// When it wants to be woken, by its machine's clock.
    due: Option<Duration>,
}

impl Speaker {
    /// A speaker that starts when its machine's clock shows `clock`.
    pub(super) fn new(clock: Duration, vips: &[Vip], own: IpAddr) -> Self {
        let member = |vip: &Vip| {
            let config = RouterConfig {
                vrid: vip.vrid,
                own,
                priority: match &vip.preference {
                    Preference::Role(role) => role.priority(),
                    // Its manager says more when it has read this.
                    Preference::Order(_) | Preference::Spread => FIT_FROM,
                },
                interval: vip.advert_interval,
                preempt: vip.preempt,
            };
            Member { vip: vip.clone(), router: Router::new(Duration::ZERO, config) }
        };
        Speaker {
            members: vips.iter().map(member).collect(),
            presence: Presence::default(),
            proxy: Proxy::Gone,
            waiting: VecDeque::new(),
            origin: clock,
            began: Duration::ZERO,
            due: None,
        }
    }

    /// An advert is put into its socket.
    pub(super) fn arrives(&mut self, packet: Packet) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(packet);
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
            let Some(Packet { source, advert, alone }) = self.waiting.pop_front() else { break };
            let meant = self.members.iter_mut().find(|member| member.vip.vrid == advert.vrid);
            let Some(Member { router, .. }) = meant else { continue };
            if alone && advert.priority == OFFER {
                router.offered(now, source);
            } else {
                router.receive(now, source, &advert);
            }
        }
        let obeyed = self.hear(now, turn);
        if turn != Turn::End {
            self.look_at_proxy(now, never_again);
            for Member { router, .. } in &mut self.members {
                if router.next_wake().is_some_and(|(due, _)| due <= now) {
                    router.wake(now);
                }
            }
        }
        obeyed
    }

    fn hear(&mut self, now: Duration, turn: Turn) -> bool {
        match turn {
            Turn::Timer | Turn::Advert => {}
            Turn::Stamp(stamp) => self.each(|router| router.host_stamp(now, stamp)),
            Turn::Tick(streams, serving) => {
                for worker in 0..WORKERS {
                    self.presence.tick(now, streams + worker as u64, worker, WORKERS, serving);
                }
            }
            Turn::Closed(streams) => {
                (0..WORKERS as u64).for_each(|worker| self.presence.closed(streams + worker));
            }
            Turn::TakeOver => return self.all(|router| router.take_over(now).is_ok()),
            Turn::Release => return self.all(|router| router.release(now).is_ok()),
            Turn::Offer(vip, to) => {
                let Some(Member { router, .. }) = self.members.get_mut(vip) else { return false };
                return match to {
                    Some(to) => router.release_to(now, to),
                    None => router.release(now),
                }
                .is_ok();
            }
            Turn::Rank(vip, priority) => {
                if let Some(Member { router, .. }) = self.members.get_mut(vip) {
                    router.set_priority(now, priority);
                }
            }
            Turn::End => self.each(|router| router.stop(now)),
        }
        true
    }

    /// Does it to all, whatever comes of it; says whether it worked with all.
    fn all(&mut self, what: impl Fn(&mut Router) -> bool) -> bool {
        let failed =
            self.members.iter_mut().map(|member| what(&mut member.router)).filter(|worked| !worked).count();
        failed == 0
    }

    fn each(&mut self, what: impl Fn(&mut Router)) {
        self.members.iter_mut().for_each(|member| what(&mut member.router));
    }

    fn look_at_proxy(&mut self, now: Duration, never_again: bool) {
        // Nobody waits for a processor here: time passes only where it is meant to.
        let holds = self.members.iter().any(|member| member.router.state() == State::Master);
        let proxy = self.presence.look(now, holds, |_| None);
        if proxy == self.proxy {
            return;
        }
        self.proxy = proxy;
        self.each(|router| match proxy {
            Proxy::Gone => router.stop(now),
            Proxy::There { hung, wish: serving } => {
                router.set_unfit(now, Unfit::Hung, hung);
                router.set_serving(now, serving);
                if !never_again || router.since().0 == vrrp::Reason::New {
                    router.ready(now);
                }
            }
        });
    }

    /// The next thing that a router wants done, and for which address.
    pub(super) fn poll(&mut self, clock: Duration) -> Option<(usize, vrrp::Effect)> {
        let now = clock.saturating_sub(self.origin);
        let mut members = self.members.iter_mut().enumerate();
        members.find_map(|(vip, member)| Some((vip, member.router.poll_effect(now)?)))
    }

    /// The turn is over: when the next one is due by the machine's clock.
    pub(super) fn rest(&mut self, clock: Duration) {
        let now = clock.saturating_sub(self.origin);
        if now > self.began + LATE {
            self.presence.excuse(now);
        }
        let routers = self.members.iter().filter_map(|member| Some(member.router.next_wake()?.0));
        self.due = routers.chain(self.presence.next_look()).min();
    }

    /// When its machine's clock will show that it is due.
    pub(super) fn due(&self) -> Option<Duration> {
        self.due.map(|due| due + self.origin)
    }

    pub(super) fn vip(&self, vip: usize) -> Option<&Vip> {
        self.members.get(vip).map(|member| &member.vip)
    }

    /// Whether somebody who wins against this router has said so, in what waits to be read.
    pub(super) fn is_outranked(&self, vip: usize, own: IpAddr) -> bool {
        let Some(Member { vip, router }) = self.members.get(vip) else { return false };
        let mine = (router.priority(), own);
        let meant = self.waiting.iter().filter(|packet| packet.advert.vrid == vip.vrid && !packet.alone);
        meant.into_iter().any(|packet| (packet.advert.priority, packet.source) > mine)
    }

    /// All its routers do or none does.
    pub(super) fn takes_part(&self) -> bool {
        self.members.iter().any(|member| member.router.state() != State::Init)
    }

    /// When it takes each address by its machine's clock, if it hears of no holder until then; `None` for a holder.
    pub(super) fn listens_until(&self) -> Vec<Option<Duration>> {
        let until = |router: &Router| {
            let waits = router.state() == State::Backup;
            router.next_wake().filter(|_| waits).map(|(due, _)| due + self.origin)
        };
        self.members.iter().map(|member| until(&member.router)).collect()
    }

    pub(super) fn is_fit(&self) -> bool {
        self.members.iter().all(|member| member.router.priority() >= FIT_FROM)
    }

    pub(super) fn priority(&self, vip: usize) -> Option<u8> {
        self.members.get(vip).map(|member| member.router.priority())
    }

    /// `GET /vip`, as the speaker answers it.
    pub(super) fn status(&self, clock: Duration) -> VipStatus {
        let now = clock.saturating_sub(self.origin);
        let status = |Member { vip, router }: &Member| {
            let (reason, since) = router.since();
            RouterStatus {
                address: vip.address,
                vrid: vip.vrid,
                state: match router.state() {
                    State::Init => RouterState::Init,
                    State::Backup => RouterState::Backup,
                    State::Master => RouterState::Master,
                },
                priority: router.priority(),
                base: Some(router.base()),
                holder: router.holder(now),
                reason: reason.to_string(),
                for_ms: u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX),
                counters: RouterCounters::default(),
            }
        };
        VipStatus { routers: self.members.iter().map(status).collect(), ..VipStatus::default() }
    }
}
