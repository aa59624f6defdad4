//! Bodies and tunnels over TLS: many records each way, in both versions.

use std::fmt::Write as _;

use tokio::io::AsyncWriteExt as _;

use crate::backend::{Backend, Reply};
use crate::peers::curl;
use crate::stage::{LARGE, NAME, Stage};

#[tokio::test]
async fn large_bodies_come_and_go_as_they_were_sent() {
    let stage = Stage::new("").await;
    let ca = stage.ca.file();
    let upload = stage.ca.path().join("upload");
    std::fs::write(&upload, vec![b'x'; 5_000_000]).expect("written");
    let data = format!("@{}", upload.display());
    let out = stage.ca.path().join("download");
    let out = out.to_str().expect("text");
    for version in [["--tls-max", "1.2"], ["--tls-max", "1.3"]] {
        let said =
            curl(&ca, NAME, stage.tls(), "/", &[&version[..], &["--data-binary", &data]].concat()).await;
        assert!(said.ok && said.out.contains("\r\n\r\n5000000\n"), "{}", said.err);
        let get = ["--no-include", "--output", out];
        let said = curl(&ca, NAME, stage.tls(), "/large", &[&version[..], &get].concat()).await;
        let body = std::fs::read(out).expect("downloaded");
        assert!(said.ok && body.len() == LARGE && body.chunks(16).all(|part| part == b"0123456789abcdef"));
    }
}

#[tokio::test]
async fn a_tunnel_carries_both_ways_until_one_side_ends_it() {
    let stage = Stage::new("").await;
    let tunnel = Backend::start(|_| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        Reply::Tunnel(head.as_bytes().to_vec())
    })
    .await;
    stage.balancer.use_backends(&[&tunnel]).await;
    let mut client = stage.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: www.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status(), 101);
    let mut text = String::new();
    for number in 0..20_000 {
        let _ = write!(text, "{number},");
    }
    let (mut from, mut to) = tokio::io::split(client.tcp);
    let sent = text.clone();
    let sender = tokio::spawn(async move {
        to.write_all(sent.as_bytes()).await.expect("sent");
        to.flush().await.expect("sent");
        to
    });
    let mut back = vec![0; text.len()];
    tokio::io::AsyncReadExt::read_exact(&mut from, &mut back).await.expect("all of it");
    assert_eq!(back, text.as_bytes());
    sender.await.expect("sent").shutdown().await.expect("ended");
    crate::balancer::eventually("the tunnel ends", async || (tunnel.open() == 0).then_some(())).await;
}
