//! Backends that can really fail: each a `stateless` in a network namespace of its own, on a bridge.
//!
//! ```text
//!   the test, in namespaces of its own, which the kernel clears away with it
//!   ┌─────────────────────────────────────────────┐
//!   │  lb proxy, clients: br0 10.88.0.1           │
//!   │   ├── b1: eth0 10.88.0.11, stateless :8080  │
//!   │   └── b2: eth0 10.88.0.12, …                │
//!   └─────────────────────────────────────────────┘
//! ```

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::balancer::{Balancer, eventually};
use crate::client::get;
use crate::namespaces::{self, run};

const PORT: u16 = 8080;

/// Runs `story` in namespaces of its own; `name` is the test's own.
pub(crate) fn in_namespaces(name: &str, story: impl Future<Output = ()>) {
    namespaces::in_namespaces(name, || {
        run("ip link set lo up");
        run("ip link add br0 type bridge");
        run("ip address add 10.88.0.1/24 dev br0");
        run("ip link set br0 up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(story);
    });
}

/// One backend.
pub(crate) struct Machine {
    number: u8,
    /// Which life it is in: its id changes with each, its address stays.
    life: u32,
    process: Child,
}

impl Machine {
    /// Starts machine `number`, and waits until it serves.
    pub(crate) async fn start(number: u8) -> Self {
        let name = format!("b{number}");
        run(&format!("ip netns add {name}"));
        run(&format!("ip link add port-{name} type veth peer name eth0 netns {name}"));
        run(&format!("ip link set port-{name} master br0 up"));
        run(&format!("ip -n {name} address add {}/24 dev eth0", address(number)));
        run(&format!("ip -n {name} link set lo up"));
        run(&format!("ip -n {name} link set eth0 up"));
        let machine = Machine { number, life: 1, process: spawn(number) };
        machine.serves().await;
        machine
    }

    /// So many of them.
    pub(crate) async fn start_all(count: u8) -> Vec<Self> {
        let mut machines = Vec::new();
        for number in 1..=count {
            machines.push(Machine::start(number).await);
        }
        machines
    }

    async fn serves(&self) {
        eventually(&format!("b{} serves", self.number), async || {
            tokio::net::TcpStream::connect(self.socket()).await.ok()
        })
        .await;
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        (address(self.number), PORT).into()
    }

    pub(crate) fn id(&self) -> String {
        format!("b{}-{}", self.number, self.life)
    }

    /// Its entry in the upstream set.
    pub(crate) fn upstream(&self) -> Value {
        json!({"id": self.id(), "address": address(self.number), "port": PORT})
    }

    /// Its entry when its manager suspects it.
    pub(crate) fn suspect(&self) -> Value {
        let mut upstream = self.upstream();
        upstream["state"] = "suspect".into();
        upstream
    }

    /// SIGKILL: its kernel closes its connections.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("waited for");
    }

    /// A power cut: nothing comes from it any more, not even the end of a connection.
    pub(crate) fn destroy(&mut self) {
        self.unplug();
        self.kill();
    }

    /// The virtual machine is paused: not even its kernel answers.
    pub(crate) fn pause(&self) {
        self.unplug();
        self.signal(Signal::SIGSTOP);
    }

    /// Its process stands still; its kernel goes on.
    pub(crate) fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn unplug(&self) {
        run(&format!("ip link set port-b{} down", self.number));
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("a pid"));
        kill(pid, signal).expect("it lives");
    }

    /// Drops packets both ways; `share` is how many of a hundred.
    pub(crate) fn drop_packets(&self, share: u32) {
        // nftables refuses a comparison that is always true.
        let rule =
            if share >= 100 { "drop".to_owned() } else { format!("numgen random mod 100 < {share} drop") };
        let rules = format!(
            "table inet hole {{\n\
             chain in {{ type filter hook input priority 0; {rule}; }}\n\
             chain out {{ type filter hook output priority 0; {rule}; }}\n}}\n"
        );
        let mut nft = Command::new("ip")
            .args(["netns", "exec", &format!("b{}", self.number), "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nft of nftables");
        nft.stdin.take().expect("input").write_all(rules.as_bytes()).expect("written");
        assert!(nft.wait().expect("waited for").success(), "{rules}");
    }

    pub(crate) fn let_packets_through(&self) {
        run(&format!("ip netns exec b{} nft delete table inet hole", self.number));
    }

    /// Starts it again at the same address, with the next id.
    pub(crate) async fn rebuild(&mut self) {
        run(&format!("ip link set port-b{} up", self.number));
        self.process = spawn(self.number);
        self.life += 1;
        self.serves().await;
    }

    /// Waits until it answers, as after it stood still.
    pub(crate) async fn serves_again(&self) {
        get(self.socket(), "/health/ready").await;
    }

    /// Starts its process again: the same machine.
    pub(crate) async fn restart(&mut self) {
        self.process = spawn(self.number);
        self.serves().await;
    }

    /// The bodies of the POSTs it executed.
    pub(crate) async fn executed(&self) -> Vec<String> {
        get(self.socket(), "/count/ids").await.text().lines().map(str::to_owned).collect()
    }

    /// Our connections to it that are established.
    pub(crate) fn sockets(&self) -> usize {
        let [a, b, c, d] = address(self.number).octets();
        let remote = format!("{d:02X}{c:02X}{b:02X}{a:02X}:{PORT:04X}");
        established("self").iter().filter(|fields| fields[2] == remote).count()
    }

    /// How many connections its kernel has bytes of that it has not read, because it stands still.
    pub(crate) fn unread(&self) -> usize {
        let sockets = established(&self.process.id().to_string());
        let waits = |fields: &&Vec<String>| {
            let (_, unread) = fields[4].split_once(':').expect("two queues");
            fields[1].ends_with(&format!(":{PORT:04X}")) && unread.contains(|digit| digit != '0')
        };
        sockets.iter().filter(waits).count()
    }

    /// Its record at the balancer.
    pub(crate) async fn record(&self, balancer: &Balancer) -> Option<Value> {
        let status = balancer.get_json("/status").await;
        let upstreams = status["pools"]["p"]["upstreams"].as_array().cloned().unwrap_or_default();
        upstreams.into_iter().find(|upstream| upstream["id"] == self.id())
    }

    /// Waits until it is ejected, or is not, and says how long that took.
    pub(crate) async fn is_ejected(&self, balancer: &Balancer, ejected: bool) -> Duration {
        let begun = std::time::Instant::now();
        eventually(&format!("{} ejected: {ejected}", self.id()), async || {
            (self.record(balancer).await?["ejected"] == ejected).then_some(())
        })
        .await;
        begun.elapsed()
    }
}

