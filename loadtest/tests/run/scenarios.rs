//! Scenario files: a whole run in one, refused with the place where it is wrong, and undone whatever happens.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::process::{Ended, Run, run_plain, scratch, start_plain};
use crate::truth::{Act, Truth};

fn written(text: &str) -> PathBuf {
    let file = scratch("scenario.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn play(text: &str, more: &[&str]) -> Ended {
    let file = written(text);
    let ended = run_plain(&[&["--scenario", file.to_str().unwrap()], more].concat());
    std::fs::remove_file(file).unwrap();
    ended
}

#[test]
fn a_scenario_is_a_whole_run() {
    let broken = scratch("broken");
    let path = broken.display().to_string();
    let file = broken.clone();
    let truth = Truth::start(move |_, _| if file.exists() { Act::status(503) } else { Act::ok() });
    let scenario = format!(
        "url = \"{}/x\"\nrequire = [\"availability>=50\", \"recovery<60s\"]\nslo = 99.9\n\
         [load]\nrate = 100\nduration = \"1s\"\nconnections = \"fresh\"\ntimeout = \"300ms\"\nseed = 5\n\
         [[target]]\npath = \"/one\"\n\
         [[fault]]\nexec = \"touch {path}\"\nundo = \"rm {path}\"\nfor = \"300ms\"\nat = \"300ms\"\n",
        truth.url
    );
    let ended = play(&scenario, &[]);
    assert!(!broken.exists());
    let report = ended.expect(0);
    assert_eq!(report["connections"]["kept"]["sent"], 0);
    assert_eq!((&report["load"]["seed"], &report["samples"][0]["label"]), (&json!(5), &json!("GET /one")));
    let fault = &report["faults"][0];
    let failed = fault["failed"].as_u64().unwrap();
    assert!((20..=60).contains(&failed), "30 were due while it was broken: {report}");
    // One or two may have been on their way when it broke.
    let all = report["failed"].as_u64().unwrap();
    assert!((failed..=failed + 5).contains(&all), "{all} failed: {report}");
    assert_eq!(report["failed_by_kind"], json!({"http-503": all}));
    let impact = &fault["impact"];
    let [at, first, last] = [&fault["at_ms"], &impact["first_failed_ms"], &impact["last_failed_ms"]]
        .map(|time| time.as_f64().unwrap());
    assert!(at <= first && first < last && last < at + 1500.0, "{fault}");
    assert!(impact["degraded_ms"].as_f64().unwrap() > 0.0, "{fault}");
    assert!(report["recovery"]["mttr_ms"].as_f64().unwrap() >= 250.0, "{report}");
    assert!(report["budget"]["longest_outage_month_percent"].as_f64().unwrap() > 0.0, "{report}");

    let rate = play(&scenario, &["--rate", "50", "--require", "failed<1"]);
    let report = rate.expect(1);
    assert_eq!(report["load"]["peak_rate"], 50.0, "what is given outranks the file");
    assert_eq!(report["thresholds"].as_array().unwrap().len(), 3, "but goals are added");
}

#[test]
fn what_is_wrong_is_shown_before_the_first_request() {
    let truth = Truth::ok();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("url = \"{}\"\n", truth.url);
    for (text, more, expected) in [
        (format!("{url}[load]\nrat = 5\n"), &[][..], ":3:1: unknown field `rat`"),
        (format!("{url}[load]\nrat = 5\n"), &[], "did you mean `rate`?"),
        (format!("{url}[load]\nrate = 0\n"), &[], "more than 0"),
        (format!("{url}[load]\nusers = 5\nrate = 5\n"), &[], "take one of them"),
        (format!("{url}[load]\nusers = 0\n"), &[], "expected 1 to"),
        (format!("{url}[load]\nloops = 5\n"), &[], "say how many there are"),
        (format!("{url}[load]\nduration = \"0s\"\n"), &[], "expected a time above it"),
        (format!("{url}[load]\nthreads = 0\n"), &[], "expected 1 to 256"),
        (format!("{url}[[fault]]\nkill = \"a\"\nat = \"5s\"\n"), &[], "give its address with --manager"),
        (format!("{url}managers = [\"http://{nobody}\"]\n"), &[], "no manager answers"),
        (format!("{url}require = [\"mttr<5s\"]\n"), &[], "about faults, and there is none"),
        (format!("{url}require = [\"budget<50\"]\n"), &[], "needs --slo"),
        (format!("{url}require = [\"outgae<50ms\"]\n"), &[], "did you mean `outage`?"),
        (format!("{url}ca = \"none.pem\"\n"), &[], "none.pem"),
        (format!("{url}[[target]]\nregex = \"(\"\n"), &[], "no regular expression"),
        (format!("{url}[[fault]]\nexec = \"a\"\nevery = \"1ms\"\n"), &[], "further apart"),
        ("[load]\nrate = 5\n".to_owned(), &[], "has no url"),
        ("url = \"nonsense\"\n".to_owned(), &[], "http://"),
        (url.clone(), &["--users", "5", "--rate", "5"], "cannot be used with"),
        (url.clone(), &["--stages", "1m"], "such as 1m:100,2m:2000"),
        (
            url.clone(),
            &["--targets", "/nonexistent/targets.toml"],
            "/nonexistent/targets.toml: cannot be read",
        ),
        (url.clone(), &["--json", "/nonexistent/r.json"], "cannot be written"),
    ] {
        let ended = play(&text, more);
        assert_eq!(ended.code, Some(2), "{text} {more:?}: {}{}", ended.stdout, ended.stderr);
        assert!(ended.stderr.contains(expected), "{text} {more:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    let ended = run_plain(&["--scenario", "/nonexistent/s.toml"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("/nonexistent/s.toml: cannot be read"), "{}", ended.stderr);
    assert_eq!(truth.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn what_was_broken_is_mended_when_the_run_is_interrupted() {
    let truth = Truth::ok();
    let (broken, undone) = (scratch("broken"), scratch("undone"));
    let scenario = format!(
        "url = \"{}\"\n[load]\nrate = 50\nduration = \"100s\"\n\
         [[fault]]\nexec = \"touch {}\"\nundo = \"rm {}; touch {}\"\nat = \"100ms\"\n",
        truth.url,
        broken.display(),
        broken.display(),
        undone.display()
    );
    let file = written(&scenario);
    let run: Run = start_plain(&["--scenario", file.to_str().unwrap()]);
    let begun = std::time::Instant::now();
    while !broken.exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "the fault is injected");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill(Pid::from_raw(run.child.id().cast_signed()), Signal::SIGINT).unwrap();
    let ended = run.wait();
    std::fs::remove_file(file).unwrap();
    assert_eq!(ended.expect(130)["interrupted"], true);
    assert!(ended.stdout.contains("Interrupted"), "{}", ended.stdout);
    assert!(!broken.exists());
    std::fs::remove_file(undone).expect("undone");
}

#[test]
fn a_load_that_ends_before_its_faults_is_no_measurement() {
    let truth = Truth::ok();
    let scenario = format!(
        "url = \"{}\"\n[load]\nusers = 2\nloops = 3\n[[fault]]\nexec = \"true\"\nat = \"50s\"\n",
        truth.url
    );
    let ended = play(&scenario, &[]);
    ended.expect(3);
    assert!(ended.stdout.contains("the load had ended before it was due"), "{}", ended.stdout);
}
