//! One run, from the checks before the first request to the report after the last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use http::Method;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wire::HostName;

use crate::count::{Connection, Failure, Ledger, Outcome};
use crate::faults::cluster::Managers;
use crate::faults::way::Ways;
use crate::faults::{Ending, Injector, ensure_whole};
use crate::options::{Options, Target};
use crate::pace::{Clock, Pacer, micros};
use crate::report::environment::Environment;
use crate::report::exporter::Exporter;
use crate::report::outputs::Files;
use crate::report::progress::Progress;
use crate::report::{Facts, Report, json};
use crate::send::Sender;

/// Why there is no report.
#[derive(Debug, Error)]
pub enum RunError {
    /// What was asked for cannot be done; found before the first request.
    #[error("{0:#}")]
    Input(anyhow::Error),
    /// The run broke down.
    #[error("{0:#}")]
    Broken(anyhow::Error),
}

/// Requests are sent for so long after the last fault has recovered.
const AFTER_LAST_FAULT: Duration = Duration::from_secs(2);
/// How much longer than their timeout the last requests are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Descriptors needed besides those of requests in flight: kept connections, those still closing,
/// managers, commands.
const SPARE_DESCRIPTORS: u64 = 4096;

/// What makes the machines, by host.
type Drivers = BTreeMap<HostName, String>;

/// Checks everything, sends the load, injects the faults, and writes the report to its files.
///
/// # Errors
///
/// See [`RunError`]. A goal that was missed is no error; the report says so.
pub async fn run(options: Options) -> Result<Finished, RunError> {
    let (target, managers, drivers, outputs) = prepare(&options).await.map_err(RunError::Input)?;
    let OpenOutputs { files, listener } = outputs;
    let (report, exporter) =
        measure(options, target, managers, drivers, listener).await.map_err(RunError::Broken)?;
    let report = json::settled(&report).map_err(RunError::Broken)?;
    files.write(&report).map_err(RunError::Broken)?;
    Ok(Finished { report, exporter })
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// What it found.
    pub report: Report,
    /// What still answers Prometheus, if it was asked for.
    pub exporter: Option<Exporter>,
}

/// What was opened before the first request.
struct OpenOutputs {
    files: Files,
    listener: Option<TcpListener>,
}

/// Everything that can be found wrong before the first request.
async fn prepare(options: &Options) -> anyhow::Result<(Target, Option<Managers>, Drivers, OpenOutputs)> {
    options.check()?;
    let target = Target::find(&options.url).await?;
    let mut drivers = Drivers::new();
    let managers = match &options.managers[..] {
        [] => None,
        urls => {
            let managers = Managers::new(urls, Ways::new(&options.proof)?)?;
            drivers = ensure_whole(&managers).await?.drivers();
            Some(managers)
        }
    };
    let listener = match options.prometheus {
        Some(address) => Some(Exporter::bind(address).await?),
        None => None,
    };
    let files = options.outputs.open(options.json.as_deref())?;
    Ok((target, managers, drivers, OpenOutputs { files, listener }))
}

