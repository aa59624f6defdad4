//! The promises, each with its checker. They are looked at after every step; the first that is broken
//! ends the run.
//!
//! | checker | promise | looked at |
//! |---|---|---|
//! | [`Checker::Addresses`] | no address on two machines, none outside the pool, none reused before its machine was fenced | whenever a machine is asked for and made |
//! | [`Checker::Replacement`] | a replacement has the address of the machine it replaces | whenever a machine is made |
//! | [`Checker::OneHolder`] | one holder among balancers that hear each other, some serving one always, no move without cause | after every step |
//! | [`Checker::Destruction`] | no healthy machine is destroyed, the last usable upstream stays | whenever one is destroyed, or a set is taken |
//! | [`Checker::Generations`] | no older document is taken; all balancers end with the same set | whenever one is taken, at restarts, at the end |
//! | [`Checker::Liveness`] | all is as desired in the end; who keeps dying backs off; nobody wakes up for nothing | whenever a machine is made, after every plan, at the end |
//! | [`Checker::StaleHolder`] | a holder that slept lets go before it says anything | with everything a speaker sends |
//! | [`Checker::Placement`] | a service over all hosts has all its machines, in the end exactly these; none is given up that is needed | whenever one is given up, after every step, at the end |
//! | [`Checker::Standbys`] | a failed machine has its standby started, which serves; it is stopped when all are back | after every plan, at the end |
//! | [`Checker::Spread`] | in the end VIPs are spread evenly, each exactly once, and none moves any more | at the end |
//! | [`Checker::Bounds`] | memory and queues stay bounded | after every plan |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use wire::{EndpointId, MachineId};

use super::guest::Guest;
use super::world::World;
use crate::engine::{Command, MachineSpec, Time};

/// Who found something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Checker {
    Addresses,
    Replacement,
    OneHolder,
    Destruction,
    Generations,
    Liveness,
    StaleHolder,
    Placement,
    Standbys,
    Spread,
    Bounds,
}

/// A broken promise.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) checker: Checker,
    pub(super) at: Time,
    pub(super) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} after {:.3} s: {}", self.checker, self.at.as_secs_f64(), self.what)
    }
}

/// What the checkers remember.
#[derive(Debug)]
pub(super) struct Checks {
    pub(super) violation: Option<Violation>,
    /// The machines that their managers have given up or are taking away.
    pub(super) condemned: BTreeSet<u64>,
    /// The standbys that nobody needed any more and that were asked to end.
    pub(super) stopped: BTreeSet<u64>,
    /// The address each machine had when it was last made.
    pub(super) addresses: BTreeMap<MachineId, IpAddr>,
    /// When something last happened that may move the VIP.
    pub(super) disturbed_at: Time,
    /// Since when balancers could serve a VIP, and know of nobody who does: by VIP and host.
    pub(super) starving: BTreeMap<(usize, usize), Time>,
    /// The VIPs that several hold.
    pub(super) two_hold: BTreeSet<usize>,
    /// How many VIPs were handed over.
    pub(super) handed_over: u64,
    /// When a machine of the service over all hosts was last lost, or stood still.
    pub(super) lost_at: Time,
    /// When something last happened to hosts, or ended.
    pub(super) harmed_at: Time,
}

impl Checks {
    pub(super) fn new(now: Time) -> Self {
        Checks {
            violation: None,
            condemned: BTreeSet::new(),
            stopped: BTreeSet::new(),
            addresses: BTreeMap::new(),
            disturbed_at: now,
            starving: BTreeMap::new(),
            two_hold: BTreeSet::new(),
            handed_over: 0,
            lost_at: now,
            harmed_at: now,
        }
    }

    /// Something happened that may move the VIP.
    pub(super) fn disturbed(&mut self, now: Time) {
        self.disturbed_at = self.disturbed_at.max(now);
    }

    /// Something happened to hosts, or will until then.
    pub(super) fn harmed(&mut self, until: Time) {
        self.harmed_at = self.harmed_at.max(until);
    }

    /// A proxy hangs for a while, and may be found out at any time in it.
    pub(super) fn disturbed_by_hang(&mut self, now: Time, pause: Duration) {
        self.disturbed(now + pause);
    }
}

/// A heartbeat that came so long ago is fresh: the engine waits longer (`heartbeat.silence_ms`).
const FRESH: Duration = Duration::from_millis(800);

impl World {
    /// Notes a broken promise; the first one counts.
    pub(super) fn violated(&mut self, checker: Checker, what: impl FnOnce() -> String) {
        if self.checks.violation.is_none() {
            let what = what();
            self.say(|| format!("BROKEN: {checker:?}: {what}"));
            let at = self.now.saturating_sub(self.options.origin);
            self.checks.violation = Some(Violation { checker, at, what });
        }
    }

