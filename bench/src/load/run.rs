//! The loops: closed, and open on a schedule.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::Options;
use super::connection::{Connection, Outcome, Target};
use super::report::Report;

/// What is read at once, in bytes.
const READ: usize = 256 << 10;

/// How many events are taken at once.
const EVENTS: usize = 512;

/// Requests that are in progress when the time is over are waited for so long; then they have failed.
const DRAIN: Duration = Duration::from_secs(5);

/// The token of the clock.
const CLOCK: u64 = u64::MAX;

/// All connections.
pub(super) struct Connections<'a> {
    target: &'a Target,
    epoll: Epoll,
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
    scratch: Vec<u8>,
    pub(super) report: Report,
}

impl<'a> Connections<'a> {
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub(super) fn new(target: &'a Target) -> Result<Self> {
        Ok(Connections {
            target,
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            slots: Vec::new(),
            free: Vec::new(),
            scratch: vec![0; READ],
            report: Report::new()?,
        })
    }

    /// Opens one and asks over it.
    ///
    /// # Errors
    ///
    /// When there are no descriptors or no ports left: then the load is not what it should be.
    pub(super) fn ask_anew(&mut self, due: Instant) -> Result<()> {
        let connection = Connection::open(self.target)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
        self.epoll.add(&connection.socket, EpollEvent::new(both, slot as u64))?;
        self.slots[slot] = Some(connection);
        self.ask(slot, due);
        Ok(())
    }

    /// Asks over one that is idle.
    fn ask(&mut self, slot: usize, due: Instant) {
        let Some(connection) = &mut self.slots[slot] else { return };
        if connection.ask(self.target, due) == Outcome::Failed {
            self.report.failed();
            self.drop(slot);
        }
    }

    fn drop(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.free.push(slot);
    }

    /// Looks after the one that an event is of, and says which one and what became of it.
    pub(super) fn serve(&mut self, event: &EpollEvent) -> Option<(usize, Outcome)> {
        let slot = usize::try_from(event.data()).ok()?;
        let connection = self.slots.get_mut(slot)?.as_mut()?;
        let ended = event.events().intersects(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP);
        let outcome = connection.drive(self.target, &mut self.scratch, ended);
        let due = connection.due;
        match outcome {
            Outcome::Waits => {}
            Outcome::Answered | Outcome::AnsweredLast => {
                if let Some(resumed) = connection.resumed().filter(|_| self.target.fresh) {
                    self.report.shook_hands(resumed);
                }
                self.report.answered(due);
                // What came together with the answer shows nowhere else: its edge is over.
                if outcome == Outcome::AnsweredLast
                    && connection.drive(self.target, &mut self.scratch, true) != Outcome::Waits
                {
                    self.drop(slot);
                    return Some((slot, Outcome::Ended));
                }
            }
            Outcome::Ended => self.drop(slot),
            Outcome::Failed => {
                self.report.failed();
                self.drop(slot);
            }
        }
        Some((slot, outcome))
    }

    /// Waits for events, at most until `end`.
    ///
    /// # Errors
    ///
    /// When the kernel will not.
    pub(super) fn wait(&self, events: &mut [EpollEvent], end: Instant) -> Result<usize> {
        let left = end.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let timeout = EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX);
        match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => Ok(0),
            count => Ok(count?),
        }
    }

    fn in_use(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn busy(&self) -> usize {
        self.slots.iter().flatten().filter(|connection| connection.is_busy()).count()
    }

    /// All of them, for whoever holds them open.
    pub(super) fn open(&self) -> impl Iterator<Item = &Connection> {
        self.slots.iter().flatten()
    }
}

/// Sends the load and prints what became of it.
///
/// # Errors
///
/// When connections cannot be opened for a reason that is on this side.
pub(super) fn run(options: &Options, target: &Target) -> Result<()> {
    let mut connections = Connections::new(target)?;
    let start = Instant::now();
    let end = start + options.duration;
    match options.rate {
        None => closed(&mut connections, options.connections, end)?,
        Some(rate) => open(&mut connections, options, rate, start)?,
    }
    let mut events = vec![EpollEvent::empty(); EVENTS];
    let last = end + DRAIN;
    while connections.busy() > 0 && Instant::now() < last {
        let count = connections.wait(&mut events, last)?;
        for event in &events[..count] {
            connections.serve(event);
        }
    }
    for _ in 0..connections.busy() {
        connections.report.failed();
    }
    connections.report.print(start.elapsed());
    Ok(())
}

fn closed(connections: &mut Connections<'_>, count: usize, end: Instant) -> Result<()> {
    for _ in 0..count {
        connections.ask_anew(Instant::now())?;
    }
    let mut events = vec![EpollEvent::empty(); EVENTS];
    loop {
        let count = connections.wait(&mut events, end)?;
        let now = Instant::now();
        if now >= end {
            for event in &events[..count] {
                connections.serve(event);
            }
            return Ok(());
        }
        for event in &events[..count] {
            match connections.serve(event) {
                Some((slot, Outcome::Answered)) => connections.ask(slot, Instant::now()),
                Some((_, Outcome::Ended | Outcome::Failed)) => connections.ask_anew(Instant::now())?,
                _ => {}
            }
        }
    }
}

fn open(connections: &mut Connections<'_>, options: &Options, rate: u32, start: Instant) -> Result<()> {
    let clock = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    connections.epoll.add(clock.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, CLOCK))?;
    let period = Duration::from_secs(1) / rate;
    clock.set(Expiration::Interval(TimeSpec::from(period)), TimerSetTimeFlags::empty())?;
    let total = (options.duration.as_secs_f64() * f64::from(rate)).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most some millions
    let total = total as u64;
    let due_at = |number: u64| {
        // Exact for any rate: nanoseconds from the start.
        start + Duration::from_nanos(number.saturating_mul(1_000_000_000) / u64::from(rate))
    };
    let mut idle: Vec<usize> = Vec::new();
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let mut next = 0;
    let mut events = vec![EpollEvent::empty(); EVENTS];
    let last = start + options.duration + DRAIN;
    while next < total || !waiting.is_empty() {
        let count = connections.wait(&mut events, last)?;
        for event in &events[..count] {
            if event.data() == CLOCK {
                // Read so that it is no longer due; the time itself says what is.
                let mut ticks = [0; 8];
                let _ = nix::unistd::read(clock.as_fd(), &mut ticks);
                continue;
            }
            match connections.serve(event) {
                Some((slot, Outcome::Answered)) => idle.push(slot),
                Some((slot, Outcome::Ended | Outcome::Failed)) => idle.retain(|&other| other != slot),
                _ => {}
            }
        }
        let now = Instant::now();
        while next < total && due_at(next) <= now {
            waiting.push_back(due_at(next));
            next += 1;
        }
        while let Some(&due) = waiting.front() {
            if let Some(slot) = idle.pop() {
                connections.ask(slot, due);
            } else if connections.in_use() < options.connections {
                connections.ask_anew(due)?;
            } else {
                break;
            }
            waiting.pop_front();
        }
        if now >= last {
            break;
        }
    }
    for _ in waiting {
        connections.report.failed();
    }
    Ok(())
}
