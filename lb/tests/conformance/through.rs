//! Sends a case through one proxy and looks at both ends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::case::Case;
use crate::outcome::{Answer, Outcome, answers};
use crate::recorder::{AFTER, Recorder};

/// Who sends nothing for so long has said all there is: the longest of their deadlines is a second.
const QUIET: Duration = Duration::from_millis(2_500);

/// What came before the last answer arrived is there soon after.
const SOON: Duration = Duration::from_millis(20);

pub(crate) async fn through(case: &Case, proxy: SocketAddr, backend: &Recorder) -> Outcome {
    backend.begin(&case.reply);
    let mut tcp = TcpStream::connect(proxy).await.expect("connected");
    let _ = tcp.write_all(&case.sends).await;
    if case.ends {
        let _ = tcp.shutdown().await;
    }
    let methods = methods(case);
    let mut received = Vec::new();
    // Until there is what lb should answer, or the connection ends.
    let expected = case.answers.iter().map(Vec::len).min().unwrap_or(0);
    let mut ended = false;
    while !ended && !are_there(&answers(&received, &methods), expected) {
        ended = !more(&mut tcp, &mut received).await;
    }
    // One refusal too many would not be seen at once.
    while !ended && let Ok(read) = timeout(SOON, tcp.read_buf(&mut received)).await {
        ended = !matches!(read, Ok(1..));
    }
    let before = received.len();
    if !ended {
        sleep(case.pause).await;
        let after = format!("GET {AFTER} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let _ = tcp.write_all(after.as_bytes()).await;
        while more(&mut tcp, &mut received).await {}
    }
    let mut answers = answers(&received, &methods);
    let kept = answers
        .last()
        .is_some_and(|last| received.len() > before && last.body == format!("GET {AFTER}").as_bytes());
    if kept {
        answers.pop();
    }
    let mut seen = backend.seen();
    let after = seen.iter().position(|seen| seen.request == format!("GET {AFTER}"));
    let afresh = after.is_some_and(|after| after > 0 && seen[after].connection != seen[after - 1].connection);
    if let Some(after) = after {
        seen.remove(after);
    }
    Outcome { answers, kept, seen, afresh }
}

fn are_there(answers: &[Answer], expected: usize) -> bool {
    answers.iter().filter(|answer| answer.whole).count() >= expected
}

/// The methods of the requests, which decide whether an answer has a body.
fn methods(case: &Case) -> Vec<String> {
    let text = String::from_utf8_lossy(&case.sends);
    let of_line = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    text.split("\r\n").filter(|line| line.contains(" HTTP/1.")).map(of_line).collect()
}

async fn more(tcp: &mut TcpStream, received: &mut Vec<u8>) -> bool {
    matches!(timeout(QUIET, tcp.read_buf(received)).await, Ok(Ok(1..)))
}
