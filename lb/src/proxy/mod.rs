//! The proxy: takes clients' requests and forwards them to upstreams.
//!
//! A request's way through the files: `accept` (one worker per core) → `arrival` (PROXY protocol, `tls`) →
//! `connection` (parked between requests) → `strict` (what can be read in two ways is refused) →
//! `downstream` (answered past Pingora where its body is short; else `client_stream` gives its bytes, and no more, to
//! Pingora, and `app` has its hooks) → `entrance` → `limits` and `route` → `queue` → `balance` → `forward` (tries, deadlines, the answer) → `headers`, `compress`, `error_page`.
//! A `client` that speaks HTTP/2 takes the same way from `app` on, stream by stream (`http2`).
//! Connections of TCP services go past all that (`tcp`), over the same `balance`, `health` and `state`.
//! `hand_over` has the connections of a virtual address end before another balancer takes it.
//! What they all look at is `state`; who may be used is decided in `health` and `outlier`, who had better not
//! be in `doubt`; upstreams are asked by `check`. What became of it all is in `metrics`, and `observe` tells it to the
//! `access_log` and to collectors of spans.

pub(crate) mod accept;
pub(crate) mod access_log;
pub(crate) mod address;
mod alarms;
mod app;
pub(crate) mod arrival;
mod asked;
pub(crate) mod balance;
pub(crate) mod check;
pub(crate) mod client;
mod client_body;
mod client_socket;
pub(crate) mod client_stream;
pub(crate) mod clock;
mod compress;
pub(crate) mod connection;
pub(crate) mod context;
pub(crate) mod doubt;
mod downstream;
mod durations;
mod ending;
mod entrance;
pub(crate) mod error_page;
pub(crate) mod forward;
pub(crate) mod grpc;
mod half_closed;
pub(crate) mod hand_over;
pub(crate) mod headers;
pub(crate) mod health;
pub(crate) mod http2;
pub(crate) mod limits;
#[doc(hidden)]
pub mod measured;
pub(crate) mod metrics;
mod metrics_balance;
pub(crate) mod observe;
pub(crate) mod one_thread;
pub(crate) mod outlier;
pub(crate) mod passing;
mod patience;
pub(crate) mod plain_stream;
pub(crate) mod primary;
mod proxy_protocol;
pub(crate) mod queue;
pub(crate) mod reload;
pub(crate) mod request_head;
pub(crate) mod route;
pub(crate) mod state;
mod strict;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod transport;
mod unconfirmed;
pub(crate) mod upstream_tls;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use pingora_core::server::configuration::ServerConf;
use tokio::runtime;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::alarms::Alarms;
use self::app::App;
use self::arrival::Place;
use self::connection::Server;
use self::hand_over::HandOvers;
use self::observe::Observers;
use self::patience::Patience;
use self::state::State;
use self::tcp::ports::Opened;
use crate::link::VipLink;
use crate::settings::{Limits, Settings};
use crate::{admin, link, signals};

/// How often idle upstream connections that cannot be used any more are closed.
const SWEEP: Duration = Duration::from_secs(1);

/// How often it is looked whose time to drain is over.
const SWEEP_LEAVING: Duration = Duration::from_millis(100);

/// After the speaker was told that we are going, connections are still taken for so long: until another
/// balancer holds the address they keep coming here.
const STOP_NOTICE: Duration = Duration::from_millis(300);

/// Pingora's retry loop is bounded by our own count of tries; this only has to be above it.
const PINGORA_TRIES: usize = 200;

/// Idle upstream connections that Pingora's own path keeps per worker.
const PINGORA_IDLE: usize = 1024;

