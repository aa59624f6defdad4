//! Log files are opened anew on SIGUSR1, which ends none of the processes.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::backend::Backend;
use crate::balancer::{Balancer, eventually};
use crate::client::get;
use crate::supervised::Supervised;

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[tokio::test]
async fn the_access_log_is_there_again_before_anything_is_written() {
    let directory = tempfile::tempdir().expect("directory");
    let (log, moved) = (directory.path().join("access.json"), directory.path().join("access.json.1"));
    let mut balancer = Balancer::start_also_with(&format!("[access_log]\npath = {log:?}")).await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    get(balancer.clients(), "/one").await;
    eventually("it is written", async || (lines(&log) == 1).then_some(())).await;
    std::fs::rename(&log, &moved).expect("moved");
    balancer.signal(Signal::SIGUSR1);
    eventually("there is a new one", async || log.exists().then_some(())).await;
    assert_eq!((lines(&log), lines(&moved)), (0, 1));
    get(balancer.clients(), "/two").await;
    eventually("it is written to", async || (lines(&log) == 1).then_some(())).await;
    assert!(balancer.terminate().await.success());
    assert_eq!(lines(&moved), 1);
}

#[tokio::test]
async fn without_an_access_log_the_signal_does_nothing() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    for _ in 0..3 {
        balancer.signal(Signal::SIGUSR1);
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    }
}

/// The signals that wait in the first thread of a process, as its kernel shows them.
fn held_back(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap_or("0");
    u64::from_str_radix(line.trim(), 16).expect("a mask")
}

#[tokio::test]
async fn it_may_come_while_the_proxy_starts() {
    const SIGUSR1: u64 = 1 << (Signal::SIGUSR1 as i32 - 1);
    let directory = tempfile::tempdir().expect("directory");
    let log = directory.path().join("access.json");
    let config = directory.path().join("lb.toml");
    let settings = format!(
        "machine = \"m\"\naddress = \"127.81.2.4\"\nlisten = \"127.81.2.4:8000\"\nworkers = 1\n\
         state_dir = {:?}\n[access_log]\npath = {log:?}\n",
        directory.path().join("state"),
    );
    std::fs::write(&config, settings).expect("settings");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
    command.arg("proxy").arg("--config").arg(&config).stdin(Stdio::null());
    let mut proxy = Supervised(command.spawn().expect("lb starts"));
    let process = proxy.0.id();
    let end = std::time::Instant::now() + crate::balancer::SOON;
    // Without a pause: it is soon ready for it.
    while held_back(process) & SIGUSR1 == 0 {
        assert!(std::time::Instant::now() < end, "held back from the beginning");
    }
    for _ in 0..20 {
        kill(Pid::from_raw(process.cast_signed()), Signal::SIGUSR1).expect("signalled");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    eventually("the proxy serves", async || tokio::net::TcpStream::connect("127.81.2.4:8000").await.ok())
        .await;
    assert!(proxy.0.try_wait().expect("waited for").is_none(), "it goes on");
    eventually("the log is there", async || log.exists().then_some(())).await;
}

#[tokio::test]
async fn the_supervisor_passes_it_on() {
    let directory = tempfile::tempdir().expect("directory");
    let log = directory.path().join("access.json");
    let config = directory.path().join("lb.toml");
    let settings = format!(
        "machine = \"m\"\naddress = \"127.81.2.3\"\nlisten = \"127.81.2.3:8000\"\nworkers = 1\n\
         state_dir = {:?}\n[access_log]\npath = {log:?}\n",
        directory.path().join("state"),
    );
    std::fs::write(&config, settings).expect("settings");
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
    command.arg("run").arg("--config").arg(&config).stdin(Stdio::null());
    let mut run = Supervised(command.spawn().expect("lb starts"));
    eventually("the proxy serves", async || tokio::net::TcpStream::connect("127.81.2.3:8000").await.ok())
        .await;
    eventually("its admin interface too", async || {
        reqwest::get("http://127.81.2.3:8080/health/live").await.ok()
    })
    .await;
    std::fs::remove_file(&log).expect("it was there from the start");
    kill(Pid::from_raw(run.0.id().cast_signed()), Signal::SIGUSR1).expect("signalled");
    eventually("there is a new one", async || log.exists().then_some(())).await;
    assert!(run.0.try_wait().expect("waited for").is_none(), "it goes on");
}
