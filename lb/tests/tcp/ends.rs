//! What ends a connection that its sides do not end.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::network::in_network;
use crate::stage::{Server, balancer_for, connect, echoes, has_ended, has_open, hears, is_reset, rest};

#[test]
fn silence_ends_it_and_a_word_now_and_then_does_not() {
    in_network("ends::silence_ends_it_and_a_word_now_and_then_does_not", async {
        let server = Server::echo("hello").await;
        let balancer = balancer_for(json!({"idle_timeout_ms": 1_000}), json!({}), &[&server]).await;
        let [mut silent, mut speaks] = [connect(&balancer).await, connect(&balancer).await];
        let begun = Instant::now();
        hears(&mut silent, "hello").await;
        hears(&mut speaks, "hello").await;
        while begun.elapsed() < Duration::from_millis(1_500) {
            echoes(&mut speaks, "still here").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(rest(&mut silent).await.expect("an end"), b"");
        has_ended(&balancer, "db", "idle", 1).await;
        echoes(&mut speaks, "and here").await;
    });
}

#[test]
fn a_side_that_goes_on_alone_has_a_time_of_its_own() {
    in_network("ends::a_side_that_goes_on_alone_has_a_time_of_its_own", async {
        // Never ends, and says nothing.
        let server = Server::start(async |mut tcp: TcpStream| {
            let mut all = Vec::new();
            let _ = tcp.read_to_end(&mut all).await;
            std::future::pending::<()>().await;
        })
        .await;
        let more = json!({"idle_timeout_ms": 60_000, "half_close_timeout_ms": 300});
        let balancer = balancer_for(more, json!({}), &[&server]).await;
        let mut client = connect(&balancer).await;
        client.write_all(b"something").await.expect("sent");
        client.shutdown().await.expect("ended");
        assert_eq!(rest(&mut client).await.expect("an end"), b"");
        has_ended(&balancer, "db", "half_closed", 1).await;
    });
}

#[test]
fn who_takes_nothing_is_waited_for_and_costs_the_sender_its_pace() {
    in_network("ends::who_takes_nothing_is_waited_for_and_costs_the_sender_its_pace", async {
        let (said, mut progress) = tokio::sync::watch::channel(0_usize);
        let server = Server::start(move |mut tcp: TcpStream| {
            let said = said.clone();
            async move {
                let part = vec![7; 64 << 10];
                for _ in 0..1_024 {
                    tcp.write_all(&part).await.expect("taken at last");
                    said.send_modify(|count| *count += part.len());
                }
            }
        })
        .await;
        let balancer = balancer_for(json!({}), json!({}), &[&server]).await;
        let before = balancer.memory_kib();
        let mut client = connect(&balancer).await;
        // It stands still once everything on the way is full, which is far from all of it.
        let mut last = 0;
        while let Ok(changed) = tokio::time::timeout(Duration::from_secs(1), progress.changed()).await {
            changed.expect("it goes on");
            last = *progress.borrow_and_update();
        }
        assert!(last < 48 << 20, "{last}");
        let grown = balancer.memory_kib().saturating_sub(before);
        assert!(grown < 4 << 10, "{grown} KiB");
        let all = rest(&mut client).await.expect("all of it");
        assert!(all.len() == 64 << 20 && all.iter().all(|byte| *byte == 7), "{}", all.len());
    });
}

#[test]
fn at_an_orderly_stop_connections_may_end_and_are_reset_in_the_end() {
    in_network("ends::at_an_orderly_stop_connections_may_end_and_are_reset_in_the_end", async {
        let server = Server::echo("hello").await;
        let mut balancer = crate::balancer::Balancer::start_with("stop_timeout_ms = 1500").await;
        crate::stage::configure(
            &balancer,
            json!([crate::stage::service(json!({}))]),
            json!({}),
            json!({"db": [server.upstream()]}),
        )
        .await;
        let [mut ends, mut stays] = [connect(&balancer).await, connect(&balancer).await];
        for client in [&mut ends, &mut stays] {
            hears(client, "hello").await;
        }
        has_open(&balancer, "db", 2).await;
        let ending = async {
            // They are served for as long as that.
            tokio::time::sleep(Duration::from_millis(300)).await;
            echoes(&mut ends, "goodbye").await;
            ends.shutdown().await.expect("ended");
            assert_eq!(rest(&mut ends).await.expect("an end"), b"");
            is_reset(&mut stays).await;
        };
        let (status, ()) = tokio::join!(balancer.terminate(), ending);
        assert!(status.success(), "{status}");
    });
}

#[test]
fn who_takes_nothing_for_too_long_sees_a_reset_and_no_end() {
    in_network("ends::who_takes_nothing_for_too_long_sees_a_reset_and_no_end", async {
        let server = Server::start(async |mut tcp: TcpStream| {
            let _ = tcp.write_all(&vec![7; 64 << 20]).await;
        })
        .await;
        let balancer = balancer_for(json!({"idle_timeout_ms": 500}), json!({}), &[&server]).await;
        let mut client = connect(&balancer).await;
        has_ended(&balancer, "db", "idle", 1).await;
        is_reset(&mut client).await;
    });
}
