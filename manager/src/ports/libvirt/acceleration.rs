//! Whether guests really run under KVM on this host. That `/dev/kvm` can be opened says little: inside of
//! another virtual machine guests may start and then stand still. So a guest is run.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use tokio::time::timeout;

use super::domain::Accelerator;
use crate::ports::machine::directory::write;

const EMULATOR: &str = "qemu-system-x86_64";

/// The probe's guest ends within tens of milliseconds; a busy host may take longer to start it.
const PROBE_TIME: Duration = Duration::from_secs(5);

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
        let ended = run(&disk).await;
        // A file of half a KiB that is written anew each time.
        let _ = fs::remove_file(&disk);
        match ended {
            Ok(Some(PROGRAM_EXIT)) => Acceleration { kvm: true, why: "a guest ran under KVM".to_owned() },
            Ok(Some(code)) => no(format!("{EMULATOR} refused to run a guest under KVM (exit code {code})")),
            Ok(None) => no(format!(
                "/dev/kvm opens, but a guest under it did not get anywhere within {} s",
                PROBE_TIME.as_secs()
            )),
            Err(error) => no(format!("{EMULATOR} cannot be started: {error}")),
        }
    }
}

/// The exit code of the probe's guest; none if it had to be ended.
async fn run(disk: &Path) -> io::Result<Option<i32>> {
    let mut sector = [0; 512];
    sector[..PROGRAM.len()].copy_from_slice(&PROGRAM);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    write(disk, &sector)?;
    let mut drive = std::ffi::OsString::from("format=raw,if=virtio,readonly=on,file=");
    // QEMU wants a comma in a value doubled.
    drive.push(disk.display().to_string().replace(',', ",,"));
    let mut guest = Command::new(EMULATOR)
        .args("-accel kvm -machine q35 -m 32 -nodefaults -no-user-config -display none".split(' '))
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04", "-drive"])
        .arg(drive)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    match timeout(PROBE_TIME, guest.wait()).await {
        Ok(status) => Ok(Some(status?.code().unwrap_or(-1))),
        Err(_) => {
            guest.kill().await?;
            Ok(None)
        }
    }
}
