//! A proxy before us says who the client is, ahead of everything else.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::balancer::{SOON, eventually};
use crate::client::{Message, Reader};
use crate::stage::{NAME, PORT, Stage, believes};

const LAST: &str = "GET / HTTP/1.1\r\nHost: www.example\r\nConnection: close\r\n\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A balancer with listeners for proxies: a plain one, one with TLS, and one that trusts nobody here.
async fn proxied() -> Stage {
    Stage::with("", |ca| {
        let log = ca.path().join("access.log");
        format!(
            "[[listener]]\naddress = \"ADDRESS:{}\"\nproxy_protocol = true\n\
             [[listener]]\naddress = \"ADDRESS:{}\"\nproxy_protocol = true\ntrusted = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n\
             [listener.tls]\n\
             [[listener]]\naddress = \"ADDRESS:{}\"\nproxy_protocol = true\ntrusted = [\"10.0.0.0/8\"]\n\
             [limits]\nhandshake_timeout_ms = 700\n[access_log]\npath = {log:?}\n",
            PORT + 1,
            PORT + 2,
            PORT + 3,
        )
    })
    .await
}

fn at(stage: &Stage, number: u16) -> SocketAddr {
    SocketAddr::new(stage.balancer.address, PORT + number)
}

/// A header of version 2 with these parts.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
    [V2, &[command, family], &length, rest].concat()
}

/// What is answered after `header`, and from where it was asked.
async fn ask(to: SocketAddr, header: &[u8]) -> (Message, IpAddr) {
    let mut tcp = TcpStream::connect(to).await.expect("connected");
    let from = tcp.local_addr().expect("address").ip();
    tcp.write_all(&[header, LAST.as_bytes()].concat()).await.expect("sent");
    (Reader::new(tcp).answer().await, from)
}

#[tokio::test]
async fn the_client_is_who_the_proxy_says_it_is_everywhere() {
    let stage = proxied().await;
    let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0x12, 0x34, 0, 80];
    // The header's client, or else who is connected.
    for (header, client, proto) in [
        (b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n".to_vec(), Some("192.0.2.1"), "http"),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 4660 80\r\n".to_vec(), Some("2001:db8::1"), "http"),
        (b"PROXY UNKNOWN\r\n".to_vec(), None, "http"),
        (v2(0x21, 0x11, &v4), Some("192.0.2.7"), "http"),
        (v2(0x20, 0x11, &v4), None, "http"),
        (v2(0x21, 0, &[]), None, "http"),
        // It came to the proxy over TLS.
        (v2(0x21, 0x11, &[&v4[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat()), Some("192.0.2.7"), "https"),
    ] {
        let (answer, from) = ask(at(&stage, 1), &header).await;
        let text = answer.text();
        assert!(text.contains(&format!("x-forwarded-proto: {proto}\n")), "{header:?}: {text}");
        let told = text.lines().find_map(|line| line.strip_prefix("x-forwarded-for: ")).expect("a client");
        assert_eq!(told, client.map_or(from.to_string(), str::to_owned), "{header:?}");
    }
    let log = stage.ca.path().join("access.log");
    eventually("it is in the log", async || {
        let text = std::fs::read_to_string(&log).ok()?;
        text.contains("\"client\":\"192.0.2.7\"").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_header_stands_ahead_of_the_handshake_and_may_come_in_pieces() {
    let stage = proxied().await;
    let mut tcp = TcpStream::connect(at(&stage, 2)).await.expect("connected");
    tcp.set_nodelay(true).expect("set");
    for byte in b"PROXY TCP4 192.0.2.9 10.0.0.1 4660 443\r\n" {
        tcp.write_all(&[*byte]).await.expect("sent");
        tokio::task::yield_now().await;
    }
    let name = rustls::pki_types::ServerName::try_from(NAME).expect("a name");
    let tls = TlsConnector::from(believes(&stage.ca)).connect(name, tcp).await.expect("a handshake");
    let mut reader = Reader::new(tls);
    for _ in 0..2 {
        let text = reader.ask("GET / HTTP/1.1\r\nHost: www.example\r\n\r\n").await.text();
        assert!(
            text.contains("x-forwarded-for: 192.0.2.9\n") && text.contains("x-forwarded-proto: https\n"),
            "{text}"
        );
    }
    // Header and request in one packet, and plain HTTP after a header on a port for TLS.
    let (answer, _) = ask(at(&stage, 2), b"PROXY TCP4 192.0.2.9 10.0.0.1 4660 443\r\n").await;
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn who_sends_no_header_or_a_wrong_one_or_must_not_send_one_is_not_served() {
    let stage = proxied().await;
    let too_long = v2(0x21, 0x11, &[0; 5000]);
    for wrong in [
        &b""[..],
        b"PROXY TCP4 1.2.3 10.0.0.1 4660 80\r\n",
        b"PROXY UNKNOWN                                                                                                       \r\n",
        &v2(0x31, 0x11, &[0; 12]),
        &v2(0x21, 0x11, &[0; 4]),
        &too_long,
    ] {
        for listener in [1, 2] {
            assert_closed(at(&stage, listener), &[wrong, LAST.as_bytes()].concat()).await;
        }
    }
    stage.counts("proxy_malformed", 12.0).await;
    assert_closed(at(&stage, 3), b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\n").await;
    stage.counts("proxy_untrusted", 1.0).await;
    // One that never ends, or never begins.
    for begun in [&b"PROXY TCP4 192."[..], V2, b""] {
        assert_closed(at(&stage, 1), begun).await;
    }
    stage.counts("proxy_timeout", 3.0).await;
    assert!(stage.backend.seen().is_empty(), "nothing of it got through");
    // A port where none is expected takes none.
    let mut plain = TcpStream::connect(stage.balancer.clients()).await.expect("connected");
    plain.write_all(b"PROXY TCP4 192.0.2.1 10.0.0.1 4660 80\r\nGET / HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(SOON, plain.read_to_end(&mut answer)).await.expect("it ends");
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "), "{answer:?}");
}

/// Whatever is sent there, the connection ends without a byte.
async fn assert_closed(to: SocketAddr, bytes: &[u8]) {
    let mut tcp = TcpStream::connect(to).await.expect("connected");
    let _ = tcp.write_all(bytes).await;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(SOON, tcp.read_to_end(&mut answer)).await;
    assert!(ended.is_ok() && answer.is_empty(), "{bytes:?}: {answer:?}");
}
