//! Many connections at once: what they cost, and that they cost others nothing.

use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::balancer::{SOON, eventually};
use crate::stage::Stage;

const GET: &str = "GET / HTTP/1.1\r\nHost: www.example\r\n\r\n";

/// Lets this test open more than the usual 1,024 descriptors.
fn many_descriptors() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("raised");
}

#[tokio::test]
async fn two_thousand_handshakes_that_never_end_are_ended_and_nobody_else_notices() {
    many_descriptors();
    let stage = Stage::with("", |_| "[limits]\nhandshake_timeout_ms = 3000\n".to_owned()).await;
    let at = stage.tls();
    let mut slow = JoinSet::new();
    for number in 0..2_000 {
        slow.spawn(async move {
            let mut stream = TcpStream::connect(at).await.expect("connected");
            // Some say nothing, some begin, some go on and on a little.
            let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
            for byte in hello.iter().take(match number % 3 {
                0 => 0,
                1 => 6,
                _ => hello.len(),
            }) {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        });
    }
    eventually("all are there", async || (stage.figure("lb_connections_open").await > 1_900.0).then_some(()))
        .await;
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(stage.connect().await.ask(GET).await.status(), 200);
    }
    println!("20 others were served in {:?}", begun.elapsed());
    let ended = tokio::time::timeout(Duration::from_secs(3) + SOON, async {
        while slow.join_next().await.is_some() {}
    });
    assert!(ended.await.is_ok(), "{} are left", slow.len());
    eventually("none of them counts any more", async || {
        (stage.figure("lb_connections_open").await < 1.0).then_some(())
    })
    .await;
    stage.counts("timeout", 2_000.0).await;
}

#[tokio::test]
async fn an_idle_connection_is_not_dear() {
    many_descriptors();
    const COUNT: u64 = 500;
    let stage = Stage::new("").await;
    let before = stage.balancer.memory_kib();
    let mut idle = Vec::new();
    for _ in 0..COUNT {
        let mut connection = stage.connect().await;
        assert_eq!(connection.ask(GET).await.status(), 200);
        idle.push(connection);
    }
    let each = (stage.balancer.memory_kib() - before) / COUNT;
    println!("{each} KiB for an idle connection over TLS");
    assert!(each < 40, "{each} KiB");
    for connection in idle.iter_mut().step_by(50) {
        assert_eq!(connection.ask(GET).await.status(), 200);
    }
}
