//! Sends one request and says what became of it.

mod body;
mod connect;
mod failure;
mod head;
mod http1;
mod http2;
mod stream;
mod tls;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use crate::count::{Connection, Failure};
use crate::origin::Origin;
use crate::target::{Body, Target};
use body::Collected;
use connect::Connector;
use head::Head;
use http1::Wire;
pub use stream::Traffic;
pub use tls::Trust;

/// How often a request that the server has not seen is sent anew over another connection of HTTP/2.
const TRIES: u32 = 3;

/// What is sent, and how; shared by all workers.
#[derive(Debug)]
pub struct Plan {
    /// Where to.
    pub origin: Arc<Origin>,
    /// What is asked for.
    pub targets: Vec<Target>,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// What a request may take, from connecting to its last byte.
    pub timeout: Duration,
    /// The most connections of a worker that are kept while nothing is sent on them.
    pub idle_max: usize,
}

/// Sends the requests of one worker.
pub struct Sender {
    plan: Arc<Plan>,
    connector: Connector,
    /// For each target, what all its requests have in common.
    heads: Vec<Head>,
    idle: Mutex<Vec<Wire>>,
    shared: http2::Shared,
}

impl Sender {
    /// A sender that counts its bytes in `traffic`.
    ///
    /// # Errors
    ///
    /// When the host cannot stand in a header, or there is no TLS to speak.
    pub fn new(plan: Arc<Plan>, traffic: Arc<Traffic>) -> anyhow::Result<Arc<Self>> {
        let connector = Connector::new(plan.origin.clone(), &plan.trust, plan.http2, traffic)?;
        let heads =
            plan.targets.iter().map(|target| Head::new(&plan, target)).collect::<anyhow::Result<_>>()?;
        let (idle, shared) = (Mutex::default(), http2::Shared::default());
        Ok(Arc::new(Sender { plan, connector, heads, idle, shared }))
    }

    /// Sends request `number` to the target with this index; succeeds when what the target's check wants came in full.
    ///
    /// # Errors
    ///
    /// Why it failed.
    pub async fn send(&self, number: u64, target: usize, connection: Connection) -> Result<(), Failure> {
        let deadline = Instant::now() + self.plan.timeout;
        if self.plan.http2 {
            self.send_multiplexed(deadline, number, target, connection).await
        } else {
            self.send_alone(deadline, number, target, connection).await
        }
    }

    async fn send_alone(
        &self,
        deadline: Instant,
        number: u64,
        index: usize,
        connection: Connection,
    ) -> Result<(), Failure> {
        let kept = connection == Connection::Kept;
        let mut request = Request::new(Full::new(self.body(number, index)));
        self.address(&mut request, index, connection);
        // A kept connection that was closed before anything was sent on it costs another try, not the
        // request: nobody has seen it yet. Each such try takes one out of the pool, so it ends.
        while kept && let Some(mut wire) = self.take_idle() {
            match timeout_at(deadline, wire.exchange(request)).await {
                Err(_) => return Err(Failure::Timeout),
                Ok(Err(error)) => match error.unsent {
                    Some(unsent) => request = unsent,
                    None => return Err(error.failure),
                },
                Ok(Ok(answer)) => return self.finish_alone(deadline, wire, answer, index, kept).await,
            }
        }
        let mut stream = self.connector.connect(deadline).await?;
        if let Some((head, body)) = self.heads[index].written(connection, request.body_mut()) {
            let asked = timeout_at(deadline, stream.ask(&head, &body)).await;
            asked.map_err(|_| Failure::Timeout)?;
        }
        let mut wire = Wire::over(stream).await?;
        match timeout_at(deadline, wire.exchange(request)).await {
            Err(_) => Err(Failure::Timeout),
            Ok(Err(error)) => Err(error.failure),
            Ok(Ok(answer)) => self.finish_alone(deadline, wire, answer, index, kept).await,
        }
    }

