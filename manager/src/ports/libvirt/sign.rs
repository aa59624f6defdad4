//! The sign of life of a guest, wherever it comes from.

use guest::channel::Ask;

use super::agent::Agent;
use super::control::Control;
use crate::ports::hypervisor::HypervisorError;

/// Where a guest's sign of life comes from.
pub(super) enum Sign {
    /// One of ours.
    Control(Control),
    /// A cloud's.
    Agent(Agent),
}

impl Sign {
    /// Whether the guest has started.
    pub(super) fn has_booted(&self) -> bool {
        match self {
            Sign::Control(control) => control.has_booted(),
            Sign::Agent(agent) => agent.has_answered(),
        }
    }

    /// Asks one of our own guests something; none for other guests.
    pub(super) fn ask(
        &self,
        ask: Ask,
    ) -> Option<impl Future<Output = Result<(), HypervisorError>> + Send + use<>> {
        match self {
            Sign::Control(control) => {
                let asked = control.ask(ask);
                Some(async move { asked.await.map(drop) })
            }
            Sign::Agent(_) => None,
        }
    }
}
