//! One run, from the checks before the first request to the report after the last.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use wire::HostName;

use crate::count::Ledger;
use crate::faults::cluster::Managers;
use crate::faults::way::Ways;
use crate::faults::{Ending, Injector, ensure_whole};
use crate::load::{Load, Shape, Workers};
use crate::options::Options;
use crate::origin::Origin;
use crate::pace::{Clock, End, micros};
use crate::report::environment::Environment;
use crate::report::exporter::Exporter;
use crate::report::outputs::Files;
use crate::report::progress::Progress;
use crate::report::{Facts, Report, json};
use crate::send::{Plan, Traffic};
use crate::settings::Settings;
use crate::target::{Choice, Target};
use crate::verdict::Judged;
use crate::verdict::asked::Asked;
use crate::verdict::impact::Promise;

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
/// The most connections of a worker that are kept while nothing is sent on them; as many as there are users, if those
/// are more.
const MAX_IDLE: usize = 256;
/// Descriptors needed besides those of requests in flight: kept connections, those still closing,
/// managers, commands.
const SPARE_DESCRIPTORS: u64 = 4096;

/// What makes the machines, by host.
type Drivers = BTreeMap<HostName, String>;

/// All that is known before the first request.
struct Prepared {
    settings: Settings,
    origin: Origin,
    targets: Vec<Target>,
    managers: Option<Managers>,
    drivers: Drivers,
}

/// What was opened before the first request.
struct OpenOutputs {
    files: Files,
    listener: Option<TcpListener>,
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// What it found.
    pub report: Report,
    /// What still answers Prometheus, if it was asked for.
    pub exporter: Option<Exporter>,
}

/// Checks everything, sends the load, injects the faults, and writes the report to its files.
///
/// # Errors
///
/// See [`RunError`]. A goal that was missed is no error; the report says so.
pub async fn run(options: Options) -> Result<Finished, RunError> {
    let (prepared, OpenOutputs { files, listener }) = prepare(options).await.map_err(RunError::Input)?;
    let (report, exporter) = measure(prepared, listener).await.map_err(RunError::Broken)?;
    let report = json::settled(&report).map_err(RunError::Broken)?;
    files.write(&report).map_err(RunError::Broken)?;
    Ok(Finished { report, exporter })
}

/// Everything that can be found wrong before the first request.
async fn prepare(options: Options) -> anyhow::Result<(Prepared, OpenOutputs)> {
    let settings = Settings::new(options)?;
    let origin = Origin::find(&settings.url, &settings.resolve, settings.look_up_each).await?;
    let targets = settings.targets(&origin)?;
    let mut drivers = Drivers::new();
    let managers = match &settings.managers[..] {
        [] => None,
        urls => {
            let managers = Managers::new(urls, Ways::new(&settings.proof)?)?;
            let answers = ensure_whole(&managers).await?;
            managers.check(&answers, &settings.faults).await?;
            drivers = answers.drivers();
            Some(managers)
        }
    };
    let listener = match settings.prometheus {
        Some(address) => Some(Exporter::bind(address).await?),
        None => None,
    };
    let files = settings.outputs.open(settings.json.as_deref())?;
    let prepared = Prepared { settings, origin, targets, managers, drivers };
    Ok((prepared, OpenOutputs { files, listener }))
}

