//! A balancer's port for changes, as its manager and others meet it: the real `lb proxy`.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use http::Method;
use manager::pki::LEAF_LIFETIME;
use manager::pki::files::Directory;
use manager::pki::keeper::Pki;
use manager::ports::transport::Transport;
use serde_json::{Value, json};
use std::sync::Arc;
use tempfile::TempDir;
use wire::tls::{Credentials, FILE};

use crate::forger::mode;
use crate::rotation::Connection;
use crate::run::eventually;
use crate::stage::{Host, address, client};
use crate::strangers::speak_plainly;

struct Balancer {
    address: IpAddr,
    directory: TempDir,
    process: Child,
}

impl Balancer {
    /// A balancer of `manager`'s host with what its seed would have had.
    fn start(manager: &Host, address: IpAddr, credentials: Option<&[u8]>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let state = directory.path().join("state");
        fs::create_dir(&state).expect("made");
        if let Some(credentials) = credentials {
            fs::write(state.join(FILE), credentials).expect("written");
        }
        let settings = format!(
            "machine = \"a-lb\"\naddress = \"{address}\"\nlisten = \"{address}:8000\"\nworkers = 1\nmanagers = [\"{}\"]\n\
             state_dir = {state:?}\n",
            manager.address
        );
        fs::write(directory.path().join("lb.toml"), settings).expect("written");
        let process = spawn(directory.path());
        let balancer = Balancer { address, directory, process };
        balancer.is_up();
        balancer
    }

    fn is_up(&self) {
        eventually("the balancer answers", || TcpStream::connect((self.address, 8080)).ok());
    }

    fn changes(&self) -> SocketAddr {
        SocketAddr::from((self.address, 8443))
    }

    fn takes_changes(&self) {
        eventually("it takes changes", || TcpStream::connect(self.changes()).ok());
    }

    fn kill_and_restart(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("waited for");
        self.process = spawn(self.directory.path());
        self.is_up();
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}:8443/{path}", self.address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(directory: &Path) -> Child {
    let program = Path::new(env!("CARGO_BIN_EXE_manager")).with_file_name("lb");
    assert!(program.is_file(), "no {}: cargo build -p lb --bins first", program.display());
    let mut command = Command::new(program);
    command.arg("proxy").arg("--config").arg(directory.join("lb.toml")).stdin(Stdio::null());
    command.spawn().expect("lb starts")
}

/// What the manager of `host` would give its balancer at `address`.
fn issue(host: &Host, address: IpAddr) -> Credentials {
    let directory = Directory::of(&host.state());
    let list = directory.read("revocations.pem").expect("a list");
    let issued =
        directory.intermediate().expect("one").balancer(&"a-lb".into(), address, &list, LEAF_LIFETIME);
    issued.expect("of the pool").credentials
}

fn certified(host: &Host, address: IpAddr) -> Balancer {
    let balancer = Balancer::start(host, address, Some(&json(&issue(host, address))));
    balancer.takes_changes();
    balancer
}

fn json(credentials: &Credentials) -> Vec<u8> {
    serde_json::to_vec(credentials).expect("JSON")
}

fn set(generation: u64) -> Value {
    json!({"generation": generation, "pools": {}})
}

async fn put(credentials: &Credentials, url: &str, body: &Value) -> Result<u16, String> {
    let answer = client(credentials).send(Method::PUT, url, Some(body)).await?;
    answer.accepted().map(|answer| answer.status.as_u16()).map_err(|problem| problem.detail)
}

#[tokio::test]
async fn only_the_manager_of_its_host_changes_a_balancer() {
    let a = Host::founder("a", 1);
    let b = Host::new("b", 2);
    b.join(&a);
    let balancer = certified(&a, address(10));
    let url = balancer.url("upstreams");
    assert_eq!(put(&a.credentials(), &url, &set(1)).await, Ok(200));
    let error = put(&b.credentials(), &url, &set(2)).await.expect_err("refused");
    assert!(
        error.contains("host b at ")
            && error.contains("is not the manager of this balancer: that is host a's"),
        "{error}"
    );
    // What a balancer has proves that it is one, and no more.
    let error = put(&issue(&a, address(11)), &url, &set(2)).await.expect_err("refused");
    assert!(error.contains("it does not accept this host's certificate"), "{error}");
    let stranger = Host::new("a", 9);
    stranger.run(&["init"]).ok();
    let mut shown = stranger.credentials();
    (shown.ca, shown.revocations) = (a.credentials().ca, a.credentials().revocations);
    let error = put(&shown, &url, &set(2)).await.expect_err("refused");
    assert!(error.contains("this host's certificate is not of its cluster"), "{error}");
    // From the manager's own address, but without a certificate.
    let pinned = manager::pki::authority::fingerprint(&a.credentials().ca).expect("a fingerprint");
    let nobody = manager::tls::client::Client::new(
        manager::tls::pin::config(&pinned).expect("a configuration"),
        Duration::from_secs(10),
    );
    let error = nobody.send(Method::PUT, &url, Some(&set(2))).await.expect_err("refused");
    assert!(error.contains("it wants a certificate of this cluster, and none was shown"), "{error}");
    let answer = speak_plainly(balancer.changes());
    assert!(
        answer.contains(&format!("this port speaks TLS: use https://{}:8443", balancer.address)),
        "{answer}"
    );
    assert_eq!(put(&a.credentials(), &url, &set(1)).await, Ok(200), "nothing of that changed anything");
}

