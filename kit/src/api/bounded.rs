//! Serves the interfaces that everybody on the network can reach: who opens connections and says nothing, or says
//! it slowly, keeps others from nothing.
//!
//! ```text
//!   accepted ─▶ a place? ─ no ─▶ 503, closed
//!                 │ yes
//!                 ▼
//!              head ─▶ body ─▶ answer ─▶ the next head …
//!               │        └ not in time: 400
//!               └ not in time, the wait for it included: closed
//! ```
//!
//! `axum::serve` knows none of these limits, so the connections are driven here.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request};
use axum::serve::Listener;
use futures_util::FutureExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::Sleep;
use tower::ServiceExt;
use wire::Problem;

use super::last_answer;
use crate::descriptors;
use crate::places::{Limits, Place, Places};
use crate::seldom::Seldom;

/// What one listener bears.
#[derive(Clone, Copy)]
struct Bounds {
    connections: Limits,
    /// A head arrives within this, counted from when it is waited for.
    head: Duration,
    /// A body arrives within this.
    body: Duration,
}

/// The most connections of one listener. Pages that people have open stay connected: hundreds of these are no attack.
const CONNECTIONS: usize = 1_024;

/// Each listener takes no more than this part of the descriptors that the process may have: there are up to three.
const SHARE: u64 = 4;

/// A manager has a few connections with each of its peers. Our own clients keep a connection that they do not use for
/// 30 seconds: they are to close it first.
fn bounds() -> Bounds {
    let share = usize::try_from(descriptors::allowed() / SHARE).unwrap_or(CONNECTIONS);
    Bounds {
        connections: Limits { all: share.min(CONNECTIONS), each: 64 },
        head: Duration::from_secs(40),
        body: Duration::from_secs(20),
    }
}

/// Serves `router` on what `listener` accepts, for ever. `about` says who is at the other end, which handlers get as
/// [`ConnectInfo`], and from which address, if there is one.
pub async fn serve_bounded<L, I, F>(listener: L, router: Router, about: F) -> Infallible
where
    L: Listener,
    I: Clone + Send + Sync + 'static,
    F: Fn(&L::Io, &L::Addr) -> (I, Option<IpAddr>),
{
    serve(listener, router, about, bounds()).await
}

async fn serve<L, I, F>(mut listener: L, router: Router, about: F, bounds: Bounds) -> Infallible
where
    L: Listener,
    I: Clone + Send + Sync + 'static,
    F: Fn(&L::Io, &L::Addr) -> (I, Option<IpAddr>),
{
    let places = Places::new(bounds.connections);
    let refusals = Arc::new(Seldom::default());
    loop {
        let (stream, from) = listener.accept().await;
        let (info, address) = about(&stream, &from);
        match places.take(address) {
            Ok(place) => {
                tokio::spawn(connection(stream, router.clone(), ConnectInfo(info), bounds, place));
            }
            Err(why) => {
                if let Some(unsaid) = refusals.due() {
                    tracing::warn!(unsaid, "a connection is closed at once: {why}");
                }
                refuse(stream, &why);
            }
        }
    }
}