async fn measure(
    prepared: Prepared,
    listener: Option<TcpListener>,
) -> anyhow::Result<(Report, Option<Exporter>)> {
    let Prepared { settings, origin, targets, managers, drivers } = prepared;
    let in_flight_max = settings.connections_max;
    allow_descriptors(u64::from(in_flight_max) + SPARE_DESCRIPTORS)?;
    let ledger = Arc::new(Mutex::new(Ledger::new()?));
    let in_flight = Arc::new(Semaphore::new(in_flight_max as usize));
    let progress = Arc::new(Progress::new(ledger.clone()));
    let asked = Asked::of(&settings);
    let exporter =
        listener.map(|listener| Exporter::start(listener, ledger.clone(), asked.peak_rate)).transpose()?;
    let names = targets.iter().map(|target| target.name.clone()).collect();
    let choice = Choice::new(&targets, settings.seed);
    let traffic = Arc::new(Traffic::default());
    let plan = Plan {
        origin: Arc::new(origin),
        targets,
        http2: settings.http2,
        trust: settings.trust,
        timeout: settings.timeout,
        idle_max: MAX_IDLE.max(match settings.shape {
            Shape::Closed { users, .. } => users as usize,
            Shape::Open { .. } => 0,
        }),
    };

    let (clock, end) = (Clock::start(), End::open());
    let started_unix_ms = unix_ms();
    let duration_us = settings.duration.map(micros);
    progress.begin(clock, duration_us);
    if let (true, Some(duration_us)) = (settings.faults.is_empty(), duration_us) {
        end.set(duration_us);
    }
    let load = Load {
        shape: settings.shape.clone(),
        plan: Arc::new(plan),
        connections: settings.connections,
        choice,
        clock,
        end: end.clone(),
        ledger: ledger.clone(),
        in_flight: in_flight.clone(),
        traffic: traffic.clone(),
    };
    let mut workers = Workers::start(&load, settings.threads)?;

    let mut injector = Injector::new(
        settings.faults,
        managers,
        clock,
        settings.fault_timeout,
        settings.timeout,
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
        end_us = until_the_end(&mut injector, &mut workers, &end, clock, duration_us) => (end_us, false),
    };
    end.set(end_us);
    if let Shape::Open { .. } = settings.shape {
        // What is due, if late, is begun before the permits of all are taken. Users who think begin nothing more.
        workers.all_begun().await;
    }
    // Each request ends by its own timeout, so this does too; what was broken is mended meanwhile.
    let all = in_flight.acquire_many(in_flight_max);
    let (mut log, answered) =
        tokio::join!(injector.finish(), tokio::time::timeout(settings.timeout + LAST_ANSWERS, all));
    if answered.is_err() {
        log.invalid.push(
            "requests were in flight long after their timeout: this machine is too busy to measure"
                .to_owned(),
        );
    }
    drop(answered);
    workers.finish()?;
    telling.abort();
    progress.end();

    let facts = Facts {
        url: settings.url,
        drivers,
        started_unix_ms,
        rate: mean_rate(&settings.shape, &ledger, end_us),
        duration_us: end_us,
        interrupted,
        min_availability_percent: settings.min_availability,
        environment: Environment::here(Some(settings.seed)),
        judged: Judged {
            load: asked,
            promise: Promise { slo_percent: settings.slo, success_threshold: settings.success_threshold },
            lateness_max: settings.lateness_max,
            requirements: settings.requirements,
            targets: names,
            traffic: traffic.totals(),
        },
    };
    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((Report::new(facts, ledger, log), exporter))
}

/// The rate that was asked for, on average; of users, the one that they reached.
#[allow(clippy::cast_precision_loss)]
fn mean_rate(shape: &Shape, ledger: &Mutex<Ledger>, end_us: u64) -> f64 {
    let seconds = end_us as f64 / 1e6;
    match shape {
        Shape::Open { profile, .. } => profile.mean_until(seconds),
        Shape::Closed { .. } => {
            let (succeeded, failed) = ledger.lock().unwrap_or_else(PoisonError::into_inner).totals();
            ((succeeded + failed) as f64 / seconds.max(1e-6)).round()
        }
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Injects the faults and waits for the end, which depends on them; says when it was. Where users have a number of
/// loops there is no `duration_us`, and their last answer is the end.
async fn until_the_end(
    injector: &mut Injector,
    workers: &mut Workers,
    end: &End,
    clock: Clock,
    duration_us: Option<u64>,
) -> u64 {
    let Some(duration_us) = duration_us else {
        let faults = async {
            if injector.run().await != Ending::GaveUp {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = workers.all_begun() => {}
            () = faults => return clock.now_us(),
        }
        injector.load_ended();
        return clock.now_us();
    };
    let end_us = match injector.run().await {
        Ending::NoFaults => duration_us,
        Ending::Recovered => duration_us.max(clock.now_us() + micros(AFTER_LAST_FAULT)),
        Ending::GaveUp => clock.now_us(),
    };
    end.set(end_us);
    tokio::time::sleep_until(clock.at(end_us).into()).await;
    end_us
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
