//! Whatever a peer sends to a manager that runs, over a real connection: it is answered, memory stays bounded, and the
//! manager goes on. `HOLDFAST_FUZZ_CASES` says how many things are sent.
//!
//! The engine alone is sent the same in `manager/src/engine/tests/hostile_peers.rs`, which also looks at what it makes of it.

use std::cell::Cell;

use proptest::collection::vec;
use proptest::prelude::*;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::stage::{Host, address};

#[path = "../../../wire/tests/support/hostile.rs"]
mod support;

use support::{any_json, mutation, runner};

const USUAL_CASES: u32 = 1_500;

/// What the process may have more after all of it than before, in KiB.
const MAX_GROWTH_KIB: u64 = 64 << 10;

/// After so many cases it is looked whether the manager still shows what it should.
const LOOK_EVERY: u32 = 50;

/// One who is believed for its address.
struct Peer<'a> {
    http: Client,
    host: &'a Host,
}

impl Peer<'_> {
    /// Sends `body`, and gives what was answered; always something, unless it is too large: then the refusal may come
    /// while it is still being sent, and the connection ends under it.
    async fn sends(&self, method: &Method, path: &str, body: Vec<u8>) -> (u16, Value) {
        let url = format!("http://{}:8080{path}", self.host.address);
        let too_large = body.len() > kit::api::MAX_BODY;
        let answer = match self.http.request(method.clone(), &url).body(body).send().await {
            Err(_) if too_large => return (413, json!({"detail": "the connection ended"})),
            answer => answer.expect("an answer"),
        };
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn still_served(&self) {
        let (status, view) = self.sends(&Method::GET, "/cluster", Vec::new()).await;
        assert_eq!((status, &view["host"]), (200, &json!("a")), "{view}");
        assert!(view["hosts"].as_array().is_some_and(|hosts| hosts.len() <= 65), "{view}");
    }
}

/// Where peers tell things, and an honest one of each.
fn documents(own: std::net::IpAddr) -> Vec<(Method, &'static str, Value)> {
    let snapshot = json!({
        "host": "b", "address": own, "address_pool": [format!("{}-{}", address(20), address(26))],
        "epoch": 1, "version": 1, "driver": "namespaces", "desired": 2,
        "endpoints": [{"id": "b-web-1.1", "service": "web", "address": address(21), "port": 8080, "state": "ready"}],
        "machines": [], "lb": null, "warnings": ["none"], "peers": [address(3)],
    });
    vec![
        (Method::PUT, "/peers/b", snapshot),
        (Method::PUT, "/pki/revocations", json!({"revocations": "-----BEGIN X509 CRL-----\n"})),
        (
            Method::POST,
            "/pki/join",
            json!({"secret": "00", "host": "b", "address": own, "address_pool": ["127.1.2.3"], "request": "-----"}),
        ),
    ]
}

#[test]
fn whatever_a_peer_sends_does_no_harm() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let [_, b, c, _] = crate::stage::network();
    let peers = format!("peers = [\"{}\"]", address(2));
    let mut host = Host::with("a", 1, &format!("127.{b}.{c}.10-127.{b}.{c}.16"), &peers);
    host.start_plainly();
    let http = Client::builder().local_address(Some(address(2))).no_proxy().build().expect("a client");
    let peer = Peer { http, host: &host };
    let documents = documents(address(2));
    let (method, path, honest) = &documents[0];
    let (status, answer) = runtime.block_on(peer.sends(method, path, serde_json::to_vec(honest).unwrap()));
    assert_eq!(status, 200, "{answer}");
    let memory_before = host.memory_kib();
    let (cases, version) = (Cell::new(0), Cell::new(1));
    let changed = vec(mutation(), 1..6).prop_map(Ok);
    let hostile = prop_oneof![
        6 => changed,
        2 => any_json().prop_map(|json| Err(serde_json::to_vec(&json).expect("JSON"))),
        1 => vec(any::<u8>(), 0..200).prop_map(Err),
    ];
    let which = prop_oneof![4 => Just(0usize), 1 => 1..documents.len()];
    runner(USUAL_CASES)
        .run(&(which, hostile), |(which, how)| {
            let (method, path, honest) = &documents[which];
            let body = match how {
                Ok(mutations) => {
                    let mut body = honest.clone();
                    version.set(version.get() + 1);
                    if which == 0 {
                        body["version"] = json!(version.get());
                    }
                    mutations.iter().for_each(|mutation| mutation.apply(&mut body));
                    serde_json::to_vec(&body).expect("JSON")
                }
                Err(bytes) => bytes,
            };
            let too_large = body.len() > kit::api::MAX_BODY;
            let (status, answer) = runtime.block_on(peer.sends(method, path, body));
            let is_expected = if too_large { status == 413 } else { matches!(status, 200 | 400 | 403 | 409) };
            prop_assert!(is_expected, "{status} {answer}");
            if status != 200 {
                prop_assert!(answer["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{answer}");
            }
            cases.set(cases.get() + 1);
            if cases.get() % LOOK_EVERY == 0 {
                runtime.block_on(peer.still_served());
            }
            Ok(())
        })
        .expect("harmless");
    let growth = host.memory_kib().saturating_sub(memory_before);
    assert!(growth < MAX_GROWTH_KIB, "{growth} KiB more than before");
    // And what is too much for anybody is refused before it is kept.
    let much = vec![b' '; kit::api::MAX_BODY + 1];
    assert_eq!(runtime.block_on(peer.sends(&documents[0].0, documents[0].1, much)).0, 413);
    runtime.block_on(peer.still_served());
    assert!(!host.logged().contains("panicked"), "{}", host.logged());
}
