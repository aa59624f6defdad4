//! The disks of a machine: its seed, and for a cloud's image the overlay that it writes to.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;
use wire::cluster::Condition;

use super::image::{DiskFormat, Image};
use super::{DIRECTORY_MODE, failed, refused};
use crate::engine::MachineSpec;
use crate::ports::hypervisor::HypervisorError;
use crate::ports::machine::{directory, nocloud};

/// An overlay is a small file.
const OVERLAY_TIME: Duration = Duration::from_secs(20);

/// What a disk that is kept was made from.
#[derive(Serialize, Deserialize)]
struct MadeFrom {
    path: PathBuf,
    id: String,
}

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

/// The disk in `place` of a machine that keeps it: made for the first machine of its name, and found by all that follow.
/// What it is a difference from must not change.
pub(super) async fn keep_overlay(
    image: &Image,
    base: &Path,
    format: DiskFormat,
    place: &Path,
) -> Result<PathBuf, HypervisorError> {
    let (disk, made_from) = (place.join("disk.qcow2"), place.join("image.json"));
    if disk.exists() {
        let text = std::fs::read_to_string(&made_from).map_err(|error| refused(&made_from, &error))?;
        let before: MadeFrom = serde_json::from_str(&text).map_err(failed)?;
        if Image::load(&before.path)?.id() == before.id {
            return Ok(disk);
        }
        let message = format!(
            "{} holds data on top of {}, which has changed since: put back what was there, and give a new image a new \
             name",
            disk.display(),
            before.path.display()
        );
        return Err(HypervisorError::Prevented(Condition::MissingImage, message));
    }
    DirBuilder::new()
        .mode(DIRECTORY_MODE)
        .recursive(true)
        .create(place)
        .map_err(|error| refused(place, &error))?;
    let unfinished = place.join("disk.qcow2.new");
    make_overlay(base, format, &unfinished).await?;
    let from = MadeFrom { path: base.to_owned(), id: image.id() };
    let text = serde_json::to_vec_pretty(&from).map_err(failed)?;
    directory::write(&made_from, &text).map_err(|error| refused(&made_from, &error))?;
    std::fs::rename(&unfinished, &disk).map_err(|error| refused(&disk, &error))?;
    Ok(disk)
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
