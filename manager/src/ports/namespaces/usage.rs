//! What machines use, as the process table says: nothing has to be set up for it, and a driver that was started anew
//! goes on where the one before it was.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::ports::machine::process::{Process, pids};

/// The parts of a second that the kernel counts processor time in (`USER_HZ`, proc(5)): the same on all architectures
/// that we run on.
const TICKS: u64 = 100;

/// The place of `utime` behind the program's name in `/proc/PID/stat`; `stime`, `cutime` and `cstime` follow it.
const UTIME: usize = 11;

/// What the processes of a machine use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Processor time since the machine started, that of processes that have ended included.
    pub(super) cpu: Duration,
    /// Resident memory, in bytes.
    pub(super) memory_bytes: u64,
}

/// What the machines of `inits` use, in their order; none of one that ended meanwhile.
pub(super) fn of(inits: &[Process]) -> io::Result<Vec<Option<Used>>> {
    let mut places = BTreeMap::new();
    for (place, init) in inits.iter().enumerate() {
        places.extend(namespace(init.pid()).map(|namespace| (namespace, place)));
    }
    let mut used = vec![None; inits.len()];
    for pid in pids()? {
        let place = namespace(pid).and_then(|namespace| places.get(&namespace).copied());
        // One that has just ended is counted in the process that waited for it.
        if let Some(place) = place
            && let Some(slot) = used.get_mut(place)
            && let Some(one) = used_by(pid)
        {
            let all = slot.get_or_insert_with(Used::default);
            all.cpu += one.cpu;
            all.memory_bytes += one.memory_bytes;
        }
    }
    Ok(used)
}

/// What tells the machines' processes apart.
fn namespace(pid: i32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

fn used_by(pid: i32) -> Option<Used> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // What has ended and is not collected yet has no memory.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Some(Used { cpu: cpu(&stat)?, memory_bytes: resident(&status).unwrap_or(0) })
}

/// The processor time of `/proc/PID/stat`: the process's own, and that of children it has waited for.
fn cpu(stat: &str) -> Option<Duration> {
    // The second field, the name in parentheses, may contain anything.
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(UTIME).take(4);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Some(Duration::from_millis(ticks * 1_000 / TICKS))
}

/// The resident memory of `/proc/PID/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 100 200 3 4 150 25 300 25 20 0 1 0 12345 1000 50 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(5)));
        assert_eq!(cpu("no stat"), None);
    }

    #[test]
    fn memory_is_what_is_resident() {
        let status = "Name:\tx\nVmPeak:\t  999 kB\nVmRSS:\t    2048 kB\nThreads:\t1\n";
        assert_eq!(resident(status), Some(2 << 20));
        assert_eq!(resident("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let used = used_by(i32::try_from(std::process::id()).expect("a pid")).expect("it runs");
        assert!(used.memory_bytes > 1 << 16, "{used:?}");
    }
}
