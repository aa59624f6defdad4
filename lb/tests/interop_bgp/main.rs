//! Balancers that all have one address at the same time, beside the real BIRD: a router spreads connections over them, and
//! takes one off within a second when it is lost or does not serve.
//!
//! ```text
//!   the test, in namespaces of its own, which the kernel clears away with it
//!   ┌──────────────────────────────────────────────────────────────────────┐
//!   │  br0 10.77.0.1: the router (bird), an upstream                        │
//!   │   ├── a: eth0 10.77.0.10, lb run, bird, 192.0.2.120 on lo while it serves │
//!   │   └── b: eth0 10.77.0.20, the same                                    │
//!   └──────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The bridge keeps its ports up, so the router learns of a machine that dies from BFD alone.

#![allow(clippy::expect_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "../../../wire/tests/support/namespaces.rs"]
mod namespaces;

use namespaces::{eventually, in_namespaces, run, said_by};

/// The address that both announce.
const ANNOUNCED: &str = "192.0.2.120";

/// By then the way to one that is lost is gone.
const WITHDRAWN_WITHIN: Duration = Duration::from_secs(1);

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts BIRD in the network `name` with what is said of its protocols.
fn bird(name: &str, address: &str, protocols: &str) -> Program {
    let files = PathBuf::from("/run").join(format!("bird-{name}"));
    fs::create_dir(&files).expect("a directory");
    let bfd = "protocol bfd { interface \"*\" { interval 100 ms; multiplier 3; }; }";
    let text = format!("router id {address};\nprotocol device {{ scan time 1; }}\n{bfd}\n{protocols}\n");
    fs::write(files.join("bird.conf"), text).expect("a file");
    let mut words = Command::new("nsenter");
    words.arg(format!("--net=/run/netns/{name}")).arg("bird").arg("-f");
    words.arg("-c").arg(files.join("bird.conf")).arg("-s").arg(files.join("bird.ctl"));
    Program(words.spawn().expect("bird"))
}

/// A balancer's machine.
struct Machine {
    name: &'static str,
    address: String,
    lb: Program,
    bird: Program,
}

impl Machine {
    fn start(name: &'static str, last: u8) -> Self {
        let address = format!("10.77.0.{last}");
        run(&format!("ip netns add {name}"));
        run(&format!("ip link add port-{name} type veth peer name eth0 netns {name}"));
        run(&format!("ip link set port-{name} master br0 up"));
        run(&format!("ip -n {name} link set lo up"));
        run(&format!("ip -n {name} address add {address}/24 dev eth0"));
        run(&format!("ip -n {name} link set eth0 up"));
        let files = PathBuf::from("/run").join(name);
        fs::create_dir(&files).expect("a directory");
        let settings = format!(
            "machine = \"{name}-lb\"\naddress = \"{address}\"\nstate_dir = \"{}\"\nworkers = 1\n\
             [bgp]\naddresses = [\"{ANNOUNCED}\"]\n\
             [upstreams]\nweb = [{{ address = \"10.77.0.1\", port = 8000 }}]\n[[config.routes]]\nname = \"all\"\npool = \"web\"\n",
            files.display()
        );
        fs::write(files.join("lb.toml"), settings).expect("a file");
        let mut words = Command::new("nsenter");
        words.arg(format!("--net=/run/netns/{name}")).arg(env!("CARGO_BIN_EXE_lb")).arg("run");
        words.arg("--config").arg(files.join("lb.toml"));
        let lb = Program(words.spawn().expect("lb"));
        let bird = bird(
            name,
            &address,
            &format!(
                "protocol direct {{ ipv4; interface \"lo\"; }}\n\
                 protocol bgp edge {{\n local {address} as 64512;\n neighbor 10.77.0.1 as 64500;\n bfd on;\n \
                 connect delay time 1;\n connect retry time 1;\n error wait time 1, 2;\n \
                 ipv4 {{ import none; export where source = RTS_DEVICE; }};\n}}"
            ),
        );
        Machine { name, address, lb, bird }
    }

    /// The process `lb proxy` of this machine.
    fn proxy(&self) -> Pid {
        let parent = self.lb.0.id().to_string();
        let mut found = None;
        eventually("the proxy runs", || {
            let all = fs::read_dir("/proc").expect("proc").filter_map(|entry| {
                let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
                let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
                let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
                let is_proxy = arguments.split('\0').nth(1) == Some("proxy");
                (line.trim() == parent && is_proxy).then(|| Pid::from_raw(pid))
            });
            found = all.into_iter().next();
            found.is_some()
        });
        found.expect("found")
    }

