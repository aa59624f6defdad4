//! Pools with `primary_only`: one server at a time has connections, whatever becomes of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::balancer::{Balancer, eventually};
use crate::network::in_network;
use crate::stage::{PORT, Server, configure, connect, service};

/// Where all servers are asked whether they are well.
const CHECKED: u16 = 6379;

/// Who has clients, as all servers note it: who began and who ended, in order.
type Notes = Arc<Mutex<Vec<(bool, &'static str)>>>;

/// A server of three: one that speaks to clients, and one that is asked what it is for.
struct Database {
    name: &'static str,
    clients: Option<Server>,
    is_primary: Arc<AtomicBool>,
    is_well: Arc<AtomicBool>,
    _asked: Server,
}

impl Database {
    async fn start(number: u8, name: &'static str, notes: &Notes) -> Self {
        let (is_primary, is_well) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
        let (primary, well) = (is_primary.clone(), is_well.clone());
        let address = format!("127.0.0.{number}:{CHECKED}");
        let asked = Server::start_at(&address, move |tcp| redis(tcp, primary.clone(), well.clone())).await;
        let notes = notes.clone();
        let address = format!("127.0.0.{number}:5000");
        let clients = Server::start_at(&address, move |tcp| converse(tcp, name, notes.clone())).await;
        Database { name, clients: Some(clients), is_primary, is_well, _asked: asked }
    }

    fn upstream(&self) -> Value {
        let address = self.clients.as_ref().expect("it runs").address;
        json!({"id": self.name, "address": address.ip(), "port": address.port()})
    }
}

/// Says of itself whether it is a primary.
async fn redis(mut tcp: TcpStream, is_primary: Arc<AtomicBool>, is_well: Arc<AtomicBool>) {
    let mut heard = [0; 1024];
    while let Ok(1..) = tcp.read(&mut heard).await {
        let answer = match (is_well.load(Ordering::SeqCst), heard[1]) {
            (false, _) => "-LOADING\r\n",
            (true, b'1') => "+PONG\r\n",
            (true, _) if is_primary.load(Ordering::SeqCst) => "$11\r\nrole:master\r\n",
            (true, _) => "$10\r\nrole:slave\r\n",
        };
        if tcp.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Somebody has a client until it is dropped.
struct Noted(Notes, &'static str);

impl Noted {
    fn begin(notes: &Notes, name: &'static str) -> Self {
        notes.lock().expect("no server panics").push((true, name));
        Noted(notes.clone(), name)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.lock().expect("no server panics").push((false, self.1));
    }
}

/// Says its name for each line that it hears.
async fn converse(tcp: TcpStream, name: &'static str, notes: Notes) {
    let mut tcp = BufReader::new(tcp);
    let mut line = String::new();
    let mut noted = None;
    while let Ok(1..) = tcp.read_line(&mut line).await {
        noted.get_or_insert_with(|| Noted::begin(&notes, name));
        if tcp.write_all(format!("{name}\n").as_bytes()).await.is_err() {
            break;
        }
    }
}

/// A balancer for three databases; those that are named do not take writes.
async fn stage(notes: &Notes, standbys: &[&str], more: Value) -> (Balancer, Vec<Database>) {
    let mut databases = Vec::new();
    for (number, name) in [(1, "a"), (2, "b"), (3, "c")] {
        let database = Database::start(number, name, notes).await;
        database.is_primary.store(!standbys.contains(&name), Ordering::SeqCst);
        databases.push(database);
    }
    let mut policy = json!({
        "primary_only": true,
        "check": {"active": true, "ask": {"redis": {}}, "port": CHECKED, "interval_ms": 20, "edge_interval_ms": 20},
    });
    for (key, value) in more.as_object().expect("an object") {
        policy[key] = value.clone();
    }
    let balancer = Balancer::start().await;
    let upstreams: Value = databases.iter().map(Database::upstream).collect();
    configure(&balancer, json!([service(json!({}))]), json!({"db": policy}), json!({"db": upstreams})).await;
    (balancer, databases)
}

/// A client that keeps its connection.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(balancer: &Balancer) -> Self {
        Client(BufReader::new(connect(balancer).await))
    }

    /// The same, of one that may be refused at once.
    async fn try_connect(balancer: &Balancer) -> Option<Self> {
        let tcp = TcpStream::connect((balancer.address, PORT)).await.ok()?;
        Some(Client(BufReader::new(tcp)))
    }

    /// Who answers; none where the connection has ended.
    async fn ask(&mut self) -> Option<String> {
        self.0.write_all(b"who\n").await.ok()?;
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await.ok()?;
        (read > 0).then(|| line.trim().to_owned())
    }

    /// Waits for the end of its connection, which nobody asks for.
    async fn ends(mut self) {
        let mut line = String::new();
        assert_eq!(self.0.read_line(&mut line).await.unwrap_or(0), 0, "{line}");
    }
}

/// Who answers a new client; it tries until one does.
async fn who(balancer: &Balancer) -> String {
    eventually("a primary answers", async || Client::try_connect(balancer).await?.ask().await).await
}

/// Nobody had clients while another one did.
fn one_at_a_time(notes: &Notes) {
    let mut open: Vec<&str> = Vec::new();
    let notes = notes.lock().expect("no server panics");
    for (begins, name) in notes.iter() {
        if *begins {
            open.push(name);
        } else {
            let at = open.iter().position(|open| open == name).expect("it began");
            open.remove(at);
        }
        assert!(open.iter().collect::<BTreeSet<_>>().len() <= 1, "{open:?} at once: {notes:?}");
    }
}

#[test]
fn one_server_at_a_time_has_connections_and_the_next_one_follows() {
    in_network("primary::one_server_at_a_time_has_connections_and_the_next_one_follows", async {
        let notes = Notes::default();
        let (balancer, mut databases) = stage(&notes, &[], json!({})).await;
        let mut clients = Vec::new();
        for _ in 0..5 {
            let mut client = Client::connect(&balancer).await;
            assert_eq!(client.ask().await.as_deref(), Some("a"));
            clients.push(client);
        }
        // It answers its clients still, but not its checks.
        databases[0].is_well.store(false, Ordering::SeqCst);
        for client in clients.drain(..) {
            client.ends().await;
        }
        assert_eq!(who(&balancer).await, "b");
        // One that is back is not the primary for that.
        databases[0].is_well.store(true, Ordering::SeqCst);
        let mut client = Client::connect(&balancer).await;
        eventually("its checks pass again", async || {
            let pools = balancer.get_json("/pools").await;
            (pools["pools"]["db"]["well"] == 3).then_some(())
        })
        .await;
        assert_eq!(client.ask().await.as_deref(), Some("b"));
        // A person's word counts: it is to have no connections.
        let drained = balancer.put("/overrides/b", &json!({"mode": "drain"})).await;
        assert_eq!(drained.0, 200, "{drained:?}");
        client.ends().await;
        assert_eq!(who(&balancer).await, "a");
        // It dies: a refused connection is enough.
        databases[0].clients.take().expect("it runs").stop().await;
        assert_eq!(who(&balancer).await, "c");
        one_at_a_time(&notes);
        let pools = balancer.get_json("/pools").await;
        assert_eq!(pools["pools"]["db"]["primary"]["id"], "c", "{pools}");
        balancer.counts("lb_upstream_primary{pool=\"db\",upstream=\"c\"} 1").await;
        balancer.counts("lb_pool_primaries_total{pool=\"db\"} 4").await;
        balancer.counts("lb_pool_has_primary{pool=\"db\"} 1").await;
    });
}

#[test]
fn the_one_that_takes_writes_is_the_primary_and_without_one_clients_wait() {
    in_network("primary::the_one_that_takes_writes_is_the_primary_and_without_one_clients_wait", async {
        let notes = Notes::default();
        let (balancer, databases) = stage(&notes, &["a", "b"], json!({"hold_requests": 1})).await;
        let mut client = Client::connect(&balancer).await;
        assert_eq!(client.ask().await.as_deref(), Some("c"));
        // All follow for a while, as when one is promoted.
        databases[2].is_primary.store(false, Ordering::SeqCst);
        client.ends().await;
        let mut waits = Client::connect(&balancer).await;
        let answered = tokio::spawn(async move { waits.ask().await });
        eventually("one waits", async || {
            let pools = balancer.get_json("/pools").await;
            let primary = &pools["pools"]["db"]["primary"];
            (primary["id"].is_null() && primary["reason"] == "those that are well take no writes")
                .then_some(())
        })
        .await;
        eventually("there is no room for another one", async || {
            let answer = match Client::try_connect(&balancer).await {
                Some(mut client) => client.ask().await,
                None => None,
            };
            answer.is_none().then_some(())
        })
        .await;
        databases[1].is_primary.store(true, Ordering::SeqCst);
        assert_eq!(answered.await.expect("a client").as_deref(), Some("b"));
        one_at_a_time(&notes);
    });
}
