//! What each fault does.

use std::time::Duration;

use wire::MachineId;
use wire::service::RollOrder;

use super::balancer::Works;
use super::faults::Kind;
use super::guest::Fate;
use super::host::{News, Work};
use super::network::Link;
use super::speaker::Turn;
use super::world::{Happening, World};

impl World {
    pub(super) fn any_machine(&mut self, host: usize) -> Option<MachineId> {
        let count = self.hosts[host].guests.len();
        let index = self.dice.index(count.max(1));
        self.hosts[host].guests.keys().nth(index).cloned()
    }

    pub(super) fn harm_network(&mut self, kind: Kind, host: usize) {
        let count = self.hosts.len();
        let other = (host + 1 + self.dice.index(count.max(2) - 1)) % count;
        let end = self.dice.ms(100, 9_000);
        self.checks.disturbed(self.now);
        match kind {
            Kind::Heal => self.network.heal(),
            Kind::OneWay => self.spoil(host, other, Link { cut: true, ..Link::default() }, end),
            Kind::Partition => {
                for there in (0..count).filter(|there| *there != host) {
                    let cut = Link { cut: true, ..Link::default() };
                    self.spoil(host, there, cut, end);
                    self.spoil(there, host, cut, end);
                }
            }
            _ => {
                let (loss, twice) = (self.dice.below(50) as u8, self.dice.below(30) as u8);
                let slow = self.dice.chance(50);
                let delay = if slow { self.dice.ms(0, 1_500) } else { Duration::ZERO };
                let jitter = self.dice.ms(0, 300);
                let link = Link { cut: false, loss, twice, delay, jitter };
                let to = if kind == Kind::Bridge { host } else { other };
                self.spoil(host, to, link, end);
            }
        }
    }

    fn spoil(&mut self, from: usize, to: usize, link: Link, end: Duration) {
        *self.network.link_mut(from, to) = link;
        let this = &mut self.hosts[from];
        if from == to
            && let Some(lb) = this.guests.get_mut(&this.lb).and_then(|guest| guest.balancer.as_mut())
        {
            lb.doubtful = true;
        }
        self.say(|| format!("{from} -> {to}: {link:?}"));
        self.after(end, Happening::Heals { from, to });
    }

    pub(super) fn harm_machine(&mut self, kind: Kind, host: usize, machine: MachineId) {
        let fate = match kind {
            Kind::Freeze => {
                let hidden = self.dice.chance(50);
                self.freeze(host, &machine, hidden);
                let Some(uid) = self.hosts[host].guests.get(&machine).map(|guest| guest.uid) else { return };
                let long = self.dice.chance(30);
                let pause = if long { self.dice.ms(1_000, 8_000) } else { self.dice.ms(20, 1_500) };
                return self.after(pause, Happening::Thaws { host, machine, uid });
            }
            Kind::SlowBoot => Fate::Boots(self.dice.ms(1_000, 20_000)),
            Kind::EndlessBoot => Fate::Hangs,
            Kind::CrashLoop => Fate::Crashes(self.dice.ms(1, 400)),
            _ => {
                self.end_machine(host, &machine, "it was killed");
                return;
            }
        };
        self.hosts[host].troubles.fates.insert(machine.clone(), fate);
        self.end_machine(host, &machine, "it was killed, and comes back badly");
    }

    pub(super) fn harm_hypervisor(&mut self, kind: Kind, host: usize) {
        let work = Work::ALL[self.dice.index(Work::ALL.len())];
        let (count, afterwards) = (1 + self.dice.below(4) as u32, self.dice.chance(50));
        let short = self.dice.ms(50, 3_000);
        let long = self.dice.chance(15).then(|| self.dice.ms(10_000, 40_000));
        let draw = self.dice.below(4);
        let late = self.dice.ms(5, 3_000);
        let now = self.now;
        let troubles = &mut self.hosts[host].troubles;
        match kind {
            Kind::HypervisorErrors => _ = troubles.failing.insert(work, (count, afterwards)),
            Kind::SlowHypervisor => _ = troubles.slow.insert(work, long.unwrap_or(short)),
            Kind::News => {
                troubles.news = match draw {
                    0 => News::Prompt,
                    1 => News::Lost,
                    2 => News::Late(late),
                    _ => News::Twice(late),
                };
            }
            _ => troubles.down_until = now + short,
        }
    }

