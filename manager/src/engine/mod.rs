//! The engine: what should happen now.
//!
//! ```text
//!   events ──▶ observe ──▶ state ──▶ plan ──▶ actions (done by the executor, which tells their end)
//!   requests ─▶ create_machine, delete_machine, receive      │
//!                            └──▶ cluster, state: all of it as data
//! ```
//!
//! `plan` derives what is to be done from the whole state each time, as far as it can have changed: `fleet` knows
//! which machines have to be looked at, `upstreams` and `shared` keep what balancer and peers are given.
//! There is no clock here, no randomness, no I/O and no map without order: the same events at the same times
//! give the same actions, which is what lets a simulator run years of them.
//!
//! The parts: `listing` finds what is there, `machines` keeps it alive, `addresses` finds out what strangers have, `deaths`
//! judges who is lost, `standbys` who steps in, `spares` how many machines wait to become one. `placing` has this host's share
//! of what runs over all hosts, `scaling` says how many these are, of what `usage` was told, and `rollout` builds machines anew.
//! `switchover` moves public addresses, `spread` says which: who is preferred for each, and what is to go back.
//! `balancing` tells the balancer, `publish` the peers, `members` knows who these are, `circle` who of them lives where they are
//! many, and `checkers` who checks which upstream then. `requests` answers both people and peers,
//! `views` shows the state, and `figures` and `targets` are for who watches it.

mod action;
mod addresses;
pub mod autoscale;
mod balancer;
mod balancing;
mod checkers;
mod circle;
mod deaths;
mod desired;
mod figures;
mod fleet;
mod flights;
mod front;
mod limits;
mod listing;
mod machine;
mod machines;
mod maintenance;
mod members;
mod notice;
mod peer;
pub mod placement;
mod placing;
mod primaries;
mod publish;
mod readiness;
mod requests;
mod rollout;
mod scaling;
mod services;
mod shared;
mod spares;
mod spec;
mod spread;
mod standbys;
mod switchover;
mod targets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tracked;
mod uplink;
mod upstreams;
mod usage;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use wire::cluster::AgreedView;
use wire::{Incarnation, MachineId, PoolName};

pub use action::{Action, Asked, Command, Event, Job, LbReading, ObservedMachine, ObservedUsage, Outcome};
pub use circle::{CIRCLE, MAX_PACKET, MAX_PACKETS};
pub use desired::{Desired, Slot, lb_id};
pub use figures::{Addresses, Figures};
pub use front::Front;
pub use maintenance::Maintenance;
pub use members::MAX_PEERS;
pub use notice::{Notice, Severity, Start};
pub use shared::{SharedSet, Telling, Words};
pub use spec::{MachinePurpose, MachineSpec, SparesWanted};
pub use targets::Target;
pub use uplink::UplinkReading;

use crate::config::Config;
use addresses::Foreign;
use balancer::{Balancer, Pools};
use checkers::Duties;
use circle::Circle;
use fleet::Machines;
use flights::Flights;
use front::Shown;
use machine::{Life, Machine};
use peer::Peer;
use placing::Placing;
use readiness::Readiness;
use rollout::Rollouts;
use scaling::Scaling;
use services::Services;
use spares::Spares;
#[cfg(test)]
pub(crate) use spread::CALM_FOR;
use spread::Spreading;
use standbys::Duty;
use switchover::{Forward, Switching};
use tracked::Tracked;
use uplink::Uplink;
use upstreams::Upstreams;
use usage::Meter;

/// A moment, as the time since an arbitrary origin that stays the same while the process lives.
pub type Time = Duration;

/// The engine looks at its state at least this often.
const TICK: Duration = Duration::from_millis(500);

/// What keeps failing in the same way is said again only after this.
const TROUBLE_AGAIN: Duration = Duration::from_secs(10);

/// After deaths that look like our own fault, machines are rebuilt one at a time for so long.
const BRAKE: Duration = Duration::from_secs(5);

/// The machines are listed this often; events are hints, the list is the truth.
const LIST_EVERY: Duration = Duration::from_secs(2);

