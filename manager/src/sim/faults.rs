//! What can go wrong, and how it is drawn.

use wire::MachineId;

use super::host::Troubles;
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
pub(super) enum Kind {
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
