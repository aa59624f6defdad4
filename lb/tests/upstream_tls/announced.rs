//! Upstreams that are told of a client ahead of everything else, by the PROXY protocol: another balancer of ours, which
//! insists on it.

use serde_json::json;

use crate::authority::Authority;
use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::client::Reader;
use crate::front::{pem, push};

/// A balancer that takes nothing without a header, on a plain port and one with TLS, before a backend that says who its
/// client is.
async fn inner(ca: &Authority) -> (Balancer, Backend) {
    let balancer = Balancer::start_with_settings(|address| {
        format!(
            "[[listener]]\naddress = \"{address}:8001\"\nproxy_protocol = true\n\
             [[listener]]\naddress = \"{address}:8002\"\nproxy_protocol = true\n[listener.tls]\n{}",
            ca.server(&["app.internal"]).toml()
        )
    })
    .await;
    let backend = Backend::start(|request| {
        Reply::Bytes(ok(&format!("{} {}", request.headers["x-forwarded-for"], request.body.len())))
    })
    .await;
    balancer.use_backends(&[&backend]).await;
    (balancer, backend)
}

#[tokio::test]
async fn the_next_proxy_hears_of_each_client_on_both_paths_with_and_without_tls() {
    let ca = Authority::new("test CA");
    let (inner, backend) = inner(&ca).await;
    let outer = Balancer::start_with_settings(|address| {
        format!("[[listener]]\naddress = \"{address}:8001\"\nproxy_protocol = true\n")
    })
    .await;
    let mut generation = 0;
    for version in ["v1", "v2"] {
        for port in [8001, 8002] {
            generation += 1;
            let tls = (port == 8002).then(|| json!({"ca": pem(&ca), "server_name": "app.internal"}));
            let check = json!({"active": true, "interval_ms": 50, "edge_interval_ms": 50});
            let policy = json!({"proxy_protocol": version, "reuse_unrepeatable": true, "check": check});
            push(&outer, generation, tls.unwrap_or_default(), policy).await;
            let id = format!("inner-{generation}");
            outer.use_upstreams(&[json!({"id": id, "address": inner.address, "port": port})]).await;
            for client in ["192.0.2.7", "2001:db8::9", "192.0.2.8"] {
                let at = std::net::SocketAddr::new(outer.address, 8001);
                let mut reader = Reader::connect(at).await;
                let family = if client.contains(':') { "TCP6" } else { "TCP4" };
                let to = if client.contains(':') { "::1" } else { "127.0.0.1" };
                reader.send(&format!("PROXY {family} {client} {to} 4660 80\r\n")).await;
                for length in [0, 200 << 10] {
                    let body = "x".repeat(length);
                    let request =
                        format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}");
                    let answer = reader.ask(&request).await;
                    let told = answer.text();
                    // What the first one says in a field is not believed, as nobody has called it trusted.
                    let expected = format!("{client} {length}");
                    assert_eq!((answer.status(), told), (200, expected), "{version} {port}");
                }
            }
            // Checks come with a header too, which is nobody's.
            eventually("it is checked", async || {
                let record = outer.record_of("p", &id).await;
                (record["check"]["last"]["passed"] == true).then_some(())
            })
            .await;
        }
    }
    assert!(backend.seen().len() >= 24);
    let failures = inner.get("/metrics").await.text().await.expect("text");
    assert!(failures.contains("lb_client_failures_total{reason=\"proxy_malformed\"} 0"), "{failures}");
}
