//! Services with standbys: in some of the runs the hosts have one, and what was promised of it is looked at after every
//! plan of its manager.

use std::collections::BTreeSet;
use std::time::Duration;

use wire::cluster::{MachineView, Phase};
use wire::service::StandbyMode;

use super::checks::Checker;
use super::dice::Dice;
use super::world::World;
use crate::config::{Config, LB};
use crate::engine::{Notice, Time};

/// A failed primary has its standby started within this: a manager that has just started looks around first (2 s).
const STARTED: Duration = Duration::from_secs(3);

/// A manager that planned so long ago was not there in between.
const THERE: Duration = Duration::from_secs(1);

/// The lines of a service's definition that give it standbys, in four of ten runs.
pub(super) fn drawn(seed: u64) -> &'static str {
    let mut dice = Dice::new(seed ^ 0x57a_4d8b);
    match dice.below(10) {
        0..=2 => "standbys = 1\nstandby_hold_ms = 4000\n",
        3 => "standbys = 1\nstandby_mode = \"hot\"\n",
        _ => "",
    }
}

/// What a manager knows of failures, as it told them.
#[derive(Debug, Default)]
pub(super) struct Failures {
    failing: BTreeSet<String>,
    /// Standbys that it stops for want of a need.
    stopped: BTreeSet<String>,
    /// Since when fewer standbys are started than are called for.
    lacking: Option<Time>,
    planned: Option<Time>,
}

impl Failures {
    fn note(&mut self, notice: &Notice) {
        match notice.kind {
            "machine.dead" | "machine.suspect" => _ = self.failing.insert(notice.subject.clone()),
            "machine.ready" | "machine.draining" | "machine.gone" => _ = self.failing.remove(&notice.subject),
            "standby.stopped" => _ = self.stopped.insert(notice.subject.clone()),
            "standby.started" => _ = self.stopped.remove(&notice.subject),
            _ => {}
        }
    }
}

impl World {
    /// The manager of `host` has planned.
    pub(super) fn check_standbys(&mut self, host: usize) {
        let now = self.now;
        let this = &mut self.hosts[host];
        if !has_standbys(&this.config) {
            return;
        }
        let is_cold = has_cold_standbys(&this.config);
        let Some(manager) = this.manager.as_mut() else { return };
        let views = manager.engine.machines(now + this.ahead);
        let (standbys, primaries): (Vec<&MachineView>, Vec<&MachineView>) =
            views.iter().filter(|view| view.service.as_str() != LB).partition(|view| view.standby);
        let failing =
            primaries.iter().filter(|view| manager.failures.failing.contains(view.id.as_str())).count();
        let started = standbys.iter().filter(|view| view.phase != Phase::Standby).count();
        self.reached.standbys_started += u64::from(is_cold && started > 0 && failing > 0);

        let endpoints = manager.engine.own_endpoints();
        let serves = |view: &&&MachineView| {
            view.phase == Phase::Ready
                && !endpoints.contains(&wire::EndpointId::of(&view.id, view.incarnation))
        };
        let unused = standbys.iter().find(serves).map(|view| view.id.clone());

        let failures = &mut manager.failures;
        let was_there = failures.planned.replace(now).is_some_and(|before| now - before < THERE);
        let lacks = is_cold && started < failing.min(standbys.len());
        failures.lacking = lacks.then(|| failures.lacking.filter(|_| was_there).unwrap_or(now));
        let late = failures.lacking.is_some_and(|since| now - since > STARTED);
        if late {
            self.violated(Checker::Standbys, || {
                format!("host {host}: {failing} fail and {started} standbys are started, for {STARTED:?}")
            });
        }
        if let Some(unused) = unused {
            self.violated(Checker::Standbys, || format!("{unused} is ready, and no balancer is told of it"));
        }
    }

    /// Whether the manager of `host` ends machine `id` although it is well, as a standby that nobody needs.
    pub(super) fn is_surplus(&self, host: usize, id: &wire::MachineId) -> bool {
        let manager = self.hosts[host].manager.as_ref();
        manager.is_some_and(|manager| manager.failures.stopped.contains(id.as_str()))
    }

    /// The manager of `host` says something: what it says of a standby must be right.
    pub(super) fn note_standbys(&mut self, host: usize, notice: &Notice) {
        let at = self.now + self.hosts[host].ahead;
        let Some(manager) = self.hosts[host].manager.as_mut() else { return };
        manager.failures.note(notice);
        if notice.kind != "standby.stopped" {
            return;
        }
        let views = manager.engine.machines(at);
        let fails = |view: &&MachineView| {
            let is_primary = !view.standby && view.service.as_str() != LB;
            is_primary && manager.failures.failing.contains(view.id.as_str())
        };
        let failing = views.iter().find(fails).map(|view| view.id.clone());
        if let Some(failing) = failing {
            self.violated(Checker::Standbys, || {
                format!("{} is stopped although {failing} fails", notice.subject)
            });
        }
    }

    /// A standby that runs although nobody needs it.
    pub(super) fn needless_standby(&self, host: usize) -> Option<String> {
        let this = &self.hosts[host];
        let manager = this.manager.as_ref().filter(|_| has_cold_standbys(&this.config))?;
        let views = manager.engine.machines(self.now + this.ahead);
        let needless = views.iter().find(|view| view.standby && view.phase != Phase::Standby)?;
        Some(format!("the standby {} is {}: {}", needless.id, needless.phase, needless.reason))
    }
}

fn has_standbys(config: &Config) -> bool {
    config.services.iter().any(|service| service.standbys.count > 0)
}

fn has_cold_standbys(config: &Config) -> bool {
    has_standbys(config) && config.services.iter().all(|service| service.standbys.mode == StandbyMode::Cold)
}
