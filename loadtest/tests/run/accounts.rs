//! Every slot is accounted for, under the right name, and time without answers is measured.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::run;
use crate::truth::{Act, Truth, vanishing};

#[test]
fn every_slot_is_sent_half_of_them_on_fresh_connections() {
    let truth = Truth::ok();
    let ended = run(&truth.url, &["--rate", "200", "--duration", "1s", "--min-availability", "100"]);
    let report = ended.expect(0);
    assert_eq!(report["sent"], 200);
    assert_eq!(report["succeeded"], 200);
    assert_eq!(report["availability_percent"], 100.0);
    assert_eq!(report["connections"]["fresh"]["sent"], 100);
    assert_eq!(report["connections"]["kept"]["sent"], 100);
    assert_eq!(report["valid"], true);
    assert_eq!(report["met"], true);
    assert!(report["latency_ms"]["p50"].is_f64() && report["latency_ms"]["p999"].is_f64());
    assert!(report["longest_outage_ms"].as_f64().unwrap() < 500.0);
    assert_eq!(truth.requests.load(Ordering::SeqCst), 200);
    let connections = truth.connections.load(Ordering::SeqCst);
    assert!((101..180).contains(&connections), "{connections} connections: kept ones are used again");
    assert!(ended.stdout.contains("200 of 200 intended"), "{}", ended.stdout);
    assert!(ended.stdout.contains("The goal was met."), "{}", ended.stdout);
}

#[test]
fn every_request_opens_a_connection_when_told_to() {
    let truth = Truth::ok();
    let ended = run(&truth.url, &["--rate", "100", "--duration", "500ms", "--fresh"]);
    let connections = &ended.expect(0)["connections"];
    assert_eq!((&connections["fresh"]["sent"], &connections["kept"]["sent"]), (&json!(50), &json!(0)));
    assert_eq!(truth.connections.load(Ordering::SeqCst), 50);
}

#[test]
fn posts_have_numbers_that_no_other_has_and_slow_answers_are_counted() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lines = seen.clone();
    let truth = Truth::start(move |number, line| {
        lines.lock().unwrap().push(line.to_owned());
        if number == 3 {
            std::thread::sleep(Duration::from_millis(400));
        }
        Act::ok()
    });
    let ended = run(&truth.url, &["--post", "--rate", "50", "--duration", "1s"]);
    let report = ended.expect(0);
    assert_eq!(report["succeeded"], 50);
    assert!(report["over_200ms"].as_u64().unwrap() >= 1, "{report}");
    let mut seen = seen.lock().unwrap().clone();
    assert!(seen.iter().all(|line| line.starts_with("POST / HTTP/1.1 ")), "{seen:?}");
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 50);
}

#[test]
fn each_way_to_fail_has_its_name() {
    let truth = Truth::start(|number, _| match number % 10 {
        0 => Act::status(404),
        1 => Act::status(500),
        2 => Act::status(502),
        3 => Act::status(503),
        4 => Act::status(504),
        5 => Act::Close(String::new()),
        6 => Act::Close("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".to_owned()),
        7 => Act::Close("SSH-2.0-nothing\r\n\r\n".to_owned()),
        8 => Act::Reset,
        _ => Act::status(302),
    });
    let ended = run(&truth.url, &["--rate", "100", "--duration", "1s", "--min-availability", "50"]);
    let report = ended.expect(1);
    let expected = json!({
        "http-4xx": 10, "http-5xx": 10, "http-502": 10, "http-503": 10, "http-504": 10,
        "eof": 10, "short-body": 10, "protocol": 10, "reset": 10,
    });
    assert_eq!(report["failed_by_kind"], expected);
    assert_eq!(report["succeeded"], 10);
    assert_eq!(report["met"], false);
    assert!(ended.stdout.contains("MISSED: availability is below 50 %"), "{}", ended.stdout);
}

