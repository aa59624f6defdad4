//! Bytes that are written as soon as they are read: a worker has space for that, which all its connections use, and only what
//! the other side has no room for is kept. So a connection on which nothing happens has no buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::libc::{self, c_int};
use socket2::SockRef;
use tokio::io::{AsyncWrite, Interest};
use tokio::net::TcpStream;

/// How much is read at once, in bytes. With four times as much a MiB costs three quarters more processor time: it does not stay in
/// the processor's nearest cache between reading and writing, and more of it is left over for who is slow.
const SPACE: usize = 16 << 10;

/// After so many reads others have their turn.
pub(crate) const ROUNDS: usize = 64;

/// More will follow, and whoever has gone is no reason for a signal (send(2)).
const MORE: c_int = libc::MSG_MORE | libc::MSG_NOSIGNAL;

thread_local! {
    static WORKERS: RefCell<Box<[u8]>> = RefCell::new(vec![0; SPACE].into_boxed_slice());
}

/// Has `pass_on` use the worker's space. Not to be nested.
pub(crate) fn with_space<T>(pass_on: impl FnOnce(&mut [u8]) -> T) -> T {
    WORKERS.with_borrow_mut(|space| pass_on(space))
}

/// Where bytes are passed on to.
pub(crate) trait Sink: AsyncWrite + Unpin {
    /// Writes while more is at hand: the kernel may wait for that, to fill packets.
    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Has the kernel send what it waits with.
    fn push(&mut self);
}

impl Sink for TcpStream {
    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(context))?;
            let send = || SockRef::from(&*self).send_with_flags(bytes, MORE);
            match self.try_io(Interest::WRITABLE, send) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn push(&mut self) {
        // Said again, it sends at once what there is (tcp(7)).
        let _ = self.set_nodelay(true);
    }
}

/// What was read and is not written yet. While there is any, nothing more is to be read.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    bytes: Vec<u8>,
    written: usize,
    /// The kernel may wait for more.
    may_wait: bool,
}

impl Unwritten {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Writes it. Resolves when nothing is left.
    ///
    /// # Errors
    ///
    /// When `to` takes no more.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>, to: &mut impl Sink) -> Poll<io::Result<()>> {
        if self.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while let left @ [_, ..] = self.bytes.get(self.written..).unwrap_or_default() {
            match ready!(Pin::new(&mut *to).poll_write(context, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        *self = Unwritten::default();
        Poll::Ready(Ok(()))
    }

    /// Writes `part`, of which what there is no room for is kept. Nothing must be left of what was before. Where it fills the
    /// worker's space there is probably more to read; if not, [`Self::push`] is to be called.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) fn write(
        &mut self,
        context: &mut Context<'_>,
        to: &mut impl Sink,
        mut part: &[u8],
    ) -> io::Result<()> {
        self.may_wait = part.len() == SPACE;
        while !part.is_empty() {
            let written = match self.may_wait {
                true => to.poll_write_more(context, part),
                false => Pin::new(&mut *to).poll_write(context, part),
            };
            match written {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => part = part.get(count?..).unwrap_or_default(),
                Poll::Pending => {
                    *self = Unwritten::from(part.to_vec());
                    break;
                }
            }
        }
        Ok(())
    }

    /// There is nothing more to read for now.
    pub(crate) fn push(&mut self, to: &mut impl Sink) {
        if std::mem::take(&mut self.may_wait) {
            to.push();
        }
    }
}

impl From<Vec<u8>> for Unwritten {
    fn from(bytes: Vec<u8>) -> Self {
        Unwritten { bytes, written: 0, may_wait: false }
    }
}
