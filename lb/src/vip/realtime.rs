//! Keeps the speaker running when the machine is busy: before all ordinary processes, and never waiting
//! for a page from disk. Where the rights are missing it runs as an ordinary process.
#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use tracing::debug;

/// Low among the real-time priorities: above every ordinary process, below what a kernel thread has.
const PRIORITY: i32 = 10;

/// Asks for real-time priority and locked memory, and says once where it did not get them.
pub(super) fn ask_for() {
    if let Err(error) = set_fifo() {
        debug!(%error, "no real-time priority (it needs CAP_SYS_NICE); going on without");
    }
    if let Err(error) = lock_memory() {
        debug!(%error, "memory is not locked (it needs CAP_SYS_RESOURCE and CAP_IPC_LOCK); going on without");
    }
}

fn set_fifo() -> Result<(), Errno> {
    let parameters = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: 0 means the calling thread, and `parameters` is an initialized `sched_param` that lives
    // until the call returns; the kernel only reads it.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameters) };
    Errno::result(result).map(drop)
}

/// Under a limit, locked memory makes later allocations fail, and with them the process. So the limit
/// goes first, and where it stays nothing is locked.
fn lock_memory() -> Result<(), Errno> {
    setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
    // On fault: what is never used, most of the binary, is not read in for it.
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)
}
