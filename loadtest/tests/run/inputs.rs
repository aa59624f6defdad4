//! What cannot be done is refused before the first request, with what could be.

use std::process::Command;
use std::sync::atomic::Ordering;

use crate::process::run;
use crate::truth::{Act, Truth};

#[test]
fn bad_input_is_refused_before_the_first_request() {
    let truth = Truth::ok();
    let url = truth.url.as_str();
    for (url, options, expected) in [
        ("nonsense", &[][..], "http://"),
        ("ftp://127.0.0.1/", &[], "http://"),
        ("http://user@127.0.0.1/", &[], "user and password"),
        (url, &["--rate", "0"], "more than 0"),
        (url, &["--rate", "-1"], "--rate"),
        (url, &["--rate", "NaN"], "more than 0"),
        (url, &["--duration", "30"], "such as 500ms"),
        (url, &["--timeout", "0s"], "above 0"),
        (url, &["--min-availability", "101"], "0 to 100"),
        (url, &["--connections-max", "0"], "1.."),
        (url, &["--fault", "maim stateless @5s"], "`maim` is no fault"),
        (url, &["--fault", "kill stateless"], "expected \"kill|freeze"),
        (url, &["--fault", "kill stateless @5s"], "give its address with --manager"),
        (url, &["--manager", "192.168.10.1"], "such as http://192.168.10.1:8080"),
        (url, &["--no-such-option"], "unexpected argument"),
    ] {
        let ended = run(url, options);
        assert_eq!(ended.code, Some(2), "{url} {options:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{url} {options:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([url, "--json", "/nonexistent/report.json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be written"));
    assert_eq!(truth.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn a_run_does_not_start_without_a_manager_or_on_a_broken_cluster() {
    let truth = Truth::ok();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ended = run(&truth.url, &["--manager", &format!("http://{nobody}")]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("no manager answers"), "{}", ended.stderr);

    let broken =
        r#"{"host": "a", "whole": false, "missing": ["a-stateless-1 is booting"], "hosts": [], "vips": []}"#;
    let manager = Truth::start(move |_, _| Act::json(broken));
    let ended = run(&truth.url, &["--manager", &manager.url]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("a-stateless-1 is booting"), "{}", ended.stderr);
    assert_eq!(truth.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn the_help_says_what_the_program_is_and_how_it_ends() {
    for flag in ["-h", "--help"] {
        let output = Command::new(env!("CARGO_BIN_EXE_loadtest")).arg(flag).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.starts_with("Sends requests on schedule whether or not answers come"), "{help}");
        let headings = ["Load:", "Requests:", "Goals:", "Reports:", "Faults:", "Commands:"];
        assert!(headings.iter().all(|heading| help.contains(heading)), "{help}");
        assert_eq!(help.contains("Exit codes: 0 met, 1 missed, 2 bad input, 3 "), flag == "--help", "{help}");
    }
}