    /// Every process of its network, killed with its cable pulled: nothing is said any more.
    fn lose_power(mut self) {
        run(&format!("ip link set port-{} down", self.name));
        let pids = said_by(&format!("ip netns pids {}", self.name));
        for pid in pids.lines().filter_map(|line| line.trim().parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = (self.lb.0.wait(), self.bird.0.wait());
    }
}

/// The machines that the router sends what is for the address to.
fn ways() -> BTreeSet<String> {
    let route = said_by(&format!("ip route show {ANNOUNCED}"));
    let mut words = route.split_ascii_whitespace();
    let mut found = BTreeSet::new();
    while let Some(word) = words.next() {
        if word == "via" {
            found.extend(words.next().map(str::to_owned));
        }
    }
    found
}

fn wait_for_ways(expected: &[&Machine]) {
    let expected: BTreeSet<String> = expected.iter().map(|machine| machine.address.clone()).collect();
    eventually(&format!("the router knows the ways {expected:?}"), || ways() == expected);
}

/// How long it took after `since` until the way to `lost` was gone.
fn withdrawn_after(lost: &str, since: Instant) -> Duration {
    while ways().contains(lost) {
        assert!(since.elapsed() < Duration::from_secs(20), "the way to {lost} stays");
        thread::sleep(Duration::from_millis(5));
    }
    since.elapsed()
}

/// Asks the address so many times, each over a connection of its own, and says how many were answered.
fn asks(times: usize) -> usize {
    let target: SocketAddr = format!("{ANNOUNCED}:80").parse().expect("an address");
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    (0..times).filter(|_| asked().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))).count()
}

/// An upstream that remembers who asked it.
fn upstream() -> Arc<Mutex<BTreeSet<IpAddr>>> {
    let listener = TcpListener::bind("10.77.0.1:8000").expect("a port");
    let seen: Arc<Mutex<BTreeSet<IpAddr>>> = Arc::default();
    let noted = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let noted = noted.clone();
            thread::spawn(move || answer(stream, &noted));
        }
    });
    seen
}

fn answer(mut stream: TcpStream, noted: &Mutex<BTreeSet<IpAddr>>) {
    let Ok(peer) = stream.peer_addr() else { return };
    let mut head = Vec::new();
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            noted.lock().expect("not poisoned").insert(peer.ip());
            head.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
    }
}

/// The router and two balancers, to both of which it knows the way, and who asked the upstream.
fn two_balancers() -> (Program, Machine, Machine, Arc<Mutex<BTreeSet<IpAddr>>>) {
    run("ip link set lo up");
    run("ip link add br0 type bridge stp_state 0 forward_delay 0");
    run("ip address add 10.77.0.1/24 dev br0");
    run("ip link set br0 up");
    let seen = upstream();
    // The router is where the test is.
    run("ip netns attach router 1");
    fs::write("/proc/sys/net/ipv4/fib_multipath_hash_policy", "1").expect("by ports too");
    let neighbour = |name: &str, address: &str| {
        format!(
            "protocol bgp {name} {{\n local 10.77.0.1 as 64500;\n neighbor {address} as 64512;\n bfd on;\n passive;\n \
             error wait time 1, 2;\n ipv4 {{ import all; export none; }};\n}}\n"
        )
    };
    let router = bird(
        "router",
        "10.77.0.1",
        &format!(
            "protocol kernel {{ merge paths on; ipv4 {{ import none; export where source = RTS_BGP; }}; }}\n{}{}",
            neighbour("a", "10.77.0.10"),
            neighbour("b", "10.77.0.20")
        ),
    );
    let (a, b) = (Machine::start("a", 10), Machine::start("b", 20));
    wait_for_ways(&[&a, &b]);
    (router, a, b, seen)
}

#[test]
fn connections_are_spread_over_all_and_one_that_dies_is_withdrawn_within_a_second() {
    let name = "connections_are_spread_over_all_and_one_that_dies_is_withdrawn_within_a_second";
    in_namespaces(name, || {
        let (_router, a, b, seen) = two_balancers();
        assert_eq!(asks(40), 40);
        let both: BTreeSet<IpAddr> =
            [&a, &b].iter().map(|machine| machine.address.parse().expect("an address")).collect();
        assert_eq!(*seen.lock().expect("not poisoned"), both, "each has some of them");

        let (lost, since) = (a.address.clone(), Instant::now());
        a.lose_power();
        let after = withdrawn_after(&lost, since);
        println!("the way to a balancer that died was withdrawn after {} ms", after.as_millis());
        assert!(after < WITHDRAWN_WITHIN, "{after:?}");
        assert_eq!(asks(20), 20, "the other one has all");
        wait_for_ways(&[&b]);
    });
}

#[test]
fn one_whose_proxy_hangs_is_withdrawn_within_a_second_and_is_back_when_it_goes_on() {
    let name = "one_whose_proxy_hangs_is_withdrawn_within_a_second_and_is_back_when_it_goes_on";
    in_namespaces(name, || {
        let (_router, a, b, _) = two_balancers();
        let proxy = a.proxy();
        let since = Instant::now();
        kill(proxy, Signal::SIGSTOP).expect("it lives");
        let after = withdrawn_after(&a.address, since);
        println!("the way to a balancer whose proxy hangs was withdrawn after {} ms", after.as_millis());
        assert!(after < WITHDRAWN_WITHIN, "{after:?}");
        assert_eq!(asks(20), 20, "the other one has all");
        kill(proxy, Signal::SIGCONT).expect("it lives");
        wait_for_ways(&[&a, &b]);

        // An orderly stop takes the address first.
        let stopped = Pid::from_raw(i32::try_from(b.lb.0.id()).expect("a pid"));
        kill(stopped, Signal::SIGTERM).expect("it lives");
        wait_for_ways(&[&a]);
        assert_eq!(asks(20), 20);
    });
}
