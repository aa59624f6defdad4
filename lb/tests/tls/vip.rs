//! A virtual address with two listeners, one of them with TLS, is handed over.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::authority::Authority;
use crate::backend::Backend;
use crate::balancer::{Balancer, SOON, eventually};
use crate::client::{Message, Reader};
use crate::network::{VIP, in_network};
use crate::speaker::{Others, Speaker};
use crate::stage::{End, NAME, PORT, ask_to_end, connect, read_to_end};

const GET: &str = "GET / HTTP/1.1\r\nHost: www.example\r\n\r\n";

async fn holder(others: Others) -> (Balancer, Speaker, Backend, Authority, SocketAddr) {
    let ca = Authority::new("test CA");
    let at = SocketAddr::new(VIP, PORT);
    let settings = format!("[[listener]]\naddress = \"{at}\"\n[listener.tls]\n{}", ca.server(&[NAME]).toml());
    let balancer = Balancer::start_with_vip_and(VIP, &settings).await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let speaker = Speaker::start(&balancer.state_dir(), VIP, others);
    (balancer, speaker, backend, ca, at)
}

async fn begin(balancer: &Balancer, order: serde_json::Value) {
    let (status, view) = balancer.put("/hand-over", &order).await;
    assert_eq!((status, &view["state"]), (202, &json!("closing")), "{view}");
}

async fn ended(balancer: &Balancer) -> serde_json::Value {
    eventually("the hand-over ends", async || {
        let view = balancer.get_json("/hand-over").await;
        ["done", "undone"].contains(&view["state"].as_str().expect("a state")).then_some(view)
    })
    .await
}

#[test]
fn connections_over_tls_end_in_order_and_one_in_midst_of_its_handshake_is_cut() {
    in_network("vip::connections_over_tls_end_in_order_and_one_in_midst_of_its_handshake_is_cut", async {
        let (balancer, speaker, _backend, ca, at) = holder(Others::Take).await;
        let mut used = Reader::new(connect(&ca, at).await);
        let mut idle = Reader::new(connect(&ca, at).await);
        let mut plain = Reader::connect(balancer.clients()).await;
        let is_kept = |answer: Message| answer.headers.get("connection").is_none_or(|value| value != "close");
        assert!(is_kept(used.ask(GET).await) && is_kept(idle.ask(GET).await));
        assert!(is_kept(plain.ask(GET).await));
        let mut silent = TcpStream::connect(at).await.expect("connected");
        let mut stuck = TcpStream::connect(at).await.expect("connected");
        stuck.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("sent");

        begin(&balancer, json!({"idle_ms": 2_500, "finish_ms": 3_500})).await;
        assert_eq!(used.ask(GET).await.headers["connection"], "close", "told in its answer");
        assert_eq!(read_to_end(&mut used.tcp).await, (Vec::new(), End::Whole));
        let mut late = connect(&ca, at).await;
        let (answer, end) = ask_to_end(&mut late, GET).await;
        assert!(answer.to_lowercase().contains("connection: close") && end == End::Whole, "{answer}");
        assert!(speaker.ordered().is_empty(), "the idle ones have time");
        assert_eq!(read_to_end(&mut idle.tcp).await, (Vec::new(), End::Whole));
        assert!(plain.closed_within(SOON).await);
        let mut buffer = Vec::new();
        assert!(tokio::time::timeout(SOON, silent.read_to_end(&mut buffer)).await.is_ok());
        let view = ended(&balancer).await;
        assert_eq!((&view["state"], &view["cut"]), (&json!("done"), &json!(1)), "{view}");
        assert!(tokio::time::timeout(SOON, stuck.read_to_end(&mut buffer)).await.is_ok());
        let metrics = balancer.get("/metrics").await.text().await.expect("text");
        assert!(metrics.contains("lb_client_failures_total{reason=\"moved\"} 1"), "{metrics}");
    });
}

#[test]
fn both_ports_are_held_back_while_the_address_is_offered() {
    in_network("vip::both_ports_are_held_back_while_the_address_is_offered", async {
        let (balancer, speaker, _backend, ca, at) = holder(Others::Leave).await;
        begin(&balancer, json!({"idle_ms": 0, "take_ms": 1_000})).await;
        eventually("it is offered", async || (!speaker.ordered().is_empty()).then_some(())).await;
        let tries = [balancer.clients(), at].map(|port| {
            tokio::spawn(tokio::time::timeout(Duration::from_millis(150), TcpStream::connect(port)))
        });
        for (port, tried) in ["plain", "TLS"].iter().zip(tries) {
            let early = tried.await.expect("no panic");
            assert!(early.is_err(), "{port}: neither accepted nor refused: {early:?}");
        }
        let view = ended(&balancer).await;
        assert_eq!(view["state"], "undone");
        assert!(
            view["passed_on"].as_u64().is_some_and(|passed_on| passed_on >= 2),
            "one of each port: {view}"
        );
        let answer = Reader::new(connect(&ca, at).await).ask(GET).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(Reader::connect(balancer.clients()).await.ask(GET).await.status(), 200);
    });
}
