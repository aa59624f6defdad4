//! Waits for a file descriptor to become readable.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A file descriptor whose readiness for reading can be awaited, such as a process handle (it becomes
/// readable when the process ends).
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Must be called in a runtime with I/O enabled.
    ///
    /// # Errors
    ///
    /// When the descriptor is of a kind that cannot be waited for.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` keeps its descriptor open, and the same one, until it is dropped. It is
        // moved into the `AsyncFd` here and never handed out mutably, so that nobody can exchange it.
        Ok(Readiness(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?))
    }

    /// Resolves when the descriptor is readable, and stays resolved.
    ///
    /// # Errors
    ///
    /// When the runtime is shutting down.
    pub async fn readable(&self) -> io::Result<()> {
        self.0.readable().await.map(drop)
    }
}
