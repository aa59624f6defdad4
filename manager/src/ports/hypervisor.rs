//! What makes machines and ends them. Two drivers keep this contract; one suite of tests checks both.

use std::collections::BTreeMap;

use async_trait::async_trait;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use wire::cluster::{Condition, FaultKind};
use wire::{Incarnation, MachineId, PoolName};

use super::machine::network::NetworkError;
use crate::engine::{MachineSpec, ObservedMachine, ObservedUsage, SparesWanted};

/// Why a driver could not do what it was asked. The text says what to do about it where that is known.
#[derive(Debug, Error)]
pub enum HypervisorError {
    /// There is a machine of this name already; it must be fenced first.
    #[error("a machine of this name exists")]
    Exists,
    /// There is no such machine, or it does not run.
    #[error("no such machine runs")]
    NotRunning,
    /// Something of the machine is still there.
    #[error("not everything of the machine is gone: {0}")]
    NotFenced(String),
    /// Something known stands in the way.
    #[error("{1}")]
    Prevented(Condition, String),
    /// Machines of this driver cannot do that.
    #[error("{0}")]
    Unsupported(String),
    /// Something else failed.
    #[error("{0}")]
    Failed(String),
}

impl HypervisorError {
    /// What stands in the way, where that is known.
    pub fn condition(&self) -> Option<Condition> {
        match self {
            HypervisorError::Prevented(condition, _) => Some(*condition),
            HypervisorError::NotFenced(_) => Some(Condition::Unfenced),
            HypervisorError::Exists
            | HypervisorError::NotRunning
            | HypervisorError::Unsupported(_)
            | HypervisorError::Failed(_) => None,
        }
    }
}

impl From<NetworkError> for HypervisorError {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::NoInterface(_) | NetworkError::NoBridge(_) => {
                HypervisorError::Prevented(Condition::MissingBridge, error.to_string())
            }
            NetworkError::Refused { .. } => HypervisorError::Failed(error.to_string()),
        }
    }
}

/// A machine ended without being asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Which machine.
    pub machine: MachineId,
    /// Which build of it.
    pub incarnation: Incarnation,
    /// In words.
    pub reason: String,
}

/// Where a driver tells of machines that ended.
pub type Exits = mpsc::UnboundedSender<Exit>;

/// A hypervisor.
///
/// Machines live on when the manager that made them ends. From a machine that was killed, frozen or
/// destroyed nothing comes any more: no ARP reply, no reset, no acknowledgement.
#[async_trait]
pub trait Hypervisor: Send + Sync {
    /// The machines of this host, running or not. Those that were not made by a manager with the same
    /// state directory are not among them. Machines found running are watched from now on.
    ///
    /// # Errors
    ///
    /// When the machines cannot be listed; then nothing is known about any of them.
    async fn list(&self) -> Result<Vec<ObservedMachine>, HypervisorError>;

    /// What each machine that runs has used so far of processors, and uses now of memory. One that has just started or is
    /// about to end may be missing.
    ///
    /// # Errors
    ///
    /// When that cannot be read; then nothing is known of any of them.
    async fn usage(&self) -> Result<Vec<ObservedUsage>, HypervisorError>;

    /// Makes a machine and starts it. Returns when it runs, not when it answers.
    ///
    /// # Errors
    ///
    /// Whatever was made until then is left for [`Hypervisor::destroy`].
    async fn create(&self, spec: &MachineSpec) -> Result<(), HypervisorError>;

    /// Asks a machine to end and waits until it has.
    ///
    /// # Errors
    ///
    /// [`HypervisorError::NotRunning`]; or it does not end in time.
    async fn shutdown(&self, machine: &MachineId) -> Result<(), HypervisorError>;

    /// Ends a machine at once and removes all that is left of it. A machine that is not there is a
    /// success: when this returns, the address is free.
    ///
    /// # Errors
    ///
    /// [`HypervisorError::NotFenced`]: the address must not be used.
    async fn destroy(&self, machine: &MachineId) -> Result<(), HypervisorError>;

    /// Has so many spares wait for each service: machines that have booted and are nobody yet, of which the next ones
    /// that are created for that service are made, unless they keep a disk. Those that are not `wanted` are ended. It is to
    /// be called again and again: what it begins may take longer than it does. Returns how many wait by now.
    ///
    /// # Errors
    ///
    /// [`HypervisorError::Unsupported`] where such machines cannot become somebody; or a spare cannot be made.
    async fn keep_spares(
        &self,
        wanted: &BTreeMap<PoolName, SparesWanted>,
    ) -> Result<BTreeMap<PoolName, u32>, HypervisorError>;

    /// The id of the image that the next machine of each service, and the next balancer (`lb`), would be
    /// made from. What has no image, or one that cannot be read, is left out.
    async fn images(&self) -> BTreeMap<PoolName, String> {
        BTreeMap::new()
    }

    /// Harms a machine, to see what happens.
    ///
    /// # Errors
    ///
    /// [`HypervisorError::NotRunning`].
    async fn inject(&self, machine: &MachineId, fault: FaultKind) -> Result<(), HypervisorError>;

    /// The end of what a machine wrote to its console, at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// When there is no such machine or its console cannot be read.
    async fn console(&self, machine: &MachineId, limit: u64) -> Result<String, HypervisorError>;

    /// A machine's console, to read what it writes and to type at it. There is one line for all who do.
    ///
    /// # Errors
    ///
    /// [`HypervisorError::NotRunning`]; [`HypervisorError::Unsupported`] where machines have no such console.
    async fn open_console(&self, machine: &MachineId) -> Result<UnixStream, HypervisorError>;

    /// What makes the machines, in words, as far as it is known by now.
    fn describe(&self) -> String;
}
