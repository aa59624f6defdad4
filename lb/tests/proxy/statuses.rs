//! Answers that are not passed on: another upstream is asked instead.

use serde_json::{Value, json};

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::Reader;

/// How many requests are sent of each kind; both upstreams have their turns.
const REQUESTS: usize = 12;

const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy";

/// A balancer before one upstream that is well and one that is busy.
async fn stage(policy: Value) -> (Balancer, Backend, Backend) {
    let balancer = Balancer::start().await;
    let well = Backend::start(|_| Reply::Bytes(ok("well"))).await;
    let busy = Backend::start(|_| Reply::Bytes(BUSY.into())).await;
    push(&balancer, policy).await;
    balancer.use_backends(&[&well, &busy]).await;
    (balancer, well, busy)
}

/// Nobody is ejected for what it answers, and each has its turn.
async fn push(balancer: &Balancer, mut policy: Value) {
    policy["outlier"] = json!({"consecutive_5xx": 0, "failure_ratio": 0.0});
    policy["balance"] = json!({"algorithm": "round_robin"});
    let config = json!({"generation": 1, "routes": [{"name": "all", "pool": "p"}], "pools": {"p": policy}});
    let (status, problem) = balancer.put("/config", &config).await;
    assert_eq!(status, 200, "{problem}");
}

async fn statuses(balancer: &Balancer, request: &str, count: usize) -> Vec<u16> {
    let mut found = Vec::new();
    let mut client = Reader::connect(balancer.clients()).await;
    for _ in 0..count {
        let answer = client.ask(request).await;
        assert!(answer.whole, "{answer:?}");
        found.push(answer.status());
        if answer.headers.get("connection").is_some_and(|value| value == "close") {
            client = Reader::connect(balancer.clients()).await;
        }
    }
    found
}

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

#[tokio::test]
async fn another_is_asked_in_place_of_a_listed_status() {
    let generous = json!({"retry_statuses": [503], "retry_budget_per_second": 1000.0});
    let (balancer, _well, busy) = stage(generous).await;
    // By the way of what is at hand, and by Pingora's, where the body is asked for first.
    for request in [GET, "PUT / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"] {
        let before = busy.seen().len();
        assert_eq!(statuses(&balancer, request, REQUESTS).await, [200; REQUESTS], "{request}");
        assert!(busy.seen().len() > before, "it was asked too");
    }
    eventually("it is counted", async || {
        let metrics = balancer.get("/metrics").await.text().await.expect("text");
        let line =
            metrics.lines().find(|line| line.starts_with("lb_retries_total{pool=\"p\",reason=\"status\""))?;
        let count: usize = line.rsplit(' ').next()?.parse().ok()?;
        (count == busy.seen().len()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_may_not_be_repeated_is_answered_as_it_was() {
    let generous = json!({"retry_statuses": [503], "retry_budget_per_second": 1000.0});
    let (balancer, well, busy) = stage(generous).await;
    let found =
        statuses(&balancer, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi", REQUESTS).await;
    let refused = found.iter().filter(|&&status| status == 503).count();
    assert_eq!((refused, well.seen().len()), (busy.seen().len(), REQUESTS - refused));
    assert!(refused > 0, "{found:?}");
}

#[tokio::test]
async fn others_statuses_and_what_nobody_does_better_are_passed_on() {
    let (balancer, _well, busy) = stage(json!({"retry_statuses": [502, 504]})).await;
    assert!(statuses(&balancer, GET, REQUESTS).await.contains(&503));
    drop(busy);
    // All are busy: each is asked once, and the client has the last one's word.
    let balancer = Balancer::start().await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(Backend::start(|_| Reply::Bytes(BUSY.into())).await);
    }
    push(&balancer, json!({"retry_statuses": [503], "retry_budget_per_second": 1000.0})).await;
    balancer.use_backends(&all.iter().collect::<Vec<_>>()).await;
    let answer = Reader::connect(balancer.clients()).await.ask(GET).await;
    assert_eq!((answer.status(), answer.text().as_str()), (503, "busy"));
    assert_eq!(all.iter().map(|backend| backend.seen().len()).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn a_storm_is_bounded_by_the_budget() {
    let frugal = json!({"retry_statuses": [503], "retry_budget_ratio": 0.0, "retry_budget_per_second": 0.0});
    let (balancer, _well, busy) = stage(frugal).await;
    // It begins with a hundred retries in hand, and has no income.
    let found = statuses(&balancer, GET, 300).await;
    let refused = found.iter().filter(|&&status| status == 503).count();
    assert_eq!(busy.seen().len(), refused + 100);
}
