//! The rules: what an advert, the passing of time or a long sleep does to a router. The only place where
//! a router changes its state.

use std::net::IpAddr;
use std::time::Duration;

use super::contest::Contest;
use super::term::{Raised, Term};
use super::{Heard, PATIENCE, Phase, Router};
use crate::effect::{Effect, Reason, State, Transition};
use crate::fitness::{FIT_FROM, Fitness, HIGHEST, PREFERRED, Unfit};
use crate::packet::Advert;

/// A holder is silent for longer than this many of its intervals only if it is gone: the others wait
/// so long and their skew (section 6.1, `Active_Down_Interval`).
const DOWN_INTERVALS: u32 = 3;

/// A holder that slept listens for so many intervals and its skew before it takes the address again: whoever
/// took its place says so in each interval.
const LISTEN_INTERVALS: u32 = 1;

/// An advert or a Down timer that is attended to so many intervals after it was due is too late.
const LATE_INTERVALS: u32 = 2;

/// For so long the one who took over from a silent holder outranks it, unless that one shows earlier that
/// it listens. A machine paused for longer has been replaced.
const OUTRANK_FOR: Duration = Duration::from_secs(60);

impl Router {
    /// Somebody, perhaps a manager in a dead machine's name, says that `source` let go.
    pub(super) fn receive_release(&mut self, now: Duration, source: IpAddr) {
        let from_holder = self.heard.is_some_and(|heard| heard.from == source);
        // One that has nothing to serve with lets all others go first.
        let soon = now + self.skew() + if self.serving { Duration::ZERO } else { self.learned };
        self.former_holder_spoke(now, source);
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
    pub(super) fn receive_claim(&mut self, now: Duration, source: IpAddr, advert: &Advert) {
        let theirs = advert.priority;
        let mine = self.priority();
        let is_lesser = self.is_lesser(now, source, theirs);
        match &mut self.phase {
            Phase::Init => self.listen_to(now, source, advert),
            // Of two who claim the address, the lesser one will give way to the other; it says nothing of who
            // holds it, and taking its place would take the address from the other.
            Phase::Backup { .. } if is_lesser => {}
            Phase::Backup { preempt_from, outranks_since, .. } => {
                let (preempt_from, before) = (*preempt_from, *outranks_since);
                self.listen_to(now, source, advert);
                let outranks = mine > theirs && self.serving;
                let outranks_since = (outranks && self.fitness.is_fit()).then(|| before.unwrap_or(now));
                let delay_over = |(since, delay)| now >= since + delay;
                if outranks && theirs < FIT_FROM && now >= preempt_from {
                    self.take_from_unfit(now, source, mine);
                } else if outranks_since.zip(self.config.preempt).is_some_and(delay_over)
                    && now >= preempt_from
                {
                    self.enter_master(now, Reason::Preempted(source), None);
                } else {
                    // Section 6.4.2, with Preempt_Mode false.
                    let (down_at, because) = (now + self.patience(), Reason::Silence);
                    self.phase = Phase::Backup { down_at, because, preempt_from, outranks_since };
                }
            }
            // Section 6.4.3: the higher priority wins, among equals the higher address. To whom we offered the address
            // we yield in any case.
            Phase::Master(term)
                if (theirs, source) > (mine, self.config.own)
                    || theirs >= FIT_FROM && term.offered_to == Some(source) =>
            {
                self.listen_to(now, source, advert);
                self.take_off();
                // One last claim: a winner that never heard us, across a cable that was cut, would not
                // know that the neighbours have been told otherwise and must be told again. Only now
                // that the address is off: we may be the one that was asleep and does not know it.
                self.advertise(now);
                self.enter_backup(now, Reason::Outranked(source), now);
            }
            Phase::Master(term) => {
                if Contest::goes_on(&mut term.contest, now, advert) {
                    return self.yield_to(now, source, advert);
                }
                // Section 6.4.3: answer at once, which teaches the bridges and the other where we are.
                // It has told the neighbours otherwise, so tell them again too.
                term.announcing.restart(now);
                self.former_holder_spoke(now, source);
                self.advertise(now);
                self.hold(now);
            }
        }
    }

    /// The holder at `source` is unfit, and this router, of priority `mine`, takes its place: the preferred one at once, the
    /// others later by as much as their skew is longer. Else all of them would, and neighbours and clients would
    /// believe whoever gives way last.
    fn take_from_unfit(&mut self, now: Duration, source: IpAddr, mine: u8) {
        let reason = Reason::UnfitHolder(source);
        let turn = now + self.learned * u32::from(PREFERRED.saturating_sub(mine)) / 256;
        let patience = now + self.patience();
        let Phase::Backup { down_at, because, .. } = &mut self.phase else { return };
        // It says so with every advert; the turn is counted from the first.
        *down_at = if *because == reason { turn.min(*down_at) } else { turn.min(patience) };
        *because = reason;
        if now >= *down_at {
            self.enter_master(now, reason, None);
        }
    }

    /// `source` does not hear us, whatever we say. Two holders would be there for ever, so the one that
    /// hears goes: whoever listens to both then knows one holder only.
    fn yield_to(&mut self, now: Duration, source: IpAddr, advert: &Advert) {
        self.listen_to(now, source, advert);
        self.yielding.begin(now, advert.priority);
        self.take_off();
        self.enter_backup(now, Reason::Unheard(source), now);
    }

    /// What a router says that takes over from a holder that fell silent: more than the holder said last.
    /// Should that one only have been paused, it loses with the first advert it hears.
    pub(super) fn outrank_the_silent(&self, now: Duration) -> Option<Raised> {
        let last = self.heard.filter(|_| self.fitness.is_fit())?;
        let priority = last.priority.saturating_add(1).min(HIGHEST);
        // With `preempt` a former holder of higher priority is to have the address back; it only has to
        // lose it first.
        let time = if self.config.preempt.is_some() { self.down() * PATIENCE } else { OUTRANK_FOR };
        (priority > self.fitness.priority()).then_some(Raised {
            over: last.from,
            priority,
            until: now + time,
        })
    }

    /// The former holder is awake: soon it will have heard us, and need not be outranked any more.
    fn former_holder_spoke(&mut self, now: Duration, source: IpAddr) {
        let soon = now + self.down() * PATIENCE;
        if let Phase::Master(Term { raised: Some(raised), .. }) = &mut self.phase
            && raised.over == source
        {
            raised.until = raised.until.min(soon);
        }
    }

    /// Whether a better holder was heard so lately that it is surely there: who takes over from a silent one waits
    /// for longer.
    fn is_lesser(&self, now: Duration, source: IpAddr, priority: u8) -> bool {
        self.heard.is_some_and(|heard| {
            heard.from != source
                && (heard.priority, heard.from) > (priority, source)
                && heard.priority >= FIT_FROM
                && now <= heard.at + self.learned * LATE_INTERVALS
        })
    }

    fn listen_to(&mut self, now: Duration, source: IpAddr, advert: &Advert) {
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
            (term.offer_ends, term.offered_to) = (None, None);
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
            term.advert_at = now + Contest::pace(term.contest.as_ref(), now, interval);
            self.effects.push_back(Effect::SendAdvert { priority, interval });
            self.effects.extend(term.offered_to.map(|to| Effect::Offer { to, interval }));
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
        self.yielding.pass(now);
        match &self.phase {
            Phase::Init => {}
            Phase::Backup { down_at, .. } => {
                if now > *down_at + self.learned * LATE_INTERVALS {
                    self.listen_anew(now);
                }
            }
            Phase::Master(term) => {
                // The next advert was due one interval after the last.
                let due = term.sent_at + self.config.interval;
                if now > due + self.config.interval * LATE_INTERVALS {
                    self.let_go(now, Reason::WokeLate(now.saturating_sub(due)));
                }
            }
        }
    }

    /// This machine stood still for `paused`, and its clock with it.
    pub(super) fn notice_pause(&mut self, now: Duration, paused: Duration) {
        match &self.phase {
            Phase::Init => {}
            Phase::Backup { .. } => {
                if paused > self.learned * LATE_INTERVALS {
                    self.listen_anew(now);
                }
            }
            Phase::Master(_) => {
                if paused > self.config.interval * LATE_INTERVALS {
                    self.let_go(now, Reason::Paused(paused));
                }
            }
        }
    }

    /// What this Backup knows of the holder is old.
    fn listen_anew(&mut self, now: Duration) {
        let (down_at, because) = (now + self.patience(), Reason::Silence);
        self.phase = Phase::Backup { down_at, because, preempt_from: down_at, outranks_since: None };
    }

    /// Others may hold the address by now: takes it off and listens before anything is said.
    fn let_go(&mut self, now: Duration, reason: Reason) {
        self.take_off();
        self.heard = None;
        self.fitness.set(Unfit::SteppingDown, false);
        let down_at = now + self.learned * LISTEN_INTERVALS + self.skew();
        let (because, preempt_from) = (Reason::Silence, now + self.down());
        self.enter(now, Phase::Backup { down_at, because, preempt_from, outranks_since: None }, reason);
    }

    /// The address is to come off before anything else is done. What was to be said as its holder, perhaps to
    /// an older advert of the same turn, is not said any more.
    fn take_off(&mut self) {
        self.effects.retain(|effect| matches!(effect, Effect::Changed(_)));
        self.effects.push_back(Effect::RemoveAddress);
    }

    pub(super) fn enter_backup(&mut self, now: Duration, reason: Reason, preempt_from: Duration) {
        self.fitness.set(Unfit::SteppingDown, false);
        let (down_at, because) = (now + self.patience(), Reason::Silence);
        self.enter(now, Phase::Backup { down_at, because, preempt_from, outranks_since: None }, reason);
    }

    /// Section 6.4.2: the advert first, so that no other takes over too; the address before it is
    /// announced, so that what the announcement attracts is answered.
    pub(super) fn enter_master(&mut self, now: Duration, reason: Reason, raised: Option<Raised>) {
        let from = self.state();
        self.yielding.end();
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

    /// How long nobody must be heard before this router takes over.
    fn patience(&self) -> Duration {
        self.down() * if self.serving { 1 } else { PATIENCE }
    }

    /// `Active_Down_Interval` (section 6.1).
    pub(super) fn down(&self) -> Duration {
        self.learned * DOWN_INTERVALS + self.skew()
    }
}