#[test]
fn a_stall_is_met_by_requests_on_schedule_and_counted_in_full() {
    // The server answers for half a second, then nothing for a second, then everything again.
    let begun = std::sync::OnceLock::new();
    let truth = Truth::start(move |_, _| {
        let passed = begun.get_or_init(Instant::now).elapsed();
        let stalled = (Duration::from_millis(500)..Duration::from_millis(1500)).contains(&passed);
        if stalled { Act::Stall(Duration::from_secs(3)) } else { Act::ok() }
    });
    let ended = run(&truth.url, &["--rate", "100", "--duration", "2500ms", "--timeout", "300ms"]);
    let report = ended.expect(0);
    assert_eq!(report["sent"], 250, "sending did not wait for answers");
    let lost = report["failed_by_kind"]["timeout"].as_u64().unwrap();
    assert!((90..=110).contains(&lost), "{lost} of 100 lost");
    assert_eq!(report["failed"], lost, "and nothing else");
    let outage = report["longest_outage_ms"].as_f64().unwrap();
    assert!((950.0..1200.0).contains(&outage), "{outage} ms");
    let unanswered = report["longest_unanswered_ms"].as_f64().unwrap();
    assert!((950.0..1200.0).contains(&unanswered), "{unanswered} ms");
}

#[test]
fn a_server_that_vanishes_is_refused_for_exactly_so_long() {
    let url = vanishing(Duration::from_millis(500), Duration::from_millis(700));
    let options = ["--fresh", "--rate", "200", "--duration", "2s", "--require", "outage<100ms"];
    let ended = run(&url, &options);
    let report = ended.expect(1);
    let refused = report["failed_by_kind"]["refused"].as_u64().unwrap();
    assert!((130..=170).contains(&refused), "{refused} of 140 refused");
    // What had connected and not been accepted when it vanished was reset.
    let reset = report["failed_by_kind"]["reset"].as_u64().unwrap_or(0);
    assert_eq!(report["failed"], refused + reset, "{report}");
    let outage = report["longest_outage_ms"].as_f64().unwrap();
    assert!((695.0..900.0).contains(&outage), "{outage} ms");
    let degraded = report["throughput"]["degraded_ms"].as_f64().unwrap();
    assert!((600.0..=1000.0).contains(&degraded), "{degraded} ms");
    assert!(ended.stdout.contains("MISSED: outage<100ms: it was"), "{}", ended.stdout);
}

#[test]
fn a_stall_of_a_second_is_a_thousand_requests_and_not_one() {
    // At 1000 a second. From 500 ms on nothing is answered for a second, then all of it.
    let begun = std::sync::OnceLock::new();
    let truth = Truth::start(move |_, _| {
        let passed = begun.get_or_init(Instant::now).elapsed();
        let (stall, end) = (Duration::from_millis(500), Duration::from_millis(1500));
        if (stall..end).contains(&passed) {
            std::thread::sleep(end - passed);
        }
        Act::ok()
    });
    let options = ["--rate", "1000", "--duration", "2s", "--timeout", "5s", "--keep-alive"];
    let report = run(&truth.url, &options).expect(0).clone();
    assert_eq!((&report["intended"], &report["failed"]), (&json!(2000), &json!(0)));
    // All that were due in it but the last, which waited for less than a person notices. A busy machine may be slow with
    // what has piled up, so that those after it wait too; those of the half second before do not.
    let slow = report["over_200ms"].as_u64().unwrap();
    assert!((700..1600).contains(&slow), "{slow} waited more than 200 ms: {report}");
    let unanswered = report["longest_unanswered_ms"].as_f64().unwrap();
    assert!((950.0..2000.0).contains(&unanswered), "{unanswered} ms");
    // On average they waited for half of it, and the last in a hundred for nearly all.
    let worst = report["percentiles_ms"]["p99"].as_f64().unwrap();
    assert!((900.0..5000.0).contains(&worst), "{worst} ms");
}

