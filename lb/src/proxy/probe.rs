//! One question to an upstream, on a connection of its own: does it answer?

use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::health::connected;
use super::state::upstream::Upstream;

/// The longest status line a probe reads, in bytes.
const MAX_STATUS_LINE: usize = 1024;

/// Sends one probe; none where no answer came in time.
pub(crate) async fn probe(upstream: &Upstream, path: &str, limit: Duration) -> Option<StatusCode> {
    let status = tokio::time::timeout(limit, exchange(upstream, path)).await.ok()??;
    connected(upstream);
    Some(status)
}

async fn exchange(upstream: &Upstream, path: &str) -> Option<StatusCode> {
    let mut tcp = TcpStream::connect(upstream.address).await.ok()?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: lb-probe\r\nConnection: close\r\n\r\n",
        upstream.address
    );
    tcp.write_all(request.as_bytes()).await.ok()?;
    let mut line = Vec::with_capacity(64);
    while !line.contains(&b'\n') && line.len() < MAX_STATUS_LINE {
        if tcp.read_buf(&mut line).await.ok()? == 0 {
            return None;
        }
        upstream.touch();
    }
    let line = std::str::from_utf8(line.split(|&byte| byte == b'\n').next()?).ok()?;
    let code = line.strip_prefix("HTTP/1.")?.get(2..5)?;
    StatusCode::from_bytes(code.as_bytes()).ok()
}
