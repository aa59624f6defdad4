//! How to tell that a fault is over.
//!
//! A manager that has not noticed yet says that all is well. So `whole` alone is not believed: the
//! victim must also be another than before, which its incarnation (a machine) or its epoch (a host's
//! manager) shows.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use wire::cluster::{ClusterView, MachineView, Phase};
use wire::{HostName, Incarnation, MachineId};

/// Who was hurt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Victim {
    /// A machine.
    Machine(MachineId),
    /// A host, or its manager.
    Host(HostName),
    /// Nobody said.
    Unknown,
}

impl Victim {
    /// Its address, if it is a machine that one of `views` has.
    pub fn address(&self, views: &[ClusterView]) -> Option<IpAddr> {
        match self {
            Victim::Machine(id) => views.iter().find_map(|view| machine(view, id)).map(|seen| seen.address),
            Victim::Host(_) | Victim::Unknown => None,
        }
    }

    /// Whether a view, of somebody else if it is a host, shows it well.
    fn is_well(&self, view: &ClusterView) -> bool {
        match self {
            Victim::Machine(id) => machine(view, id).is_some_and(|machine| machine.phase == Phase::Ready),
            // A host that is alone believes that it is well.
            Victim::Host(name) if view.host == *name => view.whole,
            Victim::Host(name) => view.hosts.iter().any(|host| host.name == *name && host.alive),
            Victim::Unknown => view.whole,
        }
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        match self {
            Victim::Machine(id) => Some(id.as_str()),
            Victim::Host(name) => Some(name.as_str()),
            Victim::Unknown => None,
        }
    }

    /// Its name for a line of text.
    pub(crate) fn described(&self) -> String {
        self.name().map(|name| format!(" ({name})")).unwrap_or_default()
    }
}

/// What must be seen for a fault to be over, besides a whole cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The machine is ready in a higher incarnation than any manager knew before.
    Rebuilt(MachineId, Incarnation),
    /// The host's manager lives in a higher epoch than any manager knew before.
    Restarted(HostName, u64),
    /// This and a little more time has passed: the victim stays the same.
    Settled(Victim, Duration),
    /// The manager that says so has seen the damage, or none has for a while.
    Unknown,
}

/// After so long a fault that changes nobody has settled.
const SETTLE: Duration = Duration::from_secs(1);
/// After so long a fault whose victim is not known and that no manager noticed did no damage.
const UNNOTICED: Duration = Duration::from_secs(2);

/// What one manager, and all of them, have shown since the fault.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// How long ago the fault was.
    pub since: Duration,
    /// Whether this manager has said that the cluster is not whole.
    pub damage_here: bool,
    /// Whether any manager has.
    pub damage_anywhere: bool,
    /// Whether other faults are in force: then one is over when its own victim is well.
    pub several: bool,
}

impl Rule {
    /// The rule for a victim that must have changed.
    ///
    /// # Errors
    ///
    /// When no manager knew the victim before.
    pub fn changed(victim: &Victim, before: &[ClusterView]) -> anyhow::Result<Self> {
        match victim {
            Victim::Machine(id) => before
                .iter()
                .filter_map(|view| machine(view, id))
                .map(|machine| machine.incarnation)
                .max()
                .map(|incarnation| Rule::Rebuilt(id.clone(), incarnation))
                .with_context(|| format!("no manager knew the machine {id} before")),
            Victim::Host(name) => before
                .iter()
                .flat_map(|view| &view.hosts)
                .filter(|host| host.name == *name)
                .map(|host| host.epoch)
                .max()
                .map(|epoch| Rule::Restarted(name.clone(), epoch))
                .with_context(|| format!("no manager knew the host {name} before")),
            Victim::Unknown => Ok(Rule::Unknown),
        }
    }

    /// Whether `view`, just given by a manager, shows that the fault is over.
    pub fn is_met(&self, view: &ClusterView, seen: Seen) -> bool {
        let own = match self {
            Rule::Rebuilt(id, before) => machine(view, id)
                .is_some_and(|machine| machine.incarnation > *before && machine.phase == Phase::Ready),
            Rule::Restarted(name, before) => {
                view.hosts.iter().any(|host| host.name == *name && host.alive && host.epoch > *before)
            }
            Rule::Settled(victim, lasts) => seen.since >= *lasts + SETTLE && victim.is_well(view),
            Rule::Unknown => seen.damage_here || (!seen.damage_anywhere && seen.since >= UNNOTICED),
        };
        // Nobody but the whole says anything of a victim that is not known.
        own && (view.whole || (seen.several && *self != Rule::Unknown))
    }
}

fn machine<'a>(view: &'a ClusterView, id: &MachineId) -> Option<&'a MachineView> {
    view.hosts.iter().flat_map(|host| &host.machines).find(|machine| machine.id == *id)
}
