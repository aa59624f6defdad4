//! What a hand-over has to cut hears of it while the address is still here: here it really goes away, so that
//! whoever is not told before is never told.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::net::TcpSocket;

use crate::balancer::{Balancer, eventually};
use crate::client::{Message, Reader};
use crate::hand_over::{LARGE, begin, ended, holder};
use crate::network::in_network;
use crate::speaker::Others;

/// Longer than all of the hand-over, and shorter than any time-out of the balancer that could end them.
const HEARD: Duration = Duration::from_secs(8);

async fn busy(balancer: &Balancer, count: u64) {
    eventually("they are in progress", async || {
        (balancer.get_json("/status").await["connections"]["busy"] == count).then_some(())
    })
    .await;
}

/// The answer to what this client asked; none when its connection was ended instead.
async fn heard(what: &str, client: &mut Reader) -> Option<Message> {
    let answer = tokio::time::timeout(HEARD, client.answer_to("GET")).await;
    answer.unwrap_or_else(|_elapsed| panic!("{what}: hears nothing"))
}

async fn asked(balancer: &Balancer, text: &str) -> Reader {
    let mut client = Reader::connect(balancer.clients()).await;
    client.send(text).await;
    client
}

#[test]
fn whoever_is_cut_hears_it_before_the_address_goes_away() {
    in_network("hand_over_cut::whoever_is_cut_hears_it_before_the_address_goes_away", async {
        let (balancer, _speaker, _backend) = holder(Others::TakeAway).await;
        let mut before = asked(&balancer, "GET /never HTTP/1.1\r\nHost: t\r\n\r\n").await;
        busy(&balancer, 1).await;
        begin(&balancer, json!({"idle_ms": 0, "finish_ms": 1_500, "hold_ms": 100})).await;
        // All of these begin while it is closing.
        let mut head = asked(&balancer, "GET / HTTP/1.1\r\nHo").await;
        let upload = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 90\r\n\r\nhello";
        let mut upload = asked(&balancer, upload).await;
        let chunks = "PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
        let mut chunks = asked(&balancer, chunks).await;
        let post = "POST /never HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n\r\nhi";
        let mut post = asked(&balancer, post).await;
        let mut half = asked(&balancer, "GET /half HTTP/1.1\r\nHost: t\r\n\r\n").await;
        busy(&balancer, 6).await;

        for (what, client, kind) in [
            ("from before", &mut before, "/problems/moving"),
            ("a slow head", &mut head, "/problems/moving"),
            ("a slow upload", &mut upload, "/problems/broken-off"),
            ("a slow upload in chunks", &mut chunks, "/problems/moving"),
            ("a POST that waits", &mut post, "/problems/broken-off"),
        ] {
            let answer = heard(what, client).await.unwrap_or_else(|| panic!("{what}: no answer"));
            assert!(answer.whole, "{what}");
            assert_eq!((answer.status(), answer.headers["connection"].as_str()), (503, "close"), "{what}");
            assert!(answer.text().contains(kind), "{what}: {}", answer.text());
            // What may have been executed is not to be sent again without a thought.
            assert_eq!(answer.headers.contains_key("retry-after"), kind == "/problems/moving", "{what}");
        }
        let part = heard("half an answer", &mut half).await.expect("its head");
        assert!(!part.whole && part.status() == 200, "must not look like the whole");
        let view = ended(&balancer).await;
        assert_eq!((&view["state"], &view["cut"]), (&json!("done"), &json!(6)), "{view}");
    });
}

#[test]
fn a_client_that_has_not_taken_all_of_its_answer_is_waited_for_and_in_the_end_told() {
    in_network(
        "hand_over_cut::a_client_that_has_not_taken_all_of_its_answer_is_waited_for_and_in_the_end_told",
        async {
            let (balancer, speaker, _backend) = holder(Others::TakeAway).await;
            let mut clients = Vec::new();
            for _ in 0..2 {
                let socket = TcpSocket::new_v4().expect("socket");
                socket.set_recv_buffer_size(2_048).expect("set");
                let mut client = Reader::new(socket.connect(balancer.clients()).await.expect("connected"));
                client.send("GET /large HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await;
                clients.push(client);
            }
            // The balancer has sent all that it has, and no request is in progress any more.
            eventually("both were answered", async || {
                let status = balancer.get_json("/status").await;
                (status["connections"]["busy"] == 0 && status["connections"]["open"] == 2).then_some(())
            })
            .await;
            begin(&balancer, json!({"idle_ms": 0, "finish_ms": 4_000, "hold_ms": 100})).await;
            let taken = heard("one that reads in time", &mut clients[0]).await.expect("an answer");
            assert!(taken.whole && taken.body.len() == LARGE, "{} bytes", taken.body.len());
            assert!(speaker.ordered().is_empty(), "the other one has time left");
            let view = ended(&balancer).await;
            assert_eq!((&view["state"], &view["cut"]), (&json!("done"), &json!(1)), "{view}");
            let part = heard("one that does not read", &mut clients[1]).await;
            assert!(part.is_none_or(|part| !part.whole), "it was told");
        },
    );
}

#[test]
fn slow_requests_that_begin_while_it_is_closing_have_their_time_too() {
    in_network("hand_over_cut::slow_requests_that_begin_while_it_is_closing_have_their_time_too", async {
        let (balancer, _speaker, _backend) = holder(Others::TakeAway).await;
        let mut before = asked(&balancer, "GET /slow HTTP/1.1\r\nHost: t\r\n\r\n").await;
        busy(&balancer, 1).await;
        begin(&balancer, json!({"idle_ms": 0, "finish_ms": 10_000, "hold_ms": 100})).await;
        let mut upload = asked(&balancer, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 20\r\n\r\n").await;
        assert_eq!(heard("from before", &mut before).await.expect("an answer").status(), 200);
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            upload.send("ab").await;
        }
        assert_eq!(heard("a slow upload", &mut upload).await.expect("an answer").status(), 200);
        let view = ended(&balancer).await;
        assert_eq!((&view["state"], &view["cut"]), (&json!("done"), &json!(0)), "{view}");
    });
}

#[test]
fn an_address_that_has_just_come_is_kept_for_a_moment() {
    in_network("hand_over_cut::an_address_that_has_just_come_is_kept_for_a_moment", async {
        let (balancer, speaker, _backend) = holder(Others::Take).await;
        speaker.just_took();
        let began = Instant::now();
        begin(&balancer, json!({"idle_ms": 0})).await;
        let view = ended(&balancer).await;
        assert_eq!(view["state"], "done", "{view}");
        assert!(began.elapsed() >= Duration::from_secs(1), "{view}");
    });
}
