//! Makes a machine: its seed, its disk where it has one, and the domain that boots from them.

use std::os::unix::fs::symlink;

use wire::cluster::Condition;

use super::acceleration::Acceleration;
use super::body::Body;
use super::domain::{Domain, Files};
use super::image::Image;
use super::metadata::Metadata;
use super::{Libvirt, disks, failed, refused};
use crate::engine::{MachinePurpose, MachineSpec};
use crate::ports::hypervisor::HypervisorError;
use crate::ports::machine::directory::Directory;

/// A unix socket's path has at most so many bytes.
const SOCKET_PATH_MAX: usize = 107;

impl Libvirt {
    /// Makes the machine of `spec` in its `directory`, which is there, and starts it.
    pub(super) async fn make(
        &self,
        spec: &MachineSpec,
        directory: &Directory,
    ) -> Result<(), HypervisorError> {
        let MachineSpec { purpose, mac, seed: given, hardware, persistent } = spec;
        let image = Image::load(&hardware.image)?;
        self.network.bridge(&self.bridge).await?;
        let body = Body::of(directory);
        let mut files = body.files();
        check_sockets(&files)?;
        disks::make_seed(&files.seed, spec)?;
        match &image {
            Image::Disk { path, format } if *persistent => {
                let kept = disks::keep_overlay(&image, path, *format, &directory.kept_disk()).await?;
                // Whoever looks for the disk in the machine's directory finds it, and it does not go with that.
                symlink(&kept, &files.disk).map_err(|error| refused(&files.disk, &error))?;
                files.disk = kept;
            }
            Image::Disk { path, format } => disks::make_overlay(path, *format, &files.disk).await?,
            Image::Bundle(_) if *persistent => {
                let message = format!(
                    "`persistent` keeps a disk, and {} has none: name the disk image of a cloud in `image`",
                    hardware.image.display()
                );
                return Err(HypervisorError::Prevented(Condition::MissingImage, message));
            }
            Image::Bundle(_) => {}
        }
        let purpose = &MachinePurpose { image: Some(image.id()), ..purpose.clone() };
        directory.store_purpose(purpose).map_err(|error| refused(&directory.path, &error))?;
        let metadata = Metadata {
            state_dir: self.daemon.state_dir.clone(),
            spare: None,
            purpose: Some(purpose.clone()),
            generation: given.proxy_config.as_ref().map_or(0, |config| config.generation),
        };
        let xml = Domain {
            name: purpose.id.as_str(),
            metadata: &metadata,
            uuid: body.uuid(&self.state_dir, purpose),
            accelerator: self.acceleration().await.accelerator(),
            hardware,
            image: &image,
            mac: *mac,
            port: &body.port(purpose),
            bridge: &self.bridge,
            files,
        }
        .to_xml()
        .map_err(failed)?;
        self.daemon.create(purpose.id.as_str(), xml).await
    }

    pub(super) async fn acceleration(&self) -> &Acceleration {
        self.acceleration.get_or_init(|| Acceleration::find(&self.state_dir)).await
    }
}

/// Whether the sockets of a machine can be made where `files` says.
pub(super) fn check_sockets(files: &Files) -> Result<(), HypervisorError> {
    let longest = files.control_socket.as_os_str().len().max(files.console_socket.as_os_str().len());
    if longest > SOCKET_PATH_MAX {
        let message = format!(
            "{} is too long for a socket by {} bytes: choose a shorter state_dir",
            files.control_socket.display(),
            longest - SOCKET_PATH_MAX
        );
        return Err(HypervisorError::Failed(message));
    }
    Ok(())
}
