//! Other people's programs, started and watched.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::balancer::Balancer;

/// How long a program may take for all it does here.
const PATIENCE: Duration = Duration::from_secs(100);

/// The Python that `deploy/lib.sh` has made with the packages in it.
fn python() -> PathBuf {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let python = target.parent().expect("target").join("python/bin/python");
    assert!(python.exists(), "{} is missing: deploy/test.sh interop makes it", python.display());
    python
}

/// Runs the script `name` beside this file. It leaves nothing there.
fn script(name: &str) -> Command {
    let mut command = Command::new(python());
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name));
    command
}

/// What a program printed, and whether it ended well.
pub(crate) struct Ended {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `program` to its end.
pub(crate) async fn run(program: &str, arguments: &[&str]) -> Ended {
    ended(Command::new(program).args(arguments)).await
}

async fn ended(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("it ends in time").expect("it starts");
    Ended {
        ok: output.status.success(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs one of the scripts beside this file against `at`; it has to end well.
pub(crate) async fn has_passed(name: &str, at: SocketAddr, cases: &[&str]) {
    let ended = ended(script(name).arg(at.to_string()).args(cases)).await;
    assert!(ended.ok, "{name} {cases:?}\n{}\n{}", ended.out, ended.err);
}

/// A program that runs beside the test. Killed when dropped.
pub(crate) struct Peer {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    input: Option<ChildStdin>,
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts a script with an address to listen on as its first argument, and waits until it says that it is ready.
    pub(crate) async fn serving(name: &str, arguments: &[&str]) -> Self {
        let address = free_address();
        let mut peer = Self::talking_to(name, address, arguments);
        assert_eq!(peer.line().await, "ready", "{name}");
        peer
    }

    /// Starts a script that talks to `address`.
    pub(crate) fn talking_to(name: &str, address: SocketAddr, arguments: &[&str]) -> Self {
        Self::start(script(name).arg(address.to_string()).args(arguments), address)
    }

    /// Starts `program` as it is, which serves at `address`.
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("output")).lines();
        Peer { input: child.stdin.take(), child, lines, address }
    }

    /// The next line it prints.
    pub(crate) async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time");
        line.expect("readable").unwrap_or_else(|| panic!("it ended without a word"))
    }

    /// Ends its input, which it takes for the word to end; whether it ended well, and what else it said.
    pub(crate) async fn finish(mut self) -> (bool, Vec<String>) {
        drop(self.input.take());
        let mut rest = Vec::new();
        while let Ok(Some(line)) = timeout(PATIENCE, self.lines.next_line()).await.expect("in time") {
            rest.push(line);
        }
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").expect("waited for");
        (status.success(), rest)
    }

    /// Tells it something.
    pub(crate) async fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input");
        input.write_all(format!("{line}\n").as_bytes()).await.expect("told");
    }

    /// Stops it without ending it.
    pub(crate) fn freeze(&self) {
        let pid = i32::try_from(self.child.id().expect("it lives")).expect("pid");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP)
            .expect("stopped");
    }

    /// Takes its life.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("killed");
    }

    /// Its entry in the upstream set.
    pub(crate) fn upstream(&self) -> Value {
        json!({"id": format!("peer-{}", self.address.port()), "address": self.address.ip(), "port": self.address.port()})
    }
}

/// An address of this machine at which nothing listens.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    listener.local_addr().expect("address")
}

/// Routes everything to one pool whose upstreams speak HTTP/2.
pub(crate) async fn use_h2c(balancer: &Balancer, mut policy: Value, peers: &[&Peer]) {
    policy["protocol"] = json!("h2c");
    balancer.use_policy(policy).await;
    let upstreams: Vec<_> = peers.iter().map(|peer| peer.upstream()).collect();
    balancer.use_upstreams(&upstreams).await;
}

/// The URL of `path` at the balancer.
pub(crate) fn url(balancer: &Balancer, path: &str) -> String {
    let clients = balancer.clients();
    let host = match clients.ip() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("http://{host}:{}{path}", clients.port())
}
