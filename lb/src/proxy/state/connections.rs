//! Counts the clients' connections and the requests on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::State;

/// The clients' connections, over all workers.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicU64,
    busy: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
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
}

/// One open connection, counted until dropped.
#[derive(Debug)]
pub(crate) struct Open(Arc<State>);

impl Open {
    /// Counts a connection, unless there are `limit` already.
    pub(crate) fn admit(state: &Arc<State>, limit: usize) -> Option<Self> {
        let counts = &state.connections;
        let before = counts.open.fetch_add(1, Ordering::Relaxed);
        if usize::try_from(before).is_ok_and(|before| before < limit) {
            counts.accepted.fetch_add(1, Ordering::Relaxed);
            Some(Open(state.clone()))
        } else {
            counts.open.fetch_sub(1, Ordering::Relaxed);
            counts.refused.fetch_add(1, Ordering::Relaxed);
            None
        }
    }

    /// Counts a request in progress on it.
    pub(crate) fn begin_request(&self) -> Busy<'_> {
        self.0.connections.busy.fetch_add(1, Ordering::Relaxed);
        Busy(&self.0.connections)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.open.fetch_sub(1, Ordering::Relaxed);
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