/// Forwards requests until asked to stop by SIGTERM or SIGINT.
///
/// # Errors
///
/// When the state directory cannot be used or the address for clients cannot be had.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let mut state = State::load(&settings.state_dir, settings.workers, settings.zone.clone())
        .with_context(|| format!("state_dir {} cannot be used", settings.state_dir.display()))?;
    state.observers = Observers::start(&settings)?;
    state.taken_ports = settings.taken_ports();
    state.use_file(settings.proxying.clone());
    if state.tls.is_bare() && settings.listeners.iter().any(|listener| listener.tls.is_some()) {
        tracing::warn!(
            "NO CERTIFICATE YET: until one is pushed, or is in the settings' file, nobody gets a connection over TLS"
        );
    }
    if let Some(error) = settings.refused() {
        state.reloads.note(Err(error));
    }
    let state = Arc::new(state);
    let settings = Arc::new(settings);
    allow_descriptors(&settings.limits);
    let (stop, stopping) = watch::channel(false);
    let worker_ended = CancellationToken::new();
    accept::leave_nobody_behind();
    // All of them, before any serves: either the whole balancer starts or none of it.
    let listeners = listen(&settings, &state)?;
    let hand_overs = Arc::new(HandOvers::new(&settings));
    let sockets = listeners.iter().flatten().map(|(listener, _)| listener);
    sockets.into_iter().try_for_each(|listener| hand_overs.listeners.add(listener))?;
    let of_tcp = state.tcp.ports.start(settings.workers, &hand_overs, &state.taken_ports);
    let mut workers = Vec::new();
    for (worker, (listeners, tcp)) in listeners.into_iter().zip(of_tcp).enumerate() {
        let (state, settings, stopping) = (state.clone(), settings.clone(), stopping.clone());
        let vips = hand_overs.vips.clone();
        let ended = worker_ended.clone();
        let thread = thread::Builder::new().name(format!("worker-{worker}")).spawn(move || {
            let _ended = ended.drop_guard();
            run_worker(worker, (listeners, tcp), state, vips, &settings, stopping)
        })?;
        workers.push(thread);
    }
    let vips = (!settings.vips.is_empty()).then(|| VipLink::new(&settings.state_dir));
    let (checked, ended) = (state.clone(), worker_ended.clone());
    thread::Builder::new().name("checks".to_owned()).spawn(move || {
        // Without it whoever is ejected would never come back.
        let _ended = ended.drop_guard();
        run_checks(checked, vips)
    })?;
    let kernel_stops = CancellationToken::new();
    let kernel = {
        let (state, stops, ended) = (state.clone(), kernel_stops.clone(), worker_ended.clone());
        let (interface, state_dir) = (settings.interface.clone(), settings.state_dir.clone());
        thread::Builder::new().name("kernel".to_owned()).spawn(move || {
            // Without it the kernel would give connections to who is dead.
            let _ended = ended.drop_guard();
            tcp::kernel::run(state, interface, &state_dir, &stops)
        })?
    };
    let snapshot = state.snapshot();
    link::set_serving(snapshot.can_serve());
    tracing::info!(
        listen = ?settings.listeners.iter().map(|listener| listener.address).collect::<Vec<_>>(), workers = settings.workers,
        upstreams_generation = snapshot.generation, config_generation = snapshot.config.generation,
        "serving"
    );
    drop(snapshot);
    let observers = state.observers.clone();
    control(&settings, state, hand_overs, stop, &worker_ended)?;
    // Public addresses are elsewhere by now.
    kernel_stops.cancel();
    kernel.join().map_err(|_panic| anyhow::anyhow!("who keeps the kernel's ruleset panicked"))??;
    for worker in workers {
        worker.join().map_err(|_panic| anyhow::anyhow!("a worker panicked"))??;
    }
    if let Some(observers) = observers {
        observers.finish();
    }
    tracing::info!("stopped");
    Ok(())
}

/// The listeners of one worker.
type Listeners = Vec<(std::net::TcpListener, Arc<Place>)>;

/// Opens all listeners, for each worker.
fn listen(settings: &Settings, state: &State) -> anyhow::Result<Vec<Listeners>> {
    let places = settings.listeners.iter().map(|listener| {
        let place =
            Place::new(listener, &state.tls).with_context(|| format!("TLS of {}", listener.address))?;
        Ok((listener.address, Arc::new(place)))
    });
    let places = places.collect::<anyhow::Result<Vec<_>>>()?;
    let of_worker = |_| {
        places
            .iter()
            .map(|(address, place)| {
                let listener = accept::listen(*address);
                let listener = listener.with_context(|| format!("{address} cannot be listened on"))?;
                Ok((listener, place.clone()))
            })
            .collect()
    };
    (0..settings.workers).map(of_worker).collect()
}