/// Starts a balancer in front of `machines`.
pub(crate) async fn balance(machines: &[Machine]) -> Balancer {
    let balancer = Balancer::start().await;
    use_machines(&balancer, machines).await;
    balancer
}

pub(crate) async fn use_machines(balancer: &Balancer, machines: &[Machine]) {
    let set: Vec<_> = machines.iter().map(Machine::upstream).collect();
    balancer.use_upstreams(&set).await;
}

/// The fields of each established TCP connection in the network of a process.
fn established(process: &str) -> Vec<Vec<String>> {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string(format!("/proc/{process}/net/tcp")).expect("proc");
    let fields = table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect());
    fields.filter(|fields: &Vec<String>| fields[3] == ESTABLISHED).collect()
}

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 88, 0, 10 + number)
}

fn spawn(number: u8) -> Child {
    let program = Path::new(env!("CARGO_BIN_EXE_lb")).with_file_name("stateless");
    assert!(program.is_file(), "cargo build -p stateless first: the backends run it");
    let settings = PathBuf::from(format!("/run/b{number}.toml"));
    let text = format!("machine = \"b{number}\"\nlisten = \"{}:{PORT}\"\n", address(number));
    std::fs::write(&settings, text).expect("settings");
    Command::new("nsenter")
        .arg(format!("--net=/run/netns/b{number}"))
        .arg(program)
        .arg("--config")
        .arg(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("nsenter of util-linux")
}
