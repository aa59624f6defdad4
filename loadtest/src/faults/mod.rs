//! Breaks things on schedule, one after the other, and finds out when each was well again.
//!
//! ```text
//!  due ──▶ look at the cluster ──▶ inject ──▶ applied ──▶ recovered ──▶ next
//!                                    │           └── no, within the time ──▶ stop: missed
//!                                    └── cannot be applied ──▶ stop: the run is invalid
//! ```
//!
//! Whatever happens, what was broken is mended at the end, as far as it can be: commands are told to end, undoing
//! commands are run, frozen machines are thawed.

pub mod cluster;
pub mod command;
pub mod plan;
pub mod recovery;
pub mod spec;
pub mod undo;
pub mod way;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use wire::MachineId;
use wire::cluster::{ClusterView, FaultKind};

use crate::count::Ledger;
use crate::pace::{Clock, micros};
use crate::report::progress::Progress;
use cluster::{Answers, Managers};
use command::Commands;
use recovery::{Rule, Victim};
use spec::{FaultSpec, Order, What, When};
use undo::Undoing;

/// One fault that was injected. Times in microseconds since the run's start.
#[derive(Clone, Debug)]
pub struct FaultRecord {
    /// What was done.
    pub fault: String,
    /// To whom.
    pub victim: Victim,
    /// When.
    pub at_us: u64,
    /// When all was well again.
    pub recovered_us: Option<u64>,
    /// The victim's address before, if it is a machine.
    pub address_before: Option<IpAddr>,
    /// The victim's address once all was well again.
    pub address_after: Option<IpAddr>,
}

/// What the faults leave for the report.
#[derive(Debug, Default)]
pub struct FaultLog {
    /// The faults that were injected, in order.
    pub records: Vec<FaultRecord>,
    /// Why the run does not count: a fault that could not be injected as ordered.
    pub invalid: Vec<String>,
    /// Why the run missed its goal: a fault that did not recover.
    pub missed: Vec<String>,
}

/// How the faults of a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// There were none.
    NoFaults,
    /// All were injected and have recovered.
    Recovered,
    /// One could not be injected or has not recovered; the log says which.
    GaveUp,
}

/// Injects the faults of a run.
pub struct Injector {
    specs: VecDeque<FaultSpec>,
    managers: Option<Managers>,
    clock: Clock,
    /// The longest a fault may take to recover.
    patience: Duration,
    /// The longest a request may take: so long the ledger does not know yet what became of it.
    request_timeout: Duration,
    ledger: Arc<Mutex<Ledger>>,
    progress: Arc<Progress>,
    commands: Commands,
    undoing: Undoing,
    /// The machine that was frozen last, while it has not recovered.
    frozen: Option<MachineId>,
    log: FaultLog,
}

/// What an injected fault is known by.
struct Applied {
    fault: String,
    victim: Victim,
    at_us: u64,
    rule: Rule,
}

/// The longest time to live that a manager takes.
const LONGEST_FAULT: Duration = Duration::from_secs(3600);
/// How often the ledger is asked whether successes flow again.
const LEDGER_INTERVAL: Duration = Duration::from_millis(100);
/// So long no request may fail before that counts as recovered.
const CALM: Duration = Duration::from_secs(1);

impl Injector {
    /// An injector for these faults. Without managers a fault has recovered when successes flow again.
    pub fn new(
        specs: Vec<FaultSpec>,
        managers: Option<Managers>,
        clock: Clock,
        patience: Duration,
        request_timeout: Duration,
        ledger: Arc<Mutex<Ledger>>,
        progress: Arc<Progress>,
    ) -> Self {
        Injector {
            specs: specs.into(),
            managers,
            clock,
            patience,
            request_timeout,
            ledger,
            progress,
            commands: Commands::new(patience),
            undoing: Undoing::default(),
            frozen: None,
            log: FaultLog::default(),
        }
    }

    /// Injects them all; returns early when one cannot be injected or does not recover. May be dropped
    /// half way; what was done is then still in the log.
    pub async fn run(&mut self) -> Ending {
        if self.specs.is_empty() {
            return Ending::NoFaults;
        }
        while let Some(spec) = self.specs.front().cloned() {
            let recovered_us = self.log.records.last().and_then(|record| record.recovered_us).unwrap_or(0);
            let due_us = match spec.when {
                When::FromStart(at) => micros(at).max(recovered_us),
                // Those that come again are planned as single ones.
                When::AfterRecovery(after) | When::Every(after) | When::Random(after) => {
                    recovered_us + micros(after)
                }
            };
            sleep_until(Instant::from_std(self.clock.at(due_us))).await;
            self.specs.pop_front();
            match self.inject(&spec).await {
                Ok(true) => {}
                Ok(false) => return Ending::GaveUp,
                Err(error) => {
                    self.log.invalid.push(format!("fault \"{spec}\": {error:#}"));
                    return Ending::GaveUp;
                }
            }
        }
        Ending::Recovered
    }

    /// Notes that the load ended by itself: what was not injected by then makes the run invalid.
    pub fn load_ended(&mut self) {
        if let Some(spec) = self.specs.front() {
            self.log.invalid.push(format!("fault \"{spec}\": the load had ended before it was due"));
        }
    }

    /// Ends what is still running, undoes what is not undone, and gives out the log.
    pub async fn finish(mut self) -> FaultLog {
        self.log.invalid.extend(self.commands.finish().await);
        self.log.invalid.extend(self.undoing.finish().await);
        if let (Some(machine), Some(managers)) = (&self.frozen, &self.managers) {
            // It may be gone by now, or thawed: then there is nothing to mend. Its manager does it in any case when
            // the fault's time is over.
            if let Ok(answers) = managers.ask().await {
                let thaw = Order::Harm(FaultKind::Thaw);
                let _ = managers.order(&answers, thaw, machine.as_str(), None).await;
            }
        }
        self.log
    }

