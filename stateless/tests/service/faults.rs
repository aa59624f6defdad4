//! The test routes do what they say, and what they did can be counted.

use std::time::{Duration, Instant};

use reqwest::Client;

use crate::process::Service;

/// The value of the series that starts with `name`; 0 while there is none.
async fn metric(service: &Service, name: &str) -> f64 {
    let text = service.get("/metrics").await.text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(name));
    line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn what_was_executed_is_counted_even_if_the_client_gave_up() {
    const EXECUTED: &str = r#"stateless_executions_total{method="GET",route="/stress"}"#;
    let service = Service::start("");
    let begun = Instant::now();
    service.json("/stress?seconds=0.2").await;
    assert!(begun.elapsed() >= Duration::from_millis(200));

    let impatient = Client::builder().timeout(Duration::from_millis(300)).build().unwrap();
    impatient.get(service.url("/stress?seconds=60")).send().await.unwrap_err();
    assert_eq!(metric(&service, EXECUTED).await, 2.0);
    let answered = r#"stateless_requests_total{method="GET",route="/stress",status="200"}"#;
    assert_eq!(metric(&service, answered).await, 1.0);

    // Paths that a client invents make no series.
    service.get("/a").await;
    service.get("/b").await;
    assert_eq!(metric(&service, r#"stateless_executions_total{method="GET",route="unmatched"}"#).await, 2.0);
    assert!(metric(&service, "process_open_fds").await > 0.0);
}

#[tokio::test]
async fn posts_are_counted() {
    let service = Service::start("");
    for _ in 0..3 {
        Client::new().post(service.url("/count")).send().await.unwrap();
    }
    assert_eq!(service.json("/count").await["posts"], 3);
}

#[tokio::test]
async fn statuses_bytes_and_echoes_come_as_ordered() {
    let service = Service::start("");
    for code in [200, 204, 304, 404, 503, 599] {
        assert_eq!(service.get(&format!("/status/{code}")).await.status(), code);
    }
    for n in [0, 1, 65_536, 1_000_000] {
        let response = service.get(&format!("/bytes/{n}")).await;
        assert_eq!(response.content_length(), Some(n));
        assert_eq!(response.bytes().await.unwrap().len() as u64, n);
    }
    let put = Client::new().put(service.url("/echo")).header("content-type", "text/x-test").body("hello");
    let response = put.send().await.unwrap();
    assert_eq!(response.headers()["x-echo-method"], "PUT");
    assert_eq!(response.headers()["content-type"], "text/x-test");
    assert_eq!(response.text().await.unwrap(), "hello");
    let large = Client::new().post(service.url("/echo")).body(vec![b'x'; (8 << 20) + 1]);
    assert_eq!(large.send().await.unwrap().status(), 413);
}

#[tokio::test]
async fn every_execution_of_a_post_is_seen() {
    let service = Service::start("");
    for id in ["7", "8", "7", ""] {
        let response = Client::new().post(service.url("/count")).body(id).send().await.unwrap();
        assert_eq!(response.status(), 200, "{id}");
    }
    let long = Client::new().post(service.url("/count")).body("x".repeat(65)).send().await.unwrap();
    assert_eq!(long.status(), 400);
    assert_eq!(service.get("/count").await.json::<serde_json::Value>().await.unwrap()["posts"], 4);
    assert_eq!(service.get("/count/ids").await.text().await.unwrap(), "7\n8\n7\n");
}

#[tokio::test]
async fn what_was_executed_survives_a_sudden_death() {
    let file = std::env::temp_dir().join(format!("stateless-ids-{}", std::process::id()));
    let service = Service::start(&format!("count_file = {file:?}"));
    for id in ["1", "2", "1"] {
        Client::new().post(service.url("/count")).body(id).send().await.unwrap();
    }
    // Killed.
    drop(service);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n2\n1\n");
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn a_delay_holds_every_answer_back_until_it_is_taken_away() {
    let service = Service::start("");
    let took = async |path: &str| {
        let begun = std::time::Instant::now();
        assert_eq!(service.get(path).await.status(), 200, "{path}");
        begun.elapsed()
    };
    let put = async |path: &str| Client::new().put(service.url(path)).send().await.unwrap().status();
    assert_eq!(put("/delay?millis=1000").await, 200);
    assert!(took("/random/number").await >= Duration::from_millis(1000));
    assert!(took("/health/ready").await >= Duration::from_millis(1000));
    assert_eq!(put("/delay?millis=0").await, 200);
    assert_eq!(put("/delay?millis=10001").await, 400);
    assert!(took("/random/number").await < Duration::from_millis(1000));
}

#[tokio::test]
async fn heartbeats_go_on_while_the_machine_is_at_work() {
    let service = Service::start("heartbeat_interval_ms = 20");
    let mut beats = service.get("/heartbeat").await;
    assert_eq!(beats.headers()["content-type"], "text/event-stream");
    let url = service.url("/burn?millis=500");
    let burning: Vec<_> = (0..4).map(|_| tokio::spawn(reqwest::get(url.clone()))).collect();
    let mut seen = 0;
    while !burning.iter().all(tokio::task::JoinHandle::is_finished) {
        assert_eq!(beats.chunk().await.unwrap().unwrap(), "data: {\"status\": \"OK\"}\n\n");
        seen += 1;
    }
    assert!(seen >= 3, "{seen} beats in at least half a second");
}

#[tokio::test]
async fn a_service_in_production_has_no_test_routes() {
    let service = Service::start("test_routes = false");
    for path in
        ["/stress", "/burn", "/status/200", "/bytes/1", "/echo", "/count", "/count/ids", "/delay?millis=1"]
    {
        assert_eq!(service.get(path).await.status(), 404, "{path}");
    }
    assert_eq!(service.get("/random/number").await.status(), 200);
}