/// What is to be done now, and when to look again.
#[derive(Debug, Default)]
pub struct Plan {
    /// To be started, in this order.
    pub actions: Vec<Action>,
    /// When to plan again at the latest, even if nothing is observed.
    pub wake: Time,
    /// What that wake-up is for.
    pub wake_reason: &'static str,
    /// What nobody needs any more. Giving it back takes longer than a plan: do it while nobody waits for the engine.
    pub retired: Vec<Arc<wire::snapshot::HostSnapshot>>,
}

impl Plan {
    fn wake_by(&mut self, at: Time, reason: &'static str) {
        if at < self.wake {
            self.wake = at;
            self.wake_reason = reason;
        }
    }
}

/// How far a manager that has just started knows what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Adoption {
    /// The hypervisor was not asked yet: nothing may be changed.
    Unlisted,
    /// The machines are known; what they and the balancer say is awaited until then. Nothing is
    /// published, for it would be less than what the others know already.
    Settling { until: Time },
    /// All is known.
    Settled,
}

/// All that a manager knows and wants.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Engine {
    config: Config,
    desired: Tracked<Desired>,
    /// Nothing was stored: what runs says what is wanted.
    nothing_stored: bool,
    /// Set while machines are only watched.
    maintenance: Option<Maintenance>,
    /// Why the desired state could not be stored when that was last tried.
    store_failed: Option<String>,
    /// What makes the machines, in words; empty until the first list.
    driver: String,
    /// The desired state that is safely stored.
    saved: Option<Arc<Desired>>,
    /// After which change of the desired state it was found to be the stored one, or not to be.
    compared: Option<(u64, bool)>,
    save_at: Time,
    next_incarnation: Incarnation,
    machines: Machines,
    rollouts: Rollouts,
    upstreams: Upstreams,
    adoption: Adoption,
    /// Machines that were found running and have not been heard yet.
    unverified: BTreeSet<MachineId>,
    list_at: Time,
    /// Addresses of the pool that somebody else has.
    foreign: BTreeMap<std::net::IpAddr, Foreign>,
    /// When creating, stopping or fencing a machine ended, where a list may not know of it yet.
    built: BTreeMap<MachineId, Time>,
    peers: BTreeMap<std::net::IpAddr, Peer>,
    circle: Circle,
    duties: Duties,
    placing: Placing,
    balancer: Balancer,
    shown: Shown,
    /// Where services are agreed on by all hosts.
    agreed: Option<AgreedView>,
    /// What the balancer knew of other hosts when this manager first read it.
    inherited: Option<Arc<Pools>>,
    /// A balancer that died holding, or perhaps holding, a VIP.
    resign: Option<std::net::IpAddr>,
    /// The present or the last switchover.
    switching: Option<Switching>,
    forward: Forward,
    spreading: Spreading,
    uplink: Uplink,
    meter: Meter,
    scaling: Scaling,
    version: u64,
    /// The version in which the endpoints last changed.
    endpoints_version: u64,
    published: Option<Telling>,
    retired: Vec<Arc<wire::snapshot::HostSnapshot>>,
    /// Peers whose overlapping pool was reported.
    overlaps_told: BTreeSet<std::net::IpAddr>,
    /// When each of the machines that died lately last did.
    recent_deaths: BTreeMap<MachineId, Time>,
    brake_until: Time,
    /// Since when all primaries are ready of a service whose standbys run.
    all_back: BTreeMap<PoolName, Time>,
    spares: Spares,
    flights: Flights,
    next_action: u64,
    last_look: Option<Time>,
    notices: Vec<Notice>,
    /// What keeps failing, why, and when that was last said.
    troubles: BTreeMap<(&'static str, String), (String, Time)>,
    /// A mistake made on purpose, for the simulator to find.
    #[cfg(test)]
    pub(crate) bug: Option<crate::sim::bug::Bug>,
    /// With how many peers it gossips about who lives, where the simulator wants another number.
    #[cfg(test)]
    pub(crate) circle_from: Option<usize>,
    /// How often it was asked by those who check its plans.
    #[cfg(test)]
    plans: u64,
}

