//! `manager run`: puts the parts together.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::access::audit::Audit;
use crate::access::gate::{Gate, PKI, is_initialised};
use crate::access::listen::{self, serve};
use crate::access::tokens::Tokens;
use crate::access::unix_ms;
use crate::api::{self, Api};
use crate::certificates::{keeper::Keeper, rounds};
use crate::config::{Config, Hypervisor as Driver};
use crate::engine::Engine;
use crate::executor::{self, Ports, Shared};
use crate::faults::{self, Faults};
use crate::maintenance;
use crate::metrics::Metrics;
use crate::page::Board;
use crate::pki::keeper::Pki;
use crate::pki::rounds::Rounds;
use crate::ports::balancer::Balancer;
use crate::ports::guests::Guests;
use crate::ports::hypervisor::{Exits, Hypervisor};
use crate::ports::libvirt::Libvirt;
use crate::ports::namespaces::Namespaces;
use crate::ports::peers::Peers;
use crate::ports::transport::Transport;
use crate::services::agreed::Agreed;
use crate::services::{Services, changes};
use crate::store::Store;

/// Keeps this host's machines alive until it is asked to end. The machines live on after it.
///
/// # Errors
///
/// When it cannot start: the API's address is not this host's or taken, the state directory cannot be
/// used, or the driver does not work here.
pub fn run(config: Config, file: &Path) -> Result<()> {
    if let Err(error) = kit::descriptors::raise() {
        tracing::warn!(%error, "the number of descriptors cannot be raised");
    }
    // Whatever directory is worked in later.
    let file = std::path::absolute(file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(serve_host(config, file));
    if let Ok(Ended::Stopped(time)) = ended {
        // With everything that runs in this process, at once.
        return Err(faults::become_waiting(time)).context("the manager cannot be stopped for a while");
    }
    // Streams of events and heartbeats have no end of their own.
    runtime.shutdown_timeout(Duration::from_millis(500));
    ended.map(|_| ())
}

/// Why a manager that had started ends.
enum Ended {
    /// It was asked to.
    Asked,
    /// It was ordered to be gone for so long.
    Stopped(Duration),
}

async fn serve_host(mut config: Config, file: PathBuf) -> Result<Ended> {
    let address = SocketAddr::from((config.address, config.api_port));
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot answer on {address}: is {} an address of this host, and the port free?",
            config.address
        )
    })?;
    let store = Store::open(&config.state_dir)
        .with_context(|| format!("cannot use state_dir {}", config.state_dir.display()))?;
    // Where the store cannot be read, that was said: what runs tells what is wanted.
    let stored = store.load().unwrap_or_default();
    let maintained = maintenance::stored(&store);
    let mut services = Services::open(&config, store.clone());
    let agreed = Agreed::open(&config, &store).map_err(|reason| anyhow!("[etcd]: {reason}"))?;
    services.agree(agreed.clone());
    config.services = services.all();
    let (exits, ended) = mpsc::unbounded_channel();
    let hypervisor = driver(&config, exits)?;
    let pki = Arc::new(Pki::new(&config));
    match pki.take_up() {
        Ok(true) => tracing::info!("other hosts are believed by certificate only"),
        Ok(false) => {}
        // Machines are kept all the same; nobody is believed until this is mended.
        Err(error) => tracing::error!("THE CERTIFICATES CANNOT BE USED: {error}"),
    }
    let transport = Transport::new(&config, Arc::clone(&pki))?;
    tracing::info!(host = %config.name, api = %address, "manager starts");
    // Whether or not faults may still be ordered.
    if let Err(error) = Faults::mend(&config).await {
        tracing::error!("this host was cut off by order and cannot be healed: {error:#}");
    }
    let (stop, mut stopped) = mpsc::channel(1);
    let faults = config.chaos.then(|| Arc::new(Faults::new(config.clone(), file, stop)));
    let tokens = Tokens::new(store.clone());
    let audit = Audit::new(&config.state_dir);
    say_who_may(&config);
    let tls = SocketAddr::from((config.address, config.tls_port));
    // Not without the port: now it is sure that no other manager runs here.
    let socket = listen::socket(&config.state_dir, config.socket_group.as_deref())
        .inspect_err(|error| {
            tracing::error!("there is no manager socket: {error}; the command line has to use the port");
        })
        .ok();
    let origin = Instant::now();
    let certificates = Arc::new(Keeper::open(&config, store.clone()));
    let address = config.address;
    let shares = config.peers.is_empty() || pki.live().is_some();
    let mut engine = Engine::new(config, stored, origin.elapsed());
    // Before anything is told to the balancer, which would take its certificates from it.
    engine.show(certificates.front(unix_ms(), shares));
    if let Some(maintained) = maintained {
        engine.set_maintenance(origin.elapsed(), maintained.for_engine(origin.elapsed(), unix_ms()));
    }
    let shared = Arc::new(Shared::new(engine, origin, Metrics::new()?));
    let services = Arc::new(Mutex::new(services));
    let ports = Ports {
        hypervisor: Arc::clone(&hypervisor),
        guests: Guests::new()?,
        balancer: Balancer::new(transport.clone()),
        peers: Peers::new(address, transport.clone()),
        store: store.clone(),
        pki: Arc::clone(&pki),
        take_back: {
            let (services, shared) = (Arc::clone(&services), Arc::clone(&shared));
            Arc::new(move |name| changes::take_back(&services, &shared, name))
        },
    };
    if let Some(agreed) = agreed {
        // It ends with the process.
        tokio::spawn(agreed.walk(Arc::clone(&services), Arc::clone(&shared)));
    }
    let gate = Arc::new(Gate::new(Arc::clone(&shared), tokens, audit));
    let board = Arc::new(Board::new(Arc::clone(&shared), transport.clone()));
    let api = Api {
        shared: Arc::clone(&shared),
        hypervisor,
        store,
        services,
        gate,
        pki: Arc::clone(&pki),
        certificates: Arc::clone(&certificates),
        board: Arc::clone(&board),
        faults,
    };
    let router = api::router(api);
    let mut listeners = tokio::task::JoinSet::new();
    if let Some(socket) = socket {
        listeners.spawn(serve(socket, router.clone(), listen::on_the_socket));
    }
    listeners.spawn(serve(listener, router.clone(), listen::on_the_network));
    let shown = rounds::Rounds {
        address,
        keeper: certificates,
        shared: Arc::clone(&shared),
        transport: transport.clone(),
        pki: Arc::clone(&pki),
    };
    let shown = tokio::spawn(shown.walk());
    let rounds = Rounds { tls, router, shared: Arc::clone(&shared), transport, pki };
    let rounds = tokio::spawn(rounds.walk());
    kit::service::ready();
    let watched = Arc::clone(&shared);
    tokio::select! {
        () = executor::run(shared, ports, ended) => {}
        () = kit::service::watchdog(|| watched.round()) => {}
        () = async { board.keep().await } => {}
        Some(ended) = listeners.join_next() => match ended.context("the API ended")? {},
        ended = rounds => ended.context("the rounds ended")?,
        ended = shown => ended.context("the rounds of certificates ended")?,
        signal = kit::shutdown::requested() => tracing::info!("{}: manager ends, machines live on", signal?),
        Some(time) = stopped.recv() => {
            // Who ordered it is to hear that it will be done.
            tokio::time::sleep(faults::LEAD).await;
            return Ok(Ended::Stopped(time));
        }
    }
    kit::service::stopping();
    Ok(Ended::Asked)
}

fn say_who_may(config: &Config) {
    if is_initialised(&config.state_dir.join(PKI)) {
        return;
    }
    let peers: Vec<String> = config.peers.iter().map(ToString::to_string).collect();
    tracing::warn!(
        "the API is not authenticated: changes are taken from this host, from {}/{} and from the peers ({}), and \
         everybody may look. `manager init` makes the cluster's certificates; from then on changes need the socket, \
         a certificate or a token",
        config.state_dir.display(),
        listen::SOCKET,
        if peers.is_empty() { "none".to_owned() } else { peers.join(", ") },
    );
}

fn driver(config: &Config, exits: Exits) -> Result<Arc<dyn Hypervisor>> {
    Ok(match config.hypervisor {
        Driver::Namespaces => Arc::new(Namespaces::new(config, exits)?),
        Driver::Libvirt => Arc::new(Libvirt::new(config, exits)?),
    })
}
