//! One virtual router: who holds the address, decided from the adverts alone (RFC 9568, section 6.4).
//!
//! ```text
//!            ready                silence for Down, or priority 0 and silence for Skew,
//!   ┌──────┐ ──────▶ ┌────────┐   or an unfit holder, or an order      ┌────────┐
//!   │ Init │         │ Backup │ ─────────────────────────────────────▶ │ Master │
//!   └──────┘ ◀────── └────────┘ ◀───────────────────────────────────── └────────┘
//!       ▲     stop               a higher one heard, or woke up late        │
//!       └───────────────────────────────────────────────────────────────────┘
//!                  stop: the address is removed, then priority 0 says so
//! ```
//!
//! It differs from the RFC where a group of equals serves better than an owner and its stand-ins:
//! - Fit routers (priority from [`FIT_FROM`](crate::fitness::FIT_FROM)) do not preempt each other. An unfit holder is preempted
//!   by any router of higher priority instead of after its Down interval: by the preferred one at once, by the others a few
//!   milliseconds later each, so that not all of them do.
//! - A holder can offer the address to one router alone, whatever the order of preference.
//! - With `preempt`, a fit router of higher priority takes over when it has heard the lower one for the delay,
//!   instead of turning a deaf ear to it until Down.
//! - Priority 0 counts only from the present holder, so that a belated one deposes nobody.
//! - A router that slept too long to be sure of its state first lets go and listens; that its machine was
//!   paused without its clock showing it, the stamps of the host tell.
//! - Who takes over from a silent holder outranks it for a while, so that it loses if it wakes up unaware.
//! - One that knows nothing to serve with yet takes over only when nobody else has for long.
//! - A holder that is not heard by another one of lower priority yields to it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use crate::effect::{Effect, Reason, State, WakeReason};
use crate::fitness::{FIT_FROM, Fitness, HIGHEST, Unfit};
use crate::packet::{Advert, PRIORITY_RELEASE};

mod contest;
mod rules;
mod stamps;
mod term;
#[cfg(test)]
mod tests;

use contest::Yielding;
use stamps::Stamps;
use term::{Raised, Term};

/// An offered address is kept, and a raised priority said, for so many Down intervals.
const PATIENCE: u32 = 3;

/// What a router is told once.
#[derive(Clone, Copy, Debug)]
pub struct RouterConfig {
    /// The virtual router's id.
    pub vrid: u8,
    /// The address this router speaks from; for IPv6 its link-local one (section 5.1.2.1).
    pub own: IpAddr,
    /// Its priority while fit, 1 to 254.
    pub priority: u8,
    /// The time between its adverts while it holds the address.
    pub interval: Duration,
    /// Whether, and after how long, it takes the address from a fit holder of lower priority
    /// (`Preempt_Mode`, section 6.1). An unfit one is preempted at once whatever this says.
    pub preempt: Option<Duration>,
}

/// Why an order is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// There is no proxy here that would answer at the address.
    #[error("the proxy is not there")]
    NotReady,
    /// A fit holder would be replaced by this unfit one, only to take the address back.
    #[error("this balancer is unfit")]
    Unfit,
}

/// One virtual router. Every input says what time it is; after it the caller carries out the effects
/// ([`poll_effect`](Self::poll_effect)) and comes back at [`next_wake`](Self::next_wake) at the latest.
#[derive(Clone, Debug)]
pub struct Router {
    config: RouterConfig,
    fitness: Fitness,
    serving: bool,
    phase: Phase,
    reason: Reason,
    since: Duration,
    heard: Option<Heard>,
    /// The interval of whoever was heard last: it, not ours, says when silence means death.
    learned: Duration,
    stamps: Stamps,
    yielding: Yielding,
    effects: VecDeque<Effect>,
}

#[derive(Clone, Debug)]
enum Phase {
    Init,
    Backup {
        /// When to take over unless a holder is heard.
        down_at: Duration,
        /// What will have been the reason then.
        because: Reason,
        /// Before this an unfit holder is left alone: what we hear may be old.
        preempt_from: Duration,
        /// Since when the holder has been one that this router, fit itself, outranks.
        outranks_since: Option<Duration>,
    },
    Master(Term),
}

/// The last advert of another one that holds the address.
#[derive(Clone, Copy, Debug)]
struct Heard {
    from: IpAddr,
    priority: u8,
    at: Duration,
}

impl Router {
    /// A router in [`State::Init`].
    #[must_use]
    pub fn new(now: Duration, config: RouterConfig) -> Self {
        Router {
            config,
            fitness: Fitness::new(config.priority),
            serving: true,
            phase: Phase::Init,
            reason: Reason::New,
            since: now,
            heard: None,
            learned: config.interval,
            stamps: Stamps::default(),
            yielding: Yielding::new(config.own),
            effects: VecDeque::new(),
        }
    }

