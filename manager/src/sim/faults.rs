//! What can go wrong, and how it is drawn.

use std::time::Duration;

use wire::MachineId;

use super::balancer::Works;
use super::guest::Fate;
use super::host::{News, Troubles, Work};
use super::network::Link;
use super::speaker::Turn;
use super::world::{Happening, World};

/// The kinds of faults, each with its weight in the draw.
const KINDS: [(Kind, u64); 27] = [
    (Kind::Link, 6),
    (Kind::OneWay, 4),
    (Kind::Partition, 4),
    (Kind::Heal, 3),
    (Kind::Bridge, 2),
    (Kind::Kill, 7),
    (Kind::KillBalancer, 4),
    (Kind::Freeze, 4),
    (Kind::FreezeBalancer, 7),
    (Kind::FreezeMidway, 3),
    (Kind::SlowBoot, 3),
    (Kind::EndlessBoot, 1),
    (Kind::CrashLoop, 2),
    (Kind::HypervisorErrors, 4),
    (Kind::SlowHypervisor, 3),
    (Kind::News, 4),
    (Kind::DaemonRestart, 2),
    (Kind::Unfenced, 3),
    (Kind::KillManager, 6),
    (Kind::CrashManager, 5),
    (Kind::StallManager, 5),
    (Kind::LoseHost, 2),
    (Kind::ClockJump, 3),
    (Kind::DiskFull, 2),
    (Kind::Proxy, 6),
    (Kind::MassDeath, 2),
    (Kind::People, 5),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Loss, delay, reordering and duplication on one direction of a link.
    Link,
    /// One direction carries nothing.
    OneWay,
    Partition,
    /// All links are well again.
    Heal,
    /// The bridge within a host loses or delays.
    Bridge,
    Kill,
    KillBalancer,
    Freeze,
    FreezeBalancer,
    /// A balancer is frozen between two things its speaker does.
    FreezeMidway,
    SlowBoot,
    EndlessBoot,
    CrashLoop,
    HypervisorErrors,
    SlowHypervisor,
    /// The hypervisor's events are lost, late or doubled.
    News,
    DaemonRestart,
    /// Nothing can be fenced.
    Unfenced,
    KillManager,
    /// The same, some steps later.
    CrashManager,
    StallManager,
    LoseHost,
    ClockJump,
    DiskFull,
    /// A proxy or a speaker dies or hangs.
    Proxy,
    /// Most machines of a host die.
    MassDeath,
    /// People ask for machines, take them away, replace them, and move the VIP.
    People,
}

impl World {
    /// Draws a fault, and when the next one comes.
    pub(super) fn draw_fault(&mut self) {
        let host = self.dice.index(self.hosts.len());
        let total = KINDS.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.dice.below(total);
        let kind = KINDS.iter().find(|(_, weight)| {
            let found = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            found
        });
        if let Some((kind, _)) = kind {
            self.faults += 1;
            self.say(|| format!("{host}: FAULT {kind:?}"));
            self.inflict(*kind, host);
        }
        self.faults_left -= 1;
        if self.faults_left > 0 {
            let often = self.dice.chance(40);
            let pause = if often { self.dice.ms(0, 150) } else { self.dice.ms(100, 2_000) };
            self.after(pause, Happening::Fault);
        }
    }

