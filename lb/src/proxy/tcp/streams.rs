//! The connections that are open, so that they can be shown and told to end.
//!
//! ```text
//!   accepted ─▶ entry ─▶ one of the worker's ──────────────▶ shown (`/connections`), summed up
//!                 ▲            │ an upstream has had its time, its service is gone, the address moves, …
//!                 │            ▼
//!                 └── told to end, and woken: the connection looks here first whenever it runs
//! ```
//!
//! Each worker has a list of its own, so that accepting locks nobody else out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use slab::Slab;
use wire::PoolName;

use super::super::clock;
use super::super::hand_over::OnVip;
use super::super::lock;
use super::super::state::upstream::Upstream;
use super::ended::Ended;
use super::service::Service;

/// Stands for nothing told.
const NOTHING: u8 = u8::MAX;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// What comes ahead is awaited: a header of the PROXY protocol, the name that is asked for.
    Arriving,
    /// There is no upstream yet.
    Connecting,
    /// Both sides may speak.
    Open,
    /// One side has ended.
    HalfClosed,
}

impl Phase {
    const ALL: [Phase; 4] = [Phase::Arriving, Phase::Connecting, Phase::Open, Phase::HalfClosed];

    /// As `ipvsadm -Lnc` would have it: the states of TCP.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Phase::Arriving | Phase::Connecting => "SYN_RECV",
            Phase::Open => "ESTABLISHED",
            Phase::HalfClosed => "FIN_WAIT",
        }
    }
}

/// What is known of one connection.
pub(crate) struct Entry {
    /// The other end of the connection.
    pub(crate) peer: SocketAddr,
    /// Where it was accepted.
    pub(crate) local: SocketAddr,
    pub(crate) begun: Instant,
    told: AtomicU8,
    phase: AtomicU8,
    waker: AtomicWaker,
    /// The virtual address it came to, if it is one.
    pub(crate) on_vip: Option<OnVip>,
    whose: OnceLock<Whose>,
    upstream: Mutex<Option<Arc<Upstream>>>,
    received: AtomicU64,
    sent: AtomicU64,
    /// When something moved last, in microseconds of `clock`.
    moved: AtomicU64,
}

/// What is known of it once it has arrived.
#[derive(Debug)]
pub(crate) struct Whose {
    pub(crate) service: Arc<Service>,
    pub(crate) pool: PoolName,
    /// The client: the peer, unless that is a proxy that says who it is.
    pub(crate) client: SocketAddr,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("peer", &self.peer).field("whose", &self.whose).finish_non_exhaustive()
    }
}

impl Entry {
    pub(crate) fn new(peer: SocketAddr, local: SocketAddr, on_vip: Option<OnVip>) -> Self {
        Entry {
            peer,
            local,
            begun: Instant::now(),
            told: AtomicU8::new(NOTHING),
            phase: AtomicU8::new(Phase::Arriving as u8),
            waker: AtomicWaker::new(),
            on_vip,
            whose: OnceLock::new(),
            upstream: Mutex::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            moved: AtomicU64::new(clock::micros(Instant::now())),
        }
    }

    /// It has arrived, and is this one's.
    pub(crate) fn is_of(&self, whose: Whose) {
        // Only who serves it says so, once.
        let _ = self.whose.set(whose);
        self.set_phase(Phase::Connecting);
    }

    pub(crate) fn whose(&self) -> Option<&Whose> {
        self.whose.get()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        let number = usize::from(self.phase.load(Ordering::Relaxed));
        Phase::ALL.get(number).copied().unwrap_or(Phase::Open)
    }

    /// From now on it is at `upstream`, or on its way there.
    pub(crate) fn goes_to(&self, upstream: &Arc<Upstream>) {
        *lock(&self.upstream) = Some(upstream.clone());
    }

    pub(crate) fn upstream(&self) -> Option<Arc<Upstream>> {
        lock(&self.upstream).clone()
    }

    /// Whether it is at `upstream`, or on its way there.
    pub(crate) fn is_at(&self, upstream: &Upstream) -> bool {
        lock(&self.upstream).as_ref().is_some_and(|own| std::ptr::eq(&raw const **own, upstream))
    }

    /// So many more bytes came from the client, and went to it.
    pub(crate) fn moved(&self, received: u64, sent: u64) {
        // Nobody else writes.
        for (total, more) in [(&self.received, received), (&self.sent, sent)] {
            if more > 0 {
                total.store(total.load(Ordering::Relaxed) + more, Ordering::Relaxed);
            }
        }
    }