#[test]
fn a_stall_that_requests_survive_is_told_as_unanswered_time() {
    // From 300 to 900 ms each answer is held back until 900 ms: nothing fails, and nothing comes.
    let begun = std::sync::OnceLock::new();
    let truth = Truth::start(move |_, _| {
        let passed = begun.get_or_init(Instant::now).elapsed();
        let (stall, end) = (Duration::from_millis(300), Duration::from_millis(900));
        if (stall..end).contains(&passed) {
            std::thread::sleep(end - passed);
        }
        Act::ok()
    });
    let options = ["--rate", "100", "--duration", "1500ms", "--fault", "exec:true @300ms"];
    let ended = run(&truth.url, &options);
    let report = ended.expect(0);
    assert_eq!(report["failed"], 0);
    let fault = &report["faults"][0];
    for (figure, expected) in [
        (&report["longest_outage_ms"], 0.0..300.0),
        (&fault["outage_ms"], 0.0..300.0),
        (&report["longest_unanswered_ms"], 550.0..900.0),
        (&fault["unanswered_ms"], 550.0..900.0),
        (&report["slowest_ms"], 500.0..900.0),
        (&fault["slowest_ms"], 500.0..900.0),
    ] {
        let figure = figure.as_f64().unwrap();
        assert!(expected.contains(&figure), "{figure} ms is not in {expected:?}: {report}");
    }
    assert!(ended.stdout.contains("UNANSWERED ms"), "{}", ended.stdout);
}

#[test]
fn what_cannot_be_sent_counts_as_failed() {
    let truth = Truth::start(|_, _| Act::Stall(Duration::from_secs(9)));
    let limits = ["--connections-max", "7", "--timeout", "5s"];
    let report = run(&truth.url, &[&["--rate", "100", "--duration", "500ms"], &limits[..]].concat());
    let report = report.expect(0);
    assert_eq!(report["sent"], 7);
    assert_eq!(report["failed_by_kind"], json!({"timeout": 7, "not-sent": 43}));
    assert_eq!(report["availability_percent"], 0.0);
    assert_eq!(report["latency_ms"]["p50"], json!(null));
}

#[test]
fn each_failed_request_is_listed_with_its_moment() {
    let truth = Truth::start(|number, _| match number {
        5 => Act::Stall(Duration::from_secs(9)),
        _ => Act::ok(),
    });
    let options = ["--fresh", "--rate", "50", "--duration", "500ms", "--timeout", "300ms"];
    let ended = run(&truth.url, &options);
    let report = ended.expect(0);
    let failures = report["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 1, "{report}");
    assert_eq!(failures[0]["kind"], "timeout");
    assert!((0.0..500.0).contains(&failures[0]["started_ms"].as_f64().unwrap()), "{report}");
    assert!(failures[0]["took_ms"].as_f64().unwrap() >= 299.0, "{report}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ago = now.as_millis() - u128::from(report["started_unix_ms"].as_u64().unwrap());
    assert!((400..60_000).contains(&ago), "{ago}");
}

#[test]
fn nobody_listening_is_refused_and_a_silent_host_is_a_connect_timeout() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(&format!("http://{free}"), &["--rate", "50", "--duration", "200ms"]);
    assert_eq!(ended.expect(0)["failed_by_kind"], json!({"refused": 10}));

    // Nobody can be connected to at a broadcast address, and the kernel says so.
    let ended = run("http://127.255.255.255:9", &["--rate", "50", "--duration", "200ms"]);
    assert_eq!(ended.expect(0)["failed_by_kind"], json!({"unreachable": 10}));

    // A listener whose queue is full drops further attempts.
    let socket = socket_that_never_accepts();
    let address = socket.local_addr().unwrap();
    let ended =
        run(&format!("http://{address}"), &["--rate", "50", "--duration", "200ms", "--timeout", "400ms"]);
    let report = ended.expect(0);
    assert_eq!(report["succeeded"], 0);
    assert!(report["failed_by_kind"]["connect-timeout"].as_u64().unwrap() >= 8, "{report}");
}

fn socket_that_never_accepts() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    listener
}

#[test]
fn a_kept_connection_that_was_closed_while_idle_costs_no_request() {
    // The server closes each connection after one answer without having said that it would.
    let truth = Truth::start(|_, _| Act::Close("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()));
    let report = run(&truth.url, &["--rate", "20", "--duration", "1s"]);
    assert_eq!(report.expect(0)["succeeded"], 20);
}
