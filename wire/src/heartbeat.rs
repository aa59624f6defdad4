//! How a machine says that it lives: server-sent events on a well-known path.

use std::time::Duration;

/// Where every guest of ours answers with its heartbeat.
pub const PATH: &str = "/heartbeat";

/// The data of each event.
pub const DATA: &str = r#"{"status": "OK"}"#;

/// The time between two events unless a program is told otherwise.
pub const DEFAULT_INTERVAL: Duration = Duration::from_millis(250);

/// Finds heartbeats in a byte stream of server-sent events, however it is cut into chunks.
///
/// Lines longer than [`LineReader::MAX_LINE`] are dropped whole: a peer that never ends its line
/// costs no memory.
#[derive(Debug, Default)]
pub struct LineReader {
    line: Vec<u8>,
    overlong: bool,
}

impl LineReader {
    /// The longest line that is looked at, in bytes.
    pub const MAX_LINE: usize = 4096;

    /// Takes the next chunk of the stream and returns how many heartbeats it completed.
    pub fn feed(&mut self, chunk: &[u8]) -> usize {
        let mut beats = 0;
        for &byte in chunk {
            match byte {
                b'\n' | b'\r' => {
                    if !self.overlong && is_beat(&self.line) {
                        beats += 1;
                    }
                    self.line.clear();
                    self.overlong = false;
                }
                _ if self.line.len() >= Self::MAX_LINE => self.overlong = true,
                _ => self.line.push(byte),
            }
        }
        beats
    }
}

/// Whether a line of an event stream is a heartbeat that says all is well.
fn is_beat(line: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Beat {
        status: String,
    }
    line.strip_prefix(b"data:")
        .and_then(|json| serde_json::from_slice::<Beat>(json).ok())
        .is_some_and(|beat| beat.status == "OK")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_found_however_the_stream_is_cut() {
        let stream =
            format!("data: {DATA}\n\n: comment\n\ndata: {{\"status\": \"BAD\"}}\n\ndata: {DATA}\r\n\r\n");
        for size in 1..stream.len() {
            let mut reader = LineReader::default();
            let beats: usize = stream.as_bytes().chunks(size).map(|chunk| reader.feed(chunk)).sum();
            assert_eq!(beats, 2, "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_line_is_dropped_and_the_next_one_read() {
        let mut reader = LineReader::default();
        for _ in 0..100 {
            assert_eq!(reader.feed(&[b'x'; 1000]), 0);
        }
        assert!(reader.line.len() <= LineReader::MAX_LINE);
        assert_eq!(reader.feed(format!("\ndata: {DATA}\n").as_bytes()), 1);
    }
}
