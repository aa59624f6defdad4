//! The signals by which people ask a running balancer for something, as they ask nginx: SIGUSR1, by which logrotate and
//! its like ask for log files to be opened anew, and SIGHUP, which asks for the settings file to be read anew.
//!
//! Without a handler each ends a process, and a service manager sends them to all processes of a service, whatever they
//! are doing. So each takes them: `run` passes them on to the proxy, which does what is asked, and the speaker does
//! nothing. From a process's first moment until they can be taken, they wait.
//!
//! ```text
//!   main ──▶ hold: blocked in every thread, and in every program that is started
//!              ▼
//!            requests ──▶ handlers ──▶ one thread that lets them through: what waited comes now
//! ```

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals, each of which can be waited for.
#[derive(Debug)]
pub(crate) struct Requests {
    /// To open log files anew.
    pub(crate) reopen: Signal,
    /// To read the settings file anew.
    pub(crate) reload: Signal,
}

/// From now on these signals do not end this process, but wait for [`requests`]. To be called while there is one
/// thread: those that are started later do the same, and so do programs, which hold them from their own first moment.
///
/// # Errors
///
/// Where the system refuses, which it does not for these signals.
pub fn hold() -> io::Result<()> {
    Ok(all().thread_block()?)
}

/// From now on each of them can be waited for, also one that came before.
///
/// # Errors
///
/// Where a handler cannot be installed or there can be no thread for them.
pub(crate) fn requests() -> io::Result<Requests> {
    let requests =
        Requests { reopen: signal(SignalKind::user_defined1())?, reload: signal(SignalKind::hangup())? };
    // Not in this thread, which may start programs: they would begin without protection.
    thread::Builder::new().name("signals".to_owned()).spawn(|| {
        // It cannot fail for signals there are; where it did, they would go on waiting.
        let _ = all().thread_unblock();
        loop {
            thread::park();
        }
    })?;
    Ok(requests)
}

fn all() -> SigSet {
    [Number::SIGUSR1, Number::SIGHUP].into_iter().collect()
}
