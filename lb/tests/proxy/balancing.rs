//! Requests are spread as the pool's policy says.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::{Message, Reader, get, post};

/// Some backends that answer with their own ids.
async fn named(count: usize) -> Vec<Backend> {
    let mut backends = Vec::new();
    for n in 0..count {
        let name = n.to_string();
        backends.push(Backend::start(move |_| Reply::Bytes(ok(&name))).await);
    }
    backends
}

fn all(backends: &[Backend]) -> Vec<&Backend> {
    backends.iter().collect()
}

async fn ask_with(balancer: &Balancer, method: &str, fields: &str) -> Message {
    let request = format!("{method} / HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n{fields}\r\n");
    Reader::connect(balancer.clients()).await.ask(&request).await
}

#[tokio::test]
async fn round_robin_gives_each_its_turn() {
    let balancer = Balancer::start().await;
    let backends = named(3).await;
    balancer.use_policy(json!({"balance": {"algorithm": "round_robin", "slow_start_ms": 0}})).await;
    balancer.use_backends(&all(&backends)).await;
    for _ in 0..30 {
        assert_eq!(get(balancer.clients(), "/").await.status(), 200);
    }
    let counts: Vec<_> = backends.iter().map(|backend| backend.seen().len()).collect();
    assert_eq!(counts, [10, 10, 10]);
}

#[tokio::test]
async fn a_key_keeps_its_upstream_when_another_goes() {
    let balancer = Balancer::start().await;
    let backends = named(4).await;
    let policy = json!({"balance": {"algorithm": "ring_hash", "hash_key": {"header": "X-User"}}});
    balancer.use_policy(policy).await;
    balancer.use_backends(&all(&backends)).await;
    let owner = async |user: usize| ask_with(&balancer, "GET", &format!("X-User: u{user}\r\n")).await.text();
    let mut owners = Vec::new();
    for user in 0..20 {
        owners.push(owner(user).await);
        assert_eq!(owner(user).await, owners[user]);
        let posted = ask_with(&balancer, "POST", &format!("X-User: u{user}\r\n")).await;
        assert_eq!(posted.text(), owners[user], "whichever way it is forwarded");
    }
    balancer.use_backends(&all(&backends[..3])).await;
    for (user, before) in owners.iter().enumerate() {
        let now = owner(user).await;
        assert!(now == *before || before == "3", "{user}: {before} then {now}");
    }
}

#[tokio::test]
async fn a_cookie_keeps_a_client_and_cannot_be_made_up() {
    let mut balancer = Balancer::start().await;
    let backends = named(3).await;
    let sticky = json!({"cookie": "at", "key": "thirty-two bytes that are secret"});
    balancer.use_policy(json!({"balance": {"sticky": sticky}})).await;
    balancer.use_backends(&all(&backends)).await;
    let first = ask_with(&balancer, "GET", "").await;
    let set = &first.headers["set-cookie"];
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    let cookie = set.split(';').next().expect("a pair").to_owned();
    for method in ["GET", "POST", "GET", "PUT"] {
        let again = ask_with(&balancer, method, &format!("Cookie: a=b; {cookie}\r\n")).await;
        assert_eq!(again.text(), first.text());
        assert!(!again.headers.contains_key("set-cookie"), "it has it already");
    }
    let forged = format!("{}0", &cookie[..cookie.len() - 1]);
    let forged = if forged == cookie { format!("{}1", &cookie[..cookie.len() - 1]) } else { forged };
    let answer = ask_with(&balancer, "GET", &format!("Cookie: {forged}\r\n")).await;
    assert!(answer.headers.contains_key("set-cookie"), "a forged one is as good as none");

    let config = balancer.get_json("/config").await;
    assert_eq!(config["pools"]["p"]["balance"]["sticky"]["key"], "(hidden)");
    balancer.kill_and_restart().await;
    let after = ask_with(&balancer, "GET", &format!("Cookie: {cookie}\r\n")).await;
    assert_eq!(after.text(), first.text(), "the key was kept");

    let gone: usize = first.text().parse().expect("a number");
    let others: Vec<_> = (0..3).filter(|&n| n != gone).map(|n| &backends[n]).collect();
    let upstreams: Vec<_> = others.iter().map(|backend| backend.upstream()).collect();
    let answer = balancer.put("/upstreams", &json!({"generation": 50, "pools": {"p": upstreams}})).await;
    assert_eq!(answer.0, 200, "{answer:?}");
    let moved = ask_with(&balancer, "GET", &format!("Cookie: {cookie}\r\n")).await;
    assert_eq!(moved.status(), 200);
    assert!(moved.headers["set-cookie"].starts_with("at="), "it is told where it is now");
}

