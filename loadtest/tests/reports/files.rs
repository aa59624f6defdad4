//! The forms of a report say the same, and are made again from its JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use loadtest::report::json;
use serde_json::Value;

use crate::process::scratch;
use crate::truth::{Act, Truth};

/// Runs the program without a load.
pub(crate) fn loadtest(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).args(words).output().unwrap()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

/// A server that fails some of the first requests, one way or another.
fn flawed() -> Truth {
    Truth::start(|number, _| match number {
        7 | 8 => Act::status(503),
        17 => Act::Close(String::new()),
        _ => Act::ok(),
    })
}

/// A run with faults of which everything was written; the report and the files' paths: JSON, HTML, JUnit, hgrm.
fn run_with_files() -> (Value, String, [PathBuf; 4]) {
    let truth = flawed();
    let files = ["json", "html", "xml", "hgrm"].map(scratch);
    let [json, html, junit, hgrm] = files.each_ref().map(|path| path.to_str().unwrap());
    let fault = "exec:echo '{\"fault\": \"cut <b> & \\\"quote\\\"\", \"machine\": \"m-1\"}' @500ms";
    let options = ["--rate", "40", "--duration", "1s", "--timeout", "2s", "--min-availability", "100"];
    let goals = ["--require", "p50<1h", "--require", "failed<1"];
    let outputs = ["--json", json, "--html", html, "--junit", junit, "--hgrm", hgrm, "--fault", fault];
    let ended = loadtest(&[&[truth.url.as_str()], &options[..], &goals, &outputs].concat());
    // A machine that is busy with other things may be late; that is not what is looked at here.
    assert!(matches!(ended.status.code(), Some(1 | 3)), "{}", said(&ended));
    let report = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    (report, String::from_utf8(ended.stdout).unwrap(), files)
}

fn remove(files: &[PathBuf]) {
    for file in files {
        fs::remove_file(file).unwrap();
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn every_form_is_made_again_from_the_json() {
    let (_, text, files) = run_with_files();
    let [json, html, junit, hgrm] = &files;
    let again = ["html", "xml", "hgrm"].map(scratch);
    let [html_again, junit_again, hgrm_again] = &again;
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .arg("report")
        .args([json, Path::new("--text"), Path::new("--html"), html_again, Path::new("--junit"), junit_again])
        .args([Path::new("--hgrm"), hgrm_again])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text, "the same text");
    assert!(read(html_again) == read(html), "{} is not {}", html_again.display(), html.display());
    assert_eq!(read(junit_again), read(junit));
    assert_eq!(read(hgrm_again), read(hgrm));
    assert_eq!(said(&loadtest(&["report", json.to_str().unwrap()])), text, "without a form: for people");
    remove(&files);
    remove(&again);
}

#[test]
fn the_time_line_and_the_histogram_have_every_request() {
    let (report, _, files) = run_with_files();
    assert_eq!(report["schema"], 1);
    let buckets = report["timeline"]["buckets"].as_array().unwrap();
    assert_eq!(report["timeline"]["bucket_ms"], 100.0);
    let sum = |of: &dyn Fn(&Value) -> u64| buckets.iter().map(of).sum::<u64>();
    assert_eq!(sum(&|bucket| bucket["succeeded"].as_u64().unwrap()), report["succeeded"]);
    for (kind, count) in report["failed_by_kind"].as_object().unwrap() {
        assert_eq!(sum(&|bucket| bucket["failed"][kind].as_u64().unwrap_or(0)), *count, "{kind}");
    }
    let cells = |pairs: &Value| -> u64 {
        pairs.as_array().unwrap().iter().map(|pair| pair[1].as_u64().unwrap()).sum()
    };
    assert_eq!(sum(&|bucket| cells(&bucket["latency"])), report["succeeded"]);
    assert_eq!(cells(&report["latency_histogram"]["counts"]), report["succeeded"].as_u64().unwrap());
    // A slot is due every 25 ms.
    for bucket in &buckets[..buckets.len() - 1] {
        let failed: u64 =
            bucket["failed"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        let all = bucket["succeeded"].as_u64().unwrap() + failed;
        assert!((3..=5).contains(&all), "{bucket}");
    }
    let slowest = report["latency_ms"]["max"].as_f64().unwrap();
    let highest = buckets.iter().filter_map(|bucket| bucket["max_ms"].as_f64()).fold(0.0, f64::max);
    assert!((highest..=highest * 1.001 + 0.001).contains(&slowest), "{slowest} is {highest} to a thousandth");
    let environment = &report["environment"];
    assert!(environment["kernel"].as_str().unwrap().starts_with("Linux"), "{environment}");
    let command: Vec<_> =
        environment["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(command[command.iter().position(|word| *word == "--rate").unwrap() + 1], "40");
    remove(&files);
}

#[test]
fn goals_targets_and_uncorrected_latency_are_in_every_form_for_people() {
    let (report, text, files) = run_with_files();
    let [_, html, junit, _] = &files;
    assert_eq!(report["thresholds"][0]["goal"], "p50<1h");
    let failed = report["failed"].as_f64().unwrap();
    assert_eq!(report["thresholds"][1]["figure"], failed);
    let samples = report["samples"].as_array().unwrap();
    assert_eq!((samples.len(), &samples[1]["label"]), (2, &"TOTAL".into()));
    assert_eq!(samples[1]["samples"], report["sent"]);

    let (page, xml) = (read(html), read(junit));
    for form in [&text, &xml] {
        let line = |start: &str| form.lines().any(|line| line.trim_start().starts_with(start));
        assert!(line("Uncorrected") && line("TOTAL"), "{form}");
    }
    let verdict = if report["valid"] == true { "missed" } else { "not judged" };
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.lines().any(|line| words(line) == format!("failed<1 {failed:.1} {verdict}")), "{text}");
    for shown in ["/thresholds/0/figure", "/samples/1/average_ms", "/uncorrected_ms/p99"] {
        assert!(page.contains(&format!("data-json=\"{shown}\"")), "{shown}");
    }
    remove(&files);
}

#[test]
fn other_programs_read_the_verdict_and_the_percentiles() {
    let (report, _, files) = run_with_files();
    let [_, _, junit, hgrm] = &files;
    let xml = quick_junit::Report::deserialize_from_str(&read(junit)).unwrap();
    let cases = &xml.test_suites[0].test_cases;
    let names: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(
        names,
        ["the run is sound", "p50<1h", "failed<1", "availability>=100", "1: cut <b> & \"quote\""]
    );
    let verdicts: Vec<_> = cases
        .iter()
        .map(|case| match case.status {
            quick_junit::TestCaseStatus::Success { .. } => "met",
            quick_junit::TestCaseStatus::NonSuccess { .. } => "missed",
            quick_junit::TestCaseStatus::Skipped { .. } => "not judged",
        })
        .collect();
    let judged = |verdict| if report["valid"] == true { verdict } else { "not judged" };
    assert_eq!(verdicts[1..], [judged("met"), judged("missed"), "missed", "met"]);

    let text = read(hgrm);
    let of_max = text.lines().find(|line| line.starts_with("#[Max")).unwrap();
    assert!(
        of_max.contains(&format!("Total count    = {:12}]", report["succeeded"].as_u64().unwrap())),
        "{text}"
    );
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().map(str::parse::<f64>).collect::<Result<Vec<_>, _>>());
    let rows: Vec<_> = rows.filter_map(Result::ok).filter(|row| row.len() >= 3).collect();
    assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2]), "{text}");
    let median = rows.iter().find(|row| row[1] >= 0.5).unwrap()[0];
    let expected = report["latency_ms"]["p50"].as_f64().unwrap();
    assert!((median - expected).abs() <= expected * 0.002 + 0.001, "{median} {expected}");
    remove(&files);
}

