//! Talks to this host's own balancer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::autoscale::{MachineTraffic, Milli};
use wire::hand_over::{HandOver, HandOverOrder};
use wire::proxy_config::ProxyConfig;
use wire::traffic::{MOST_UPSTREAMS, Traffic};
use wire::upstreams::UpstreamSet;
use wire::vip::{VipOrder, VipStatus};
use wire::{EndpointId, PoolName};

use super::pushed::Pushed;
use super::transport::Transport;
use crate::config::LB_ADMIN_PORT;
use crate::engine::{LbReading, Outcome};

/// While it hands VIPs over, it is asked this often how far it is …
const LOOK: Duration = Duration::from_millis(20);

/// … until so many questions in a row have failed.
const MOST_FAILURES: u32 = 5;

/// A client of balancers' admin interfaces.
#[derive(Clone)]
pub struct Balancer {
    transport: Transport,
    pushed: Arc<Pushed>,
}

impl Balancer {
    /// A client that changes things by `transport`.
    pub fn new(transport: Transport) -> Self {
        Balancer { transport, pushed: Arc::default() }
    }

    /// Gives it an upstream set: what differs from the one that it holds, where that is known, else all of it.
    pub async fn push(&self, lb: IpAddr, set: &UpstreamSet) -> Outcome {
        if let Some(changes) = self.pushed.changes_to(lb, set) {
            match self.transport.ask_balancer(Method::PATCH, lb, "upstreams", &changes).await {
                Err(reason) => return Outcome::Failed(reason),
                Ok(answer) if answer.status.is_success() => {
                    self.pushed.note(lb, set, Some(changes.digest));
                    return Outcome::Done;
                }
                Ok(refused) => tracing::debug!(status = %refused.status, "it is told all upstreams"),
            }
        }
        let outcome = self.put(lb, "upstreams", set).await;
        if matches!(outcome, Outcome::Done) {
            self.pushed.note(lb, set, None);
        }
        outcome
    }

    /// Gives it routes and policies.
    pub async fn configure(&self, lb: IpAddr, config: &ProxyConfig) -> Outcome {
        self.put(lb, "config", config).await
    }

    /// Tells it whether its host's uplink is lost.
    pub async fn tell_uplink(&self, lb: IpAddr, lost: bool) -> Outcome {
        let order = VipOrder { uplink_lost: Some(lost), ..VipOrder::default() };
        self.put(lb, "vip", &order).await
    }

    /// Tells it its priorities.
    pub async fn rank(&self, lb: IpAddr, priorities: BTreeMap<IpAddr, u8>) -> Outcome {
        let order = VipOrder { priorities, ..VipOrder::default() };
        self.put(lb, "vip", &order).await
    }

    /// Has it hand VIPs over to another balancer; calls `progress` with each step it has taken. It goes on
    /// by itself, so a question that fails on the way is asked again.
    pub async fn hand_over(&self, lb: IpAddr, order: &HandOverOrder, progress: impl Fn(HandOver)) -> Outcome {
        let answer = self.transport.change_balancer(lb, "hand-over", order).await;
        let accepted = answer.and_then(|answer| answer.accepted().map_err(|problem| problem.detail));
        let mut before = match accepted.and_then(|answer| answer.json::<HandOver>()) {
            Ok(begun) => begun,
            Err(reason) => return Outcome::Failed(reason),
        };
        let mut failures = 0;
        while before.state.is_running() {
            tokio::time::sleep(LOOK).await;
            match self.get::<HandOver>(lb, "hand-over").await {
                Ok(now) if now.number != before.number => {
                    return Outcome::Failed(
                        "the balancer knows nothing of it: it was started anew".to_owned(),
                    );
                }
                Ok(now) => {
                    failures = 0;
                    if now.steps.len() > before.steps.len() {
                        progress(now.clone());
                    }
                    before = now;
                }
                Err(reason) => {
                    failures += 1;
                    if failures >= MOST_FAILURES {
                        return Outcome::Failed(reason);
                    }
                }
            }
        }
        Outcome::HandedOver(Box::new(before))
    }