    /// What would answer at the address is there: take part (section 6.4.1).
    pub fn ready(&mut self, now: Duration) {
        if let Phase::Init = self.phase {
            if self.heard(now).is_none() {
                // Whoever that was, it is not there any more.
                (self.heard, self.learned) = (None, self.config.interval);
            }
            self.enter_backup(now, Reason::Ready, now);
        }
    }

    /// What would answer at the address is gone: take no part, and say so if the address was held
    /// (sections 6.4.2 and 6.4.3, Shutdown).
    pub fn stop(&mut self, now: Duration) {
        self.notice_sleep(now);
        self.fitness.set(Unfit::SteppingDown, false);
        match self.phase {
            Phase::Init => return,
            Phase::Backup { .. } => {}
            Phase::Master(_) => {
                // In this order nobody takes the address before it is free, and a process that was
                // frozen between the two says nothing false.
                self.effects.push_back(Effect::RemoveAddress);
                let interval = self.config.interval;
                self.effects.push_back(Effect::SendAdvert { priority: PRIORITY_RELEASE, interval });
            }
        }
        self.enter(now, Phase::Init, Reason::Stopped);
    }

    /// An advert arrived from `source`. One of another virtual router or family is ignored.
    pub fn receive(&mut self, now: Duration, source: IpAddr, advert: &Advert) {
        self.notice_sleep(now);
        if advert.vrid != self.config.vrid || source.is_ipv4() != self.config.own.is_ipv4() {
            return;
        }
        if advert.priority == PRIORITY_RELEASE {
            self.receive_release(now, source);
        } else if source != self.config.own {
            self.receive_claim(now, source, advert);
        }
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Duration) {
        self.notice_sleep(now);
        match &self.phase {
            Phase::Init => {}
            Phase::Backup { down_at, because, .. } => {
                if now >= *down_at {
                    let because = *because;
                    let raised = if because == Reason::Silence { self.outrank_the_silent(now) } else { None };
                    self.enter_master(now, because, raised);
                }
            }
            Phase::Master(_) => self.hold(now),
        }
    }

    /// The host's clock showed `stamp` when it sent what arrives now. A stamp can arrive late, never
    /// early: when they suddenly come from later than any before, this machine's clock stood still
    /// meanwhile, and with it this router. Then it lets go and listens, like one that woke up late. Without
    /// stamps nothing happens.
    pub fn host_stamp(&mut self, now: Duration, stamp: Duration) {
        self.notice_sleep(now);
        if let Some(paused) = self.stamps.note(now, stamp) {
            self.notice_pause(now, paused);
        }
    }

    /// Changes the priority that this router has while fit, clamped to 1 to 254.
    pub fn set_priority(&mut self, now: Duration, priority: u8) {
        self.adjust(now, |fitness| fitness.set_base(priority));
    }

    /// Says whether what answers at the address has anything to answer with; until told otherwise it has.
    /// A rebuilt balancer that knows no upstream yet leaves the address to any other: it takes it only
    /// when nobody was heard for three Down intervals, or for an interval after a holder let go. A holder
    /// stays the holder: when the upstreams are gone, they are gone for all.
    pub fn set_serving(&mut self, now: Duration, serving: bool) {
        self.notice_sleep(now);
        let began = serving && !self.serving;
        self.serving = serving;
        let soon = now + self.down();
        if let (true, Phase::Backup { down_at, .. }) = (began, &mut self.phase) {
            *down_at = soon.min(*down_at);
        }
    }

    /// Says that a trouble began or ended.
    pub fn set_unfit(&mut self, now: Duration, trouble: Unfit, on: bool) {
        self.adjust(now, |fitness| fitness.set(trouble, on));
    }

    /// Holds the address from now on. The former holder yields to a priority above its own, said until
    /// it has had the time to hear it; only at 254, the highest there is, its address decides.
    ///
    /// # Errors
    ///
    /// When this router cannot serve.
    pub fn take_over(&mut self, now: Duration) -> Result<(), Refused> {
        self.notice_sleep(now);
        match &mut self.phase {
            Phase::Init => return Err(Refused::NotReady),
            Phase::Backup { .. } if !self.fitness.is_fit() => return Err(Refused::Unfit),
            Phase::Backup { .. } => {
                let raised = self.heard(now).map(|heard| Raised {
                    over: heard.from,
                    priority: heard.priority.saturating_add(1).min(HIGHEST),
                    until: now + self.down() * PATIENCE,
                });
                self.enter_master(now, Reason::Ordered, raised);
            }
            Phase::Master(term) => {
                (term.offer_ends, term.offered_to) = (None, None);
                self.adjust(now, |fitness| fitness.set(Unfit::SteppingDown, false));
            }
        }
        Ok(())
    }

