//! Carries out what the engine plans, and tells it what happens.
//!
//! ```text
//!   exits, beats, ends of actions ──▶ engine.observe ─┐
//!                  clock, requests ──▶ engine.plan ◀──┘──▶ one task per action ──▶ ports
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep_until;
use wire::cluster::{ClusterEvent, ClusterView};
use wire::{MachineId, PoolName, Problem};

use crate::api::written;
use crate::config::{Config, LB};
use crate::engine::{Action, Command, Engine, Event, MachineSpec, Notice, Outcome, Severity, Time};
use crate::metrics::Metrics;
use crate::pki::keeper::Pki;
use crate::ports::balancer::Balancer;
use crate::ports::guests::Guests;
use crate::ports::hypervisor::{Exit, Hypervisor, HypervisorError};
use crate::ports::neighbours;
use crate::ports::peers::Peers;
use crate::ports::resign::resign;
use crate::ports::uplink;
use crate::store::Store;

/// So many events are kept for a watcher that is slow; it is told when it missed some.
const EVENT_BACKLOG: usize = 1_024;

/// The same of views of the cluster; who is slower looks at how things are then.
const VIEW_BACKLOG: usize = 16;

/// So many events are remembered for who asks what happened.
pub(crate) const REMEMBERED: usize = 512;

/// The events so far.
#[derive(Default)]
struct Told {
    sequence: u64,
    last: VecDeque<ClusterEvent>,
}

/// The engine, shared between the executor and the API. It is locked only for moments, never across
/// anything that waits.
pub struct Shared {
    engine: Mutex<Engine>,
    origin: Instant,
    changed: Notify,
    /// As they are sent to watchers.
    events: broadcast::Sender<Bytes>,
    views: broadcast::Sender<ClusterView>,
    told: Mutex<Told>,
    /// How often was planned.
    rounds: watch::Sender<u64>,
    metrics: Metrics,
}

impl Shared {
    /// Shares `engine`, whose clock starts at `origin`.
    pub fn new(engine: Engine, origin: Instant, metrics: Metrics) -> Self {
        Shared {
            engine: Mutex::new(engine),
            origin,
            changed: Notify::new(),
            events: broadcast::channel(EVENT_BACKLOG).0,
            views: broadcast::channel(VIEW_BACKLOG).0,
            told: Mutex::default(),
            rounds: watch::Sender::default(),
            metrics,
        }
    }

    /// Asks the engine something, or for something; the executor plans anew afterwards.
    pub fn ask<T>(&self, question: impl FnOnce(&mut Engine, Time) -> T) -> T {
        let answer = question(&mut self.lock(), self.origin.elapsed());
        self.changed.notify_one();
        answer
    }

    /// Looks at the engine without changing anything.
    pub fn look<T>(&self, view: impl FnOnce(&Engine, Time) -> T) -> T {
        view(&self.lock(), self.origin.elapsed())
    }

    /// The last `count` events that are remembered, the oldest first.
    pub fn history(&self, count: usize) -> Vec<ClusterEvent> {
        let told = self.told();
        told.last.iter().skip(told.last.len().saturating_sub(count)).cloned().collect()
    }

    /// The events after number `sequence` that are remembered, and those from now on as they are sent: none is in both,
    /// or in neither.
    pub fn subscribe_after(&self, sequence: u64) -> (Vec<ClusterEvent>, broadcast::Receiver<Bytes>) {
        let told = self.told();
        let missed = told.last.iter().filter(|event| event.sequence > sequence).cloned().collect();
        (missed, self.events.subscribe())
    }

    /// Waits until it was planned anew, which needs everything that keeping machines needs.
    pub(crate) async fn round(&self) -> bool {
        let mut rounds = self.rounds.subscribe();
        self.changed.notify_one();
        rounds.changed().await.is_ok()
    }

