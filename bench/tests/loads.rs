//! The instrument, measured with itself: what the load counts is what the backend did.

#![allow(clippy::expect_used)] // helpers of tests; the configuration knows only tests themselves

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

/// A backend of its own, ended with the test.
struct Backend {
    process: Child,
    address: SocketAddr,
}

impl Backend {
    fn start() -> Self {
        let mut process = Command::new(BENCH)
            .args(["backend", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("said");
        let address = line.trim_end().rsplit(' ').next().expect("an address").parse().expect("an address");
        Backend { process, address }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).expect("a pid")), signal).expect("signalled");
    }

    /// What came of a load, by name.
    fn load(&self, more: &[&str]) -> BTreeMap<String, f64> {
        let output = self.try_load(more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines()
            .map(|line| {
                let (name, value) = line.split_once(' ').expect("two words");
                (name.to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    fn try_load(&self, more: &[&str]) -> Output {
        let target = self.address.to_string();
        Command::new(BENCH).args(["load", &target]).args(more).output().expect("run")
    }

    /// What is answered to `request`, until the connection ends.
    fn ask(&self, request: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(self.address).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
        // In two parts, as a network may bring it.
        let (first, second) = request.split_at(request.len() / 2);
        socket.write_all(first).expect("sent");
        std::thread::sleep(Duration::from_millis(20));
        socket.write_all(second).expect("sent");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("it closes");
        answer
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn body(answer: &[u8]) -> &[u8] {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    &answer[end + 4..]
}

#[test]
fn the_backend_answers_what_it_says() {
    let backend = Backend::start();
    let ask = |head: &str, body: &str| {
        backend.ask(format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n{body}").as_bytes())
    };
    for (path, length) in [("/", 200), ("/big", 1 << 20), ("/huge", 100 << 20)] {
        assert_eq!(body(&ask(&format!("GET {path} HTTP/1.1"), "")).len(), length, "{path}");
    }
    assert_eq!(body(&ask("HEAD / HTTP/1.1", "")), b"");
    assert_eq!(body(&ask("POST /echo HTTP/1.1\r\nContent-Length: 5", "abcde")), b"abcde");
    assert_eq!(body(&ask("POST / HTTP/1.1\r\nContent-Length: 5", "abcde")).len(), 200);
    let chunked = ask("POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked", "0\r\n\r\n");
    assert!(chunked.starts_with(b"HTTP/1.1 411 "), "{}", String::from_utf8_lossy(&chunked));
}

#[test]
fn every_kind_of_load_is_answered() {
    let backend = Backend::start();
    for more in [
        &["--connections", "8"][..],
        &["--fresh", "--connections", "4"],
        &["--post", "100"],
        &["--path", "/echo", "--post", "65536", "--connections", "4"],
        &["--post", "1048576", "--connections", "2"],
        &["--path", "/big", "--connections", "2"],
    ] {
        let counts = backend.load(&[more, &["--duration", "0.2"]].concat());
        assert!(counts["requests"] > 0.0, "{more:?}: {counts:?}");
        assert_eq!(counts["failed"], 0.0, "{more:?}: {counts:?}");
    }
}

#[test]
fn what_is_due_is_sent_and_waiting_is_counted_from_then() {
    let backend = Backend::start();
    let counts = std::thread::scope(|scope| {
        let load = scope.spawn(|| backend.load(&["--rate", "200", "--duration", "2", "--connections", "4"]));
        std::thread::sleep(Duration::from_millis(500));
        backend.signal(Signal::SIGSTOP);
        std::thread::sleep(Duration::from_millis(600));
        backend.signal(Signal::SIGCONT);
        load.join().expect("no panic")
    });
    assert_eq!((counts["requests"], counts["failed"]), (400.0, 0.0), "{counts:?}");
    // 120 were due while nobody answered, of which only four could be on their way.
    assert!(counts["p99_ms"] > 400.0, "{counts:?}");
    assert!(counts["p50_ms"] < counts["p99_ms"] / 2.0, "{counts:?}");
}

#[test]
fn what_is_not_answered_has_failed() {
    let backend = Backend::start();
    backend.signal(Signal::SIGSTOP);
    let counts = backend.load(&["--rate", "10", "--duration", "1", "--connections", "2"]);
    assert_eq!((counts["requests"], counts["failed"]), (0.0, 10.0), "{counts:?}");
}

#[test]
fn idle_connections_stay_until_they_are_let_go() {
    let backend = Backend::start();
    let mut load = Command::new(BENCH)
        .args(["load", &backend.address.to_string(), "--idle", "--connections", "50"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut said = BufReader::new(load.stdout.take().expect("piped")).lines();
    assert_eq!(said.next().expect("a line").expect("read"), "open 50");
    drop(load.stdin.take());
    assert_eq!(said.next().expect("a line").expect("read"), "still 50");
    assert!(load.wait().expect("ended").success());
}

#[test]
fn the_meter_tells_what_a_program_used() {
    let backend = Backend::start();
    let directory = std::env::temp_dir().join(format!("bench-meter-{}", std::process::id()));
    let pid = backend.process.id().to_string();
    let out = directory.to_str().expect("text");
    let target = backend.address.to_string();
    let meter = |command: &[&str]| {
        let status = Command::new(BENCH)
            .args(["meter", "--pid", &pid, "--out", out, "--"])
            .args(command)
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("run").success());
        let text = std::fs::read_to_string(&directory).expect("written");
        let cpu = text.lines().find_map(|line| line.strip_prefix("cpu_us ")).expect("said");
        cpu.parse::<u64>().expect("a number")
    };
    let idle = meter(&["sleep", "0.3"]);
    let busy = meter(&[BENCH, "load", &target, "--duration", "0.5"]);
    std::fs::remove_file(&directory).expect("removed");
    assert!(busy > 10 * (idle + 100), "{idle} us idle, {busy} us under load");
}
