//! The balancers' part in the VIP: their speakers' turns, and what these do to the network.

use std::net::IpAddr;
use std::time::Duration;

use vrrp::fitness::OFFER;
use vrrp::packet::PRIORITY_RELEASE;
use vrrp::{Advert, Effect, Reason};

use super::balancer::Balancer;
use super::bug::Bug;
use super::checks::Checker;
use super::network::SLOW;
use super::speaker::{Packet, Turn};
use super::world::{Happening, World};

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

    pub(super) fn turn_at(&mut self, host: usize, turn: Turn, mistaken: Option<Duration>) -> bool {
        let never_again = self.has_bug(Bug::NeverReadyAgain);
        let clock = mistaken.or_else(|| Some(self.hosts[host].balancer()?.clock(self.now)));
        let (Some(clock), Some(lb)) = (clock, self.lb_mut(host)) else { return false };
        let Some(speaker) = lb.speaker.as_mut() else { return false };
        let (took_part, listened_until) = (speaker.takes_part(), speaker.listens_until());
        let obeyed = speaker.turn(clock, turn, never_again);
        // It may have stood still long ago, and find it out only now.
        let later = |(now, before): (&Option<Duration>, &Option<Duration>)| now > before;
        let listens_anew = lb.doubtful
            && matches!(turn, Turn::Stamp(_))
            && speaker.listens_until().iter().zip(&listened_until).any(later);
        if took_part != speaker.takes_part() || listens_anew {
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
    pub(super) fn carry_out_all(&mut self, host: usize, clock: Duration) {
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
            if let Some((vip, effect)) = effect {
                self.carry_out(host, vip, effect);
            }
        }
    }

    fn carry_out(&mut self, host: usize, which: usize, effect: Effect) {
        let now = self.now;
        let keeps = self.has_bug(Bug::OutrankedKeepsAddress);
        let Some(guest) = self.hosts[host].balancer() else { return };
        let (own, clock) = (guest.address(), guest.clock(now));
        let Some(lb) = self.lb_mut(host) else { return };
        let stale = lb.stale.contains(&which);
        let Some(vip) = lb.speaker.as_ref().and_then(|speaker| speaker.vip(which)).cloned() else { return };
        match effect {
            Effect::SendAdvert { priority, interval } => {
                lb.last_advert.insert(which, clock);
                self.say(|| format!("{host}: lb advertises {priority} for VIP {which}"));
                if stale && priority != PRIORITY_RELEASE {
                    self.violated(Checker::StaleHolder, || {
                        format!("the balancer of host {host} sends an advert")
                    });
                }
                let advert = Advert { vrid: vip.vrid, priority, interval, addresses: vec![vip.address] };
                self.multicast(host, own, &advert);
            }
            Effect::Offer { to, interval } => {
                let advert =
                    Advert { vrid: vip.vrid, priority: OFFER, interval, addresses: vec![vip.address] };
                self.say(|| format!("{host}: lb offers VIP {which} to {to}"));
                self.offer(host, own, to, &advert);
            }
            Effect::AddAddress => {
                lb.has.insert(which);
                self.say(|| format!("{host}: lb takes VIP {which}"));
                self.check_move(host);
            }
            Effect::RenewAddress => {}
            Effect::RemoveAddress => {
                lb.stale.remove(&which);
                if !keeps || !lb.takes_part() {
                    lb.has.remove(&which);
                }
                self.say(|| format!("{host}: lb lets go of VIP {which}"));
            }
            Effect::Announce => {
                if stale {
                    self.violated(Checker::StaleHolder, || {
                        format!("the balancer of host {host} announces the VIP")
                    });
                }
                for other in 0..self.hosts.len() {
                    for arrival in self.network.packet(host, other, &mut self.dice).0.into_iter().flatten() {
                        self.after(arrival, Happening::Announced { host: other, vip: which, holder: host });
                    }
                }
            }
            Effect::Changed(transition) => {
                // It may have stood still long ago, and find it out only now.
                if lb.doubtful && matches!(transition.reason, Reason::Paused(_)) {
                    self.checks.disturbed(now);
                }
                self.say(|| {
                    format!("{host}: lb is {:?} for VIP {which}: {}", transition.to, transition.reason)
                });
            }
        }
    }

    /// Sends an advert from `source`, who is on `host`, to all other balancers.
    fn multicast(&mut self, host: usize, source: IpAddr, advert: &Advert) {
        for other in 0..self.hosts.len() {
            for arrival in self.network.packet(host, other, &mut self.dice).0.into_iter().flatten() {
                let own = self.hosts[other].balancer().is_some_and(|guest| guest.address() == source);
                // Nobody hears itself; what a manager says in its balancer's name, that hears too.
                if other != host || !own || advert.priority == PRIORITY_RELEASE {
                    let packet = Packet { source, advert: advert.clone(), alone: false };
                    self.after(arrival, Happening::Advert { host: other, packet, late: arrival > SLOW });
                }
            }
        }
    }

    /// Sends an advert from `source`, who is on `host`, to the balancer at `to` alone.
    fn offer(&mut self, host: usize, source: IpAddr, to: IpAddr, advert: &Advert) {
        let is_there =
            |other: &usize| self.hosts[*other].balancer().is_some_and(|guest| guest.address() == to);
        let Some(other) = (0..self.hosts.len()).find(is_there) else { return };
        for arrival in self.network.packet(host, other, &mut self.dice).0.into_iter().flatten() {
            let packet = Packet { source, advert: advert.clone(), alone: true };
            self.after(arrival, Happening::Advert { host: other, packet, late: true });
        }
    }

    pub(super) fn advert_arrives(&mut self, host: usize, packet: Packet, late: bool) {
        if late || packet.advert.priority == PRIORITY_RELEASE {
            self.checks.disturbed(self.now);
            self.checks.starving.retain(|(_, at), _| *at != host);
        }
        let this = &mut self.hosts[host];
        let Some(guest) = this.guests.get_mut(&this.lb).filter(|guest| guest.running && guest.up) else {
            return;
        };
        let Some(speaker) = guest.balancer.as_mut().and_then(|lb| lb.speaker.as_mut()) else { return };
        speaker.arrives(packet);
        if guest.frozen.is_none() {
            self.speaker_turn(host, Turn::Advert);
        }
    }

    /// The manager of `host` says for a balancer that it let go.
    pub(super) fn resign(&mut self, host: usize, lb: IpAddr) {
        for vip in self.hosts[host].config.vips.clone() {
            let interval = vip.advert_interval;
            let addresses = vec![vip.address];
            let advert = Advert { vrid: vip.vrid, priority: PRIORITY_RELEASE, interval, addresses };
            self.multicast(host, lb, &advert);
        }
    }
}
