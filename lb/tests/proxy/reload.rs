//! SIGHUP: the settings file is read anew, without any request noticing.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::{Reader, get};
use crate::standalone::settings;
use crate::supervised::Supervised;

async fn says(text: &'static str) -> Backend {
    Backend::start(move |_| Reply::Bytes(ok(text))).await
}

#[tokio::test]
async fn what_can_change_is_taken_and_the_rest_is_named() {
    let (one, two) = (says("one").await, says("two").await);
    let balancer = Balancer::start_also_with(&settings("first", &one)).await;
    assert_eq!(get(balancer.clients(), "/").await.text(), "one");
    balancer.reload_with(&settings("second", &two)).await;
    assert_eq!(get(balancer.clients(), "/").await.text(), "two");
    let file = balancer.get_json("/status").await["file"].clone();
    assert_eq!((&file["taken"], &file["error"], &file["staying"]), (&json!(1), &json!(null), &json!([])));

    let more = format!(
        "interface = \"other\"\nadmin_port = 9\n{}[limits]\nconnections = 7\n",
        settings("third", &one)
    );
    balancer.reload_with(&more).await;
    assert_eq!(get(balancer.clients(), "/").await.text(), "one", "the rest of the file is taken");
    let file = balancer.get_json("/status").await["file"].clone();
    assert_eq!(file["staying"], json!(["interface", "admin_port", "limits"]));
}

#[tokio::test]
async fn a_bad_file_leaves_what_is_in_use_in_place() {
    let backend = says("one").await;
    let balancer = Balancer::start_also_with(&settings("first", &backend)).await;
    balancer.reload_with(&format!("{}paht = \"/x\"\n", settings("second", &backend))).await;
    assert_eq!(get(balancer.clients(), "/").await.text(), "one");
    assert_eq!(balancer.get_json("/config").await["routes"][0]["name"], "first");
    let file = balancer.get_json("/status").await["file"].clone();
    let error = file["error"].as_str().expect("an error");
    assert!(error.contains("lb.toml:13:1: unknown field `paht`"), "{error}");
    assert!(error.ends_with("; did you mean `path`?"), "{error}");
    let metrics = async || balancer.get("/metrics").await.text().await.expect("text");
    let has = |metrics: &str, lines: &[&str]| {
        for line in lines {
            assert!(metrics.contains(line), "{line} in\n{metrics}");
        }
    };
    has(
        &metrics().await,
        &[
            "lb_config_reloads_total{result=\"refused\"} 1",
            "lb_config_reloads_total{result=\"taken\"} 0",
            "lb_config_last_reload_successful 0",
            "lb_config_last_reload_success_timestamp_seconds 1",
        ],
    );
    balancer.reload_with(&settings("third", &backend)).await;
    assert_eq!(balancer.get_json("/config").await["routes"][0]["name"], "third");
    has(
        &metrics().await,
        &["lb_config_reloads_total{result=\"taken\"} 1", "lb_config_last_reload_successful 1"],
    );
}

