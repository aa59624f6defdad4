//! Claim 6: an answer ends whole or is seen to be broken.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use crate::client::Reader;
use crate::load::{Ask, load};
use crate::stage::{Machine, balance, in_namespaces};

#[test]
fn answers_of_up_to_256_kib_are_never_truncated() {
    in_namespaces("bodies::answers_of_up_to_256_kib_are_never_truncated", async {
        let mut machines = Machine::start_all(3).await;
        let balancer = balance(&machines).await;
        let gets = load(balancer.clients(), Ask::Get("/bytes/262144"), 100, Duration::from_secs(3));
        for victim in [0, 1, 2, 0, 1] {
            tokio::time::sleep(Duration::from_millis(400)).await;
            machines[victim].kill();
            machines[victim].restart().await;
        }
        gets.ends_well().await;
    });
}

#[test]
fn a_larger_answer_that_breaks_off_does_not_look_whole() {
    in_namespaces("bodies::a_larger_answer_that_breaks_off_does_not_look_whole", async {
        let mut machines = Machine::start_all(1).await;
        let balancer = balance(&machines).await;
        let mut client = Reader::connect(balancer.clients()).await;
        client.send("GET /bytes/100000000 HTTP/1.1\r\nHost: t\r\n\r\n").await;
        assert_eq!(client.head().await.expect("a head").status(), 200);
        let mut part = vec![0; 1 << 20];
        client.tcp.read_exact(&mut part).await.expect("a part");
        machines[0].kill();
        let mut received = part.len();
        let error = loop {
            match client.tcp.read(&mut part).await {
                Ok(0) => break None,
                Ok(count) => received += count,
                Err(error) => break Some(error.kind()),
            }
        };
        assert!(received < 100_000_000, "{received}");
        assert_eq!(error, Some(std::io::ErrorKind::ConnectionReset));
    });
}