    fn inflict(&mut self, kind: Kind, host: usize) {
        match kind {
            Kind::Link | Kind::OneWay | Kind::Partition | Kind::Heal | Kind::Bridge => {
                self.harm_network(kind, host);
            }
            Kind::Kill | Kind::Freeze | Kind::SlowBoot | Kind::EndlessBoot | Kind::CrashLoop => {
                if let Some(machine) = self.any_machine(host) {
                    self.harm_machine(kind, host, machine);
                }
            }
            Kind::KillBalancer => {
                let lb = self.hosts[host].lb.clone();
                self.harm_machine(Kind::Kill, host, lb);
            }
            Kind::FreezeBalancer => {
                let lb = self.hosts[host].lb.clone();
                self.harm_machine(Kind::Freeze, host, lb);
            }
            Kind::FreezeMidway => {
                let (after, hidden) = (self.dice.below(6) as u32, self.dice.chance(50));
                let this = &mut self.hosts[host];
                if let Some(lb) = this.guests.get_mut(&this.lb).and_then(|guest| guest.balancer.as_mut()) {
                    lb.freeze_after = Some((after, hidden));
                }
            }
            Kind::HypervisorErrors | Kind::SlowHypervisor | Kind::News | Kind::DaemonRestart => {
                self.harm_hypervisor(kind, host);
            }
            Kind::Unfenced => {
                self.hosts[host].troubles.unfenced_until = self.now + self.dice.ms(1_000, 8_000);
                if let Some(machine) = self.any_machine(host) {
                    self.harm_machine(Kind::Kill, host, machine);
                }
            }
            Kind::DiskFull => {
                self.hosts[host].troubles.full_until = self.now + self.dice.ms(500, 6_000);
            }
            Kind::KillManager | Kind::CrashManager | Kind::StallManager | Kind::LoseHost => {
                self.harm_manager(kind, host);
            }
            Kind::ClockJump => self.jump(host),
            Kind::Proxy => self.harm_proxy(host),
            Kind::MassDeath => {
                let machines: Vec<MachineId> = self.hosts[host].guests.keys().cloned().collect();
                let spared = self.dice.index(machines.len().max(1) * 2);
                for (index, machine) in machines.iter().enumerate() {
                    if index != spared {
                        self.end_machine(host, machine, "it was killed with the others");
                    }
                }
            }
            Kind::People => self.people(host),
        }
    }

    fn any_machine(&mut self, host: usize) -> Option<MachineId> {
        let count = self.hosts[host].guests.len();
        let index = self.dice.index(count.max(1));
        self.hosts[host].guests.keys().nth(index).cloned()
    }

    fn harm_network(&mut self, kind: Kind, host: usize) {
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

    fn harm_machine(&mut self, kind: Kind, host: usize, machine: MachineId) {
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

    fn harm_hypervisor(&mut self, kind: Kind, host: usize) {
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

    fn harm_manager(&mut self, kind: Kind, host: usize) {
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

    fn jump(&mut self, host: usize) {
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

    fn harm_proxy(&mut self, host: usize) {
        let pause = self.dice.ms(20, 3_000);
        match self.dice.below(4) {
            0 => self.kill_proxy(host, pause),
            1 => self.hang_proxy(host, Works::Hung, pause),
            2 => self.hang_proxy(host, Works::HalfHung, pause),
            _ => self.kill_speaker(host, pause),
        }
    }

    fn people(&mut self, host: usize) {
        let (draw, machine) = (self.dice.below(5), self.any_machine(host));
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
                self.checks.disturbed(self.now);
                self.speaker_turn(host, Turn::Release);
            }
            (4, _) => {
                self.checks.disturbed(self.now);
                self.speaker_turn(host, Turn::TakeOver);
            }
            _ => {}
        }
    }

    /// From now on all is well, or gets well by itself.
    pub(super) fn heal(&mut self) {
        self.say(|| "all faults end".to_owned());
        self.network.heal();
        self.checks.disturbed(self.now);
        for host in 0..self.hosts.len() {
            self.hosts[host].troubles = Troubles::none();
            self.host_returns(host);
            if let Some(manager) = self.hosts[host].manager.as_mut() {
                (manager.stalled_until, manager.crash_in) = (self.now, None);
            } else {
                self.start_manager(host);
            }
            let machines: Vec<MachineId> = self.hosts[host].guests.keys().cloned().collect();
            for machine in machines {
                if let Some(lb) =
                    self.hosts[host].guests.get_mut(&machine).and_then(|guest| guest.balancer.as_mut())
                {
                    lb.freeze_after = None;
                    lb.proxy.until = lb.proxy.until.min(self.now);
                }
                self.thaw(host, &machine, None);
            }
        }
    }
}