#[tokio::test]
async fn a_hundred_reloads_under_load_cost_no_request() {
    let (one, two) = (says("one").await, says("two").await);
    let balancer = Balancer::start_also_with(&settings("r0", &one)).await;
    let clients = balancer.clients();
    let ends = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..8)
        .map(|worker| {
            let (ends, asked) = (ends.clone(), asked.clone());
            tokio::spawn(async move {
                let mut client = Reader::connect(clients).await;
                let mut answers = [0usize; 2];
                while !ends.load(Ordering::SeqCst) {
                    // Half of them on new connections, and every third with a body that is passed on as it comes.
                    if worker % 2 == 0 {
                        client = Reader::connect(clients).await;
                    }
                    let request = match worker % 3 {
                        0 => "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
                        _ => "GET / HTTP/1.1\r\nHost: t\r\n\r\n",
                    };
                    let answer = client.ask(request).await;
                    assert_eq!(answer.status(), 200, "{answer:?}");
                    answers[usize::from(answer.text() == "two")] += 1;
                    asked.fetch_add(1, Ordering::SeqCst);
                }
                answers
            })
        })
        .collect();
    for number in 1..=100 {
        // Routes come and go with their names, and the upstream is another one each time.
        let backend = if number % 2 == 0 { &one } else { &two };
        let before = asked.load(Ordering::SeqCst);
        balancer.reload_with(&settings(&format!("r{number}"), backend)).await;
        eventually("there is load meanwhile", async || {
            (asked.load(Ordering::SeqCst) > before + 8).then_some(())
        })
        .await;
    }
    ends.store(true, Ordering::SeqCst);
    let mut answers = [0, 0];
    for worker in load {
        let found = worker.await.expect("no request failed");
        answers = [answers[0] + found[0], answers[1] + found[1]];
    }
    assert!(answers[0] > 300 && answers[1] > 300, "each upstream had its turns: {answers:?}");
    let file = balancer.get_json("/status").await["file"].clone();
    assert_eq!((&file["taken"], &file["refused"]), (&json!(100), &json!(0)));
    assert_eq!(balancer.get_json("/config").await["routes"][0]["name"], "r100");
}

#[tokio::test]
async fn the_supervisor_passes_it_on_and_starts_nothing_from_a_broken_file() {
    let (one, two) = (says("one").await, says("two").await);
    let directory = tempfile::tempdir().expect("directory");
    let config = directory.path().join("lb.toml");
    let write = |backend: &Backend| {
        let text = format!(
            "machine = \"m\"\naddress = \"127.81.2.5\"\nlisten = \"127.81.2.5:8000\"\nworkers = 1\n\
             state_dir = {:?}\n{}",
            directory.path().join("state"),
            settings("all", backend)
        );
        std::fs::write(&config, text).expect("settings");
    };
    write(&one);
    let mut command = Command::new(env!("CARGO_BIN_EXE_lb"));
    command.arg("run").arg("--config").arg(&config).stdin(Stdio::null());
    let mut run = Supervised(command.spawn().expect("lb starts"));
    let clients = "127.81.2.5:8000".parse().expect("address");
    eventually("the proxy serves", async || tokio::net::TcpStream::connect(clients).await.ok()).await;
    assert_eq!(get(clients, "/").await.text(), "one");
    write(&two);
    kill(Pid::from_raw(run.0.id().cast_signed()), Signal::SIGHUP).expect("signalled");
    eventually("the new file is in use", async || (get(clients, "/").await.text() == "two").then_some(()))
        .await;
    assert!(run.0.try_wait().expect("waited for").is_none(), "it goes on");

    // Somebody edits the file, and the proxy dies before it is whole again.
    let text = std::fs::read_to_string(&config).expect("settings");
    std::fs::write(&config, format!("{text}rewrite = {{")).expect("settings");
    let children = format!("/proc/{0}/task/{0}/children", run.0.id());
    let child = || {
        let children = std::fs::read_to_string(&children).expect("proc");
        children.split_whitespace().next().map(|pid| pid.parse::<i32>().expect("a pid"))
    };
    let proxy = child().expect("the proxy");
    kill(Pid::from_raw(proxy), Signal::SIGKILL).expect("killed");
    eventually("another takes its place", async || child().filter(|pid| *pid != proxy)).await;
    eventually("it serves", async || tokio::net::TcpStream::connect(clients).await.ok()).await;
    assert_eq!(get(clients, "/").await.text(), "two", "by the file that was taken last");
    let status = eventually("its admin interface too", async || {
        let answer = reqwest::get("http://127.81.2.5:8080/status").await.ok()?;
        answer.json::<serde_json::Value>().await.ok()
    })
    .await;
    let error = status["file"]["error"].as_str().expect("an error");
    assert!(error.contains("lb.toml:13:"), "{error}");
    write(&one);
    kill(Pid::from_raw(run.0.id().cast_signed()), Signal::SIGHUP).expect("signalled");
    eventually("the file is in use again", async || (get(clients, "/").await.text() == "one").then_some(()))
        .await;
}
