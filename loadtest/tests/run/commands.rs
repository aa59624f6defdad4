//! Faults by command: what they say is believed, what they leave running is told to end.

use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process::{run, scratch, start};
use crate::truth::{Act, Truth};

/// A server that refuses to work while a file exists.
fn breakable(file: &std::path::Path) -> Truth {
    let file = file.to_owned();
    Truth::start(move |_, _| if file.exists() { Act::status(503) } else { Act::ok() })
}

#[test]
fn a_fault_is_charged_with_what_happened_around_it() {
    let broken = scratch("broken");
    let truth = breakable(&broken);
    let path = broken.display();
    let fault = format!(
        "exec:sleep 0.2; at=$(date +%s%3N); touch {path}; echo noise
        echo '{{\"fault\": \"break it\", \"machine\": \"m-1\", \"at_unix_ms\": '$at'}}'; sleep 0.5; rm {path} @500ms"
    );
    let options = [
        "--rate",
        "100",
        "--duration",
        "1s",
        "--timeout",
        "200ms",
        "--fault",
        &fault,
        "--fault",
        "exec:true @+100ms",
    ];
    let ended = run(&truth.url, &options);
    let report = ended.expect(0);
    let [broken, harmless] = &report["faults"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(broken["fault"], "break it");
    assert_eq!(broken["victim"], "m-1");
    assert!(broken["at_ms"].as_f64().unwrap() >= 698.0, "the moment that it told, not that of its start");
    let lost = broken["failed"].as_u64().unwrap();
    assert!((40..=80).contains(&lost), "{lost} failed while it was broken");
    assert_eq!(broken["failed_by_kind"]["http-503"], lost);
    assert_eq!(report["failed"], lost, "all of them are the fault's");
    let outage = broken["outage_ms"].as_f64().unwrap();
    assert!(outage >= 450.0, "{outage} ms");
    assert_eq!(report["longest_outage_ms"], outage);
    let recovered = broken["recovered_after_ms"].as_f64().unwrap();
    assert!((450.0..1500.0).contains(&recovered), "{recovered} ms");

    assert_eq!(harmless["fault"], "true");
    assert_eq!(harmless["failed"], 0);
    let recovered_at = broken["at_ms"].as_f64().unwrap() + recovered;
    assert!(harmless["at_ms"].as_f64().unwrap() >= recovered_at + 100.0, "one fault after the other");
    let end = harmless["at_ms"].as_f64().unwrap() + harmless["recovered_after_ms"].as_f64().unwrap() + 2000.0;
    assert!(report["duration_ms"].as_f64().unwrap() >= end, "the run goes on until all is well");
    assert!(ended.stdout.contains("break it"), "{}", ended.stdout);
}

#[test]
fn a_fault_that_cannot_be_injected_makes_the_run_invalid() {
    let truth = Truth::ok();
    let ended = run(&truth.url, &["--rate", "50", "--duration", "20s", "--fault", "exec:exit 3 @100ms"]);
    let report = ended.expect(3);
    assert_eq!(report["valid"], false);
    assert!(
        ended.stdout.contains("INVALID: fault \"exec:exit 3 @100ms\": the command ended with exit status: 3"),
        "{}",
        ended.stdout
    );
}

#[test]
fn a_command_that_fails_after_its_fault_makes_the_run_invalid() {
    let truth = Truth::ok();
    let fault = "exec:echo '{\"fault\": \"f\"}'; exit 4 @100ms";
    let ended =
        run(&truth.url, &["--rate", "50", "--duration", "1s", "--timeout", "100ms", "--fault", fault]);
    assert_eq!(ended.expect(3)["faults"][0]["fault"], "f");
}

#[test]
fn a_fault_that_does_not_recover_in_time_misses_the_goal() {
    let broken = scratch("broken");
    let truth = breakable(&broken);
    let fault = format!("exec:touch {} @200ms", broken.display());
    let options = ["--rate", "50", "--duration", "500ms", "--fault", &fault, "--fault-timeout", "1s"];
    let ended = run(&truth.url, &options);
    std::fs::remove_file(broken).unwrap();
    let report = ended.expect(1);
    assert_eq!(report["faults"][0]["recovered_after_ms"], serde_json::Value::Null);
    assert!(ended.stdout.contains("MISSED: \"touch"), "{}", ended.stdout);
}

#[test]
fn an_interrupted_run_reports_what_ran_and_lets_its_commands_undo() {
    let truth = Truth::ok();
    let undone = scratch("undone");
    let fault = format!(
        "exec:trap 'touch {}; exit' TERM; echo '{{\"fault\": \"long\"}}'; sleep 100 & wait @100ms",
        undone.display()
    );
    let mut run = start(&truth.url, &["--rate", "50", "--duration", "100s", "--fault", &fault]);
    let mut progress = BufReader::new(run.child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("long") {
        line.clear();
        assert!(progress.read_line(&mut line).unwrap() > 0, "told of the fault");
    }
    kill(Pid::from_raw(run.child.id().cast_signed()), Signal::SIGINT).unwrap();
    let ended = run.wait();
    let report = ended.expect(130);
    assert_eq!(report["interrupted"], true);
    assert!(report["succeeded"].as_u64().unwrap() > 0);
    assert_eq!(report["faults"][0]["fault"], "long");
    assert!(ended.stdout.contains("Interrupted"), "{}", ended.stdout);
    std::fs::remove_file(undone).expect("the command has undone what it did");
}

#[test]
fn a_load_goes_on_when_nobody_reads_its_progress() {
    let seen = Arc::new(AtomicBool::new(false));
    let truth = Truth::start({
        let seen = seen.clone();
        move |_, _| {
            seen.store(true, Ordering::SeqCst);
            Act::ok()
        }
    });
    let fault = "exec:echo '{\"fault\": \"f\"}' @100ms";
    let mut run =
        start(&truth.url, &["--rate", "50", "--duration", "1s", "--timeout", "100ms", "--fault", fault]);
    drop(run.child.stderr.take());
    assert_eq!(run.wait().expect(0)["failed"], 0);
    assert!(seen.load(Ordering::SeqCst));
}
