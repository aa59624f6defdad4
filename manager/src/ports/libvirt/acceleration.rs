//! Whether guests really run under KVM on this host. That `/dev/kvm` can be opened says little: inside of
//! another virtual machine guests may start and then stand still, or crawl. So a guest is run, emulated
//! and under KVM, and KVM must not be the slower one.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::timeout;

use super::domain::Accelerator;
use crate::ports::machine::directory::write;

const EMULATOR: &str = "qemu-system-x86_64";

/// Emulated, the probe's guest ends within a second; a busy host may take longer.
const EMULATED_TIME: Duration = Duration::from_secs(20);

/// What a busy host may add to the time under KVM.
const TOLERANCE: Duration = Duration::from_millis(500);

/// The size of the probe's disk in bytes: the firmware boots from none with less than a cylinder.
const DISK_SIZE: u64 = 1 << 20;

/// The boot sector of the probe's guest: waits for a tick of the timer, for a guest without interrupts is
/// of no use, and then writes to the port that ends QEMU.
const PROGRAM: [u8; 9] = [
    0xfb, // sti
    0xf4, // hlt
    0xb0, 0x10, // mov al, 0x10
    0xe6, 0xf4, // out 0xf4, al
    0xf4, // hlt
    0xeb, 0xfd, // jmp to the hlt
];

/// What QEMU's `isa-debug-exit` makes of 0x10.
const PROGRAM_EXIT: i32 = 0x10 << 1 | 1;

/// What was found, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acceleration {
    pub(crate) kvm: bool,
    pub(crate) why: String,
}

/// A finding holds until the host is started again.
#[derive(Serialize, Deserialize)]
struct Stored {
    boot_id: String,
    found: Acceleration,
}

impl Acceleration {
    pub(super) fn accelerator(&self) -> Accelerator {
        if self.kvm { Accelerator::Kvm } else { Accelerator::Emulated }
    }

    /// What was found since this host was started, or is found now. Kept in `state_dir`.
    pub(crate) async fn find(state_dir: &Path) -> Self {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let file = state_dir.join("acceleration.json");
        let stored = fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Stored>(&text).ok());
        if let Some(stored) = stored.filter(|stored| stored.boot_id == boot_id) {
            return stored.found;
        }
        let found = Self::probe(state_dir).await;
        let stored = Stored { boot_id, found };
        let text = serde_json::to_vec_pretty(&stored).unwrap_or_default();
        if let Err(error) = write(&file, &text) {
            tracing::warn!("{}: {error}; KVM is tried again at the next start", file.display());
        }
        stored.found
    }

    /// Runs a guest under KVM.
    pub(crate) async fn probe(state_dir: &Path) -> Self {
        let no = |why: String| Acceleration { kvm: false, why };
        if let Err(error) = fs::File::options().read(true).write(true).open("/dev/kvm") {
            return no(match error.kind() {
                io::ErrorKind::NotFound => "there is no /dev/kvm: switch virtualization on in the firmware, \
                                            and load the module kvm_intel or kvm_amd"
                    .to_owned(),
                _ => format!("/dev/kvm cannot be opened: {error}"),
            });
        }
        let disk = state_dir.join("kvm-probe.img");
        let found = compare(&disk).await;
        // A sparse file that is written anew each time.
        let _ = fs::remove_file(&disk);
        found.unwrap_or_else(|error| no(format!("{EMULATOR} cannot be run: {error}")))
    }
}

async fn compare(disk: &Path) -> io::Result<Acceleration> {
    let Some(emulated) = run(disk, "tcg", EMULATED_TIME).await? else {
        return Err(io::Error::other("its guest does not end"));
    };
    let limit = emulated * 2 + TOLERANCE;
    let seconds = |duration: Duration| format!("{:.1} s", duration.as_secs_f64());
    let (kvm, why) = match run(disk, "kvm", limit).await? {
        Some(took) => (true, format!("a guest ended within {}", seconds(took))),
        None => {
            let (limit, emulated) = (seconds(limit), seconds(emulated));
            (
                false,
                format!("/dev/kvm opens, but a guest got nowhere in {limit}; emulated it took {emulated}"),
            )
        }
    };
    Ok(Acceleration { kvm, why })
}

/// How long the probe's guest ran; none if it had to be ended.
async fn run(disk: &Path, accelerator: &str, limit: Duration) -> io::Result<Option<Duration>> {
    let mut sector = [0; 512];
    sector[..PROGRAM.len()].copy_from_slice(&PROGRAM);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    write(disk, &sector)?;
    fs::File::options().write(true).open(disk)?.set_len(DISK_SIZE)?;
    let mut drive = std::ffi::OsString::from("format=raw,if=virtio,readonly=on,file=");
    // QEMU wants a comma in a value doubled.
    drive.push(disk.display().to_string().replace(',', ",,"));
    let started = Instant::now();
    let mut guest = Command::new(EMULATOR)
        .args(["-accel", accelerator])
        .args("-machine q35 -m 32 -nodefaults -no-user-config -display none".split(' '))
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive"])
        .arg(drive)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    match timeout(limit, guest.wait()).await {
        Ok(status) => {
            if status?.code() == Some(PROGRAM_EXIT) {
                return Ok(Some(started.elapsed()));
            }
            let mut said = String::new();
            if let Some(mut stderr) = guest.stderr.take() {
                stderr.read_to_string(&mut said).await?;
            }
            Err(io::Error::other(said.trim().to_owned()))
        }
        Err(_) => {
            guest.kill().await?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests_with_qemu {
    use super::*;

    /// The probe is worth something only if its guest does end where guests run.
    #[tokio::test]
    async fn the_probes_guest_ends_by_itself() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = directory.path().join("odd, name.img");
        let ran = run(&disk, "tcg", EMULATED_TIME).await.expect("QEMU");
        assert!(ran.is_some_and(|took| took > Duration::ZERO));
        assert!(run(&disk, "nonsense", EMULATED_TIME).await.is_err());
        let found = Acceleration::probe(directory.path()).await;
        assert!(!found.why.is_empty());
    }
}
