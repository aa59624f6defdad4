//! Requests on schedule, whether or not answers come, and what became of each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::client::Reader;

/// A request that takes longer has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(3);

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) struct Shot {
    pub(crate) took: Duration,
    /// The status of a whole answer, or what went wrong.
    pub(crate) result: Result<u16, &'static str>,
}

/// A load that is under way.
pub(crate) struct Load(JoinHandle<Vec<Shot>>);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Get(&'static str),
    /// Each has its number as body, so that its executions can be counted.
    Post(&'static str),
}

/// Sends `rate` requests a second for `duration`, each on a connection of its own.
pub(crate) fn load(clients: SocketAddr, ask: Ask, rate: u32, duration: Duration) -> Load {
    load_with_limit(clients, ask, rate, duration, LIMIT)
}

/// The same; a request fails after `limit`.
pub(crate) fn load_with_limit(
    clients: SocketAddr,
    ask: Ask,
    rate: u32,
    duration: Duration,
    limit: Duration,
) -> Load {
    Load(tokio::spawn(async move {
        let count = u32::try_from(u128::from(rate) * duration.as_millis() / 1_000).expect("few");
        let mut requests = Vec::new();
        let start = tokio::time::Instant::now();
        for number in 0..count {
            tokio::time::sleep_until(start + Duration::from_secs(1) * number / rate).await;
            requests.push(tokio::spawn(shoot(clients, ask, number, limit)));
        }
        let mut shots = Vec::new();
        for request in requests {
            shots.push(request.await.expect("no panic"));
        }
        shots
    }))
}

async fn shoot(clients: SocketAddr, ask: Ask, number: u32, limit: Duration) -> Shot {
    let text = match ask {
        Ask::Get(path) => format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"),
        Ask::Post(path) => {
            let body = number.to_string();
            let length = body.len();
            format!(
                "POST {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        }
    };
    let started = Instant::now();
    let exchange = async {
        let tcp = TcpStream::connect(clients).await.map_err(|_| "no connection")?;
        let mut reader = Reader::new(tcp);
        let sent = tokio::io::AsyncWriteExt::write_all(&mut reader.tcp, text.as_bytes()).await;
        sent.map_err(|_| "not sent")?;
        let answer = reader.answer_to("GET").await.ok_or("no answer")?;
        if answer.whole { Ok(answer.status()) } else { Err("truncated") }
    };
    let result = tokio::time::timeout(limit, exchange).await.unwrap_or(Err("too slow"));
    Shot { took: started.elapsed(), result }
}

impl Load {
    /// Waits for the end.
    pub(crate) async fn end(self) -> Vec<Shot> {
        self.0.await.expect("no panic")
    }

    /// Waits for the end; nothing may have failed. Says how it went.
    pub(crate) async fn ends_well(self) -> Vec<Shot> {
        let shots = self.end().await;
        let failed: Vec<_> = shots.iter().filter(|shot| shot.result != Ok(200)).collect();
        println!(
            "{} requests, {} failed, p50 {:?}, p99 {:?}, worst {:?}",
            shots.len(),
            failed.len(),
            quantile(&shots, 0.5),
            quantile(&shots, 0.99),
            quantile(&shots, 1.0),
        );
        assert!(failed.is_empty(), "{failed:?}");
        shots
    }
}

/// The time that this share of `shots` took at most.
pub(crate) fn quantile(shots: &[Shot], share: f64) -> Duration {
    let mut times: Vec<_> = shots.iter().map(|shot| shot.took).collect();
    times.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let index = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len());
    times[index - 1]
}