async fn measure(
    options: Options,
    target: Target,
    managers: Option<Managers>,
    drivers: Drivers,
    listener: Option<TcpListener>,
) -> anyhow::Result<(Report, Option<Exporter>)> {
    let in_flight_max = options.connections_max();
    allow_descriptors(u64::from(in_flight_max) + SPARE_DESCRIPTORS)?;
    let ledger = Arc::new(Mutex::new(Ledger::new()?));
    let exporter =
        listener.map(|listener| Exporter::start(listener, ledger.clone(), options.rate)).transpose()?;
    let in_flight = Arc::new(Semaphore::new(in_flight_max as usize));
    let method = if options.post { Method::POST } else { Method::GET };
    let sender = Sender::new(target, method, options.timeout)?;
    let progress = Arc::new(Progress::new(ledger.clone()));

    let clock = Clock::start();
    let started_unix_ms = unix_ms();
    let pacer = Arc::new(Pacer::new(clock, options.rate));
    let duration_us = micros(options.duration);
    progress.begin(clock, duration_us);
    if options.faults.is_empty() {
        pacer.end_at(duration_us);
    }
    let sending = {
        let (pacer, ledger, in_flight, handle) =
            (pacer.clone(), ledger.clone(), in_flight.clone(), Handle::current());
        let load = Load { clock, sender, ledger, in_flight, fresh: options.fresh };
        std::thread::Builder::new().name("pacer".to_owned()).spawn(move || {
            pacer.run(|number, due_us| load.send(&handle, number, due_us));
        })?
    };

    let mut injector = Injector::new(
        options.faults,
        managers,
        clock,
        options.fault_timeout,
        options.timeout,
        ledger.clone(),
        progress.clone(),
    );
    let telling = tokio::spawn({
        let progress = progress.clone();
        async move { progress.tell().await }
    });
    let (end_us, interrupted) = tokio::select! {
        biased;
        signal = kit::shutdown::requested() => {
            signal.context("listening for signals")?;
            (clock.now_us(), true)
        }
        end_us = until_the_end(&mut injector, &pacer, clock, duration_us) => (end_us, false),
    };
    pacer.end_at(end_us);
    let log = injector.finish().await;
    // It looks at its end many times a second.
    sending.join().map_err(|_| anyhow!("the pacer died"))?;
    // Each request ends by its own timeout, so this does too.
    let all = in_flight.acquire_many(in_flight_max);
    let answered = tokio::time::timeout(options.timeout + LAST_ANSWERS, all).await;
    telling.abort();
    progress.end();
    drop(answered.context("requests were in flight long after their timeout")??);

    let facts = Facts {
        url: options.url,
        drivers,
        started_unix_ms,
        rate: options.rate,
        duration_us: end_us,
        interrupted,
        min_availability_percent: options.min_availability,
        environment: Environment::here(None),
    };
    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((Report::new(facts, ledger, log), exporter))
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Injects the faults and waits for the end, which depends on them; says when it was.
async fn until_the_end(injector: &mut Injector, pacer: &Pacer, clock: Clock, duration_us: u64) -> u64 {
    let end_us = match injector.run().await {
        Ending::NoFaults => duration_us,
        Ending::Recovered => duration_us.max(clock.now_us() + micros(AFTER_LAST_FAULT)),
        Ending::GaveUp => clock.now_us(),
    };
    pacer.end_at(end_us);
    tokio::time::sleep_until(clock.at(end_us).into()).await;
    end_us
}

/// What becomes of a slot: a request, sent on a task of its own.
struct Load {
    clock: Clock,
    sender: Arc<Sender>,
    ledger: Arc<Mutex<Ledger>>,
    in_flight: Arc<Semaphore>,
    /// Whether every request opens a connection.
    fresh: bool,
}

impl Load {
    fn send(&self, handle: &Handle, number: u64, due_us: u64) {
        let fresh = self.fresh || number.is_multiple_of(2);
        let connection = if fresh { Connection::Fresh } else { Connection::Kept };
        let (clock, ledger) = (self.clock, self.ledger.clone());
        let record = move |started_us, result| {
            let finished_us = clock.now_us();
            let outcome = Outcome { connection, due_us, started_us, finished_us, result };
            ledger.lock().unwrap_or_else(PoisonError::into_inner).record(outcome);
        };
        let Ok(permit) = self.in_flight.clone().try_acquire_owned() else {
            return record(due_us, Err(Failure::NotSent));
        };
        let sender = self.sender.clone();
        handle.spawn(async move {
            let started_us = clock.now_us();
            let result = sender.send(number, connection).await;
            record(started_us, result);
            drop(permit);
        });
    }
}

/// Raises the limit on open descriptors as far as needed, or as far as it may be.
fn allow_descriptors(needed: u64) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("reading the limit of descriptors")?;
    if soft < needed {
        setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard)
            .context("raising the limit of descriptors")?;
    }
    Ok(())
}
