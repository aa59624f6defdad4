//! Asks machines whether they live and whether they are ready, as their services say.
//!
//! Each question has a connection of its own, as for any client, and a time of its own. What a probe counts are answers
//! in a row; who asks it hears of a change only.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use reqwest::redirect;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use wire::service::{Probe, ProbeKind};

use super::transport::cause;

/// The statuses that say that all is well, as for Kubernetes.
const WELL: std::ops::Range<u16> = 200..400;

/// Asks.
#[derive(Clone)]
pub(super) struct Prober {
    client: reqwest::Client,
}

impl Prober {
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub(super) fn new() -> reqwest::Result<Self> {
        // A redirect is an answer, and nowhere to go: another machine says nothing about this one.
        let builder = reqwest::Client::builder().redirect(redirect::Policy::none());
        Ok(Prober { client: builder.pool_max_idle_per_host(0).no_proxy().build()? })
    }

    /// Asks until `failure_threshold` questions in a row have failed, and calls `beat` for each answer. The first must
    /// come to the first question, within `first` too. Returns why it ended.
    pub(super) async fn liveness(
        &self,
        address: IpAddr,
        port: u16,
        probe: &Probe,
        first: Duration,
        mut beat: impl FnMut(),
    ) -> String {
        let patience = first.min(Duration::from_millis(probe.timeout_ms));
        if let Err(reason) = self.ask(address, port, probe, patience).await {
            return reason;
        }
        beat();
        let mut failures = 0;
        let mut rounds = Rounds::of(probe);
        loop {
            rounds.next().await;
            match self.ask(address, port, probe, Duration::from_millis(probe.timeout_ms)).await {
                Ok(()) => {
                    failures = 0;
                    beat();
                }
                Err(reason) => {
                    failures += 1;
                    if failures >= probe.failure_threshold {
                        return format!("its liveness probe failed {failures} times: {reason}");
                    }
                }
            }
        }
    }

    /// Asks for ever, and calls `tell` when what it says has changed, and once when it has found that what was `ready`
    /// still is.
    pub(super) async fn readiness(
        &self,
        address: IpAddr,
        port: u16,
        probe: &Probe,
        mut ready: bool,
        mut tell: impl FnMut(bool),
    ) {
        let mut in_a_row = 0;
        let mut is_confirmed = !ready;
        let mut rounds = Rounds::of(probe);
        loop {
            let answered =
                self.ask(address, port, probe, Duration::from_millis(probe.timeout_ms)).await.is_ok();
            if answered && ready && !is_confirmed {
                tell(true);
            }
            is_confirmed |= answered;
            in_a_row = if answered == ready { 0 } else { in_a_row + 1 };
            let enough = if ready { probe.failure_threshold } else { probe.success_threshold };
            if in_a_row >= enough {
                (ready, in_a_row) = (answered, 0);
                tell(ready);
            }
            rounds.next().await;
        }
    }

    async fn ask(&self, address: IpAddr, port: u16, probe: &Probe, patience: Duration) -> Result<(), String> {
        let at = SocketAddr::new(address, probe.port.unwrap_or(port));
        let asked = async {
            match probe.kind {
                ProbeKind::Http => {
                    let url = format!("http://{at}{}", probe.path);
                    let response = self.client.get(url).send().await.map_err(|error| cause(&error))?;
                    let status = response.status();
                    if WELL.contains(&status.as_u16()) { Ok(()) } else { Err(format!("it answers {status}")) }
                }
                // Heartbeats are listened to, and balancers ask the others: of those none comes here.
                ProbeKind::Tcp
                | ProbeKind::Heartbeat
                | ProbeKind::Https
                | ProbeKind::Mysql
                | ProbeKind::Postgres
                | ProbeKind::Redis => {
                    TcpStream::connect(at).await.map(drop).map_err(|error| error.to_string())
                }
            }
        };
        let late = |_| Err(format!("no answer within {} ms", patience.as_millis()));
        timeout(patience, asked).await.unwrap_or_else(late)
    }
}

/// When to ask: every period, however long answers take, unless one takes longer than that.
struct Rounds {
    period: Duration,
    last: Instant,
}

impl Rounds {
    fn of(probe: &Probe) -> Self {
        Rounds { period: Duration::from_millis(probe.period_ms), last: Instant::now() }
    }

    async fn next(&mut self) {
        self.last = (self.last + self.period).max(Instant::now());
        sleep_until(self.last).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;

    use super::*;

    fn probe(kind: ProbeKind) -> Probe {
        let text = r#"{"kind": "http", "path": "/ready", "period_ms": 50, "failure_threshold": 2}"#;
        Probe { kind, ..serde_json::from_str(text).expect("valid") }
    }

    /// A server whose status is what is in the cell; without one, it closes connections.
    async fn server(status: Arc<AtomicU16>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 1024];
                let read = stream.read(&mut head).await.unwrap_or(0);
                assert!(read == 0 || head.starts_with(b"GET /ready HTTP/1.1"));
                let status = status.load(Ordering::SeqCst);
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn readiness_changes_with_the_answers_and_is_told_once() {
        let status = Arc::new(AtomicU16::new(503));
        let port = server(Arc::clone(&status)).await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let prober = Prober::new().expect("a client");
        let asking = tokio::spawn(async move {
            let tell = |ready| tell.send(ready).expect("heard");
            prober.readiness(IpAddr::from([127, 0, 0, 1]), port, &probe(ProbeKind::Http), true, tell).await;
        });
        assert_eq!(told.recv().await, Some(false));
        // Where it would send us does not matter, only that it answers.
        status.store(302, Ordering::SeqCst);
        assert_eq!(told.recv().await, Some(true));
        status.store(404, Ordering::SeqCst);
        assert_eq!(told.recv().await, Some(false));
        asking.abort();
        assert_eq!(told.recv().await, None, "said once each");
    }

    #[tokio::test]
    async fn liveness_ends_with_so_many_failures_in_a_row() {
        let status = Arc::new(AtomicU16::new(200));
        let port = server(Arc::clone(&status)).await;
        let prober = Prober::new().expect("a client");
        let patience = Duration::from_secs(10);
        let mut beats = 0;
        let beat = || {
            beats += 1;
            if beats == 3 {
                status.store(500, Ordering::SeqCst);
            }
        };
        let reason = prober
            .liveness(IpAddr::from([127, 0, 0, 1]), port, &probe(ProbeKind::Http), patience, beat)
            .await;
        assert_eq!((beats, reason.contains("failed 2 times: it answers 500")), (3, true), "{reason}");
        // The first question has to be answered well.
        let never = || panic!("no sign of life");
        let reason = prober
            .liveness(IpAddr::from([127, 0, 0, 1]), port, &probe(ProbeKind::Http), patience, never)
            .await;
        assert!(reason.contains("it answers 500"), "{reason}");
        // A connection is one for TCP, whatever would be answered.
        let (tell, mut told) = mpsc::unbounded_channel();
        let tcp = tokio::spawn(async move {
            let beat = || tell.send(()).unwrap_or_default();
            prober.liveness(IpAddr::from([127, 0, 0, 1]), port, &probe(ProbeKind::Tcp), patience, beat).await
        });
        assert_eq!(told.recv().await, Some(()));
        assert_eq!(told.recv().await, Some(()));
        tcp.abort();
    }
}
