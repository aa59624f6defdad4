//! The kernel's timer in an async runtime, which is on time to tens of microseconds where the runtime's own timers
//! tick once a millisecond.
//!
//! The only file of this program with `unsafe` in it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer of one task.
#[derive(Debug)]
pub struct Timer(AsyncFd<Kernels>);

/// The descriptor, which nothing can be put in place of.
#[derive(Debug)]
struct Kernels(TimerFd);

impl AsRawFd for Kernels {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timer {
    /// A timer in the runtime that this is called in.
    ///
    /// # Errors
    ///
    /// When the kernel gives none.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = Kernels(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?);
        // SAFETY: The descriptor must be open, and the same, as long as the `AsyncFd` has it. `Kernels` owns it, closes
        // it only when dropped, and says the same number each time: nothing in it changes inside, and the `AsyncFd` is
        // private to `Timer`, which gives out no `&mut` to put another in its place.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
        Ok(Timer(timer.map_err(io::Error::from)?))
    }

    /// Waits for so long; a little longer where the thread has other work.
    ///
    /// # Errors
    ///
    /// When the kernel's timer fails.
    pub async fn sleep(&mut self, time: Duration) -> io::Result<()> {
        let once = Expiration::OneShot(TimeSpec::from_duration(time));
        self.0.get_ref().0.set(once, TimerSetTimeFlags::empty())?;
        loop {
            let mut ready = self.0.readable().await?;
            if ready.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from)).is_ok() {
                return Ok(());
            }
        }
    }
}
