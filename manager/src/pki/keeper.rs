//! What a running manager has of the cluster's certificates.
//!
//! ```text
//!   nothing ──▶ `pki` appears (init, join) ──▶ held ──▶ renewed ──▶ renewed …
//!                                               └──▶ a newer list of revocations ─┘
//! ```

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use kit::tls::{Clients, Live};
use time::OffsetDateTime;
use wire::MachineId;
use wire::tls::{Credentials, JoinRequest, Joined};

use super::balancer::Certified;
use super::files::Directory;
use super::intermediate::{Intermediate, Issued};
use super::{PkiError, enrolment, now, revocation};
use crate::config::Config;

/// The certificates of a running manager.
pub struct Pki {
    directory: Directory,
    lifetime: Duration,
    /// What connections are made with; none while this host belongs to no cluster.
    live: ArcSwapOption<Live>,
    held: Mutex<Option<Held>>,
    /// Whether the engine knows the members.
    introduced: AtomicBool,
}

struct Held {
    ca: String,
    intermediate: Intermediate,
    renew_at: OffsetDateTime,
    credentials: Credentials,
    /// The number of the list of revocations in `credentials`.
    revocations: u64,
    balancer: Option<Certified>,
}

impl Pki {
    /// Nothing is held yet.
    pub fn new(config: &Config) -> Self {
        Pki {
            directory: Directory::of(&config.state_dir),
            lifetime: config.certificate_lifetime,
            live: ArcSwapOption::empty(),
            held: Mutex::new(None),
            introduced: AtomicBool::new(false),
        }
    }

