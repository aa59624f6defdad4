//! The threads of the proxy's event loops, and what the kernel says of one that does not tick:
//! `/proc/TID/task/TID/schedstat` and `…/stat`, which cost some microseconds and wait for nothing.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use vrrp::processor::Usage;

/// By the stream over which each ticks.
#[derive(Debug)]
pub(super) struct Threads {
    ids: BTreeMap<u64, i32>,
    /// Whether `/proc` is that of our own PID namespace, so that a thread's id is its name there.
    proc_is_ours: bool,
}

impl Threads {
    pub(super) fn new() -> Self {
        let own = fs::read_link("/proc/self").ok();
        let proc_is_ours = own.is_some_and(|own| own.to_str() == Some(&std::process::id().to_string()));
        Threads { ids: BTreeMap::new(), proc_is_ours }
    }

    pub(super) fn ticked(&mut self, stream: u64, thread: Option<i32>) {
        if let Some(thread) = thread {
            self.ids.insert(stream, thread);
        }
    }

    pub(super) fn closed(&mut self, stream: u64) {
        self.ids.remove(&stream);
    }

    /// What the thread at the end of `stream` had of the processors; None where the kernel does not say.
    pub(super) fn usage(&self, stream: u64) -> Option<Usage> {
        let thread = self.ids.get(&stream).filter(|_| self.proc_is_ours)?;
        let read = |name| fs::read_to_string(format!("/proc/{thread}/task/{thread}/{name}")).ok();
        parse(&read("schedstat")?, &read("stat")?)
    }
}

/// `schedstat` is "ran waited slices", in ns (Documentation/scheduler/sched-stats); in `stat` the state follows
/// the name, which is in parentheses and may have some itself (proc_pid_stat(5)).
fn parse(schedstat: &str, stat: &str) -> Option<Usage> {
    let mut numbers =
        schedstat.split_whitespace().map(|number| number.parse().map(Duration::from_nanos).ok());
    let (ran, waited) = (numbers.next()??, numbers.next()??);
    // A kernel that keeps no account says so; who ticked has run.
    if ran.is_zero() {
        return None;
    }
    let (_, after_name) = stat.rsplit_once(") ")?;
    Some(Usage { ran, waited, runnable: after_name.starts_with('R') })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        let usage = |runnable| {
            Some(Usage { ran: Duration::from_nanos(12), waited: Duration::from_nanos(3), runnable })
        };
        assert_eq!(parse("12 3 4\n", "7 (lb) R 1 1 1"), usage(true));
        assert_eq!(parse("12 3 4\n", "7 (a) R (b) S 1 1 1"), usage(false));
        assert_eq!(parse("0 0 0\n", "7 (lb) R 1 1 1"), None);
        assert_eq!(parse("", "7 (lb) R 1 1 1"), None);
        assert_eq!(parse("12 3 4\n", "7"), None);
    }

    #[test]
    fn the_thread_that_asks_runs() {
        let mut threads = Threads::new();
        threads.ticked(5, Some(nix::unistd::gettid().as_raw()));
        // The account of one that has just begun is empty until the kernel's next tick.
        let begun = std::time::Instant::now();
        let usage = loop {
            match threads.usage(5) {
                Some(usage) => break usage,
                None => assert!(begun.elapsed() < Duration::from_secs(10), "the kernel keeps account"),
            }
        };
        assert!(usage.runnable && usage.ran > Duration::ZERO);
        threads.closed(5);
        assert_eq!(threads.usage(5), None);
    }
}
