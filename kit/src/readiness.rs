//! Waits for a file descriptor to become readable.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A file descriptor whose readiness for reading can be awaited, such as a process handle (it becomes
/// readable when the process ends) or a raw socket.
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Must be called in a runtime with I/O enabled. A socket should be non-blocking.
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

    /// Awaits readability and then calls `read`, until it returns something other than
    /// [`io::ErrorKind::WouldBlock`].
    ///
    /// # Errors
    ///
    /// What `read` returns, or when the runtime is shutting down.
    pub async fn read_with<T>(&self, mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        self.0.async_io(Interest::READABLE, |fd| read(fd.as_fd())).await
    }
}
