//! Servers that do exactly what a test says and remember what was asked of them.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What to do with one request.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Answer with these bytes and go on.
    Answer(String),
    /// Write these bytes and close.
    Close(String),
    /// Close with a reset.
    Reset,
    /// Answer nothing, and keep the connection open for so long.
    Stall(Duration),
}

impl Act {
    pub(crate) fn ok() -> Self {
        Act::json("{\"value\": 1}")
    }

    pub(crate) fn json(body: &str) -> Self {
        Act::Answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }

    pub(crate) fn status(status: u16) -> Self {
        Act::Answer(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n"))
    }
}

/// A server on a port of its own; it ends with the test's process.
pub(crate) struct Truth {
    pub(crate) url: String,
    pub(crate) requests: Arc<AtomicU64>,
    pub(crate) connections: Arc<AtomicU64>,
}

impl Truth {
    /// A server that does with its n-th request, counted from 0, what `act` says, given the first line.
    pub(crate) fn start(act: impl Fn(u64, &str) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let act = Arc::new(act);
        let truth = Truth { url, requests: requests.clone(), connections: connections.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                connections.fetch_add(1, Ordering::SeqCst);
                let (act, requests) = (act.clone(), requests.clone());
                std::thread::spawn(move || serve(&stream.unwrap(), &*act, &requests));
            }
        });
        truth
    }

    pub(crate) fn ok() -> Self {
        Truth::start(|_, _| Act::ok())
    }
}

/// A server that answers for so long, then is gone for so long as if its process had ended, and then is back. Counted
/// from its first connection.
pub(crate) fn vanishing(after: Duration, away: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let answer = |stream: TcpStream| {
            std::thread::spawn(move || serve(&stream, &|_, _| Act::ok(), &AtomicU64::new(0)));
        };
        let first = listener.accept().unwrap().0;
        let begun = Instant::now();
        answer(first);
        listener.set_nonblocking(true).unwrap();
        while begun.elapsed() < after {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    answer(stream);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        drop(listener);
        std::thread::sleep(away);
        for stream in TcpListener::bind(address).unwrap().incoming() {
            answer(stream.unwrap());
        }
    });
    format!("http://{address}")
}

fn serve(stream: &TcpStream, act: &dyn Fn(u64, &str) -> Act, requests: &AtomicU64) {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let (mut first, mut close) = (String::new(), false);
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if first.is_empty() {
                first.clone_from(&line);
            }
            let line = line.trim().to_ascii_lowercase();
            close |= line == "connection: close";
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut reader, &mut body).unwrap();
        let line = format!("{} {}", first.trim(), String::from_utf8_lossy(&body));
        match act(requests.fetch_add(1, Ordering::SeqCst), &line) {
            Act::Answer(bytes) => {
                if writer.write_all(bytes.as_bytes()).is_err() || close {
                    return;
                }
            }
            Act::Close(bytes) => {
                let _ = writer.write_all(bytes.as_bytes());
                return;
            }
            Act::Reset => {
                let socket = nix::sys::socket::sockopt::Linger;
                let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
                nix::sys::socket::setsockopt(&stream, socket, &now).unwrap();
                return;
            }
            Act::Stall(time) => std::thread::sleep(time),
        }
    }
}
