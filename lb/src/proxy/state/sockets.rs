//! The sockets that are open to one upstream, whoever holds them: requests, our own stock of idle connections or
//! Pingora's. When the upstream's time is up, all of them are shut down: whoever reads or writes there
//! finds out at once.
//!
//! Pingora tells us the number of a descriptor and not when it closes it. The kernel's cookie says whether the number
//! still stands for the same socket.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use socket2::SockRef;

use super::super::lock;

/// With fewer sockets than this nobody looks which are still there.
const FEW: usize = 32;

/// Sockets to one upstream.
#[derive(Debug, Default)]
pub(crate) struct Sockets(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The time is up: no more are let live.
    cut: bool,
    /// The cookie of the socket that each descriptor was when it was added.
    cookies: HashMap<RawFd, u64>,
    /// With so many it is looked which are still there.
    prune_at: usize,
}

impl Sockets {
    /// Notes that `fd` is a socket to the upstream. Returns whether it is let live.
    pub(crate) fn add(&self, fd: RawFd) -> bool {
        let Ok(socket) = duplicate(fd) else { return false };
        let Ok(cookie) = SockRef::from(&socket).cookie() else { return false };
        let mut known = lock(&self.0);
        if known.cut {
            let _ = shut_down(&socket);
            return false;
        }
        known.cookies.insert(fd, cookie);
        if known.cookies.len() > known.prune_at.max(FEW) {
            known.prune();
        }
        true
    }

    /// The one that is `fd` now, if it is one of these.
    pub(crate) fn one(&self, fd: RawFd) -> Option<One> {
        let cookie = *lock(&self.0).cookies.get(&fd)?;
        Some(One { fd, cookie })
    }

    /// Whether any is open.
    pub(crate) fn any(&self) -> bool {
        let mut known = lock(&self.0);
        known.prune();
        !known.cookies.is_empty()
    }

    /// Shuts down all that are open, and from now on every one that is added. Returns how many were open.
    pub(crate) fn cut(&self) -> usize {
        let mut known = lock(&self.0);
        known.cut = true;
        let sockets = known.cookies.drain().filter_map(|(fd, cookie)| same(fd, cookie));
        sockets.filter(|socket| shut_down(socket).is_ok()).count()
    }
}

/// One of them, whatever becomes of its descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct One {
    fd: RawFd,
    cookie: u64,
}

impl One {
    /// Shuts it down if it is open.
    pub(crate) fn cut(self) {
        if let Some(socket) = same(self.fd, self.cookie) {
            let _ = shut_down(&socket);
        }
    }
}

impl Known {
    /// Forgets those that are closed.
    fn prune(&mut self) {
        self.cookies.retain(|&fd, &mut cookie| same(fd, cookie).is_some());
        // So that each costs a few looks in all, however many there are.
        self.prune_at = self.cookies.len() * 2;
    }
}

/// Ends the connection for whoever reads or writes there. Nothing of it is left once that one has closed it, not even
/// where the other end stands still.
fn shut_down(socket: &OwnedFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_linger(Some(Duration::ZERO))?;
    socket.shutdown(Shutdown::Both)
}

/// The socket that `fd` stands for, if that is the one with `cookie`. Another thread may close `fd` and have another
/// socket under its number at any time; what was duplicated stays what it is.
fn same(fd: RawFd, cookie: u64) -> Option<OwnedFd> {
    let socket = duplicate(fd).ok()?;
    (SockRef::from(&socket).cookie().ok()? == cookie).then_some(socket)
}

/// Another descriptor for whatever `fd` stands for now.
fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: this call reads and writes no memory of ours. `fd` need not be open: the kernel then says so.
    let new = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made `new`, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd as _;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connected");
        (client, listener.accept().expect("accepted").0)
    }

    #[test]
    fn what_is_open_is_shut_down_and_what_comes_later_too() {
        let sockets = Sockets::default();
        let [(one, mut far_one), (two, _far_two), (late, mut far_late)] = [pair(), pair(), pair()];
        assert!(sockets.add(one.as_raw_fd()) && sockets.add(two.as_raw_fd()));
        drop(two);
        assert!(sockets.any());
        assert_eq!(sockets.cut(), 1);
        assert!(!sockets.add(late.as_raw_fd()));
        assert!(!sockets.any());
        for far in [&mut far_one, &mut far_late] {
            assert_eq!(far.read(&mut [0]).expect("the end"), 0);
        }
    }

    #[test]
    fn another_socket_under_the_same_number_is_left_alone() {
        let sockets = Sockets::default();
        let (one, mut far) = pair();
        let number = one.as_raw_fd();
        sockets.add(number);
        lock(&sockets.0).cookies.insert(number, 0);
        sockets.one(number).expect("it is known").cut();
        assert_eq!(sockets.cut(), 0);
        far.set_nonblocking(true).expect("set");
        assert_eq!(far.read(&mut [0]).expect_err("no end").kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn what_is_closed_is_forgotten() {
        let sockets = Sockets::default();
        let open: Vec<_> = (0..2 * FEW).map(|_| pair()).collect();
        assert!(open.iter().all(|(near, _)| sockets.add(near.as_raw_fd())));
        let (near, _far) = pair();
        drop(open);
        assert!(sockets.add(near.as_raw_fd()));
        assert!(lock(&sockets.0).cookies.len() > FEW);
        assert!(sockets.any());
        assert_eq!(lock(&sockets.0).cookies.len(), 1);
    }
}