/// What is not on a request's way: the admin interface, sweeping, and the signal to stop.
fn control(
    settings: &Arc<Settings>,
    state: Arc<State>,
    hand_overs: Arc<HandOvers>,
    stop: watch::Sender<bool>,
    worker_ended: &CancellationToken,
) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::spawn(admin::serve(settings.clone(), state.clone(), hand_overs.clone()));
        tokio::spawn(sweep_leaving(state.clone()));
        let requests = signals::requests()?;
        tokio::spawn(reopen_log(requests.reopen, state.clone()));
        tokio::spawn(reload::on(requests.reload, settings.clone(), state.clone()));
        tokio::spawn(sweep(state));
        tokio::select! {
            signal = kit::shutdown::requested() => tracing::info!(signal = signal?, "stopping"),
            // Half a balancer would look like a whole one: better to be started again.
            () = worker_ended.cancelled() => tracing::error!("a worker or the checks ended, stopping"),
        }
        link::set_draining(true);
        if settings.has_speaker() {
            tokio::time::sleep(STOP_NOTICE).await;
        }
        anyhow::Ok(())
    })?;
    // The workers close theirs; ours would go on taking what nobody accepts.
    hand_overs.listeners.forget();
    let _ = stop.send(true);
    // Dropped without waiting for what still runs on it: the workers must hear of the stop now.
    runtime.shutdown_background();
    Ok(())
}

async fn sweep_leaving(state: Arc<State>) {
    loop {
        tokio::time::sleep(SWEEP_LEAVING).await;
        state.sweep_leaving(Instant::now());
    }
}

async fn reopen_log(mut requests: tokio::signal::unix::Signal, state: Arc<State>) {
    while requests.recv().await.is_some() {
        if let Some(log) = state.observers.as_ref().and_then(|observers| observers.log()) {
            log.reopen();
        }
    }
}

async fn sweep(state: Arc<State>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        for upstream in state.snapshot().upstreams() {
            upstream.sweep_idle();
        }
        state.tcp.ports.try_again();
        let state = state.clone();
        // The disk may take its time.
        let _ = tokio::task::spawn_blocking(move || state.tidy_stored(Instant::now())).await;
    }
}

fn run_checks(state: Arc<State>, vips: Option<VipLink>) -> std::io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // What checks find decides who is a primary.
        tokio::join!(check::watch::run(state.clone()), primary::keeper::run(state, vips))
    });
    Ok(())
}

fn run_worker(
    worker: usize,
    (listeners, tcp): (Listeners, UnboundedReceiver<Opened>),
    state: Arc<State>,
    vips: Arc<hand_over::Vips>,
    settings: &Settings,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let conf = ServerConf {
        threads: 1,
        max_retries: PINGORA_TRIES,
        upstream_keepalive_pool_size: PINGORA_IDLE,
        ..ServerConf::default()
    };
    let alarms = Alarms::default();
    let app = App { state: state.clone(), limits: settings.limits.clone(), worker, alarms: alarms.clone() };
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        tokio::spawn(alarms.ring());
        let proxy = Arc::new(pingora_proxy::http_proxy(&Arc::new(conf), app.clone()));
        if settings.has_speaker() {
            tokio::spawn(link::tick_forever(settings.state_dir.clone(), worker, settings.workers));
        }
        let listeners = listeners
            .into_iter()
            .map(|(listener, place)| Ok((tokio::net::TcpListener::from_std(listener)?, place)))
            .collect::<std::io::Result<Vec<_>>>()?;
        let limits = settings.limits.clone();
        let patience = Arc::new(Patience::new(&limits));
        let server = Server { proxy, app, state: state.clone(), limits, patience, stop, vips, worker };
        accept::run(listeners, tcp, state, server).await;
        anyhow::Ok(())
    })
}

/// Raises the number of descriptors we may have open to what the system allows: a request takes two.
fn allow_descriptors(limits: &Limits) {
    match kit::descriptors::raise() {
        Ok(allowed) if allowed >= 2 * limits.connections as u64 => {}
        Ok(allowed) => {
            tracing::warn!(
                allowed,
                connections = limits.connections,
                "too few descriptors for limits.connections"
            );
        }
        Err(error) => tracing::warn!(%error, "the number of descriptors cannot be raised"),
    }
}

/// Locks `mutex`. A panic while it was held does not make what it guards unusable: each change to it is
/// complete in itself.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
