//! What a program has used with all its processes, as the kernel counts it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// The process `root` and all that descend from it, each after its parent.
///
/// # Errors
///
/// When it is not there, or processes cannot be listed.
pub(crate) fn tree(root: i32) -> Result<Vec<i32>> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").context("cannot list processes")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // One that has ended meanwhile is no part of it.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        // "PID (NAME) STATE PARENT …", and a name may have anything in it.
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.push((pid, parent.unwrap_or(0)));
    }
    anyhow::ensure!(parents.iter().any(|&(pid, _)| pid == root), "there is no process {root}");
    parents.sort_unstable();
    let mut tree = vec![root];
    let mut looked_at = 0;
    while looked_at < tree.len() {
        let parent = tree[looked_at];
        tree.extend(parents.iter().filter(|&&(_, of)| of == parent).map(|&(pid, _)| pid));
        looked_at += 1;
    }
    Ok(tree)
}

/// The processor time that the processes have used, with threads that have ended: the same clock as `schedstat`, in
/// nanoseconds and not in ticks.
///
/// # Errors
///
/// When one of them has ended.
pub(crate) fn processor_time(processes: &[i32]) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    for &pid in processes {
        let clock = clock_getcpuclockid(Pid::from_raw(pid));
        let time = clock.and_then(clock_gettime).with_context(|| format!("process {pid} has ended"))?;
        sum += Duration::from(time);
    }
    Ok(sum)
}

/// How long the threads of the processes have waited for a core while they could have run; those that have ended do not
/// count.
///
/// # Errors
///
/// When one of the processes has ended.
pub(crate) fn waiting_time(processes: &[i32]) -> Result<Duration> {
    let mut nanos = 0;
    for pid in processes {
        let tasks = format!("/proc/{pid}/task");
        for task in fs::read_dir(&tasks).with_context(|| format!("cannot read {tasks}"))? {
            // "RUN WAITED TIMES", in nanoseconds. A thread may end meanwhile.
            let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
            let waited = text.split_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok());
            nanos += waited.unwrap_or(0);
        }
    }
    Ok(Duration::from_nanos(nanos))
}

/// The resident memory of the processes in KiB: what it is, and the most that each has had. What several share counts
/// for each.
///
/// # Errors
///
/// When one of them has ended.
pub(crate) fn memory(processes: &[i32]) -> Result<(u64, u64)> {
    let (mut now, mut most) = (0, 0);
    for pid in processes {
        // In `status` and `statm` it is off by some hundred KiB; this one is counted page by page.
        now += field(&format!("/proc/{pid}/smaps_rollup"), "Rss:")?;
        most += field(&format!("/proc/{pid}/status"), "VmHWM:")?;
    }
    Ok((now, most))
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("{path} has no {name}"))
}

/// Of the machine's processor time so far: what others had while we wanted it, and all of it, in ticks.
///
/// # Errors
///
/// When the kernel does not say.
pub(crate) fn stolen() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> =
        first.split_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
    Ok((ticks.get(7).copied().unwrap_or(0), ticks.iter().sum()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_and_its_children_use_is_counted() {
        let me = i32::try_from(std::process::id()).expect("a pid");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let tree = tree(me).expect("read");
        assert!(tree.contains(&me) && tree.contains(&i32::try_from(child.id()).expect("a pid")), "{tree:?}");
        let (now, most) = memory(&[me]).expect("read");
        assert!(now > 100 && most > 100, "{now} {most}");
        let before = processor_time(&tree).expect("read");
        while processor_time(&[me]).expect("read") < before + Duration::from_millis(1) {}
        child.kill().expect("killed");
        child.wait().expect("ended");
        assert!(processor_time(&tree).is_err(), "one of them is gone");
    }
}
