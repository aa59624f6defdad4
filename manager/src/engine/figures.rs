//! What is counted of the engine's state, for metrics. It is drawn at each scrape, so it is to cost little: no list of
//! addresses is made, however large the pool is.

use wire::Generation;

use super::{Engine, Life};

/// What the view of the cluster does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Machines are only watched.
    pub maintenance: bool,
    /// The host has lost its way to the network beyond.
    pub uplink_lost: bool,
    /// What the addresses of the pool are used for.
    pub addresses: Addresses,
    /// The newest generation of the upstream set that was given to the balancer, with its seed or later.
    pub generation_pushed: Generation,
    /// The generation that the balancer confirmed to use; 0 while there is none.
    pub generation_confirmed: Generation,
}

/// How many addresses of the pool are in each state; together all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Not used.
    pub free: usize,
    /// A machine has it.
    pub used: usize,
    /// Its old machine could not be fenced.
    pub unfenced: usize,
    /// Somebody else on the network answers for it.
    pub foreign: usize,
}

impl Engine {
    /// What is counted now.
    pub fn figures(&self) -> Figures {
        Figures {
            maintenance: self.in_maintenance(),
            uplink_lost: self.uplink_lost().unwrap_or(false),
            addresses: self.count_addresses(),
            generation_pushed: self.balancer.generation,
            generation_confirmed: self.balancer.confirmed.as_ref().map_or(0, |set| set.generation),
        }
    }

    fn count_addresses(&self) -> Addresses {
        let foreign = self.foreign.len();
        // A machine that was found outside of the pool takes nothing of it.
        let machines = self.machines.values().filter(|machine| {
            let address = machine.slot.address;
            self.config.pool.contains(address) && !self.foreign.contains_key(&address)
        });
        let (unfenced, used): (Vec<_>, Vec<_>) =
            machines.partition(|machine| matches!(machine.life, Life::Dead { fence_failed: true, .. }));
        let (unfenced, used) = (unfenced.len(), used.len());
        let free = self.config.pool.addresses().len().saturating_sub(foreign + unfenced + used);
        Addresses { free, used, unfenced, foreign }
    }
}
