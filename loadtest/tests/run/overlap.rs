//! Faults that are in force at the same time: each is over when its own victim is well, and is charged with what
//! happened in its own time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::run;
use crate::truth::{Act, Truth};

/// When the machines 1 and 2 of host a were hurt, and for how long each is.
type Hurt = Arc<Mutex<[Option<Instant>; 2]>>;
const KILLED_FOR: Duration = Duration::from_millis(400);
const FROZEN_FOR: Duration = Duration::from_secs(2);

fn hurt(hurt: &Hurt) -> [bool; 2] {
    let hurt = hurt.lock().unwrap();
    let within = |at: Option<Instant>, time| at.is_some_and(|at| at.elapsed() < time);
    [within(hurt[0], KILLED_FOR), within(hurt[1], FROZEN_FOR)]
}

/// The manager of both: the first is rebuilt when it was killed, the second stays what it is when it was frozen.
fn manager(hurt_at: &Hurt) -> (Truth, Arc<Mutex<Vec<String>>>) {
    let (hurt_at, orders) = (hurt_at.clone(), Arc::new(Mutex::new(Vec::new())));
    let told = orders.clone();
    let truth = Truth::start(move |_, line| {
        if line.starts_with("POST") {
            if line.ends_with(" {}") {
                return Act::status(400);
            }
            told.lock().unwrap().push(line.to_owned());
            let index = usize::from(line.contains("a-stateless-2"));
            hurt_at.lock().unwrap()[index] = Some(Instant::now());
            return Act::json("{}");
        }
        let [first, second] = hurt(&hurt_at);
        let killed = hurt_at.lock().unwrap()[0].is_some();
        let machine = |name: &str, phase: &str, incarnation: u64| {
            json!({
                "id": name, "service": "stateless", "address": "192.168.10.11", "phase": phase, "reason": "",
                "incarnation": incarnation, "restarts": 0, "for_ms": 0, "crash_looping": false,
            })
        };
        let machines = [
            machine("a-stateless-1", if first { "booting" } else { "ready" }, if killed { 2 } else { 1 }),
            machine("a-stateless-2", if second { "suspect" } else { "ready" }, 1),
        ];
        let view = json!({
            "host": "a", "whole": !first && !second, "missing": [], "vips": [],
            "hosts": [{
                "name": "a", "address": "192.168.10.1", "alive": true, "heard_ms_ago": null, "epoch": 1,
                "desired": 2, "machines": machines, "lb": null, "warnings": [],
            }],
        });
        Act::json(&view.to_string())
    });
    (truth, orders)
}

#[test]
fn each_of_several_faults_has_its_own_verdict() {
    let hurt_at = Hurt::default();
    let of_service = hurt_at.clone();
    // What is asked of the first fails while it is away; what is asked of the second while it stands still.
    let service = Truth::start(move |number, _| match hurt(&of_service) {
        [true, _] if number % 2 == 0 => Act::status(502),
        [_, true] if number % 2 == 1 => Act::status(504),
        _ => Act::ok(),
    });
    let (manager, orders) = manager(&hurt_at);
    let options = [
        "--rate",
        "200",
        "--duration",
        "2s",
        "--manager",
        &manager.url,
        "--fault",
        "freeze a-stateless-2 for 2s @300ms",
        "--fault",
        "kill a-stateless-1 @1s overlap",
        "--fault",
        "exec:echo '{\"fault\": \"third\"}' @+100ms",
    ];
    let ended = run(&service.url, &options);
    let report = ended.expect(0);
    assert_eq!(
        *orders.lock().unwrap(),
        [
            "POST /vms/a-stateless-2/fault HTTP/1.1 {\"fault\":\"freeze\",\"ttl_ms\":2000}",
            "POST /vms/a-stateless-1/fault HTTP/1.1 {\"fault\":\"kill\"}"
        ]
    );
    let [freeze, kill, third] = &report["faults"].as_array().unwrap()[..] else { panic!("{report}") };
    let figure =
        |fault: &Value, name: &str| fault[name].as_f64().unwrap_or_else(|| panic!("{name}: {fault}"));
    assert_eq!((&freeze["victim"], &kill["victim"]), (&json!("a-stateless-2"), &json!("a-stateless-1")));
    assert_eq!(
        (&freeze["overlaps"], &kill["overlaps"], &third["overlaps"]),
        (&json!([2]), &json!([1]), &json!([]))
    );

    // The second came while the first was in force, and was over before it though the cluster was not whole.
    let frozen_at = figure(freeze, "at_ms");
    assert!((1000.0..2200.0).contains(&figure(kill, "at_ms")), "{kill}");
    assert!((400.0..1200.0).contains(&figure(kill, "recovered_after_ms")), "{kill}");
    assert!(figure(freeze, "recovered_after_ms") >= 3000.0, "{freeze}");
    assert!(figure(third, "at_ms") >= frozen_at + figure(freeze, "recovered_after_ms") + 100.0, "{third}");

    // All that failed was in the first one's time, and of the second kind only what was in the second's.
    let count = |fault: &Value, kind: &str| fault["failed_by_kind"][kind].as_u64().unwrap_or_default();
    assert_eq!(freeze["failed_by_kind"], report["failed_by_kind"], "one under way when it came among them");
    assert_eq!(count(kill, "http-502"), count(freeze, "http-502"));
    assert!((30..=60).contains(&count(kill, "http-502")), "{kill}");
    assert!((150..=220).contains(&count(freeze, "http-504")), "{freeze}");
    assert!(count(kill, "http-504") < count(freeze, "http-504"), "{kill} {freeze}");
    assert_eq!(third["failed"], 0);
    assert!(ended.stdout.contains("freeze a-stateless-2 (while #2)"), "{}", ended.stdout);
}

#[test]
fn an_overlapping_fault_does_not_wait_behind_one_that_waits() {
    let truth = Truth::ok();
    let say = |name: &str| format!("exec:echo '{{\"fault\": \"{name}\"}}'");
    // Without a manager a fault takes until requests have succeeded for a second.
    let options = [
        "--rate",
        "50",
        "--duration",
        "1s",
        "--timeout",
        "100ms",
        "--fault",
        &format!("{} @100ms", say("one")),
        "--fault",
        &format!("{} @200ms", say("two")),
        "--fault",
        &format!("{} @300ms overlap", say("three")),
    ];
    let ended = run(&truth.url, &options);
    let faults = ended.expect(0)["faults"].as_array().unwrap().clone();
    let names: Vec<_> = faults.iter().map(|fault| fault["fault"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "three", "two"]);
    let at = |index: usize| faults[index]["at_ms"].as_f64().unwrap();
    let over = |index: usize| at(index) + faults[index]["recovered_after_ms"].as_f64().unwrap();
    assert!(at(2) >= over(0).max(over(1)), "{faults:?}");
}