    /// Tells it the time of this host and takes its part in the VIPs as the answer; asks for what it holds
    /// if `documents` is set, and how its pools are if `pools` is.
    pub async fn read(&self, lb: IpAddr, documents: bool, pools: bool) -> Outcome {
        let reading = async {
            let mut reading = LbReading { vip: self.stamp(lb).await?, ..LbReading::default() };
            if documents {
                reading.upstreams = Some(self.get(lb, "upstreams").await?);
                let config: ProxyConfig = self.get(lb, "config").await?;
                reading.config_generation = Some(config.generation);
            }
            if pools {
                // A balancer of an earlier version knows nothing of it.
                reading.pools = self.get(lb, "pools").await.ok();
            }
            Ok::<_, String>(reading)
        };
        match reading.await {
            Ok(reading) => Outcome::LbRead(Box::new(reading)),
            Err(reason) => Outcome::Failed(reason),
        }
    }

    /// Asks it what it sends to each of its upstreams.
    pub async fn traffic(&self, lb: IpAddr) -> Outcome {
        match self.get::<Traffic>(lb, "traffic").await {
            Ok(traffic) if traffic.unlisted > 0 => Outcome::Failed(format!(
                "it tells of the first {MOST_UPSTREAMS} upstreams only, and has {} more",
                traffic.unlisted
            )),
            Ok(traffic) => Outcome::Traffic(sent(&traffic)),
            Err(reason) => Outcome::Failed(reason),
        }
    }

    /// The stamp is taken as late as can be: only delays after it can hide a pause of the balancer's machine.
    async fn stamp(&self, lb: IpAddr) -> Result<VipStatus, String> {
        let host_time_ms = host_time_ms().map_err(|error| format!("the host's clock: {error}"))?;
        let order = VipOrder { host_time_ms: Some(host_time_ms), ..VipOrder::default() };
        match self.transport.change_balancer(lb, "vip", &order).await?.accepted() {
            Ok(answer) => answer.json(),
            // A balancer of an earlier version, adopted by this manager, knows no stamps.
            Err(_) => self.get(lb, "vip").await,
        }
    }

    async fn get<T: DeserializeOwned>(&self, lb: IpAddr, path: &str) -> Result<T, String> {
        let answer =
            self.transport.read(&format!("http://{}/{path}", SocketAddr::new(lb, LB_ADMIN_PORT))).await?;
        answer.accepted().map_err(|problem| problem.detail)?.json()
    }

    async fn put(&self, lb: IpAddr, path: &str, body: &impl Serialize) -> Outcome {
        let answer = match self.transport.change_balancer(lb, path, body).await {
            Ok(answer) => answer,
            Err(reason) => return Outcome::Failed(reason),
        };
        let conflict = answer.status == StatusCode::CONFLICT;
        match answer.accepted() {
            Ok(_) => Outcome::Done,
            Err(problem) => match problem.held {
                Some(held) if conflict => Outcome::Stale(held),
                _ => Outcome::Failed(problem.detail),
            },
        }
    }
}

/// What it sends to those that it sends anything to.
fn sent(traffic: &Traffic) -> BTreeMap<PoolName, BTreeMap<EndpointId, MachineTraffic>> {
    let mut pools: BTreeMap<PoolName, BTreeMap<EndpointId, MachineTraffic>> = BTreeMap::new();
    for upstream in &traffic.upstreams {
        let sent = MachineTraffic {
            requests_per_s: Milli::of(upstream.per_s),
            in_flight: Milli::whole(upstream.in_flight.into()),
        };
        if sent != MachineTraffic::default() {
            pools.entry(upstream.pool.clone()).or_default().insert(upstream.id.clone(), sent);
        }
    }
    pools
}

/// The host's monotonic clock in milliseconds. It goes on while a machine is paused, and is the same for a
/// manager that was restarted.
fn host_time_ms() -> nix::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let (seconds, nanoseconds) = (time.tv_sec().unsigned_abs(), time.tv_nsec().unsigned_abs());
    Ok(seconds * 1000 + nanoseconds / 1_000_000)
}