#[test]
fn the_schema_that_is_documented_is_the_reports() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/loadtest-report.schema.json");
    let mut schema = serde_json::to_string_pretty(&json::schema()).unwrap();
    schema.push('\n');
    if std::env::var_os("WRITE_SCHEMA").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    let documented = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        documented == schema,
        "WRITE_SCHEMA=1 cargo nextest run -p loadtest the_schema writes {}",
        path.display()
    );
    // What a run writes has all that the schema requires, and nothing that it does not know.
    let (report, _, files) = run_with_files();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let known = schema["properties"].as_object().unwrap();
    for key in report.as_object().unwrap().keys() {
        assert!(known.contains_key(key), "{key}");
    }
    for key in schema["required"].as_array().unwrap() {
        assert!(!report[key.as_str().unwrap()].is_null(), "{key}");
    }
    remove(&files);
}

#[test]
fn what_cannot_be_written_or_read_is_refused_and_nothing_is_sent() {
    let truth = Truth::ok();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (options, expected) in [
        (&["--html", "/nonexistent/report.html"][..], "--html /nonexistent/report.html: cannot be written"),
        (&["--junit", "/nonexistent/report.xml"], "--junit /nonexistent/report.xml: cannot be written"),
        (&["--hgrm", "/"], "--hgrm /: cannot be written"),
        (&["--html", "/tmp/same", "--hgrm", "/tmp/same"], "give each a file"),
        (&["--prometheus", &taken], "cannot be listened on"),
        (&["--prometheus", "nonsense"], "invalid socket address"),
    ] {
        let output = loadtest(&[&[truth.url.as_str()], options].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}");
        assert!(said(&output).contains(expected), "{options:?}: {}", said(&output));
    }
    assert_eq!(truth.requests.load(Ordering::SeqCst), 0);

    let file = scratch("json");
    let path = file.to_str().unwrap();
    for (content, expected) in [
        ("{\"schema\": 2}", "schema 2; this program reads schema 1"),
        ("{\"url\": \"http://127.0.0.1/\"}", "has no `schema`"),
        ("nonsense", "no report of loadtest in JSON"),
    ] {
        fs::write(&file, content).unwrap();
        for words in [&["report", path][..], &["compare", path, path]] {
            let output = loadtest(words);
            assert_eq!(output.status.code(), Some(2), "{words:?}: {}", said(&output));
            assert!(said(&output).contains(expected) && said(&output).contains(path), "{}", said(&output));
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
    fs::remove_file(file).unwrap();

    let (_, _, files) = run_with_files();
    let path = files[0].to_str().unwrap();
    let before = read(&files[0]);
    let output = loadtest(&["report", path, "--html", path]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--html would overwrite"), "{}", said(&output));
    assert_eq!(read(&files[0]), before);
    remove(&files);
}
