//! A host of any size around an engine: every action ends at once and well, every machine is heard.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use kit::config::Source;
use manager::config::Config;
use manager::engine::{Action, Command, Engine, Event, LbReading, ObservedMachine, Outcome, Time};
use wire::autoscale::ScalingTold;
use wire::cluster::{MachineView, Phase};
use wire::snapshot::{Endpoint, HostSnapshot, SnapshotAck};
use wire::upstreams::{UpstreamSet, UpstreamState};
use wire::vip::{RouterCounters, RouterState, RouterStatus, VipStatus};
use wire::{Incarnation, MachineId};

/// The other host's manager.
pub(crate) const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));

/// The service whose machines there are.
pub(crate) const SERVICE: &str = "web";

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 120));

/// An engine and what is around it.
pub(crate) struct Stage {
    pub(crate) engine: Engine,
    pub(crate) now: Time,
    /// What was started and has not ended, but watches.
    pub(crate) open: VecDeque<Action>,
    /// The machines that are there.
    pub(crate) machines: Vec<ObservedMachine>,
    snapshot: HostSnapshot,
}

impl Stage {
    /// A host with `size` machines, its balancer among them, all ready, and a peer of the same size that was heard.
    pub(crate) fn new(size: usize) -> Self {
        let engine = Engine::new(config(size), None, Time::ZERO);
        let mut stage = Stage {
            engine,
            now: Duration::from_secs(100),
            open: VecDeque::new(),
            machines: Vec::new(),
            snapshot: snapshot(size),
        };
        stage.settle();
        stage.hear_all();
        stage.hear_peer();
        stage.pass(Duration::from_secs(3));
        let view = stage.engine.cluster(stage.now);
        assert!(view.whole, "not all is well: {:?}", &view.missing[..view.missing.len().min(3)]);
        stage
    }

    /// Plans and ends what was planned, until there is nothing to do.
    pub(crate) fn settle(&mut self) {
        loop {
            let plan = self.engine.plan(self.now);
            self.took(plan.actions);
            if self.open.is_empty() {
                return;
            }
            while let Some(event) = self.next_end() {
                self.engine.observe(self.now, event);
            }
        }
    }

    /// Remembers what was started.
    pub(crate) fn took(&mut self, actions: Vec<Action>) {
        self.open
            .extend(actions.into_iter().filter(|action| !matches!(action.command, Command::Watch { .. })));
    }

    /// The end of the action that was started first.
    pub(crate) fn next_end(&mut self) -> Option<Event> {
        let Action { id, command } = self.open.pop_front()?;
        Some(Event::Finished { id, outcome: self.end(command) })
    }

    fn end(&mut self, command: Command) -> Outcome {
        match command {
            Command::List => Outcome::Listed { machines: self.machines.clone(), driver: "none".to_owned() },
            Command::Create(spec) => {
                self.machines.push(ObservedMachine { purpose: spec.purpose, running: true, booted: true });
                Outcome::Done
            }
            Command::Fence(id) => {
                self.machines.retain(|machine| machine.purpose.id != id);
                Outcome::Done
            }
            Command::ReadLb { documents, .. } => Outcome::LbRead(Box::new(LbReading {
                vip: vip_status(),
                upstreams: documents.then(UpstreamSet::default),
                config_generation: None,
                pools: None,
            })),
            Command::Tell { snapshot, .. } => Outcome::Told(SnapshotAck {
                epoch: snapshot.epoch(),
                version: snapshot.version(),
                applied: snapshot.version(),
                own: None,
            }),
            Command::ReadUsage => Outcome::Used(Vec::new()),
            Command::ReadTraffic { .. } => Outcome::Traffic(BTreeMap::new()),
            Command::KeepSpares(_) => Outcome::Spares(BTreeMap::new()),
            _ => Outcome::Done,
        }
    }

    /// A heartbeat of every machine, and what follows from that.
    pub(crate) fn hear_all(&mut self) {
        for machine in &self.machines {
            let beat =
                Event::Beat { machine: machine.purpose.id.clone(), incarnation: machine.purpose.incarnation };
            self.engine.observe(self.now, beat);
        }
        self.settle();
    }

