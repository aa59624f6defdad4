//! How connections end: those that never begin, and those that a client must be able to tell apart, whole and cut.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::balancer::{SOON, eventually};
use crate::client::{Reader, get};
use crate::peers::{curl, s_client};
use crate::stage::{End, LARGE, NAME, Stage, ask_to_end, connect, read_to_end};

const GET: &str = "GET / HTTP/1.1\r\nHost: www.example\r\n\r\n";

#[tokio::test]
async fn who_speaks_the_wrong_one_of_both_is_told_so() {
    let stage = Stage::new("").await;
    let answer = get(stage.tls(), "/").await;
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("this port speaks TLS: ask for https://, at port 8001"), "{answer:?}");
    stage.counts("plain_http", 1.0).await;
    let ca = stage.ca.file();
    let said = curl(&ca, NAME, stage.balancer.clients(), "/", &[]).await;
    assert!(!said.ok && said.has("alert unexpected message"), "{said:?}");
    let said = s_client(&ca, NAME, stage.balancer.clients(), &[]).await;
    assert!(!said.ok && said.has("alert unexpected message"), "{said:?}");
    stage.counts("tls_on_plain_port", 2.0).await;
    assert_eq!(get(stage.balancer.clients(), "/").await.status(), 200);
}

#[tokio::test]
async fn what_is_no_tls_or_no_end_of_a_handshake_is_closed_and_counted() {
    let stage = Stage::with("", |_| "[limits]\nhandshake_timeout_ms = 600\n".to_owned()).await;
    // Silent; one that stops after the beginning; one that sends a byte now and then.
    let begun = Instant::now();
    let mut silent = TcpStream::connect(stage.tls()).await.expect("connected");
    let mut stuck = TcpStream::connect(stage.tls()).await.expect("connected");
    stuck.write_all(&[22, 3, 1, 2, 0, 1]).await.expect("sent");
    let dripping = TcpStream::connect(stage.tls()).await.expect("connected");
    let (mut from, mut to) = dripping.into_split();
    let dripper = tokio::spawn(async move {
        for byte in [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3].into_iter().chain(std::iter::repeat(0)) {
            if to.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut buffer = Vec::new();
    for stream in [&mut silent, &mut stuck] {
        let closed = tokio::time::timeout(SOON, stream.read_to_end(&mut buffer)).await;
        assert!(closed.is_ok(), "closed at the deadline");
    }
    assert!(
        tokio::time::timeout(SOON, from.read_to_end(&mut buffer)).await.is_ok(),
        "closed at the deadline"
    );
    assert!(begun.elapsed() >= Duration::from_millis(550), "{:?}", begun.elapsed());
    tokio::time::timeout(SOON, dripper).await.expect("it noticed").expect("no panic");
    eventually("all three are counted", async || (stage.failures("timeout").await >= 3.0).then_some(()))
        .await;

    let mut nonsense = TcpStream::connect(stage.tls()).await.expect("connected");
    nonsense.write_all(&[22, 3, 1, 0, 4, 9, 0, 0, 0]).await.expect("sent");
    nonsense.read_to_end(&mut buffer).await.expect("an alert and the end");
    assert!(buffer.starts_with(&[21, 3, 3, 0, 2, 2]), "{buffer:?}");
    stage.counts("malformed", 1.0).await;
    drop(TcpStream::connect(stage.tls()).await.expect("connected"));
    eventually("who goes is counted", async || (stage.failures("closed").await >= 1.0).then_some(())).await;
    eventually("none of them is left", async || {
        (stage.figure("lb_connections_open").await < 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_handshake_counts_as_a_connection() {
    let stage = Stage::with("", |_| "[limits]\nconnections = 2\n".to_owned()).await;
    let first = TcpStream::connect(stage.tls()).await.expect("connected");
    let _second = TcpStream::connect(stage.tls()).await.expect("connected");
    eventually("both count", async || (stage.figure("lb_connections_open").await > 1.0).then_some(())).await;
    let mut third = TcpStream::connect(stage.tls()).await.expect("connected");
    let mut buffer = [0];
    let read = tokio::time::timeout(SOON, third.read(&mut buffer)).await.expect("at once");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    drop(first);
    eventually("there is room again", async || {
        curl(&stage.ca.file(), NAME, stage.tls(), "/", &[]).await.ok.then_some(())
    })
    .await;
}

#[tokio::test]
async fn whole_answers_end_with_the_word_that_they_are_whole() {
    let stage = Stage::new("").await;
    let mut last = connect(&stage.ca, stage.tls()).await;
    let (answer, end) =
        ask_to_end(&mut last, &GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200") && end == End::Whole, "{answer} {end:?}");
    // An answer that is delimited by the end of its connection.
    let mut old = connect(&stage.ca, stage.tls()).await;
    let (answer, end) = ask_to_end(&mut old, "GET / HTTP/1.0\r\nHost: www.example\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && end == End::Whole, "{answer} {end:?}");
    let mut head = connect(&stage.ca, stage.tls()).await;
    let (answer, end) = ask_to_end(&mut head, "nonsense\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400") && end == End::Whole, "{answer} {end:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_said_to_be_whole_when_all_of_it_has_arrived_either() {
    let stage = Stage::new("").await;
    let mut client = connect(&stage.ca, stage.tls()).await;
    client.write_all(b"GET /half HTTP/1.1\r\nHost: www.example\r\n\r\n").await.expect("sent");
    let mut half = vec![0; LARGE / 2];
    client.read_exact(&mut half).await.expect("half of it");
    assert!(half.starts_with(b"HTTP/1.1 200"));
    // Nothing is on its way now that a reset could take away, and nothing stands in the way of a word more.
    stage.backend.stop().await;
    let (rest, end) = read_to_end(&mut client).await;
    assert!(rest.len() < 1_000 && end == End::Cut, "{} {end:?}", rest.len());
}

#[tokio::test]
async fn a_connection_that_is_idle_for_too_long_ends_in_order() {
    let stage =
        Stage::with("", |_| "[limits]\nidle_timeout_ms = 300\nheader_timeout_ms = 300\n".to_owned()).await;
    let mut kept = stage.connect().await;
    assert_eq!(kept.ask(GET).await.status(), 200);
    assert_eq!(read_to_end(&mut kept.tcp).await, (Vec::new(), End::Whole));
    let mut slow = connect(&stage.ca, stage.tls()).await;
    let (answer, end) = ask_to_end(&mut slow, "GET / HTTP/1.1\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 408") && end == End::Whole, "{answer} {end:?}");
}

#[tokio::test]
async fn an_upstream_is_left_when_its_client_goes_whichever_way_that_does() {
    let stage = Stage::new("").await;
    for polite in [true, false] {
        let mut client = stage.connect().await;
        client.send("GET /never HTTP/1.1\r\nHost: www.example\r\n\r\n").await;
        eventually("it is asked", async || (stage.backend.open() == 1).then_some(())).await;
        if polite {
            client.tcp.shutdown().await.expect("said");
        }
        drop(client);
        eventually("it is left", async || (stage.backend.open() == 0).then_some(())).await;
    }
    // One that has sent its next request ahead is there.
    let mut eager = stage.connect().await;
    eager.send(&GET.repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(eager.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn a_client_that_stops_to_read_has_all_that_was_sent_when_it_goes_on() {
    let stage = Stage::new("").await;
    let mut client = stage.connect().await;
    client.send("GET /large HTTP/1.1\r\nHost: www.example\r\n\r\n").await;
    let tcp: &TcpStream = client.tcp.get_ref().0;
    socket2::SockRef::from(tcp).set_recv_buffer_size(128 << 10).expect("set");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answer = client.answer().await;
    assert!(answer.whole && answer.body.len() == LARGE);
    assert!(answer.body.chunks(16).all(|chunk| chunk == b"0123456789abcdef"));
    assert_eq!(client.ask(GET).await.status(), 200);
}

#[tokio::test]
async fn a_reader_that_never_comes_back_is_reset_and_not_told_that_all_was_sent() {
    let stage = Stage::new("").await;
    let mut stuck = Reader::new(connect(&stage.ca, stage.tls()).await);
    stuck.send("GET /large HTTP/1.1\r\nHost: www.example\r\n\r\n").await;
    eventually("the answer is under way", async || (stage.backend.open() >= 1).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    // The upstream dies while the client does not read.
    stage.backend.stop().await;
    let (got, end) = read_to_end(&mut stuck.tcp).await;
    assert!(end == End::Cut && got.len() < LARGE, "{} {end:?}", got.len());
}
