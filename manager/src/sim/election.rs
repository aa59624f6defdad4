//! The balancers' part in the VIP: their speakers' turns, and what these do to the network.

use std::net::Ipv4Addr;
use std::time::Duration;

use vrrp::packet::PRIORITY_RELEASE;
use vrrp::{Advert, Effect, Reason};
use wire::MachineId;

use super::balancer::{Balancer, TICK, Works};
use super::bug::Bug;
use super::checks::Checker;
use super::guest::Frozen;
use super::network::SLOW;
use super::speaker::{Speaker, Turn};
use super::world::{Happening, World};
use crate::engine::Time;

/// A holder that was silent for more than so many intervals may have been replaced.
const SILENT: u32 = 3;

impl World {
    /// The balancer of `host`, if its machine runs and does not stand still.
    pub(super) fn lb_mut(&mut self, host: usize) -> Option<&mut Balancer> {
        let this = &mut self.hosts[host];
        let guest = this.guests.get_mut(&this.lb).filter(|guest| guest.is_alive())?;
        guest.balancer.as_mut()
    }

    /// The speaker of `host` takes a turn. Returns whether it did, and did as it was told.
    pub(super) fn speaker_turn(&mut self, host: usize, turn: Turn) -> bool {
        self.turn_at(host, turn, None)
    }

    fn turn_at(&mut self, host: usize, turn: Turn, mistaken: Option<Duration>) -> bool {
        let never_again = self.has_bug(Bug::NeverReadyAgain);
        let clock = mistaken.or_else(|| Some(self.hosts[host].balancer()?.clock(self.now)));
        let (Some(clock), Some(lb)) = (clock, self.lb_mut(host)) else { return false };
        let Some(speaker) = lb.speaker.as_mut() else { return false };
        let took_part = speaker.takes_part();
        let obeyed = speaker.turn(clock, turn, never_again);
        if took_part != speaker.takes_part() {
            self.checks.disturbed(self.now);
        }
        self.carry_out_all(host, clock);
        if turn == Turn::End
            && let Some(lb) = self.lb_mut(host)
        {
            lb.speaker = None;
        }
        obeyed
    }

    /// Does what the speaker of `host` wants, one thing after the other; between two of them its machine
    /// may come to stand still.
    fn carry_out_all(&mut self, host: usize, clock: Duration) {
        loop {
            let Some(lb) = self.lb_mut(host) else { return };
            let effect = lb.speaker.as_mut().and_then(|speaker| match lb.freeze_after {
                Some((0, _)) => None,
                _ => speaker.poll(clock),
            });
            match (&mut lb.freeze_after, effect) {
                (Some((0, hidden)), _) => {
                    let hidden = *hidden;
                    (lb.freeze_after, lb.midway) = (None, true);
                    let machine = self.hosts[host].lb.clone();
                    self.freeze(host, &machine, hidden);
                    let uid = self.hosts[host].balancer().map_or(0, |guest| guest.uid);
                    let pause = self.dice.ms(50, 2_000);
                    return self.after(pause, Happening::Thaws { host, machine, uid });
                }
                (_, None) => {
                    if let Some(speaker) = lb.speaker.as_mut() {
                        speaker.rest(clock);
                    }
                    return;
                }
                (Some((left, _)), Some(_)) => *left -= 1,
                (None, Some(_)) => {}
            }
            if let Some(effect) = effect {
                self.carry_out(host, effect);
            }
        }
    }

    fn carry_out(&mut self, host: usize, effect: Effect) {
        let now = self.now;
        let keeps = self.has_bug(Bug::OutrankedKeepsAddress);
        let Some(guest) = self.hosts[host].balancer() else { return };
        let (own, clock) = (guest.address(), guest.clock(now));
        let Some(lb) = self.lb_mut(host) else { return };
        let stale = lb.stale;
        match effect {
            Effect::SendAdvert { priority, interval } => {
                let Some(vip) = lb.speaker.as_ref().map(|speaker| speaker.vip().clone()) else { return };
                lb.last_advert = clock;
                self.say(|| format!("{host}: lb advertises {priority}"));
                if stale && priority != PRIORITY_RELEASE {
                    self.violated(Checker::StaleHolder, || {
                        format!("the balancer of host {host} sends an advert")
                    });
                }
                let advert = Advert { vrid: vip.vrid, priority, interval, addresses: vec![vip.address] };
                self.multicast(host, own, &advert);
            }
            Effect::AddAddress => {
                lb.has_address = true;
                self.say(|| format!("{host}: lb takes the VIP"));
                self.check_move(host);
            }
            Effect::RenewAddress => {}
            Effect::RemoveAddress => {
                lb.stale = false;
                let outranked = keeps && lb.takes_part();
                lb.has_address &= outranked;
                self.say(|| format!("{host}: lb lets go of the VIP"));
            }
            Effect::Announce => {
                if stale {
                    self.violated(Checker::StaleHolder, || {
                        format!("the balancer of host {host} announces the VIP")
                    });
                }
                for other in 0..self.hosts.len() {
                    for arrival in self.network.packet(host, other, &mut self.dice).0.into_iter().flatten() {
                        self.after(arrival, Happening::Announced { host: other, holder: host });
                    }
                }
            }
            Effect::Changed(transition) => {
                // It may have stood still long ago, and find it out only now.
                if lb.doubtful && matches!(transition.reason, Reason::Paused(_)) {
                    self.checks.disturbed(now);
                }
                self.say(|| format!("{host}: lb is {:?}: {}", transition.to, transition.reason));
            }
        }
    }

