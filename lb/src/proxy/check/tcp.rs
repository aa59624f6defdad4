//! A check by TCP: the connection, and where it is asked for, a few bytes each way.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::checks::TcpAsk;

use super::stream::{Search, Stream};
use super::{Fault, Outcome, Role};

/// How much is read at a time, in bytes.
const PIECE: usize = 4096;

/// Says over `stream` what is to be said and looks for the answer.
pub(super) async fn ask(mut stream: Stream, ask: &TcpAsk) -> Outcome {
    if let Some(text) = &ask.send {
        stream.write_all(text.as_bytes()).await.map_err(|_error| Fault::Broken)?;
    }
    let Some(wanted) = &ask.expect else { return Ok(Role::Any) };
    let mut search = Search::new(wanted);
    let mut piece = vec![0; PIECE];
    loop {
        let length = match stream.read(&mut piece).await {
            Ok(0) if !search.is_empty() => return Err(Fault::Body),
            Ok(0) | Err(_) => return Err(Fault::Broken),
            Ok(length) => length,
        };
        match search.take(&piece[..length]) {
            Some(true) => return Ok(Role::Any),
            Some(false) => return Err(Fault::Body),
            None => {}
        }
    }
}
