//! The faults of a run, each at its time.
//!
//! ```text
//!  due ──▶ look at the cluster ──▶ inject ──▶ applied ──▶ watched ──▶ recovered
//!   │                                │                       └── no, within the time ──▶ stop: missed
//!   │                                └── cannot be applied ──▶ stop: the run is invalid
//!   └── in turn: when all before have recovered; overlapping: whatever is in force
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use wire::cluster::FaultKind;
use wire::host_faults::HostFaultKind;

use super::cluster::{Answers, Managers};
use super::command::Commands;
use super::recovery::{Rule, Victim};
use super::spec::{FaultSpec, Order, What, When};
use super::undo::{AtManager, Undoing};
use super::watch::{InForce, Over, Watch};
use super::{Ending, FaultLog, FaultRecord};
use crate::count::Ledger;
use crate::pace::{Clock, micros};
use crate::report::progress::Progress;

/// The longest time to live that a manager takes.
const LONGEST_FAULT: Duration = Duration::from_millis(wire::host_faults::LONGEST_MS);

/// Injects the faults of a run.
pub struct Injector {
    /// Those that wait for the ones before.
    in_turn: VecDeque<FaultSpec>,
    /// Those that do not, by their time.
    overlapping: VecDeque<FaultSpec>,
    /// The longest a fault may take to recover, once it is undone.
    patience: Duration,
    progress: Arc<Progress>,
    watch: Watch,
    watched: JoinSet<Over>,
    commands: Commands,
    undoing: Undoing,
    log: FaultLog,
}

