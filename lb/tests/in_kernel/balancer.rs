//! A balancer in a machine of its own.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::namespaces::{eventually, run, said_by};
use crate::server::Server;
use crate::{CHECKED_MS, JITTER, PORT, VIP, plug_in};

static GENERATION: AtomicU64 = AtomicU64::new(1);

pub(crate) struct Balancer {
    pub(crate) name: &'static str,
    pub(crate) last: u8,
    process: Child,
    files: PathBuf,
}

/// A server's entry in a set.
pub(crate) fn upstream(server: &Server) -> Value {
    json!({"id": server.name, "address": format!("10.77.0.{}", server.last), "port": PORT})
}

/// The same by its address of IPv6.
pub(crate) fn upstream_v6(server: &Server) -> Value {
    json!({"id": server.name, "address": format!("fd77::{}", server.last), "port": PORT})
}

impl Balancer {
    /// Starts one that is to have the public address with so much `priority`.
    pub(crate) fn start(name: &'static str, last: u8, priority: u8) -> Self {
        plug_in(name, last);
        let files = PathBuf::from("/run").join(name);
        fs::create_dir(&files).expect("a directory");
        let settings = format!(
            "machine = \"{name}-lb\"\naddress = \"10.77.0.{last}\"\nstate_dir = \"{}\"\nworkers = 1\nmanagers = [\"10.77.0.1\"]\n\
             [[vip]]\naddress = \"{VIP}\"\nvrid = 50\npriority = {priority}\npreempt = true\n",
            files.display()
        );
        fs::write(files.join("lb.toml"), settings).expect("a file");
        let process = spawn(name, &files);
        let balancer = Balancer { name, last, process, files };
        eventually("the balancer answers", || balancer.asks("GET", 8443, "/upstreams", None).is_some());
        balancer
    }

    /// Starts it again from the same files.
    pub(crate) fn start_again(&mut self) {
        let _ = self.process.wait();
        self.process = spawn(self.name, &self.files);
        eventually("the balancer answers", || self.asks("GET", 8443, "/upstreams", None).is_some());
    }

    /// Gives it the service `db`, of which `more` is said, and the policy of its pool.
    pub(crate) fn configure(&self, more: &Value, policy: &Value) {
        let mut service = json!({"name": "db", "port": PORT, "pool": "db", "forwarding": "nftables"});
        let mut pool = json!({"check": {
            "interval_ms": CHECKED_MS, "edge_interval_ms": 100, "timeout_ms": 200, "fall": 1, "rise": 1, "jitter": JITTER,
            "ask": {"tcp": {}}
        }});
        for (whole, part) in [(&mut service, more), (&mut pool, policy)] {
            for (key, value) in part.as_object().expect("an object") {
                whole[key] = value.clone();
            }
        }
        self.put_config(json!([service]), json!({"db": pool}));
    }

    pub(crate) fn put_config(&self, services: Value, pools: Value) {
        let generation = GENERATION.fetch_add(1, Ordering::SeqCst);
        let config = json!({"generation": generation, "routes": [], "tcp": services, "pools": pools});
        let answer = self.asks("PUT", 8443, "/config", Some(&config)).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// Gives it these upstreams of `db`.
    pub(crate) fn push(&self, upstreams: &[Value]) {
        let generation = GENERATION.fetch_add(1, Ordering::SeqCst);
        let set = json!({"generation": generation, "pools": {"db": upstreams}});
        let answer = self.asks("PUT", 8443, "/upstreams", Some(&set)).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    /// What `GET path` answers.
    pub(crate) fn get(&self, path: &str) -> String {
        let answer = self.asks("GET", 8080, path, None).expect("an answer");
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }

    /// What `lb connections` prints there.
    pub(crate) fn shows(&self, words: &[&str]) -> String {
        let mut command = lb(self.name, "connections", &self.files);
        let output = command.args(words).output().expect("lb");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// What is wrong with the service.
    pub(crate) fn fault(&self) -> Option<String> {
        let status: Value = serde_json::from_str(&self.get("/status")).expect("JSON");
        status["tcp"]["db"]["fault"].as_str().map(str::to_owned)
    }

    /// The line of `server` in the table of connections, by words.
    pub(crate) fn row(&self, server: &Server) -> Option<Vec<String>> {
        let (v4, v6) = (format!("10.77.0.{}:{PORT}", server.last), format!("[fd77::{}]:{PORT}", server.last));
        let table = self.get("/connections");
        let mut lines =
            table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        lines.find(|words| words.get(1).is_some_and(|at| *at == v4 || *at == v6))
    }

    /// Whether the kernel gives `server` new connections.
    pub(crate) fn gives(&self, server: &Server) -> bool {
        self.row(server).is_some_and(|words| words[3] != "0")
    }

    pub(crate) fn wait_until_it_gives(&self, servers: &[&Server]) {
        eventually("all servers are given connections", || servers.iter().all(|server| self.gives(server)));
    }

    pub(crate) fn wait_until_it_holds(&self) {
        eventually(&format!("{} holds the address", self.name), || {
            said_by(&format!("ip -n {} -o address show to {VIP}", self.name)).contains(VIP)
        });
    }

    /// The tables of rules that it has.
    pub(crate) fn tables(&self) -> String {
        said_by(&format!("nsenter --net=/run/netns/{} nft list tables", self.name))
    }

    pub(crate) fn ruleset(&self) -> String {
        said_by(&format!("nsenter --net=/run/netns/{} nft list ruleset", self.name))
    }

    /// Whose the rules are.
    pub(crate) fn owner(&self) -> Option<String> {
        self.ruleset().lines().find(|line| line.contains("counter owner_")).map(str::to_owned)
    }

    /// Starts another `lb proxy` from the same files beside it.
    pub(crate) fn second_proxy(&self) -> Child {
        lb(self.name, "proxy", &self.files).spawn().expect("lb")
    }

    /// Every process of its machine is killed, and its cable pulled.
    pub(crate) fn lose_power(mut self) {
        run(&format!("ip link set port-{} down", self.name));
        self.kill_all();
        let _ = self.process.wait();
    }

    /// All of its processes are killed.
    pub(crate) fn kill_all(&self) {
        let pids = said_by(&format!("ip netns pids {}", self.name));
        for pid in pids.lines().filter_map(|line| line.trim().parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// An orderly stop.
    pub(crate) fn stop(&mut self) {
        terminate(&mut self.process);
    }

    fn asks(&self, method: &str, port: u16, path: &str, body: Option<&Value>) -> Option<String> {
        let address = SocketAddr::from(([10, 77, 0, self.last], port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: lb\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        String::from_utf8(answer).ok()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Has the process end in order.
pub(crate) fn terminate(process: &mut Child) {
    let pid = Pid::from_raw(i32::try_from(process.id()).expect("a pid"));
    kill(pid, Signal::SIGTERM).expect("it lives");
    process.wait().expect("a child");
}

fn spawn(name: &str, files: &Path) -> Child {
    lb(name, "run", files).spawn().expect("lb")
}

/// `lb COMMAND` with the settings in `files`, in the network of machine `name`.
fn lb(name: &str, command: &str, files: &Path) -> Command {
    let mut words = Command::new("nsenter");
    words.arg(format!("--net=/run/netns/{name}")).arg(env!("CARGO_BIN_EXE_lb")).arg(command);
    words.arg("--config").arg(files.join("lb.toml"));
    words
}