    /// What must hold of everything a manager asks for.
    pub(super) fn check_command(&mut self, host: usize, command: &Command) {
        if self.options.measured {
            return;
        }
        match command {
            Command::Create(spec) => {
                self.check_free(spec, "asked for");
            }
            Command::Fence(machine) | Command::Stop(machine) => {
                let this = &self.hosts[host];
                let Some(guest) = this.guests.get(machine) else { return };
                let uid = guest.uid;
                let has_place =
                    this.manager.as_ref().is_some_and(|manager| manager.engine.has_place(machine));
                let surplus = (this.rolled && !has_place)
                    || matches!(command, Command::Stop(_)) && self.is_surplus(host, machine);
                // What it was asked to end for, it may be destroyed for.
                let wanted =
                    !this.dismissed.contains(machine) && !surplus && !self.checks.stopped.contains(&uid);
                if wanted && self.is_healthy(guest) {
                    self.violated(Checker::Destruction, || {
                        format!("{machine} is destroyed, whose heartbeat has just come")
                    });
                }
                self.checks.condemned.insert(uid);
                if surplus {
                    self.checks.stopped.insert(uid);
                }
            }
            _ => {}
        }
    }

    fn is_healthy(&self, guest: &Guest) -> bool {
        let fresh = guest.heard.is_some_and(|heard| self.now - heard < FRESH);
        guest.is_alive() && fresh
    }

    /// What must hold of every machine that is made.
    pub(super) fn check_made(&mut self, host: usize, spec: &MachineSpec) {
        let (machine, address) = (&spec.purpose.id, spec.purpose.address);
        self.check_free(spec, "made");
        self.check_pauses(host, machine);
        if !self.hosts[host].config.pool.contains(address) {
            self.violated(Checker::Addresses, || {
                format!("{machine} gets {address}, which is not of its pool")
            });
        }
        let before = self.checks.addresses.insert(machine.clone(), address);
        if let Some(before) = before.filter(|before| *before != address) {
            self.violated(Checker::Replacement, || format!("{machine} moves from {before} to {address}"));
        }
    }

    /// The balancer of `host` was given a set: it held generation `before`, and could use `usable`.
    pub(super) fn check_taken(&mut self, host: usize, before: u64, now: u64, usable: &BTreeSet<EndpointId>) {
        if now < before {
            self.violated(Checker::Generations, || {
                format!("the balancer of host {host} takes set {now} in the place of {before}")
            });
        }
        if !usable.is_empty() && self.living_upstreams(host).is_empty() {
            self.violated(Checker::Destruction, || {
                format!(
                    "set {now} of the balancer of host {host} leaves out all of {usable:?}, which would serve"
                )
            });
        }
    }

    /// The proxy of `host` was started again, with what it had stored.
    pub(super) fn check_restarted(&mut self, host: usize, generation: u64, acknowledged: u64) {
        if generation < acknowledged {
            self.violated(Checker::Generations, || {
                format!("the balancer of host {host} starts with set {generation}, and had said it holds {acknowledged}")
            });
        }
    }

    /// Notes that a machine is made, and checks that one that keeps dying is made with growing pauses.
    pub(super) fn check_pauses(&mut self, host: usize, machine: &MachineId) {
        /// Two at once, then after 0.5, 1, 2 and 4 s: with the first, seven in ten seconds.
        const MOST: usize = 7;
        const WITHIN: Duration = Duration::from_secs(10);
        let now = self.now;
        let this = &mut self.hosts[host];
        // Who asks for a machine to be replaced is not kept waiting; without its daemon nothing is blamed.
        let excused = this.dismissed.contains(machine);
        let Some(manager) = this.manager.as_mut() else { return };
        let made: &mut VecDeque<Time> = manager.made.entry(machine.clone()).or_default();
        if excused {
            made.clear();
        }
        made.push_back(now);
        while made.front().is_some_and(|at| now - *at > WITHIN) {
            made.pop_front();
        }
        let count = made.len();
        if count > MOST {
            self.violated(Checker::Liveness, || format!("{machine} is made {count} times in {WITHIN:?}"));
        }
    }

    pub(super) fn check_sizes(&mut self, host: usize) {
        let Some(manager) = self.hosts[host].manager.as_ref() else { return };
        let size = manager.engine.size();
        // Some records for each address it may use and for each peer, and some of its own.
        let bound = 16 * (self.hosts[host].config.pool.addresses().len() + self.hosts.len() + 2);
        let queue = self.queue.len();
        if size > bound {
            self.violated(Checker::Bounds, || {
                format!("the manager of host {host} remembers {size} things, more than {bound}")
            });
        }
        if queue > 4_000 * self.hosts.len() {
            self.violated(Checker::Bounds, || format!("{queue} things are on their way"));
        }
    }
}
