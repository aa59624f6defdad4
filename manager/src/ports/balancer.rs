//! Talks to this host's own balancer.

use std::net::Ipv4Addr;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use reqwest::{Client, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::proxy_config::ProxyConfig;
use wire::upstreams::UpstreamSet;
use wire::vip::{VipAction, VipOrder, VipStatus};

use super::transport::{cause, client, refusal};
use crate::config::{LB_ADMIN_PORT, LB_CHANGES_PORT};
use crate::engine::{LbReading, Outcome};

/// A balancer on the same host answers within this, or not at all.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A client of balancers' admin interfaces.
#[derive(Clone)]
pub struct Balancer {
    client: Client,
}

impl Balancer {
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new() -> reqwest::Result<Self> {
        Ok(Balancer { client: client(TIMEOUT)? })
    }

    /// Gives it an upstream set.
    pub async fn push(&self, lb: Ipv4Addr, set: &UpstreamSet) -> Outcome {
        self.put(lb, "upstreams", set).await
    }

    /// Gives it routes and policies.
    pub async fn configure(&self, lb: Ipv4Addr, config: &ProxyConfig) -> Outcome {
        self.put(lb, "config", config).await
    }

    /// Asks it to let another balancer hold its VIPs.
    pub async fn hand_over(&self, lb: Ipv4Addr) -> Outcome {
        let order = VipOrder { action: Some(VipAction::Release), ..VipOrder::default() };
        self.put(lb, "vip", &order).await
    }

    /// Tells it the time of this host and takes its part in the VIPs as the answer; asks for what it holds
    /// if `documents` is set.
    pub async fn read(&self, lb: Ipv4Addr, documents: bool) -> Outcome {
        let reading = async {
            let mut reading = LbReading { vip: self.stamp(lb).await?, ..LbReading::default() };
            if documents {
                reading.upstreams = Some(self.get(lb, "upstreams").await?);
                let config: ProxyConfig = self.get(lb, "config").await?;
                reading.config_generation = Some(config.generation);
            }
            Ok::<_, String>(reading)
        };
        match reading.await {
            Ok(reading) => Outcome::LbRead(Box::new(reading)),
            Err(reason) => Outcome::Failed(reason),
        }
    }

    /// The stamp is taken as late as can be: only delays after it can hide a pause of the balancer's machine.
    async fn stamp(&self, lb: Ipv4Addr) -> Result<VipStatus, String> {
        let host_time_ms = host_time_ms().map_err(|error| format!("the host's clock: {error}"))?;
        let order = VipOrder { host_time_ms: Some(host_time_ms), ..VipOrder::default() };
        let url = format!("http://{lb}:{LB_CHANGES_PORT}/vip");
        let response = self.client.put(url).json(&order).send().await.map_err(|error| cause(&error))?;
        if !response.status().is_success() {
            return Err(refusal(response).await.detail);
        }
        response.json().await.map_err(|error| cause(&error))
    }

    async fn get<T: DeserializeOwned>(&self, lb: Ipv4Addr, path: &str) -> Result<T, String> {
        let url = format!("http://{lb}:{LB_ADMIN_PORT}/{path}");
        let response = self.client.get(url).send().await.map_err(|error| cause(&error))?;
        if !response.status().is_success() {
            return Err(refusal(response).await.detail);
        }
        response.json().await.map_err(|error| cause(&error))
    }

    async fn put(&self, lb: Ipv4Addr, path: &str, body: &impl Serialize) -> Outcome {
        let url = format!("http://{lb}:{LB_CHANGES_PORT}/{path}");
        let response = match self.client.put(url).json(body).send().await {
            Ok(response) => response,
            Err(error) => return Outcome::Failed(cause(&error)),
        };
        if response.status().is_success() {
            return Outcome::Done;
        }
        let conflict = response.status() == StatusCode::CONFLICT;
        let problem = refusal(response).await;
        match problem.held {
            Some(held) if conflict => Outcome::Stale(held),
            _ => Outcome::Failed(problem.detail),
        }
    }
}

/// The host's monotonic clock in milliseconds. It goes on while a machine is paused, and is the same for a
/// manager that was restarted.
fn host_time_ms() -> nix::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let (seconds, nanoseconds) = (time.tv_sec().unsigned_abs(), time.tv_nsec().unsigned_abs());
    Ok(seconds * 1000 + nanoseconds / 1_000_000)
}
