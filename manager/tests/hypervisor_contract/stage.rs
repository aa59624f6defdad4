//! What the contract needs of a host with a driver, and how it looks at machines from that host: over
//! their network, as clients do.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use manager::engine::{MachinePurpose, MachineSpec, ObservedMachine};
use manager::ports::hypervisor::{Exit, Hypervisor};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use wire::MachineId;

/// Whatever should happen happens by then, however busy this computer is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The port of the sample service.
const PORT: u16 = 8080;

/// Ends of machines, as a driver tells them.
pub(crate) type Ends = UnboundedReceiver<Exit>;

/// A host with a bridge on which the driver under test can make machines.
pub(crate) trait Stage {
    /// The driver under test.
    type Driver: Hypervisor;

    /// A new driver on the same state, as after a restart of the manager.
    fn driver(&self) -> (Self::Driver, Ends);

    /// The driver of another manager on this host, with a state directory of its own.
    fn another_managers_driver(&self) -> Self::Driver;

    /// The driver as configured by somebody who named a bridge that is not there.
    fn driver_without_bridge(&self) -> Self::Driver;

    /// A driver and a machine for it, where what the machine runs is missing: `/nowhere/stateless`.
    fn without_programs(&self) -> (Self::Driver, MachineSpec);

    /// A machine that runs the sample service at the address that ends in `last`.
    fn spec(&self, name: &str, last: u8, incarnation: u64) -> MachineSpec;

    /// What is left of a machine, in words; empty when nothing is.
    fn remains(&self, spec: &MachineSpec) -> Vec<String>;

    /// How many spares wait.
    fn spares(&self) -> usize;

    /// Kills all that wait.
    fn kill_spares(&self);

    /// Every interface of the host with its MAC address, in words.
    fn interfaces(&self) -> Vec<String> {
        let links = run("ip -o link show");
        let describe = |line: &str| {
            let name = line.split(": ").nth(1)?;
            Some(format!("{name} {}", line.split("link/ether ").nth(1).unwrap_or_default()))
        };
        links.lines().filter_map(describe).collect()
    }
}

/// What a machine answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn served_by(&self) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix("x-served-by: "))
    }
}

/// Asks the machine at `address` once.
pub(crate) fn ask(method: &str, address: IpAddr, path: &str) -> io::Result<Answer> {
    let mut stream = send(method, address, path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.ok_or(io::ErrorKind::InvalidData)?,
        head: head.to_lowercase(),
        body: body.to_owned(),
    })
}

/// Sends a request and leaves the answer to be read.
pub(crate) fn send(method: &str, address: IpAddr, path: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&socket(address), Duration::from_secs(1))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    Ok(stream)
}

/// Tries to connect for a moment; whether anything came back, were it a refusal.
pub(crate) fn knock(address: IpAddr) -> bool {
    match TcpStream::connect_timeout(&socket(address), Duration::from_millis(300)) {
        Ok(_) => true,
        Err(error) => {
            matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)
        }
    }
}

fn socket(address: IpAddr) -> SocketAddr {
    SocketAddr::from((address, PORT))
}

/// Waits until the machine answers, in its own name.
pub(crate) fn wait_until_it_answers(spec: &MachineSpec) {
    let name = spec.purpose.id.as_str();
    eventually(&format!("{name} answers"), || {
        ask("GET", spec.purpose.address, "/health/live")
            .is_ok_and(|answer| answer.status < 300 && answer.served_by() == Some(name))
    });
}

/// The MAC address that this host's neighbour table has for `address`.
pub(crate) fn neighbour(address: IpAddr) -> Option<String> {
    let table = std::fs::read_to_string("/proc/net/arp").expect("the neighbour table");
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields.first() == Some(&address.to_string().as_str())).then(|| fields[3].to_owned())
    })
}

/// Makes this host ask for every address anew.
pub(crate) fn forget_neighbours() {
    run("ip neighbour flush all");
}

/// The entry of a machine in the driver's list.
pub(crate) async fn listed(driver: &impl Hypervisor, id: &MachineId) -> Option<ObservedMachine> {
    let machines = driver.list().await.expect("a list");
    machines.into_iter().find(|machine| machine.purpose.id == *id)
}

/// What a machine was ordered for: which image it is made from, its driver finds out.
pub(crate) fn order(machine: &ObservedMachine) -> MachinePurpose {
    MachinePurpose { image: None, ..machine.purpose.clone() }
}

/// The next end that the driver tells.
pub(crate) async fn next_end(ends: &mut Ends) -> Exit {
    timeout(PATIENCE, ends.recv()).await.expect("an end is told").expect("the driver lives")
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < limit, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command that must succeed; its words have no spaces in them.
pub(crate) fn run(command: &str) -> String {
    let mut words = command.split(' ');
    let output = Command::new(words.next().expect("a word")).args(words).output().expect("to start");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
