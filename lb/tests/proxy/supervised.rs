//! An `lb` that a test has started and that is ended in order, whatever becomes of the test.

use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) struct Supervised(pub(crate) Child);

impl Drop for Supervised {
    fn drop(&mut self) {
        // In order: what it started ends with it.
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}