    /// The bytes that came from the client and went to it.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    /// Something moved at `now`.
    pub(crate) fn moved_at(&self, now: Instant) {
        self.moved.store(clock::micros(now), Ordering::Relaxed);
    }

    /// For how long nothing has.
    pub(crate) fn silent_for(&self, now: Instant) -> Duration {
        Duration::from_micros(clock::micros(now).saturating_sub(self.moved.load(Ordering::Relaxed)))
    }

    fn tell(&self, ended: Ended) {
        let first = self.told.compare_exchange(NOTHING, ended as u8, Ordering::AcqRel, Ordering::Relaxed);
        if first.is_ok() {
            self.waker.wake();
        }
    }

    /// Why it is to end, once it is told to. To be asked from one task alone.
    pub(crate) fn poll_told(&self, context: &Context<'_>) -> Poll<Ended> {
        // In this order: what is told in between wakes us.
        self.waker.register(context.waker());
        if self.on_vip.as_ref().is_some_and(OnVip::is_cut) {
            return Poll::Ready(Ended::Moved);
        }
        match Ended::ALL.get(usize::from(self.told.load(Ordering::Acquire))) {
            Some(&ended) => Poll::Ready(ended),
            None => Poll::Pending,
        }
    }
}

/// The connections of all workers.
#[derive(Debug)]
pub(crate) struct Streams {
    of_workers: Vec<Mutex<Slab<Arc<Entry>>>>,
}

/// One of them, until dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    streams: Arc<Streams>,
    worker: usize,
    key: usize,
    pub(crate) entry: Arc<Entry>,
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(list) = self.streams.of_workers.get(self.worker) {
            lock(list).try_remove(self.key);
        }
    }
}

impl Streams {
    pub(crate) fn new(workers: usize) -> Self {
        Streams { of_workers: (0..workers.max(1)).map(|_| Mutex::default()).collect() }
    }

    /// Lists one of `worker`.
    pub(crate) fn add(self: &Arc<Self>, worker: usize, entry: Entry) -> Listed {
        let (worker, entry) = (worker % self.of_workers.len(), Arc::new(entry));
        let key = lock(&self.of_workers[worker]).insert(entry.clone());
        Listed { streams: self.clone(), worker, key, entry }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.of_workers.iter().map(|list| lock(list).len()).sum()
    }

    /// Tells all that `are_meant` to end. Returns how many those are.
    pub(crate) fn end(&self, ended: Ended, are_meant: impl Fn(&Entry) -> bool) -> usize {
        let mut count = 0;
        for list in &self.of_workers {
            for (_, entry) in lock(list).iter().filter(|(_, entry)| are_meant(entry)) {
                entry.tell(ended);
                count += 1;
            }
        }
        count
    }

    /// Has all of `worker` look at where they are.
    pub(crate) fn wake(&self, worker: usize) {
        if let Some(list) = self.of_workers.get(worker) {
            lock(list).iter().for_each(|(_, entry)| entry.waker.wake());
        }
    }

    /// Shows each of them to `look`, at most so many.
    pub(crate) fn each(&self, most: usize, mut look: impl FnMut(&Entry)) {
        let mut left = most;
        for list in &self.of_workers {
            // What is looked at may take its time: not under the lock.
            let some: Vec<_> = lock(list).iter().take(left).map(|(_, entry)| entry.clone()).collect();
            left -= some.len();
            some.iter().for_each(|entry| look(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn entry() -> Entry {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Entry::new(address, address, None)
    }

    #[test]
    fn those_that_are_meant_are_told_and_the_first_word_counts() {
        let streams = Arc::new(Streams::new(2));
        let [one, two] = [0, 1].map(|worker| streams.add(worker, entry()));
        let upstream = Arc::new(Upstream::new("u".into(), ([127, 0, 0, 1], 1).into(), 1));
        two.entry.goes_to(&upstream);
        assert_eq!(streams.end(Ended::Drained, |entry| entry.is_at(&upstream)), 1);
        assert_eq!(streams.end(Ended::Removed, |_| true), 2);
        let context = Context::from_waker(Waker::noop());
        assert_eq!(one.entry.poll_told(&context), Poll::Ready(Ended::Removed));
        assert_eq!(two.entry.poll_told(&context), Poll::Ready(Ended::Drained));
        drop(one);
        assert_eq!(streams.count(), 1);
        let mut seen = 0;
        streams.each(10, |entry| seen += usize::from(entry.is_at(&upstream)));
        assert_eq!(seen, 1);
    }

    #[test]
    fn phases_are_what_they_were_set_to() {
        let entry = entry();
        for phase in Phase::ALL {
            entry.set_phase(phase);
            assert_eq!(entry.phase(), phase);
        }
    }
}
