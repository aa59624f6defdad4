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
use std::time::Duration;

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
use crate::engine::SparesWanted;
use crate::ports::hypervisor::HypervisorError;
use crate::ports::machine::directory::Directory;

/// A spare that has said nothing for so long will not: a guest boots within seconds, on a busy host within a minute.
const BOOT_TIME: Duration = Duration::from_secs(120);

/// The spares that boot or wait.
#[derive(Default)]
pub(super) struct Spares {
    all: Mutex<Vec<Spare>>,
    /// Held by who makes and ends them: the service for which one was made last.
    keeping: AsyncMutex<Option<PoolName>>,
}

impl Spares {
    fn lock(&self) -> MutexGuard<'_, Vec<Spare>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of `kind` that waits, which from now on is the body of the machine in `directory` and nobody else's.
    pub(super) fn take(&self, kind: &Kind, directory: &Directory) -> io::Result<Option<Spare>> {
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

    /// One of `wanted`, which are in the order of their services, of which there are too few, unless one boots already:
    /// they are not to take the host's processors from its machines. The services behind the `last` one have their turn
    /// first: one whose spares never wait must not keep the others from theirs.
    fn missing(&self, wanted: &[(Kind, u32)], last: Option<&PoolName>) -> Option<usize> {
        let all = self.lock();
        if !all.iter().all(Spare::waits) {
            return None;
        }
        let count = |kind: &Kind| all.iter().filter(|spare| spare.kind == *kind).count() as u64;
        let is_short = |(kind, wanted): &(Kind, u32)| count(kind) < u64::from(*wanted);
        let next = wanted.iter().position(|wanted| is_short(wanted) && Some(&wanted.0.service) > last);
        next.or_else(|| wanted.iter().position(is_short))
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
        let mut last = self.spares.keeping.lock().await;
        self.find_spares().await?;
        let (mut kinds, mut made_of, mut trouble) = (Vec::new(), Vec::new(), None);
        for (service, SparesWanted { count, hardware }) in wanted {
            match spare::image_of(hardware) {
                Ok(image) => {
                    kinds.push((Kind::new(service, hardware, &image), *count));
                    made_of.push((hardware, image));
                }
                // What one service cannot have, the others can.
                Err(error) => trouble = Some(error),
            }
        }
        for spare in self.spares.surplus(&kinds) {
            if spare.is_silent() {
                let (service, seconds) = (&spare.kind.service, BOOT_TIME.as_secs());
                let message = format!("a spare of {service} gave no sign of life within {seconds} s");
                trouble = Some(HypervisorError::Failed(message));
            }
            self.end_spare(&spare.body).await?;
        }
        if let Some(place) = self.spares.missing(&kinds, last.as_ref()) {
            let ((kind, _), (hardware, image)) = (&kinds[place], &made_of[place]);
            *last = Some(kind.service.clone());
            let spare = self.make_spare(kind, hardware, image).await?;
            self.spares.lock().push(spare);
        }
        trouble.map_or_else(|| Ok(self.spares.waiting()), Err)
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
        let root = self.state_dir.join(SPARES);
        let made = DirBuilder::new()
            .mode(DIRECTORY_MODE)
            .recursive(true)
            .create(&root)
            .and_then(|()| DirBuilder::new().mode(DIRECTORY_MODE).create(&body.path));
        made.map_err(|error| refused(&body.path, &error))?;
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

    pub(super) async fn end_as_spare(&self, body: &Body) -> Result<(), HypervisorError> {
        let Some(number) = body.spare else { return Ok(()) };
        self.end(body, &Key::Uuid(number.uuid(&self.state_dir)), Some(&number.port())).await
    }
}
