//! Puts the load on: workers, each a thread with a runtime of its own, that send what is due.
//!
//! ```text
//!  worker 0   schedule ─ slots 0, n, 2n, … ─▶ a task each ─▶ sender ─▶ ledger
//!  worker 1   schedule ─ slots 1, n+1, …   ─▶ …
//!  (closed loop: a task for each user instead, that asks again when it was answered)
//! ```
//!
//! A request stays on the thread that it began on, as do the connections that are kept: nothing is woken from
//! elsewhere. What the injector of faults and the managers need runs on the main thread, beside.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::yield_now;

use crate::count::{Connection, Failure, Ledger, Outcome};
use crate::pace::{Clock, End, Pacer, micros};
use crate::schedule::{Arrivals, Profile, Schedule};
use crate::send::{Plan, Sender, Traffic};
use crate::target::Choice;

/// After so many slots that are all overdue, requests under way get their turn.
const BURST: u32 = 32;
/// After so many turns of tasks a worker looks for answers and at its timer.
const TURNS: u32 = 31;

/// Which requests open a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Connections {
    /// Every other one.
    #[default]
    Half,
    /// All.
    Fresh,
    /// None for which there is a kept one.
    Kept,
}

impl Connections {
    fn of(self, number: u64) -> Connection {
        match self {
            Connections::Fresh => Connection::Fresh,
            Connections::Half if number.is_multiple_of(2) => Connection::Fresh,
            Connections::Half | Connections::Kept => Connection::Kept,
        }
    }
}

/// When requests are begun.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// On schedule, whatever became of those before.
    Open {
        /// The rate along the run.
        profile: Profile,
        /// How the moments lie.
        arrivals: Arrivals,
    },
    /// By users, of whom each waits for its answer before it asks again.
    Closed {
        /// How many.
        users: u32,
        /// How often each asks; until the run's end where it is not said.
        loops: Option<u64>,
        /// How long each waits after an answer.
        think: Duration,
        /// In what time they begin, one after the other.
        ramp_up: Duration,
    },
}

/// What all workers share.
#[derive(Clone)]
pub struct Load {
    /// When.
    pub shape: Shape,
    /// What, and where to.
    pub plan: Arc<Plan>,
    /// Over which connections.
    pub connections: Connections,
    /// Which target each asks for.
    pub choice: Choice,
    /// The run's clock.
    pub clock: Clock,
    /// The run's end.
    pub end: End,
    /// Where everything is counted.
    pub ledger: Arc<Mutex<Ledger>>,
    /// How many more may be in flight.
    pub in_flight: Arc<Semaphore>,
    /// The bytes of all.
    pub traffic: Arc<Traffic>,
}

/// The workers of a run.
pub struct Workers {
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
    /// Ended by the last user.
    begun: mpsc::Receiver<()>,
    stop: watch::Sender<bool>,
}

impl Workers {
    /// Starts so many of them.
    ///
    /// # Errors
    ///
    /// When there cannot be so many threads, or no sender.
    pub fn start(load: &Load, threads: usize) -> anyhow::Result<Self> {
        let (all_begun, begun) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let numbers = Arc::new(AtomicU64::new(0));
        let spawn = |index: usize| {
            let sender = Sender::new(load.plan.clone(), load.traffic.clone())?;
            let worker = Worker {
                load: Arc::new(load.clone()),
                sender,
                index,
                of: threads,
                numbers: numbers.clone(),
                _begun: all_begun.clone(),
            };
            let stopped = stopped.clone();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .event_interval(TURNS)
                .build()
                .context("making a runtime")?;
            let run = move || runtime.block_on(Arc::new(worker).run(stopped));
            let thread = std::thread::Builder::new().name(format!("load-{index}"));
            thread.spawn(run).context("starting a thread")
        };
        let threads = (0..threads).map(spawn).collect::<anyhow::Result<_>>()?;
        Ok(Workers { threads, begun, stop })
    }

    /// Waits until there is nothing left to begin: the end was reached, or all users have had all their loops.
    pub async fn all_begun(&mut self) {
        while self.begun.recv().await.is_some() {}
    }

