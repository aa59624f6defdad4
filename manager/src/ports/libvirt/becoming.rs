//! Makes a machine of a spare, and has what domains and directories say of it agree.
//!
//! What a machine is, its directory says; its domain says it too, for the day on which the directory is lost. Neither waits
//! for the other, so that a machine is made of a spare while the daemon is away.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use guest::channel::{Ask, Told};

use super::body::Body;
use super::image::Image;
use super::metadata::Metadata;
use super::spare::{Kind, Number, Spare};
use super::{DIRECTORY_MODE, Libvirt, failed, refused};
use crate::engine::{MachinePurpose, MachineSpec};
use crate::ports::hypervisor::HypervisorError;
use crate::ports::machine::directory::{self, Directory};

impl Libvirt {
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
    pub(super) fn bodies(&self) -> Result<BTreeMap<Number, Directory>, HypervisorError> {
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
