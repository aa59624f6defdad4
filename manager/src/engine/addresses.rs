//! Before a machine gets an address for the first time, the network is asked whether somebody else has
//! it. What a stranger has is left to him: the machine gets the next address of the pool.
//!
//! Asked is once. An address that is in use ([`super::Desired::uses`]) was ours when it was taken, and
//! whatever of ours had it is fenced before it is given away again, so that no rebuild waits for an
//! answer.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::desired::Others;
use super::{Command, Engine, Job, Machine, Machines, Outcome, Plan, Severity, Slot, Time};
use crate::address_pool::{mac_of, mac_text};

/// Whether a stranger is still there is asked this often.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// An address that somebody else has.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Foreign {
    pub(super) mac: [u8; 6],
    /// When to ask again.
    ask_at: Time,
}

impl Engine {
    /// `slot` with an address that is in use by this host; none while that is being found out, or as
    /// long as strangers have all that is left of the pool.
    pub(super) fn with_own_address(&mut self, now: Time, slot: Slot, plan: &mut Plan) -> Option<Slot> {
        let slot = if self.foreign.contains_key(&slot.address) { self.relocate(now, &slot)? } else { slot };
        if self.desired.uses(slot.address) {
            return Some(slot);
        }
        self.start(now, Job::Probe(slot.address), Command::Probe(slot.address), plan);
        None
    }

    pub(super) fn plan_foreign(&mut self, now: Time, plan: &mut Plan) {
        let next: Vec<(IpAddr, Time)> =
            self.foreign.iter().map(|(address, foreign)| (*address, foreign.ask_at)).collect();
        for (address, ask_at) in next {
            if now >= ask_at {
                self.start(now, Job::Probe(address), Command::Probe(address), plan);
            } else {
                plan.wake_by(ask_at, "ask for a stranger's address again");
            }
        }
    }

    pub(super) fn probe_finished(&mut self, now: Time, address: IpAddr, outcome: Outcome) {
        // One of this host's machines was found there meanwhile.
        self.machines.settle(now);
        if self.desired.uses(address) || self.machines.at(address).any(Machine::may_exist) {
            return;
        }
        match outcome {
            Outcome::Taken(mac) => self.found_taken(now, address, mac),
            Outcome::Failed(reason) => {
                if let Some(foreign) = self.foreign.get_mut(&address) {
                    foreign.ask_at = now + ASK_AGAIN;
                } else {
                    // Were it a reason not to create a machine, creating it will say so.
                    self.take_into_use(address);
                }
                let message = format!("whether somebody else has it cannot be found out: {reason}");
                self.trouble(now, "address.unprobed", address.to_string(), message);
            }
            _ => self.take_into_use(address),
        }
    }

    /// `address` is not a stranger's, and belongs to the slot that has it, if any.
    pub(super) fn take_into_use(&mut self, address: IpAddr) {
        if self.foreign.remove(&address).is_some() {
            let message = "nobody else has it any more".to_owned();
            self.note(Severity::Info, "address.free", address.to_string(), message);
        }
        if !self.desired.uses(address) {
            self.desired.take_into_use(address);
        }
    }

    fn found_taken(&mut self, now: Time, address: IpAddr, mac: [u8; 6]) {
        let before = self.foreign.insert(address, Foreign { mac, ask_at: now + ASK_AGAIN });
        if before.is_none_or(|before| before.mac != mac) {
            self.note(Severity::Error, "address.conflict", address.to_string(), warning(address, mac));
        }
        self.machines.settle(now);
        let slot = self.machines.at(address).next().map(|machine| machine.slot.clone());
        if let Some(slot) = slot {
            self.relocate(now, &slot);
        }
    }

    /// Gives the machine of `slot`, which has a stranger's address, another one.
    pub(super) fn relocate(&mut self, now: Time, slot: &Slot) -> Option<Slot> {
        self.machines.settle(now);
        let others = Others {
            has_id: &|id| self.machines.get(id).is_some(),
            has_address: &|address| is_taken(&self.foreign, &self.machines, address),
        };
        let moved = self.desired.relocate(&self.config.name, &self.config, &slot.id, &others);
        let machine = self.machines.get_mut(&slot.id)?;
        let Some(moved) = moved else {
            let reason = format!(
                "waits for an address: somebody else has {}, and nothing else is free in address_pool",
                slot.address
            );
            if machine.reason != reason {
                machine.reason.clone_from(&reason);
                self.note(Severity::Error, "machine.no-address", slot.id.to_string(), reason);
            }
            return None;
        };
        machine.slot = moved.clone();
        let message = format!("gets {}, because somebody else has {}", moved.address, slot.address);
        machine.reason.clone_from(&message);
        self.note(Severity::Warning, "machine.relocated", slot.id.to_string(), message);
        Some(moved)
    }

    /// What a person should know of strangers, one line for each.
    pub(super) fn foreign_warnings(&self) -> Vec<String> {
        self.foreign.iter().map(|(address, foreign)| warning(*address, foreign.mac)).collect()
    }
}

/// Whether a machine or a stranger has `address`.
pub(super) fn is_taken(foreign: &BTreeMap<IpAddr, Foreign>, machines: &Machines, address: IpAddr) -> bool {
    foreign.contains_key(&address) || machines.at(address).next().is_some()
}

fn warning(address: IpAddr, mac: [u8; 6]) -> String {
    let who = mac_text(mac);
    if mac == mac_of(address) {
        format!(
            "{address} of address_pool is taken by {who}, which looks like a machine of Holdfast that this manager \
             does not know: is there another manager with the same addresses, or with another state_dir?"
        )
    } else {
        format!(
            "{address} of address_pool is taken by {who}, which is no machine of this host: \
             give that device another address, or take this one out of address_pool"
        )
    }
}
