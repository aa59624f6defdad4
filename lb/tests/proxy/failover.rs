//! A failing upstream is not the client's business, as long as nothing is executed twice that must not be.

use std::collections::BTreeMap;

use serde_json::json;

use crate::backend::{Backend, Reply, nobody, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::{Reader, get, post};

#[tokio::test]
async fn where_nothing_listens_the_next_upstream_answers() {
    let balancer = Balancer::start().await;
    let healthy = Backend::healthy().await;
    let dead = nobody().await;
    let dead = json!({"id": "dead", "address": dead.ip(), "port": dead.port()});
    balancer.use_upstreams(&[dead.clone(), healthy.upstream()]).await;
    for n in 0..20 {
        assert_eq!(get(balancer.clients(), &format!("/{n}")).await.status(), 200);
        assert_eq!(post(balancer.clients(), &format!("/{n}"), "body").await.status(), 200);
    }
    let status = balancer.get_json("/status").await;
    let record = &status["pools"]["p"]["upstreams"].as_array().expect("upstreams")[0];
    assert_eq!((&record["id"], &record["ejected"]), (&json!("dead"), &json!(true)), "{record}");
}

#[tokio::test]
async fn a_get_is_repeated_after_a_reset_and_a_post_is_not() {
    let balancer = Balancer::start().await;
    let resetting = Backend::start(|_| Reply::Reset).await;
    let healthy = Backend::healthy().await;
    // One that fails gets little to do otherwise.
    balancer.use_policy(json!({"eject_after": 100, "balance": {"algorithm": "round_robin"}})).await;
    balancer.use_backends(&[&resetting, &healthy]).await;
    let mut answers = BTreeMap::new();
    for n in 0..40 {
        assert_eq!(get(balancer.clients(), &format!("/get/{n}")).await.status(), 200);
        let status = post(balancer.clients(), &format!("/post/{n}"), "body").await.status();
        *answers.entry(status).or_insert(0) += 1;
    }
    let mut executed = BTreeMap::new();
    for request in resetting.seen().into_iter().chain(healthy.seen()) {
        if request.start.starts_with("POST") {
            *executed.entry(request.path().to_owned()).or_insert(0) += 1;
        }
    }
    assert_eq!(executed.len(), 40);
    assert!(executed.values().all(|&times| times == 1), "{executed:?}");
    let sent_to_resetting =
        resetting.seen().iter().filter(|request| request.start.starts_with("POST")).count();
    assert!(sent_to_resetting > 0);
    assert_eq!(answers.get(&502).copied().unwrap_or(0), sent_to_resetting, "{answers:?}");
}

#[tokio::test]
async fn an_idempotent_request_with_a_body_is_repeated() {
    let balancer = Balancer::start().await;
    let resetting = Backend::start(|_| Reply::Reset).await;
    let healthy = Backend::start(|request| Reply::Bytes(ok(&request.text()))).await;
    balancer.use_policy(json!({"eject_after": 100})).await;
    balancer.use_backends(&[&resetting, &healthy]).await;
    for n in 0..20 {
        let request = format!("PUT /{n} HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello");
        let answer = Reader::connect(balancer.clients()).await.ask(&request).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    }
    assert!(!resetting.seen().is_empty());
}

#[tokio::test]
async fn a_kept_connection_that_turns_out_closed_is_no_failure() {
    let balancer = Balancer::start().await;
    // Answers the first request on each connection and closes when the second one comes.
    let closing = std::sync::Mutex::new(false);
    let backend = Backend::start(move |_| {
        let mut answered = closing.lock().expect("lock");
        *answered = !*answered;
        if *answered { Reply::Bytes(ok("once")) } else { Reply::Reset }
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    let mut client = Reader::connect(balancer.clients()).await;
    for _ in 0..10 {
        assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.status(), 200);
    }
    let record = balancer.record(&backend).await;
    assert_eq!((&record["failures"], &record["ejections"]), (&json!(0), &json!(0)), "{record}");
}

#[tokio::test]
async fn an_upstream_that_comes_back_is_used_again() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    let other = Backend::healthy().await;
    balancer.use_backends(&[&backend, &other]).await;
    backend.stop().await;
    // Which of both is asked is chance.
    eventually("it is ejected", async || {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
        (balancer.record(&backend).await["ejected"] == true).then_some(())
    })
    .await;
    let again = Backend::start_at(backend.address, |_| Reply::Bytes(ok("again"))).await;
    balancer.is_ejected(&again, false).await;
    for _ in 0..20 {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    }
    assert!(!again.seen().is_empty());
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_complete() {
    let balancer = Balancer::start().await;
    // Such as are passed on as they come: a stream, and more than is held back.
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n";
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nhello";
    let backend = Backend::start(move |request| {
        Reply::Last(if request.path() == "/chunked" { chunked } else { length }.into())
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    for request in ["GET /chunked", "GET /length"] {
        for version in ["1.1", "1.0"] {
            let mut client = Reader::connect(balancer.clients()).await;
            client.send(&format!("{request} HTTP/{version}\r\nHost: test\r\n\r\n")).await;
            let head = client.head().await.expect("a head");
            assert_eq!(head.status(), 200);
            let mut end = [0u8; 64];
            let ended = loop {
                match tokio::io::AsyncReadExt::read(&mut client.tcp, &mut end).await {
                    Ok(0) => break "closed",
                    Ok(_) => {}
                    Err(_) => break "reset",
                }
            };
            assert_eq!(ended, "reset", "{request} {version}");
        }
    }
}

#[tokio::test]
async fn a_small_answer_that_breaks_off_is_fetched_from_the_next_upstream() {
    let balancer = Balancer::start().await;
    let breaking = Backend::start(|request| {
        Reply::Last(match request.path() {
            "/chunked" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel".to_vec(),
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 262144\r\n\r\nhello".to_vec(),
        })
    })
    .await;
    let whole = "x".repeat(256 << 10);
    let body = whole.clone();
    let healthy = Backend::start(move |_| Reply::Bytes(ok(&body))).await;
    balancer.use_policy(json!({"eject_after": 100})).await;
    balancer.use_backends(&[&breaking, &healthy]).await;
    for path in ["/chunked", "/length"].into_iter().cycle().take(20) {
        let answer = get(balancer.clients(), path).await;
        assert!(answer.status() == 200 && answer.whole && answer.text() == whole, "{path}: {}", answer.start);
    }
    assert!(!breaking.seen().is_empty());
}

#[tokio::test]
async fn a_post_may_be_repeated_where_its_client_or_its_route_says_so() {
    let balancer = Balancer::start().await;
    let resetting = Backend::start(|_| Reply::Reset).await;
    let healthy = Backend::start(|request| Reply::Bytes(ok(&request.text()))).await;
    let config = |generation, repeatable| {
        json!({
            "generation": generation,
            "routes": [{"name": "all", "pool": "p", "repeatable": repeatable}],
            // In turns: who fails is avoided otherwise.
            "pools": {"p": {"eject_after": 100, "balance": {"algorithm": "round_robin"}}},
        })
    };
    assert_eq!(balancer.put("/config", &config(1, false)).await.0, 200);
    balancer.use_backends(&[&resetting, &healthy]).await;
    let keyed = "POST /keyed HTTP/1.1\r\nHost: t\r\nIdempotency-Key: k\r\nContent-Length: 5\r\n\r\nhello";
    for _ in 0..10 {
        let answer = Reader::connect(balancer.clients()).await.ask(keyed).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    }
    assert_eq!(balancer.put("/config", &config(2, true)).await.0, 200);
    let large = "x".repeat(60 << 10);
    for _ in 0..10 {
        assert_eq!(post(balancer.clients(), "/", &large).await.text(), large);
    }
    assert!(resetting.seen().len() >= 2, "{}", resetting.seen().len());
}

#[tokio::test]
async fn a_refusal_says_whether_the_request_may_have_been_executed() {
    let balancer = Balancer::start().await;
    let resetting = Backend::start(|_| Reply::Reset).await;
    balancer.use_policy(json!({"hold_ms": 0})).await;
    balancer.use_backends(&[&resetting]).await;
    let kind = |answer: &crate::client::Message| {
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        problem["type"].as_str().expect("a type").to_owned()
    };
    let answer = post(balancer.clients(), "/", "x").await;
    assert_eq!((answer.status(), kind(&answer).as_str()), (502, "/problems/broken-off"));
    resetting.stop().await;
    let answer = post(balancer.clients(), "/", "x").await;
    assert_eq!((answer.status(), kind(&answer).as_str()), (503, "/problems/no-upstream"));
}

#[tokio::test]
async fn a_backup_is_used_while_there_is_nobody_else() {
    let balancer = Balancer::start().await;
    let primary = Backend::start(|_| Reply::Bytes(ok("primary"))).await;
    let backup = Backend::start(|_| Reply::Bytes(ok("backup"))).await;
    let mut second = backup.upstream();
    second["backup"] = true.into();
    // Whoever is a little late on a busy machine is waited for.
    balancer.use_policy(json!({"first_byte_cold_ms": 60_000, "first_byte_max_ms": 60_000})).await;
    balancer.use_upstreams(&[second, primary.upstream()]).await;
    let ask = async || {
        let answers = [get(balancer.clients(), "/").await, post(balancer.clients(), "/", "body").await];
        answers.map(|answer| answer.text())
    };
    for _ in 0..20 {
        assert_eq!(ask().await, ["primary", "primary"]);
    }
    primary.stop().await;
    for _ in 0..5 {
        assert_eq!(ask().await, ["backup", "backup"]);
    }
    let _again = Backend::start_at(primary.address, |_| Reply::Bytes(ok("primary"))).await;
    eventually("the first choice has the requests again", async || {
        (ask().await == ["primary", "primary"]).then_some(())
    })
    .await;
}
