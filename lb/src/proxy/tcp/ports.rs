//! The ports of the TCP services: opened and closed when a configuration brings or takes them.
//!
//! ```text
//!   a configuration ──▶ wanted ──▶ opened, once for each worker ──▶ the workers accept
//!                          │            │ cannot be had: said in the log, /status and /metrics; tried again and again
//!                          └── not any more ──▶ closed; what is open goes on
//! ```
//!
//! A port that is open when the configuration has been answered takes connections from then on: the kernel keeps them until
//! a worker accepts them. One that cannot be had is no fault of the rest of the configuration, which is in use all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;

use super::super::accept;
use super::super::hand_over::HandOvers;
use super::super::lock;

/// The ports, and whether they are open.
#[derive(Debug, Default)]
pub(crate) struct Ports(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    wanted: BTreeSet<u16>,
    open: BTreeMap<u16, CancellationToken>,
    /// Why those are not that should be.
    failed: BTreeMap<u16, String>,
    /// None: the balancer has not started.
    users: Option<Users>,
}

/// Who has to know.
#[derive(Debug)]
struct Users {
    workers: Vec<UnboundedSender<Opened>>,
    hand_overs: Arc<HandOvers>,
    /// The ports that are somebody else's.
    taken: BTreeMap<u16, String>,
}

/// A listener for a worker.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) port: u16,
    pub(crate) listener: TcpListener,
    /// When it is to be closed.
    pub(crate) closing: CancellationToken,
}

impl Ports {
    /// From now on those that are wanted are opened, for so many workers, unless they are `taken`. Returns where each
    /// worker gets its listeners.
    pub(crate) fn start(
        &self,
        workers: usize,
        hand_overs: &Arc<HandOvers>,
        taken: &BTreeMap<u16, String>,
    ) -> Vec<UnboundedReceiver<Opened>> {
        let (senders, receivers) = (0..workers).map(|_| unbounded_channel()).unzip();
        let mut inner = lock(&self.0);
        inner.users = Some(Users { workers: senders, hand_overs: hand_overs.clone(), taken: taken.clone() });
        inner.follow();
        receivers
    }

    /// From now on these are wanted.
    pub(crate) fn want(&self, ports: BTreeSet<u16>) {
        let mut inner = lock(&self.0);
        inner.wanted = ports;
        inner.follow();
    }

    /// Tries those again that could not be had.
    pub(crate) fn try_again(&self) {
        let mut inner = lock(&self.0);
        if !inner.failed.is_empty() {
            inner.follow();
        }
    }

    /// Why `port` is not open, if it should be.
    pub(crate) fn fault(&self, port: u16) -> Option<String> {
        lock(&self.0).failed.get(&port).cloned()
    }
}

impl Inner {
    /// Opens and closes what is to be.
    fn follow(&mut self) {
        let Inner { wanted, open, failed, users } = self;
        let Some(users) = users else { return };
        open.retain(|port, closing| {
            let stays = wanted.contains(port);
            if !stays {
                users.hand_overs.listeners.forget_port(*port);
                closing.cancel();
                tracing::info!(port, "port of TCP services closed");
            }
            stays
        });
        failed.retain(|port, _| wanted.contains(port));
        for &port in &*wanted {
            if open.contains_key(&port) {
                continue;
            }
            match users.open(port) {
                Ok(closing) => {
                    open.insert(port, closing);
                    failed.remove(&port);
                    tracing::info!(port, "port of TCP services open");
                }
                Err(error) => {
                    let error = error.to_string();
                    if failed.get(&port) != Some(&error) {
                        tracing::error!(port, %error, "A PORT OF A TCP SERVICE CANNOT BE OPENED; it is tried again");
                    }
                    failed.insert(port, error);
                }
            }
        }
        users.hand_overs.vips.set_tcp_ports(open.keys().copied().collect());
    }
}

impl Users {
    /// Opens `port` for all workers, or for none.
    fn open(&self, port: u16) -> io::Result<CancellationToken> {
        if let Some(owner) = self.taken.get(&port) {
            return Err(io::Error::other(format!("it is taken by {owner}")));
        }
        let listeners = self.workers.iter().map(|_| everywhere(port)).collect::<io::Result<Vec<_>>>()?;
        let added =
            listeners.iter().try_for_each(|listener| self.hand_overs.listeners.add_at(port, listener));
        added.inspect_err(|_error| self.hand_overs.listeners.forget_port(port))?;
        let closing = CancellationToken::new();
        for (worker, listener) in self.workers.iter().zip(listeners) {
            // A worker that has ended takes the program with it.
            let _ = worker.send(Opened { port, listener, closing: closing.clone() });
        }
        Ok(closing)
    }
}

/// A listener at `port` of every address; of those of IPv4 where there is no IPv6.
fn everywhere(port: u16) -> io::Result<TcpListener> {
    accept::listen_everywhere(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).or_else(|error| {
        match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => accept::listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        }
    })
}
