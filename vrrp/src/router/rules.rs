//! The rules: what an advert, the passing of time or a long sleep does to a router. The only place where
//! a router changes its state.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::term::{Raised, Term};
use super::{Heard, Phase, Router};
use crate::effect::{Effect, Reason, State, Transition};
use crate::fitness::{FIT_FROM, Fitness, Unfit};
use crate::packet::Advert;

/// A holder is silent for longer than this many of its intervals only if it is gone: the others wait
/// so long and their skew (section 6.1, `Active_Down_Interval`).
const DOWN_INTERVALS: u32 = 3;

/// A holder that slept listens for so many intervals and its skew before it takes the address again: whoever
/// took its place says so in each interval.
const LISTEN_INTERVALS: u32 = 1;

/// An advert or a Down timer that is attended to so many intervals after it was due is too late.
const LATE_INTERVALS: u32 = 2;

impl Router {
    /// Somebody, perhaps a manager in a dead machine's name, says that `source` let go.
    pub(super) fn receive_release(&mut self, now: Duration, source: Ipv4Addr) {
        let from_holder = self.heard.is_some_and(|heard| heard.from == source);
        let soon = now + self.skew();
        match &mut self.phase {
            Phase::Init if from_holder => self.heard = None,
            // Section 6.4.2: wait for the skew, so that the highest of several takes over.
            Phase::Backup { down_at, because, .. } if from_holder => {
                *down_at = soon.min(*down_at);
                *because = Reason::Released(source);
                self.heard = None;
            }
            Phase::Init | Phase::Backup { .. } => {}
            // Section 6.4.3: the others are about to elect; we are still here. So too when it was said
            // in our own name.
            Phase::Master(_) => self.advertise(now),
        }
    }

    /// `source` says that it holds the address.
    pub(super) fn receive_claim(&mut self, now: Duration, source: Ipv4Addr, advert: &Advert) {
        let theirs = advert.priority;
        let mine = self.priority();
        match &mut self.phase {
            Phase::Init => self.listen_to(now, source, advert),
            Phase::Backup { preempt_from, .. } => {
                let preempt_from = *preempt_from;
                self.listen_to(now, source, advert);
                if theirs < FIT_FROM && mine > theirs && now >= preempt_from {
                    self.enter_master(now, Reason::UnfitHolder(source), None);
                } else {
                    // Section 6.4.2, with Preempt_Mode false.
                    let (down_at, because) = (now + self.down(), Reason::Silence);
                    self.phase = Phase::Backup { down_at, because, preempt_from };
                }
            }
            // Section 6.4.3: the higher priority wins, among equals the higher address.
            Phase::Master(_) if (theirs, source) > (mine, self.config.own) => {
                self.listen_to(now, source, advert);
                // One last claim: a winner that never heard us, across a cable that was cut, would not
                // know that the neighbours have been told otherwise and must be told again.
                self.advertise(now);
                self.effects.push_back(Effect::RemoveAddress);
                self.enter_backup(now, Reason::Outranked(source), now);
            }
            // Section 6.4.3: answer at once, which teaches the bridges and the other where we are.
            // It has told the neighbours otherwise, so tell them again too.
            Phase::Master(term) => {
                term.announcing.restart(now);
                self.advertise(now);
                self.hold(now);
            }
        }
    }

    fn listen_to(&mut self, now: Duration, source: Ipv4Addr, advert: &Advert) {
        self.heard = Some(Heard { from: source, priority: advert.priority, at: now });
        self.learned = advert.interval;
    }

    /// Does whatever of a holder's duties is due.
    pub(super) fn hold(&mut self, now: Duration) {
        let Phase::Master(term) = &mut self.phase else { return };
        let mut advert_due = now >= term.advert_at;
        if term.raised.is_some_and(|raised| now >= raised.until) {
            term.raised = None;
        }
        if term.offer_ends.is_some_and(|ends| now >= ends) {
            term.offer_ends = None;
            self.fitness.set(Unfit::SteppingDown, false);
            advert_due = true;
        }
        if now >= term.renew_at {
            term.renewed(now);
            self.effects.push_back(Effect::RenewAddress);
        }
        if now >= term.announcing.due {
            term.announcing.announced(now);
            self.effects.push_back(Effect::Announce);
        }
        if advert_due {
            self.advertise(now);
        }
    }

