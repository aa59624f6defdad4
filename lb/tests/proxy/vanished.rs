//! Half of the upstreams vanish at once, as with a host that loses power: from then on the others answer,
//! also where clients do not wait long enough for any try to end by itself.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::Balancer;
use crate::client::{get, post};

/// Clients leave after so long: sooner than a connection is given up.
const PATIENCE: Duration = Duration::from_millis(150);

/// The time between two requests.
const PACE: Duration = Duration::from_millis(5);

/// An address from which nothing comes, not even a refusal: the queue of its listener is full.
struct Void {
    address: SocketAddr,
    _held: (TcpListener, Vec<TcpStream>),
}

impl Void {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let backlog = nix::sys::socket::Backlog::new(0).expect("backlog");
        nix::sys::socket::listen(&listener, backlog).expect("listening");
        let address = listener.local_addr().expect("address");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok();
        let queue = std::iter::from_fn(connect).take(10).collect();
        Void { address, _held: (listener, queue) }
    }

    fn upstream(&self) -> serde_json::Value {
        json!({"id": format!("v-{}", self.address.port()), "address": self.address.ip(), "port": self.address.port()})
    }
}

/// Sends `count` GETs at a steady pace and says of each, in order, whether it was answered in time.
async fn impatient_gets(clients: SocketAddr, path: &'static str, count: usize) -> Vec<bool> {
    let mut requests = Vec::new();
    for _ in 0..count {
        requests.push(tokio::spawn(async move {
            let answer = tokio::time::timeout(PATIENCE, get(clients, path)).await;
            answer.is_ok_and(|answer| answer.status() == 200)
        }));
        tokio::time::sleep(PACE).await;
    }
    let mut answered = Vec::new();
    for request in requests {
        answered.push(request.await.expect("no panic"));
    }
    answered
}

/// A client may lose what was sent in the first moments. The bounds leave room for a busy machine; without
/// the balancer's doubt a third of all requests is lost for as long as they come.
fn assert_soon_well(answered: &[bool]) {
    let lost = |part: &[bool]| part.iter().filter(|answered| !**answered).count();
    let (first, later) = answered.split_at(100);
    println!("lost of the first 100: {}, of {} later: {}", lost(first), later.len(), lost(later));
    assert!(lost(first) <= 50, "{} of the first 100 lost", lost(first));
    assert!(lost(later) <= later.len() / 20, "{} of {} lost later", lost(later), later.len());
}

#[tokio::test]
async fn where_no_connection_comes_about_impatient_clients_are_soon_well() {
    let balancer = Balancer::start().await;
    let living = [Backend::healthy().await, Backend::healthy().await];
    let gone = [Void::new(), Void::new()];
    let set = [living[0].upstream(), gone[0].upstream(), living[1].upstream(), gone[1].upstream()];
    balancer.use_upstreams(&set).await;
    // Nothing is known yet, as in a balancer that has just taken over.
    assert_soon_well(&impatient_gets(balancer.clients(), "/", 500).await);
    for living in &living {
        assert_eq!(balancer.record(living).await["ejections"], 0);
    }
    let status = balancer.get_json("/status").await;
    for record in status["pools"]["p"]["upstreams"].as_array().expect("upstreams") {
        assert_eq!(record["in_flight"], 0, "{record}");
    }
}

#[tokio::test]
async fn where_kept_connections_fall_silent_impatient_clients_are_soon_well() {
    let balancer = Balancer::start().await;
    let backends = [
        Backend::healthy().await,
        Backend::healthy().await,
        Backend::healthy().await,
        Backend::healthy().await,
    ];
    balancer.use_backends(&backends.iter().collect::<Vec<_>>()).await;
    let clients = balancer.clients();
    assert!(impatient_gets(clients, "/", 200).await.iter().filter(|answered| !**answered).count() <= 10);
    backends[0].freeze(true);
    backends[1].freeze(true);
    let posts = tokio::spawn(async move {
        let mut posts = Vec::new();
        for n in 0..100 {
            posts.push(tokio::spawn(async move {
                let path = format!("/once/{n}");
                let _ = tokio::time::timeout(PATIENCE, post(clients, &path, "x")).await;
            }));
            tokio::time::sleep(PACE * 5).await;
        }
        for post in posts {
            post.await.expect("no panic");
        }
    });
    assert_soon_well(&impatient_gets(clients, "/", 500).await);
    posts.await.expect("no panic");
    let mut executed = BTreeMap::new();
    for request in backends.iter().flat_map(Backend::seen).filter(|request| request.start.starts_with("POST"))
    {
        *executed.entry(request.path().to_owned()).or_insert(0) += 1;
    }
    assert!(executed.values().all(|&times| times == 1), "{executed:?}");
    backends[0].freeze(false);
    backends[1].freeze(false);
    for backend in &backends {
        balancer.is_ejected(backend, false).await;
    }
}

#[tokio::test]
async fn requests_that_wait_are_moved_together() {
    let balancer = Balancer::start().await;
    let slow = || Backend::start(|_| Reply::Parts(vec![(Duration::from_millis(200), ok("late"))]));
    let [silent, living] = [slow().await, slow().await];
    balancer.use_policy(json!({"first_byte_cold_ms": 6_000, "first_byte_max_ms": 6_000})).await;
    balancer.use_backends(&[&silent, &living]).await;
    let clients = balancer.clients();
    silent.freeze(true);
    // All at once, so that half of them go to the silent one before anyone can know.
    let started = Instant::now();
    let requests: Vec<_> = (0..20).map(|_| tokio::spawn(async move { get(clients, "/").await })).collect();
    for request in requests {
        assert_eq!(request.await.expect("no panic").status(), 200);
    }
    println!("all answered after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(balancer.record(&silent).await["ejected"], true);
    assert_eq!(balancer.record(&living).await["ejections"], 0);
}

#[tokio::test]
async fn slow_requests_whose_clients_leave_eject_nobody() {
    let balancer = Balancer::start().await;
    let slow = || Backend::start(|_| Reply::Parts(vec![(Duration::from_secs(2), ok("slow"))]));
    let backends = [slow().await, slow().await];
    balancer.use_backends(&[&backends[0], &backends[1]]).await;
    let answered = impatient_gets(balancer.clients(), "/stress", 200).await;
    assert!(answered.iter().all(|answered| !answered));
    let executed: usize = backends.iter().map(|backend| backend.seen().len()).sum();
    assert!((100..=200).contains(&executed), "{executed}");
    for backend in &backends {
        assert_eq!(balancer.record(backend).await["ejections"], 0);
    }
}