/// What an injected fault is known by.
struct Applied {
    fault: String,
    victim: Victim,
    at_us: u64,
    rule: Rule,
}

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
        let (overlapping, in_turn) = specs.into_iter().partition(|spec| spec.overlap);
        Injector {
            in_turn,
            overlapping,
            patience,
            progress,
            watch: Watch { managers, clock, request_timeout, ledger, in_force: InForce::default() },
            watched: JoinSet::new(),
            commands: Commands::new(patience),
            undoing: Undoing::default(),
            log: FaultLog::default(),
        }
    }

    /// Injects them all; returns early when one cannot be injected or does not recover. May be dropped
    /// half way; what was done is then still in the log.
    pub async fn run(&mut self) -> Ending {
        if self.in_turn.is_empty() && self.overlapping.is_empty() {
            return Ending::NoFaults;
        }
        loop {
            let due_us = self.due_us();
            if due_us.is_none() && self.watched.is_empty() {
                return Ending::Recovered;
            }
            let due = async {
                match due_us {
                    Some(due_us) => sleep_until(Instant::from_std(self.watch.clock.at(due_us))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(over) = self.watched.join_next(), if !self.watched.is_empty() => match over {
                    Ok(over) => {
                        if !self.ended(over) {
                            return Ending::GaveUp;
                        }
                    }
                    Err(error) => {
                        self.log.invalid.push(format!("a fault is not watched any more: {error}"));
                        return Ending::GaveUp;
                    }
                },
                () = due => {
                    let Some(spec) = self.next() else { continue };
                    if let Err(error) = self.inject(&spec).await {
                        self.log.invalid.push(format!("fault \"{spec}\": {error:#}"));
                        return Ending::GaveUp;
                    }
                }
            }
        }
    }

    /// Notes that the load ended by itself: what was not injected by then makes the run invalid.
    pub fn load_ended(&mut self) {
        for spec in self.in_turn.iter().chain(&self.overlapping).take(1) {
            self.log.invalid.push(format!("fault \"{spec}\": the load had ended before it was due"));
        }
    }

    /// Ends what is still running, undoes what is not undone, and gives out the log.
    pub async fn finish(mut self) -> FaultLog {
        self.watched.abort_all();
        self.log.invalid.extend(self.commands.finish().await);
        self.log.invalid.extend(self.undoing.finish().await);
        for told in self.undoing.at_managers(self.watch.managers.as_ref()).await {
            self.progress.line(&told);
        }
        // A command may tell that it did something before others did.
        self.log.records.sort_by_key(|record| record.at_us);
        self.log
    }

    /// When the next one is due.
    fn due_us(&self) -> Option<u64> {
        let in_turn = self.in_turn.front().filter(|_| self.watched.is_empty());
        let in_turn = in_turn.map(|spec| self.time_of(spec));
        let overlapping = self.overlapping.front().map(|spec| self.time_of(spec));
        in_turn.into_iter().chain(overlapping).min()
    }

    /// Takes the one that is due.
    fn next(&mut self) -> Option<FaultSpec> {
        let due_us = self.due_us()?;
        let overlapping = self.overlapping.front().is_some_and(|spec| self.time_of(spec) == due_us);
        if overlapping { self.overlapping.pop_front() } else { self.in_turn.pop_front() }
    }

    fn time_of(&self, spec: &FaultSpec) -> u64 {
        match spec.when {
            When::FromStart(at) if spec.overlap => micros(at),
            When::FromStart(at) => micros(at).max(self.last_recovered_us()),
            // Those that come again are planned as single ones.
            When::AfterRecovery(after) | When::Every(after) | When::Random(after) => {
                self.last_recovered_us() + micros(after)
            }
        }
    }

    fn last_recovered_us(&self) -> u64 {
        self.log.records.iter().filter_map(|record| record.recovered_us).max().unwrap_or(0)
    }

    /// Injects one fault and has it watched until it has recovered.
    async fn inject(&mut self, spec: &FaultSpec) -> anyhow::Result<()> {
        let before = match &self.watch.managers {
            Some(managers) => managers.ask().await?,
            None => Answers::default(),
        };
        let Applied { fault, victim, at_us, rule } = self.apply(spec, &before).await?;
        let address_before = victim.address(&before.views);
        self.progress.fault(&fault, at_us);
        self.progress.line(&format!("{:7.3} s  {fault}{}", at_us as f64 / 1e6, victim.described()));
        self.watch.in_force.begun();
        let patience = self.patience + spec.lasts.unwrap_or_default();
        self.watched.spawn(self.watch.clone().until_over(self.log.records.len(), rule, at_us, patience));
        self.log.records.push(FaultRecord {
            fault,
            victim,
            at_us,
            recovered_us: None,
            address_before,
            address_after: None,
        });
        Ok(())
    }

    /// Notes how a fault ended; `false` if it has not recovered in time.
    fn ended(&mut self, Over { index, well }: Over) -> bool {
        let record = &mut self.log.records[index];
        let fault = &record.fault;
        let Some((recovered_us, view)) = well else {
            let waited = self.watch.clock.now_us().saturating_sub(record.at_us) / 1_000_000;
            self.log.missed.push(format!("\"{fault}\" had not recovered after {waited} s"));
            self.progress.line(&format!("{fault}: not recovered after {waited} s"));
            return false;
        };
        self.undoing.done(&record.victim);
        record.recovered_us = Some(recovered_us);
        record.address_after = view.and_then(|view| record.victim.address(&[view]));
        self.progress.recovered(recovered_us);
        let took_ms = recovered_us.saturating_sub(record.at_us) / 1000;
        self.progress
            .line(&format!("{:7.3} s  {fault}: recovered after {took_ms} ms", recovered_us as f64 / 1e6));
        true
    }

    async fn apply(&mut self, spec: &FaultSpec, before: &Answers) -> anyhow::Result<Applied> {
        let begun_us = self.watch.clock.now_us();
        match &spec.what {
            What::Order { order, target } => {
                let managers =
                    self.watch.managers.as_ref().context("there is no manager to order it from")?;
                let (fault, begun) = (spec.what.to_string(), Instant::now());
                // A manager that we cannot reach any more undoes it by itself.
                let ttl = order.is_undone().then(|| spec.lasts.unwrap_or(self.patience).min(LONGEST_FAULT));
                let done = managers.order(before, *order, target, ttl).await?;
                if let Some(undone_by) = ttl.map(|ttl| begun + done.lead + ttl) {
                    self.undoing.by_manager(AtManager {
                        fault: fault.clone(),
                        victim: done.victim.clone(),
                        undone_by,
                    });
                }
                let victim = done.victim;
                let rule = match (order, spec.lasts) {
                    (Order::Harm(FaultKind::Thaw | FaultKind::StopProcess) | Order::Heal, _) => {
                        Rule::Settled(victim.clone(), Duration::ZERO)
                    }
                    // It may come back before anybody has taken it for dead.
                    (Order::Harm(FaultKind::Freeze) | Order::Host(HostFaultKind::Cut), Some(lasts)) => {
                        Rule::Settled(victim.clone(), lasts)
                    }
                    _ => Rule::changed(&victim, &before.views)?,
                };
                Ok(Applied { fault, victim, at_us: begun_us + micros(done.lead), rule })
            }
            What::Command { command, undo } => {
                // Before it starts: whatever it does before it fails, or we are told to end, is undone too.
                let due = undo.as_ref().map(|undo| self.undoing.later(undo));
                let told = self.commands.start(command).await?;
                if let (Some(due), Some(lasts)) = (due, spec.lasts) {
                    due.after(lasts);
                }
                let victim = told.victim();
                let rule = if self.watch.managers.is_some() {
                    Rule::changed(&victim, &before.views)?
                } else {
                    Rule::Unknown
                };
                let now_us = self.watch.clock.now_us();
                let at_us = match told.at_unix_ms.map(|unix_ms| self.watch.clock.from_unix_ms(unix_ms)) {
                    // Milliseconds are cut off, so the moment told may lie just before the command's start.
                    Some(at_us) if at_us + 1000 >= begun_us && at_us <= now_us => at_us.max(begun_us),
                    Some(_) => anyhow::bail!("`at_unix_ms` lies outside the time the command ran"),
                    None => begun_us,
                };
                Ok(Applied { fault: told.fault.unwrap_or_else(|| command.clone()), victim, at_us, rule })
            }
        }
    }
}