    /// The peer says again what it said.
    pub(crate) fn hear_peer(&mut self) {
        let told = self.snapshot.clone();
        let _same = self.engine.receive(self.now, PEER, told);
    }

    /// Time passes, and everybody is heard all the while.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now += Duration::from_millis(250);
            self.hear_peer();
            self.hear_all();
        }
    }

    /// What the peer says; every other time one of its endpoints is another one.
    pub(crate) fn told_by_peer(&mut self, changed: Option<usize>) -> HostSnapshot {
        if let Some(changed) = changed {
            let count = self.snapshot.endpoints.len();
            let endpoint = &mut self.snapshot.endpoints[changed % count];
            endpoint.state = match endpoint.state {
                UpstreamState::Ready => UpstreamState::Suspect,
                _ => UpstreamState::Ready,
            };
            self.snapshot.version += 1;
        }
        self.snapshot.clone()
    }

    /// The machine that `number` falls on; the balancer is not among those.
    pub(crate) fn machine(&self, number: usize) -> (MachineId, Incarnation) {
        let services: usize = self.machines.len() - 1;
        let purpose = &self.machines[1 + number % services].purpose;
        (purpose.id.clone(), purpose.incarnation)
    }
}

fn config(size: usize) -> Config {
    let text = format!(
        "name = \"a\"\naddress = \"10.1.0.1\"\nprefix = 16\npeers = [\"{PEER}\"]\ngateway = \"10.1.0.1\"\n\
         hypervisor = \"namespaces\"\naddress_pool = [\"10.1.16.0-10.1.63.255\"]\n\
         [[vip]]\naddress = \"{VIP}\"\nvrid = 50\nrole = \"master\"\n\
         [[service]]\nname = \"{SERVICE}\"\nreplicas = {}\n",
        size - 1
    );
    Config::check(&Source::from_text("bench.toml", &text)).expect("a good configuration")
}

fn vip_status() -> VipStatus {
    VipStatus {
        routers: vec![RouterStatus {
            address: VIP,
            vrid: 50,
            state: RouterState::Master,
            priority: 240,
            base: Some(240),
            holder: None,
            reason: "it holds it".to_owned(),
            for_ms: 1,
            counters: RouterCounters::default(),
        }],
        ..VipStatus::default()
    }
}

/// What a host of `size` machines tells.
pub(crate) fn snapshot(size: usize) -> HostSnapshot {
    let address = |number: usize| {
        let first = Ipv4Addr::new(10, 1, 128, 0).to_bits();
        IpAddr::V4(Ipv4Addr::from_bits(first + u32::try_from(number).expect("few")))
    };
    let endpoint = |number: usize| Endpoint {
        id: format!("b-{SERVICE}-{number}.{number}").into(),
        service: SERVICE.into(),
        address: address(number),
        port: 80,
        state: UpstreamState::Ready,
        backup: false,
    };
    let machine = |number: usize| MachineView {
        id: format!("b-{SERVICE}-{number}").into(),
        service: SERVICE.into(),
        address: address(number),
        phase: Phase::Ready,
        reason: "its heartbeats arrive".to_owned(),
        incarnation: u64::try_from(number).expect("few"),
        image: None,
        restarts: 0,
        for_ms: 60_000,
        crash_looping: false,
        drained: false,
        standby: false,
        condition: None,
        usage: None,
    };
    // A manager tells its machines in the order of their names.
    let mut numbers: Vec<usize> = (1..size).collect();
    numbers.sort_by_key(usize::to_string);
    HostSnapshot {
        host: "b".into(),
        address: PEER,
        address_pool: vec!["10.1.128.0-10.1.200.255".to_owned()],
        epoch: 1,
        version: 1,
        endpoints: numbers.iter().copied().map(endpoint).collect(),
        machines: numbers.iter().copied().map(machine).collect(),
        driver: "none".to_owned(),
        desired: u32::try_from(size - 1).expect("few"),
        room: None,
        placed: Default::default(),
        totals: Default::default(),
        lb: None,
        warnings: Vec::new(),
        peers: Vec::new(),
        scaling: ScalingTold::default(),
        checks: std::collections::BTreeMap::new(),
    }
}
