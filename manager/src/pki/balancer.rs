//! The certificate of this host's balancer: given with its seed, renewed while it runs.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use wire::MachineId;

use super::PkiError;
use super::files::Directory;
use super::intermediate::Issued;

const FILE: &str = "balancer.json";

/// What is known of the certificate that the balancer has. Its key is with the balancer only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// The machine.
    pub machine: MachineId,
    /// Its address.
    pub address: IpAddr,
    /// When it is to have another certificate, in seconds since 1970.
    pub renew_s: i64,
    /// The number of the list of revocations that it has.
    pub revocations: u64,
}

impl Certified {
    /// The record of what was issued to a balancer.
    pub fn new(machine: MachineId, address: IpAddr, issued: &Issued, revocations: u64) -> Self {
        Certified { machine, address, renew_s: issued.renew_at.unix_timestamp(), revocations }
    }

    /// The record of this host's balancer; none for one that was built before the cluster had its CA.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn load(directory: &Directory) -> Result<Option<Self>, PkiError> {
        let Some(text) = directory.find(FILE)? else { return Ok(None) };
        let damaged = |error| PkiError::Damaged(format!("{}: {error}", directory.path(FILE).display()));
        serde_json::from_str(&text).map(Some).map_err(damaged)
    }

    /// Keeps it, so that a manager that restarts knows.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn store(&self, directory: &Directory) -> Result<(), PkiError> {
        directory.store(FILE, self)
    }
}
