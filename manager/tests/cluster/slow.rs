//! Slow answers are not failures: a machine that takes its time on one route is neither ejected nor
//! asked everything twice.

use std::thread;

use crate::lab::{Lab, VIP, machines};
use crate::load::Load;

/// So many slow requests at a time, so many times.
const AT_A_TIME: usize = 50;
const ROUNDS: usize = 3;

#[test]
fn slow_requests_eject_nobody_and_are_hardly_repeated() {
    let lab = Lab::start();
    let slow = thread::scope(|scope| {
        let load = Load::of_seconds(8).start(&lab, scope);
        // xargs keeps the number up: a new one starts when one is answered.
        let command = format!(
            "seq {} | xargs -P {AT_A_TIME} -I{{}} curl -s -o /dev/null -m 20 -w '%{{http_code}}\\n' 'http://{VIP}/stress?seconds=2'",
            AT_A_TIME * ROUNDS
        );
        let slow = lab.exec("client", &["sh", "-c", &command]).ok();
        load.join().expect("a report").assert_nobody_noticed();
        slow
    });
    let answers: Vec<&str> = slow.lines().collect();
    assert_eq!(answers, vec!["200"; AT_A_TIME * ROUNDS]);

    let view = lab.cluster();
    let executed: f64 = machines(&view)
        .into_iter()
        .filter(|machine| machine.service.as_str() == "stateless")
        .map(|machine| executions(&lab.get(&format!("http://{}:8080/metrics", machine.address))))
        .sum();
    #[allow(clippy::cast_precision_loss)]
    let each = executed / answers.len() as f64;
    println!("{} slow requests, executed {each} times each", answers.len());
    assert!((1.0..=1.1).contains(&each), "{executed} executions of {} requests", answers.len());

    let ejections = ejections(&lab);
    assert_eq!(ejections.len(), 8, "two balancers, four machines: {ejections:?}");
    assert!(ejections.iter().all(|(_, count)| *count == 0), "{ejections:?}");
}

/// How often a machine began to work on a slow request.
fn executions(metrics: &str) -> f64 {
    let samples = metrics
        .lines()
        .filter(|line| line.starts_with("stateless_executions_total{") && line.contains("route=\"/stress\""));
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// How often each balancer ejected each machine.
fn ejections(lab: &Lab) -> Vec<(String, u64)> {
    let mut counts = Vec::new();
    for lb in ["192.168.10.10", "192.168.10.20"] {
        let status = lab.get(&format!("http://{lb}:8080/status"));
        let status: serde_json::Value = serde_json::from_str(&status).expect("a status");
        for upstream in status["pools"]["stateless"]["upstreams"].as_array().expect("upstreams") {
            let count = upstream["ejections"].as_u64().expect("a count");
            counts.push((format!("{lb} {}", upstream["id"]), count));
        }
    }
    counts
}
