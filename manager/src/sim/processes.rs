//! What befalls the processes in a balancer's machine: its proxy and its speaker tick, die, hang and start
//! again, and stand still with their machine.

use std::time::Duration;

use wire::MachineId;

use super::balancer::{TICK, Works};
use super::bug::Bug;
use super::guest::Frozen;
use super::speaker::{Speaker, Turn};
use super::world::{Happening, World};
use crate::engine::Time;

/// A holder that was silent for more than so many intervals may have been replaced.
const SILENT: u32 = 3;

impl World {
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
        lb.clear();
        self.resign(host, own);
    }

    pub(super) fn speaks(&mut self, host: usize, uid: u64) {
        let now = self.now;
        let Some(guest) = self.hosts[host].balancer().filter(|guest| guest.uid == uid) else { return };
        if guest.frozen.is_some() {
            return self.after(TICK, Happening::Speaks { host, uid });
        }
        let (clock, own) = (guest.clock(now), guest.address());
        let vips = self.hosts[host].config.vips.clone();
        let Some(lb) = self.lb_mut(host).filter(|lb| lb.speaker.is_none()) else { return };
        // A new speaker takes off what an earlier one left before it says anything.
        lb.clear();
        lb.speaker = Some(Speaker::new(clock, &vips, own));
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
        let mut stale_wakeups = 0;
        for vip in lb.has.clone() {
            let visible = clock.saturating_sub(lb.last_advert.get(&vip).copied().unwrap_or_default());
            if visible.max(now - frozen.since) > silence {
                let outranked = lb.speaker.as_ref().is_some_and(|speaker| speaker.is_outranked(vip, own));
                if visible > silence || (!midway && outranked) {
                    lb.stale.insert(vip);
                }
                stale_wakeups += 1;
            }
        }
        self.reached.stale_wakeups += stale_wakeups;
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