    /// Ends them; what is still in flight is given up.
    ///
    /// # Errors
    ///
    /// When one of them died.
    pub fn finish(self) -> anyhow::Result<()> {
        let _ = self.stop.send(true);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a worker died"))??;
        }
        Ok(())
    }
}

/// One worker.
struct Worker {
    load: Arc<Load>,
    sender: Arc<Sender>,
    index: usize,
    of: usize,
    /// The next number of a closed loop.
    numbers: Arc<AtomicU64>,
    /// Dropped when there is nothing left to begin.
    _begun: mpsc::Sender<()>,
}

impl Worker {
    async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
        match self.load.shape.clone() {
            Shape::Open { profile, arrivals } => {
                self.send_on_schedule(Schedule::new(profile, arrivals)).await?
            }
            Shape::Closed { users, loops, think, ramp_up } => {
                self.be_users(users, loops, think, ramp_up);
            }
        }
        drop(self);
        // What was begun is to be answered on this thread.
        let _ = stopped.wait_for(|stopped| *stopped).await;
        Ok(())
    }

    async fn send_on_schedule(self: &Arc<Self>, schedule: Schedule) -> anyhow::Result<()> {
        let mut pacer = Pacer::new(self.load.clock, self.load.end.clone()).context("a timer")?;
        let mut burst = 0;
        for (number, due_us) in (0..).zip(schedule).skip(self.index).step_by(self.of) {
            if due_us > self.load.clock.now_us() {
                burst = 0;
            } else {
                burst += 1;
                if burst % BURST == 0 {
                    yield_now().await;
                }
            }
            if !pacer.wait_for(due_us).await? {
                return Ok(());
            }
            self.begin(number, due_us);
        }
        // No more slots, but the run goes on.
        while pacer.wait_for(u64::MAX - 1).await? {}
        Ok(())
    }

    /// Sends what is due, on a task of its own.
    fn begin(self: &Arc<Self>, number: u64, due_us: u64) {
        let connection = self.load.connections.of(number);
        let target = self.load.choice.of(number);
        let Ok(permit) = self.load.in_flight.clone().try_acquire_owned() else {
            let now_us = self.load.clock.now_us();
            let result = Err(Failure::NotSent);
            let outcome = Outcome { connection, due_us, started_us: due_us, finished_us: now_us, result };
            return self.load.record(target, outcome);
        };
        let (load, sender) = (self.load.clone(), self.sender.clone());
        tokio::spawn(async move {
            let started_us = load.clock.now_us();
            let result = sender.send(number, target, connection).await;
            let finished_us = load.clock.now_us();
            load.record(target, Outcome { connection, due_us, started_us, finished_us, result });
            drop(permit);
        });
    }

    fn be_users(self: &Arc<Self>, users: u32, loops: Option<u64>, think: Duration, ramp_up: Duration) {
        for user in (0..users).skip(self.index).step_by(self.of) {
            let worker = self.clone();
            let begin = ramp_up.mul_f64(f64::from(user) / f64::from(users.max(1)));
            tokio::spawn(async move { worker.be_user(user, begin, loops, think).await });
        }
    }

    async fn be_user(&self, user: u32, begin: Duration, loops: Option<u64>, think: Duration) {
        let Load { clock, end, connections, choice, in_flight, .. } = &*self.load;
        tokio::time::sleep_until(clock.at(micros(begin)).into()).await;
        for turn in 0..loops.unwrap_or(u64::MAX) {
            let Ok(permit) = in_flight.acquire().await else { return };
            let started_us = clock.now_us();
            if started_us >= end.us() {
                return;
            }
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let connection = connections.of(u64::from(user) + turn);
            let target = choice.of(number);
            let result = self.sender.send(number, target, connection).await;
            let finished_us = clock.now_us();
            self.load
                .record(target, Outcome { connection, due_us: started_us, started_us, finished_us, result });
            drop(permit);
            if think.is_zero() {
                // One who is refused at once would otherwise keep the others waiting.
                yield_now().await;
            } else {
                tokio::time::sleep(think).await;
            }
        }
    }
}

impl Load {
    fn record(&self, target: usize, outcome: Outcome) {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).record_of(target, outcome);
    }
}
