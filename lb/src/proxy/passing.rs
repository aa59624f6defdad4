//! Bytes that are written as soon as they are read: a worker has space for that, which all its connections use, and only what
//! the other side has no room for is kept. So a connection on which nothing happens has no buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// How much is read at once, in bytes. With four times as much a MiB costs three quarters more processor time: it does not stay in
/// the processor's nearest cache between reading and writing, and more of it is left over for who is slow.
const SPACE: usize = 16 << 10;

/// After so many reads others have their turn.
pub(crate) const ROUNDS: usize = 64;

thread_local! {
    static WORKERS: RefCell<Box<[u8]>> = RefCell::new(vec![0; SPACE].into_boxed_slice());
}

/// Has `pass_on` use the worker's space. Not to be nested.
pub(crate) fn with_space<T>(pass_on: impl FnOnce(&mut [u8]) -> T) -> T {
    WORKERS.with_borrow_mut(|space| pass_on(space))
}

/// What was read and is not written yet. While there is any, nothing more is to be read.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    bytes: Vec<u8>,
    written: usize,
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
    pub(crate) fn poll(
        &mut self,
        context: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
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

    /// Writes `part`, of which what there is no room for is kept. Nothing must be left of what was before.
    ///
    /// # Errors
    ///
    /// As above.
    pub(crate) fn write(
        &mut self,
        context: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
        mut part: &[u8],
    ) -> io::Result<()> {
        while !part.is_empty() {
            match Pin::new(&mut *to).poll_write(context, part) {
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
}

impl From<Vec<u8>> for Unwritten {
    fn from(bytes: Vec<u8>) -> Self {
        Unwritten { bytes, written: 0 }
    }
}
