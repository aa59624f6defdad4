//! HTTP/1.1 as bytes, for both ends of a test.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request or an answer as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Its first line.
    pub(crate) start: String,
    /// By lower-case name; values of the same name joined with `, `.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// Whether the body ended as its framing says.
    pub(crate) whole: bool,
}

impl Message {
    /// The status of an answer.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("status line")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The path of a request.
    pub(crate) fn path(&self) -> &str {
        self.start.split(' ').nth(1).expect("request line")
    }
}

/// Reads messages from a connection.
pub(crate) struct Reader<S = TcpStream> {
    pub(crate) tcp: S,
    buffer: Vec<u8>,
}

impl Reader {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.expect("connected"))
    }

    /// Whether there is something to read within `wait`.
    pub(crate) async fn readable_within(&mut self, wait: Duration) -> bool {
        !self.buffer.is_empty() || tokio::time::timeout(wait, self.tcp.readable()).await.is_ok()
    }

    /// Reads the body of `request`, whose head was read, while it sends `bytes`.
    pub(crate) async fn body_beside(&mut self, request: &mut Message, bytes: &[u8]) {
        let length = request.headers.get("content-length").map_or(0, |text| text.parse().expect("length"));
        let Reader { tcp, buffer } = self;
        let (mut reading, mut writing) = tcp.split();
        let read =
            async { while buffer.len() < length && matches!(reading.read_buf(buffer).await, Ok(1..)) {} };
        let _ = tokio::join!(read, writing.write_all(bytes));
        request.whole = buffer.len() >= length;
        request.body = buffer.drain(..length.min(buffer.len())).collect();
    }

    /// Sends no more, and says so.
    pub(crate) fn end_own_side(&self) {
        socket2::SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write).expect("ended");
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Reader<S> {
    pub(crate) fn new(tcp: S) -> Self {
        Reader { tcp, buffer: Vec::new() }
    }

    /// Sends `text` as it is.
    pub(crate) async fn send(&mut self, text: &str) {
        self.tcp.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Sends `text` and reads the answer.
    pub(crate) async fn ask(&mut self, text: &str) -> Message {
        self.send(text).await;
        self.answer().await
    }

    /// The next answer that is not an interim one.
    pub(crate) async fn answer(&mut self) -> Message {
        self.answer_to("GET").await.expect("an answer")
    }

    /// The next answer, to a request with `method`; none when the connection ends without one.
    pub(crate) async fn answer_to(&mut self, method: &str) -> Option<Message> {
        loop {
            let mut answer = self.head().await?;
            let status = answer.status();
            if status < 200 && status != 101 {
                continue;
            }
            if method != "HEAD" && ![101, 204, 304].contains(&status) {
                let until_close = !answer.headers.contains_key("content-length");
                self.body(&mut answer, until_close).await;
            }
            return Some(answer);
        }
    }

    /// The next request.
    pub(crate) async fn request(&mut self) -> Option<Message> {
        let mut request = self.head().await?;
        self.body(&mut request, false).await;
        request.whole.then_some(request)
    }

    /// The next head, with an empty body.
    pub(crate) async fn head(&mut self) -> Option<Message> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).expect("text");
        let mut lines = head.lines();
        let start = lines.next()?.to_owned();
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').expect("header line");
            headers
                .entry(name.to_ascii_lowercase())
                .and_modify(|values| *values = format!("{values}, {}", value.trim()))
                .or_insert_with(|| value.trim().to_owned());
        }
        Some(Message { start, headers, body: Vec::new(), whole: true })
    }

    async fn body(&mut self, message: &mut Message, until_close: bool) {
        if message.headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
            while let Some(chunk) = self.chunk().await {
                if chunk.is_empty() {
                    return;
                }
                message.body.extend(chunk);
            }
            message.whole = false;
        } else if until_close {
            while self.fill().await.is_some() {}
            message.body = std::mem::take(&mut self.buffer);
        } else {
            let length =
                message.headers.get("content-length").map_or(0, |text| text.parse().expect("length"));
            while self.buffer.len() < length {
                if self.fill().await.is_none() {
                    message.whole = false;
                    return;
                }
            }
            message.body = self.buffer.drain(..length).collect();
        }
    }

    /// The next chunk of a chunked body; empty for the last one.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") {
                break self.buffer.drain(..end + 2).collect::<Vec<_>>();
            }
            self.fill().await?;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&line).expect("text").trim(), 16).expect("size");
        while self.buffer.len() < size + 2 {
            self.fill().await?;
        }
        let chunk = self.buffer.drain(..size).collect();
        self.buffer.drain(..2);
        Some(chunk)
    }

    /// Some bytes, as they come.
    pub(crate) async fn some(&mut self) -> Option<Vec<u8>> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Some(std::mem::take(&mut self.buffer))
    }

    /// Whether the peer closes the connection within `wait`.
    pub(crate) async fn closed_within(&mut self, wait: Duration) -> bool {
        matches!(tokio::time::timeout(wait, self.fill()).await, Ok(None))
    }

    async fn fill(&mut self) -> Option<()> {
        match self.tcp.read_buf(&mut self.buffer).await {
            Ok(1..) => Some(()),
            Ok(0) | Err(_) => None,
        }
    }
}

/// A GET on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    Reader::connect(address).await.ask(&request).await
}

/// A POST of `body` on a connection of its own.
pub(crate) async fn post(address: SocketAddr, path: &str, body: &str) -> Message {
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Reader::connect(address).await.ask(&request).await
}
