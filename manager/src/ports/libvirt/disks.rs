//! The disks of a machine: its seed, and for a cloud's image the overlay that it writes to.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;
use wire::cluster::Condition;

use super::image::DiskFormat;
use super::{failed, refused};
use crate::engine::MachineSpec;
use crate::ports::hypervisor::HypervisorError;
use crate::ports::machine::nocloud;

/// An overlay is a small file.
const OVERLAY_TIME: Duration = Duration::from_secs(20);

/// Makes the seed disk of a machine at `path`.
pub(super) fn make_seed(path: &Path, spec: &MachineSpec) -> Result<(), HypervisorError> {
    let user_data = spec.hardware.user_data.as_deref().map(read_user_data).transpose()?;
    let contents = nocloud::files(spec, user_data).map_err(failed)?;
    let contents: Vec<(&str, &[u8])> =
        contents.iter().map(|(name, content)| (*name, content.as_slice())).collect();
    guest::seed_disk::write(path, &contents).map_err(|error| refused(path, &error))
}

/// The instructions for a cloud image.
fn read_user_data(path: &Path) -> Result<String, HypervisorError> {
    std::fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("there is no file {}, which `user_data` names", path.display());
            HypervisorError::Prevented(Condition::MissingImage, message)
        }
        _ => refused(path, &error),
    })
}

/// Makes a disk on which only the differences from `base` are stored.
pub(super) async fn make_overlay(
    base: &Path,
    format: DiskFormat,
    disk: &Path,
) -> Result<(), HypervisorError> {
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", format.name(), "-b"])
        .args([base, disk])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(OVERLAY_TIME, made)
        .await
        .map_err(|_| HypervisorError::Failed(format!("qemu-img does not end: {}", disk.display())))?
        .map_err(|error| HypervisorError::Failed(format!("qemu-img cannot be started: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(if reason.contains("No space left") {
        HypervisorError::Prevented(Condition::NoSpace, reason)
    } else {
        HypervisorError::Failed(reason)
    })
}
