//! What managers say and hear in a run that is measured: how often, and in how many bytes.
//!
//! Bytes are those of the documents, of a question and its answer together, as they are written for the wire; what HTTP and
//! TLS put around them is the same whatever is said.

use std::collections::BTreeMap;

use serde::Serialize;

use super::world::World;
use crate::engine::{Command, Outcome, Words};
use crate::ports::peers::encoded;
use crate::ports::pushed::Pushed;

/// What is said to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Said {
    /// A machine's heartbeat, to the manager of its host.
    Heartbeat,
    /// A snapshot, its changes, or that there are none: to another manager.
    Snapshot,
    /// Who lives, to another manager.
    Gossip,
    /// An upstream set or its changes, to the own balancer.
    Push,
    /// The questions for its part in the VIPs and for the health of its pools, to the own balancer.
    ReadLb,
}

/// How often, and in how many bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// What was said since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Meter {
    sums: BTreeMap<Said, Sum>,
    /// What each balancer is known to hold, as its manager knows it.
    pushed: Vec<Pushed>,
}

impl Meter {
    fn note(&mut self, said: Said, bytes: usize) {
        let sum = self.sums.entry(said).or_default();
        sum.messages += 1;
        sum.bytes += bytes as u64;
    }

    pub(super) fn heartbeat(&mut self) {
        self.note(Said::Heartbeat, wire::heartbeat::DATA.len());
    }

    /// What was said so far; it is counted from naught again.
    pub(super) fn take(&mut self) -> BTreeMap<Said, Sum> {
        std::mem::take(&mut self.sums)
    }

    /// The manager of `host` has carried out `command`.
    fn called(&mut self, host: usize, command: &Command, outcome: &Outcome) {
        match (command, outcome) {
            (Command::Tell { snapshot, base, .. }, Outcome::Told(answer)) => {
                let question = match snapshot.words(base.as_ref()) {
                    Words::Whole(all) => size(&all),
                    Words::Changes(changes) => size(&changes),
                };
                self.note(Said::Snapshot, question + size(answer));
            }
            (Command::Gossip { packets, .. }, Outcome::Gossiped(answer)) => {
                self.note(Said::Gossip, size(&encoded(packets)) + size(&encoded(answer)));
            }
            (Command::Push { lb, set }, _) => {
                let set = set.to_wire();
                let pushed = &self.pushed[host];
                let changes = pushed.changes_to(*lb, &set);
                let question = changes.as_ref().map_or_else(|| size(&set), size);
                pushed.note(*lb, &set, changes.map(|changes| changes.digest));
                self.note(Said::Push, question);
            }
            (Command::ReadLb { .. }, Outcome::LbRead(answer)) => {
                let pools = answer.pools.as_ref().map_or(0, size);
                self.note(Said::ReadLb, size(&answer.vip) + pools);
            }
            _ => {}
        }
    }
}

impl World {
    /// From now on it is counted what managers say.
    pub(super) fn measure(&mut self) {
        let pushed = self.hosts.iter().map(|host| {
            let pushed = Pushed::default();
            let balancer =
                host.balancer().and_then(|guest| Some((guest.address(), guest.balancer.as_ref()?)));
            if let Some((lb, balancer)) = balancer {
                pushed.note(lb, &balancer.proxy.set, None);
            }
            pushed
        });
        self.meter = Some(Meter { sums: BTreeMap::new(), pushed: pushed.collect() });
    }

    /// What was said since it was last asked.
    pub(super) fn take_measured(&mut self) -> BTreeMap<Said, Sum> {
        self.meter.as_mut().map(Meter::take).unwrap_or_default()
    }

    /// The manager of `host` has carried out `command`.
    pub(super) fn metered(&mut self, host: usize, command: &Command, outcome: &Outcome) {
        if let Some(meter) = &mut self.meter {
            meter.called(host, command, outcome);
        }
    }
}

fn size(document: &impl Serialize) -> usize {
    serde_json::to_vec(document).map_or(0, |bytes| bytes.len())
}
