//! The workers' listeners, for holding new connections back: for a moment, what asks for one at a virtual
//! address is neither accepted nor refused. A refusal is a failure; silence makes a client ask again.
//!
//! It is a filter of the kernel's on each listener (see socket(7), `SO_ATTACH_FILTER`), so it ends with the
//! process at the latest.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

use socket2::Socket;

use super::super::lock;
use super::filter::{self, drop_new};

/// All listeners of the proxy, and the port of those that may be closed before it ends.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Vec<(Option<u16>, Socket)>>);

impl Listeners {
    /// Takes a worker's listener into account.
    ///
    /// # Errors
    ///
    /// When there are no descriptors left.
    pub(crate) fn add(&self, listener: &std::net::TcpListener) -> io::Result<()> {
        lock(&self.0).push((None, listener.try_clone()?.into()));
        Ok(())
    }

    /// The same for one at `port` of a TCP service.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub(crate) fn add_at(&self, port: u16, listener: &std::net::TcpListener) -> io::Result<()> {
        lock(&self.0).push((Some(port), listener.try_clone()?.into()));
        Ok(())
    }

    /// Forgets the listeners of TCP services at `port`, so that each is closed when its worker closes it.
    pub(crate) fn forget_port(&self, port: u16) {
        lock(&self.0).retain(|(of, _)| *of != Some(port));
    }

    /// Forgets all listeners, so that each is closed when its worker closes it.
    pub(crate) fn forget(&self) {
        lock(&self.0).clear();
    }

    /// From now on new connections to `addresses` are held back, until the result is dropped.
    ///
    /// # Errors
    ///
    /// When the kernel takes no filter, or the addresses are too many for one; then nothing is held back.
    pub(super) fn hold_back(&self, addresses: &BTreeSet<IpAddr>) -> io::Result<HeldBack<'_>> {
        let filter = filter::checked(drop_new(addresses))?;
        let held = HeldBack(self);
        held.each(|listener| listener.attach_filter(&filter))?;
        Ok(held)
    }
}

/// New connections are held back until this is dropped.
#[derive(Debug)]
pub(super) struct HeldBack<'a>(&'a Listeners);

impl HeldBack<'_> {
    fn each(&self, act: impl Fn(&Socket) -> io::Result<()>) -> io::Result<()> {
        lock(&self.0.0).iter().try_for_each(|(_, listener)| act(listener))
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        for (_, listener) in lock(&self.0.0).iter() {
            // One without a filter says that it has none, which is as good.
            let _ = listener.detach_filter();
        }
    }
}