    /// Sends an advert from `source`, who is on `host`, to all other balancers.
    fn multicast(&mut self, host: usize, source: Ipv4Addr, advert: &Advert) {
        for other in 0..self.hosts.len() {
            for arrival in self.network.packet(host, other, &mut self.dice).0.into_iter().flatten() {
                let own = self.hosts[other].balancer().is_some_and(|guest| guest.address() == source);
                // Nobody hears itself; what a manager says in its balancer's name, that hears too.
                if other != host || !own || advert.priority == PRIORITY_RELEASE {
                    let (late, advert) = (arrival > SLOW, advert.clone());
                    self.after(arrival, Happening::Advert { host: other, source, advert, late });
                }
            }
        }
    }

    pub(super) fn advert_arrives(&mut self, host: usize, source: Ipv4Addr, advert: Advert, late: bool) {
        if late || advert.priority == PRIORITY_RELEASE {
            self.checks.disturbed(self.now);
            self.checks.starving[host] = None;
        }
        let this = &mut self.hosts[host];
        let Some(guest) = this.guests.get_mut(&this.lb).filter(|guest| guest.running && guest.up) else {
            return;
        };
        let Some(speaker) = guest.balancer.as_mut().and_then(|lb| lb.speaker.as_mut()) else { return };
        speaker.arrives(source, advert);
        if guest.frozen.is_none() {
            self.speaker_turn(host, Turn::Advert);
        }
    }

    /// The manager of `host` says for a balancer that it let go.
    pub(super) fn resign(&mut self, host: usize, lb: Ipv4Addr) {
        let Some(vip) = self.hosts[host].config.vips.first() else { return };
        let interval = vip.advert_interval;
        let addresses = vec![vip.address];
        let advert = Advert { vrid: vip.vrid, priority: PRIORITY_RELEASE, interval, addresses };
        self.multicast(host, lb, &advert);
    }

    /// The workers of a balancer tick, if they can; its supervisor does what is due.
    pub(super) fn tick(&mut self, host: usize, uid: u64) {
        let now = self.now;
        let this = &self.hosts[host];
        if !this.balancer().is_some_and(|guest| guest.uid == uid && guest.running) {
            return;
        }
        self.after(TICK, Happening::Tick { host, uid });
        let Some(lb) = self.lb_mut(host) else { return };
        let due = now >= lb.proxy.until;
        match lb.proxy.works {
            Works::Well => {}
            Works::Hung | Works::HalfHung if due => lb.proxy.works = Works::Well,
            Works::Dead if due => {
                lb.proxy.start();
                let (generation, acknowledged) = (lb.proxy.set.generation, lb.acknowledged);
                self.check_restarted(host, generation, acknowledged);
            }
            Works::Hung | Works::HalfHung | Works::Dead => return,
        }
        let Some(lb) = self.lb_mut(host) else { return };
        let (streams, serving) = (lb.proxy.streams, lb.proxy.upstreams().next().is_some());
        if std::mem::replace(&mut lb.serving, serving) != serving {
            // It listens longer while it has nobody to send requests to.
            self.checks.disturbed(now);
        }
        self.speaker_turn(host, Turn::Tick(streams, serving));
    }

    /// The proxy of `host` dies, and comes back after `pause`.
    pub(super) fn kill_proxy(&mut self, host: usize, pause: Duration) {
        let until = self.now + pause;
        let Some(lb) = self.lb_mut(host) else { return };
        lb.proxy.die();
        lb.proxy.until = until;
        let streams = lb.proxy.streams;
        self.say(|| format!("{host}: proxy dies"));
        self.speaker_turn(host, Turn::Closed(streams));
    }

