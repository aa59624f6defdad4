//! What a test does to the world, and what it asks of it.

use std::time::Duration;

use wire::cluster::{FaultKind, MachineView, Phase};
use wire::switchover::{Switchover, SwitchoverOrder};
use wire::{MachineId, Problem};

use super::world::{Host, World};
use crate::config::Config;
use crate::engine::{Command, Engine, Event, Slot, UplinkReading};

/// The MAC address of every stranger.
pub(crate) const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x99];

impl World {
    /// One host whose peer is not there, with all of its machines ready.
    pub(crate) fn one_host(replicas: u32) -> Self {
        let mut world = World::of([super::config(replicas)]);
        world.run_ms(3_000);
        world.forget_history();
        world
    }

    /// Two hosts, all of whose machines are ready.
    pub(crate) fn two_hosts(replicas: u32) -> Self {
        let mut world = World::of([super::config(replicas), super::config_of_peer(replicas)]);
        world.run_ms(3_000);
        assert_eq!(world.missing(), Vec::<String>::new());
        world.forget_history();
        world
    }

    /// From here on only what comes now counts.
    pub(crate) fn forget_history(&mut self) {
        for host in &mut self.hosts {
            host.started.clear();
            host.notices.clear();
        }
    }

    /// A power cut for one machine.
    pub(crate) fn kill(&mut self, id: &str) {
        assert!(self.end(&id.into(), "it was killed"), "{id} runs");
    }

    /// A machine stands still; nobody is told.
    pub(crate) fn freeze(&mut self, id: &str) {
        self.set_frozen(id, true);
    }

    /// … and goes on.
    pub(crate) fn thaw(&mut self, id: &str) {
        self.set_frozen(id, false);
    }

    fn set_frozen(&mut self, id: &str, frozen: bool) {
        let id: MachineId = id.into();
        for host in &mut self.hosts {
            if let Some(guest) = host.guests.get_mut(&id) {
                guest.frozen = frozen;
            }
        }
    }

    /// Does something to a machine, if it is in a state for that.
    pub(crate) fn harm(&mut self, id: &str, fault: FaultKind) {
        match fault {
            FaultKind::Kill => _ = self.end(&id.into(), "it was killed"),
            FaultKind::Freeze => self.freeze(id),
            FaultKind::Thaw => self.thaw(id),
            FaultKind::StopProcess => {}
        }
    }

    /// A machine may be built elsewhere from now on.
    pub(crate) fn forget_address(&mut self, id: &str) {
        for host in &mut self.hosts {
            host.forget_address(&id.into());
        }
    }

    /// SIGKILL for a manager.
    pub(crate) fn kill_manager(&mut self, host: usize) {
        self.hosts[host].end_of_life();
    }

    /// The same, when all that the manager began was just done, but not yet told to it.
    pub(crate) fn kill_manager_midway(&mut self, host: usize) {
        self.finish_silently(host);
        self.kill_manager(host);
    }

    /// A manager starts, with what is on its disk.
    pub(crate) fn start_manager(&mut self, host: usize) {
        let now = self.now;
        let host = &mut self.hosts[host];
        host.engine = Some(Engine::new(host.config.clone(), host.disk.clone(), now));
        host.dirty = true;
    }

    /// A manager starts with another configuration.
    pub(crate) fn start_manager_with(&mut self, host: usize, config: Config) {
        self.hosts[host].config = config;
        self.start_manager(host);
    }

    /// A manager is not scheduled for so long; what it would hear waits.
    pub(crate) fn stall_manager(&mut self, host: usize, ms: u64) {
        self.hosts[host].stalled_until = self.now + Duration::from_millis(ms);
    }

    /// Tells the manager of `host` something it may have been told before.
    pub(crate) fn observe(&mut self, host: usize, event: Event) {
        self.tell(host, event);
    }

    /// The engine of a manager that runs, to ask for something.
    pub(crate) fn engine(&mut self, host: usize) -> &mut Engine {
        let host = &mut self.hosts[host];
        host.dirty = true;
        host.engine.as_mut().expect("its manager runs")
    }

    /// Asks host `a` for one machine more.
    pub(crate) fn create(&mut self, host: usize, service: &str) -> Result<Slot, Problem> {
        let now = self.now;
        self.engine(host).create_machine(now, &service.into())
    }

    /// Asks for one machine less.
    pub(crate) fn delete(&mut self, host: usize, id: &str) -> Result<(), Problem> {
        let now = self.now;
        self.engine(host).delete_machine(now, &id.into())?;
        self.forget_address(id);
        Ok(())
    }