    pub(super) fn advertise(&mut self, now: Duration) {
        let (priority, interval) = (self.priority(), self.config.interval);
        if let Phase::Master(term) = &mut self.phase {
            term.advert_at = now + interval;
            self.effects.push_back(Effect::SendAdvert { priority, interval });
        }
    }

    /// Changes the fitness and lets the others know at once.
    pub(super) fn adjust(&mut self, now: Duration, change: impl FnOnce(&mut Fitness)) {
        self.notice_sleep(now);
        let before = self.priority();
        change(&mut self.fitness);
        if self.priority() != before {
            self.advertise(now);
        }
    }

    /// Finds out whether this router slept so long that others may have taken its place, which the
    /// adverts still unread in its socket will say. Nothing that was to be said before is said now.
    pub(super) fn notice_sleep(&mut self, now: Duration) {
        match &mut self.phase {
            Phase::Init => {}
            Phase::Backup { down_at, .. } => {
                if now > *down_at + self.learned * LATE_INTERVALS {
                    let (fresh_from, because) = (now + self.down(), Reason::Silence);
                    self.phase = Phase::Backup { down_at: fresh_from, because, preempt_from: fresh_from };
                }
            }
            Phase::Master(term) => {
                // The next advert was due one interval after the last.
                let due = term.sent_at + self.config.interval;
                if now > due + self.config.interval * LATE_INTERVALS {
                    self.effects.retain(|effect| matches!(effect, Effect::Changed(_)));
                    self.effects.push_back(Effect::RemoveAddress);
                    self.heard = None;
                    let reason = Reason::WokeLate(now.saturating_sub(due));
                    self.fitness.set(Unfit::SteppingDown, false);
                    let down_at = now + self.learned * LISTEN_INTERVALS + self.skew();
                    let (because, preempt_from) = (Reason::Silence, now + self.down());
                    self.enter(now, Phase::Backup { down_at, because, preempt_from }, reason);
                }
            }
        }
    }

    pub(super) fn enter_backup(&mut self, now: Duration, reason: Reason, preempt_from: Duration) {
        self.fitness.set(Unfit::SteppingDown, false);
        let (down_at, because) = (now + self.down(), Reason::Silence);
        self.enter(now, Phase::Backup { down_at, because, preempt_from }, reason);
    }

    /// Section 6.4.2: the advert first, so that no other takes over too; the address before it is
    /// announced, so that what the announcement attracts is answered.
    pub(super) fn enter_master(&mut self, now: Duration, reason: Reason, raised: Option<Raised>) {
        let from = self.state();
        self.phase = Phase::Master(Term::new(now, raised));
        self.advertise(now);
        self.effects.push_back(Effect::AddAddress);
        self.hold(now);
        self.changed(now, from, reason);
    }

    pub(super) fn enter(&mut self, now: Duration, phase: Phase, reason: Reason) {
        let from = self.state();
        self.phase = phase;
        self.changed(now, from, reason);
    }

    fn changed(&mut self, now: Duration, from: State, reason: Reason) {
        self.reason = reason;
        self.since = now;
        self.effects.push_back(Effect::Changed(Transition { from, to: self.state(), reason }));
    }

    pub(super) fn heard(&self, now: Duration) -> Option<Heard> {
        self.heard.filter(|heard| now <= heard.at + self.down())
    }

    /// `Skew_Time` (section 6.1): the higher the priority, the sooner.
    fn skew(&self) -> Duration {
        self.learned * (256 - u32::from(self.fitness.priority())) / 256
    }

    /// `Active_Down_Interval` (section 6.1).
    pub(super) fn down(&self) -> Duration {
        self.learned * DOWN_INTERVALS + self.skew()
    }
}
