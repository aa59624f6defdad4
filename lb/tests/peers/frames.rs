//! What becomes of frames that no well-behaved client sends.

use std::time::Duration;

use crate::backend::{Backend, Reply, ok};
use crate::balancer::{Balancer, eventually};
use crate::stage::has_passed;

async fn hanging() -> Backend {
    Backend::start(|request| match request.path() {
        "/hang" => Reply::Parts(vec![(Duration::from_secs(60), ok("late"))]),
        "/hints" => {
            let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
            Reply::Bytes([&hint[..], &ok("after hints")].concat())
        }
        _ => Reply::Bytes(ok("hello")),
    })
    .await
}

#[tokio::test]
async fn each_wrong_frame_has_its_right_answer() {
    let balancer = Balancer::start_with("header_timeout_ms = 2000").await;
    let backend = hanging().await;
    balancer.use_backends(&[&backend]).await;
    has_passed("frames.py", balancer.clients(), &[]).await;
    eventually("no connection is left to an upstream", async || {
        let record = balancer.record(&backend).await;
        (record["in_flight"] == 0).then_some(())
    })
    .await;
    let answer = crate::client::Reader::connect(balancer.clients())
        .await
        .ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        .await;
    assert_eq!(answer.status(), 200);
}