    /// Asks for a machine to be built anew.
    pub(crate) fn replace(&mut self, host: usize, id: &str) -> Result<(), Problem> {
        let now = self.now;
        self.engine(host).replace_machine(now, &id.into())
    }

    /// A device that is nobody's machine gets an address of the pool of `host`.
    pub(crate) fn add_stranger(&mut self, host: usize, address: &str) {
        self.hosts[host].strangers.insert(address.parse().expect("an address"), STRANGER);
    }

    /// What the manager of its host says of a machine.
    pub(crate) fn machine(&self, id: &str) -> Option<MachineView> {
        let engines = self.hosts.iter().filter_map(|host| host.engine.as_ref());
        engines.flat_map(|engine| engine.machines(self.now)).find(|machine| machine.id.as_str() == id)
    }

    /// Somebody asks the manager of `host` to move public addresses.
    pub(crate) fn switch_over(&mut self, host: usize, order: SwitchoverOrder) -> Result<Switchover, Problem> {
        let now = self.now;
        self.hosts[host].dirty = true;
        self.hosts[host].engine.as_mut().expect("the manager runs").switch_over(now, order)
    }

    /// The uplink of `host` is read.
    pub(crate) fn read_uplink(&mut self, host: usize, reading: UplinkReading) {
        self.tell(host, Event::Uplink(reading));
    }

    /// What the balancer of `host` knows of its uplink.
    pub(crate) fn uplink_lost(&self, host: usize) -> Option<bool> {
        self.hosts[host].guests.values().rfind(|guest| guest.is_lb()).and_then(|lb| lb.uplink_lost)
    }

    /// What became of that.
    pub(crate) fn switchover(&self, host: usize) -> Option<Switchover> {
        self.hosts[host].engine.as_ref().expect("the manager runs").switchover(self.now)
    }

    /// The phase of a machine that is known.
    pub(crate) fn phase(&self, id: &str) -> Phase {
        self.machine(id).expect("it is known").phase
    }

    /// Lets time pass until a machine is in `phase`, and returns how many milliseconds that took.
    pub(crate) fn until(&mut self, id: &str, phase: Phase) -> u64 {
        for ms in 0..120_000 {
            if self.machine(id).is_some_and(|machine| machine.phase == phase) {
                return ms;
            }
            self.run_ms(1);
        }
        panic!("{id} never became {phase:?}");
    }

    /// What is not as it should be, in the eyes of every manager that runs.
    pub(crate) fn missing(&self) -> Vec<String> {
        let engines = self.hosts.iter().filter_map(|host| host.engine.as_ref());
        engines.flat_map(|engine| engine.cluster(self.now).missing).collect()
    }

    /// The upstreams of the sample service in the balancer of `host`: each with what is said of it.
    pub(crate) fn upstreams(&self, host: usize) -> Vec<String> {
        let mut guests = self.hosts[host].guests.values();
        let lb = guests.rfind(|guest| guest.is_lb()).expect("there is a balancer");
        let upstreams = lb.set.pools.values().flatten();
        upstreams.map(|upstream| format!("{} {:?}", upstream.address, upstream.state)).collect()
    }
}

impl Host {
    /// How often something was asked for that `is` of interest.
    pub(crate) fn count(&self, is: impl Fn(&Command) -> bool) -> usize {
        self.started.iter().filter(|(_, command)| is(command)).count()
    }

    /// How often `address` was asked for.
    pub(crate) fn probes(&self, address: &str) -> usize {
        let address: std::net::IpAddr = address.parse().expect("an address");
        self.count(|command| matches!(command, Command::Probe(asked) if *asked == address))
    }

    /// Every creation, destruction and orderly end that was asked for, in order.
    pub(crate) fn builds(&self) -> Vec<String> {
        let texts = self.started.iter().filter_map(|(_, command)| match command {
            Command::Create(spec) => Some(format!("create {} at {}", spec.purpose.id, spec.purpose.address)),
            Command::Stop(id) => Some(format!("stop {id}")),
            Command::Fence(id) => Some(format!("fence {id}")),
            _ => None,
        });
        texts.collect()
    }

    /// Whether there was a notice of this kind about a switchover.
    pub(crate) fn said_of_switchover(&self, kind: &str) -> bool {
        self.said(&format!("switchover.{kind}"))
    }

    /// Whether there was a notice of this kind.
    pub(crate) fn said(&self, kind: &str) -> bool {
        self.notices.iter().any(|notice| notice.kind == kind)
    }
}
