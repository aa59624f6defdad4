//! SIGUSR1, by which logrotate and its like ask for log files to be opened anew, as they ask nginx.
//!
//! Without a handler it ends a process, and a service manager sends it to all processes of a service, whatever they
//! are doing. So each takes it: `run` passes it on to the proxy, which opens its access log anew, and the speaker does
//! nothing. From a process's first moment until it can be taken, it waits.
//!
//! ```text
//!   main ──▶ hold: blocked in every thread, and in every program that is started
//!              ▼
//!            requests ──▶ handler ──▶ one thread that lets it through: what waited comes now
//! ```

use std::io;
use std::thread;

use nix::sys::signal::{SigSet, Signal as Number};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From now on SIGUSR1 does not end this process, but waits for [`requests`]. To be called while there is one thread:
/// those that are started later do the same, and so do programs, which hold it from their own first moment.
///
/// # Errors
///
/// Where the system refuses, which it does not for this signal.
pub fn hold() -> io::Result<()> {
    Ok(only().thread_block()?)
}

/// From now on each SIGUSR1 can be waited for, also one that came before.
///
/// # Errors
///
/// Where the handler cannot be installed or there can be no thread for it.
pub(crate) fn requests() -> io::Result<Signal> {
    let requests = signal(SignalKind::user_defined1())?;
    // Not in this thread, which may start programs: they would begin without protection.
    thread::Builder::new().name("signals".to_owned()).spawn(|| {
        // It cannot fail for a signal there is; where it did, the signal would go on waiting.
        let _ = only().thread_unblock();
        loop {
            thread::park();
        }
    })?;
    Ok(requests)
}

fn only() -> SigSet {
    SigSet::from(Number::SIGUSR1)
}