    /// What this host shows and believes; none while it belongs to no cluster.
    pub fn live(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    /// Whether this host belongs to a cluster: then nobody is believed without a certificate. A `pki` that is
    /// there and cannot be used counts, else damage to it would open what it closes.
    pub fn is_initialised(&self) -> bool {
        self.live.load().is_some() || self.directory.exists()
    }

    /// The addresses of the other hosts that joined before this one did: once, after the certificates were taken
    /// up.
    ///
    /// # Errors
    ///
    /// When they cannot be read; then they are asked for again.
    pub fn new_members(&self) -> Result<Vec<IpAddr>, PkiError> {
        if self.live.load().is_none() || self.introduced.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
        let others = enrolment::others(&self.directory)?;
        self.introduced.store(true, Ordering::Relaxed);
        Ok(others)
    }

    /// Takes the certificates into use if they are there and not in use yet. Says whether they now are for the
    /// first time.
    ///
    /// # Errors
    ///
    /// When they are there and cannot be used.
    pub fn take_up(&self) -> Result<bool, PkiError> {
        if self.live.load().is_some() || !self.directory.exists() {
            return Ok(false);
        }
        let ca = self.directory.read("ca.pem")?;
        let list = self.directory.read("revocations.pem")?;
        let revocations = revocation::number(&list, &ca)?;
        let intermediate = self.directory.intermediate()?;
        let Issued { credentials, renew_at } = intermediate.manager(&list, self.lifetime)?;
        let live = Live::new(&credentials, Clients::Anybody).map_err(unusable)?;
        let balancer = Certified::load(&self.directory)?;
        *self.lock() = Some(Held { ca, intermediate, renew_at, credentials, revocations, balancer });
        self.live.store(Some(Arc::new(live)));
        Ok(true)
    }

    /// Takes another certificate when two thirds of the present one's life are over. Says whether it did.
    ///
    /// # Errors
    ///
    /// When none can be made; the present one is kept.
    pub fn renew(&self) -> Result<bool, PkiError> {
        let mut held = self.lock();
        let (Some(held), Some(live)) = (held.as_mut(), self.live()) else { return Ok(false) };
        if now() < held.renew_at {
            return Ok(false);
        }
        let Issued { credentials, renew_at } =
            held.intermediate.manager(&held.credentials.revocations, self.lifetime)?;
        live.replace(&credentials).map_err(unusable)?;
        (held.credentials, held.renew_at) = (credentials, renew_at);
        Ok(true)
    }

    /// When this host's own certificate ends, in seconds since 1970; none while this host belongs to no cluster.
    pub fn ends(&self) -> Option<i64> {
        let held = self.lock();
        // It is renewed when a third of its life is left.
        held.as_ref().map(|held| (held.renew_at + self.lifetime / 3).unix_timestamp())
    }

    /// The list of revocations that is held, in PEM.
    ///
    /// # Errors
    ///
    /// When this host belongs to no cluster.
    pub fn revocations(&self) -> Result<String, PkiError> {
        let held = self.lock();
        Ok(held.as_ref().ok_or(PkiError::NotInitialised)?.credentials.revocations.clone())
    }

    /// Uses and stores the list of revocations in `pem` if it is newer than the one that is held. Says whether
    /// it was.
    ///
    /// # Errors
    ///
    /// When the CA has not signed it, or it cannot be stored.
    pub fn take_revocations(&self, pem: &str) -> Result<bool, PkiError> {
        let mut held = self.lock();
        let (Some(held), Some(live)) = (held.as_mut(), self.live()) else {
            return Err(PkiError::NotInitialised);
        };
        if pem == held.credentials.revocations {
            return Ok(false);
        }
        let number = revocation::number(pem, &held.ca)?;
        if number <= held.revocations {
            return Ok(false);
        }
        let credentials = Credentials { revocations: pem.to_owned(), ..held.credentials.clone() };
        live.replace(&credentials).map_err(unusable)?;
        // In use whatever the disk says; a manager that restarts with the old list is told the new one again.
        (held.credentials, held.revocations) = (credentials, number);
        self.directory.replace("revocations.pem", pem.as_bytes())?;
        Ok(true)
    }

    /// The same with the list on disk, which `manager revoke` replaces.
    ///
    /// # Errors
    ///
    /// As [`Pki::take_revocations`].
    pub fn read_revocations(&self) -> Result<bool, PkiError> {
        if self.live.load().is_none() {
            return Ok(false);
        }
        self.take_revocations(&self.directory.read("revocations.pem")?)
    }

    /// Lets a host into the cluster.
    ///
    /// # Errors
    ///
    /// See [`enrolment::admit`].
    pub fn admit(&self, request: &JoinRequest) -> Result<Joined, PkiError> {
        enrolment::admit(&self.directory, request)
    }

    /// Credentials for this host's balancer; none while this host belongs to no cluster. To be stored with
    /// [`Pki::has_certified`] once it has them.
    ///
    /// # Errors
    ///
    /// When its address is not of the pool that the CA knows.
    pub fn certify_balancer(
        &self,
        machine: &MachineId,
        address: IpAddr,
    ) -> Result<Option<(Credentials, Certified)>, PkiError> {
        let held = self.lock();
        let Some(held) = held.as_ref() else {
            // What is damaged is no reason to build a balancer that believes anybody.
            return if self.directory.exists() {
                Err(PkiError::Damaged(format!("{} cannot be used", self.directory.path("").display())))
            } else {
                Ok(None)
            };
        };
        let issued =
            held.intermediate.balancer(machine, address, &held.credentials.revocations, self.lifetime)?;
        let certified = Certified::new(machine.clone(), address, &issued, held.revocations);
        Ok(Some((issued.credentials, certified)))
    }

    /// Credentials for the balancer that is being built; none while this host belongs to no cluster. Blocks
    /// while the disk does.
    ///
    /// # Errors
    ///
    /// As [`Pki::certify_balancer`], and when it cannot be stored that the balancer has them.
    pub fn seed_balancer(
        &self,
        machine: &MachineId,
        address: IpAddr,
    ) -> Result<Option<Credentials>, PkiError> {
        let Some((credentials, certified)) = self.certify_balancer(machine, address)? else {
            return Ok(None);
        };
        // Before it runs: what is stored late might be lost, and the balancer be spoken to without TLS.
        self.has_certified(certified)?;
        Ok(Some(credentials))
    }

    /// The balancer has what was made for it.
    ///
    /// # Errors
    ///
    /// When that cannot be stored.
    pub fn has_certified(&self, certified: Certified) -> Result<(), PkiError> {
        certified.store(&self.directory)?;
        if let Some(held) = self.lock().as_mut() {
            held.balancer = Some(certified);
        }
        Ok(())
    }

    /// Whether the balancer at `address` takes changes by TLS. One that was built before the cluster had its CA
    /// does not, until it is built anew.
    pub fn is_certified(&self, address: IpAddr) -> bool {
        let held = self.lock();
        held.as_ref().and_then(|held| held.balancer.as_ref()).is_some_and(|known| known.address == address)
    }

    /// The balancer at `address`, if it is to have other credentials: its own are old, or the list of revocations
    /// in them is.
    pub fn balancer_due(&self, address: IpAddr) -> Option<MachineId> {
        let held = self.lock();
        let held = held.as_ref()?;
        let known = held.balancer.as_ref().filter(|known| known.address == address)?;
        let due = now().unix_timestamp() >= known.renew_s || known.revocations < held.revocations;
        due.then(|| known.machine.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unusable(error: kit::tls::TlsError) -> PkiError {
    PkiError::Damaged(format!("the certificates in `pki` cannot be used: {error}"))
}
