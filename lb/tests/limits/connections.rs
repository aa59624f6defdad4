//! How many connections a client may have.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::backend::Backend;
use crate::balancer::{Balancer, SOON, eventually};
use crate::client::Reader;
use crate::stage::{client_at, configure, metric};

const OVER: &str = "lb_connections_over_client_limit_total";

/// Those of `count` connections that are served; each asks once, after `header`.
async fn served(balancer: &Balancer, from: &str, header: &str, count: usize) -> Vec<Reader> {
    let mut served = Vec::new();
    for _ in 0..count {
        let mut client = client_at(from, balancer).await;
        let request = format!("{header}GET / HTTP/1.1\r\nHost: t\r\n\r\n");
        // One that is closed at once may refuse it.
        let _ = client.tcp.write_all(request.as_bytes()).await;
        let answer = tokio::time::timeout(SOON, client.answer_to("GET")).await.expect("an answer or an end");
        if answer.is_some_and(|answer| answer.status() == 200) {
            served.push(client);
        }
    }
    served
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_others_have_theirs() {
    let balancer = Balancer::start_with("connections_per_client = 3").await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let first = served(&balancer, "127.1.0.1", "", 5).await;
    assert_eq!(first.len(), 3);
    assert_eq!(metric(&balancer, OVER).await, 2.0);
    assert_eq!(served(&balancer, "127.1.0.2", "", 3).await.len(), 3);
    drop(first);
    eventually("there is room again", async || {
        let room = served(&balancer, "127.1.0.1", "", 1).await;
        (room.len() == 1).then_some(())
    })
    .await;
    // A proxy that is trusted has many clients.
    let routes = json!([{"name": "all", "pool": "p"}]);
    configure(&balancer, 1, routes, json!({"trusted_proxies": ["127.4.0.1"]})).await;
    assert_eq!(served(&balancer, "127.4.0.1", "", 10).await.len(), 10);
}

#[tokio::test]
async fn behind_the_proxy_protocol_it_is_the_client_that_counts() {
    let settings = |address| {
        format!(
            "[limits]\nconnections_per_client = 2\n[[listener]]\naddress = \"{address}:8001\"\nproxy_protocol = true"
        )
    };
    let balancer = Balancer::start_with_settings(settings).await;
    let backend = Backend::healthy().await;
    balancer.use_backends(&[&backend]).await;
    let mut kept = Vec::new();
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        for _ in 0..3 {
            let to = std::net::SocketAddr::new(balancer.clients().ip(), 8001);
            let mut reader = Reader::connect(to).await;
            let header = format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n");
            reader.send(&format!("{header}GET / HTTP/1.1\r\nHost: t\r\n\r\n")).await;
            let answer =
                tokio::time::timeout(SOON, reader.answer_to("GET")).await.expect("an answer or an end");
            kept.extend(answer.map(|_| (client, reader)));
        }
    }
    let of = |client| kept.iter().filter(|(of, _)| *of == client).count();
    assert_eq!((of("192.0.2.1"), of("192.0.2.2")), (2, 2));
    assert_eq!(metric(&balancer, OVER).await, 5.0);
}
