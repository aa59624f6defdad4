//! Values have the right JSON type and lie where they were asked for; what cannot be is refused by name.

use std::process::Command;

use serde_json::Value;

use crate::process::{Service, settings_file};

#[tokio::test]
async fn every_value_has_its_type_and_its_place() {
    let service = Service::start("");
    let value = async |path: &str| service.json(path).await["value"].clone();

    assert!(value("/random/boolean").await.is_boolean());
    assert_eq!(value("/random/boolean?probability=1").await, Value::Bool(true));
    assert_eq!(value("/random/boolean?probability=0").await, Value::Bool(false));
    assert_eq!(value("/random/integer?min=-7&max=-7").await, Value::from(-7));
    assert!((0..=100).contains(&value("/random/integer").await.as_i64().unwrap()));
    assert!((0..=99).contains(&value("/random/number").await.as_i64().unwrap()));
    // Whole numbers of a floating type are written as such.
    assert!(service.get("/random/float?min=5&max=5").await.text().await.unwrap().contains("5.0"));
    assert!(value("/random/double?min=2&max=2").await.is_f64());
    let float = value("/random/float?min=0.1&max=0.2").await.as_f64().unwrap();
    assert!((0.1..=0.2).contains(&float), "{float}");
}

#[tokio::test]
async fn the_widest_spans_are_answered() {
    let service = Service::start("");
    for _ in 0..20 {
        let path = format!("/random/integer?min={}&max={}", i64::MIN, i64::MAX);
        assert!(service.json(&path).await["value"].is_i64());
        let path = format!("/random/float?min={:e}&max={:e}", f32::MIN, f32::MAX);
        assert!(service.json(&path).await["value"].is_f64());
        let path = format!("/random/double?min={:e}&max={:e}", f64::MIN, f64::MAX);
        assert!(service.json(&path).await["value"].is_f64());
    }
}

#[tokio::test]
async fn bad_input_gets_a_problem_that_names_the_parameter_and_what_is_allowed() {
    let service = Service::start("");
    for (path, parameter, allowed) in [
        ("/random/boolean?probability=1.5", "probability", "0 to 1"),
        ("/random/boolean?probability=-0.1", "probability", "0 to 1"),
        ("/random/boolean?probability=NaN", "probability", "a finite number"),
        ("/random/boolean?probability=inf", "probability", "a finite number"),
        ("/random/boolean?probability=", "probability", "a finite number"),
        ("/random/integer?min=ten", "min", "a whole number from"),
        ("/random/integer?max=9223372036854775808", "max", "to 9223372036854775807"),
        ("/random/integer?min=2&max=1", "min", "must not be greater"),
        ("/random/float?max=1e39", "max", "a finite number of single precision"),
        ("/random/double?min=2.5&max=1.5", "min", "must not be greater"),
        ("/random/integer?mni=1", "mni", "expected `min` or `max`"),
        ("/stress?seconds=61", "seconds", "0 to 60"),
        ("/stress?seconds=-1", "seconds", "0 to 60"),
        ("/burn?millis=10001", "millis", "0 to 10000"),
        ("/status/199", "code", "200 to 599"),
        ("/status/teapot", "code", "u16"),
        ("/bytes/104857601", "n", "0 to 104857600"),
    ] {
        let response = service.get(path).await;
        assert_eq!(response.status(), 400, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        assert_eq!(response.headers()["x-served-by"], "m-1", "{path}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["parameter"], parameter, "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(allowed), "{path}: {problem}");
    }
}

#[tokio::test]
async fn the_interface_documents_itself_and_refuses_the_rest() {
    let service = Service::start("");
    let document = service.json("/api-docs/openapi.json").await;
    for path in ["/random/boolean", "/heartbeat", "/health/ready", "/metrics", "/stress", "/count"] {
        assert!(document["paths"][path].is_object(), "{path} is documented");
    }
    assert_eq!(service.get("/swagger-ui/").await.status(), 200);
    assert_eq!(service.get("/nowhere").await.status(), 404);
    let response = reqwest::Client::new().post(service.url("/random/number")).send().await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["x-served-by"], "m-1");
}

#[test]
fn settings_are_checked_without_starting() {
    let check = |text: &str| {
        let path = settings_file(text);
        let output = Command::new(env!("CARGO_BIN_EXE_stateless"))
            .args(["--check", "--config", path.to_str().unwrap()])
            .output()
            .unwrap();
        std::fs::remove_file(path).unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check("heartbeat_interval_ms = 100").0, Some(0));
    let (code, error) = check("heartbeat_intervall_ms = 100");
    assert_eq!(code, Some(2));
    assert!(error.contains(".toml:1:1: unknown field"), "{error}");
    assert!(error.contains("did you mean `heartbeat_interval_ms`?"), "{error}");
}
