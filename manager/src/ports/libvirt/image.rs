//! What a machine boots from: a bundle that `alpine-image/build.sh` made, or a disk image of a cloud.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use wire::cluster::Condition;

use crate::ports::hypervisor::HypervisorError;

/// The only version of the manifest there is yet.
const FORMAT: u32 = 1;

/// How a QCOW2 file begins.
const QCOW2_MAGIC: &[u8; 4] = b"QFI\xfb";

/// What a machine boots from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// A kernel, and an initramfs that is the whole root file system.
    Bundle(Bundle),
    /// A disk image, on which each machine has an overlay of its own.
    Disk { path: PathBuf, format: DiskFormat },
}

/// A bundle, with whole paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// Says which build of the image it is.
    pub(crate) id: String,
    /// Not what users get, but what stands in for it where the real one cannot be had.
    pub(crate) stand_in: bool,
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) command_line: String,
}

/// The formats that disk images are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskFormat {
    Raw,
    Qcow2,
}

impl DiskFormat {
    /// As QEMU calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        }
    }
}

/// `image.json` of a bundle.
#[derive(Deserialize)]
struct Manifest {
    format: u32,
    id: String,
    distribution: String,
    stand_in: bool,
    kernel: Part,
    initrd: Part,
    command_line: String,
}

#[derive(Deserialize)]
struct Part {
    file: String,
    sha256: String,
}

impl Image {
    /// The image at `path`: a directory is a bundle, a file a disk.
    pub(crate) fn load(path: &Path) -> Result<Self, HypervisorError> {
        if path.is_dir() {
            return Ok(Image::Bundle(manifest(path)?.bundle(path)));
        }
        let mut magic = [0; QCOW2_MAGIC.len()];
        let format = match File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
            Ok(()) if &magic == QCOW2_MAGIC => DiskFormat::Qcow2,
            Ok(()) => DiskFormat::Raw,
            Err(error) => return Err(unreadable(path, &error)),
        };
        // Backing files are found from where the overlay is.
        let path = path.canonicalize().map_err(|error| unreadable(path, &error))?;
        Ok(Image::Disk { path, format })
    }

    /// Says which build of the image it is.
    pub(crate) fn id(&self) -> String {
        match self {
            Image::Bundle(bundle) => bundle.id.clone(),
            // Whoever replaces the file makes a new image of it.
            Image::Disk { path, .. } => {
                let modified =
                    path.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                let age = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                format!("{name}@{}", age.as_secs())
            }
        }
    }

    /// Compares the image with its checksums; says what it is.
    pub(crate) fn verify(path: &Path) -> Result<String, HypervisorError> {
        let bundle = match Self::load(path)? {
            Image::Disk { path, format } => {
                return Ok(format!("{}: a disk image ({})", path.display(), format.name()));
            }
            Image::Bundle(bundle) => bundle,
        };
        let Manifest { distribution, id, kernel, initrd, .. } = manifest(path)?;
        for (file, part) in [(bundle.kernel, kernel), (bundle.initrd, initrd)] {
            let content = std::fs::read(&file).map_err(|error| unreadable(&file, &error))?;
            let sum: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            if sum != part.sha256 {
                return Err(missing(format!(
                    "{} is damaged (its checksum is not that of image.json): build the image anew",
                    file.display()
                )));
            }
        }
        let stand_in = if bundle.stand_in { ", a stand-in" } else { "" };
        Ok(format!("{}: {distribution}{stand_in}, build {id}", path.display()))
    }
}

impl Manifest {
    fn bundle(self, directory: &Path) -> Bundle {
        Bundle {
            id: self.id,
            stand_in: self.stand_in,
            kernel: directory.join(self.kernel.file),
            initrd: directory.join(self.initrd.file),
            command_line: self.command_line,
        }
    }
}

fn manifest(directory: &Path) -> Result<Manifest, HypervisorError> {
    let path = directory.join("image.json");
    let text = std::fs::read(&path).map_err(|error| unreadable(&path, &error))?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| missing(format!("{} cannot be read: {error}", path.display())))?;
    if manifest.format != FORMAT {
        let message = format!(
            "{} is of format {}, this manager knows {FORMAT}: build the image with the same version",
            path.display(),
            manifest.format
        );
        return Err(missing(message));
    }
    for part in [&manifest.kernel, &manifest.initrd] {
        let file = directory.join(&part.file);
        File::open(&file).map_err(|error| unreadable(&file, &error))?;
    }
    Ok(manifest)
}

fn unreadable(path: &Path, error: &io::Error) -> HypervisorError {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => missing(format!(
            "there is no image {path}: build it with alpine-image/build.sh, or name another one in `image`"
        )),
        io::ErrorKind::PermissionDenied => {
            HypervisorError::Prevented(Condition::Denied, format!("the image {path} may not be read"))
        }
        _ => missing(format!("the image {path} cannot be read: {error}")),
    }
}

fn missing(message: String) -> HypervisorError {
    HypervisorError::Prevented(Condition::MissingImage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle_in(directory: &Path) {
        std::fs::write(directory.join("vmlinuz"), "kernel").expect("written");
        std::fs::write(directory.join("initrd"), "root").expect("written");
        let sum =
            |text: &str| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let manifest = serde_json::json!({
            "format": 1, "role": "stateless", "distribution": "Alpine 3.21", "stand_in": false, "id": "abc",
            "kernel": {"file": "vmlinuz", "sha256": sum("kernel")},
            "initrd": {"file": "initrd", "sha256": sum("root")},
            "command_line": "quiet",
        });
        std::fs::write(directory.join("image.json"), manifest.to_string()).expect("written");
    }

    fn refused(path: &Path) -> String {
        match Image::verify(path) {
            Err(HypervisorError::Prevented(Condition::MissingImage, message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_bundle_is_what_its_manifest_says_or_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        assert!(refused(path).contains("image.json"));
        bundle_in(path);
        assert!(Image::verify(path).expect("sound").contains("Alpine 3.21, build abc"));
        let Image::Bundle(bundle) = Image::load(path).expect("sound") else { panic!("a bundle") };
        assert_eq!((bundle.kernel, bundle.command_line.as_str()), (path.join("vmlinuz"), "quiet"));

        std::fs::write(path.join("initrd"), "rooT").expect("written");
        assert!(refused(path).contains("damaged"));
        std::fs::remove_file(path.join("initrd")).expect("removed");
        assert!(refused(path).contains("there is no image"));
        bundle_in(path);
        let manifest = std::fs::read_to_string(path.join("image.json")).expect("read");
        std::fs::write(path.join("image.json"), manifest.replace("\"format\":1", "\"format\":2"))
            .expect("written");
        assert!(refused(path).contains("format 2"));
        std::fs::write(path.join("image.json"), "{").expect("written");
        assert!(refused(path).contains("cannot be read"));
    }

    #[test]
    fn a_file_is_a_disk_of_the_format_it_begins_with() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().canonicalize().expect("a path").join("disk");
        for (content, format) in
            [(&b"QFI\xfb\0\0\0\x03"[..], DiskFormat::Qcow2), (&b"\0\0\0\0"[..], DiskFormat::Raw)]
        {
            std::fs::write(&path, content).expect("written");
            assert_eq!(Image::load(&path).expect("a disk"), Image::Disk { path: path.clone(), format });
        }
        assert!(refused(&directory.path().join("nowhere")).contains("build.sh"));
    }
}