#[tokio::test]
async fn the_own_zone_is_used_while_it_is_idle() {
    let balancer = Balancer::start_also_with("zone = \"a\"").await;
    let backends = named(4).await;
    let zoned = |zones: [&str; 4]| {
        let upstreams = backends.iter().zip(zones).map(|(backend, zone)| {
            let mut upstream = backend.upstream();
            upstream["zone"] = zone.into();
            upstream
        });
        upstreams.collect::<Vec<_>>()
    };
    // By load, not by a stall of the machine that runs the test.
    balancer.use_policy(json!({"balance": {"zone_spill": 500}})).await;
    balancer.use_upstreams(&zoned(["b", "a", "b", "a"])).await;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..40 {
        *seen.entry(get(balancer.clients(), "/").await.text()).or_default() += 1;
    }
    assert_eq!(seen.keys().collect::<Vec<_>>(), ["1", "3"], "{seen:?}");
    balancer.use_upstreams(&zoned(["b", "c", "b", "c"])).await;
    assert_eq!(get(balancer.clients(), "/").await.status(), 200, "better another zone than none");
}

#[tokio::test]
async fn an_upstream_gets_no_more_than_its_fill_and_the_rest_wait_their_turn() {
    let balancer = Balancer::start().await;
    let backend = Backend::start(|_| Reply::Parts(vec![(Duration::from_millis(100), ok("done"))])).await;
    let limits = json!({"max_requests": 2, "max_pending": 4, "pending_timeout_ms": 20_000});
    balancer.use_policy(json!({"upstream_limits": limits})).await;
    balancer.use_backends(&[&backend]).await;
    let clients = balancer.clients();
    let asked: Vec<_> = (0..6).map(|_| tokio::spawn(get(clients, "/"))).collect();
    for answer in asked {
        assert_eq!(answer.await.expect("no panic").text(), "done");
    }
    let record = balancer.record(&backend).await;
    assert_eq!((&record["most_in_flight"], &record["requests"]), (&json!(2), &json!(6)), "{record}");
}

#[tokio::test]
async fn nobody_in_line_is_forgotten() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    let limits = json!({"max_requests": 1, "max_pending": 1_000, "pending_timeout_ms": 15_000});
    balancer.use_policy(json!({"upstream_limits": limits})).await;
    balancer.use_backends(&[&backend]).await;
    let clients = balancer.clients();
    for _ in 0..5 {
        let asked: Vec<_> = (0..40)
            .map(|n| {
                tokio::spawn(async move {
                    if n % 2 == 0 { get(clients, "/").await } else { post(clients, "/", "x").await }
                })
            })
            .collect();
        for answer in asked {
            assert_eq!(answer.await.expect("no panic").status(), 200);
        }
    }
    let record = balancer.record(&backend).await;
    assert_eq!((&record["most_in_flight"], &record["requests"]), (&json!(1), &json!(200)), "{record}");
}

#[tokio::test]
async fn when_the_line_is_full_or_takes_too_long_503() {
    let balancer = Balancer::start_with("half_closed_ms = 0").await;
    let backend = Backend::start(|request| match request.path() {
        "/held" => Reply::Nothing,
        _ => Reply::Bytes(ok("")),
    })
    .await;
    let limits = json!({"max_requests": 1, "max_pending": 1, "pending_timeout_ms": 400});
    balancer
        .use_policy(
            json!({"upstream_limits": limits, "first_byte_cold_ms": 60_000, "first_byte_max_ms": 60_000}),
        )
        .await;
    balancer.use_backends(&[&backend]).await;
    let clients = balancer.clients();
    let held = tokio::spawn(get(clients, "/held"));
    eventually("it is held", async || (!backend.seen().is_empty()).then_some(())).await;
    let waiting = tokio::spawn(get(clients, "/second"));
    let pool = async || balancer.get_json("/status").await["pools"]["p"].clone();
    eventually("one waits", async || (pool().await["waiting"] == 1).then_some(())).await;
    let refused = get(clients, "/third").await;
    assert_eq!((refused.status(), refused.headers.contains_key("retry-after")), (503, true));
    let waited = waiting.await.expect("no panic");
    assert_eq!(waited.status(), 503, "{waited:?}");
    assert_eq!(pool().await["overloaded"], 2);
    held.abort();
    let _ = held.await;
    eventually("there is room again", async || (get(clients, "/").await.status() == 200).then_some(())).await;
}

#[tokio::test]
async fn no_more_connections_are_open_than_allowed() {
    let balancer = Balancer::start().await;
    let backend = Backend::healthy().await;
    balancer.use_policy(json!({"upstream_limits": {"max_connections": 3}})).await;
    balancer.use_backends(&[&backend]).await;
    let clients = balancer.clients();
    for _ in 0..10 {
        let asked: Vec<_> = (0..8).map(|_| tokio::spawn(get(clients, "/"))).collect();
        for answer in asked {
            assert_eq!(answer.await.expect("no panic").status(), 200);
        }
        // What the balancer has closed, the backend may not have seen yet.
        eventually("the rest is closed", async || (backend.open() <= 3).then_some(())).await;
        assert!(balancer.record(&backend).await["open_connections"].as_u64() <= Some(3));
    }
}
