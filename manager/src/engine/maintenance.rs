//! Maintenance: the manager observes and reports, and leaves every machine to the people at work.
//!
//! Machines are neither made, stopped nor fenced, no VIP is handed over or given up for anybody, and no machine is
//! called dead for its silence: somebody may be rebooting it. What is true of endpoints still goes to balancers and
//! peers, because clients are served meanwhile. When it ends, every machine that is silent gets all of its
//! retries.

use std::time::Duration;

use serde::Serialize;
use wire::Problem;

use super::{Engine, Life, Plan, Severity, Time};

/// That the manager only watches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Maintenance {
    /// When it ends by itself; none means when somebody ends it.
    pub until: Option<Time>,
    /// Who began it and until when, in words.
    pub note: String,
}

impl Engine {
    /// Begins maintenance, changes its end, or ends it (`None`).
    pub fn set_maintenance(&mut self, now: Time, maintenance: Option<Maintenance>) {
        match (&self.maintenance, maintenance) {
            (None, None) => {}
            (Some(_), None) => self.end_maintenance(now, "ended"),
            (_, Some(new)) => {
                let host = self.config.name.to_string();
                let message = format!("{}: machines are watched and left alone", new.note);
                self.note(Severity::Warning, "maintenance.on", host, message);
                self.maintenance = Some(new);
                self.machines.touch_all();
            }
        }
    }

    /// Whether the manager only watches.
    pub fn in_maintenance(&self) -> bool {
        self.maintenance.is_some()
    }

    /// Ends it when its time has come.
    pub(super) fn plan_maintenance(&mut self, now: Time, plan: &mut Plan) {
        let Some(Maintenance { until: Some(until), .. }) = self.maintenance else { return };
        if now >= until {
            self.end_maintenance(now, "its time is over");
        } else {
            plan.wake_by(until, "maintenance ends");
        }
    }

    fn end_maintenance(&mut self, now: Time, why: &str) {
        self.maintenance = None;
        // What happened meanwhile was somebody's doing: nobody is blamed for it, and one machine at a time.
        self.start_deadlines_anew(now, Duration::ZERO);
        let boot = Duration::from_millis(self.config.heartbeat.boot_timeout_ms);
        for machine in self.machines.values_mut() {
            if let Life::Booting { until, .. } = &mut machine.life {
                *until = (*until).max(now + boot);
            }
        }
        let host = self.config.name.to_string();
        self.note(Severity::Info, "maintenance.off", host, format!("{why}: machines are kept again"));
    }

    /// What people are told who want something made meanwhile.
    pub(super) fn refuse_in_maintenance(&self) -> Result<(), Problem> {
        match &self.maintenance {
            None => Ok(()),
            Some(Maintenance { note, .. }) => Err(Problem::conflict(format!(
                "{note}, and nothing is made or taken away meanwhile: `manager maintenance off` first"
            ))),
        }
    }

    pub(super) fn maintenance_warning(&self) -> Option<String> {
        let note = &self.maintenance.as_ref()?.note;
        Some(format!("{note}: machines are watched and left alone, `manager maintenance off` ends it"))
    }
}
