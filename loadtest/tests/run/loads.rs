//! The kinds of load: ramps, chance, users, targets and their checks, and what is bounded.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{Ended, run, scratch};
use crate::truth::{Act, Truth};

/// A server that notes the first line of each request, and what stood in it.
fn noting() -> (Truth, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let noted = lines.clone();
    let truth = Truth::start(move |_, line| {
        noted.lock().unwrap().push(line.to_owned());
        Act::ok()
    });
    (truth, lines)
}

#[test]
fn ramps_send_the_area_under_the_line() {
    let truth = Truth::ok();
    let ended = run(&truth.url, &["--stages", "500ms:100,500ms:100,500ms:0"]);
    let report = ended.expect(0);
    // 25 on the way up, 50 at the top, 25 on the way down.
    assert_eq!((&report["intended"], &report["succeeded"]), (&json!(100), &json!(100)));
    assert_eq!(report["load"]["peak_rate"], 100.0);
    assert_eq!(report["duration_ms"], 1500.0);
}

#[test]
fn arrivals_by_chance_are_the_seeds() {
    let truth = Truth::ok();
    let of = |seed: &str| {
        let options = ["--arrivals", "poisson", "--rate", "100", "--duration", "1s", "--seed", seed];
        run(&truth.url, &options).expect(0).clone()
    };
    let (one, same) = (of("7"), of("7"));
    assert_eq!(one["intended"], same["intended"]);
    assert_eq!((&one["load"]["seed"], &one["load"]["arrivals"]), (&json!(7), &json!("poisson")));
    let intended = one["intended"].as_u64().unwrap();
    assert!((60..140).contains(&intended) && intended != 100, "{intended}");
}

#[test]
fn users_ask_again_when_they_were_answered() {
    let truth = Truth::ok();
    let options = ["--users", "5", "--loops", "8", "--think", "10ms", "--ramp-up", "50ms", "--keep-alive"];
    let ended = run(&truth.url, &options);
    let report = ended.expect(0);
    assert_eq!((&report["sent"], &report["succeeded"]), (&json!(40), &json!(40)));
    assert_eq!(truth.requests.load(Ordering::SeqCst), 40);
    let connections = truth.connections.load(Ordering::SeqCst);
    assert!(connections <= 5, "{connections} connections of five users");
    assert!(report["duration_ms"].as_f64().unwrap() >= 80.0, "they think");
    assert_eq!(report["load"]["kind"], "closed");
    let [row, total] = &report["samples"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(
        (&row["label"], &row["samples"], &row["error_percent"]),
        (&json!("GET /"), &json!(40), &json!(0.0))
    );
    assert_eq!((&total["label"], &total["samples"]), (&json!("TOTAL"), &json!(40)));
    assert!(total["received_kb_per_s"].as_f64().unwrap() > 0.0);
    // Each answer has so many bytes, each request as many as the others.
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"value\": 1}".len();
    assert_eq!(report["throughput"]["received_bytes"], json!(40 * answer));
    assert_eq!(report["throughput"]["sent_bytes"].as_u64().unwrap() % 40, 0);
}

#[test]
fn users_without_a_service_fail_all_their_loops() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(&format!("http://{free}"), &["--users", "20", "--loops", "50", "--slo", "99.9"]);
    let report = ended.expect(0);
    assert_eq!(report["failed_by_kind"], json!({"refused": 1000}));
    assert_eq!(report["samples"][0]["error_percent"], 100.0);
    assert_eq!(report["budget"]["used_percent"].as_f64().unwrap().round(), 100_000.0);
}

#[test]
fn targets_are_asked_for_by_weight_and_counted_apart() {
    let (truth, lines) = noting();
    let (file, body) = (scratch("targets.toml"), scratch("body"));
    std::fs::write(&body, "from a file").unwrap();
    let text = format!(
        "[[target]]\nname = \"read\"\nweight = 3\njson = \"$.value\"\n\
         [[target]]\nname = \"write\"\nmethod = \"PUT\"\npath = \"/store\"\nbody-file = {:?}\nregex = \"nothing\"\n",
        body.file_name().unwrap()
    );
    std::fs::write(&file, text).unwrap();
    let options = ["--targets", file.to_str().unwrap(), "--rate", "200", "--duration", "1s", "--seed", "3"];
    let ended = run(&format!("{}/from-url?a=b", truth.url), &options);
    std::fs::remove_file(&file).unwrap();
    std::fs::remove_file(&body).unwrap();
    let report = ended.expect(0);
    let mut asked = BTreeMap::new();
    for line in lines.lock().unwrap().iter() {
        *asked.entry(line.clone()).or_insert(0_u64) += 1;
    }
    let [reads, writes] =
        ["GET /from-url?a=b HTTP/1.1 ", "PUT /store HTTP/1.1 from a file"].map(|line| asked[line]);
    assert_eq!((reads + writes, asked.len()), (200, 2), "{asked:?}");
    assert!((120..180).contains(&reads), "{asked:?}");
    assert_eq!(report["failed_by_kind"], json!({"wrong-body": writes}));
    let rows = report["samples"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["label"] == name).unwrap();
    assert_eq!((&row("read")["samples"], &row("read")["error_percent"]), (&json!(reads), &json!(0.0)));
    assert_eq!((&row("write")["samples"], &row("write")["error_percent"]), (&json!(writes), &json!(100.0)));
    assert_eq!(row("TOTAL")["samples"], 200);
}

