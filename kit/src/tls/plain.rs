//! Tells somebody who speaks plain HTTP to a TLS port what he did wrong.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::Problem;

use crate::api::last_answer;

/// What the other end still sends is read for so long, so that the kernel does not reset the connection and
/// with it what we said …
const LAST_WORDS: Duration = Duration::from_secs(1);

/// … and up to so many bytes.
const MOST_LAST_BYTES: u64 = 64 << 10;

/// Answers 400 and ends the connection.
pub(super) async fn refuse(mut stream: TcpStream, local: SocketAddr) {
    let detail = format!("this port speaks TLS: use https://{local}");
    let answer = last_answer(&Problem::new(400, "Plain HTTP on a TLS port", detail));
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        end(stream).await;
    }
}

/// Ends a connection such that what was said last arrives.
pub(super) async fn end(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let mut rest = stream.take(MOST_LAST_BYTES);
        let _ = tokio::time::timeout(LAST_WORDS, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}
