//! What the admin interface takes, refuses and tells.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::balancer::Balancer;
use crate::client::get;

#[tokio::test]
async fn a_lower_generation_is_refused_and_so_is_another_document_of_the_one_held() {
    let balancer = Balancer::start().await;
    let set = |generation: u64, pool: &str| json!({"generation": generation, "pools": {pool: []}});
    assert_eq!(balancer.put("/upstreams", &set(5, "five")).await.0, 200);
    let (status, problem) = balancer.put("/upstreams", &set(4, "four")).await;
    assert_eq!((status, &problem["held"]), (409, &json!(5)));
    assert_eq!(balancer.put("/upstreams", &set(5, "five")).await.0, 200, "the same again");
    let (status, problem) = balancer.put("/upstreams", &set(5, "other")).await;
    assert_eq!((status, &problem["held"]), (409, &json!(5)));
    assert_eq!(balancer.get_json("/upstreams").await, set(5, "five"));
    assert_eq!(balancer.put("/upstreams", &set(6, "six")).await.0, 200);
    assert_eq!(balancer.get_json("/upstreams").await, set(6, "six"));

    let config = |generation: u64| json!({"generation": generation, "routes": []});
    assert_eq!(balancer.put("/config", &config(9)).await.0, 200);
    let (status, problem) = balancer.put("/config", &config(8)).await;
    assert_eq!((status, &problem["held"]), (409, &json!(9)));
}

#[tokio::test]
async fn what_was_accepted_is_served_again_after_a_kill() {
    let mut balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    balancer.use_policy(json!({"max_tries": 7})).await;
    balancer.use_backends(&[&backend]).await;
    balancer.kill_and_restart().await;
    assert_eq!(get(balancer.clients(), "/").await.text(), "hello");
    assert_eq!(balancer.get_json("/config").await["pools"]["p"]["max_tries"], 7);
    std::fs::write(balancer.state_dir().join("upstreams.json"), "{\"generation\": 3, ").expect("written");
    balancer.kill_and_restart().await;
    assert_eq!(balancer.get_json("/upstreams").await["generation"], 0);
    assert!(balancer.state_dir().join("upstreams.json.unusable").exists());
    balancer.use_backends(&[&backend]).await;
    assert_eq!(get(balancer.clients(), "/").await.text(), "hello");
}

#[tokio::test]
async fn bad_bodies_are_refused_with_the_field_named() {
    let balancer = Balancer::start().await;
    let upstream = |id: &str, port: i64, weight: i64| json!({"id": id, "address": "127.0.0.9", "port": port, "weight": weight});
    let set = |upstreams: &[Value]| json!({"generation": 1, "pools": {"p": upstreams}});
    for (body, parameter) in [
        (set(&[upstream("a", 80, 1), upstream("a", 81, 1)]), "pools.p[1].id"),
        (set(&[upstream("", 80, 1)]), "pools.p[0].id"),
        (set(&[upstream("a", 0, 1)]), "pools.p[0].port"),
        (set(&[upstream("a", 70_000, 1)]), "pools.p[0].port"),
        (set(&[upstream("a", 80, 0)]), "pools.p[0].weight"),
        (set(&[json!({"id": "a", "address": "nowhere", "port": 80})]), "pools.p[0].address"),
        (json!({"generation": "one", "pools": {}}), "generation"),
    ] {
        let (status, problem) = balancer.put("/upstreams", &body).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(parameter)), "{problem}");
    }
    let route = |path: &str| json!({"name": "r", "path": path, "pool": "p"});
    for (routes, policy, parameter) in [
        (json!([route("no-slash")]), json!({}), "routes[0].path"),
        (json!([route("/"), route("/x")]), json!({}), "routes[1].name"),
        (json!([]), json!({"check": {"ask": {"tcp": {"send": ""}}}}), "pools.p.check.ask.tcp.send"),
        (
            json!([]),
            json!({"protocol": "h2c", "check": {"ask": {"http": {"path": "/x"}}}}),
            "pools.p.check.ask",
        ),
        (json!([]), json!({"max_tries": 0}), "pools.p.max_tries"),
        (json!([]), json!({"eject_min_ms": 10, "eject_max_ms": 5}), "pools.p.eject_min_ms"),
    ] {
        let body = json!({"generation": 1, "routes": routes, "pools": {"p": policy}});
        let (status, problem) = balancer.put("/config", &body).await;
        assert_eq!((status, &problem["parameter"]), (400, &json!(parameter)), "{problem}");
    }
    let (status, problem) = balancer.put("/config", &json!({"generation": 1, "route": []})).await;
    assert_eq!((status, &problem["parameter"]), (400, &json!("route")));
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.ends_with("; did you mean `routes`?"), "{detail}");
    let page = json!({"generation": 1, "routes": [], "error_pages": {"404": {"file": "/etc/hostname"}}});
    let (status, problem) = balancer.put("/config", &page).await;
    assert_eq!(
        (status, &problem["parameter"]),
        (400, &json!("error_pages.404.file")),
        "who pushes reads no files"
    );
}

#[tokio::test]
async fn changes_are_taken_from_managers_only() {
    let balancer = Balancer::start().await;
    let foreign = reqwest::Client::builder()
        .local_address("127.0.0.2".parse::<std::net::IpAddr>().expect("address"))
        .build()
        .expect("client");
    for path in ["/upstreams", "/config", "/vip"] {
        let answer =
            foreign.put(balancer.change(path)).json(&json!({"generation": 1})).send().await.expect("answer");
        assert_eq!(answer.status(), 403, "{path}");
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    assert_eq!(balancer.get_json("/upstreams").await["generation"], 0);
}

#[tokio::test]
async fn it_tells_about_itself() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    assert_eq!(balancer.get("/health/live").await.status(), 200);
    assert_eq!(balancer.get("/health/ready").await.status(), 503);
    balancer.use_backends(&[&backend]).await;
    assert_eq!(balancer.get("/health/ready").await.status(), 200);
    for _ in 0..3 {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    }
    assert_eq!(balancer.get_json("/vip").await, json!({"routers": [], "dropped": {}}));
    assert_eq!(balancer.put("/vip", &json!({"host_time_ms": 1})).await.0, 200, "as managers always say");
    assert_eq!(balancer.put("/vip", &json!({"priority": 100})).await.0, 409);
    let status = balancer.get_json("/status").await;
    assert_eq!(status["machine"], "test-lb");
    assert_eq!(status["pools"]["p"]["upstreams"][0]["requests"], 3, "{status}");
    for line in [
        "lb_requests_total{class=\"2xx\",pool=\"p\",route=\"default\"} 3".to_owned(),
        "lb_request_duration_seconds_count{route=\"default\",pool=\"p\"} 3".to_owned(),
        format!("lb_upstream_requests_total{{pool=\"p\",upstream=\"{}\"}} 3", backend.id()),
        "lb_upstreams_generation 1".to_owned(),
    ] {
        balancer.counts(&line).await;
    }
    let document = balancer.get_json("/api-docs/openapi.json").await;
    for path in ["/upstreams", "/config", "/status", "/vip", "/heartbeat", "/metrics"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    assert!(document["paths"]["/upstreams"]["put"].is_object());
    assert_eq!(balancer.get("/swagger-ui/").await.status(), 200);
    let mut heartbeat = balancer.get("/heartbeat").await;
    assert_eq!(heartbeat.chunk().await.expect("chunk").expect("a beat"), "data: {\"status\": \"OK\"}\n\n");
}