    /// Offers the address to the others: this router counts as unfit until one of them took it. If none
    /// does, it stays the holder.
    ///
    /// # Errors
    ///
    /// When this router takes no part.
    pub fn release(&mut self, now: Duration) -> Result<(), Refused> {
        self.notice_sleep(now);
        let ends = now + self.down() * PATIENCE;
        match &mut self.phase {
            Phase::Init => return Err(Refused::NotReady),
            Phase::Backup { .. } => {}
            Phase::Master(term) => {
                (term.offer_ends, term.offered_to) = (Some(ends), None);
                term.raised = None;
                self.fitness.set(Unfit::SteppingDown, true);
                self.advertise(now);
            }
        }
        Ok(())
    }

    /// Offers the address to the router that speaks from `to`, and to no other: those would hear of an unfit holder and
    /// take the address all at the same time. Until that one takes it, or three Down intervals are over, this router holds it
    /// like any fit holder.
    ///
    /// # Errors
    ///
    /// When this router takes no part.
    pub fn release_to(&mut self, now: Duration, to: IpAddr) -> Result<(), Refused> {
        self.notice_sleep(now);
        let ends = now + self.down() * PATIENCE;
        match &mut self.phase {
            Phase::Init => return Err(Refused::NotReady),
            Phase::Backup { .. } => {}
            Phase::Master(term) => {
                (term.offer_ends, term.offered_to) = (Some(ends), Some(to));
                self.advertise(now);
            }
        }
        Ok(())
    }

    /// The holder at `source` offers the address to this router alone. Returns whether it does so as far as is known here: by
    /// one that was not heard as a fit holder it is nothing but an advert. One that is unfit, or has nothing to serve with,
    /// leaves the address where it is.
    pub fn offered(&mut self, now: Duration, source: IpAddr) -> bool {
        self.notice_sleep(now);
        let Some(holder) = self.heard(now).filter(|heard| heard.from == source && heard.priority >= FIT_FROM)
        else {
            return false;
        };
        if let Phase::Backup { preempt_from, .. } = self.phase
            && self.serving
            && self.fitness.is_fit()
            && now >= preempt_from
        {
            // The others still know the former holder: what is said next counts for more than what that one said last.
            let raised = Raised {
                over: source,
                priority: holder.priority.saturating_add(1).min(HIGHEST),
                until: now + self.down() * PATIENCE,
            };
            self.enter_master(now, Reason::Offered(source), Some(raised));
        }
        true
    }

    /// The next thing to do, in order. `now` is the time at which it will be done: a process that was
    /// frozen since its last input gets something else to do than it would have got before.
    pub fn poll_effect(&mut self, now: Duration) -> Option<Effect> {
        self.notice_sleep(now);
        let effect = self.effects.pop_front()?;
        if let (Effect::SendAdvert { .. }, Phase::Master(term)) = (effect, &mut self.phase) {
            term.sent_at = now;
        }
        Some(effect)
    }

    /// When to call [`wake`](Self::wake) at the latest, and why; `None` while there is no hurry.
    #[must_use]
    pub fn next_wake(&self) -> Option<(Duration, WakeReason)> {
        match &self.phase {
            Phase::Init => None,
            Phase::Backup { down_at, .. } => Some((*down_at, WakeReason::Down)),
            Phase::Master(term) => Some(term.next()),
        }
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Init => State::Init,
            Phase::Backup { .. } => State::Backup,
            Phase::Master(_) => State::Master,
        }
    }

    /// What brought it into its state, and when.
    #[must_use]
    pub fn since(&self) -> (Reason, Duration) {
        (self.reason, self.since)
    }

    /// The priority it advertises, or would.
    #[must_use]
    pub fn priority(&self) -> u8 {
        let own = self.fitness.priority();
        match &self.phase {
            Phase::Init | Phase::Backup { .. } => self.yielding.limit().map_or(own, |limit| limit.min(own)),
            Phase::Master(term) => match term.raised {
                Some(raised) if self.fitness.is_fit() => raised.priority.max(own),
                Some(_) | None => own,
            },
        }
    }

    /// The priority it has while it is fit.
    #[must_use]
    pub fn base(&self) -> u8 {
        self.fitness.base()
    }

    /// Who holds the address as far as this router knows.
    #[must_use]
    pub fn holder(&self, now: Duration) -> Option<IpAddr> {
        match self.phase {
            Phase::Init | Phase::Backup { .. } => self.heard(now).map(|heard| heard.from),
            Phase::Master(_) => Some(self.config.own),
        }
    }
}
