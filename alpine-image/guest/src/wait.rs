//! Waiting for devices.
//!
//! The kernel has no file that becomes readable when a device appears: that is what udev's netlink
//! messages are for, and our guests have no udev. A device comes within milliseconds of its module, so
//! looking again every few of them costs nothing and is over soon.

use std::thread::sleep;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `look` until it finds something, for at most `patience`. It is asked at least once.
pub(crate) fn until_found<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if since.elapsed() >= patience {
            return None;
        }
        sleep(PAUSE);
    }
}