#[test]
fn what_the_flags_say_of_a_request_is_sent_and_checked() {
    let (truth, lines) = noting();
    let options = ["--rate", "50", "--duration", "200ms", "--body", "hello", "-H", "X-One: 1"];
    let checks = ["--expect-status", "201,204", "--expect-body", "value"];
    let ended = run(&truth.url, &[&options[..], &checks].concat());
    assert_eq!(ended.expect(0)["failed_by_kind"], json!({"wrong-status": 10}));
    assert!(lines.lock().unwrap().iter().all(|line| line == "POST / HTTP/1.1 hello"), "{lines:?}");
    let ended =
        run(&truth.url, &[&options[..], &["--expect-status", "200", "--expect-body", "value"]].concat());
    assert_eq!(ended.expect(0)["failed"], 0);
    let ended = run(&truth.url, &[&options[..], &["--expect-json", "$[?@.value > 1]"]].concat());
    assert_eq!(ended.expect(0)["failed_by_kind"], json!({"wrong-body": 10}));
}

#[test]
fn a_name_is_what_it_is_said_to_be_and_else_looked_up() {
    let truth = Truth::ok();
    let port = truth.url.rsplit(':').next().unwrap();
    let resolve = format!("service.invalid:{port}:127.0.0.1");
    let url = format!("http://service.invalid:{port}/");
    let ended = run(&url, &["--rate", "50", "--duration", "200ms", "--resolve", &resolve]);
    assert_eq!(ended.expect(0)["succeeded"], 10);
    let ended = run(&url, &["--rate", "50", "--duration", "200ms"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("looking up `service.invalid`"), "{}", ended.stderr);
}

#[test]
fn goals_are_judged_and_named() {
    let truth = Truth::start(|number, _| match number % 10 {
        0 => Act::status(503),
        1 => {
            std::thread::sleep(Duration::from_millis(60));
            Act::ok()
        }
        _ => Act::ok(),
    });
    let load = ["--rate", "50", "--duration", "1s", "--slo", "80"];
    let goals = |goals: &[&str]| -> Ended {
        let goals = goals.iter().flat_map(|goal| ["--require", *goal]);
        run(&truth.url, &load.into_iter().chain(goals).collect::<Vec<_>>())
    };
    let met = goals(&["availability>=85", "budget<=60%", "failed<6", "throughput>10", "max>50ms"]);
    let report = met.expect(0);
    assert!(report["thresholds"].as_array().unwrap().iter().all(|goal| goal["met"] == true), "{report}");
    assert!((report["budget"]["used_percent"].as_f64().unwrap() - 50.0).abs() < 1e-6, "{report}");
    assert!((report["budget"]["nines"].as_f64().unwrap() - 1.0).abs() < 1e-6, "{report}");
    assert!(met.stdout.contains("All goals were met."), "{}", met.stdout);

    let missed = goals(&["availability>=99.9", "p99<10ms", "failed<6"]);
    let report = missed.expect(1);
    let outcomes: Vec<&Value> =
        report["thresholds"].as_array().unwrap().iter().map(|goal| &goal["met"]).collect();
    assert_eq!(outcomes, [&json!(false), &json!(false), &json!(true)]);
    assert!(missed.stdout.contains("MISSED: availability>=99.9: it was 90 %"), "{}", missed.stdout);
    assert!(missed.stdout.contains("MISSED: p99<10ms: it was"), "{}", missed.stdout);
}

#[test]
fn a_schedule_that_is_not_kept_spoils_the_run() {
    let truth = Truth::ok();
    let ended = run(&truth.url, &["--rate", "50", "--duration", "300ms", "--lateness-max", "1ns"]);
    assert_eq!(ended.expect(3)["valid"], false);
    assert!(ended.stdout.contains("INVALID: one request in a hundred was sent"), "{}", ended.stdout);
}

#[test]
fn of_a_run_that_is_invalid_nothing_is_said() {
    let truth = Truth::ok();
    let options = [
        "--rate",
        "50",
        "--duration",
        "9s",
        "--fault",
        "exec:exit 3 @100ms",
        "--require",
        "availability>=100",
    ];
    let report = run(&truth.url, &options).expect(3).clone();
    assert_eq!(report["thresholds"][0]["met"], Value::Null);
    assert_eq!(report["missed_reasons"], json!([]));
}
