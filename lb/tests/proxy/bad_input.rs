//! Every route of the admin interface, asked wrongly: each refusal is a problem document that names what is at fault.

use reqwest::Method;
use serde_json::Value;

use crate::asked_wrongly::{problem, uncovered, wrong_requests};
use crate::balancer::Balancer;

/// What managers of a later version may say more of.
const TOLERANT: [&str; 2] = ["PUT /upstreams", "PUT /certificate"];

/// What is valid JSON and cannot be meant: what is asked, the status, the field at fault, and what is said of it.
#[rustfmt::skip]
const TABLE: &[(&str, &str, u16, &str, &str)] = &[
    ("PUT /upstreams", r#"{"generation":1,"pools":{"p":[{"id":"a","address":"here","port":80}]}}"#, 400, "pools.p[0].address", "expected an address such as"),
    ("PUT /upstreams", r#"{"generation":1,"pools":{"p":[{"id":"a","address":"10.0.0.1","port":0}]}}"#, 400, "pools.p[0].port", "expected 1 to 65535"),
    ("PUT /upstreams", r#"{"generation":1,"pools":{"p":[{"id":"a","address":"10.0.0.1","port":80,"checked_elsewhere":"yes"}]}}"#, 400, "pools.p[0].checked_elsewhere", "expected a boolean"),
    ("PATCH /upstreams", r#"{"base":7,"generation":8,"digest":1,"pools":{}}"#, 400, "digest", "expected"),
    ("PUT /config", "[1,[],{}]", 400, "", "expected an object"),
    ("PUT /config", r#"{"generation":1,"route":[]}"#, 400, "route", "did you mean `routes`?"),
    ("PUT /config", r#"{"generation":1,"routes":[{"name":"r","pool":"p","path":"x"}]}"#, 400, "routes[0].path", "begins with a slash"),
    ("PUT /config", r#"{"generation":1,"routes":[],"tcp":[{"name":"db","port":8080,"pool":"db"}]}"#, 400, "tcp[0].port", "8080 is taken by the admin interface"),
    ("PUT /config", r#"{"generation":1,"routes":[],"tcp":[{"name":"db","port":3306}]}"#, 400, "tcp[0].pool", "is missing"),
    ("PUT /config", r#"{"generation":1,"routes":[],"tcp":[{"name":"db","pool":"db"}]}"#, 400, "tcp[0]", "missing field `port`"),
    ("PUT /config", r#"{"generation":1,"routes":[],"tcp":[{"name":"db","port":3306,"pools":"db"}]}"#, 400, "tcp[0].pools", "did you mean `pool`?"),
    ("PUT /config", r#"{"generation":1,"routes":[],"tcp":[{"name":"db","port":3306,"pool":"db","proxy_protocol_out":"v3"}]}"#, 400, "tcp[0].proxy_protocol_out", "expected `v1` or `v2`"),
    ("PUT /config", r#"{"generation":1,"routes":[],"tcp":[{"name":"a","port":1,"pool":"p"},{"name":"b","port":1,"pool":"p"}]}"#, 400, "tcp[1].port", "takes every connection, too"),
    ("PUT /config", r#"{"generation":1,"routes":[],"tcp":[{"name":"a","port":1,"sni":[{"names":["*"],"pool":"p"}]}]}"#, 400, "tcp[0].sni[0].names[0]", "such as"),
    ("PUT /config", r#"{"generation":1,"routes":[],"pools":{"p":{"protocol":"h2c"}},"tcp":[{"name":"a","port":1,"pool":"p"}]}"#, 400, "tcp[0].pool", "a pool of its own"),
    ("PUT /vip", r#"{"priority":240}"#, 409, "", "no [[vip]]"),
    ("PUT /vip", r#"{"priority":300}"#, 400, "priority", "expected u8"),
    ("PUT /vip", r#"{"address":"here"}"#, 400, "address", "expected an address such as"),
    ("PUT /vip", r#"{"action":"takeover"}"#, 400, "action", "did you mean `take_over`?"),
    ("PUT /hand-over", r#"{"addresses":["here"]}"#, 400, "addresses[0]", "expected an address such as"),
    ("PUT /hand-over", r#"{"idle_ms":-1}"#, 400, "idle_ms", "expected u64"),
    ("PUT /overrides/nobody", r#"{"weight":3}"#, 404, "machine", "see GET /status"),
    ("PUT /overrides/nobody", r#"{"mode":"drian"}"#, 400, "mode", "did you mean `drain`?"),
    ("DELETE /overrides/nobody", "", 404, "machine", "see GET /overrides"),
    ("PUT /certificate", r#"{"host":"a","ca":"x","chain":"x","key":"x","revocations":"x"}"#, 409, "", "`manager vm replace`"),
];

/// Asks on the port that the method is for; gives back status, content type and what was said. None: the connection ended
/// while it was still being sent.
async fn ask(balancer: &Balancer, method: &str, path: &str, body: Vec<u8>) -> Option<(u16, String, String)> {
    let is_large = body.len() > kit::api::MAX_BODY;
    let answer = match balancer.request(method.parse::<Method>().expect("a method"), path, body).await {
        Err(_) if is_large => return None,
        answer => answer.expect("an answer"),
    };
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
    Some((answer.status().as_u16(), kind.unwrap_or_default(), answer.text().await.expect("text")))
}

#[tokio::test]
async fn whatever_is_asked_wrongly_is_refused_with_what_is_at_fault() {
    let balancer = Balancer::start().await;
    let document: Value = balancer.get_json("/api-docs/openapi.json").await;
    let all = wrong_requests(&document, &TOLERANT);
    assert!(all.len() > 80, "{}", all.len());
    for wrong in all {
        if let Some((status, kind, body)) =
            ask(&balancer, &wrong.method, &wrong.path, wrong.body.clone()).await
        {
            wrong.judge(status, &kind, &body);
        }
    }
    assert_eq!(balancer.get_json("/upstreams").await["generation"], 0, "nothing was taken");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_a_remedy() {
    let balancer = Balancer::start().await;
    let document: Value = balancer.get_json("/api-docs/openapi.json").await;
    let missing = uncovered(&document, TABLE.iter().map(|(asked, ..)| *asked));
    assert!(missing.is_empty(), "routes that no row asks wrongly: {missing:?}");
    for (asked, body, expected, parameter, said) in TABLE {
        let (method, path) = asked.split_once(' ').expect("a method");
        let answer = ask(&balancer, method, path, body.as_bytes().to_vec()).await;
        let (status, kind, text) = answer.expect("an answer");
        assert_eq!(status, *expected, "{asked} {body}: {text}");
        let problem = problem(asked, status, &kind, &text);
        assert_eq!(
            problem.parameter.as_deref().unwrap_or_default(),
            *parameter,
            "{asked} {body}: {problem:?}"
        );
        assert!(problem.detail.contains(said), "{asked} {body}: {said:?} is not in {problem:?}");
    }
}
