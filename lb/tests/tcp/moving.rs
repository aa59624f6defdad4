//! Connections to a virtual address that moves to another balancer.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::balancer::{Balancer, eventually};
use crate::network::{VIP, in_network};
use crate::speaker::{Others, Speaker};
use crate::stage::{PORT, Server, configure, echoes, has_ended, hears, is_reset, rest, service};

async fn hand_over(balancer: &Balancer, order: Value) {
    let (status, view) = balancer.put("/hand-over", &order).await;
    assert_eq!((status, &view["state"]), (202, &json!("closing")), "{view}");
}

#[test]
fn they_have_the_time_that_requests_have_and_are_reset_before_the_address_goes() {
    in_network(
        "moving::they_have_the_time_that_requests_have_and_are_reset_before_the_address_goes",
        async {
            let server = Server::echo("hello").await;
            let balancer = Balancer::start_with_vip(VIP).await;
            let pools = json!({"db": [server.upstream()]});
            configure(&balancer, json!([service(json!({}))]), json!({}), pools).await;
            // On this network the address really goes, so whoever is not told before is never told.
            let speaker = Speaker::start(&balancer.state_dir(), VIP, Others::TakeAway);
            let at_vip = async || TcpStream::connect((VIP, PORT)).await.expect("connected");
            let (mut ends, mut stays) = (at_vip().await, at_vip().await);
            let mut elsewhere = TcpStream::connect((balancer.address, PORT)).await.expect("connected");
            for client in [&mut ends, &mut stays, &mut elsewhere] {
                hears(client, "hello").await;
            }
            hand_over(&balancer, json!({"idle_ms": 0, "finish_ms": 1_500, "hold_ms": 100})).await;
            echoes(&mut ends, "while it is closing").await;
            ends.shutdown().await.expect("ended");
            assert_eq!(rest(&mut ends).await.expect("an end"), b"");
            echoes(&mut stays, "not yet").await;
            assert!(speaker.ordered().is_empty(), "it waits for those that are there");
            is_reset(&mut stays).await;
            has_ended(&balancer, "db", "address_moved", 1).await;
            let view = eventually("the hand-over ends", async || {
                let view = balancer.get_json("/hand-over").await;
                (view["state"] == "done").then_some(view)
            })
            .await;
            assert_eq!(view["cut"], 1, "{view}");
            echoes(&mut elsewhere, "not of that address").await;
        },
    );
}