    /// The proxy of `host` does nothing for a while.
    pub(super) fn hang_proxy(&mut self, host: usize, works: Works, pause: Duration) {
        let now = self.now;
        let Some(lb) = self.lb_mut(host).filter(|lb| lb.proxy.works == Works::Well) else { return };
        lb.proxy.works = works;
        lb.proxy.until = now + pause;
        (lb.hung_at, lb.hung_before) = (Some(now), lb.hung_holding);
        self.checks.disturbed_by_hang(now, pause);
        self.say(|| format!("{host}: proxy hangs"));
    }

    /// The speaker of `host` dies; the supervisor sees it at once.
    pub(super) fn kill_speaker(&mut self, host: usize, pause: Duration) {
        let Some(uid) = self.hosts[host].balancer().map(|guest| guest.uid) else { return };
        let Some(lb) = self.lb_mut(host) else { return };
        lb.speaker = None;
        self.checks.disturbed(self.now);
        self.say(|| format!("{host}: speaker dies"));
        let cleaned = self.dice.ms(1, 20);
        self.after(cleaned, Happening::Cleans { host, uid });
        self.after(cleaned + pause, Happening::Speaks { host, uid });
    }

    pub(super) fn cleans(&mut self, host: usize, uid: u64) {
        let Some(guest) = self.hosts[host].balancer().filter(|guest| guest.uid == uid) else { return };
        let own = guest.address();
        let Some(lb) = self.lb_mut(host).filter(|lb| lb.speaker.is_none()) else { return };
        (lb.has_address, lb.stale) = (false, false);
        self.resign(host, own);
    }

    pub(super) fn speaks(&mut self, host: usize, uid: u64) {
        let now = self.now;
        let Some(guest) = self.hosts[host].balancer().filter(|guest| guest.uid == uid) else { return };
        if guest.frozen.is_some() {
            return self.after(TICK, Happening::Speaks { host, uid });
        }
        let (clock, own) = (guest.clock(now), guest.address());
        let Some(vip) = self.hosts[host].config.vips.first().cloned() else { return };
        let Some(lb) = self.lb_mut(host).filter(|lb| lb.speaker.is_none()) else { return };
        // A new speaker takes off what an earlier one left before it says anything.
        (lb.has_address, lb.stale) = (false, false);
        lb.speaker = Some(Speaker::new(clock, &vip, own));
        self.checks.disturbed(now);
    }

    /// A machine that stood still goes on where it was.
    ///
    /// Others may have replaced a holder that was silent for three intervals. By its own clock it can know
    /// that at once. Where its clock stood still too, it can know from what the others said meanwhile: who
    /// took over from a silent holder outranks it. Nobody can know anything in the middle of doing what its
    /// router wanted before. Where the others say nothing that outranks it, it stays the holder until the
    /// next stamp of its host.
    pub(super) fn wakes_up(&mut self, host: usize, machine: &MachineId, frozen: Frozen) {
        if *machine != self.hosts[host].lb {
            return;
        }
        let now = self.now;
        self.checks.disturbed(now);
        let Some(guest) = self.hosts[host].balancer() else { return };
        let (clock, own) = (guest.clock(now), guest.address());
        let Some(vip) = self.hosts[host].config.vips.first() else { return };
        let silence = vip.advert_interval * SILENT;
        let old = self.has_bug(Bug::WakesWithOldClock).then(|| clock.saturating_sub(now - frozen.since));
        let Some(lb) = self.lb_mut(host) else { return };
        lb.doubtful |= frozen.hidden;
        let midway = std::mem::take(&mut lb.midway);
        let visible = clock.saturating_sub(lb.last_advert);
        if lb.has_address && visible.max(now - frozen.since) > silence {
            let outranked = lb.speaker.as_ref().is_some_and(|speaker| speaker.is_outranked(own));
            lb.stale = visible > silence || (!midway && outranked);
            self.reached.stale_wakeups += 1;
        }
        if midway {
            self.carry_out_all(host, old.unwrap_or(clock));
        }
        let turn = if self.dice.chance(50) { Turn::Timer } else { Turn::Advert };
        self.turn_at(host, turn, old);
    }

    /// The clock of a machine jumps ahead, as after a restored snapshot.
    pub(super) fn clock_jumps(&mut self, host: usize, machine: &MachineId, by: Duration) {
        let now: Time = self.now;
        if let Some(guest) = self.hosts[host].guests.get_mut(machine) {
            guest.ahead += by;
        }
        if *machine == self.hosts[host].lb {
            self.checks.disturbed(now);
        }
    }
}