async fn connection<S, I>(stream: S, router: Router, info: ConnectInfo<I>, bounds: Bounds, _place: Place)
where
    S: tokio::io::AsyncRead + AsyncWrite + Send + Unpin + 'static,
    I: Clone + Send + Sync + 'static,
{
    let service = router.map_request(move |request: Request<Incoming>| {
        let mut request = request.map(|body| Body::new(Timely { body, time: bounds.body, end: None }));
        request.extensions_mut().insert(info.clone());
        request
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    if let Err(error) = served.await {
        tracing::trace!(%error, "a connection ended");
    }
}

/// Says why, if that can be said at once: nobody is waited for.
fn refuse(mut stream: impl AsyncWrite + Unpin, why: &str) {
    let answer = last_answer(&Problem::new(503, "Too many connections", why));
    let said = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await
    };
    let _ = said.now_or_never();
}

/// A body that has to arrive in time.
struct Timely {
    body: Incoming,
    time: Duration,
    /// Set when it is waited for.
    end: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Timely {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)));
        }
        let time = this.time;
        let end = this.end.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
        end.as_mut().poll(cx).map(|()| {
            let message = format!("the body did not arrive within {time:?}");
            Some(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::sync::mpsc;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::api::Json;

    /// Connections in memory; who makes one says from where it comes.
    struct InMemory(mpsc::UnboundedReceiver<(DuplexStream, IpAddr)>);

    impl Listener for InMemory {
        type Io = DuplexStream;
        type Addr = IpAddr;

        async fn accept(&mut self) -> (DuplexStream, IpAddr) {
            match self.0.recv().await {
                Some(accepted) => accepted,
                None => std::future::pending().await,
            }
        }

        fn local_addr(&self) -> io::Result<IpAddr> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Short where that is what is tested, else long.
    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(150);
    const PATIENCE: Duration = Duration::from_secs(30);
    const FEW: Limits = Limits { all: 9, each: 3 };

    struct Served(mpsc::UnboundedSender<(DuplexStream, IpAddr)>);

    impl Served {
        /// Answers with the sum of what it was sent, and with where that came from.
        fn start(head: Duration, body: Duration) -> Self {
            let router = Router::new().route(
                "/sum",
                axum::routing::post(
                    async |ConnectInfo(from): ConnectInfo<IpAddr>, Json(all): Json<BTreeMap<String, u32>>| {
                        format!("{} from {from}", all.values().sum::<u32>())
                    },
                ),
            );
            let (connect, accepted) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                let bounds = Bounds { connections: FEW, head, body };
                serve(InMemory(accepted), router, |_, from| (*from, Some(*from)), bounds).await
            });
            Served(connect)
        }

        async fn connect(&self, from: &str) -> DuplexStream {
            let (ours, theirs) = duplex(1 << 16);
            self.0.send((theirs, from.parse().expect("an address"))).expect("served");
            ours
        }

        /// Sends `text`, and gives what comes back until the connection ends, and after how long that was.
        async fn said(&self, from: &str, text: &str) -> (String, Duration) {
            let mut stream = self.connect(from).await;
            stream.write_all(text.as_bytes()).await.expect("sent");
            let begun = Instant::now();
            let mut answer = String::new();
            let end = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("it ends");
            end.expect("answered");
            (answer, begun.elapsed())
        }
    }

    const WHOLE: &str =
        "POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 13\r\nconnection: close\r\n\r\n{\"a\":1,\"b\":2}";

    #[tokio::test]
    async fn a_head_that_does_not_come_is_not_waited_for() {
        let served = Served::start(SHORT, LONG);
        for silent in ["", "POST /sum HTTP/1.1\r\nhost"] {
            let (answer, after) = served.said("10.0.0.1", silent).await;
            assert!(answer.is_empty() && after >= SHORT, "{silent:?}: {answer} after {after:?}");
        }
        // One request, and nothing after it.
        let kept = WHOLE.replace("connection: close\r\n", "");
        let (answer, after) = served.said("10.0.0.1", &kept).await;
        assert!(answer.ends_with("3 from 10.0.0.1") && after >= SHORT, "{answer} after {after:?}");
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let served = Served::start(LONG, SHORT);
        let (answer, after) = served.said("10.0.0.1", &WHOLE[..WHOLE.len() - 1]).await;
        assert!(answer.starts_with("HTTP/1.1 400") && after >= SHORT, "{answer} after {after:?}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        let (answer, _) = served.said("10.0.0.1", WHOLE).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }

    #[tokio::test]
    async fn a_crowd_has_its_share_and_others_theirs() {
        let served = Served::start(LONG, LONG);
        let mut crowd = Vec::new();
        for _ in 0..FEW.each {
            crowd.push(served.connect("10.0.0.1").await);
        }
        let (answer, _) = served.said("10.0.0.1", "").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("from 10.0.0.1"), "{answer}");
        let (answer, _) = served.said("10.0.0.2", WHOLE).await;
        assert!(answer.ends_with("3 from 10.0.0.2"), "{answer}");
        drop(crowd);
        // The places are free when their connections are seen to have ended.
        let freed = async {
            while !served.said("10.0.0.1", WHOLE).await.0.starts_with("HTTP/1.1 200") {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, freed).await.expect("the places come back");
    }
}
