//! HTTP/2 over TLS to upstreams. Pingora shares connections of HTTP/2 between requests and tells them apart by their
//! descriptors, which only sockets have. So it is given one end of a pair of sockets, and what comes out of the other is
//! passed on, both ways:
//!
//! ```text
//!   requests ─▶ Pingora's HTTP/2 ─▶ [pair of sockets] ─▶ relay ─▶ Connection (TLS) ─▶ upstream
//! ```
//!
//! When one side ends, the other does. Nothing can be taken for whole that is not: the end of a stream is told in a frame
//! (RFC 9113, section 8.1).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::connect::Connection;

/// How much is passed on at a time, in bytes: the largest record of TLS.
const PIECE: usize = 16 << 10;

/// The upstream is told of the end for no longer than this.
const FAREWELL: Duration = Duration::from_secs(1);

/// A socket that leads to `connection`, for as long as both live.
///
/// # Errors
///
/// When the system has no more sockets.
pub(super) fn through(connection: Connection) -> io::Result<UnixStream> {
    let (near, far) = UnixStream::pair()?;
    tokio::spawn(pass_on(connection, far));
    Ok(near)
}

async fn pass_on(connection: Connection, far: UnixStream) {
    let (mut from_upstream, mut to_upstream) = split(connection);
    let (mut from_us, mut to_us) = split(far);
    tokio::select! {
        _ = copy(&mut from_upstream, &mut to_us) => {}
        _ = copy(&mut from_us, &mut to_upstream) => {
            let _ = timeout(FAREWELL, to_upstream.shutdown()).await;
        }
    }
}

/// Passes on what comes, until the end of either.
async fn copy(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length]).await?;
        to.flush().await?;
    }
}
