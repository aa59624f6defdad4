//! Counts the clients' connections and the requests on them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use super::super::limits::rate::address_bits;
use super::super::lock;
use super::State;

/// The clients' connections, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicU64,
    busy: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    /// How many each client has, where that is limited.
    of_clients: Mutex<HashMap<u128, u32>>,
    over: AtomicU64,
}

impl Connections {
    /// Connections open now.
    pub(crate) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections with a request in progress now.
    pub(crate) fn busy(&self) -> u64 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections closed at once so far, because there were too many.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Connections closed at once so far, because their clients had too many.
    pub(crate) fn over(&self) -> u64 {
        self.over.load(Ordering::Relaxed)
    }
}

/// One open connection, counted until dropped.
#[derive(Debug)]
pub(crate) struct Open {
    state: Arc<State>,
    /// Whose it is, where that counts.
    client: Option<u128>,
}

impl Open {
    /// Counts a connection, unless there are `limit` already.
    pub(crate) fn admit(state: &Arc<State>, limit: usize) -> Option<Self> {
        let counts = &state.connections;
        let before = counts.open.fetch_add(1, Ordering::Relaxed);
        if usize::try_from(before).is_ok_and(|before| before < limit) {
            counts.accepted.fetch_add(1, Ordering::Relaxed);
            Some(Open { state: state.clone(), client: None })
        } else {
            counts.open.fetch_sub(1, Ordering::Relaxed);
            counts.refused.fetch_add(1, Ordering::Relaxed);
            None
        }
    }

    /// Counts a request in progress on it.
    pub(crate) fn begin_request(&self) -> Busy<'_> {
        self.state.connections.busy.fetch_add(1, Ordering::Relaxed);
        Busy(&self.state.connections)
    }

    /// Counts it for the client at `address` too, unless that one has `most` already; 0: it does not count. Whether it
    /// may stay. Trusted proxies have many clients.
    pub(crate) fn count_for(&mut self, address: IpAddr, most: u32) -> bool {
        if most == 0 || self.state.snapshot().belief.trusts(address) {
            return true;
        }
        let counts = &self.state.connections;
        let client = address_bits(address);
        let mut of_clients = lock(&counts.of_clients);
        let count = of_clients.entry(client).or_default();
        if *count >= most {
            counts.over.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        *count += 1;
        self.client = Some(client);
        true
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let counts = &self.state.connections;
        counts.open.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut of_clients = lock(&counts.of_clients);
        if let Some(count) = of_clients.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                of_clients.remove(&client);
            }
        }
    }
}

/// One request in progress, counted until dropped.
#[derive(Debug)]
pub(crate) struct Busy<'a>(&'a Connections);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
