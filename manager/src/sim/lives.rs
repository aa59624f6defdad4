//! What becomes of a machine once it is made: it boots, stands still, goes on, ends; and of all of a host's
//! when the host loses power.

use std::time::Duration;

use wire::MachineId;

use super::guest::Frozen;
use super::host::News;
use super::speaker::{Speaker, Turn};
use super::world::{Happening, World};
use crate::engine::{Event, Time};

/// The hypervisor asks a machine to end for so long; then it says that it does not.
const STOP_LIMIT: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn boots(&mut self, host: usize, machine: &MachineId, uid: u64) {
        let (now, vips) = (self.now, self.hosts[host].config.vips.clone());
        let guest = self.hosts[host].guests.get_mut(machine);
        let Some(guest) = guest.filter(|guest| guest.uid == uid && guest.running) else { return };
        if guest.frozen.is_some() {
            let machine = machine.clone();
            return self.after(Duration::from_millis(100), Happening::Boots { host, machine, uid });
        }
        guest.up = true;
        let (clock, own) = (guest.clock(now), guest.address());
        let Some(balancer) = guest.balancer.as_mut() else { return };
        balancer.proxy.start();
        balancer.doubtful = !self.network.link(host, host).is_clean();
        balancer.speaker = Some(Speaker::new(clock, &vips, own));
        self.checks.disturbed(now);
        self.after(Duration::from_millis(5), Happening::Tick { host, uid });
        self.say(|| format!("{host}: {machine} boots"));
    }

    /// A machine is asked to end: a balancer lets go first. Returns how long the whole takes.
    pub(super) fn asked_to_end(&mut self, host: usize, machine: &MachineId, delay: Duration) -> Duration {
        let Some(guest) = self.hosts[host].guests.get(machine) else { return delay };
        if guest.frozen.is_some() {
            return STOP_LIMIT;
        }
        if guest.balancer.is_some() && guest.up {
            self.speaker_turn(host, Turn::End);
            // It ends now whatever becomes of who asked.
            let (machine, uid) = (machine.clone(), self.hosts[host].balancer().map_or(0, |guest| guest.uid));
            self.after(delay, Happening::Dies { host, machine, uid, why: "it was asked to" });
        }
        delay
    }

    /// A machine ends; its hypervisor tells of it. Returns whether it ran.
    pub(super) fn end_machine(&mut self, host: usize, machine: &MachineId, reason: &str) -> bool {
        let (now, life) = (self.now, self.hosts[host].life);
        let Some(guest) = self.hosts[host].guests.get_mut(machine).filter(|guest| guest.running) else {
            return false;
        };
        (guest.running, guest.up, guest.frozen) = (false, false, None);
        if let Some(balancer) = guest.balancer.as_mut() {
            balancer.speaker = None;
            balancer.clear();
            self.checks.disturbed(now);
        }
        let incarnation = guest.purpose.incarnation;
        self.lost(host, machine);
        self.say(|| format!("{host}: {machine}.{incarnation} ends: {reason}"));
        let event = Event::Exited { machine: machine.clone(), incarnation, reason: reason.to_owned() };
        let soon = Duration::from_millis(1);
        let down = now < self.hosts[host].troubles.down_until;
        match self.hosts[host].troubles.news {
            _ if down => {}
            News::Lost => {}
            News::Prompt => self.after(soon, Happening::Told { host, life, event }),
            News::Late(delay) => self.after(delay, Happening::Told { host, life, event }),
            News::Twice(delay) => {
                self.after(soon, Happening::Told { host, life, event: event.clone() });
                self.after(delay, Happening::Told { host, life, event });
            }
        }
        true
    }

    /// A machine stands still; nobody is told.
    pub(super) fn freeze(&mut self, host: usize, machine: &MachineId, hidden: bool) {
        let now = self.now;
        let guest = self.hosts[host].guests.get_mut(machine);
        let Some(guest) = guest.filter(|guest| guest.running && guest.frozen.is_none()) else { return };
        guest.frozen = Some(Frozen { since: now, hidden });
        if guest.balancer.is_some() {
            self.checks.disturbed(now);
        }
        self.checks.lost_at = self.now;
        self.say(|| {
            format!("{host}: {machine} stands still{}", if hidden { ", and so does its clock" } else { "" })
        });
    }

    /// … and goes on.
    pub(super) fn thaw(&mut self, host: usize, machine: &MachineId, uid: Option<u64>) {
        let now = self.now;
        let guest = self.hosts[host].guests.get_mut(machine);
        let Some(guest) = guest.filter(|guest| uid.is_none_or(|uid| guest.uid == uid)) else { return };
        let Some(frozen) = guest.thaw(now) else { return };
        self.say(|| format!("{host}: {machine} goes on"));
        self.wakes_up(host, machine, frozen);
    }

    /// Power is cut: nothing is left but the disk.
    pub(super) fn lose_host(&mut self, host: usize, back: Time) {
        let this = &mut self.hosts[host];
        (this.up, this.manager) = (false, None);
        this.life += 1;
        this.guests.clear();
        self.checks.disturbed(self.now);
        self.checks.lost_at = self.now;
        self.checks.harmed(self.now);
        self.say(|| format!("{host}: loses power"));
        self.at(back, Happening::Returns { host });
    }

    pub(super) fn host_returns(&mut self, host: usize) {
        if !self.hosts[host].up {
            self.hosts[host].up = true;
            self.checks.harmed(self.now);
            self.start_manager(host);
        }
    }
}
