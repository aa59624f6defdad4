//! The spares of a host: made, found again, counted, given away, and ended.
//!
//! ```text
//!   keep ──▶ boots ──▶ waits ──▶ taken: the spare's directory is linked to the machine's
//!              │         │         └─ cable, order over the control channel ──▶ the machine
//!              └─────────┴──▶ ended: it is silent, of another kind, or nobody wants it
//! ```
//!
//! They outlive their manager. The next one takes over those that wait, whose directories say so; what is neither a
//! waiting spare nor any machine's body is ended.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use guest::channel::{Ask, Told};
use tokio::sync::Mutex as AsyncMutex;
use wire::PoolName;

use super::body::{Body, remove};
use super::daemon::Key;
use super::domain::Domain;
use super::image::Image;
use super::making::check_sockets;
use super::metadata::Metadata;
use super::spare::{self, Kind, Number, Spare};
use super::{DIRECTORY_MODE, Libvirt, SPARES, failed, refused};
use crate::config::Hardware;
use crate::engine::{MachinePurpose, MachineSpec, SparesWanted};
use crate::ports::hypervisor::HypervisorError;
use crate::ports::machine::directory::{self, Directory};

/// A spare that has said nothing for so long will not: a guest boots within seconds, on a busy host within a minute.
const BOOT_TIME: Duration = Duration::from_secs(120);

/// The spares that boot or wait.
#[derive(Default)]
pub(super) struct Spares {
    all: Mutex<Vec<Spare>>,
    /// Held by who makes and ends them.
    keeping: AsyncMutex<()>,
}

impl Spares {
    fn lock(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of `kind` that waits, which from now on is the body of the machine in `directory` and nobody else's.
    fn take(&self, kind: &Kind, directory: &Directory) -> io::Result<Option<Spare>> {
        let mut all = self.lock();
        let Some(place) = all.iter().position(|spare| spare.kind == *kind && spare.waits()) else {
            return Ok(None);
        };
        // While they are held nobody takes it for one that has no owner.
        spare::forget(&all[place].body)?;
        all[place].body.become_of(directory)?;
        Ok(Some(all.remove(place)))
    }

    /// Takes out those that have ended or are silent, and those that `wanted` does not ask for.
    fn surplus(&self, wanted: &[(Kind, u32)]) -> Vec<Spare> {
        let mut left: BTreeMap<&PoolName, u32> =
            wanted.iter().map(|(kind, count)| (&kind.service, *count)).collect();
        let mut all = self.lock();
        // Those that can be used soonest stay.
        all.sort_by_key(|spare| !spare.waits());
        let (stay, surplus) = std::mem::take(&mut *all).into_iter().partition(|spare| {
            let left = left.get_mut(&spare.kind.service).filter(|left| **left > 0);
            let is_wanted = wanted.iter().any(|(kind, _)| *kind == spare.kind);
            match left {
                Some(left) if is_wanted && spare.runs() && !spare.is_silent() => {
                    *left -= 1;
                    true
                }
                _ => false,
            }
        });
        *all = stay;
        surplus
    }

    /// The first of `wanted` of which there are too few, unless one boots already: they are not to take the host's
    /// processors from its machines.
    fn missing(&self, wanted: &[(Kind, u32)]) -> Option<usize> {
        let all = self.lock();
        if !all.iter().all(Spare::waits) {
            return None;
        }
        let count = |kind: &Kind| all.iter().filter(|spare| spare.kind == *kind).count() as u64;
        wanted.iter().position(|(kind, wanted)| count(kind) < u64::from(*wanted))
    }

    fn waiting(&self) -> BTreeMap<PoolName, u32> {
        let mut waiting = BTreeMap::new();
        for spare in self.lock().iter().filter(|spare| spare.waits()) {
            *waiting.entry(spare.kind.service.clone()).or_default() += 1;
        }
        waiting
    }

    fn knows(&self, number: Number) -> bool {
        self.lock().iter().any(|spare| spare.number == number)
    }
}

impl Spare {
    fn is_silent(&self) -> bool {
        !self.control.has_booted() && self.since.elapsed() > BOOT_TIME
    }
}

impl Libvirt {
    /// Has as many spares as are `wanted` of each service, and says how many wait.
    pub(super) async fn fill_spares(
        &self,
        wanted: &BTreeMap<PoolName, SparesWanted>,
    ) -> Result<BTreeMap<PoolName, u32>, HypervisorError> {
        let _only = self.spares.keeping.lock().await;
        self.find_spares().await?;
        let (mut kinds, mut made_of) = (Vec::new(), Vec::new());
        for (service, SparesWanted { count, hardware }) in wanted {
            let image = Image::load(&hardware.image)?;
            spare::suitable(&image, hardware)?;
            kinds.push((Kind::new(service, hardware, &image), *count));
            made_of.push((hardware, image));
        }
        let mut silent = None;
        for spare in self.spares.surplus(&kinds) {
            if spare.is_silent() {
                silent = Some(spare.kind.service.clone());
            }
            self.end_spare(&spare.body).await?;
        }
        if let Some(service) = silent {
            let message =
                format!("a spare of {service} gave no sign of life within {} s", BOOT_TIME.as_secs());
            return Err(HypervisorError::Failed(message));
        }
        if let Some(place) = self.spares.missing(&kinds) {
            let (hardware, image) = &made_of[place];
            let spare = self.make_spare(&kinds[place].0, hardware, image).await?;
            self.spares.lock().push(spare);
        }
        Ok(self.spares.waiting())
    }

