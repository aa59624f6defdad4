//! `manager run`: puts the parts together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::access::Origin;
use crate::api;
use crate::config::{Config, Hypervisor as Driver};
use crate::engine::Engine;
use crate::executor::{self, Ports, Shared};
use crate::metrics::Metrics;
use crate::pki::keeper::Pki;
use crate::pki::rounds::Rounds;
use crate::ports::balancer::Balancer;
use crate::ports::guests::Guests;
use crate::ports::hypervisor::{Exits, Hypervisor};
use crate::ports::libvirt::Libvirt;
use crate::ports::namespaces::Namespaces;
use crate::ports::peers::Peers;
use crate::ports::transport::Transport;
use crate::store::Store;

/// Keeps this host's machines alive until it is asked to end. The machines live on after it.
///
/// # Errors
///
/// When it cannot start: the API's address is not this host's or taken, the state directory cannot be
/// used, or the driver does not work here.
pub fn run(config: Config) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(serve_host(config));
    // Streams of events and heartbeats have no end of their own.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn serve_host(config: Config) -> Result<()> {
    let address = SocketAddr::from((config.address, config.api_port));
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "cannot answer on {address}: is {} an address of this host, and the port free?",
            config.address
        )
    })?;
    let store = Store::new(&config.state_dir);
    let stored =
        store.load().with_context(|| format!("cannot use state_dir {}", config.state_dir.display()))?;
    let (exits, ended) = mpsc::unbounded_channel();
    let hypervisor = driver(&config, exits)?;
    let pki = Arc::new(Pki::new(&config));
    if pki.take_up()? {
        tracing::info!("other hosts are believed by certificate only");
    }
    let transport = Transport::new(&config, Arc::clone(&pki))?;
    let ports = Ports {
        hypervisor: Arc::clone(&hypervisor),
        guests: Guests::new()?,
        balancer: Balancer::new(transport.clone()),
        peers: Peers::new(config.address, transport.clone()),
        store,
        pki: Arc::clone(&pki),
    };
    tracing::info!(host = %config.name, api = %address, "manager starts");
    let chaos = config.chaos;
    let tls = SocketAddr::from((config.address, config.tls_port));
    let origin = Instant::now();
    let engine = Engine::new(config, stored, origin.elapsed());
    let shared = Arc::new(Shared::new(engine, origin, Metrics::new()?));
    let router = api::router(Arc::clone(&shared), hypervisor, Arc::clone(&pki), chaos);
    let service = router.clone().into_make_service_with_connect_info::<Origin>();
    let api = tokio::spawn(async move { axum::serve(listener, service).await });
    let rounds = Rounds { tls, router, shared: Arc::clone(&shared), transport, pki };
    let rounds = tokio::spawn(rounds.walk());
    tokio::select! {
        () = executor::run(shared, ports, ended) => {}
        ended = api => ended?.context("the API ended")?,
        ended = rounds => ended.context("the rounds ended")?,
        signal = kit::shutdown::requested() => tracing::info!("{}: manager ends, machines live on", signal?),
    }
    Ok(())
}

fn driver(config: &Config, exits: Exits) -> Result<Arc<dyn Hypervisor>> {
    Ok(match config.hypervisor {
        Driver::Namespaces => Arc::new(Namespaces::new(config, exits)?),
        Driver::Libvirt => Arc::new(Libvirt::new(config, exits)?),
    })
}
