//! The guest's end of a virtio-serial port, by the rules of Linux's `drivers/char/virtio_console.c`:
//!
//! ```text
//!                      host connected             no host
//!   read, no data      blocks (EAGAIN)            0
//!   write              blocks while it is full    blocks (EAGAIN)
//!   poll               IN with data, OUT          IN, HUP: at once, for as long as nobody is there
//! ```
//!
//! So no poll waits for a host, and a loop over read would spin. But the driver wakes whoever waits on
//! the port when a host comes or goes, when data come, and when there is room again. An edge-triggered
//! epoll gives exactly these moments, and keeps one that comes between two looks. Every operation here
//! is tried first and waits for the next such moment only when it got nowhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::places::Places;

/// A port, or whatever else does not block.
pub(super) struct Port<T> {
    inner: T,
    epoll: Epoll,
}

/// The device of the port called `name`. It may not be there yet.
pub(super) fn find(places: &Places, name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(places.sys.join("class/virtio-ports")).ok()?;
    let entry = entries.flatten().find(|entry| {
        // Without a name yet, or for ever: not this one.
        fs::read_to_string(entry.path().join("name")).is_ok_and(|found| found.trim_end() == name)
    })?;
    let device = places.dev.join(entry.file_name());
    device.exists().then_some(device)
}

/// Opens the port at `device`. A port has one reader: it is busy while another program has it.
pub(super) fn open(device: &Path) -> io::Result<Port<File>> {
    let flags = OFlag::O_NONBLOCK.bits();
    Port::new(OpenOptions::new().read(true).write(true).custom_flags(flags).open(device)?)
}

impl<T: AsFd> Port<T> {
    /// A port on `inner`, which must not block.
    pub(super) fn new(inner: T) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&inner, EpollEvent::new(events, 0))?;
        Ok(Port { inner, epoll })
    }

    /// Waits until something has changed since the last wait.
    pub(super) fn changed(&self) -> io::Result<()> {
        loop {
            match self.epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn is_alone(&self) -> io::Result<bool> {
        let mut ports = [PollFd::new(self.inner.as_fd(), PollFlags::empty())];
        match poll(&mut ports, PollTimeout::ZERO) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(ports[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)))
    }
}

/// Gives 0 when no host is connected and all that the last one sent was read.
impl<T: AsFd + Read> Read for Port<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.changed()?,
                result => return result,
            }
        }
    }
}

/// Fails with [`ErrorKind::BrokenPipe`] when no host is connected.
impl<T: AsFd + Write> Write for Port<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.inner.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.is_alone()? {
                        return Err(ErrorKind::BrokenPipe.into());
                    }
                    self.changed()?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
