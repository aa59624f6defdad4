//! TCP services: connections that are passed on as they come.
//!
//! ```text
//!   ports ─▶ accept ─▶ serve ─┬─▶ arrive (PROXY header, hello: the name) ─▶ service, pool
//!  (opened    (each           ├─▶ dial (chosen, limited, held: as requests are) ─▶ attempt
//!   at run     worker)        └─▶ relay, until both sides have ended or `streams` says so
//!   time)
//! ```
//!
//! Or the `kernel` passes their packets on, and this process only says where to.
//!
//! The same `balance`, `health`, `outlier` and records as with HTTP: an open connection is to them what a request in
//! flight is. See `docs/tcp.md`.

pub(crate) mod accept;
mod arrive;
mod attempt;
mod dial;
pub(crate) mod ended;
mod hello;
pub(crate) mod kernel;
pub(crate) mod metrics;
pub(crate) mod ports;
mod primary;
mod relay;
mod serve;
pub(crate) mod service;
pub(crate) mod stats;
pub(crate) mod streams;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};

use self::ended::Ended;
use self::kernel::Kernel;
use self::ports::Ports;
use self::service::{Port, Service, Services};
use self::streams::Streams;
use super::lock;
use super::state::snapshot::Snapshot;
use super::state::upstream::Upstream;

/// All there is of TCP services.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) streams: Arc<Streams>,
    pub(crate) ports: Ports,
    /// The services whose packets the kernel passes on.
    pub(crate) kernel: Kernel,
    services: ArcSwap<Services>,
    /// Services that were taken away, and until when their connections may go on.
    leaving: Mutex<Vec<(Arc<Service>, Instant)>>,
}

impl Tcp {
    pub(crate) fn new(workers: usize) -> Self {
        Tcp {
            streams: Arc::new(Streams::new(workers)),
            ports: Ports::default(),
            kernel: Kernel::default(),
            services: ArcSwap::default(),
            leaving: Mutex::default(),
        }
    }

    /// The services in use.
    pub(crate) fn services(&self) -> Guard<Arc<Services>> {
        self.services.load()
    }

    /// What is at `port`.
    pub(crate) fn at(&self, port: u16) -> Option<Arc<Port>> {
        self.services.load().at(port).cloned()
    }

    /// Takes the services of `next` into use, which comes after `before`. One caller at a time.
    pub(crate) fn follow(&self, before: &Snapshot, next: &Snapshot) {
        if Arc::ptr_eq(&before.config, &next.config) {
            return;
        }
        let present = self.services.load_full();
        let now = Instant::now();
        let mut leaving = lock(&self.leaving);
        let known = leaving.iter().map(|(service, _)| service).chain(present.all());
        let services = Arc::new(Services::new(&next.config, known));
        self.services.store(services.clone());
        // One that is back stays.
        leaving.retain(|(service, _)| !services.all().any(|other| other.is(service)));
        for service in present.all().filter(|service| !services.all().any(|other| other.is(service))) {
            let drains = service.described.pools().filter_map(|pool| before.pools.get(pool));
            let drain = drains.map(|pool| pool.policy.drain_ms).max().unwrap_or(0);
            leaving.push((service.clone(), now + Duration::from_millis(drain)));
        }
        drop(leaving);
        self.ports.want(services.ports_to_open().collect());
        self.kernel.changed();
    }

    /// Why connections to `service` are not taken, or not all of them, if that is so.
    pub(crate) fn fault(&self, service: &Service) -> Option<String> {
        let described = &service.described;
        if described.forwarding.is_in_kernel() {
            self.kernel.fault(&described.name)
        } else {
            self.ports.fault(described.port)
        }
    }

    /// Whether the kernel forwards for any service.
    pub(crate) fn is_in_kernel(&self) -> bool {
        self.services.load().all().any(|service| service.described.forwarding.is_in_kernel())
    }

    /// The services that were taken away, and whose connections have some time left.
    fn leaving(&self) -> Vec<Arc<Service>> {
        lock(&self.leaving).iter().map(|(service, _)| service.clone()).collect()
    }

    /// Ends the connections of services whose time is over at `now`.
    pub(crate) fn sweep(&self, now: Instant) {
        lock(&self.leaving).retain(|(service, until)| {
            if now < *until {
                return true;
            }
            let port = service.described.port;
            if service.described.forwarding.is_in_kernel() && self.services.load().at(port).is_none() {
                self.kernel.cut_port(port);
            }
            let connections = self
                .streams
                .end(Ended::Removed, |entry| entry.whose().is_some_and(|whose| whose.service.is(service)));
            if connections > 0 {
                tracing::warn!(
                    service = %service.described.name, connections,
                    "the service was taken away, and the time to drain is over: connections cut"
                );
            }
            false
        });
    }

    /// Ends the connections to `upstreams`, because of `why`.
    pub(crate) fn cut(&self, upstreams: &[Arc<Upstream>], why: Ended) {
        if self.is_in_kernel() && !upstreams.is_empty() {
            self.kernel.cut(upstreams.iter().map(|upstream| upstream.address).collect());
        }
        // Most have none, and to look through all connections takes its time.
        let busy: Vec<_> = upstreams.iter().filter(|upstream| upstream.in_flight() > 0).collect();
        if busy.is_empty() || self.streams.count() == 0 {
            return;
        }
        let connections = self.streams.end(why, |entry| busy.iter().any(|upstream| entry.is_at(upstream)));
        if connections > 0 {
            let upstreams: Vec<_> = busy.iter().map(|upstream| upstream.id.as_str()).collect();
            tracing::warn!(?upstreams, connections, reason = why.name(), "connections to upstreams cut");
        }
    }
}
