//! Two real runs side by side.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::files::{loadtest, said};
use crate::process::{run, scratch};
use crate::truth::{Act, Truth};

/// The JSON of a run of three seconds against `truth`.
fn report_of(truth: &Truth) -> PathBuf {
    report_with(truth, &["--rate", "40", "--duration", "3s", "--timeout", "20s"])
}

fn report_with(truth: &Truth, options: &[&str]) -> PathBuf {
    let ended = run(&truth.url, options);
    let mut report = ended.json;
    // A machine that is busy with other things may have sent late; that is not what is looked at here.
    assert!(matches!(ended.code, Some(0 | 3)), "{}{}", ended.stdout, ended.stderr);
    report["valid"] = true.into();
    let path = scratch("json");
    fs::write(&path, serde_json::to_vec(&report).unwrap()).unwrap();
    path
}

#[test]
fn a_service_that_fails_is_told_from_one_that_does_not() {
    let good = report_of(&Truth::ok());
    let bad =
        report_of(&Truth::start(|number, _| if number % 2 == 0 { Act::status(500) } else { Act::ok() }));
    let (before, after) = (good.to_str().unwrap(), bad.to_str().unwrap());

    let same = loadtest(&["compare", before, before, "--fail-on-worse"]);
    assert_eq!(same.status.code(), Some(0), "{}", said(&same));
    assert!(said(&same).contains("No difference that is more than chance"), "{}", said(&same));

    let worse = loadtest(&["compare", before, after, "--fail-on-worse"]);
    assert_eq!(worse.status.code(), Some(1), "{}", said(&worse));
    assert!(said(&worse).contains("Worse: Availability %"), "{}", said(&worse));
    assert!(said(&worse).contains("Not the same in both: URL:"), "{}", said(&worse));
    assert_eq!(loadtest(&["compare", before, after]).status.code(), Some(0), "it only says so");

    let better = loadtest(&["compare", after, before, "-o", "json"]);
    assert_eq!(better.status.code(), Some(0), "{}", said(&better));
    let json: Value = serde_json::from_slice(&better.stdout).unwrap();
    assert_eq!(json["schema"], 1, "{json}");
    let figures = json["figures"].as_array().unwrap();
    let availability = figures.iter().find(|figure| figure["name"] == "availability_percent").unwrap();
    assert_eq!(availability["verdict"], "better", "{json}");
    assert_eq!((&availability["before"], &availability["after"]), (&50.0.into(), &100.0.into()));
    let (low, high) = (&availability["change_low"], &availability["change_high"]);
    assert!((0.0..=50.0).contains(&low.as_f64().unwrap()) && high.as_f64().unwrap() >= 50.0, "{json}");
    fs::remove_file(good).unwrap();
    fs::remove_file(bad).unwrap();
}

#[test]
fn what_users_reached_is_a_result_and_not_another_load() {
    let truth = Truth::ok();
    let users = ["--users", "2", "--loops", "20", "--think", "5ms"];
    let files =
        [&users[..], &users, &["--rate", "40", "--duration", "1s"]].map(|load| report_with(&truth, load));
    let [once, again, schedule] = files.each_ref().map(|file| file.to_str().unwrap());
    let same = said(&loadtest(&["compare", once, again]));
    assert!(!same.contains("load:") && !same.contains("requests/s:"), "{same}");
    let other = said(&loadtest(&["compare", once, schedule]));
    for load in ["closed loop, 2 users, 20 loops, 5 ms think time", "open loop, even arrivals"] {
        assert!(other.contains(load), "{load}: {other}");
    }
    files.into_iter().for_each(|file| fs::remove_file(file).unwrap());
}

#[test]
fn an_invalid_run_is_compared_with_nothing() {
    let truth = Truth::ok();
    let ended = run(&truth.url, &["--rate", "50", "--duration", "9s", "--fault", "exec:exit 3 @100ms"]);
    ended.expect(3);
    let path = scratch("json");
    fs::write(&path, serde_json::to_vec(&ended.json).unwrap()).unwrap();
    let output = loadtest(&["compare", path.to_str().unwrap(), path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(
        said(&output).contains("invalid run") && said(&output).contains("exit status: 3"),
        "{}",
        said(&output)
    );
    fs::remove_file(path).unwrap();
}
