//! What one side says the other hears, all of it and in its order, and ends as it was ended.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::network::in_network;
use crate::stage::{Server, balancer_for, connect, echoes, has_ended, hears, is_reset, reset, rest};

/// More than all buffers on the way together.
const MUCH: usize = 24 << 20;

/// Bytes of which no two places are alike for long.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[test]
fn both_sides_speak_as_they_like_and_the_server_may_be_first() {
    in_network("bytes::both_sides_speak_as_they_like_and_the_server_may_be_first", async {
        let server = Server::echo("hello").await;
        let balancer = balancer_for(json!({}), json!({}), &[&server]).await;
        let mut client = connect(&balancer).await;
        hears(&mut client, "hello").await;
        for text in ["a", "question", "and another one"] {
            echoes(&mut client, text).await;
        }
        client.shutdown().await.expect("ended");
        assert_eq!(rest(&mut client).await.expect("the end"), b"");
        has_ended(&balancer, "db", "closed", 1).await;
        let status = balancer.get_json("/status").await["tcp"]["db"].clone();
        assert_eq!(
            (&status["received_bytes"], &status["sent_bytes"], &status["open"]),
            (&json!(24), &json!(29), &json!(0))
        );
    });
}

#[test]
fn much_goes_both_ways_at_once_and_arrives_as_it_was() {
    in_network("bytes::much_goes_both_ways_at_once_and_arrives_as_it_was", async {
        let server = Server::echo("").await;
        let balancer = balancer_for(json!({}), json!({}), &[&server]).await;
        let sent = noise(MUCH);
        let (mut from, mut to) = connect(&balancer).await.into_split();
        let expected = sent.clone();
        let writing = tokio::spawn(async move {
            to.write_all(&sent).await.expect("sent");
            to.shutdown().await.expect("ended");
            to
        });
        let mut heard = Vec::with_capacity(MUCH);
        from.read_to_end(&mut heard).await.expect("all of it");
        writing.await.expect("written");
        assert!(heard == expected, "{} bytes of {}", heard.len(), expected.len());
        has_ended(&balancer, "db", "closed", 1).await;
    });
}

#[test]
fn who_has_ended_still_hears_the_other() {
    in_network("bytes::who_has_ended_still_hears_the_other", async {
        // Answers only when it has heard all, as many do that are asked by a script.
        let server = Server::start(async |mut tcp: TcpStream| {
            let mut heard = Vec::new();
            tcp.read_to_end(&mut heard).await.expect("the end of the question");
            tcp.write_all(&heard).await.expect("answered");
            tcp.write_all(b" is all").await.expect("answered");
        })
        .await;
        let balancer = balancer_for(json!({}), json!({}), &[&server]).await;
        let mut client = connect(&balancer).await;
        client.write_all(b"this").await.expect("sent");
        client.shutdown().await.expect("ended");
        assert_eq!(rest(&mut client).await.expect("an answer"), b"this is all");
        has_ended(&balancer, "db", "closed", 1).await;

        // And the other way round: the server ends first, and the client goes on.
        let (said, mut heard) = tokio::sync::mpsc::channel(1);
        let server = Server::start(move |mut tcp: TcpStream| {
            let said = said.clone();
            async move {
                tcp.write_all(b"go on").await.expect("sent");
                tcp.shutdown().await.expect("ended");
                let mut rest = Vec::new();
                tcp.read_to_end(&mut rest).await.expect("the end");
                said.send(rest).await.expect("told");
            }
        })
        .await;
        crate::stage::use_pools(&balancer, json!({"db": [server.upstream()]})).await;
        let mut client = connect(&balancer).await;
        assert_eq!(rest(&mut client).await.expect("the end"), b"go on");
        let more = noise(1 << 20);
        client.write_all(&more).await.expect("still taken");
        client.shutdown().await.expect("ended");
        assert!(heard.recv().await.expect("heard") == more);
        has_ended(&balancer, "db", "closed", 2).await;
    });
}

#[test]
fn a_reset_is_passed_on_as_one() {
    in_network("bytes::a_reset_is_passed_on_as_one", async {
        let (seen, mut ends) = tokio::sync::mpsc::channel(4);
        let server = Server::start(move |mut tcp: TcpStream| {
            let seen = seen.clone();
            async move {
                let mut word = [0; 5];
                tcp.read_exact(&mut word).await.expect("a word");
                if &word == b"reset" {
                    return reset(tcp);
                }
                let end = tcp.read(&mut word).await;
                seen.send(end.map_err(|error| error.kind())).await.expect("told");
            }
        })
        .await;
        let balancer = balancer_for(json!({}), json!({}), &[&server]).await;
        let mut client = connect(&balancer).await;
        client.write_all(b"reset").await.expect("sent");
        is_reset(&mut client).await;
        has_ended(&balancer, "db", "upstream_reset", 1).await;

        let mut client = connect(&balancer).await;
        client.write_all(b"hello").await.expect("sent");
        crate::balancer::eventually("it arrived", async || (server.open() == 1).then_some(())).await;
        reset(client);
        assert_eq!(ends.recv().await.expect("an end"), Err(std::io::ErrorKind::ConnectionReset));
        has_ended(&balancer, "db", "client_reset", 1).await;
        let outcomes = balancer.record_of("db", &server.id()).await["attempts"].clone();
        assert_eq!((&outcomes["truncated"], &outcomes["answered"]), (&json!(1), &json!(1)), "{outcomes}");
    });
}

#[test]
fn the_last_words_of_a_server_that_takes_no_more_are_heard() {
    in_network("bytes::the_last_words_of_a_server_that_takes_no_more_are_heard", async {
        // Reads a little, says why it will not go on, and closes with most of it unread: its system resets what comes.
        let server = Server::start(async |mut tcp: TcpStream| {
            let mut some = [0; 10];
            tcp.read_exact(&mut some).await.expect("something");
            tcp.write_all(b"too much").await.expect("sent");
            tcp.shutdown().await.expect("ended");
            // Until the end has been passed on: a reset right after it may overtake it anywhere.
            let mut rest = vec![0; 1 << 20];
            tcp.read_exact(&mut rest).await.expect("more");
        })
        .await;
        let balancer = balancer_for(json!({}), json!({}), &[&server]).await;
        let (mut from, mut to) = connect(&balancer).await.into_split();
        let writing = tokio::spawn(async move {
            let _ = to.write_all(&noise(MUCH)).await;
            to
        });
        let mut heard = Vec::new();
        from.read_to_end(&mut heard).await.expect("an end, and no reset");
        assert_eq!(heard, b"too much");
        writing.await.expect("written");
    });
}
