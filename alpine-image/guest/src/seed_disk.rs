//! The seed disk: a small FAT volume labelled `CIDATA`, which cloud images know as a NoCloud seed.
//!
//! The whole image is made in memory and written in one go. It is always a new file that only its owner
//! may read: seeds hold secrets.

use std::fs::OpenOptions;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use thiserror::Error;

/// The volume's label, padded as FAT has it.
const LABEL: &[u8; 11] = b"CIDATA     ";

/// No file on a seed is larger.
pub const LARGEST_FILE: usize = 8 << 20;

/// Images are whole multiples of this.
const IMAGE_STEP: usize = 1 << 20;

/// The unit in which FAT gives space to files.
const CLUSTER: u32 = 4096;

/// What a cluster costs in two allocation tables of at most 16 bits for each.
const TABLES_PER_CLUSTER: usize = 4;

/// Boot sector, root directory (512 entries of 32 bytes) and the rounding of both tables to sectors.
const FIXED: usize = 32 << 10;

const SECTOR: usize = 512;

/// Why a file cannot be read from a seed disk.
#[derive(Debug, Error)]
pub enum SeedError {
    /// It is something else.
    #[error("this is no seed disk: expected a FAT volume labelled CIDATA")]
    NotASeed,
    /// The file is not there.
    #[error("the seed disk has no file {0}")]
    NoFile(String),
    /// The file is larger than any of a seed.
    #[error("{name} on the seed disk is too large: {size} bytes, of at most {LARGEST_FILE}")]
    TooLarge {
        /// The file.
        name: String,
        /// What its directory entry says.
        size: u64,
    },
    /// The disk is shorter than its volume.
    #[error("the seed disk is damaged: it has {found} of its {size} bytes")]
    Cut {
        /// What is there.
        found: u64,
        /// What its boot sector says.
        size: u64,
    },
    /// The file ends before its end.
    #[error("the seed disk is damaged: {name} has {found} of its {size} bytes")]
    Truncated {
        /// The file.
        name: String,
        /// What is there.
        found: usize,
        /// What its directory entry says.
        size: u64,
    },
    /// The device fails, or the volume contradicts itself.
    #[error("the seed disk cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// Writes an image with `files`, in its root directory, to the new file `path`.
///
/// # Errors
///
/// When there is such a file already, when it cannot be written, or when a file is larger than
/// [`LARGEST_FILE`] or has a name that FAT does not allow.
pub fn write(path: &Path, files: &[(&str, &[u8])]) -> io::Result<()> {
    let image = image(files)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(&image)
}

fn image(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    for (position, (name, content)) in files.iter().enumerate() {
        if name.contains('/') {
            return Err(refused(format!("{name}: a seed has no directories")));
        }
        if files[..position].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            return Err(refused(format!("{name}: FAT takes two of the files for the same")));
        }
        if content.len() > LARGEST_FILE {
            return Err(refused(format!("{name}: {} bytes, of at most {LARGEST_FILE}", content.len())));
        }
    }
    let mut image = Cursor::new(vec![0; size_for(files)]);
    let format = FormatVolumeOptions::new().bytes_per_cluster(CLUSTER).volume_label(*LABEL);
    fatfs::format_volume(&mut image, format)?;
    let volume = FileSystem::new(&mut image, FsOptions::new())?;
    for (name, content) in files {
        let mut file = volume.root_dir().create_file(name)?;
        file.write_all(content)?;
        file.flush()?;
    }
    volume.unmount()?;
    Ok(image.into_inner())
}

fn refused(reason: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, reason)
}

fn size_for(files: &[(&str, &[u8])]) -> usize {
    let cluster = CLUSTER as usize;
    let clusters: usize = files.iter().map(|(_, content)| content.len().div_ceil(cluster)).sum();
    (FIXED + clusters * (cluster + TABLES_PER_CLUSTER)).next_multiple_of(IMAGE_STEP)
}

/// Whether `device` holds a seed. Whatever fails or is something else is none.
pub fn is_seed(mut device: impl Read + Seek) -> bool {
    boot_sector(&mut device).is_ok_and(|sector| has_label(&sector))
}

fn boot_sector(device: &mut (impl Read + Seek)) -> io::Result<[u8; SECTOR]> {
    let mut sector = [0; SECTOR];
    device.rewind()?;
    device.read_exact(&mut sector)?;
    Ok(sector)
}

/// Looks at the boot sector alone: this is asked of every disk, and what is on the others is nothing
/// that a file system's code should be given.
fn has_label(sector: &[u8; SECTOR]) -> bool {
    // A signature byte says that the label follows four bytes later. FAT32 has both further behind.
    let labelled = |signature: usize| sector[signature] == 0x29 && sector[signature + 5..][..11] == *LABEL;
    sector.ends_with(&[0x55, 0xaa]) && (labelled(38) || labelled(66))
}

/// The length of the volume. The code that reads directories takes the end of the disk for theirs, and
/// would say of a disk that was cut short that it has no files.
fn length(sector: &[u8; SECTOR]) -> u64 {
    let number = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
    let (bytes_per_sector, short) = (number(11), number(19));
    let sectors = if short == 0 { number(32) | number(34) << 16 } else { short };
    sectors * bytes_per_sector
}

/// Reads the file `name` from the seed on `device`.
///
/// # Errors
///
/// See [`SeedError`].
pub fn read(mut device: impl Read + Seek, name: &str) -> Result<Vec<u8>, SeedError> {
    let sector = match boot_sector(&mut device) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(error.into()),
        Ok(sector) if has_label(&sector) => sector,
        _ => return Err(SeedError::NotASeed),
    };
    let (found, size) = (device.seek(SeekFrom::End(0))?, length(&sector));
    if found < size {
        return Err(SeedError::Cut { found, size });
    }
    device.rewind()?;
    let volume = FileSystem::new(ReadOnly(device), FsOptions::new())?;
    for entry in volume.root_dir().iter() {
        let entry = entry?;
        if !entry.is_file() || !entry.file_name().eq_ignore_ascii_case(name) {
            continue;
        }
        let size = entry.len();
        if size > LARGEST_FILE as u64 {
            return Err(SeedError::TooLarge { name: name.to_owned(), size });
        }
        let mut content = Vec::new();
        entry.to_file().read_to_end(&mut content)?;
        if content.len() as u64 != size {
            return Err(SeedError::Truncated { name: name.to_owned(), found: content.len(), size });
        }
        return Ok(content);
    }
    Err(SeedError::NoFile(name.to_owned()))
}

/// `fatfs` asks for a device that can be written, and writes nothing as long as nothing is changed.
struct ReadOnly<T>(T);

impl<T: Read> Read for ReadOnly<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<T: Seek> Seek for ReadOnly<T> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.0.seek(position)
    }
}

impl<T> Write for ReadOnly<T> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
