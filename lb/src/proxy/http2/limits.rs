//! What a client may have of us over one connection of HTTP/2. `docs/http.md` has the same numbers.

use std::time::Duration;

use h2::server::Builder;

use crate::settings::Limits;

/// Requests at a time on one connection; h2 refuses more (REFUSED_STREAM).
pub(super) const STREAMS: u32 = 128;

/// What a client may send of one body before it is read, in bytes …
const STREAM_WINDOW: u32 = 128 << 10;

/// … and of all bodies of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What of one answer waits for the connection, in bytes.
const SEND_BUFFER: usize = 64 << 10;

/// The largest payload of a frame we take, in bytes: the least that may be asked for.
const FRAME: u32 = 16 << 10;

/// Streams that were reset by us and may still get frames.
const RESET_STREAMS: usize = 64;

/// Streams that the client reset before we looked at them: the rapid reset of CVE-2023-44487.
const PENDING_RESETS: usize = 32;

/// Streams of one connection that we reset because the client broke the protocol.
const LOCAL_RESETS: usize = 128;

/// Malformed requests on one connection.
pub(super) const MALFORMED: u32 = 32;

/// Frames that carry nothing (PING, SETTINGS, PRIORITY, empty DATA, unknown ones) at once …
pub(super) const COSTS_AT_ONCE: u32 = 2_000;

/// … and per second from then on.
pub(super) const COSTS_PER_SECOND: u32 = 1_000;

/// A reset costs as many of those: what was begun for the stream is lost.
pub(super) const RESET_COSTS: u32 = 4;

/// A connection that is told to end (GOAWAY) and has no request any more is closed after so long.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);

/// h2's settings for a client's connection.
pub(super) fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_frame_size(FRAME)
        .max_concurrent_reset_streams(RESET_STREAMS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS));
    builder
}