    /// How things were right after each event from now on, however short they stayed so.
    pub(crate) fn subscribe_views(&self) -> broadcast::Receiver<ClusterView> {
        self.views.subscribe()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The manager's metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Tells the engine of something; returns whether there may be something to do now.
    fn observe(&self, event: Event) -> bool {
        self.lock().observe(self.origin.elapsed(), event)
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one place where transitions are logged, counted and told to watchers.
    fn tell(&self, host: &wire::HostName, notice: Notice) {
        let Notice { severity, kind, subject, message, start } = notice;
        match severity {
            Severity::Info => tracing::info!(%kind, %subject, "{message}"),
            Severity::Warning => tracing::warn!(%kind, %subject, "{message}"),
            Severity::Error => tracing::error!(%kind, %subject, "{message}"),
        }
        self.metrics.count_event(kind);
        if let Some(start) = start {
            self.metrics.observe_start(&start);
        }
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut told = self.told();
        told.sequence += 1;
        let event = ClusterEvent {
            sequence: told.sequence,
            unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
            host: host.clone(),
            kind: kind.to_owned(),
            subject,
            message,
        };
        if self.events.receiver_count() > 0 {
            // The last watcher may just have gone.
            let _ = self.events.send(written(&event));
        }
        if told.last.len() == REMEMBERED {
            told.last.pop_front();
        }
        told.last.push_back(event);
    }
}

/// The neighbours an action is carried out with.
#[derive(Clone)]
pub struct Ports {
    /// Makes machines.
    pub hypervisor: Arc<dyn Hypervisor>,
    /// Hears machines.
    pub guests: Guests,
    /// Tells the balancer.
    pub balancer: Balancer,
    /// Tells the other managers.
    pub peers: Peers,
    /// Keeps the desired state.
    pub store: Store,
    /// Certifies the balancer.
    pub pki: Arc<Pki>,
    /// Makes the definition of a service again what it was; it blocks while the disk does.
    pub take_back: Arc<TakeBack>,
}

/// Makes the definition of a service again what it was before it was last put.
pub type TakeBack = dyn Fn(&PoolName) -> Result<(), Problem> + Send + Sync;

/// Runs the engine until the process ends.
pub async fn run(shared: Arc<Shared>, ports: Ports, mut exits: mpsc::UnboundedReceiver<Exit>) {
    let config = Arc::new(shared.look(|engine, _| engine.config().clone()));
    let (told, mut events) = mpsc::unbounded_channel();
    if let Some(uplink) = config.uplink.clone() {
        let told = told.clone();
        // It ends with the process.
        tokio::spawn(async move {
            uplink::watch(&uplink, |reading| drop(told.send(Event::Uplink(reading)))).await
        });
    }
    let mut watches: BTreeMap<MachineId, AbortHandle> = BTreeMap::new();
    loop {
        shared.rounds.send_modify(|rounds| *rounds += 1);
        let (plan, notices) = {
            let mut engine = shared.lock();
            let now = shared.origin.elapsed();
            let plan = engine.plan(now);
            let notices = engine.take_notices();
            if !notices.is_empty() && shared.views.receiver_count() > 0 {
                // They may all have stopped looking just now.
                let _ = shared.views.send(engine.cluster(now));
            }
            (plan, notices)
        };
        drop(plan.retired);
        for notice in notices {
            shared.tell(&config.name, notice);
        }
        for action in plan.actions {
            start(&config, &ports, &told, &mut watches, action);
        }
        let wake = sleep_until((shared.origin + plan.wake).into());
        tokio::pin!(wake);
        let mut due = false;
        // Most of what happens are heartbeats, after which there is nothing to plan.
        while !due {
            due = tokio::select! {
                () = shared.changed.notified() => true,
                () = &mut wake => shared.observe(Event::Tick),
                Some(event) = events.recv() => shared.observe(event),
                Some(Exit { machine, incarnation, reason }) = exits.recv() => {
                    shared.observe(Event::Exited { machine, incarnation, reason })
                }
            };
            // What came in together is planned for together.
            while let Ok(event) = events.try_recv() {
                due |= shared.observe(event);
            }
        }
    }
}

type Teller = mpsc::UnboundedSender<Event>;

fn start(
    config: &Arc<Config>,
    ports: &Ports,
    told: &Teller,
    watches: &mut BTreeMap<MachineId, AbortHandle>,
    action: Action,
) {
    let Action { id, command } = action;
    let watched = match &command {
        Command::Watch { machine, .. } => Some(machine.clone()),
        Command::Fence(machine) => {
            if let Some(watch) = watches.remove(machine) {
                watch.abort();
            }
            None
        }
        _ => None,
    };
    let (config, ports, told) = (Arc::clone(config), ports.clone(), told.clone());
    let task = tokio::spawn(async move {
        let outcome = carry_out(&config, &ports, &told, command).await;
        // The executor ends only with the process.
        let _ = told.send(Event::Finished { id, outcome });
    });
    if let Some(machine) = watched
        && let Some(before) = watches.insert(machine, task.abort_handle())
    {
        before.abort();
    }
}

async fn carry_out(config: &Config, ports: &Ports, told: &Teller, command: Command) -> Outcome {
    match command {
        Command::Save(desired) => {
            let store = ports.store.clone();
            match tokio::task::spawn_blocking(move || store.save(&desired)).await {
                Ok(saved) => done(saved),
                Err(error) => Outcome::Failed(error.to_string()),
            }
        }
        Command::List => match ports.hypervisor.list().await {
            Ok(machines) => Outcome::Listed { machines, driver: ports.hypervisor.describe() },
            Err(error) => Outcome::Failed(error.to_string()),
        },
        Command::ReadUsage => match ports.hypervisor.usage().await {
            Ok(used) => Outcome::Used(used),
            Err(error) => Outcome::Failed(error.to_string()),
        },
        Command::ReadTraffic { lb } => ports.balancer.traffic(lb).await,
        Command::Create(mut spec) => match create(ports, &mut spec).await {
            Ok(()) => Outcome::Done,
            Err(error) => match error.condition() {
                Some(condition) => Outcome::Prevented(condition, error.to_string()),
                None => Outcome::Failed(error.to_string()),
            },
        },
        Command::KeepSpares(wanted) => match ports.hypervisor.keep_spares(&wanted).await {
            Ok(waiting) => Outcome::Spares(waiting),
            Err(error) => Outcome::Failed(error.to_string()),
        },
        Command::Stop(machine) => done(ports.hypervisor.shutdown(&machine).await),
        Command::Fence(machine) => done(ports.hypervisor.destroy(&machine).await),
        Command::Watch { machine, incarnation, address, first_beat, asked } => {
            let beat = || {
                let _ = told.send(Event::Beat { machine: machine.clone(), incarnation });
            };
            let readiness = |ready| {
                let _ = told.send(Event::Readiness { machine: machine.clone(), incarnation, ready });
            };
            Outcome::Failed(ports.guests.watch(address, first_beat, &asked, beat, readiness).await)
        }
        Command::Push { lb, set } => ports.balancer.push(lb, &set.to_wire()).await,
        Command::Configure { lb, config } => ports.balancer.configure(lb, &config).await,
        Command::ReadLb { lb, documents, pools } => ports.balancer.read(lb, documents, pools).await,
        Command::HandOver { lb, order } => {
            let progress = |hand_over| drop(told.send(Event::HandingOver(Box::new(hand_over))));
            ports.balancer.hand_over(lb, &order, progress).await
        }
        Command::TellUplink { lb, lost } => ports.balancer.tell_uplink(lb, lost).await,
        Command::Rank { lb, priorities } => ports.balancer.rank(lb, priorities).await,
        Command::AskTargets(targets) => uplink::ask(&config.bridge, &targets).await,
        Command::Forward { peer, order } => ports.peers.switch_over(peer, &order).await,
        Command::Tell { peer, snapshot, base } => {
            ports.peers.tell(peer, snapshot.host(), &snapshot.words(base.as_ref())).await
        }
        Command::Gossip { peer, packets } => ports.peers.gossip(peer, &packets).await,
        Command::Probe(address) => match neighbours::probe(&config.bridge, address).await {
            Ok(None) => Outcome::Done,
            Ok(Some(mac)) => Outcome::Taken(mac),
            Err(error) => Outcome::Failed(error.to_string()),
        },
        Command::TakeBack(service) => {
            let take_back = Arc::clone(&ports.take_back);
            match tokio::task::spawn_blocking(move || take_back(&service)).await {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(problem)) => Outcome::Failed(problem.detail),
                Err(error) => Outcome::Failed(error.to_string()),
            }
        }
        Command::Resign { lb } => done(resign(config, lb)),
    }
}

/// Makes a machine; a balancer gets its certificate with its seed.
async fn create(ports: &Ports, spec: &mut MachineSpec) -> Result<(), HypervisorError> {
    if spec.purpose.service.as_str() == LB {
        let (pki, machine, address) = (Arc::clone(&ports.pki), spec.purpose.id.clone(), spec.purpose.address);
        let certified = tokio::task::spawn_blocking(move || pki.seed_balancer(&machine, address)).await;
        let failed = |error: String| HypervisorError::Failed(format!("no certificate for it: {error}"));
        let certified = certified.map_err(|error| failed(error.to_string()))?;
        spec.seed.credentials = certified.map_err(|error| failed(error.to_string()))?;
    }
    ports.hypervisor.create(spec).await
}

fn done<T, E: std::fmt::Display>(result: Result<T, E>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