    /// Takes over the spares of an earlier manager, and ends what is nobody's.
    async fn find_spares(&self) -> Result<(), HypervisorError> {
        let root = self.state_dir.join(SPARES);
        let entries = match fs::read_dir(&root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read.map_err(|error| refused(&root, &error))?,
        };
        for entry in entries {
            let path = entry.map_err(failed)?.path();
            let Some(number) = Number::of_directory(&path) else { continue };
            // In this order: one that is taken has its machine before it is unknown.
            if self.spares.knows(number) || self.bodies()?.contains_key(&number) {
                continue;
            }
            let body = Body { path, spare: Some(number) };
            match (spare::stored(&body), body.process().map_err(failed)?) {
                (Some(kind), Some(process)) => {
                    tracing::info!(service = %kind.service, "spare {number} was found again");
                    self.spares.lock().push(Spare::new(number, body, kind, process));
                }
                _ => self.end_spare(&body).await?,
            }
        }
        Ok(())
    }

    async fn make_spare(
        &self,
        kind: &Kind,
        hardware: &Hardware,
        image: &Image,
    ) -> Result<Spare, HypervisorError> {
        self.network.bridge(&self.bridge).await?;
        let number = Number::draw().map_err(failed)?;
        let body = Body::of_spare(&self.state_dir, number);
        DirBuilder::new()
            .mode(DIRECTORY_MODE)
            .recursive(true)
            .create(&body.path)
            .map_err(|error| refused(&body.path, &error))?;
        match self.start_spare(number, &body, kind, hardware, image).await {
            Ok(spare) => Ok(spare),
            Err(error) => {
                self.end_spare(&body).await?;
                Err(error)
            }
        }
    }

    async fn start_spare(
        &self,
        number: Number,
        body: &Body,
        kind: &Kind,
        hardware: &Hardware,
        image: &Image,
    ) -> Result<Spare, HypervisorError> {
        let files = body.files();
        check_sockets(&files)?;
        guest::seed_disk::write(&files.seed, &[(guest::spare::FILE, b"")])
            .map_err(|error| refused(&files.seed, &error))?;
        let metadata = Metadata {
            state_dir: self.daemon.state_dir.clone(),
            spare: Some(number),
            purpose: None,
            generation: 0,
        };
        let name = number.domain(&self.host);
        let xml = Domain {
            name: &name,
            metadata: &metadata,
            uuid: number.uuid(&self.state_dir),
            accelerator: self.acceleration().await.accelerator(),
            hardware,
            image,
            mac: number.mac(),
            port: &number.port(),
            bridge: &self.bridge,
            files,
        }
        .to_xml()
        .map_err(failed)?;
        self.daemon.create(&name, xml).await?;
        // Whatever its guest does: nothing of it is heard.
        self.network.set_port(&number.port(), false).await?;
        let process = body.process().map_err(failed)?;
        let process = process.ok_or_else(|| {
            HypervisorError::Failed("a spare's process ended at once: libvirt's log may say why".to_owned())
        })?;
        spare::store(body, kind).map_err(|error| refused(&body.path, &error))?;
        Ok(Spare::new(number, body.clone(), kind.clone(), process))
    }

    /// Ends the spare in `body`, whatever has become of it, and removes what is left of it.
    pub(super) async fn end_spare(&self, body: &Body) -> Result<(), HypervisorError> {
        self.end_as_spare(body).await?;
        remove(&body.path).map_err(|error| refused(&body.path, &error))
    }

    async fn end_as_spare(&self, body: &Body) -> Result<(), HypervisorError> {
        let Some(number) = body.spare else { return Ok(()) };
        self.end(body, &Key::Uuid(number.uuid(&self.state_dir)), Some(&number.port())).await
    }

