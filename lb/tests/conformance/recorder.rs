//! The backend: records each request as it got it, and on which connection.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::case::Reply;

/// The target of what is sent after each case.
pub(crate) const AFTER: &str = "/after";

/// So late is a late answer.
const LATE: Duration = Duration::from_millis(300);

/// A longer body is recorded as its length.
const SHOWN: usize = 200;

/// One request, or what is none.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) connection: usize,
    /// Method, target and body; or the bytes that are no request.
    pub(crate) request: String,
    /// The head in lower case.
    pub(crate) head: String,
}

#[derive(Debug)]
struct Now {
    reply: Reply,
    seen: Vec<Seen>,
    connections: usize,
}

/// A running one.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    now: Arc<Mutex<Now>>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address");
        let now = Arc::new(Mutex::new(Now { reply: Reply::Echo, seen: Vec::new(), connections: 0 }));
        let recorder = Recorder { address, now };
        let accepting = recorder.clone();
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.expect("accepted");
                let recorder = accepting.clone();
                tokio::spawn(async move { recorder.serve(tcp).await });
            }
        });
        recorder
    }

    /// Forgets what it has seen, and from now on answers with `reply`.
    pub(crate) fn begin(&self, reply: &Reply) {
        let mut now = self.now.lock().expect("lock");
        now.reply = reply.clone();
        now.seen.clear();
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.now.lock().expect("lock").seen.clone()
    }

    async fn serve(&self, mut tcp: TcpStream) {
        let connection = {
            let mut now = self.now.lock().expect("lock");
            now.connections += 1;
            now.connections
        };
        let mut buffer = Vec::new();
        loop {
            let Some(seen) = next(&mut tcp, &mut buffer).await else { return };
            let Some((request, head)) = seen else {
                // What comes is no request. Nobody may send that.
                self.note(connection, String::from_utf8_lossy(&buffer).into_owned(), String::new());
                return;
            };
            if head.contains("user-agent: lb-probe") {
                let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                continue;
            }
            self.note(connection, request.clone(), head);
            let reply = self.now.lock().expect("lock").reply.clone();
            let is_case = request.contains("/x");
            match reply {
                Reply::Bytes(bytes) if is_case => tcp.write_all(&bytes).await.unwrap_or_default(),
                Reply::Last(bytes) if is_case => return tcp.write_all(&bytes).await.unwrap_or_default(),
                reply => {
                    if matches!(reply, Reply::Late) {
                        tokio::time::sleep(LATE).await;
                    }
                    let text = request.split(' ').take(2).collect::<Vec<_>>().join(" ");
                    let body = if request.starts_with("HEAD") { "" } else { &text };
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", text.len());
                    tcp.write_all(answer.as_bytes()).await.unwrap_or_default();
                }
            }
        }
    }

    fn note(&self, connection: usize, request: String, head: String) {
        self.now.lock().expect("lock").seen.push(Seen { connection, request, head });
    }
}

/// The next request and its head; none inside when it is no request, none when the connection ends before it does.
async fn next(tcp: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Option<(String, String)>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        fill(tcp, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let lower = head.to_lowercase();
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !words.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
        return Some(None);
    }
    buffer.drain(..end);
    let body = if lower.contains("\r\ntransfer-encoding:") {
        chunks(tcp, buffer).await?
    } else {
        let length = lower.split("\r\ncontent-length:").nth(1).and_then(|rest| rest.lines().next());
        let length = length.map_or(0, |length| length.trim().parse().expect("a length"));
        take(tcp, buffer, length).await?
    };
    let body = if body.len() > SHOWN {
        format!("({} bytes)", body.len())
    } else {
        String::from_utf8_lossy(&body).into_owned()
    };
    let request = format!("{method} {target} {body}");
    Some(Some((request.strip_suffix(' ').unwrap_or(&request).to_owned(), lower)))
}

async fn chunks(tcp: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = line(tcp, buffer).await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).expect("a size");
        if size == 0 {
            while !self::line(tcp, buffer).await?.is_empty() {}
            return Some(body);
        }
        body.extend(take(tcp, buffer, size).await?);
        take(tcp, buffer, 2).await?;
    }
}

async fn line(tcp: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
            let line: Vec<u8> = buffer.drain(..end + 2).collect();
            return Some(String::from_utf8_lossy(&line[..end]).into_owned());
        }
        fill(tcp, buffer).await?;
    }
}

async fn take(tcp: &mut TcpStream, buffer: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while buffer.len() < count {
        fill(tcp, buffer).await?;
    }
    Some(buffer.drain(..count).collect())
}

async fn fill(tcp: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    matches!(tcp.read_buf(buffer).await, Ok(1..)).then_some(())
}