    pub(super) fn harm_manager(&mut self, kind: Kind, host: usize) {
        match kind {
            Kind::StallManager => {
                let pause = self.dice.ms(100, 6_000);
                let until = self.now + pause;
                if let Some(manager) = self.hosts[host].manager.as_mut() {
                    manager.stalled_until = manager.stalled_until.max(until);
                }
            }
            Kind::LoseHost => {
                let back = self.now + self.dice.ms(200, 8_000);
                self.lose_host(host, back);
            }
            Kind::CrashManager => {
                let steps = self.dice.below(60);
                if let Some(manager) = self.hosts[host].manager.as_mut() {
                    manager.crash_in = Some(steps);
                }
                let pause = self.dice.ms(1_000, 6_000);
                self.after(pause, Happening::Starts { host });
            }
            _ => {
                self.kill_manager(host);
                let pause = self.dice.ms(1, 5_000);
                self.after(pause, Happening::Starts { host });
            }
        }
    }

    pub(super) fn jump(&mut self, host: usize) {
        let by = self.dice.ms(50, 5_000);
        if self.dice.chance(50) {
            self.hosts[host].ahead += by;
            // To its balancer this looks as if it had been paused, whenever it hears of it.
            let this = &mut self.hosts[host];
            if let Some(lb) = this.guests.get_mut(&this.lb).and_then(|guest| guest.balancer.as_mut()) {
                lb.doubtful = true;
            }
        } else if let Some(machine) = self.any_machine(host) {
            self.clock_jumps(host, &machine, by);
        }
    }

    pub(super) fn harm_proxy(&mut self, host: usize) {
        let pause = self.dice.ms(20, 3_000);
        match self.dice.below(4) {
            0 => self.kill_proxy(host, pause),
            1 => self.hang_proxy(host, Works::Hung, pause),
            2 => self.hang_proxy(host, Works::HalfHung, pause),
            _ => self.kill_speaker(host, pause),
        }
    }

    pub(super) fn people(&mut self, host: usize) {
        let (draw, machine) = (self.dice.below(6), self.any_machine(host));
        let at = self.now + self.hosts[host].ahead;
        let this = &mut self.hosts[host];
        let Some(manager) = this.manager.as_mut() else { return };
        let engine = &mut manager.engine;
        manager.dirty = true;
        match (draw, machine) {
            // A pool that is used up and a machine that is on its way out are refused; so it should be.
            (0, _) => _ = engine.create_machine(at, &"stateless".into()),
            (1, Some(machine)) if engine.delete_machine(at, &machine).is_ok() => {
                this.dismissed.insert(machine.clone());
                self.checks.addresses.remove(&machine);
            }
            (2, Some(machine)) if engine.replace_machine(at, &machine).is_ok() => {
                this.dismissed.insert(machine);
            }
            (3, _) => {
                let (service, order) = ("stateless".into(), RollOrder { rollback: true });
                if engine.roll(at, &service, &order).is_ok() {
                    this.rolled = true;
                    let machines = engine.machines(at).into_iter();
                    let machines = machines.filter(|machine| machine.service == service);
                    this.dismissed.extend(machines.map(|machine| machine.id));
                }
            }
            (4, _) => {
                self.checks.disturbed(self.now);
                self.speaker_turn(host, Turn::Release);
            }
            (5, _) => {
                self.checks.disturbed(self.now);
                self.speaker_turn(host, Turn::TakeOver);
            }
            _ => {}
        }
    }
}
