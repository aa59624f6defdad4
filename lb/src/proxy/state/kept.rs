//! Connections to one upstream that wait for their next request, by worker.
//!
//! A kept connection to a machine that has vanished looks like any other, and what is sent over it is lost. What may not
//! be repeated therefore takes one only if it is *proven*:
//!
//! ```text
//!   its upstream was heard over it within LATELY   a handshake says no more than that it was there a moment ago
//!   nothing can be read from it                    neither an end nor a reset, as the kernel knows it now
//!   its upstream keeps connections                 one was left alone for longer than that, and was still open; none
//!                                                  has ended soon after an answer that did not say so
//! ```

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::super::forward::connect::Connection;
use super::super::lock;

/// The most idle connections one worker keeps to one upstream.
const MAX_IDLE: usize = 64;

/// An idle connection older than this is not used again: common servers close theirs after 60 s or
/// more, and one that is about to be closed is worth less than a new one.
pub(crate) const MAX_IDLE_AGE: Duration = Duration::from_secs(20);

/// Who was heard so lately is taken to be there. Between a handshake and the request after it there is about as much on a
/// busy machine, so that what is sent over a new connection is not safer; and with a machine that vanishes, what it was
/// about to answer is lost for longer than that.
const LATELY: Duration = Duration::from_millis(5);

/// Who ends a connection sooner than this after an answer does not keep any: those that do allow for seconds.
const SOON: Duration = Duration::from_secs(1);

/// The idle connections to one upstream.
#[derive(Debug)]
pub(super) struct Kept {
    shelves: Box<[Mutex<VecDeque<Idle>>]>,
    /// Its upstream has shown that it keeps connections.
    keeps: AtomicBool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
}

impl Idle {
    /// How long nothing has come over it.
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.connection.heard())
    }

    fn is_usable(&mut self, now: Instant) -> bool {
        self.age(now) < MAX_IDLE_AGE && self.connection.is_open()
    }
}

impl Kept {
    pub(super) fn new(workers: usize) -> Self {
        let shelves = (0..workers.max(1)).map(|_| Mutex::default()).collect();
        Kept { shelves, keeps: AtomicBool::new(false) }
    }

    /// A connection of `worker` for `name` that is still open.
    pub(super) fn take(&self, worker: usize, name: Option<&str>, now: Instant) -> Option<Connection> {
        let mut shelf = lock(self.shelves.get(worker)?);
        // The newest first.
        while let Some(at) = shelf.iter().rposition(|idle| idle.connection.is_for(name)) {
            let mut idle = shelf.remove(at)?;
            if idle.is_usable(now) {
                return Some(idle.connection);
            }
            self.left(&idle, now);
        }
        None
    }

    /// One that is as good as a new one.
    pub(super) fn take_proven(&self, worker: usize, name: Option<&str>, now: Instant) -> Option<Connection> {
        let mut shelf = lock(self.shelves.get(worker)?);
        if !self.keeps.load(Ordering::Relaxed) {
            let oldest = shelf.front_mut()?;
            if oldest.age(now) <= LATELY {
                return None;
            }
            if !oldest.connection.is_quiet() {
                shelf.pop_front();
                return None;
            }
            self.keeps.store(true, Ordering::Relaxed);
        }
        // The one whose time is over first: so as many stay proven as are needed when most of them are. They lie nearly in
        // the order in which they were heard.
        let is_proven = |idle: &Idle| idle.connection.is_for(name) && idle.age(now) <= LATELY;
        let mut first = shelf.partition_point(|idle| idle.age(now) > LATELY);
        while let Some(at) = (first..shelf.len()).find(|at| is_proven(&shelf[*at])) {
            first = at;
            let mut idle = shelf.remove(at)?;
            if idle.connection.is_quiet() {
                return Some(idle.connection);
            }
            self.left(&idle, now);
            if !self.keeps.load(Ordering::Relaxed) {
                return None;
            }
        }
        None
    }

    /// Keeps `connection` for the next request of `worker`, if `may` still says so.
    pub(super) fn put(&self, worker: usize, connection: Connection, may: impl FnOnce(&Connection) -> bool) {
        let Some(shelf) = self.shelves.get(worker) else { return };
        let mut shelf = lock(shelf);
        if !may(&connection) {
            return;
        }
        if shelf.len() >= MAX_IDLE
            && let Some(oldest) = shelf.pop_front()
        {
            // There is one for each POST that nobody else has use for.
            oldest.connection.discard();
        }
        shelf.push_back(Idle { connection });
    }

    /// Its upstream ended `idle`, or that is old.
    fn left(&self, idle: &Idle, now: Instant) {
        if idle.age(now) < SOON {
            self.ended_soon();
        }
    }

    /// Its upstream has ended a connection that it had not said it would.
    pub(super) fn ended_soon(&self) {
        self.keeps.store(false, Ordering::Relaxed);
    }

    /// Closes what is old or was closed by the upstream.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        for shelf in &self.shelves {
            lock(shelf).retain_mut(|idle| {
                let stays = idle.is_usable(now);
                if !stays {
                    self.left(idle, now);
                }
                stays
            });
        }
    }

    /// Closes the oldest ones while `too_many`.
    pub(super) fn make_room(&self, too_many: impl Fn() -> bool) {
        for shelf in &self.shelves {
            while too_many() {
                let Some(idle) = lock(shelf).pop_front() else { break };
                drop(idle);
            }
        }
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        self.ended_soon();
        self.shelves.iter().for_each(|shelf| lock(shelf).clear());
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.shelves.iter().map(|shelf| lock(shelf).len()).sum()
    }
}