impl Engine {
    /// The engine of a manager that starts `now`. `stored` is the desired state that an earlier life
    /// left on disk.
    pub fn new(config: Config, stored: Option<Desired>, now: Time) -> Self {
        let nothing_stored = stored.is_none();
        let next_incarnation = stored.as_ref().map_or(0, |stored| stored.incarnations_reserved) + 1;
        let mut desired = Desired::reconcile(stored, &config);
        desired.reserve_incarnations();
        let mut machines = Machines::new(Services::of(&config.services));
        for slot in desired.slots(&config.name) {
            let drained = desired.is_drained(&slot.id);
            let duty = desired.duty(&config, &slot.id);
            machines.insert(slot.id.clone(), Machine { drained, duty, ..Machine::waiting(slot, now) });
        }
        let upstreams = Upstreams::new(config.name.clone(), &config.services);
        let peers = config
            .peers
            .iter()
            .chain(&desired.learned_peers)
            .map(|address| (*address, Peer::new(*address)))
            .collect();
        Engine {
            config,
            desired: Tracked::new(desired),
            nothing_stored,
            maintenance: None,
            store_failed: None,
            driver: String::new(),
            saved: None,
            compared: None,
            save_at: now,
            next_incarnation,
            machines,
            rollouts: Rollouts::default(),
            upstreams,
            adoption: Adoption::Unlisted,
            unverified: BTreeSet::new(),
            list_at: now,
            foreign: BTreeMap::new(),
            built: BTreeMap::new(),
            peers,
            circle: Circle::default(),
            duties: Duties::default(),
            placing: Placing::new(now),
            balancer: Balancer::default(),
            shown: Shown::default(),
            agreed: None,
            inherited: None,
            resign: None,
            switching: None,
            forward: None,
            spreading: Spreading::default(),
            uplink: Uplink::default(),
            meter: Meter::default(),
            scaling: Scaling::default(),
            version: 0,
            endpoints_version: 0,
            published: None,
            retired: Vec::new(),
            overlaps_told: BTreeSet::new(),
            recent_deaths: BTreeMap::new(),
            brake_until: Time::ZERO,
            all_back: BTreeMap::new(),
            spares: Spares::default(),
            flights: Flights::default(),
            next_action: 0,
            last_look: None,
            notices: Vec::new(),
            troubles: BTreeMap::new(),
            #[cfg(test)]
            bug: None,
            #[cfg(test)]
            circle_from: None,
            #[cfg(test)]
            plans: 0,
        }
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes note of something that happened. Never fails: what makes no sense any more is ignored. Returns whether there
    /// may be something to do now; after the heartbeat of a machine that is well there is not, until the
    /// time that the last plan named.
    pub fn observe(&mut self, now: Time, event: Event) -> bool {
        let looked = self.look(now) | self.turn_circle(now);
        match event {
            Event::Beat { machine, incarnation }
                if self.machines.heard(now, &machine, incarnation, self.config.heartbeat.silence()) =>
            {
                return looked;
            }
            Event::Tick => {}
            Event::Exited { machine, incarnation, reason } => {
                self.exited(now, &machine, incarnation, &reason)
            }
            Event::Uplink(reading) => self.uplink_read(now, reading),
            Event::HandingOver(hand_over) => self.handing_over(*hand_over),
            Event::Beat { machine, incarnation } => self.beat(now, &machine, incarnation),
            Event::Readiness { machine, incarnation, ready } => {
                self.readiness_told(now, &machine, incarnation, ready);
            }
            Event::Finished { id, outcome } => {
                if let Some(job) = self.flights.job(id).cloned() {
                    self.end(now, &job, outcome);
                }
            }
        }
        true
    }

    /// What is to be started now.
    pub fn plan(&mut self, now: Time) -> Plan {
        self.look(now);
        let mut plan = Plan { wake: now + TICK, wake_reason: "tick", ..Plan::default() };
        self.plan_maintenance(now, &mut plan);
        self.plan_save(now, &mut plan);
        self.plan_list(now, &mut plan);
        if self.adoption != Adoption::Unlisted {
            self.plan_foreign(now, &mut plan);
            self.plan_meter(now, &mut plan);
            self.plan_scaling(now, &mut plan);
            self.plan_placement(now, &mut plan);
            self.plan_rollouts(now, &mut plan);
            self.plan_standbys(now, &mut plan);
            self.plan_machines(now, &mut plan);
            self.plan_spares(now, &mut plan);
            self.plan_uplink(now, &mut plan);
            self.plan_spread(now, &mut plan);
            self.plan_switchover(now, &mut plan);
            self.plan_resign(now, &mut plan);
            self.plan_settling(now, &mut plan);
            self.plan_balancer(now, &mut plan);
            self.plan_peers(now, &mut plan);
            self.plan_circle(now, &mut plan);
        }
        if let Some(deadline) = self.flights.first_deadline() {
            plan.wake_by(deadline, "deadline of an action");
        }
        plan.retired = std::mem::take(&mut self.retired);
        plan
    }

    /// Brings everything up to date that is derived from the machines and from what the peers said.
    fn settle(&mut self, now: Time) {
        self.machines.settle(now);
        self.upstreams.settle(&mut self.machines, &self.peers, self.inherited.as_ref());
    }

    /// Has everything derived anew that is kept from one plan to the next.
    #[cfg(test)]
    pub(crate) fn forget_derived(&mut self) {
        self.machines.forget_indexes();
        self.upstreams = Upstreams::new(self.config.name.clone(), &self.config.services);
        self.duties = Duties::default();
        self.compared = None;
    }

    /// What happened since this was last called, in words.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn plan_save(&mut self, now: Time, plan: &mut Plan) {
        if self.is_saved() {
            return;
        }
        if now >= self.save_at {
            if !self.flights.contains_key(&Job::Save) {
                let desired = Arc::new(Desired::clone(&self.desired));
                self.start(now, Job::Save, Command::Save(desired), plan);
            }
        } else {
            plan.wake_by(self.save_at, "store the desired state");
        }
    }

