//! Every route of the manager, asked wrongly: each refusal is a problem document that names what is at fault.

use manager::access::{From, Origin};
use serde_json::Value;

use crate::asked_wrongly::{problem, uncovered, wrong_requests};
use crate::gate::Manager;

/// What managers of a later version may say more of.
const TOLERANT: [&str; 6] = [
    "PUT /peers/{host}",
    "PATCH /peers/{host}",
    "POST /gossip",
    "POST /certificates/exchange",
    "POST /pki/join",
    "PUT /pki/revocations",
];

/// What is valid JSON and cannot be meant: what is asked, the status, the field at fault, and what is said of it.
#[rustfmt::skip]
const TABLE: &[(&str, &str, u16, &str, &str)] = &[
    ("POST /vms", r#"["stateless"]"#, 400, "", "expected an object"),
    ("POST /vms", r#"{"service":"statless"}"#, 404, "service", "stateless"),
    ("POST /vms", r#"{"service":7}"#, 400, "service", "expected a string"),
    ("POST /vms", r#"{"service":"stateless","replica":2}"#, 400, "replica", "expected `service`"),
    ("GET /vms/a-statless-1", "", 404, "id", "did you mean `a-stateless-1`?"),
    ("DELETE /vms/nobody", "", 404, "id", "`manager vm list`"),
    ("DELETE /vms/a-lb", "", 409, "", "cannot be deleted"),
    ("POST /vms/nobody/replace", "", 404, "id", "there is no machine `nobody`"),
    ("PUT /vms/nobody/drain", r#"{"on":true}"#, 404, "id", "there is no machine `nobody`"),
    ("PUT /vms/a-stateless-1/drain", r#"{"on":"yes"}"#, 400, "on", "expected a boolean"),
    ("PUT /vms/a-lb/drain", r#"{"on":true}"#, 409, "", "manager switchover"),
    ("GET /vms/nobody/logs", "", 404, "id", "there is no machine `nobody`"),
    ("GET /vms/nobody/console", "", 404, "id", "there is no machine `nobody`"),
    ("POST /vms/nobody/fault", r#"{"fault":"kill"}"#, 404, "id", "there is no machine `nobody`"),
    ("POST /vms/a-stateless-1/fault", r#"{"fault":"maim"}"#, 400, "fault", "`kill`"),
    ("POST /vms/a-stateless-1/fault", r#"{"fault":"kill","ttl_ms":5}"#, 400, "ttl_ms", "with `freeze` only"),
    ("POST /host/fault", r#"{"fault":"cut","ttl_ms":0}"#, 400, "ttl_ms", "expected 1 to"),
    ("POST /host/fault", r#"{"fault":"burn","ttl_ms":5}"#, 400, "fault", "`cut`"),
    ("GET /services/statless", "", 404, "name", "did you mean `stateless`?"),
    ("PUT /services/shop", r#"{"name":"shop"}"#, 400, "replicas", "how many machines"),
    ("PUT /services/shop", r#"{"name":"store","replicas":1}"#, 400, "name", "as in the path"),
    ("PUT /services/shop", r#"{"name":"shop","replicas":1,"port":0}"#, 400, "port", "from 1 to 65535"),
    ("PUT /services/shop", r#"{"name":"shop","replicas":1,"replcas":1}"#, 400, "replcas", "did you mean `replicas`?"),
    ("PUT /services/shop", r#"{"name":"shop","replicas":1,"total":2}"#, 400, "total", "leave one of them out"),
    ("PUT /services/shop", r#"{"name":"shop","total":10001}"#, 400, "total", "expected 0 to 10000"),
    ("PUT /services/shop", r#"{"name":"shop","replicas":1,"spread":"hard"}"#, 400, "spread", "say `total` instead"),
    ("PUT /services/shop", r#"{"name":"shop","total":1,"spread":"harsh"}"#, 400, "spread", "`hard`"),
    ("PUT /services/shop", r#"{"name":"shop","total":1,"hosts":["a","a"]}"#, 400, "hosts[1]", "named twice"),
    ("PUT /services/shop", r#"{"name":"shop","total":1,"persistent":true}"#, 400, "persistent", "say `replicas`"),
    ("PUT /services/shop", r#"{"name":"shop","total":2,"autoscale":{"min":2,"max":1,"metrics":{"cpu_percent":70}}}"#, 400, "autoscale.max", "(`min`)"),
    ("PUT /services/shop", r#"{"name":"shop","total":2,"autoscale":{"min":2,"max":3,"metrics":{}}}"#, 400, "autoscale.metrics", "at least one"),
    ("PUT /services/shop", r#"{"name":"shop","replicas":2,"autoscale":{"min":2,"max":3,"metrics":{"in_flight":5}}}"#, 400, "autoscale", "`total`"),
    ("DELETE /services/nobody", "", 404, "name", "`manager service ls`"),
    ("DELETE /services/stateless", "", 409, "", "take it out there"),
    ("POST /services/nobody/rollback", "", 404, "name", "`manager service ls`"),
    ("POST /services/stateless/roll", r#"{"rollback":1}"#, 400, "rollback", "expected a boolean"),
    ("POST /services/nobody/roll", "{}", 404, "name", "`manager service ls`"),
    ("PUT /services/shop", r#"{"name":"shop","replicas":1,"rollout":{"surge":0,"max_unavailable":0}}"#, 400, "rollout.max_unavailable", "at least 1"),
    ("POST /services/stateless/rollback", "", 409, "", "as this manager's file has it"),
    ("POST /switchover", r#"{"to":"z"}"#, 409, "", "held by exactly one"),
    ("POST /switchover", r#"{"vip":"10.9.9.9"}"#, 404, "vip", "no public address of this cluster"),
    ("POST /switchover", r#"{"vip":"here"}"#, 400, "vip", "expected an address such as"),
    ("POST /switchover", r#"{"from":"z"}"#, 404, "from", "there is no host `z`"),
    ("POST /switchover", r#"{"from":"z","vip":"10.9.9.9"}"#, 400, "from", "either `from` or `vip`"),
    ("POST /switchover", r#"{"timeout_ms":0}"#, 400, "timeout_ms", "expected"),
    ("PUT /maintenance", r#"{"on":true,"for_s":0}"#, 400, "for_s", "from one second to a year"),
    ("PUT /maintenance", r#"{"on":false,"for_s":60}"#, 400, "for_s", "with `on`"),
    ("PUT /maintenance", r#"{"on":1}"#, 400, "on", "expected a boolean"),
    ("POST /access/tokens", r#"{"name":"","scopes":["read"]}"#, 400, "name", "expected"),
    ("POST /access/tokens", r#"{"name":"x","scopes":[]}"#, 400, "scopes", "read, operate, chaos"),
    ("POST /access/tokens", r#"{"name":"x","scopes":["root"]}"#, 400, "scopes[0]", "`operate`"),
    ("POST /access/tokens", r#"{"name":"x","scopes":["read"],"expires_in_s":0}"#, 400, "expires_in_s", "ten years"),
    ("DELETE /access/tokens/nobody", "", 404, "name", "`manager access list`"),
    ("GET /audit?count=1001", "", 400, "count", "at most 1000"),
    ("GET /audit?count=-1", "", 400, "count", "invalid digit"),
    ("PUT /peers/b", r#"{"host":"b"}"#, 400, "", "missing field"),
    ("PATCH /peers/b", r#"{"host":"b","epoch":1,"base":"x","version":2}"#, 400, "base", "expected u64"),
    ("PATCH /peers/b", r#"{"host":"c","epoch":1,"base":1,"version":2}"#, 400, "host", "the path says `b`"),
    ("POST /gossip", r#"{"packets":["%"]}"#, 400, "packets", "packets[0] is not base64"),
    ("DELETE /peers/z", "", 404, "host", "`manager status`"),
    ("POST /certificates/exchange", r#"{"digest":7}"#, 400, "digest", "expected a string"),
    ("POST /pki/join", r#"{"secret":"x","host":"c","address":"here"}"#, 400, "address", "expected an address such as"),
    ("PUT /pki/revocations", r#"{"revocations":"x"}"#, 409, "", "`manager init`"),
];

/// Root on the host itself, who may do everything but what only another host may.
fn origin(path: &str) -> Origin {
    let of_hosts = ["/peers/", "/gossip", "/pki/revocations", "/certificates/"];
    if of_hosts.iter().any(|begin| path.starts_with(begin)) {
        let from = From::Network("192.168.10.2:9".parse().expect("an address"));
        return Origin { from, encrypted: true, certified: Some("b".into()) };
    }
    Origin { from: From::Socket { uid: 0 }, encrypted: false, certified: None }
}

async fn document(manager: &Manager) -> Value {
    let (status, _, text) = manager.ask_as(origin("/"), ("GET", "/api-docs/openapi.json"), Vec::new()).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

const VIP: &str = "[[vip]]\naddress = \"192.168.10.120\"\nvrid = 50\nrole = \"master\"\n";

#[tokio::test]
async fn whatever_is_asked_wrongly_is_refused_with_what_is_at_fault() {
    let manager = Manager::new(VIP);
    let document = document(&manager).await;
    let all = wrong_requests(&document, &TOLERANT);
    assert!(all.len() > 150, "{}", all.len());
    for wrong in all {
        let asked = (wrong.method.as_str(), wrong.path.as_str());
        let (status, kind, body) = manager.ask_as(origin(&wrong.path), asked, wrong.body.clone()).await;
        wrong.judge(status, &kind, &body);
    }
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_with_a_remedy() {
    let manager = Manager::new(VIP);
    let document = document(&manager).await;
    let missing = uncovered(&document, TABLE.iter().map(|(asked, ..)| *asked));
    assert!(missing.is_empty(), "routes that no row asks wrongly: {missing:?}");
    for (asked, body, expected, parameter, said) in TABLE {
        let (method, path) = asked.split_once(' ').expect("a method");
        let (status, kind, text) =
            manager.ask_as(origin(path), (method, path), body.as_bytes().to_vec()).await;
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