    /// Takes the answer's body and judges the whole.
    async fn finish_alone(
        &self,
        deadline: Instant,
        mut wire: Wire,
        answer: http::Response<Incoming>,
        index: usize,
        keep: bool,
    ) -> Result<(), Failure> {
        let status = answer.status();
        let mut body = answer.into_body();
        let mut kept = Collected::new(self.plan.targets[index].check.needs_body());
        let complete = timeout_at(deadline, async {
            while let Some(frame) = wire.frame(&mut body).await {
                let frame = frame.map_err(|error| failure::of_body(&error))?;
                if let Some(data) = frame.data_ref() {
                    kept.take(data);
                }
            }
            Ok(())
        });
        let complete = complete.await.unwrap_or(Err(Failure::Timeout));
        if complete.is_ok() {
            if keep {
                self.put_idle(wire);
            } else {
                wire.release();
            }
        }
        self.judge(index, status, complete, &kept)
    }

    async fn send_multiplexed(
        &self,
        deadline: Instant,
        number: u64,
        index: usize,
        connection: Connection,
    ) -> Result<(), Failure> {
        let body = self.body(number, index);
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = Request::new(());
            *request.version_mut() = Version::HTTP_2;
            self.address(&mut request, index, Connection::Kept);
            let (shared, wire) = match connection {
                Connection::Fresh => (None, http2::Wire::connect(&self.connector, deadline).await?),
                Connection::Kept => {
                    let connected = timeout_at(deadline, self.shared.get(&self.connector, deadline));
                    let (number, wire) = connected.await.unwrap_or(Err(Failure::ConnectTimeout))?;
                    (Some(number), wire)
                }
            };
            let answer = timeout_at(deadline, wire.exchange(request, body.clone())).await;
            let failure = match answer {
                Ok(Ok(answer)) => {
                    let finished = self.finish_stream(deadline, answer, index).await;
                    if finished != Err(Failure::Timeout) {
                        return finished;
                    }
                    Failure::Timeout
                }
                Ok(Err(error)) if error.unseen && shared.is_some() && tries < TRIES => {
                    self.retire(shared).await;
                    continue;
                }
                Ok(Err(error)) => error.failure,
                Err(_) => Failure::Timeout,
            };
            // Whatever became of the connection, nobody else is to wait on it.
            self.retire(shared).await;
            return Err(failure);
        }
    }

    async fn retire(&self, shared: Option<u64>) {
        if let Some(number) = shared {
            self.shared.retire(number).await;
        }
    }

    async fn finish_stream(
        &self,
        deadline: Instant,
        answer: http::Response<h2::RecvStream>,
        index: usize,
    ) -> Result<(), Failure> {
        let status = answer.status();
        let mut body = answer.into_body();
        let mut kept = Collected::new(self.plan.targets[index].check.needs_body());
        let complete = timeout_at(deadline, async {
            while let Some(data) = body.data().await {
                let data = data.map_err(|error| failure::of_http2_body(&error))?;
                kept.take(&data);
                // Only a connection that is gone refuses; the next frame says so.
                let _ = body.flow_control().release_capacity(data.len());
            }
            Ok(())
        });
        let complete = complete.await.unwrap_or(Err(Failure::Timeout));
        self.judge(index, status, complete, &kept)
    }

    fn judge(
        &self,
        index: usize,
        status: StatusCode,
        complete: Result<(), Failure>,
        body: &Collected,
    ) -> Result<(), Failure> {
        let check = &self.plan.targets[index].check;
        check.judge_status(status).and(complete).and_then(|()| check.judge_body(body.bytes()))
    }

    fn body(&self, number: u64, index: usize) -> Bytes {
        match &self.plan.targets[index].body {
            Body::Fixed(bytes) => bytes.clone(),
            Body::Number => number.to_string().into(),
        }
    }

    fn address<B>(&self, request: &mut Request<B>, index: usize, connection: Connection) {
        let head = &self.heads[index];
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers(connection).clone();
    }

    fn take_idle(&self) -> Option<Wire> {
        // The one used last: the others may then grow old and be closed, as in any client's pool.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_idle(&self, wire: Wire) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.plan.idle_max {
            idle.push(wire.keep());
        }
    }
}