    fn is_saved(&mut self) -> bool {
        let changes = self.desired.changes();
        match self.compared {
            Some((after, is_saved)) if after == changes => is_saved,
            _ => {
                let is_saved = self.saved.as_deref() == Some(&*self.desired);
                self.compared = Some((changes, is_saved));
                is_saved
            }
        }
    }

    fn save_finished(&mut self, now: Time, desired: Arc<Desired>, outcome: Outcome) {
        match outcome {
            Outcome::Failed(reason) => {
                self.save_at = now + Duration::from_secs(1);
                self.store_failed = Some(reason.clone());
                let subject = self.config.name.to_string();
                self.trouble(
                    now,
                    "store.failed",
                    subject,
                    format!("the desired state cannot be stored: {reason}"),
                );
            }
            _ => {
                self.saved = Some(desired);
                self.compared = None;
                if self.store_failed.take().is_some() {
                    let subject = self.config.name.to_string();
                    let message = "the desired state is stored again".to_owned();
                    self.note(Severity::Info, "store.works", subject, message);
                }
            }
        }
    }

    fn plan_resign(&mut self, now: Time, plan: &mut Plan) {
        if let Some(lb) = self.resign.take().filter(|_| !self.in_maintenance()) {
            self.start(now, Job::Resign, Command::Resign { lb }, plan);
        }
    }

    /// Says that something failed, once; again only when it fails differently, or after a while.
    fn trouble(&mut self, now: Time, kind: &'static str, subject: String, message: String) {
        self.troubles.retain(|_, (_, said)| now.saturating_sub(*said) < TROUBLE_AGAIN);
        let key = (kind, subject.clone());
        #[cfg(test)]
        if self.bug == Some(crate::sim::bug::Bug::TroublesPileUp) {
            for minute in 1..9 {
                let later = now + minute * TROUBLE_AGAIN * 6;
                self.troubles.insert((kind, format!("{subject} {later:?}")), (message.clone(), later));
            }
        }
        if self.troubles.get(&key).is_some_and(|(before, _)| *before == message) {
            return;
        }
        self.troubles.insert(key, (message.clone(), now));
        self.note(Severity::Error, kind, subject, message);
    }

    fn note(&mut self, severity: Severity, kind: &'static str, subject: String, message: String) {
        self.notices.push(Notice { severity, kind, subject, message, start: None });
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