    /// Injects one fault and waits until it has recovered; `false` if it has not in time.
    async fn inject(&mut self, spec: &FaultSpec) -> anyhow::Result<bool> {
        let before = match &self.managers {
            Some(managers) => managers.ask().await?,
            None => Answers::default(),
        };
        let Applied { fault, victim, at_us, rule } = self.apply(spec, &before).await?;
        let address_before = victim.address(&before.views);
        let index = self.log.records.len();
        self.log.records.push(FaultRecord {
            fault: fault.clone(),
            victim: victim.clone(),
            at_us,
            recovered_us: None,
            address_before,
            address_after: None,
        });
        self.progress.fault(&fault, at_us);
        self.progress.line(&format!("{:7.3} s  {fault}{}", at_us as f64 / 1e6, victim.described()));

        let Ok(after) = timeout(self.patience, self.recovered(&rule, at_us)).await else {
            self.log.missed.push(format!("\"{fault}\" had not recovered after {:?}", self.patience));
            self.progress.line(&format!("{fault}: not recovered after {:?}", self.patience));
            return Ok(false);
        };
        let (recovered_us, view) = after;
        self.frozen = None;
        let record = &mut self.log.records[index];
        record.recovered_us = Some(recovered_us);
        record.address_after = view.and_then(|view| victim.address(&[view]));
        self.progress.recovered(recovered_us);
        let took_ms = recovered_us.saturating_sub(at_us) / 1000;
        self.progress
            .line(&format!("{:7.3} s  {fault}: recovered after {took_ms} ms", recovered_us as f64 / 1e6));
        Ok(true)
    }

    async fn apply(&mut self, spec: &FaultSpec, before: &Answers) -> anyhow::Result<Applied> {
        let begun_us = self.clock.now_us();
        match &spec.what {
            What::Order { order, target } => {
                let managers = self.managers.as_ref().context("there is no manager to order it from")?;
                let freezes = *order == Order::Harm(FaultKind::Freeze);
                // A manager that we cannot reach any more thaws it by itself.
                let ttl = freezes.then(|| spec.lasts.unwrap_or(self.patience).min(LONGEST_FAULT));
                let machine = managers.order(before, *order, target, ttl).await?;
                self.frozen = freezes.then(|| machine.clone());
                let victim = Victim::Machine(machine);
                let rule = match (order, spec.lasts) {
                    (Order::Harm(FaultKind::Thaw | FaultKind::StopProcess), _) => {
                        Rule::Settled(Duration::ZERO)
                    }
                    // It may come back before anybody has taken it for dead.
                    (Order::Harm(FaultKind::Freeze), Some(lasts)) => Rule::Settled(lasts),
                    (Order::Harm(FaultKind::Kill | FaultKind::Freeze) | Order::Replace, _) => {
                        Rule::changed(&victim, &before.views)?
                    }
                };
                Ok(Applied { fault: spec.what.to_string(), victim, at_us: begun_us, rule })
            }
            What::Command { command, undo } => {
                // Before it starts: whatever it does before it fails, or we are told to end, is undone too.
                let due = undo.as_ref().map(|undo| self.undoing.later(undo));
                let told = self.commands.start(command).await?;
                if let (Some(due), Some(lasts)) = (due, spec.lasts) {
                    due.after(lasts);
                }
                let victim = told.victim();
                let rule = if self.managers.is_some() {
                    Rule::changed(&victim, &before.views)?
                } else {
                    Rule::Unknown
                };
                let now_us = self.clock.now_us();
                let at_us = match told.at_unix_ms.map(|unix_ms| self.clock.from_unix_ms(unix_ms)) {
                    // Milliseconds are cut off, so the moment told may lie just before the command's start.
                    Some(at_us) if at_us + 1000 >= begun_us && at_us <= now_us => at_us.max(begun_us),
                    Some(_) => anyhow::bail!("`at_unix_ms` lies outside the time the command ran"),
                    None => begun_us,
                };
                Ok(Applied { fault: told.fault.unwrap_or_else(|| command.clone()), victim, at_us, rule })
            }
        }
    }

    /// Waits until all is well again; says since when and, if a manager said so, what it saw.
    async fn recovered(&self, rule: &Rule, at_us: u64) -> (u64, Option<ClusterView>) {
        match &self.managers {
            Some(managers) => {
                let view = managers.recovered(rule).await;
                (self.clock.now_us(), Some(view))
            }
            None => (self.successes_flow(at_us).await, None),
        }
    }

    /// Waits until requests have succeeded for a while without any failing; says since when.
    async fn successes_flow(&self, at_us: u64) -> u64 {
        let undecided = micros(self.request_timeout + LEDGER_INTERVAL + CALM);
        loop {
            sleep(LEDGER_INTERVAL).await;
            let well_since = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).well_since(at_us);
            if let Some(well_us) = well_since.filter(|well_us| well_us + undecided <= self.clock.now_us()) {
                return well_us;
            }
        }
    }
}

/// Refuses to start on a cluster that is broken already.
///
/// # Errors
///
/// When no manager answers, or one that does says what is missing.
pub async fn ensure_whole(managers: &Managers) -> anyhow::Result<Answers> {
    let answers = managers.ask().await?;
    let broken = answers.views.iter().find(|view| !view.whole);
    ensure!(
        broken.is_none(),
        "the cluster is not whole: {}",
        broken.map(|view| view.missing.join("; ")).unwrap_or_default()
    );
    Ok(answers)
}
