//! SIGUSR1, by which logrotate and its like ask for log files to be opened anew, as they ask nginx.
//!
//! Without a handler it ends a process, and a service manager sends it to all processes of a service. So each takes
//! it: `run` passes it on to the proxy, which opens its access log anew, and the speaker does nothing.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// From now on SIGUSR1 ends this process no more; each that comes can be waited for.
///
/// # Errors
///
/// Where the handler cannot be installed.
pub(crate) fn requests() -> io::Result<Signal> {
    signal(SignalKind::user_defined1())
}