    /// Makes the machine of `spec`, whose `directory` is there, of a spare, if one waits that is what it is to be. Returns
    /// whether it did; where it did not, nothing of it is left.
    pub(super) async fn make_of_spare(
        &self,
        spec: &MachineSpec,
        directory: &Directory,
    ) -> Result<bool, HypervisorError> {
        // What a machine keeps is on a disk, which a spare does not have.
        if spec.persistent {
            return Ok(false);
        }
        let image = Image::load(&spec.hardware.image)?;
        let kind = Kind::new(&spec.purpose.service, &spec.hardware, &image);
        let Some(spare) = self.spares.take(&kind, directory).map_err(failed)? else { return Ok(false) };
        let body = spare.body.clone();
        match self.become_machine(spare, spec, &image, directory).await {
            Ok(()) => Ok(true),
            Err(error) => {
                tracing::warn!(machine = %spec.purpose.id, "its spare is of no use, it is made anew: {error}");
                self.end_as_spare(&body).await?;
                body.remove(directory).map_err(failed)?;
                Ok(false)
            }
        }
    }

    async fn become_machine(
        &self,
        spare: Spare,
        spec: &MachineSpec,
        image: &Image,
        directory: &Directory,
    ) -> Result<(), HypervisorError> {
        let began = Instant::now();
        let purpose = MachinePurpose { image: Some(image.id()), ..spec.purpose.clone() };
        directory.store_purpose(&purpose).map_err(|error| refused(&directory.path, &error))?;
        self.network.plug(&spare.number.port(), &self.bridge).await?;
        let cabled = began.elapsed();
        let ask = Ask::Become { seed: Box::new(spec.seed.clone()), mac: spec.mac };
        let told = spare.control.ask(ask).await?;
        let Told::Became { files_us, address_us } = told else {
            return Err(HypervisorError::Failed("its guest does not know what a spare is".to_owned()));
        };
        tracing::info!(
            machine = %purpose.id,
            spare = %spare.number,
            cable_us = micros(cabled),
            files_us,
            address_us,
            all_us = micros(began.elapsed()),
            "made of a spare"
        );
        self.label(spare.number, purpose);
        self.watch(&spec.purpose, &spare.body, spare.process, Some(spare.control));
        Ok(())
    }

    /// Has the domain of the spare `number` say that it is what `purpose` says. Nobody waits for it: the machine's directory
    /// says it too, and what the domain did not learn it is told with the next list.
    pub(super) fn label(&self, number: Number, purpose: MachinePurpose) {
        let labelled = self.daemon.label(
            number.uuid(&self.state_dir),
            Metadata {
                state_dir: self.daemon.state_dir.clone(),
                spare: Some(number),
                purpose: Some(purpose),
                generation: 0,
            },
        );
        tokio::spawn(async move {
            if let Err(error) = labelled.await {
                tracing::warn!("the domain of spare {number} does not say yet which machine it is: {error}");
            }
        });
    }

    /// Has the host's `domains` and directories agree on what was made of which spare.
    pub(super) async fn mend_spares(&self, domains: &[Metadata]) -> Result<(), HypervisorError> {
        let spares = domains.iter().filter_map(|domain| Some((domain.spare?, &domain.purpose)));
        let spares: Vec<_> = spares.collect();
        if spares.is_empty() {
            return Ok(());
        }
        let machines = self.bodies()?;
        for (number, says) in spares {
            match (machines.get(&number), says) {
                // One without a purpose is being made.
                (Some(directory), _) => match directory.purpose() {
                    Ok(purpose) if says.as_ref() != Some(&purpose) => self.label(number, purpose),
                    _ => {}
                },
                (None, Some(purpose)) => self.restore(purpose, number).await?,
                (None, None) => {
                    let body = Body::of_spare(&self.state_dir, number);
                    if !body.path.exists() {
                        self.end_spare(&body).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The machines that were made of spares, by these.
    fn bodies(&self) -> Result<BTreeMap<Number, Directory>, HypervisorError> {
        let machines = directory::list(&self.machines).map_err(failed)?;
        let bodies = machines.iter().filter_map(|id| {
            let directory = self.directory(id);
            Some((Body::of(&directory).spare?, directory))
        });
        Ok(bodies.collect())
    }

    /// Makes the link from the machine of `purpose` to the spare that it runs in anew, where its directory was lost.
    async fn restore(&self, purpose: &MachinePurpose, number: Number) -> Result<(), HypervisorError> {
        let _only = self.locks.lock(&purpose.id).await;
        let (directory, body) = (self.directory(&purpose.id), Body::of_spare(&self.state_dir, number));
        if directory.path.exists() || body.process().map_err(failed)?.is_none() {
            return Ok(());
        }
        tracing::warn!(machine = %purpose.id, "its directory was lost: it is made anew of what its domain says");
        let restored = directory
            .create(DIRECTORY_MODE)
            .and_then(|()| body.become_of(&directory))
            .and_then(|()| directory.store_purpose(purpose));
        restored.map_err(|error| refused(&directory.path, &error))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