#[tokio::test]
async fn it_takes_its_next_certificate_while_it_works_and_keeps_it() {
    let a = Host::founder("a", 1);
    let mut balancer = certified(&a, address(10));
    let mut running = Connection::open(&a.credentials(), balancer.changes()).await;
    let next = issue(&a, balancer.address);
    let body = serde_json::to_value(&next).expect("JSON");
    assert_eq!(put(&a.credentials(), &balancer.url("certificate"), &body).await, Ok(200));
    let renewed = Connection::open(&a.credentials(), balancer.changes()).await;
    assert_ne!(renewed.serial, running.serial);
    assert_eq!(running.works(Method::GET, "/upstreams").await, Some(405), "the old connection lives");
    let stored = balancer.directory.path().join("state").join(FILE);
    assert_eq!(fs::read(&stored).expect("stored"), json(&next));
    assert_eq!(mode(&stored), 0o600);
    balancer.kill_and_restart();
    balancer.takes_changes();
    assert_eq!(Connection::open(&a.credentials(), balancer.changes()).await.serial, renewed.serial);
    // Another host's is not taken, nor nonsense.
    let b = Host::new("b", 2);
    b.join(&a);
    let other = serde_json::to_value(b.credentials()).expect("JSON");
    let error = put(&a.credentials(), &balancer.url("certificate"), &other).await.expect_err("refused");
    assert!(error.contains("a balancer stays with its host and its cluster"), "{error}");
    let mut broken = body;
    broken["key"] = "none".into();
    let error = put(&a.credentials(), &balancer.url("certificate"), &broken).await.expect_err("refused");
    assert!(error.contains("key: expected PEM"), "{error}");
    assert_eq!(put(&a.credentials(), &balancer.url("upstreams"), &set(1)).await, Ok(200));
}

#[tokio::test]
async fn a_revoked_host_has_no_say_in_its_balancer_either() {
    let a = Host::founder("a", 1);
    let b = Host::new("b", 2);
    b.join(&a);
    let balancer = certified(&b, address(20));
    let mut running = Connection::open(&b.credentials(), balancer.changes()).await;
    assert_eq!(running.works(Method::GET, "/upstreams").await, Some(405));
    let mut next = issue(&b, balancer.address);
    a.run(&["revoke", "b"]).ok();
    next.revocations = a.credentials().revocations;
    let body = serde_json::to_value(&next).expect("JSON");
    assert_eq!(put(&b.credentials(), &balancer.url("certificate"), &body).await, Ok(200));
    assert_eq!(running.works(Method::GET, "/upstreams").await, None, "the running connection ends");
    let error = put(&b.credentials(), &balancer.url("upstreams"), &set(1)).await.expect_err("refused");
    assert!(error.contains("it says that this host has been revoked"), "{error}");
}

#[tokio::test]
async fn damaged_credentials_open_nothing() {
    let a = Host::founder("a", 1);
    let balancer = Balancer::start(&a, address(10), Some(b"{\"host\": \"a\""));
    // It says how it is and takes no changes from anybody: nobody listens there.
    TcpStream::connect(balancer.changes()).expect_err("closed");
}

#[tokio::test]
async fn a_manager_speaks_tls_to_the_balancer_that_it_certified_and_to_no_other() {
    let a = Host::new("a", 1);
    a.run(&["init"]).ok();
    let config = a.loaded();
    let pki = Arc::new(Pki::new(&config));
    assert!(pki.take_up().expect("usable"));
    let transport = Transport::new(&config, Arc::clone(&pki)).expect("a transport");
    let lb = address(10);
    // Built before the cluster had a CA: by address, as before.
    let old = Balancer::start(&a, lb, None);
    old.takes_changes();
    let refused = transport.change_balancer(lb, "upstreams", &set(1)).await.expect("an answer");
    // This test's own address is not the manager's.
    assert!(refused.accepted().expect_err("refused").detail.contains("is not a manager of this balancer"));
    drop(old);
    let seed = pki.seed_balancer(&"a-lb".into(), lb).expect("certified").expect("credentials");
    let balancer = Balancer::start(&a, lb, Some(&json(&seed)));
    balancer.takes_changes();
    let answer = transport.change_balancer(lb, "upstreams", &set(1)).await.expect("an answer");
    assert!(answer.accepted().is_ok());
    // It stays so when the manager starts anew.
    let again = Pki::new(&config);
    again.take_up().expect("usable");
    assert!(again.is_certified(lb) && again.balancer_due(lb).is_none());
    let error = pki.seed_balancer(&"a-lb".into(), address(99)).expect_err("refused").to_string();
    assert!(
        error.contains("is not of the address pool that host `a` was let into the cluster with"),
        "{error}"
    );
}
