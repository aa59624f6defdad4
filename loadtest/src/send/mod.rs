//! Sends one request and says what became of it.

mod connection;
mod failure;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::count::{Connection, Failure};
use crate::options::Target;
use connection::Wire;

/// The most connections that are kept while nothing is sent on them.
const MAX_IDLE: usize = 256;

/// Sends requests to one target.
#[derive(Debug)]
pub struct Sender {
    target: Target,
    method: Method,
    host: HeaderValue,
    timeout: Duration,
    idle: Mutex<Vec<Wire>>,
}

impl Sender {
    /// A sender to `target` with `method` that gives each request `timeout`, from connecting to its last
    /// byte. Unless they are GETs, its requests have their number as body.
    ///
    /// # Errors
    ///
    /// When the target's host cannot stand in a header.
    pub fn new(
        target: Target,
        method: Method,
        timeout: Duration,
    ) -> Result<Arc<Self>, header::InvalidHeaderValue> {
        let host = HeaderValue::from_str(&target.host)?;
        Ok(Arc::new(Sender { target, method, host, timeout, idle: Mutex::default() }))
    }

    /// Sends request `number`; succeeds when a 2xx or 3xx came in full.
    ///
    /// # Errors
    ///
    /// Why it failed.
    pub async fn send(self: &Arc<Self>, number: u64, connection: Connection) -> Result<(), Failure> {
        let deadline = Instant::now() + self.timeout;
        let kept = connection == Connection::Kept;
        let mut request = self.request(number, connection).map_err(|_| Failure::NotSent)?;
        // A kept connection that was closed before anything was sent on it costs another try, not the
        // request: nobody has seen it yet. Each such try takes one out of the pool, so it ends.
        while kept && let Some(mut wire) = self.take_idle() {
            match timeout_at(deadline, wire.exchange(request)).await {
                Err(_) => return Err(Failure::Timeout),
                Ok(Err(error)) => match error.unsent {
                    Some(unsent) => request = unsent,
                    None => return Err(error.failure),
                },
                Ok(Ok(answer)) => return self.finish(deadline, wire, answer, kept).await,
            }
        }
        let mut wire = match timeout_at(deadline, Wire::connect(self.target.address)).await {
            Err(_) => return Err(Failure::ConnectTimeout),
            Ok(connected) => connected?,
        };
        match timeout_at(deadline, wire.exchange(request)).await {
            Err(_) => Err(Failure::Timeout),
            Ok(Err(error)) => Err(error.failure),
            Ok(Ok(answer)) => self.finish(deadline, wire, answer, kept).await,
        }
    }

    /// Takes the answer's body and judges the whole.
    async fn finish(
        self: &Arc<Self>,
        deadline: Instant,
        wire: Wire,
        answer: http::Response<Incoming>,
        keep: bool,
    ) -> Result<(), Failure> {
        let status = answer.status();
        let mut body = answer.into_body();
        let complete = timeout_at(deadline, async {
            while let Some(frame) = body.frame().await {
                frame.map_err(|error| failure::of_body(&error))?;
            }
            Ok(())
        })
        .await
        .unwrap_or(Err(Failure::Timeout));
        if complete.is_ok() {
            if keep {
                tokio::spawn(self.clone().put_idle(wire));
            } else {
                wire.release();
            }
        }
        judge(status).and(complete)
    }

    fn request(&self, number: u64, connection: Connection) -> http::Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(&self.method)
            .uri(&self.target.path)
            .header(header::HOST, &self.host)
            .header(header::USER_AGENT, concat!("loadtest/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "*/*");
        if connection == Connection::Fresh {
            request = request.header(header::CONNECTION, "close");
        }
        let body = if self.method == Method::GET { Bytes::new() } else { number.to_string().into() };
        request.body(Full::new(body))
    }

    fn take_idle(&self) -> Option<Wire> {
        // The one used last: the others may then grow old and be closed, as in any client's pool.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn put_idle(self: Arc<Self>, mut wire: Wire) {
        if wire.ready().await {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MAX_IDLE {
                idle.push(wire);
            }
        }
    }
}

fn judge(status: StatusCode) -> Result<(), Failure> {
    match status.as_u16() {
        200..=399 => Ok(()),
        400..=499 => Err(Failure::Http4xx),
        502 => Err(Failure::Http502),
        503 => Err(Failure::Http503),
        504 => Err(Failure::Http504),
        500..=599 => Err(Failure::Http5xx),
        _ => Err(Failure::Protocol),
    }
}
