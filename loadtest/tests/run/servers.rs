//! Servers of all kinds that there are: what is unusual is no failure, and what is a failure is no success.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{run, start};
use crate::truth::{Act, Truth};

/// Fifty requests, all over kept connections where there are any.
const LOAD: [&str; 5] = ["--rate", "100", "--duration", "500ms", "--keep-alive"];

#[track_caller]
fn report(truth: &Truth, options: &[&str]) -> Value {
    run(&truth.url, &[&LOAD, options].concat()).expect(0).clone()
}

fn always(answer: Act) -> Truth {
    Truth::start(move |_, _| answer.clone())
}

#[test]
fn what_is_unusual_and_complete_is_a_success() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{\"va\r\n8;x=y\r\nlue\": 1}\r\n0\r\nt: v\r\n\r\n";
    for (answer, why) in [
        (Act::Close("HTTP/1.0 200 OK\r\n\r\n{\"value\": 1}".to_owned()), "HTTP/1.0, whose end is the body's"),
        (
            Act::Close("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"value\": 1}".to_owned()),
            "the same in 1.1",
        ),
        (Act::Answer(chunked.to_owned()), "chunks, an extension and a trailer"),
        (
            Act::Answer(format!(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{chunked}"
            )),
            "interim answers",
        ),
    ] {
        let truth = always(answer);
        let report = report(&truth, &["--expect-json", "$.value"]);
        assert_eq!((&report["succeeded"], &report["failed"]), (&json!(50), &json!(0)), "{why}: {report}");
    }
    for (answer, why) in
        [("HTTP/1.1 204 No Content\r\n\r\n", "no body"), ("HTTP/1.1 304 Not Modified\r\n\r\n", "none")]
    {
        let report = report(&always(Act::Answer(answer.to_owned())), &[]);
        assert_eq!(report["succeeded"], 50, "{why}: {report}");
    }
    let head = always(Act::Answer("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_owned()));
    assert_eq!(report(&head, &["--method", "HEAD"])["succeeded"], 50, "HEAD has a length and no body");
}

#[test]
fn what_is_cut_short_or_no_answer_is_a_failure() {
    let close = |answer: &str| Act::Close(answer.to_owned());
    for (answer, kind) in [
        (close("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf"), "short-body"),
        (close("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"), "short-body"),
        (close("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhalf"), "short-body"),
        (close("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"), "protocol"),
        (close("HTTP/1.1 200 OK\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\nhalf"), "protocol"),
        (close("HTTP/1.1 200"), "eof"),
        (close("HTTP/1.1 100 Continue\r\n\r\n"), "eof"),
        (close(&format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "y".repeat(1 << 20))), "protocol"),
        (Act::Stall(Duration::from_secs(5)), "timeout"),
    ] {
        let report = report(&always(answer.clone()), &["--timeout", "2s"]);
        let shown = format!("{answer:.80?}");
        assert_eq!(report["failed_by_kind"], json!({kind: 50}), "{shown}");
    }
}

#[test]
fn a_redirect_is_an_answer_and_is_not_followed() {
    let redirect = "HTTP/1.1 301 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    let truth = always(Act::Answer(redirect.to_owned()));
    assert_eq!(report(&truth, &[])["succeeded"], 50);
    assert_eq!(truth.requests.load(Ordering::SeqCst), 50);
    assert_eq!(report(&truth, &["--expect-status", "200"])["failed_by_kind"], json!({"wrong-status": 50}));
}

#[test]
fn a_server_that_closes_after_some_requests_loses_none() {
    // It says so with the last answer, or it does not.
    for last in [
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ] {
        let truth = Truth::start(move |number, _| match number % 10 {
            9 => Act::Close(last.to_owned()),
            _ => Act::ok(),
        });
        let report = report(&truth, &[]);
        assert_eq!((&report["succeeded"], &report["failed"]), (&json!(50), &json!(0)), "{report}");
        let connections = truth.connections.load(Ordering::SeqCst);
        assert!((5..=50).contains(&connections), "{connections}");
    }
}

#[test]
fn more_than_was_asked_for_is_nobodys_answer() {
    // A second answer behind the first: were it taken for that of the next request, none would be missed.
    let answers = Arc::new(AtomicU64::new(0));
    let said = answers.clone();
    let truth = Truth::start(move |number, _| {
        said.fetch_add(1, Ordering::SeqCst);
        let body = format!("{{\"value\": {number}}}");
        Act::Answer(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
            body.len()
        ))
    });
    let report = report(&truth, &["--expect-json", "$.value"]);
    assert_eq!(report["succeeded"].as_u64().unwrap(), answers.load(Ordering::SeqCst), "{report}");
    assert_eq!(report["failed_by_kind"], json!({}));
}

#[test]
fn bodies_of_every_size_arrive_whole_and_once() {
    for size in [0, 1, 4096, 4097, 3_000_000] {
        let file = crate::process::scratch("body");
        std::fs::write(&file, "x".repeat(size)).unwrap();
        let truth = Truth::start(move |_, line| {
            let expected = format!("PUT / HTTP/1.1 {}", "x".repeat(size));
            if line == expected { Act::ok() } else { Act::status(400) }
        });
        let file_name = file.display().to_string();
        let body = ["--method", "PUT", "--body-file", &file_name, "--timeout", "10s"];
        let ended = run(&truth.url, &[&["--rate", "20", "--duration", "500ms"], &body[..]].concat());
        std::fs::remove_file(file).unwrap();
        assert_eq!(ended.expect(0)["succeeded"], 10, "{size}: {}", ended.json);
        assert_eq!(truth.requests.load(Ordering::SeqCst), 10, "{size}");
    }
}

/// The most memory that a process has had, in MB.
fn memory_mb(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

#[test]
fn a_service_that_stalls_does_not_cost_memory_for_every_request() {
    // It accepts and says nothing: four thousand requests wait, each on a connection of its own.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&silent, nix::sys::socket::Backlog::new(4096).unwrap()).unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let accepting = std::thread::spawn(move || {
        let mut kept = Vec::new();
        while kept.len() < 4000 {
            kept.push(silent.accept().unwrap());
        }
        kept
    });
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, 20_000, 20_000);
    let mut run = start(&url, &["--rate", "1000", "--duration", "4s", "--timeout", "1m", "--keep-alive"]);
    let kept = accepting.join().unwrap();
    let most = memory_mb(run.child.id()).unwrap();
    drop(kept);
    run.child.kill().unwrap();
    assert_eq!(run.wait().code, None);
    // Twice what they take: the program itself is among it, and not optimized.
    assert!(most < 64, "{most} MB");
}
