//! Every route and option of the service, asked wrongly: each refusal names what is at fault.

use std::process::Command;

use reqwest::{Client, Method};
use serde_json::Value;

use crate::asked_wrongly::{problem, uncovered, wrong_requests};
use crate::process::{Service, settings_file};

/// What cannot be meant: what is asked, the body, the field at fault, and what is said of it.
const TABLE: &[(&str, &[u8], &str, &str)] = &[
    ("GET /random/boolean?probability=2", b"", "probability", "0 to 1"),
    ("GET /random/integer?min=3&max=1", b"", "min", "max"),
    ("GET /random/float?min=NaN", b"", "min", "finite"),
    ("GET /random/double?min=1&max=0", b"", "min", "max"),
    ("GET /stress?seconds=61", b"", "seconds", "0 to 60"),
    ("GET /burn?millis=-1", b"", "millis", "0 to 10000"),
    ("GET /status/99", b"", "code", "200 to 599"),
    ("GET /bytes/104857601", b"", "n", "0 to 104857600"),
    ("PUT /delay?millis=10001", b"", "millis", "0 to 10000"),
    ("POST /count", b"\xff", "", "UTF-8"),
    ("POST /count", &[b'x'; 300], "", "at most"),
];

/// What takes any body.
const ECHO: &str = " /echo";

async fn ask(service: &Service, method: &str, path: &str, body: Vec<u8>) -> (u16, String, String) {
    let method: Method = method.parse().unwrap();
    let answer = Client::new().request(method, service.url(path)).body(body).send().await.unwrap();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    (answer.status().as_u16(), kind.unwrap_or_default(), answer.text().await.unwrap())
}

#[tokio::test]
async fn whatever_is_asked_wrongly_is_refused_with_what_is_at_fault() {
    let service = Service::start("");
    let document: Value = service.json("/api-docs/openapi.json").await;
    let all = wrong_requests(&document, &[]);
    assert!(all.len() > 60, "{}", all.len());
    for wrong in all {
        let (status, kind, body) = ask(&service, &wrong.method, &wrong.path, wrong.body.clone()).await;
        wrong.judge(status, &kind, &body);
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_what_is_allowed() {
    let service = Service::start("");
    let document: Value = service.json("/api-docs/openapi.json").await;
    let mut missing = uncovered(&document, TABLE.iter().map(|(asked, ..)| *asked));
    missing.retain(|operation| !operation.ends_with(ECHO));
    assert!(missing.is_empty(), "routes that no row asks wrongly: {missing:?}");
    for (asked, body, parameter, said) in TABLE {
        let (method, path) = asked.split_once(' ').unwrap();
        let (status, kind, text) = ask(&service, method, path, body.to_vec()).await;
        assert_eq!(status, 400, "{asked}: {text}");
        let problem = problem(asked, status, &kind, &text);
        assert_eq!(problem.parameter.as_deref().unwrap_or_default(), *parameter, "{asked}: {problem:?}");
        assert!(problem.detail.contains(said), "{asked}: {said:?} is not in {problem:?}");
    }
}

#[test]
fn what_is_typed_wrongly_ends_with_2_and_says_what_was_expected() {
    let bad = settings_file("heartbeat_interval_ms = 5\n");
    let place = bad.to_str().unwrap();
    for (words, said) in [
        (&["--nosuch"][..], "unexpected argument '--nosuch'"),
        (&["--confg", "x"], "a similar argument exists: '--config'"),
        (&["--config"], "a value is required for '--config <CONFIG>'"),
        (&["more"], "unexpected argument 'more'"),
        (&["--config", "/nowhere/s.toml"], "/nowhere/s.toml: cannot be read"),
        (&["--config", place], "10 to 60000"),
        (&["--check", "--config", place], "10 to 60000"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_stateless")).args(words).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {stderr}");
        assert!(stderr.contains(said) && output.stdout.is_empty(), "{words:?}: {said:?} is not in {stderr}");
    }
    std::fs::remove_file(bad).unwrap();
}
